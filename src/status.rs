//! What each half is doing, for health, status and metrics.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use serde::Serialize;

use crate::{sink, source};

/// The process, as seen from outside.
pub struct Status {
    /// The pipeline's name.
    pub pipeline: String,
    /// When the process started.
    pub started: Instant,
    /// All halves, in the order of the configuration.
    pub halves: Vec<Arc<Half>>,
}

/// One source or sink, as seen from outside.
pub struct Half {
    /// Its name in the configuration.
    pub name: String,
    /// What it counts.
    pub metrics: Metrics,
    /// Set by the half while it is connected and working.
    pub ready: Arc<AtomicBool>,
    /// Times that it was started again.
    pub restarts: AtomicU64,
    /// Where a source is asked for snapshots.
    pub requests: Option<Arc<source::Requests>>,
    /// Where a sink is paused.
    pub pause: Option<Arc<sink::Pause>>,
    state: Mutex<State>,
}

/// What a half counts, by kind.
pub enum Metrics {
    /// Of a source.
    Source(Arc<source::Metrics>),
    /// Of a sink.
    Sink(Arc<sink::Metrics>),
}

/// What a half is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum State {
    /// Connecting or working.
    Running,
    /// It failed and will be started again.
    Waiting {
        /// Why it failed.
        reason: String,
    },
    /// It failed and needs somebody.
    Failed {
        /// Why it failed.
        reason: String,
    },
    /// It was told to stop and has.
    Stopped,
}

impl Half {
    /// A half that is about to start.
    pub fn new(name: String, metrics: Metrics) -> Self {
        Self {
            name,
            metrics,
            ready: Arc::default(),
            restarts: AtomicU64::default(),
            requests: None,
            pause: None,
            state: Mutex::new(State::Running),
        }
    }

    /// `source` or `sink`.
    pub fn kind(&self) -> &'static str {
        match self.metrics {
            Metrics::Source(_) => "source",
            Metrics::Sink(_) => "sink",
        }
    }

    /// What it is doing.
    pub fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what it is doing; only one that runs can be ready.
    pub fn set_state(&self, state: State) {
        if state != State::Running {
            self.ready.store(false, Relaxed);
        }
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// `None` when it is working, else why it is not.
    pub fn not_ready(&self) -> Option<String> {
        let label = format!("{} {}", self.kind(), self.name);
        match self.state() {
            State::Running if self.ready.load(Relaxed) => None,
            State::Running => Some(format!("{label}: starting")),
            State::Waiting { reason } => Some(format!("{label}: will be tried again: {reason}")),
            State::Failed { reason } => Some(format!("{label}: failed: {reason}")),
            State::Stopped => Some(format!("{label}: stopped")),
        }
    }

    /// Events and records handled so far: a number that stands still when nothing moves.
    pub fn moved(&self) -> u64 {
        match &self.metrics {
            Metrics::Source(metrics) => metrics.events.load(Relaxed),
            Metrics::Sink(metrics) => metrics.records.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_is_ready_only_while_it_runs_and_says_so() {
        let half = Half::new("shop".into(), Metrics::Source(Arc::default()));
        assert_eq!(half.not_ready().as_deref(), Some("source shop: starting"));
        half.ready.store(true, Relaxed);
        assert_eq!(half.not_ready(), None);
        half.set_state(State::Failed { reason: "why".into() });
        half.set_state(State::Running);
        assert_eq!(half.not_ready().as_deref(), Some("source shop: starting"));
    }
}
