//! The source's loop: replies in, groups of records out, positions moved over what is acknowledged.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use tokio_util::sync::CancellationToken;

use super::{
    Context, Metrics, decode,
    deliver::{Delivery, Group},
    heartbeat::Heartbeat,
    progress::Progress,
    publish::{self, MAX_GROUPS, Publisher},
    watch::{Batch, Watcher},
};
use crate::{
    checkpoint::Keeper,
    config,
    position::{Position, ResumeToken},
    raw,
    retry::Failure,
};

/// A group closes at this many records…
const GROUP_RECORDS: usize = 512;
/// …or this many bytes of records, whichever comes first.
const GROUP_BYTES: usize = 256 << 10;

/// The loop's state.
pub(super) struct Flow {
    settings: Arc<config::Source>,
    metrics: Arc<Metrics>,
    publisher: Arc<Publisher>,
    stop: CancellationToken,
    ready: Arc<AtomicBool>,
    keeper: Keeper,
    delivery: Delivery,
    progress: Progress,
    heartbeat: Option<Heartbeat>,
    /// Where the stream stands after the last event that was handed on.
    read: Position,
    records_sent: u64,
    in_flight_bytes: usize,
}

impl Flow {
    /// A loop that goes on after `position`.
    pub(super) fn new(
        context: &Context,
        delivery: Delivery,
        publisher: Arc<Publisher>,
        keeper: Keeper,
        position: Position,
        in_flight_bytes: usize,
    ) -> Self {
        Self {
            settings: Arc::clone(&context.settings),
            metrics: Arc::clone(&context.metrics),
            publisher,
            stop: context.stop.clone(),
            ready: Arc::clone(&context.ready),
            keeper,
            delivery,
            progress: Progress::default(),
            heartbeat: context.settings.heartbeat.clone().map(|it| Heartbeat::new(it, Instant::now())),
            read: position,
            records_sent: 0,
            in_flight_bytes,
        }
    }

    /// Moves events until the source is told to stop and all that was sent is acknowledged.
    pub(super) async fn run(&mut self, mut watcher: Watcher) -> Result<(), Failure> {
        let stop = self.stop.clone();
        loop {
            tokio::select! {
                batch = watcher.next() => {
                    let batch = batch?;
                    self.ready.store(true, Ordering::Relaxed);
                    self.publish(&batch).await?;
                }
                () = self.publisher.reports().changed() => self.account()?,
                failure = self.keeper.failed() => return Err(failure),
                () = stop.cancelled() => break,
            }
        }
        // What was read ahead is dropped; what was sent is waited for.
        drop(watcher);
        while !self.progress.is_empty() {
            self.wait_for_room().await?;
        }
        Ok(())
    }

    /// Stores the last safe position.
    pub(super) async fn finish(&mut self) -> Result<(), Failure> {
        self.keeper.finish().await
    }

    /// Hands all events of a reply to Kafka, in groups.
    async fn publish(&mut self, batch: &Batch) -> Result<(), Failure> {
        let mut group = self.begin_group();
        let records_before = self.records_sent;
        for element in self.malformed(batch.events())?.elements() {
            let event = self.malformed(element)?.as_document();
            let event = self.malformed(event.ok_or(raw::Error { at: 0, what: "an event is no document" }))?;
            let change = decode::decode(event).map_err(|error| {
                Failure::stop(format!("source {}: after {}: {error}", self.settings.name, self.read))
            })?;
            match &batch.too_large {
                None => self.delivery.change(&change, &mut group).await?,
                Some(error) => Box::pin(self.delivery.event_too_large(&change, error, &mut group)).await?,
            }
            if group.records >= GROUP_RECORDS || group.bytes >= GROUP_BYTES {
                self.read = self.read.after(self.malformed(ResumeToken::new(change.token))?);
                self.end_group(&group, self.read.clone()).await?;
                group = self.begin_group();
            }
        }
        let records = group.records as u64 + self.records_sent - records_before;
        self.beat(records > 0, batch, &mut group).await?;
        self.read = batch.after.clone();
        self.end_group(&group, self.read.clone()).await?;
        self.account()
    }

    /// Sends a heartbeat with the last group of `batch` when one is due.
    async fn beat(&mut self, has_records: bool, batch: &Batch, group: &mut Group) -> Result<(), Failure> {
        let Some(heartbeat) = &mut self.heartbeat else { return Ok(()) };
        let token = batch.after.token.as_ref();
        match token.filter(|token| heartbeat.is_due(has_records, token, Instant::now())) {
            Some(token) => Box::pin(self.delivery.heartbeat(heartbeat.topic(), token, group)).await,
            None => Ok(()),
        }
    }

    fn begin_group(&self) -> Group {
        let number = self.progress.next_number();
        self.publisher.begin_group(number);
        Group { number, ..Group::default() }
    }

    /// Closes the group, whose last event is at `after`, and waits until there is room for the next one.
    async fn end_group(&mut self, group: &Group, after: Position) -> Result<(), Failure> {
        self.publisher.end_group(group.number);
        self.progress.push(after, group.bytes);
        self.records_sent += group.records as u64;
        while self.progress.bytes() > self.in_flight_bytes || self.progress.len() >= MAX_GROUPS - 1 {
            self.wait_for_room().await?;
        }
        Ok(())
    }

    /// Waits for an acknowledgement, a failure, or a moment.
    async fn wait_for_room(&mut self) -> Result<(), Failure> {
        tokio::select! {
            () = self.publisher.reports().changed() => {}
            () = tokio::time::sleep(publish::QUEUE_FULL_PAUSE) => {}
            failure = self.keeper.failed() => return Err(failure),
        }
        self.account()
    }

    /// Moves the safe position over what is acknowledged; fails with the first record that was not delivered.
    fn account(&mut self) -> Result<(), Failure> {
        let reports = self.publisher.reports();
        if let Some(position) = self.progress.advance(|number| reports.is_done(number)) {
            self.metrics.acknowledged(&position);
            self.keeper.offer(position, self.records_sent);
        }
        self.metrics.in_flight(self.progress.bytes());
        let Some(undelivered) = reports.undelivered() else { return Ok(()) };
        let group = self.progress.numbers().find(|number| undelivered.is_in_group(*number));
        let place = group.and_then(|number| self.progress.after(number)).unwrap_or(&self.read);
        let what = format!(
            "source {}: a record of {} bytes for topic {}, at or before {place}",
            self.settings.name, undelivered.bytes, undelivered.topic
        );
        Err(self.delivery.undelivered(&undelivered, &what))
    }

    fn malformed<T>(&self, outcome: Result<T, raw::Error>) -> Result<T, Failure> {
        outcome.map_err(|error| {
            Failure::stop(format!("source {}: after {}: {error}", self.settings.name, self.read))
        })
    }
}
