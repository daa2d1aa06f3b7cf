//! Kafka → MongoDB: one loop over the stages below.
//!
//! ```text
//! consume ▶ decode ▶ route ▶ identify ▶ plan ▶ batch ▶ write ▶ progress
//! ```
//!
//! While one batch is written the next one fills; batches are written one after the other, and within a batch each
//! document has one statement, so the order of a key holds whatever runs at once. An offset is committed when all
//! before it is written by a majority. After a crash the records since the last commit are written again, which leads
//! to the same end.
//!
//! A record that cannot be written stops the sink: what is before it is written and committed first, and the reason
//! names its place.

pub mod consume;
pub mod decode;
pub mod route;

pub mod identify;

pub mod plan;

pub mod delta;

pub mod batch;

pub mod write;

pub mod command;
pub mod verdict;

pub mod progress;

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use mongodb::bson::doc;
use tokio::{sync::OwnedSemaphorePermit, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub use self::consume::{Pause, is_drained};
use self::{
    batch::{Added, Batch},
    consume::{Chunk, Consumer, Event},
    decode::{Change, Record, Skip},
    plan::Write,
    progress::{Partition, Place, Progress, Ticket},
    route::Routes,
    write::Target,
};
use crate::{config, mongo, namespace::Patterns, retry::Failure};

/// Longest time between a batch being durable and its offsets being committed.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// How long partitions that go elsewhere may be written out. The callback that gives them up waits longer than this and
/// [`command::MAX_TIME`] together.
const DRAIN_BEFORE_HAND_OVER: Duration = Duration::from_secs(30);

/// What a sink needs.
#[derive(Clone)]
pub struct Context {
    /// What it is told to do.
    pub settings: Arc<config::Sink>,
    /// Its consumer group.
    pub group: String,
    /// Bytes that may wait in it, librdkafka's queues included.
    pub memory_bytes: usize,
    /// What the sources of this process watch, and where.
    pub watched: Vec<(config::Mongodb, Patterns)>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// Whether it is paused.
    pub pause: Arc<Pause>,
    /// Cancelled when it has to drain and return.
    pub stop: CancellationToken,
    /// Set while it is connected to both sides.
    pub ready: Arc<AtomicBool>,
}

/// What a sink counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Records read.
    pub records: AtomicU64,
    /// Bytes of their keys and values.
    pub bytes: AtomicU64,
    /// Records that write nothing: events about collections, tombstones in a topic of events, empty updates.
    pub skipped: AtomicU64,
    /// Statements written, after folding.
    pub documents: AtomicU64,
    /// Batches written.
    pub batches: AtomicU64,
    /// Commands sent.
    pub commands: AtomicU64,
    /// Pauses before something was tried again.
    pub retries: AtomicU64,
    /// Inserts that met a document and became replaces: replays.
    pub duplicates: AtomicU64,
    /// Commits of offsets.
    pub commits: AtomicU64,
    /// Records between the committed offsets and the ends of the partitions, as of the last statistics.
    pub lag_records: AtomicU64,
}

/// Runs a sink into the deployment behind `client` until it is told to stop (then `Ok`, with everything that was begun
/// written and committed) or fails.
///
/// # Errors
/// Why it cannot go on, and whether to start it again.
pub async fn run(client: mongodb::Client, context: Context) -> Result<(), Failure> {
    let Context { settings, group, memory_bytes, watched, metrics, pause, stop, ready } = context;
    let admin = client.database("admin");
    tokio::select! {
        reply = admin.run_command(doc! { "ping": 1 }) => {
            reply.map_err(|error| mongo::failure("cannot reach the sink's MongoDB", &error))?;
        }
        () = stop.cancelled() => return Ok(()),
    }
    let consumer = Consumer::start(&settings, &group, memory_bytes, &metrics, &pause)?;
    let watched =
        watched.into_iter().filter(|(mongodb, _)| *mongodb == settings.mongodb).map(|(_, watched)| watched);
    let routes = Routes::new(settings.namespace.clone(), settings.allow.clone(), watched.collect());
    let target = Target::new(client, Arc::clone(&metrics), stop.clone());
    let mut flow = Flow::new(settings, memory_bytes, routes, target, metrics);
    let mut consumer = consumer;
    let outcome = flow.run(&mut consumer, &stop, &ready).await;
    ready.store(false, Relaxed);
    // Also after a failure: nothing may still be written when the half starts again, and what is durable need not be
    // read again.
    let outcome = outcome.and(flow.settle().await);
    consumer.close(flow.progress.all_safe()).await;
    outcome
}

