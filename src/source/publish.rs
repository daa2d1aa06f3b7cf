//! Sends records, counts what is acknowledged, keeps checkpoints apart.
//!
//! Records are sent in groups; a group is done when Kafka has acknowledged each of its records. librdkafka calls back
//! from its own thread for every record, so the account of a group is one atomic counter in a ring; the counter is
//! held up by one while the group is being filled. Order does not matter to the count.
//!
//! The first record that cannot be delivered ends the source: sending it again alone would put it behind later ones.

mod handle;
mod linger;
mod sizes;
mod topics;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext, Message,
    client::Client,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{NoCustomPartitioner, Producer, ProducerContext, ThreadedProducer},
};
use tokio::sync::{Notify, oneshot};

pub(super) use self::sizes::{Lesson, batch_bytes_of, compresses};
pub use self::{handle::Topic, sizes::Sizes};
use self::{linger::Linger, sizes::batch_size};
use super::encode::Headers;
use crate::{config, kafka, retry::Failure};

/// The names of the property that says how long a record waits for others. Without it, that depends on the load.
const LINGER: [&str; 2] = ["linger.ms", "queue.buffering.max.ms"];

/// Groups that may be open at once. A group holds up to some hundred records, so this is never what limits.
pub const MAX_GROUPS: usize = 8192;

/// The opaque value of a checkpoint record, which belongs to no group.
const CHECKPOINT: usize = usize::MAX;

/// The largest record that the producer takes; the topic's own limit is the one that counts. Change events reach
/// 16 MiB as BSON and grow as JSON.
const MAX_RECORD_BYTES: usize = 64 << 20;

/// A producer.
pub struct Publisher {
    producer: ThreadedProducer<Reports>,
    reports: Reports,
    settings: config::Kafka,
    batch_bytes: usize,
    /// `None` where the user says how long records wait.
    linger: Option<Linger>,
}

/// One record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Chooses the partition, unless `partition` does.
    pub key: &'a [u8],
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: &'a Headers,
    /// Milliseconds since the epoch; `None` for that of sending.
    pub timestamp: Option<i64>,
    /// `None` for the one that the key chooses.
    pub partition: Option<i32>,
}

impl Record<'_> {
    /// Bytes of key and value.
    pub fn bytes(&self) -> usize {
        self.key.len() + self.value.map_or(0, <[u8]>::len)
    }
}

/// The user's properties, and what the publisher rests on.
fn producer_config(settings: &config::Kafka, batch_bytes: usize, in_flight_bytes: usize) -> ClientConfig {
    let mut client = kafka::client_config(settings);
    // One record may exceed the share when nothing else is on its way.
    let queue_kilobytes = in_flight_bytes.max(MAX_RECORD_BYTES) / 1024 * 2;
    client
        .set("enable.idempotence", "true")
        .set("enable.gapless.guarantee", "true")
        .set("partitioner", "murmur2_random")
        .set("allow.auto.create.topics", "false")
        .set("message.timeout.ms", "0")
        .set("message.max.bytes", MAX_RECORD_BYTES.to_string())
        .set("queue.buffering.max.messages", "0")
        .set("queue.buffering.max.kbytes", queue_kilobytes.to_string());
    if !says_linger(settings) {
        client.set(LINGER[0], linger::WHILE_BEHIND_MS);
    }
    if batch_bytes < batch_size(settings) {
        client.set("batch.size", batch_bytes.to_string());
    }
    client
}

/// Whether the user says how long records wait for others.
fn says_linger(settings: &config::Kafka) -> bool {
    LINGER.iter().any(|name| settings.properties.contains_key(*name))
}

impl Publisher {
    /// A producer with idempotence and Java's partitioner. Begins to connect, and does not wait for it.
    ///
    /// `in_flight_bytes` is what the caller will have on its way at most; librdkafka's own bound lies above it. `sizes` may
    /// ask for batches that are smaller than the properties say.
    ///
    /// # Errors
    /// When the properties do not fit together.
    pub fn open(
        half: &str,
        settings: &config::Kafka,
        sizes: &Sizes,
        in_flight_bytes: usize,
    ) -> Result<Self, Failure> {
        let reports = Reports::new(kafka::Context::new(half));
        let batch_bytes = sizes.batch_bytes(settings);
        let client = producer_config(settings, batch_bytes, in_flight_bytes);
        let producer = ThreadedProducer::from_config_and_context(&client, reports.clone())
            .map_err(|error| Failure::stop(format!("[kafka.properties]: {error}")))?;
        let linger = match says_linger(settings) {
            true => None,
            false => Some(Linger::start(producer.clone()).map_err(|error| {
                Failure::retry(format!("cannot start the thread that sends records: {error}"))
            })?),
        };
        Ok(Self { producer, reports, settings: settings.clone(), batch_bytes, linger })
    }

    /// Whether more records follow at once. If not, those that were sent wait for no others.
    pub fn more_follows(&self, is_so: bool) {
        if let Some(linger) = &self.linger {
            linger.more_follows(is_so);
        }
    }

