//! The copy of what is there already, made while the stream goes on.
//!
//! A snapshot is read in waves. The source's loop holds the stream at a cluster time T at which it has handed on all
//! events up to T and none after; readers read ranges as they were at T; their documents go out as rows; when the wave
//! is over, the stream goes on. So a row always stands behind the events that led to it and before those that came
//! later, without anything being remembered or compared, and nothing is held back but the stream for a moment.
//!
//! Waves are short, and the next begins when the stream has caught up with where the last one ended: an oplog that is
//! shorter than the snapshot loses nothing. What is left to copy ([`Plan`]) is part of the source's position.

mod clean;
mod plan;
mod rate;
mod read;
mod row;
mod split;
mod sweep;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use mongodb::Client;
use tokio::task::JoinSet;

pub(super) use self::{
    clean::Clean,
    read::Rows,
    row::{with_key_in_id, write_delete, write_row},
    sweep::Deletes,
};
pub use self::{
    plan::{From, Id, Part, Plan, Step, Waiting},
    split::{estimated, everything, is_copied, select},
    sweep::obstacle,
};
use self::{
    rate::Rate,
    read::{Range, ReadError, Reader},
    sweep::Sweep,
};
use super::Metrics;
use crate::{
    config::{self, ClusterTime},
    kafka, mongo,
    namespace::Namespace,
    retry::{Backoff, Failure, Verdict},
};

/// A wave ends when the stream has waited this long for it…
const WAVE: Duration = Duration::from_millis(500);
/// …or this long, where the stream has nothing to hand on: servers keep the states of the last five minutes.
const LONG_WAVE: Duration = Duration::from_secs(20);

/// The next wave begins when the stream is this close, in seconds, to where the last one ended.
const CLOSE: u32 = 2;

/// Documents in the first range of a collection, when nothing is known of their size.
const FIRST_RANGE: u32 = 1000;

/// How often progress is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// A snapshot that is being made, or may be.
pub(super) struct Snapshot {
    client: Client,
    settings: Arc<config::Source>,
    metrics: Arc<Metrics>,
    kafka: kafka::Context,
    reader: Reader,
    /// Bytes of a range.
    range_bytes: usize,
    /// What is left, as of the rows that were handed on.
    plan: Plan,
    wave: Option<Wave>,
    /// What is being read or asked for.
    tasks: JoinSet<Done>,
    /// Parts of which a range is being read.
    busy: HashSet<u64>,
    is_splitting: bool,
    /// What compares a topic with its collection.
    sweep: Option<Sweep>,
    is_sweeping: bool,
    /// Bytes of a document, by collection.
    document_bytes: HashMap<Arc<Namespace>, usize>,
    /// Where the stream has to come before the next wave.
    catch_up_to: ClusterTime,
    not_before: Option<Instant>,
    backoff: Backoff,
    rate: Rate,
    begun: Instant,
    logged: Instant,
    /// Documents since it began.
    copied: u64,
}

/// What a task has found.
enum Done {
    Read(u64, Result<Rows, ReadError>),
    /// Where the first collection that waits is to be cut.
    Split(Arc<Namespace>, Result<Vec<Id>, Failure>),
    Swept(Option<Sweep>, Arc<Namespace>, Result<Deletes, Failure>),
    /// Where the deployment is now.
    Now(Result<ClusterTime, Failure>),
}

struct Wave {
    time: ClusterTime,
    begun: Instant,
    /// Whether no range is begun any more.
    is_ending: bool,
    /// Whether the deployment is being asked for its time, which is the last thing in a wave.
    is_asking: bool,
}

/// What a wave has brought.
pub(super) enum Event {
    /// The rows of a range.
    Rows(Rows, ClusterTime),
    /// Keys of documents that are no longer there.
    Deletes(Deletes, ClusterTime),
    /// The plan has changed without a row.
    Planned,
    /// The wave is over: the stream goes on.
    WaveOver,
}