/// The loop's state.
struct Flow {
    settings: Arc<config::Sink>,
    metrics: Arc<Metrics>,
    routes: Routes,
    /// The batch that fills.
    batch: Batch,
    /// What its records hold of the budget, and how much of that is too much.
    held: Vec<OwnedSemaphorePermit>,
    max_held_bytes: usize,
    /// A write that the open batch does not take: it is the first of the next one.
    next: Option<(Write, Place)>,
    /// Records that wait for the batch, and what they hold.
    backlog: VecDeque<Backlog>,
    writing: Writing,
    progress: Progress,
    /// When offsets that are durable have to be committed.
    commit_at: Option<Instant>,
    /// Reasons to skip a record that were told.
    told: HashSet<Skip>,
}

struct Backlog {
    records: std::vec::IntoIter<Record>,
    permit: OwnedSemaphorePermit,
}

/// The way to MongoDB, free or busy with a batch.
enum Writing {
    Idle(Box<Target>),
    Busy(JoinHandle<Written>),
    /// A write that never came back; the loop is at its end.
    Broken,
}

/// A batch that was written, or not.
struct Written {
    target: Box<Target>,
    ticket: Ticket,
    outcome: Result<(), Failure>,
}

impl Flow {
    fn new(
        settings: Arc<config::Sink>,
        memory_bytes: usize,
        routes: Routes,
        target: Target,
        metrics: Arc<Metrics>,
    ) -> Self {
        let config::Batch { max_records, max_bytes, max_age } = settings.batch;
        Self {
            settings,
            metrics,
            routes,
            batch: Batch::new(batch::Limits { max_records, max_bytes, max_age }),
            held: Vec::new(),
            // One batch that fills, one that is written, and one part for what is read meanwhile.
            max_held_bytes: memory_bytes / 2 / 3,
            next: None,
            backlog: VecDeque::new(),
            writing: Writing::Idle(Box::new(target)),
            progress: Progress::default(),
            commit_at: None,
            told: HashSet::new(),
        }
    }

    async fn run(
        &mut self,
        consumer: &mut Consumer,
        stop: &CancellationToken,
        ready: &AtomicBool,
    ) -> Result<(), Failure> {
        loop {
            if let Err(failure) = self.fill() {
                // What is before the record that cannot be written is written and committed all the same.
                self.drain().await?;
                return Err(failure);
            }
            let age = self.batch.deadline().filter(|_| matches!(self.writing, Writing::Idle(_)));
            tokio::select! {
                () = stop.cancelled() => return self.drain().await,
                event = consumer.next() => self.handle(event, ready).await?,
                written = self.writing.finish() => self.finished(written?)?,
                () = until(age) => {}
                () = until(self.commit_at) => consumer.commit(self.take_commits()),
            }
        }
    }