    /// Has all that was sent wait for no others.
    pub fn hurry(&self) {
        if let Some(linger) = &self.linger {
            linger.hurry();
        }
    }

    /// What the delivery reports have said.
    pub fn reports(&self) -> &Reports {
        &self.reports
    }

    /// Returns when the cluster has answered.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn reach(&self) -> Result<(), Failure> {
        // All topics: asking for one that does not exist would have librdkafka look for it ever after.
        let outcome = self.ask(|client| client.fetch_metadata(None, kafka::REQUEST_TIMEOUT)).await?;
        outcome.map(drop).map_err(|error| self.unreachable(kafka::code(&error)))
    }

    /// Runs a request off the runtime's threads, for as long as the cluster does not refuse this client.
    async fn ask<T: Send + 'static>(
        &self,
        request: impl FnOnce(&Client<Reports>) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let producer = self.producer.clone();
        tokio::select! {
            outcome = tokio::task::spawn_blocking(move || request(producer.client())) => {
                outcome.map_err(|error| Failure::retry(format!("a request to Kafka: {error}")))
            }
            refused = self.reports.context().refused() => Err(refused),
        }
    }

    fn unreachable(&self, code: RDKafkaErrorCode) -> Failure {
        let what = format!("cannot reach Kafka at {}", self.settings.bootstrap_servers);
        self.reports.context().failure(&what, code)
    }

    /// librdkafka puts records together up to this many bytes; one that is larger goes alone.
    pub fn batch_bytes(&self) -> usize {
        self.batch_bytes
    }

    /// The handle of a topic that is there.
    fn handle(&self, topic: &str) -> Result<Topic, Failure> {
        Topic::new(&self.producer, topic)
            .map_err(|code| kafka::failure(&format!("cannot send to topic {topic}"), code))
    }

    /// Opens the group `number`; the ring has room because the caller keeps fewer than [`MAX_GROUPS`] open.
    pub fn begin_group(&self, number: u64) {
        self.reports.slot(number).store(1, Ordering::Release);
    }

    /// Closes the group `number`: from now on it is done when all of its records are acknowledged.
    pub fn end_group(&self, number: u64) {
        self.reports.count_down(slot_index(number));
    }

    /// Hands a record of the open group `number` to librdkafka.
    ///
    /// # Errors
    /// `QueueFull` when it should be tried again after a while.
    pub fn send(&self, topic: &Topic, record: Record<'_>, number: u64) -> Result<(), RDKafkaErrorCode> {
        let slot = self.reports.slot(number);
        slot.fetch_add(1, Ordering::AcqRel);
        let record = handle::Record {
            key: record.key,
            value: record.value,
            headers: record.headers,
            timestamp: record.timestamp,
            partition: record.partition,
            opaque: slot_index(number),
        };
        topic.send(&record).inspect_err(|_| {
            slot.fetch_sub(1, Ordering::AcqRel);
        })
    }

    /// Sends a checkpoint record and waits until it is durable; gives its offset.
    ///
    /// # Errors
    /// When it could not be delivered.
    pub async fn send_checkpoint(&self, topic: &str, key: &[u8], value: &[u8]) -> Result<i64, Failure> {
        let handle = self.handle(topic)?;
        let what = format!("cannot store the checkpoint in topic {topic}");
        let (sender, receiver) = oneshot::channel();
        *self.reports.shared.checkpoint.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        let record = handle::Record {
            key,
            value: Some(value),
            headers: Headers::NONE,
            timestamp: None,
            partition: None,
            opaque: CHECKPOINT,
        };
        handle.send(&record).map_err(|code| kafka::failure(&what, code))?;
        self.hurry();
        match receiver.await {
            Ok(Ok(offset)) => Ok(offset),
            Ok(Err(code)) => Err(kafka::failure(&what, code)),
            Err(_) => Err(Failure::retry(format!("{what}: the producer was closed"))),
        }
    }
}

fn slot_index(number: u64) -> usize {
    (number % MAX_GROUPS as u64) as usize
}

/// The account of what is on its way; shared with librdkafka's thread.
#[derive(Clone)]
pub struct Reports {
    shared: Arc<Shared>,
}

struct Shared {
    context: kafka::Context,
    remaining: Box<[AtomicU32]>,
    changed: Notify,
    failed: Mutex<Option<Undelivered>>,
    checkpoint: Mutex<Option<oneshot::Sender<Result<i64, RDKafkaErrorCode>>>>,
}

/// The first record that could not be delivered.
#[derive(Clone, Debug)]
pub struct Undelivered {
    /// Where it was going.
    pub topic: String,
    /// Why it did not get there.
    pub code: RDKafkaErrorCode,
    /// Bytes of key and value.
    pub bytes: usize,
    /// Place of its group in the ring.
    slot: usize,
}

impl Undelivered {
    /// Whether the record was in the group `number`, which has to be an open one.
    pub fn is_in_group(&self, number: u64) -> bool {
        self.slot == slot_index(number)
    }
}

