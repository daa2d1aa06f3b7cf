//! Whether a sink is paused: what the operator wants, and what the consumer's thread has done about it.
//!
//! It outlives the half's restarts, not the process. What was read before the pause is still written.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use tokio::sync::watch;

/// Shared by the sink and whoever may pause it.
#[derive(Debug, Default)]
pub struct Pause {
    wanted: AtomicBool,
    in_force: watch::Sender<bool>,
}

impl Pause {
    /// Asks for a pause, or for its end, and waits until the consumer does so, no longer than `patience`: whether it
    /// does. Cancel-safe; what was asked for holds.
    pub async fn ask(&self, paused: bool, patience: Duration) -> bool {
        let mut in_force = self.in_force.subscribe();
        self.wanted.store(paused, Relaxed);
        let is_done = in_force.wait_for(|in_force| *in_force == paused);
        tokio::time::timeout(patience, is_done).await.is_ok()
    }

    /// Whether the operator wants it.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Relaxed)
    }

    /// Whether nothing is read. Changed by the consumer's thread alone.
    pub fn is_in_force(&self) -> bool {
        *self.in_force.borrow()
    }

    pub(super) fn set_in_force(&self, in_force: bool) {
        self.in_force.send_replace(in_force);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_waits_for_the_consumer_and_the_wish_stays_without_it() {
        let pause = Pause::default();
        assert!(!pause.ask(true, Duration::ZERO).await);
        assert!(pause.is_wanted() && !pause.is_in_force());
        let (is_done, ()) =
            tokio::join!(pause.ask(true, Duration::from_secs(60)), async { pause.set_in_force(true) });
        assert!(is_done && pause.is_in_force());
    }
}
