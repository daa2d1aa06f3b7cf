//! What becomes of records whose writes were refused.
//!
//! A statement that stands for several records is taken apart into them, and each is tried by itself, in order: what is
//! sound is written, and what is not becomes a dead letter, if the settings tolerate it. A record that meets another
//! document's unique value is held, with all that follows for its document, while other partitions catch up; they may
//! bring the write that gives the value up. All that is held of a document is first tried as what it comes to, for which
//! the value may not be needed any more: so a replay of changes that were written before passes, in which another document
//! has the value by now. Nothing is committed past a held record, or a letter that has not arrived.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::super::{
    batch::{Added, Batch, Item, Lane, Limits},
    dead_letter::{DeadLetters, Letter},
    plan::Write,
    progress::{Partition, Ticket},
    record::Record,
    stages::{Judged, Refusal, Stages},
    verdict::Reason,
    write::{Target, Unwritten},
};
use crate::{
    config::{self, Tolerance},
    namespace::Namespace,
    retry::Failure,
};

/// Pause between two tries of what is held while nothing else is written.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// More bytes are not held: the verdict comes early then.
const MAX_HELD_BYTES: usize = 4 << 20;
/// A batch for one record.
const ALONE: Limits = Limits { max_records: 1, max_bytes: 1, max_age: Duration::ZERO };

/// Refused records on their way to a verdict.
pub(in crate::sink) struct Repair {
    settings: Arc<config::Sink>,
    letters: DeadLetters,
    held: Vec<Held>,
    /// The documents that they are about.
    keys: HashSet<Key>,
    held_bytes: usize,
    retry_at: Option<Instant>,
    /// Batches of which something is held, or that came after such.
    waiting: Vec<Ticket>,
}

/// A collection, and the hash of what a document's writes fold by. That two documents share one is as good as impossible,
/// and then one waits for the other.
type Key = (Arc<Namespace>, u64);

struct Held {
    record: Record,
    key: Key,
    /// When its verdict is due.
    deadline: Instant,
}

/// What became of a record that was written by itself.
enum Alone {
    Written,
    Refused(Letter),
    Conflict(Key, Reason),
}

impl Repair {
    pub(in crate::sink) fn new(settings: &Arc<config::Sink>, letters: DeadLetters) -> Self {
        Self {
            settings: Arc::clone(settings),
            letters,
            held: Vec::new(),
            keys: HashSet::new(),
            held_bytes: 0,
            retry_at: None,
            waiting: Vec::new(),
        }
    }

    /// A record that cannot be planned: a dead letter, or the end.
    pub(in crate::sink) fn refuse(&mut self, record: &Record, refusal: &Refusal) -> Result<(), Failure> {
        if self.settings.errors.tolerance == Tolerance::None {
            return Err(Failure::stop(format!(
                "{}: {refusal}; mend the sink's settings, or move the consumer group past this offset",
                record.place
            )));
        }
        self.letters.add(Letter::unreadable(record.clone(), refusal))
    }

    /// Whether a write is about a document of which a record is held.
    pub(in crate::sink) fn holds(&self, write: &Write) -> bool {
        !self.keys.is_empty() && self.keys.contains(&key_of(write))
    }

    /// Holds a record behind others of its document.
    pub(in crate::sink) fn hold_behind(&mut self, write: &Write, record: Record) {
        self.hold(key_of(write), record);
    }

    /// Takes what is about documents of which a record is held out of lanes that were not begun, and holds the records
    /// that it was made of.
    pub(in crate::sink) fn hold_back(&mut self, lanes: &mut Vec<Lane>, records: &[Record]) {
        if self.keys.is_empty() {
            return;
        }
        for lane in &mut *lanes {
            let keys = &self.keys;
            let held: Vec<_> = lane.items.extract_if(.., |item| keys.contains(&key_of_item(item))).collect();
            for item in held {
                for record in item.records.iter().filter_map(|index| records.get(index)) {
                    self.hold(key_of_item(&item), record.clone());
                }
            }
        }
        lanes.retain(|lane| !lane.items.is_empty());
    }

