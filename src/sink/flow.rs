//! The sink's loop: records in, batches out, one batch filling while those before it are written.

mod repair;
mod writing;

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

pub(super) use self::repair::Repair;
use self::writing::{Writing, Written};
use super::{
    DRAIN_BEFORE_HAND_OVER, Metrics,
    batch::{self, Added, Batch},
    command,
    consume::{self, Chunk, Consumer, Event},
    ddl::{self, Ddl},
    plan::{Skip, Write},
    progress::{Partition, Place, Progress},
    record::Record,
    stages::{Judged, Stages},
    write::{Target, Unwritten},
};
use crate::{config, kafka, namespace::TopicPattern, retry::Failure};

/// Longest time between a batch being durable and its offsets being committed.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// The loop's state.
pub(super) struct Flow {
    settings: Arc<config::Sink>,
    metrics: Arc<Metrics>,
    stages: Stages,
    /// The batch that fills.
    batch: Batch,
    /// What its records hold of the budget, and how much of that is too much.
    held: Held,
    max_held_bytes: usize,
    /// What the open batch does not take.
    next: Option<Next>,
    /// Records that wait for the batch, and what they hold.
    backlog: VecDeque<Backlog>,
    writing: Writing,
    pub(super) progress: Progress,
    repair: Repair,
    /// Before this the rate limit allows no further batch.
    not_before: Option<Instant>,
    /// When offsets that are durable have to be committed.
    commit_at: Option<Instant>,
    /// Reasons to skip a record that were told.
    told: HashSet<Skip>,
}

/// What has to wait until the open batch is on its way.
enum Next {
    /// It is the first of the next batch.
    Write(Box<(Write, Record)>),
    /// A change of a collection: after all before it, before all after it.
    Ddl(Box<(Ddl, Record)>),
}

impl Next {
    fn record(&self) -> &Record {
        match self {
            Self::Write(next) => &next.1,
            Self::Ddl(next) => &next.1,
        }
    }
}

struct Backlog {
    records: std::vec::IntoIter<Record>,
    permit: OwnedSemaphorePermit,
}

/// What the records of a batch hold of the budget, until it is dropped.
#[derive(Default)]
struct Held {
    permits: Vec<OwnedSemaphorePermit>,
    bytes: usize,
}

impl Held {
    fn push(&mut self, permit: OwnedSemaphorePermit) {
        self.bytes += permit.num_permits();
        self.permits.push(permit);
    }
}

/// Why the batch does not fill further.
enum Filled {
    /// It takes no more for now, or there is no more.
    AsFarAsPossible,
    /// The one before it has just begun to be written.
    Started,
}

impl Flow {
    /// `memory_bytes` is what may wait in the whole sink.
    pub(super) fn new(
        settings: Arc<config::Sink>,
        memory_bytes: usize,
        stages: Stages,
        target: Target,
        repair: Repair,
        metrics: Arc<Metrics>,
    ) -> Self {
        let config::Batch { max_records, max_bytes, max_age } = settings.batch;
        // A batch is not more than the rate allows in a second.
        let max_records =
            settings.max_records_per_second.map_or(max_records, |rate| max_records.min(rate as usize));
        let limits = batch::Limits { max_records, max_bytes, max_age };
        Self {
            batch: Batch::new(limits, settings.lanes),
            settings,
            metrics,
            stages,
            held: Held::default(),
            // One batch that fills and two that are on their way.
            max_held_bytes: consume::held_bytes(memory_bytes) / 3,
            next: None,
            backlog: VecDeque::new(),
            writing: Writing::new(target),
            progress: Progress::default(),
            repair,
            not_before: None,
            commit_at: None,
            told: HashSet::new(),
        }
    }

    /// Moves records until told to stop.
    ///
    /// # Errors
    /// Why it cannot go on.
    pub(super) async fn run(
        &mut self,
        consumer: &mut Consumer,
        stop: &CancellationToken,
        ready: &AtomicBool,
    ) -> Result<(), Failure> {
        loop {
            match self.fill() {
                // A task that has begun must not wait until a whole batch is filled on the thread that began it.
                Ok(Filled::Started) => {
                    tokio::task::yield_now().await;
                    continue;
                }
                Ok(Filled::AsFarAsPossible) => {}
                Err(failure) => {
                    // What is before the record that cannot be written is written and committed all the same.
                    self.drain().await?;
                    return Err(failure);
                }
            }
            let is_idle = self.writing.is_idle();
            let age =
                self.batch.deadline().max(self.not_before).filter(|_| is_idle && !self.batch.is_empty());
            let held = self.repair.retry_at().filter(|_| is_idle);
            tokio::select! {
                () = stop.cancelled() => return self.drain().await,
                event = consumer.next() => self.handle(event, ready).await?,
                written = self.writing.finish() => self.finished(written).await?,
                () = until(age) => {}
                () = until(held) => self.retry_held().await?,
                () = until(self.commit_at) => consumer.commit(self.take_commits()),
            }
        }
    }

