//! Reads a topic from its beginning to its end, and writes records into one.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use rdkafka::{
    ClientConfig, ClientContext, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::KafkaError,
    message::{DeliveryResult, Headers},
    producer::{BaseProducer, BaseRecord, Producer, ProducerContext},
};

use crate::wait;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest silence of the broker while a topic is being read.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// A record as it lies in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Its place there.
    pub offset: i64,
    /// The key's bytes, if there is a key.
    pub key: Option<Vec<u8>>,
    /// The value's bytes; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Milliseconds since the epoch.
    pub timestamp: Option<i64>,
    /// Headers in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    /// The value of the header of this name, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.and_then(|(_, value)| std::str::from_utf8(value.as_deref()?).ok())
    }
}

/// All records that are in `topics` now, each partition in order.
pub async fn read(bootstrap: &str, topics: Vec<String>) -> Result<Vec<Record>> {
    let bootstrap = bootstrap.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        let mut records = Vec::new();
        visit_blocking(&bootstrap, &topics, |record| {
            records.push(record);
            Ok(())
        })?;
        Ok(records)
    });
    reading.await?
}

/// Shows all records that are in `topics` now, each partition in order, to `visitor`, which is given back: for topics that
/// are too large for memory.
pub async fn visit<V: Visitor + 'static>(bootstrap: &str, topics: Vec<String>, mut visitor: V) -> Result<V> {
    let bootstrap = bootstrap.to_owned();
    let visiting = tokio::task::spawn_blocking(move || {
        visit_blocking(&bootstrap, &topics, |record| visitor.visit(&record))?;
        Ok(visitor)
    });
    visiting.await?
}

/// Looks at records one by one.
pub trait Visitor: Send {
    /// An error ends the visit.
    fn visit(&mut self, record: &Record) -> Result<()>;
}

/// Where partitions end: the offset of the record that comes next, by topic and partition.
pub type Ends = HashMap<(String, i32), i64>;

/// Where the partitions of `topics` end, once they stay where they are: what a killed process sent last may still be on
/// its way through the broker.
pub async fn settled_ends(bootstrap: &str, topics: Vec<String>) -> Result<Ends> {
    let mut last = None;
    wait::until("the topics to stay as they are", REQUEST_TIMEOUT, async || {
        let ends = ends(bootstrap, topics.clone()).await?;
        let same = last.as_ref() == Some(&ends);
        last = Some(ends);
        Ok(same.then(|| last.take().unwrap_or_default()))
    })
    .await
}

async fn ends(bootstrap: &str, topics: Vec<String>) -> Result<Ends> {
    let bootstrap = bootstrap.to_owned();
    let looking = tokio::task::spawn_blocking(move || {
        let consumer = consumer(&bootstrap)?;
        let mut ends = Ends::new();
        for topic in &topics {
            for partition in partitions(&consumer, topic)? {
                let (_, high) = consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT)?;
                ends.insert((topic.clone(), partition), high);
            }
        }
        Ok(ends)
    });
    looking.await?
}

/// How many records lie in `topics` now, as the partitions' ends tell. Control records count too.
pub async fn count(bootstrap: &str, topics: Vec<String>) -> Result<u64> {
    let bootstrap = bootstrap.to_owned();
    let counting = tokio::task::spawn_blocking(move || {
        let consumer = consumer(&bootstrap)?;
        let mut count = 0;
        for topic in &topics {
            for partition in partitions(&consumer, topic)? {
                let (low, high) = consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT)?;
                count += u64::try_from(high - low)?;
            }
        }
        Ok(count)
    });
    counting.await?
}

/// How many records of `topics` the consumer group has committed as done.
pub async fn committed(bootstrap: &str, group: &str, topics: Vec<String>) -> Result<u64> {
    let mut config = config(bootstrap);
    config.set("group.id", group);
    let counting = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = config.create()?;
        let mut wanted = TopicPartitionList::new();
        for topic in &topics {
            for partition in partitions(&consumer, topic)? {
                wanted.add_partition(topic, partition);
            }
        }
        let found = consumer.committed_offsets(wanted, REQUEST_TIMEOUT)?;
        Ok(found.elements().iter().filter_map(|element| element.offset().to_raw()).filter_map(positive).sum())
    });
    counting.await?
}

/// Commits for the consumer group, which has no members, where it goes on in each partition.
pub async fn commit(bootstrap: &str, group: &str, next_offsets: Ends) -> Result<()> {
    let mut config = config(bootstrap);
    config.set("group.id", group);
    let committing = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = config.create()?;
        let mut list = TopicPartitionList::new();
        for ((topic, partition), next_offset) in &next_offsets {
            list.add_partition_offset(topic, *partition, Offset::Offset(*next_offset))?;
        }
        Ok(consumer.commit(&list, CommitMode::Sync)?)
    });
    committing.await?
}