    fn hold(&mut self, key: Key, record: Record) {
        let deadline = Instant::now() + self.settings.unique_conflict_timeout;
        self.held_bytes += record.len();
        self.keys.insert(key.clone());
        self.held.push(Held { record: record.alone(), key, deadline });
        self.count_held();
    }

    /// When to try what is held.
    pub(in crate::sink) fn retry_at(&self) -> Option<Instant> {
        self.retry_at.filter(|_| !self.held.is_empty())
    }

    /// What is left of a batch. When it returns, each of its records is written, in the dead letter topic, or held.
    pub(in crate::sink) async fn batch(
        &mut self,
        unwritten: Unwritten,
        records: Vec<Record>,
        stages: &mut Stages,
        target: &Target,
    ) -> Result<(), Failure> {
        // By record, because partition order is the order that counts. A statement of a single record needs no second
        // try, unless the value that it met has been given up since.
        let mut parts: BTreeMap<usize, Option<Reason>> = BTreeMap::new();
        for (item, reason) in unwritten.refused {
            let mut indices = item.records.iter();
            match (indices.next(), indices.next()) {
                (Some(only), None) => drop(parts.insert(only, Some(reason))),
                _ => item.records.iter().for_each(|index| drop(parts.insert(index, None))),
            }
        }
        for (item, _) in unwritten.conflicts {
            item.records.iter().for_each(|index| drop(parts.insert(index, None)));
        }
        let left = |(index, record)| Some((record, parts.remove(&index)?));
        for (record, reason) in records.into_iter().enumerate().filter_map(left) {
            match reason {
                Some(reason) => self.letters.add(Letter::refused(record, &reason))?,
                None => self.alone(record, stages, target).await?,
            }
        }
        self.retry_held(stages, target).await?;
        self.letters.send().await
    }

    /// Writes one record by itself, or behind what is held of its document.
    async fn alone(&mut self, record: Record, stages: &mut Stages, target: &Target) -> Result<(), Failure> {
        match self.write_alone(&record, stages, target).await? {
            Alone::Written => Ok(()),
            Alone::Refused(letter) => self.letters.add(letter),
            Alone::Conflict(key, _) => {
                tracing::info!(
                    sink = self.settings.name,
                    place = %record.place,
                    namespace = %key.0,
                    "another document has the value of a unique index; the record waits for it to be given up"
                );
                self.hold(key, record);
                Ok(())
            }
        }
    }

    async fn write_alone(
        &self,
        record: &Record,
        stages: &mut Stages,
        target: &Target,
    ) -> Result<Alone, Failure> {
        let write = match stages.judge(record) {
            Ok(Judged::Write(write)) => write,
            Ok(Judged::Nothing(_) | Judged::Ddl(_)) => return Ok(Alone::Written),
            Err(refusal) => return Ok(Alone::Refused(Letter::unreadable(record.clone(), &refusal))),
        };
        let key = key_of(&write);
        if self.keys.contains(&key) {
            return Ok(Alone::Conflict(key, Reason::of_code(DUPLICATE_KEY)));
        }
        let mut batch = Batch::new(ALONE, 1);
        if let Added::CloseFirst(_) = batch.add(write, record.clone(), Instant::now()) {
            return Err(Failure::retry(format!("{}: an empty batch took no record", record.place)));
        }
        let Unwritten { refused, conflicts, .. } = target.write(batch.close().lanes).await?;
        if let Some((_, reason)) = refused.into_iter().next() {
            return Ok(Alone::Refused(Letter::refused(record.clone(), &reason)));
        }
        let conflict = conflicts.into_iter().next();
        Ok(conflict.map_or(Alone::Written, |(_, reason)| Alone::Conflict(key, reason)))
    }