    async fn handle(&mut self, event: Event, ready: &AtomicBool) -> Result<(), Failure> {
        match event {
            Event::Records(Chunk { records, permit }) => {
                let bytes: usize = records.iter().map(Record::len).sum();
                self.metrics.records.fetch_add(records.len() as u64, Relaxed);
                self.metrics.bytes.fetch_add(bytes as u64, Relaxed);
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
                self.repair.forget(&partitions);
                self.release();
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

    /// Moves records from the backlog into the batch as far as it takes them, or until it is time to write it, which is
    /// begun.
    fn fill(&mut self) -> Result<Filled, Failure> {
        let mut now = Instant::now();
        loop {
            let is_due = self.batch.deadline().is_some_and(|deadline| deadline <= now);
            let is_full = self.batch.is_full() || self.held.bytes >= self.max_held_bytes;
            if self.batch.is_empty()
                && let Some(Next::Ddl(_)) = self.next
            {
                let has_begun = self.start_ddl();
                return Ok(if has_begun { Filled::Started } else { Filled::AsFarAsPossible });
            }
            // A batch that is only due grows further while another is on its way.
            let is_pressing = (is_full && !self.batch.is_empty()) || self.next.is_some();
            if is_pressing || (is_due && self.writing.is_idle()) {
                if self.not_before.is_some_and(|start| start > now) || !self.start_writing(now) {
                    return Ok(Filled::AsFarAsPossible);
                }
                match self.next.take() {
                    Some(Next::Write(next)) => self.add_or_hold(next.0, next.1, now),
                    // A change of a collection waits once more, for this batch.
                    other => self.next = other,
                }
                return Ok(Filled::Started);
            }
            let Some(chunk) = self.backlog.front_mut() else {
                // Chunks whose records all went elsewhere belong to no batch.
                if self.batch.is_empty() {
                    self.held = Held::default();
                }
                return Ok(Filled::AsFarAsPossible);
            };
            match chunk.records.next() {
                Some(record) => self.take(record, now)?,
                None => {
                    // A chunk's bytes are given back with the batch that holds the last of its records.
                    self.backlog.pop_front().into_iter().for_each(|chunk| self.held.push(chunk.permit));
                    now = Instant::now();
                }
            }
        }
    }

    /// All the pure stages for one record.
    fn take(&mut self, record: Record, now: Instant) -> Result<(), Failure> {
        let judged = self.stages.judge(&record);
        for note in self.stages.take_notes() {
            tracing::info!(sink = self.settings.name, "{note}");
        }
        match judged {
            Ok(Judged::Ddl(ddl)) => self.next = Some(Next::Ddl(Box::new((ddl, record)))),
            Ok(Judged::Write(write)) => self.add_or_hold(write, record, now),
            Ok(Judged::Nothing(skip)) => {
                self.tell(&skip);
                self.metrics.skipped.fetch_add(1, Relaxed);
                self.progress.read(&record.place);
                self.batch.skip(record, now);
            }
            Err(refusal) => {
                self.repair.refuse(&record, &refusal)?;
                self.progress.read(&record.place);
                self.batch.skip(record, now);
            }
        }
        Ok(())
    }

    fn add_or_hold(&mut self, write: Write, record: Record, now: Instant) {
        if self.repair.holds(&write) {
            self.progress.read(&record.place);
            self.repair.hold_behind(&write, record.clone());
            return self.batch.skip(record, now);
        }
        match self.batch.add(write, record, now) {
            Added::Yes => {
                if let Some(place) = self.batch.last_place() {
                    self.progress.read(place);
                }
            }
            Added::CloseFirst(next) => self.next = Some(Next::Write(next)),
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
                    tracing::info!(sink, "tombstones that say nothing are skipped (told once)");
                }
                Skip::Dropped | Skip::Unchanged => {}
            }
        }
    }

    /// Starts to write the open batch; whether the way was free.
    fn start_writing(&mut self, now: Instant) -> bool {
        if !self.writing.takes(self.batch.split()) {
            return false;
        }
        let mut closed = self.batch.close();
        // Something may have come to be held since it was filled.
        self.repair.hold_back(&mut closed.lanes, &closed.records);
        let ticket = self.progress.close();
        if let Some(rate) = self.settings.max_records_per_second {
            let pause = Duration::from_secs_f64(closed.records.len() as f64 / f64::from(rate));
            self.not_before = Some(now + pause);
        }
        self.writing.start(closed, ticket, std::mem::take(&mut self.held));
        true
    }

    /// Begins to apply the change of a collection that is next, as a batch of its own; whether the way was free.
    fn start_ddl(&mut self) -> bool {
        if !self.writing.is_idle() {
            return false;
        }
        let next = match self.next.take() {
            Some(Next::Ddl(next)) => next,
            other => {
                self.next = other;
                return false;
            }
        };
        let (ddl, record) = *next;
        self.progress.read(&record.place);
        let ticket = self.progress.close();
        let (settings, target) = (Arc::clone(&self.settings), self.writing.target());
        self.writing.start_alone(async move {
            let outcome = match check_order(settings, &ddl, &record.place).await {
                Ok(()) => ddl::run(target.client(), &ddl).await,
                Err(failure) => Err(failure),
            };
            Written { ticket, records: vec![record], outcome: outcome.map(|()| Unwritten::default()) }
        });
        true
    }

    /// Brings a batch to its end. After a failure nothing is on its way any more.
    async fn finished(&mut self, written: Result<Written, Failure>) -> Result<(), Failure> {
        let outcome = match written {
            Ok(written) => self.conclude(written).await,
            Err(failure) => Err(failure),
        };
        if outcome.is_err() {
            self.writing.wind_up().await;
        }
        outcome
    }

    async fn conclude(&mut self, written: Written) -> Result<(), Failure> {
        let Written { ticket, records, outcome } = written;
        let mut unwritten = outcome?;
        let target = self.writing.target();
        if !unwritten.is_empty() {
            // It would only be given back as well.
            self.writing.let_nothing_follow();
        }
        if !unwritten.given_back.is_empty() {
            let mut lanes = std::mem::take(&mut unwritten.given_back);
            self.repair.hold_back(&mut lanes, &records);
            unwritten.extend(target.write_given_back(lanes).await?);
        }
        self.repair.batch(unwritten, records, &mut self.stages, &target).await?;
        self.repair.wait(ticket);
        self.release();
        self.metrics.batches.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Tries again what waits for another document.
    async fn retry_held(&mut self) -> Result<(), Failure> {
        self.repair.retry_held(&mut self.stages, &self.writing.target()).await?;
        self.release();
        Ok(())
    }

    /// Lets go of the batches of which nothing waits any more.
    fn release(&mut self) {
        for ticket in self.repair.take_done() {
            self.progress.written(ticket);
            self.commit_at.get_or_insert_with(|| Instant::now() + COMMIT_INTERVAL);
        }
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
            self.start_writing(Instant::now());
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

    /// Waits for the batches that are being written.
    pub(super) async fn settle(&mut self) -> Result<(), Failure> {
        while !self.writing.is_idle() {
            let written = self.writing.finish().await;
            self.finished(written).await?;
        }
        Ok(())
    }

    fn forget_backlog(&mut self, partitions: &[Partition]) {
        let is_kept = |place: &Place| !partitions.contains(&place.partition);
        self.next = self.next.take().filter(|next| is_kept(&next.record().place));
        for backlog in &mut self.backlog {
            let records: Vec<_> = backlog.records.by_ref().filter(|record| is_kept(&record.place)).collect();
            backlog.records = records.into_iter();
        }
    }
}

/// Changes of collections have a place among those of documents only where all are in one partition.
///
/// # Errors
/// When it has none.
async fn check_order(settings: Arc<config::Sink>, ddl: &Ddl, place: &Place) -> Result<(), Failure> {
    let topic = Arc::clone(&place.partition.topic);
    let is_alone =
        matches!(&settings.topics.include[..], [TopicPattern::Glob(only)] if only.literal().is_some());
    if ddl.operation == "rename" && !is_alone {
        return Err(Failure::stop(format!(
            "{place}: the collection was renamed, and events of the new name may be in another topic, so their order is not \
             known; publish all to one topic and name it alone in topics, or set ddl to \"ignore\""
        )));
    }
    let count = tokio::task::spawn_blocking(move || {
        let context = kafka::Context::new(format!("sink {}", settings.name));
        let reader = kafka::Reader::open(&settings.kafka, &context, &topic)?;
        let count = reader.partitions().map(|partitions| partitions.len());
        reader.close();
        count
    });
    match count.await.map_err(|error| Failure::retry(format!("a look at a topic broke off: {error}")))?? {
        1 => Ok(()),
        count => Err(Failure::stop(format!(
            "{place}: the event is about a collection, but the topic has {count} partitions, so its order among the \
             changes of documents is not known; set ddl to \"ignore\", or publish to topics with one partition"
        ))),
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