    async fn handle(&mut self, event: Event, ready: &AtomicBool) -> Result<(), Failure> {
        match event {
            Event::Records(Chunk { records, permit }) => {
                self.backlog.push_back(Backlog { records: records.into_iter(), permit });
            }
            Event::NoTopics => ready.store(true, Relaxed),
            Event::Assigned(partitions) => {
                tracing::info!(
                    sink = self.settings.name,
                    partitions = list(&partitions),
                    "partitions assigned"
                );
                ready.store(true, Relaxed);
            }
            Event::Revoked { partitions, answer } => {
                self.forget_backlog(&partitions);
                self.drain_in_time().await?;
                let safe = self.progress.safe(&partitions);
                partitions.iter().for_each(|partition| self.progress.forget(partition));
                tracing::info!(
                    sink = self.settings.name,
                    partitions = list(&partitions),
                    "partitions given up"
                );
                if answer.send(safe).is_err() {
                    return Err(Failure::retry(
                        "partitions went elsewhere before their records were written",
                    ));
                }
            }
            Event::Lost(partitions) if partitions.is_empty() => {}
            Event::Lost(partitions) => {
                // Somebody else reads them already, so nothing more of them may be written. They share batches with
                // other partitions: begin anew.
                self.writing.abort();
                partitions.iter().for_each(|partition| self.progress.forget(partition));
                let partitions = list(&partitions);
                return Err(Failure::retry(format!(
                    "the group took {partitions} away: no heartbeat in time"
                )));
            }
            Event::Failed(failure) => return Err(failure),
        }
        Ok(())
    }

    /// Moves records from the backlog into the batch as far as it takes them, and starts to write it when it is time.
    fn fill(&mut self) -> Result<(), Failure> {
        loop {
            let now = Instant::now();
            let held_bytes: usize = self.held.iter().map(OwnedSemaphorePermit::num_permits).sum();
            let is_due = self.batch.deadline().is_some_and(|deadline| deadline <= now);
            let is_full = self.batch.is_full() || held_bytes >= self.max_held_bytes;
            if is_due || (is_full && !self.batch.is_empty()) || self.next.is_some() {
                if !self.start_writing() {
                    return Ok(());
                }
                if let Some((write, place)) = self.next.take() {
                    self.add(write, place, now);
                }
            }
            match self.next_record() {
                Some(record) => self.take(record, now)?,
                None => {
                    // Chunks whose records all went elsewhere belong to no batch.
                    if self.batch.is_empty() {
                        self.held.clear();
                    }
                    return Ok(());
                }
            }
        }
    }

    fn next_record(&mut self) -> Option<Record> {
        loop {
            if let Some(record) = self.backlog.front_mut()?.records.next() {
                return Some(record);
            }
            // A chunk's bytes are given back with the batch that holds the last of its records.
            self.held.extend(self.backlog.pop_front().map(|backlog| backlog.permit));
        }
    }

    /// All the pure stages for one record.
    fn take(&mut self, record: Record, now: Instant) -> Result<(), Failure> {
        self.metrics.records.fetch_add(1, Relaxed);
        let bytes = record.key.as_ref().map_or(0, Vec::len) + record.value.as_ref().map_or(0, Vec::len);
        self.metrics.bytes.fetch_add(bytes as u64, Relaxed);
        let place = record.place.clone();
        let refused = |reason: &dyn std::fmt::Display| {
            Failure::stop(format!(
                "{place}: {reason}; mend the sink's settings, or move the consumer group past this offset"
            ))
        };
        let change =
            decode::decode(record, self.settings.value, self.settings.format).map_err(|e| refused(&e))?;
        let namespace = match &change {
            Change::Skipped(skip) => {
                self.tell(skip);
                None
            }
            change => Some(
                self.routes.target(&place.partition.topic, change.namespace()).map_err(|e| refused(&e))?,
            ),
        };
        let write = match namespace {
            Some(namespace) => plan::plan(change, namespace).map_err(|e| refused(&e))?,
            None => None,
        };
        match write {
            Some(write) => self.add(write, place, now),
            None => {
                self.metrics.skipped.fetch_add(1, Relaxed);
                self.progress.read(&place);
                self.batch.skip(now);
            }
        }
        Ok(())
    }

    fn add(&mut self, write: Write, place: Place, now: Instant) {
        match self.batch.add(write, place.clone(), now) {
            Added::Yes => self.progress.read(&place),
            Added::CloseFirst(write) => self.next = Some((write, place)),
        }
    }