impl Reports {
    fn new(context: kafka::Context) -> Self {
        let remaining = (0..MAX_GROUPS).map(|_| AtomicU32::new(0)).collect();
        Self {
            shared: Arc::new(Shared {
                context,
                remaining,
                changed: Notify::new(),
                failed: Mutex::new(None),
                checkpoint: Mutex::new(None),
            }),
        }
    }

    /// Waits until a group is done or a record has failed. One such wake-up is kept for who is not waiting.
    pub async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// Whether all records of the closed group `number` are acknowledged.
    pub fn is_done(&self, number: u64) -> bool {
        self.slot(number).load(Ordering::Acquire) == 0
    }

    /// The first record that could not be delivered.
    pub fn undelivered(&self) -> Option<Undelivered> {
        self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What librdkafka says on the side.
    pub fn context(&self) -> &kafka::Context {
        &self.shared.context
    }

    fn slot(&self, number: u64) -> &AtomicU32 {
        &self.shared.remaining[slot_index(number)]
    }

    fn count_down(&self, index: usize) {
        if self.shared.remaining[index].fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.changed.notify_one();
        }
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.shared.context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.shared.context.error(error, reason);
    }

    fn stats_raw(&self, _statistics: &[u8]) {}
}

impl ProducerContext<NoCustomPartitioner> for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        let outcome = kafka::placed(result);
        if opaque == CHECKPOINT {
            let waiting = self.shared.checkpoint.lock().unwrap_or_else(PoisonError::into_inner).take();
            if waiting.is_some_and(|waiting| waiting.send(outcome).is_err()) {
                tracing::debug!("nobody waits for the checkpoint any more");
            }
            return;
        }
        let Err(code) = outcome else { return self.count_down(opaque) };
        // Purged messages are those that the half gives up when it ends.
        if matches!(code, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) {
            return;
        }
        let (Ok(message) | Err((_, message))) = result;
        let bytes = message.payload_len() + message.key_len();
        let mut failed = self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get_or_insert_with(|| Undelivered {
            topic: message.topic().to_owned(),
            code,
            bytes,
            slot: opaque,
        });
        self.shared.changed.notify_one();
    }
}

/// How long the loop waits before it tries a full queue again. Room comes with acknowledgements, which are also
/// notified; this bounds the wait for those that finish no group.
pub const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use rdkafka::{
        mocking::MockCluster,
        producer::DefaultProducerContext,
        types::{RDKafkaApiKey, RDKafkaRespErr},
    };

    use super::*;

    #[test]
    fn the_users_linger_is_kept_to() {
        for (name, wanted) in
            [(None, Some(linger::WHILE_BEHIND_MS)), (Some(LINGER[0]), Some("7")), (Some(LINGER[1]), None)]
        {
            let properties = name.map(|name| (name.to_owned(), config::Secret::new("7")));
            let settings = config::Kafka {
                bootstrap_servers: String::new(),
                properties: properties.into_iter().collect(),
            };
            let client = producer_config(&settings, 1_000_000, 1 << 20);
            assert_eq!(client.get(LINGER[0]), wanted, "{name:?}");
        }
    }

    #[tokio::test]
    async fn what_the_cluster_calls_a_duplicate_of_nothing_counts_as_lost() {
        let cluster: MockCluster<'static, DefaultProducerContext> =
            MockCluster::new(1).expect("a mock cluster");
        cluster.create_topic("shop.orders", 1, 1).expect("a topic");
        let settings = config::Kafka {
            bootstrap_servers: cluster.bootstrap_servers(),
            properties: std::collections::BTreeMap::new(),
        };
        let publisher = Publisher::open("test", &settings, &Sizes::default(), 1 << 20).expect("a producer");
        let topic = publisher.handle("shop.orders").expect("a handle");
        cluster.request_errors(
            RDKafkaApiKey::Produce,
            &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER],
        );
        publisher.begin_group(0);
        let record =
            Record { key: b"1", value: None, headers: Headers::NONE, timestamp: None, partition: None };
        publisher.send(&topic, record, 0).expect("room for a record");
        publisher.end_group(0);
        publisher.reports().changed().await;
        let undelivered = publisher.reports().undelivered().expect("it is not known where it is");
        assert_eq!(undelivered.code, kafka::UNPLACED);
        assert!(!publisher.reports().is_done(0));
    }

    #[test]
    fn a_group_is_done_only_when_closed_and_all_counted() {
        let reports = Reports::new(kafka::Context::new("test"));
        let slot = reports.slot(3);
        slot.store(1, Ordering::Release);
        slot.fetch_add(2, Ordering::AcqRel);
        reports.count_down(3);
        reports.count_down(3);
        assert!(!reports.is_done(3), "still open");
        reports.count_down(3);
        assert!(reports.is_done(3));
        assert!(reports.is_done(3 + MAX_GROUPS as u64), "the ring goes round");
    }
}
