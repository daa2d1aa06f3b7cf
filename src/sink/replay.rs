//! Dead letters → back through the sink.
//!
//! To write an old record over what came after it would break the order of its key. So a letter is not replayed alone:
//! from the letter's offset up to where the sink's group stands, all records of the same key are read again from their
//! topic and go through the same stages, in order, which leads to the state that the topic describes. What the topic no
//! longer has is taken from the letter. The sink must not run meanwhile: nobody else may write these documents.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use rdkafka::{Message, TopicPartitionList};
use tokio::task::block_in_place;

use super::{
    Context,
    arena::Arena,
    batch::{Added, Batch, Limits},
    dead_letter::{CONNECT_HEADERS, DeadLetters, HEADERS},
    flow::Repair,
    progress::{Partition, Place},
    record::{Header, Record, Timestamp},
    stages::{Judged, Stages},
    write::Target,
};
use crate::{
    config,
    kafka::{self, Group, Offsets},
    retry::Failure,
};

/// Letters are replayed in rounds of about so many bytes.
const ROUND_BYTES: usize = 32 << 20;

/// What a replay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Letters of this sink.
    pub letters: u64,
    /// Records that went through the sink: the letters', and those after them with the same keys.
    pub records: u64,
    /// Records that could not be written this time either.
    pub refused: u64,
}

/// The letters of one partition of a topic, by offset.
type Letters = BTreeMap<i64, Record>;

/// Replays all letters of a sink that no replay has read yet.
///
/// # Errors
/// When there is no dead letter topic, the sink runs, or something cannot be read or written.
pub async fn replay(client: mongodb::Client, context: Context) -> Result<Report, Failure> {
    let settings = Arc::clone(&context.settings);
    let Some(topic) = settings.errors.dead_letter_topic.clone() else {
        return Err(Failure::stop(format!("sinks.{} has no errors.dead_letter_topic", settings.name)));
    };
    let half = kafka::Context::new(format!("sink {}", settings.name));
    let mut shelf = block_in_place(|| Shelf::open(&settings, &context.group, &topic, &half))?;
    let mut way = Way::new(client, &context)?;
    let mut report = Report::default();
    loop {
        let round = block_in_place(|| shelf.round())?;
        if round.is_empty() {
            break;
        }
        for (partition, letters) in round {
            report.letters += letters.len() as u64;
            way.partition(&shelf, &partition, letters, &half).await?;
        }
        way.settle().await?;
        block_in_place(|| shelf.commit())?;
    }
    report.records = way.records;
    report.refused = context.metrics.dead_letters.load(std::sync::atomic::Ordering::Relaxed);
    shelf.close();
    Ok(report)
}

/// The dead letter topic, and how far replays have come in it.
struct Shelf {
    settings: Arc<config::Sink>,
    reader: kafka::Reader,
    /// Keeps the replays' own offsets.
    keeper: Group,
    /// The sink's.
    sink: Group,
    name: String,
    next: Offsets,
}

impl Shelf {
    fn open(
        settings: &Arc<config::Sink>,
        group: &str,
        topic: &str,
        context: &kafka::Context,
    ) -> Result<Self, Failure> {
        let mut reader = kafka::Reader::open(&settings.kafka, context, topic)?;
        let sink = Group::open(&settings.kafka, context, group)?;
        if sink.members()? > 0 {
            return Err(Failure::stop(format!(
                "group {group} has members: stop the sink first, because nobody else may write the same documents"
            )));
        }
        let keeper = Group::open(&settings.kafka, context, &format!("{group}.dlq"))?;
        let partitions = reader.partitions()?;
        let committed = committed(&keeper, topic, &partitions)?;
        let mut from = Vec::new();
        for partition in partitions {
            let (low, _) = reader.watermarks(partition)?;
            let next = committed.0.get(&(topic.to_owned(), partition)).copied().unwrap_or(low);
            from.push((partition, next.max(low)));
        }
        reader.assign(&from)?;
        let next = from.into_iter().map(|(partition, next)| ((topic.to_owned(), partition), next));
        let next = Offsets(next.collect());
        Ok(Self { settings: Arc::clone(settings), reader, keeper, sink, name: group.to_owned(), next })
    }

