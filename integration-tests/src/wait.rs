//! Waits for a condition, up to a named deadline.
//!
//! The only place where the harness lets time pass. A probe runs again and again until it says "done"; what happens in
//! between is the server's business, so no caller relies on how long anything takes.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a probe runs: often enough that waiting adds little, seldom enough to leave two cores to the servers.
const PROBE_INTERVAL: Duration = Duration::from_millis(25);

/// Runs `probe` until it yields a value. An error of the probe counts as "not yet" and is shown if time runs out.
pub async fn until<T>(
    what: &str,
    within: Duration,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let mut attempts = Attempts::new(what, within);
    loop {
        match probe().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => attempts.again(None).await?,
            Err(error) => attempts.again(Some(error)).await?,
        }
    }
}

/// The same for loops that have to be written out, because a future with a borrowing probe in it cannot be spawned.
#[derive(Debug)]
pub struct Attempts {
    what: String,
    within: Duration,
    deadline: Instant,
    ticks: tokio::time::Interval,
}

impl Attempts {
    /// Waiting for `what` begins.
    pub fn new(what: &str, within: Duration) -> Self {
        let deadline = Instant::now() + within;
        let mut ticks = tokio::time::interval_at((Instant::now() + PROBE_INTERVAL).into(), PROBE_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Self { what: what.to_owned(), within, deadline, ticks }
    }

    /// Not yet: returns when it is time for the next attempt, or an error when there is no more time.
    pub async fn again(&mut self, why: Option<anyhow::Error>) -> Result<()> {
        let Self { what, within, deadline, ticks } = self;
        if Instant::now() >= *deadline {
            return match why {
                Some(error) => Err(error.context(format!("gave up after {within:?} waiting for {what}"))),
                None => bail!("gave up after {within:?} waiting for {what}"),
            };
        }
        ticks.tick().await;
        Ok(())
    }
}

/// Lets a fault last. Not for waiting until something has happened.
pub async fn pass(duration: Duration) {
    let never = std::future::pending::<()>();
    tokio::time::timeout(duration, never).await.expect_err("never is later");
}