impl Snapshot {
    /// A snapshot with this left to copy, which is nothing most of the time. `bytes` may be read at once.
    pub(super) fn new(
        client: &Client,
        settings: &Arc<config::Source>,
        metrics: &Arc<Metrics>,
        kafka: &kafka::Context,
        plan: Plan,
        bytes: usize,
    ) -> Self {
        let now = Instant::now();
        Self {
            client: client.clone(),
            reader: Reader::new(client, settings),
            settings: Arc::clone(settings),
            metrics: Arc::clone(metrics),
            kafka: kafka.clone(),
            // One more range may wait while its rows are handed on.
            range_bytes: (bytes / (settings.snapshot.threads + 1)).max(1),
            plan,
            wave: None,
            tasks: JoinSet::new(),
            busy: HashSet::new(),
            is_splitting: false,
            sweep: None,
            is_sweeping: false,
            document_bytes: HashMap::new(),
            catch_up_to: ClusterTime::default(),
            not_before: None,
            backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(10)),
            rate: Rate::new(settings.snapshot.max_documents_per_second),
            begun: now,
            logged: now,
            copied: 0,
        }
    }

    /// What is left, as of the rows that were handed on.
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether the stream has to wait.
    pub(super) fn is_reading(&self) -> bool {
        self.wave.is_some()
    }

    /// Whether a wave should begin, now that the stream can be held at `time`.
    pub(super) fn is_due(&self, time: ClusterTime) -> bool {
        self.wave.is_none()
            && !self.plan.is_empty()
            && time.seconds.saturating_add(CLOSE) >= self.catch_up_to.seconds
            && self.not_before.is_none_or(|not_before| not_before <= Instant::now())
            && self.rate.allows(Instant::now()) > 0
    }

    /// Begins a wave: until [`Event::WaveOver`] no event may be handed on.
    pub(super) fn begin_wave(&mut self, time: ClusterTime) {
        self.wave = Some(Wave { time, begun: Instant::now(), is_ending: false, is_asking: false });
    }

    /// How long to wait before the next wave.
    pub(super) fn pause(&self) -> Duration {
        let until = self.not_before.max(self.rate.free_at());
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    /// Ends the wave as soon as what is being read is handed on, unless it is young. `is_stream_waiting`: whether
    /// something has come that could be handed on.
    pub(super) fn look_at_clock(&mut self, is_stream_waiting: bool) {
        let Some(wave) = &mut self.wave else { return };
        let most = if is_stream_waiting { WAVE } else { LONG_WAVE };
        wave.is_ending |= wave.begun.elapsed() >= most;
    }

    /// What comes next in the wave; to be asked for only while [`Snapshot::is_reading`]. Safe to drop while waiting.
    ///
    /// # Errors
    /// When something cannot be copied at all.
    pub(super) async fn next(&mut self) -> Result<Event, Failure> {
        loop {
            self.begin_ranges();
            let Some(wave) = &mut self.wave else { return Ok(Event::WaveOver) };
            if self.tasks.is_empty() {
                // The stream has to come to where the deployment is now before the next wave.
                wave.is_asking = true;
                let client = self.client.clone();
                self.tasks.spawn(async move { Done::Now(mongo::operation_time(&client).await) });
            }
            let time = wave.time;
            let Some(done) = self.tasks.join_next().await else { continue };
            match done.map_err(|error| Failure::retry(format!("reading a range: {error}")))? {
                Done::Now(now) => {
                    self.catch_up_to = now?;
                    self.wave = None;
                    return Ok(Event::WaveOver);
                }
                Done::Split(namespace, borders) => {
                    self.is_splitting = false;
                    self.begin_collection(&namespace, borders?);
                    return Ok(Event::Planned);
                }
                Done::Swept(sweep, namespace, deletes) => {
                    self.is_sweeping = false;
                    self.sweep = sweep;
                    match deletes {
                        Ok(deletes) => return Ok(Event::Deletes(deletes, time)),
                        Err(failure) => self.wait_after(&namespace, failure)?,
                    }
                }
                Done::Read(part, Ok(rows)) => {
                    self.busy.remove(&part);
                    self.backoff.reset();
                    self.learn(&rows);
                    return Ok(Event::Rows(rows, time));
                }
                Done::Read(part, Err(error)) => {
                    self.busy.remove(&part);
                    if self.postpone(part, error)? {
                        return Ok(Event::Planned);
                    }
                }
            }
        }
    }

    /// The rows of the range are handed on.
    pub(super) fn finish(&mut self, step: &Step) {
        self.plan.finish(step);
        self.copied += step.documents;
        let eta = self.eta();
        self.metrics.snapshot_copied(step.documents, eta);
        let settings = &self.settings;
        if self.plan.is_empty() {
            let elapsed = self.begun.elapsed();
            tracing::info!(source = settings.name, documents = self.copied, ?elapsed, "the snapshot is read");
        } else if self.logged.elapsed() >= LOG_INTERVAL {
            self.logged = Instant::now();
            let (copied, left, collections) =
                (self.copied, self.plan.estimate(), self.plan.collections_left());
            tracing::info!(source = settings.name, copied, left, collections, ?eta, "copying");
        }
    }

    /// The deletes are handed on.
    pub(super) fn finish_sweep(&mut self, deletes: &Deletes) {
        if deletes.is_last {
            self.plan.finish_sweep(&deletes.namespace);
        }
    }

    /// How long the rest takes at the speed so far.
    fn eta(&self) -> Option<Duration> {
        let documents_per_second = self.copied as f64 / self.begun.elapsed().as_secs_f64();
        Duration::try_from_secs_f64((self.plan.estimate() as f64 / documents_per_second).round()).ok()
    }

    /// Adds collections to what is left.
    pub(super) fn add(&mut self, collections: Vec<Waiting>) {
        if self.plan.is_empty() {
            self.begun = Instant::now();
            self.copied = 0;
        }
        self.plan.add(collections);
    }

    /// Forgets what is left, and what is being read.
    pub(super) fn cancel(&mut self) {
        self.plan = Plan::default();
        self.tasks = JoinSet::new();
        self.busy.clear();
        self.is_splitting = false;
        self.is_sweeping = false;
    }

    /// The collection has a new name. Whether that changes what is left. Never during a wave.
    pub(super) fn rename(&mut self, from: &Namespace, to: Option<&Namespace>) -> bool {
        match to {
            Some(to) if is_copied(&self.settings, &to.db, &to.coll) => self.plan.rename(from, to),
            _ => self.plan.remove(from),
        }
    }

    /// The part has to be read again, later; or never, which changes the plan.
    fn postpone(&mut self, part: u64, error: ReadError) -> Result<bool, Failure> {
        let namespace =
            self.plan.parts().iter().find(|known| known.id == part).map(|part| Arc::clone(&part.namespace));
        let Some(namespace) = namespace else { return Ok(false) };
        let failure = match error {
            ReadError::NoCollection(reason) => {
                tracing::warn!(source = self.settings.name, %namespace, reason, "no longer a collection; not copied");
                return Ok(self.plan.remove(&namespace));
            }
            ReadError::Unavailable(reason) => Failure::retry(reason),
            ReadError::Failed(failure) => failure,
        };
        self.wait_after(&namespace, failure)?;
        Ok(false)
    }

    /// Ends the wave, and waits a while with the next, after a failure that may pass.
    fn wait_after(&mut self, namespace: &Namespace, failure: Failure) -> Result<(), Failure> {
        if failure.verdict == Verdict::Stop {
            return Err(failure);
        }
        let pause = self.backoff.next_pause();
        let reason = failure.message;
        tracing::debug!(source = self.settings.name, %namespace, reason, ?pause, "to be read again");
        self.not_before = Some(Instant::now() + pause);
        self.end_wave();
        Ok(())
    }

    /// Starts as many readers as there may be.
    fn begin_ranges(&mut self) {
        while self.wave.as_ref().is_some_and(|wave| !wave.is_ending && !wave.is_asking)
            && self.tasks.len() < self.settings.snapshot.threads
        {
            let Some(part) = self.plan.parts().iter().find(|part| !self.busy.contains(&part.id)) else {
                self.split_next();
                self.sweep_next();
                return;
            };
            let limit = self.limit(&part.namespace).min(self.rate.allows(Instant::now()));
            if limit == 0 {
                self.end_wave();
                return;
            }
            self.rate.take(limit, Instant::now());
            let range = Range {
                part: part.id,
                namespace: Arc::clone(&part.namespace),
                from: part.from.clone(),
                until: part.until.clone(),
                limit,
                time: self.wave.as_ref().map(|wave| wave.time).unwrap_or_default(),
            };
            self.busy.insert(part.id);
            let reader = self.reader.clone();
            self.tasks.spawn(async move { Done::Read(range.part, reader.read(range).await) });
        }
    }

    /// Looks where the next collection is to be cut, unless that is being done.
    fn split_next(&mut self) {
        let Some(collection) = self.plan.next_waiting().filter(|_| !self.is_splitting).cloned() else {
            return;
        };
        self.is_splitting = true;
        let (client, settings) = (self.client.clone(), Arc::clone(&self.settings));
        self.tasks.spawn(async move {
            let borders = split::borders(&client, &settings, &collection).await;
            Done::Split(collection.namespace, borders)
        });
    }

    /// Compares the next keys of a topic with its collection, once everything is copied.
    fn sweep_next(&mut self) {
        let is_copied = self.plan.parts().is_empty() && self.plan.waiting().len() == 0;
        if self.is_sweeping || !is_copied {
            return;
        }
        let Some(namespace) = self.plan.sweeps().next().cloned() else { return };
        self.is_sweeping = true;
        let sweep = self.sweep.take().filter(|sweep| sweep.namespace == namespace);
        let (client, settings, kafka) = (self.client.clone(), Arc::clone(&self.settings), self.kafka.clone());
        let time = self.wave.as_ref().map(|wave| wave.time).unwrap_or_default();
        self.tasks.spawn(async move {
            let (sweep, deletes) = sweep::next(sweep, &namespace, client, settings, &kafka, time).await;
            Done::Swept(sweep, namespace, deletes)
        });
    }

    fn begin_collection(&mut self, namespace: &Arc<Namespace>, borders: Vec<Id>) {
        // It may have been dropped or cancelled meanwhile.
        let Some(collection) = self.plan.next_waiting().filter(|next| next.namespace == *namespace) else {
            return;
        };
        let (source, documents, parts) = (&self.settings.name, collection.estimate, borders.len() + 1);
        tracing::info!(source, %namespace, documents, parts, "copying a collection");
        self.plan.begin(borders);
    }

    /// Begins no range any more.
    fn end_wave(&mut self) {
        if let Some(wave) = &mut self.wave {
            wave.is_ending = true;
        }
    }

    /// Documents that fill a range's bytes.
    fn limit(&self, namespace: &Arc<Namespace>) -> u32 {
        let most = self.settings.snapshot.range_size;
        match self.document_bytes.get(namespace) {
            None => most.min(FIRST_RANGE),
            Some(bytes) => {
                u32::try_from(self.range_bytes / (*bytes).max(1)).unwrap_or(u32::MAX).clamp(1, most)
            }
        }
    }

    fn learn(&mut self, rows: &Rows) {
        if let Some(bytes) =
            usize::try_from(rows.step.documents).ok().and_then(|count| rows.bytes.checked_div(count))
        {
            self.document_bytes.insert(Arc::clone(&rows.namespace), bytes);
        }
    }
}
