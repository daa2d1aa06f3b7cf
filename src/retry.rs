//! What to do about an error, and how long to wait before doing it.

use std::{fmt, time::Duration};

/// What an error means for the half in which it occurred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may pass by itself: start the half again from its last checkpoint, after a pause.
    Retry,
    /// Somebody has to act: the half stays down and says why.
    Stop,
}

/// An error with its verdict: what ends a half.
///
/// `Display` is one clear line: what failed, where, why, and (for [`Verdict::Stop`]) what to do.
#[derive(Debug)]
pub struct Failure {
    /// What it means.
    pub verdict: Verdict,
    /// One line for the operator.
    pub message: String,
}

impl Failure {
    /// A failure that may pass by itself.
    pub fn retry(message: impl Into<String>) -> Self {
        Self { verdict: Verdict::Retry, message: message.into() }
    }

    /// A failure that needs the operator.
    pub fn stop(message: impl Into<String>) -> Self {
        Self { verdict: Verdict::Stop, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Exponential back-off with full jitter: the next pause is drawn from the upper half of a range that doubles.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    first: Duration,
    most: Duration,
}

impl Backoff {
    /// Starts at `first`, doubles up to `most`.
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { next: first, first, most }
    }

    /// The pause before the next attempt.
    pub fn next_pause(&mut self) -> Duration {
        let ceiling = self.next;
        self.next = (self.next * 2).min(self.most);
        ceiling.mul_f64(0.5 + 0.5 * unit_random())
    }

    /// Back to the first pause, after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// A number in [0, 1). Jitter needs no better source than the hasher's per-process random keys.
fn unit_random() -> f64 {
    use std::hash::{BuildHasher, Hasher};
    let bits = std::collections::hash_map::RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_ceiling_and_reset() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(300));
        for ceiling in [100, 200, 300, 300] {
            let pause = backoff.next_pause().as_secs_f64() * 1000.0;
            assert!((f64::from(ceiling) / 2.0..=f64::from(ceiling)).contains(&pause), "{pause} for {ceiling}");
        }
        backoff.reset();
        assert!(backoff.next_pause() <= Duration::from_millis(100));
    }
}
