//! The way to MongoDB. Two batches may be on it, the second close behind the first: while one lane of the first waits for
//! the server, another lane of the second may have begun, so that there is always something for the server to do.

use std::{collections::VecDeque, sync::Arc};

use tokio::task::JoinHandle;

use super::super::{
    batch::{Closed, Lane},
    progress::Ticket,
    record::Record,
    turn::{End, Turn},
    write::{Target, Unwritten},
};
use crate::retry::Failure;

/// Batches on their way at once.
const MAX_BATCHES: usize = 2;

/// Batches on their way, oldest first.
pub(super) struct Writing {
    target: Arc<Target>,
    batches: VecDeque<JoinHandle<Written>>,
    /// The ends of the last one's lanes, by number; none if nothing may follow it closely.
    ends: Option<Vec<Option<End>>>,
}

/// A batch that was written, or not.
pub(super) struct Written {
    pub(super) ticket: Ticket,
    pub(super) records: Vec<Record>,
    pub(super) outcome: Result<Unwritten, Failure>,
}

impl Writing {
    pub(super) fn new(target: Target) -> Self {
        Self { target: Arc::new(target), batches: VecDeque::new(), ends: None }
    }

    pub(super) fn target(&self) -> Arc<Target> {
        Arc::clone(&self.target)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.batches.is_empty()
    }

    /// Whether a batch that is split so may be started now.
    pub(super) fn takes(&self, split: Option<usize>) -> bool {
        let is_split_alike = || split.is_some() && split == self.ends.as_ref().map(Vec::len);
        self.is_idle() || (self.batches.len() < MAX_BATCHES && is_split_alike())
    }

    /// Starts a batch that it [takes](Self::takes), and drops `held` when that is written.
    pub(super) fn start<H: Send + 'static>(&mut self, closed: Closed, ticket: Ticket, held: H) {
        let Closed { lanes, records, split } = closed;
        let mut before = self.ends.take().filter(|_| !self.is_idle()).unwrap_or_default();
        let mut ends: Vec<Option<End>> = Vec::new();
        ends.resize_with(split.unwrap_or_default(), || None);
        let turn = |lane: Lane| {
            let Some(number) = lane.number else { return (lane, Turn::default()) };
            let (turn, end) = Turn::behind(before.get_mut(number).and_then(Option::take));
            if let Some(place) = ends.get_mut(number) {
                *place = Some(end);
            }
            (lane, turn)
        };
        let lanes: Vec<_> = lanes.into_iter().map(turn).collect();
        self.ends = split.map(|_| ends);
        let target = self.target();
        self.batches.push_back(tokio::spawn(async move {
            let outcome = target.write_in_turn(lanes).await;
            drop(held);
            Written { ticket, records, outcome }
        }));
    }

    /// The next batch starts when nothing is on its way.
    pub(super) fn let_nothing_follow(&mut self) {
        self.ends = None;
    }

    /// Starts something else that takes a batch's place, while nothing else is on its way.
    pub(super) fn start_alone(&mut self, work: impl Future<Output = Written> + Send + 'static) {
        self.ends = None;
        self.batches.push_back(tokio::spawn(work));
    }

    /// Returns when the oldest batch is written; never, if there is none. Cancel-safe.
    pub(super) async fn finish(&mut self) -> Result<Written, Failure> {
        let Some(oldest) = self.batches.front_mut() else { return std::future::pending().await };
        let outcome = oldest.await;
        self.batches.pop_front();
        outcome.map_err(|error| Failure::retry(format!("writing a batch broke off: {error}")))
    }

    /// Waits for the end of all that is on its way, without asking how it went.
    pub(super) async fn wind_up(&mut self) {
        self.target.hurry();
        while !self.is_idle() {
            if let Err(failure) = self.finish().await.and_then(|written| written.outcome) {
                tracing::debug!(
                    reason = failure.message,
                    "the batch behind the one that failed has failed too"
                );
            }
        }
    }

    /// Breaks off all that is on its way.
    pub(super) fn abort(&self) {
        self.batches.iter().for_each(JoinHandle::abort);
    }
}
