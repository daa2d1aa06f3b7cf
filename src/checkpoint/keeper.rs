//! Stores positions beside the source's loop: not more often than the interval, and always the last one. Steps of a
//! snapshot are stored as they come, because reading a range again costs more than storing.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinHandle};

use super::{Checkpoint, Store};
use crate::{
    position::Position,
    retry::{Backoff, Failure, Verdict},
    source::{Metrics, publish::Publisher},
};

/// An idle stream's position moves with every reply of the server. It is stored this many intervals apart: losing it
/// costs nothing but a longer look at the oplog.
const IDLE_INTERVALS: u32 = 10;

/// Stores the positions of one source.
pub struct Keeper {
    /// `None` once nothing more will be offered.
    offered: Option<watch::Sender<Option<Offer>>>,
    /// `None` once its end was told.
    task: Option<JoinHandle<Result<(), Failure>>>,
}

#[derive(Clone)]
struct Offer {
    position: Position,
    /// Records before it since the start.
    records: u64,
}

/// What is the same in all checkpoints that this process stores for the source.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The deployment's id, where it could be read.
    pub deployment: Option<String>,
    /// This process.
    pub owner: String,
    /// The checkpoint's epoch.
    pub epoch: u64,
}

impl Identity {
    /// The checkpoint of `position`.
    pub fn checkpoint(&self, position: Position) -> Checkpoint {
        Checkpoint {
            position,
            deployment: self.deployment.clone(),
            owner: self.owner.clone(),
            epoch: self.epoch,
        }
    }
}

impl Keeper {
    /// Starts with a store that has been loaded and claimed.
    pub fn start(
        store: Store,
        publisher: Arc<Publisher>,
        identity: Identity,
        interval: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (offered, receiver) = watch::channel(None);
        let task = tokio::spawn(keep(store, publisher, identity, interval, metrics, receiver));
        Self { offered: Some(offered), task: Some(task) }
    }

    /// Everything before `position` is acknowledged: `records` records since the start.
    pub fn offer(&self, position: Position, records: u64) {
        if let Some(offered) = &self.offered {
            offered.send_replace(Some(Offer { position, records }));
        }
    }

    /// Returns only when positions can be stored no longer.
    pub async fn failed(&mut self) -> Failure {
        match self.ended().await {
            Ok(()) => Failure::retry("storing checkpoints ended early"),
            Err(failure) => failure,
        }
    }

    /// Stores the last position that was offered, and ends.
    ///
    /// # Errors
    /// When that could not be stored.
    pub async fn finish(&mut self) -> Result<(), Failure> {
        self.offered = None;
        self.ended().await
    }

    async fn ended(&mut self) -> Result<(), Failure> {
        let Some(task) = &mut self.task else { return Ok(()) };
        let outcome = task.await;
        self.task = None;
        outcome.unwrap_or_else(|error| Err(Failure::retry(format!("storing checkpoints: {error}"))))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn keep(
    mut store: Store,
    publisher: Arc<Publisher>,
    identity: Identity,
    interval: Duration,
    metrics: Arc<Metrics>,
    mut offered: watch::Receiver<Option<Offer>>,
) -> Result<(), Failure> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    let mut last: Option<Position> = None;
    // So that the first step of a snapshot is stored as soon as any other.
    let mut stored = Stored { records: 0, steps: Some(0) };
    let mut pause = Duration::ZERO;
    loop {
        let closed = wait(&mut offered, stored, pause, interval).await;
        let Some(offer) = offered.borrow_and_update().clone() else {
            if closed {
                return Ok(());
            }
            continue;
        };
        // What was stored is never stored again, and never anything below it.
        if last.as_ref().is_none_or(|last| *last < offer.position) {
            match store.store(&publisher, &identity.checkpoint(offer.position.clone())).await {
                Ok(()) => {
                    metrics.stored(&offer.position);
                    stored = Stored { records: offer.records, steps: Some(offer.position.steps) };
                    last = Some(offer.position);
                    backoff.reset();
                    pause = interval;
                }
                Err(failure) if failure.verdict == Verdict::Retry && !closed => {
                    tracing::warn!(error = %failure, "the checkpoint was not stored; trying again");
                    pause = backoff.next_pause();
                    stored.steps = None;
                    offered.mark_changed();
                }
                Err(failure) => return Err(failure),
            }
        }
        if closed {
            return Ok(());
        }
    }
}

/// What the last store had.
#[derive(Clone, Copy)]
struct Stored {
    records: u64,
    /// `None` where a step is no reason to store at once.
    steps: Option<u64>,
}

impl Stored {
    fn has_step_before(self, offer: Option<&Offer>) -> bool {
        offer.is_some_and(|offer| self.steps.is_some_and(|steps| steps < offer.position.steps))
    }

    fn is_due_for(self, offer: Option<&Offer>) -> bool {
        self.has_step_before(offer) || offer.is_some_and(|offer| offer.records > self.records)
    }
}

/// Waits `pause`, then for an offer that is due; `true` when no more offers will come.
async fn wait(
    offered: &mut watch::Receiver<Option<Offer>>,
    stored: Stored,
    pause: Duration,
    interval: Duration,
) -> bool {
    let paused = tokio::select! {
        () = closed(offered) => false,
        () = tokio::time::sleep(pause) => true,
        () = step(offered, stored) => true,
    };
    if !paused || offered.changed().await.is_err() {
        return true;
    }
    let due = tokio::time::sleep(interval * (IDLE_INTERVALS - 1));
    tokio::pin!(due);
    while !stored.is_due_for(offered.borrow().as_ref()) {
        tokio::select! {
            () = &mut due => return false,
            changed = offered.changed() => if changed.is_err() { return true },
        }
    }
    false
}

/// Returns when the sender is gone, without taking note of values.
async fn closed(offered: &watch::Receiver<Option<Offer>>) {
    let mut probe = offered.clone();
    while probe.changed().await.is_ok() {}
}

/// Returns when a step of the snapshot is offered, without taking note of it.
async fn step(offered: &watch::Receiver<Option<Offer>>, stored: Stored) {
    let mut probe = offered.clone();
    // An error means that the sender is gone, which is waited for elsewhere.
    if probe.wait_for(|offer| stored.has_step_before(offer.as_ref())).await.is_err() {
        std::future::pending::<()>().await;
    }
}