    /// Writes what the held records of one document come to, if they can be one statement and nothing is in its way; whether
    /// that is done.
    async fn write_together(
        &self,
        held: &[Held],
        stages: &mut Stages,
        target: &Target,
    ) -> Result<bool, Failure> {
        let mut batch = Batch::new(ALONE, 1);
        for Held { record, .. } in held {
            let Ok(Judged::Write(write)) = stages.judge(record) else { return Ok(false) };
            if let Added::CloseFirst(_) = batch.add(write, record.clone(), Instant::now()) {
                return Ok(false);
            }
        }
        let lanes = batch.close().lanes;
        // Of several statements one could be written and the next not; then all would be tried again.
        let is_one = matches!(&lanes[..], [lane] if lane.items.len() == 1);
        Ok(is_one && target.write(lanes).await?.is_empty())
    }

    /// Tries what is held, in order; gives the verdict on what has waited long enough.
    pub(in crate::sink) async fn retry_held(
        &mut self,
        stages: &mut Stages,
        target: &Target,
    ) -> Result<(), Failure> {
        let (held, bytes) = (std::mem::take(&mut self.held), std::mem::take(&mut self.held_bytes));
        self.keys.clear();
        let mut alone = Vec::new();
        for of_one in by_document(held) {
            if of_one.len() == 1 || !self.write_together(&of_one, stages, target).await? {
                alone.extend(of_one);
            }
        }
        for entry in alone {
            let is_due = entry.deadline <= Instant::now() || bytes > MAX_HELD_BYTES;
            let is_first = !self.keys.contains(&entry.key);
            match self.write_alone(&entry.record, stages, target).await? {
                Alone::Written => {}
                Alone::Refused(letter) => self.letters.add(letter)?,
                Alone::Conflict(key, reason) if is_due && is_first => {
                    if !reason.is_tolerated(self.settings.errors.tolerance) {
                        let why = reason.explain(&key.0);
                        return Err(Failure::stop(format!("{}: {why}", entry.record.place)));
                    }
                    self.letters.add(Letter::refused(entry.record, &reason))?;
                }
                Alone::Conflict(..) => {
                    self.held_bytes += entry.record.len();
                    self.keys.insert(entry.key.clone());
                    self.held.push(entry);
                }
            }
        }
        self.retry_at = (!self.held.is_empty()).then(|| Instant::now() + RETRY_PAUSE);
        self.count_held();
        self.letters.send().await
    }

    /// What is held of partitions that go elsewhere is read again by their next owner.
    pub(in crate::sink) fn forget(&mut self, partitions: &[Partition]) {
        self.held.retain(|held| !partitions.contains(&held.record.place.partition));
        self.keys = self.held.iter().map(|held| held.key.clone()).collect();
        self.held_bytes = self.held.iter().map(|held| held.record.len()).sum();
        self.count_held();
    }

    fn count_held(&self) {
        self.letters.metrics().held_records.store(self.held.len() as u64, Relaxed);
    }

    /// A batch is written as far as it can be.
    pub(in crate::sink) fn wait(&mut self, ticket: Ticket) {
        self.waiting.push(ticket);
    }

    /// The batches of which nothing is held any more.
    pub(in crate::sink) fn take_done(&mut self) -> Vec<Ticket> {
        if self.held.is_empty() { std::mem::take(&mut self.waiting) } else { Vec::new() }
    }
}

const DUPLICATE_KEY: i32 = 11000;

/// The held records of each document, in the order of its first one.
fn by_document(held: Vec<Held>) -> Vec<Vec<Held>> {
    let mut documents: Vec<Vec<Held>> = Vec::new();
    let mut known = HashMap::new();
    for entry in held {
        let index = *known.entry(entry.key.clone()).or_insert(documents.len());
        if index == documents.len() {
            documents.push(Vec::new());
        }
        documents[index].push(entry);
    }
    documents
}

fn key_of(write: &Write) -> Key {
    (Arc::clone(&write.namespace), write.key.hash())
}

fn key_of_item(item: &Item) -> Key {
    (Arc::clone(&item.namespace), item.key_hash)
}