    /// The next letters of this sink; none at the end.
    fn round(&mut self) -> Result<BTreeMap<Partition, Letters>, Failure> {
        let mut round: BTreeMap<Partition, Letters> = BTreeMap::new();
        let mut bytes = 0;
        let mut arena = Arena::default();
        while bytes < ROUND_BYTES {
            let Some(message) = self.reader.read()? else { break };
            self.next.0.insert((message.topic().to_owned(), message.partition()), message.offset() + 1);
            let record = Record::of(&message, message.topic().into(), &mut arena);
            let Some(record) = letter(&record, &self.name) else { continue };
            bytes += record.len();
            let place = record.place.clone();
            round.entry(place.partition).or_default().insert(place.offset, record);
        }
        Ok(round)
    }

    /// Where the sink's group stands in a partition.
    fn stands_at(&self, partition: &Partition) -> Result<i64, Failure> {
        let committed = committed(&self.sink, &partition.topic, &[partition.number])?;
        Ok(committed.0.into_values().next().unwrap_or_default())
    }

    /// What was read so far needs no other replay.
    fn commit(&self) -> Result<(), Failure> {
        self.keeper.commit(&self.next)
    }

    fn close(self) {
        self.reader.close();
        self.keeper.close();
        self.sink.close();
    }
}

fn committed(group: &Group, topic: &str, partitions: &[i32]) -> Result<Offsets, Failure> {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(topic, *partition);
    }
    group.committed(&list)
}

/// The record that a letter of this group stands for.
fn letter(letter: &Record, group: &str) -> Option<Record> {
    let text = |prefix: &str, name: &str| {
        let name = format!("{prefix}{name}");
        let header = letter.headers.iter().rfind(|header| header.name == name)?;
        std::str::from_utf8(header.value.as_deref()?).ok()
    };
    if text(CONNECT_HEADERS, "connector.name")? != group {
        return None;
    }
    let number = text(CONNECT_HEADERS, "partition")?.parse().ok()?;
    let offset = text(CONNECT_HEADERS, "offset")?.parse().ok()?;
    let partition = Partition { topic: text(CONNECT_HEADERS, "topic")?.into(), number };
    let is_own =
        |header: &&Header| !header.name.starts_with(CONNECT_HEADERS) && !header.name.starts_with(HEADERS);
    Some(Record {
        place: Place { partition, offset },
        timestamp: letter.timestamp.millis().map_or(Timestamp::None, Timestamp::Create),
        key: letter.key.clone(),
        value: letter.value.clone(),
        headers: letter.headers.iter().filter(is_own).cloned().collect(),
    })
}

/// The sink's own stages, one batch after the other.
struct Way {
    stages: Stages,
    target: Target,
    repair: Repair,
    batch: Batch,
    records: u64,
}

impl Way {
    fn new(client: mongodb::Client, context: &Context) -> Result<Self, Failure> {
        let Context { settings, group, watched, metrics, stop, .. } = context;
        let watched = watched.iter().filter(|(mongodb, _)| *mongodb == settings.mongodb);
        let stages = Stages::new(Arc::clone(settings), watched.map(|(_, watched)| watched.clone()).collect());
        let target = Target::new(client, Arc::clone(settings), Arc::clone(metrics), stop);
        let repair = Repair::new(settings, DeadLetters::new(settings, group, metrics)?);
        let config::Batch { max_records, max_bytes, max_age } = settings.batch;
        let batch = Batch::new(Limits { max_records, max_bytes, max_age }, settings.lanes);
        Ok(Self { stages, target, repair, batch, records: 0 })
    }

