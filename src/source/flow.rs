//! The source's loop: replies and rows in, groups of records out, positions moved over what is acknowledged.

mod copy;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use mongodb::Client;
use tokio_util::sync::CancellationToken;

use super::{
    Context, Metrics, decode,
    deliver::{Delivery, Group},
    heartbeat::Heartbeat,
    progress::Progress,
    publish::{MAX_GROUPS, Publisher},
    requests::Requests,
    snapshot::{Clean, Snapshot},
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

/// If nothing is acknowledged for so long, records that are on their way have waited long enough for others.
const NO_PROGRESS: Duration = Duration::from_millis(50);

/// How many bytes the parts of a source may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// Records that are not yet acknowledged.
    pub(super) in_flight_bytes: usize,
    /// Replies that wait.
    pub(super) read_ahead_bytes: usize,
    /// Ranges of a snapshot.
    pub(super) snapshot_bytes: usize,
}

impl Share {
    /// Cuts up a half's budget.
    pub(super) fn of(bytes: usize) -> Self {
        // The rest, a quarter, is for the reply that is being read or waits for room.
        Self { in_flight_bytes: bytes / 4, snapshot_bytes: bytes / 8, read_ahead_bytes: bytes / 8 * 3 }
    }
}

/// The loop's state.
pub(super) struct Flow {
    settings: Arc<config::Source>,
    metrics: Arc<Metrics>,
    publisher: Arc<Publisher>,
    stop: CancellationToken,
    ready: Arc<AtomicBool>,
    client: Client,
    requests: Arc<Requests>,
    keeper: Keeper,
    delivery: Delivery,
    progress: Progress,
    heartbeat: Option<Heartbeat>,
    snapshot: Snapshot,
    /// At which times the stream can be held.
    clean: Clean,
    /// What the stream has brought during a wave.
    held: Option<Batch>,
    /// Where the stream stands after the last event that was handed on.
    read: Position,
    records_sent: u64,
    in_flight_bytes: usize,
}

impl Flow {
    /// A loop that goes on after `position`.
    pub(super) fn new(
        client: &Client,
        context: &Context,
        delivery: Delivery,
        publisher: Arc<Publisher>,
        keeper: Keeper,
        position: Position,
        share: Share,
    ) -> Self {
        let plan = position.snapshot.as_deref().cloned().unwrap_or_default();
        let (settings, metrics) = (&context.settings, &context.metrics);
        Self {
            client: client.clone(),
            requests: Arc::clone(&context.requests),
            snapshot: Snapshot::new(
                client,
                settings,
                metrics,
                publisher.reports().context(),
                plan,
                share.snapshot_bytes,
            ),
            clean: Clean::after(&position),
            held: None,
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
            in_flight_bytes: share.in_flight_bytes,
        }
    }

    /// Moves events until the source is told to stop and all that was sent is acknowledged.
    pub(super) async fn run(&mut self, mut watcher: Watcher) -> Result<(), Failure> {
        let stop = self.stop.clone();
        loop {
            tokio::select! {
                batch = watcher.next(), if self.held.is_none() => {
                    let batch = batch?;
                    self.ready.store(true, Ordering::Relaxed);
                    self.take(batch).await?;
                    self.say_what_follows(&watcher);
                }
                event = self.snapshot.next(), if self.snapshot.is_reading() => {
                    self.copy(event?).await?;
                    self.say_what_follows(&watcher);
                }
                request = self.requests.next() => self.request(request).await?,
                () = self.publisher.reports().changed() => {
                    self.account()?;
                    self.say_what_follows(&watcher);
                }
                failure = self.keeper.failed() => return Err(failure),
                () = stop.cancelled() => break,
            }
        }
        // What was read ahead is dropped; what was sent is waited for.
        drop(watcher);
        self.drain().await
    }

    /// While there is more at hand, or enough on its way to fill a batch, records wait for others to go with them.
    fn say_what_follows(&self, watcher: &Watcher) {
        let fills_batch = self.progress.bytes() >= self.publisher.batch_bytes();
        let is_more = fills_batch || self.snapshot.is_reading() || watcher.has_more();
        if is_more || !self.progress.is_empty() {
            self.publisher.more_follows(is_more);
        }
    }

    async fn drain(&mut self) -> Result<(), Failure> {
        self.publisher.more_follows(false);
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
        let mut last = None;
        for element in self.malformed(batch.events())?.elements() {
            let event = self.malformed(element)?.as_document();
            let event = self.malformed(event.ok_or(raw::Error { at: 0, what: "an event is no document" }))?;
            let change = decode::decode(event).map_err(|error| {
                Failure::stop(format!("source {}: after {}: {error}", self.settings.name, self.read))
            })?;
            if self.is_watched(&change) {
                self.delivery.change(&change, batch.too_large.as_deref(), &mut group).await?;
            }
            if self.has_to_follow() {
                Box::pin(self.follow(&change)).await?;
            }
            last = change.time.or(last);
            if group.records >= GROUP_RECORDS || group.bytes >= GROUP_BYTES {
                self.read = self.read.after(self.malformed(ResumeToken::new(change.token))?);
                self.end_group(&group, self.read.clone()).await?;
                group = self.begin_group();
            }
        }
        self.clean.handed_on(last.unwrap_or_default());
        let has_records = group.records as u64 + self.records_sent > records_before;
        self.beat(has_records, batch, &mut group).await?;
        self.read = self.read.moved_to(&batch.after);
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
            // It may be for others that what is on its way waits.
            () = tokio::time::sleep(NO_PROGRESS) => self.publisher.hurry(),
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