/// Offsets that mean "none" are negative.
fn positive(offset: i64) -> Option<u64> {
    u64::try_from(offset).ok()
}

/// Waits for the next record of a topic.
pub struct Arrival {
    consumer: BaseConsumer,
}

impl Arrival {
    /// Ready to see the first record behind those that are there now.
    pub async fn at_the_end_of(bootstrap: &str, topic: &str) -> Result<Self> {
        let (bootstrap, topic) = (bootstrap.to_owned(), topic.to_owned());
        let making = tokio::task::spawn_blocking(move || {
            let consumer = consumer(&bootstrap)?;
            let mut assignment = TopicPartitionList::new();
            for partition in partitions(&consumer, &topic)? {
                let (_, high) = consumer.fetch_watermarks(&topic, partition, REQUEST_TIMEOUT)?;
                assignment.add_partition_offset(&topic, partition, Offset::Offset(high))?;
            }
            consumer.assign(&assignment)?;
            Ok(Self { consumer })
        });
        making.await?
    }

    /// Returns when a record is there.
    pub async fn next(self, within: Duration) -> Result<()> {
        let waiting = tokio::task::spawn_blocking(move || {
            let deadline = Instant::now() + within;
            while Instant::now() < deadline {
                match self.consumer.poll(within) {
                    Some(Ok(_)) => return Ok(()),
                    Some(Err(KafkaError::PartitionEOF(_))) | None => {}
                    Some(Err(error)) => return Err(error.into()),
                }
            }
            anyhow::bail!("no record came within {within:?}")
        });
        waiting.await?
    }
}

/// A record to write: key and value.
pub type Entry = (Option<Vec<u8>>, Option<Vec<u8>>);

/// Writes records into a topic and waits until each is acknowledged. `properties` are librdkafka's.
pub async fn write(
    bootstrap: &str,
    properties: &[(String, String)],
    topic: &str,
    entries: Vec<Entry>,
) -> Result<()> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("message.timeout.ms", "10000")
        .set("enable.idempotence", "true");
    config.extend(properties.iter().cloned());
    let topic = topic.to_owned();
    tokio::task::spawn_blocking(move || write_blocking(&config, &topic, &entries)).await?
}

fn write_blocking(config: &ClientConfig, topic: &str, entries: &[Entry]) -> Result<()> {
    let producer: BaseProducer<Deliveries> = config.create_with_context(Deliveries::default())?;
    for (key, value) in entries {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic);
        record.key = key.as_deref();
        record.payload = value.as_deref();
        producer.send(record).map_err(|(error, _)| error)?;
        producer.poll(Duration::ZERO);
    }
    producer.flush(REQUEST_TIMEOUT * 2)?;
    match producer.context().first_error.lock().expect("no holder panics").take() {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// Keeps the first record's error that was not delivered.
#[derive(Default)]
struct Deliveries {
    first_error: Mutex<Option<KafkaError>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.first_error.lock().expect("no holder panics").get_or_insert_with(|| error.clone());
        }
    }
}

fn visit_blocking(
    bootstrap: &str,
    topics: &[String],
    mut visit: impl FnMut(Record) -> Result<()>,
) -> Result<()> {
    let consumer = consumer(bootstrap)?;
    let mut assignment = TopicPartitionList::new();
    for topic in topics {
        for partition in partitions(&consumer, topic)? {
            assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
    }
    let mut open_count = assignment.count();
    consumer.assign(&assignment)?;
    let mut last_heard = Instant::now();
    while open_count > 0 {
        match consumer.poll(Duration::from_millis(200)) {
            None if last_heard.elapsed() > SILENCE_LIMIT => {
                bail!("the broker fell silent while {topics:?} were read")
            }
            None => continue,
            Some(Ok(message)) => visit(record(&message))?,
            Some(Err(KafkaError::PartitionEOF(_))) => open_count -= 1,
            Some(Err(error)) => return Err(error.into()),
        }
        last_heard = Instant::now();
    }
    Ok(())
}

fn consumer(bootstrap: &str) -> Result<BaseConsumer> {
    Ok(config(bootstrap).create()?)
}

fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "millrace-tests-reader");
    config.set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    // The records of an open transaction are none yet; end of partition is reported after control records too.
    config.set("isolation.level", "read_committed");
    config
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<Vec<i32>> {
    let metadata = consumer.fetch_metadata(Some(topic), REQUEST_TIMEOUT)?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
        bail!("no metadata for topic {topic}");
    };
    if let Some(error) = found.error() {
        bail!("topic {topic} cannot be read: {error:?}");
    }
    Ok(found.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect())
}

fn record(message: &rdkafka::message::BorrowedMessage<'_>) -> Record {
    let headers = message.headers().map(|headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
    });
    Record {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        timestamp: message.timestamp().to_millis(),
        headers: headers.unwrap_or_default(),
    }
}
