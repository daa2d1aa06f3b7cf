//! How many documents a second may be read. Pure.

use std::time::{Duration, Instant};

/// A limit of documents a second.
pub(super) struct Rate {
    most: Option<u32>,
    /// When what was taken is paid for.
    free_at: Option<Instant>,
}

impl Rate {
    pub(super) fn new(most: Option<u32>) -> Self {
        Self { most, free_at: None }
    }

    /// Documents that may be read now: none, or a second's worth.
    pub(super) fn allows(&self, now: Instant) -> u32 {
        match self.most {
            Some(_) if self.free_at.is_some_and(|free_at| free_at > now) => 0,
            Some(most) => most,
            None => u32::MAX,
        }
    }

    /// When documents may be read again.
    pub(super) fn free_at(&self) -> Option<Instant> {
        self.free_at
    }

    pub(super) fn take(&mut self, documents: u32, now: Instant) {
        if let Some(most) = self.most {
            let cost = Duration::from_secs_f64(f64::from(documents) / f64::from(most));
            self.free_at = Some(self.free_at.unwrap_or(now).max(now) + cost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_lets_a_seconds_worth_through_and_then_waits_for_it() {
        let now = Instant::now();
        let mut rate = Rate::new(Some(100));
        assert_eq!(rate.allows(now), 100);
        rate.take(50, now);
        assert_eq!(rate.allows(now), 0);
        assert_eq!(rate.allows(now + Duration::from_millis(501)), 100);
        let mut none = Rate::new(None);
        none.take(u32::MAX, now);
        assert_eq!(none.allows(now), u32::MAX);
    }
}