    /// The letters of one partition, and what came after them with the same keys.
    async fn partition(
        &mut self,
        shelf: &Shelf,
        partition: &Partition,
        mut letters: Letters,
        context: &kafka::Context,
    ) -> Result<(), Failure> {
        let end = block_in_place(|| shelf.stands_at(partition))?;
        // What the sink has not committed it will read again by itself.
        drop(letters.split_off(&end));
        let Some(first) = letters.keys().next().copied() else { return Ok(()) };
        let mut keys: HashMap<Bytes, i64> = HashMap::new();
        for (offset, letter) in &letters {
            if let Some(key) = &letter.key {
                keys.entry(key.clone()).or_insert(*offset);
            }
        }
        let mut reader = block_in_place(|| -> Result<_, Failure> {
            let mut reader = kafka::Reader::open(&shelf.settings.kafka, context, &partition.topic)?;
            let (low, _) = reader.watermarks(partition.number)?;
            reader.assign(&[(partition.number, first.max(low))])?;
            Ok(reader)
        })?;
        let mut arena = Arena::default();
        loop {
            let read = block_in_place(|| -> Result<_, Failure> {
                let topic = Arc::clone(&partition.topic);
                Ok(reader.read()?.map(|message| Record::of(&message, topic, &mut arena)))
            })?;
            let Some(record) = read.filter(|record| record.place.offset < end) else { break };
            let offset = record.place.offset;
            // Those that the topic no longer has.
            let later = letters.split_off(&offset);
            for letter in std::mem::replace(&mut letters, later).into_values() {
                self.take(letter).await?;
            }
            let is_later =
                record.key.as_ref().and_then(|key| keys.get(key)).is_some_and(|from| *from < offset);
            if letters.remove(&offset).is_some() || is_later {
                self.take(record).await?;
            }
        }
        reader.close();
        for letter in letters.into_values() {
            self.take(letter).await?;
        }
        Ok(())
    }

    async fn take(&mut self, record: Record) -> Result<(), Failure> {
        self.records += 1;
        let now = Instant::now();
        match self.stages.judge(&record) {
            Ok(Judged::Write(write)) if self.repair.holds(&write) => self.repair.hold_behind(&write, record),
            Ok(Judged::Write(write)) => {
                if let Added::CloseFirst(next) = self.batch.add(write, record, now) {
                    self.write().await?;
                    let (write, record) = *next;
                    if let Added::CloseFirst(_) = self.batch.add(write, record, now) {
                        return Err(Failure::retry("an empty batch took no record"));
                    }
                }
            }
            // What is done to a whole collection is not done again behind what came after it.
            Ok(Judged::Nothing(_) | Judged::Ddl(_)) => {}
            Err(refusal) => self.repair.refuse(&record, &refusal)?,
        }
        if self.batch.is_full() { self.write().await } else { Ok(()) }
    }

    async fn write(&mut self) -> Result<(), Failure> {
        let mut closed = self.batch.close();
        self.repair.hold_back(&mut closed.lanes, &closed.records);
        let unwritten = self.target.write(closed.lanes).await?;
        self.repair.batch(unwritten, closed.records, &mut self.stages, &self.target).await
    }

    /// Until nothing is held any more.
    async fn settle(&mut self) -> Result<(), Failure> {
        self.write().await?;
        while let Some(at) = self.repair.retry_at() {
            tokio::time::sleep_until(at.into()).await;
            self.repair.retry_held(&mut self.stages, &self.target).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_gives_back_its_record_and_only_to_its_own_sink() {
        let header = |name: &str, value: &str| Header { name: name.into(), value: Some(value.into()) };
        let place = |topic: &str, number, offset| Place {
            partition: Partition { topic: topic.into(), number },
            offset,
        };
        let sent = Record {
            place: place("shop.dlq", 0, 99),
            timestamp: Timestamp::Create(5),
            key: Some(b"k"[..].into()),
            value: None,
            headers: vec![
                header("mine", "1"),
                header("__connect.errors.topic", "shop.orders"),
                header("__connect.errors.partition", "3"),
                header("__connect.errors.offset", "42"),
                header("__connect.errors.connector.name", "millrace.shop.copy"),
                header("millrace.error.code", "121"),
            ],
        };
        let found = letter(&sent, "millrace.shop.copy").expect("its own");
        assert_eq!(found.place, place("shop.orders", 3, 42));
        assert_eq!((found.key, found.value), (Some(b"k"[..].into()), None));
        assert_eq!(found.headers, [header("mine", "1")]);
        assert!(letter(&sent, "millrace.shop.other").is_none());
    }
}