    fn tell(&mut self, skip: &Skip) {
        if self.told.insert(skip.clone()) {
            let sink = &self.settings.name;
            match skip {
                Skip::Operation(name) => tracing::info!(sink, "{name} events are skipped (told once)"),
                Skip::UnknownOperation => {
                    tracing::warn!(
                        sink,
                        "events of an operation that this version does not know are skipped (told once)"
                    );
                }
                Skip::Tombstone => {
                    tracing::info!(sink, "tombstones in a topic of events are skipped (told once)");
                }
            }
        }
    }

    /// Starts to write the open batch; whether the way was free.
    fn start_writing(&mut self) -> bool {
        let mut target = match std::mem::replace(&mut self.writing, Writing::Broken) {
            Writing::Idle(target) => target,
            busy => {
                self.writing = busy;
                return false;
            }
        };
        let lanes = self.batch.close(self.settings.lanes);
        let held = std::mem::take(&mut self.held);
        let ticket = self.progress.close();
        self.writing = Writing::Busy(tokio::spawn(async move {
            let outcome = target.write(lanes).await;
            drop(held);
            Written { target, ticket, outcome }
        }));
        true
    }

    fn finished(&mut self, written: Written) -> Result<(), Failure> {
        self.writing = Writing::Idle(written.target);
        written.outcome?;
        self.progress.written(written.ticket);
        self.metrics.batches.fetch_add(1, Relaxed);
        self.commit_at.get_or_insert_with(|| Instant::now() + COMMIT_INTERVAL);
        Ok(())
    }

    fn take_commits(&mut self) -> Vec<(Partition, i64)> {
        self.commit_at = None;
        self.progress.take_commits()
    }

    /// Writes all that is in a batch. What is still in the backlog was never begun.
    async fn drain(&mut self) -> Result<(), Failure> {
        loop {
            self.settle().await?;
            if self.batch.is_empty() {
                return Ok(());
            }
            self.start_writing();
        }
    }

    /// As [`Self::drain`], for partitions that somebody else is waiting for: what is not written in time must not be
    /// written after its next owner has begun.
    async fn drain_in_time(&mut self) -> Result<(), Failure> {
        if let Ok(outcome) = tokio::time::timeout(DRAIN_BEFORE_HAND_OVER, self.drain()).await {
            return outcome;
        }
        self.writing.abort();
        // The command that was under way when it broke off may still run in the server, but not for longer than this.
        tokio::time::sleep(command::MAX_TIME).await;
        Err(Failure::retry("partitions went elsewhere, and MongoDB did not take their records in time"))
    }

    /// Waits for the batch that is being written, if there is one.
    async fn settle(&mut self) -> Result<(), Failure> {
        if matches!(self.writing, Writing::Busy(_)) {
            let written = self.writing.finish().await?;
            self.finished(written)?;
        }
        Ok(())
    }

    fn forget_backlog(&mut self, partitions: &[Partition]) {
        let is_kept = |place: &Place| !partitions.contains(&place.partition);
        self.next = self.next.take().filter(|(_, place)| is_kept(place));
        for backlog in &mut self.backlog {
            let records: Vec<_> = backlog.records.by_ref().filter(|record| is_kept(&record.place)).collect();
            backlog.records = records.into_iter();
        }
    }
}

impl Writing {
    /// Returns when the batch that is being written is; never, if there is none. Cancel-safe.
    async fn finish(&mut self) -> Result<Written, Failure> {
        let outcome = match self {
            Self::Busy(task) => task.await,
            Self::Idle(_) | Self::Broken => std::future::pending().await,
        };
        outcome.map_err(|error| {
            *self = Self::Broken;
            Failure::retry(format!("writing a batch broke off: {error}"))
        })
    }

    fn abort(&self) {
        if let Self::Busy(task) = self {
            task.abort();
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn list(partitions: &[Partition]) -> String {
    partitions.iter().map(Partition::to_string).collect::<Vec<_>>().join(" ")
}
