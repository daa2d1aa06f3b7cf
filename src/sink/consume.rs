//! Kafka → one channel of events.
//!
//! librdkafka's consumer lives on a thread of its own, because its calls and callbacks block. Assumes that the loop at
//! the other end always takes from the channel, except while it writes out what it has, which is bounded in time.
//! Promises:
//! - records come in the order of their partition, and none of a partition after its [`Event::Revoked`] until it is
//!   assigned again;
//! - a revoked partition is given up only after the loop has answered (or took too long), its offsets committed;
//! - a partition starts at the group's committed offset, at its beginning if there is none, and never jumps silently;
//! - while the operator has paused the sink, nothing is read, and the group keeps the member all the same;
//! - no more bytes are under way than the budget says; when it is used up for long, the partitions are paused, so that
//!   the group does not take this member for dead.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc as sync_mpsc,
    },
    time::{Duration, Instant},
};

use rdkafka::{
    Message,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use self::{properties::client_config, rebalance::Listener, topics::Topics};
use super::{Metrics, arena::Arena, progress::Partition, record::Record};
use crate::{config, kafka, retry::Failure};

mod drained;
mod pause;
mod properties;
mod rebalance;
mod topics;

pub use drained::is_drained;
pub use pause::Pause;
pub(super) use properties::held_bytes;

/// Longest wait for a record; commits and topics are looked after in between.
const POLL: Duration = Duration::from_millis(100);
/// Longest time without polling before the partitions are paused.
const PAUSE_AFTER: Duration = Duration::from_secs(5);
/// Events under way. The bytes are bounded by permits; the rest of an event is small.
const MAX_EVENTS: usize = 64;
/// Orders under way. A commit that finds no room is left out: the next one, or the last, covers it.
const MAX_ORDERS: usize = 16;
/// Records are handed over in chunks of at most so many…
const MAX_CHUNK_RECORDS: usize = 500;
/// …or so many bytes, unless the budget allows less.
const MAX_CHUNK_BYTES: usize = 1 << 20;
/// Polls without a look at orders and topics.
const MAX_POLLS: usize = 100;
/// What a record costs beside its bytes.
const RECORD_OVERHEAD_BYTES: usize = 100;

/// What the loop learns.
#[derive(Debug)]
pub enum Event {
    /// Records were read.
    Records(Chunk),
    /// The cluster has answered, and the group has given this member these partitions (or none).
    Assigned(Vec<Partition>),
    /// The cluster has answered, and has no topic that the sink reads.
    NoTopics,
    /// These partitions are about to be given up.
    Revoked {
        /// Which.
        partitions: Vec<Partition>,
        /// Takes the next offsets to commit once nothing of them is under way.
        answer: sync_mpsc::SyncSender<Vec<(Partition, i64)>>,
    },
    /// These partitions are somebody else's already: nothing of them may be committed.
    Lost(Vec<Partition>),
    /// The consumer cannot go on.
    Failed(Failure),
}

/// Records, and the bytes that they hold of the budget.
#[derive(Debug)]
pub struct Chunk {
    /// In the order of each partition.
    pub records: Vec<Record>,
    /// Given back when dropped.
    pub permit: OwnedSemaphorePermit,
}

/// The consumer as the loop sees it.
pub struct Consumer {
    events: mpsc::Receiver<Event>,
    orders: mpsc::Sender<Order>,
    closing: Arc<AtomicBool>,
    finished: oneshot::Receiver<()>,
}

enum Order {
    Commit(Vec<(Partition, i64)>),
    /// Commit these, answer, and leave the group.
    Close(Vec<(Partition, i64)>),
}

impl Consumer {
    /// Starts the thread. `memory_bytes` is what librdkafka's queues and the channel may hold together.
    ///
    /// # Errors
    /// When a property is one that librdkafka does not take.
    pub fn start(
        settings: &Arc<config::Sink>,
        group: &str,
        memory_bytes: usize,
        metrics: &Arc<Metrics>,
        pause: &Arc<Pause>,
    ) -> Result<Self, Failure> {
        let (events_in, events) = mpsc::channel(MAX_EVENTS);
        let (orders, orders_out) = mpsc::channel(MAX_ORDERS);
        let (finish, finished) = oneshot::channel();
        let closing = Arc::new(AtomicBool::new(false));
        let listener = Listener::new(settings, &events_in, metrics, &closing, pause);
        let context = listener.kafka.clone();
        let consumer: BaseConsumer<Listener> = client_config(settings, group, memory_bytes)
            .create_with_context(listener)
            .map_err(|error| Failure::stop(format!("cannot use [kafka.properties]: {error}")))?;
        let budget = held_bytes(memory_bytes);
        let reader = Reader {
            consumer,
            context,
            topics: Topics::new(Arc::clone(settings)),
            events: events_in,
            orders: orders_out,
            budget,
            permits: Arc::new(Semaphore::new(budget)),
            runtime: tokio::runtime::Handle::current(),
            blocked: None,
            settings: Arc::clone(settings),
        };
        std::thread::Builder::new()
            .name(format!("sink {}", settings.name))
            .spawn(move || {
                reader.run();
                // The receiver is gone if the half has failed and does not wait.
                let _is_awaited = finish.send(());
            })
            .map_err(|error| Failure::retry(format!("cannot start the consumer's thread: {error}")))?;
        Ok(Self { events, orders, closing, finished })
    }

    /// The next event. Cancel-safe.
    pub async fn next(&mut self) -> Event {
        let ended = || Event::Failed(Failure::retry("the consumer's thread has ended"));
        self.events.recv().await.unwrap_or_else(ended)
    }

    /// Commits without waiting.
    pub fn commit(&self, offsets: Vec<(Partition, i64)>) {
        if !offsets.is_empty() && self.orders.try_send(Order::Commit(offsets)).is_err() {
            tracing::debug!("the consumer's thread is busy; these offsets are committed later");
        }
    }

    /// Commits these offsets, leaves the group and waits until the consumer is gone.
    pub async fn close(mut self, offsets: Vec<(Partition, i64)>) {
        self.closing.store(true, Relaxed);
        // Whoever waits to hand something over must not wait for ever.
        self.events.close();
        while self.events.recv().await.is_some() {}
        let is_running = self.orders.send(Order::Close(offsets)).await.is_ok();
        if !is_running || self.finished.await.is_err() {
            tracing::warn!("the consumer's thread has ended by itself");
        }
    }
}

/// To start again would throw the other process out, which would do the same.
fn fenced(settings: &config::Sink) -> Failure {
    Failure::stop(format!(
        "another process has joined the group as {:?}; give each its own instance_id",
        settings.instance_id
    ))
}

/// The thread's side.
struct Reader {
    consumer: BaseConsumer<Listener>,
    context: kafka::Context,
    topics: Topics,
    events: mpsc::Sender<Event>,
    orders: mpsc::Receiver<Order>,
    budget: usize,
    permits: Arc<Semaphore>,
    runtime: tokio::runtime::Handle,
    /// Since when the records read so far find no room.
    blocked: Option<Blocked>,
    settings: Arc<config::Sink>,
}

struct Blocked {
    since: Instant,
    is_paused: bool,
}

/// What was read and not handed over. Shared with the rebalance callback, which runs inside of a poll on this thread.
#[derive(Debug, Default)]
struct Pending {
    /// Only dead letters have them.
    reads_headers: bool,
    arena: Arena,
    records: Vec<Record>,
    bytes: usize,
    /// The topic of the last record: most records share it with the one before.
    topic: Option<Arc<str>>,
}

/// What a poll found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Polled {
    Nothing,
    /// A record, an error or an event.
    Something,
    /// The record that makes a chunk full.
    Chunk,
}

/// Why the thread ends.
enum Ended {
    /// It was told to, with these offsets.
    Closed(Vec<(Partition, i64)>),
    /// It has failed, or nobody listens.
    Failed,
}

impl Reader {
    fn run(mut self) {
        let ended = loop {
            if let Err(ended) = self.step() {
                break ended;
            }
        };
        let offsets = match ended {
            Ended::Closed(offsets) => offsets,
            Ended::Failed => self.last_order(),
        };
        self.commit(&offsets, CommitMode::Sync);
        // A consumer that comes after this one has to pause anew.
        self.consumer.context().pause.set_in_force(false);
        // Dropping the consumer leaves the group and waits for that; callbacks only let go from here on.
        self.consumer.context().closing.store(true, Relaxed);
    }

    /// The loop closes a consumer also after a failure, because what is durable can be committed.
    fn last_order(&mut self) -> Vec<(Partition, i64)> {
        while let Some(order) = self.orders.blocking_recv() {
            if let Order::Close(offsets) = order {
                return offsets;
            }
        }
        Vec::new()
    }

    fn step(&mut self) -> Result<(), Ended> {
        self.obey()?;
        if let Err(failure) = self.topics.refresh(&self.consumer, &self.context, &self.events) {
            return self.fail(failure);
        }
        self.follow_pause()?;
        if self.blocked.is_some() {
            return self.step_blocked();
        }
        let wait = if self.pending_is_empty() { POLL } else { Duration::ZERO };
        let mut polled = self.poll(wait)?;
        for _ in 1..MAX_POLLS {
            if polled != Polled::Something {
                break;
            }
            polled = self.poll(Duration::ZERO)?;
        }
        if polled != Polled::Something {
            self.hand_over(Duration::ZERO)?;
        }
        Ok(())
    }

    /// The budget is used up: wait for room, and do not let the group wait for a poll.
    fn step_blocked(&mut self) -> Result<(), Ended> {
        self.hand_over(POLL)?;
        let Some(blocked) = &mut self.blocked else { return Ok(()) };
        if blocked.since.elapsed() < PAUSE_AFTER {
            return Ok(());
        }
        if !blocked.is_paused {
            tracing::debug!(sink = self.settings.name, "partitions are paused until there is room");
            blocked.is_paused = true;
            self.pause();
        }
        // A partition that was assigned in between is not paused yet.
        if self.poll(Duration::ZERO)? != Polled::Nothing {
            self.pause();
        }
        Ok(())
    }

    /// Does what the operator wants. Polling goes on while all is paused, so the group keeps this member.
    fn follow_pause(&self) -> Result<(), Ended> {
        let pause = &self.consumer.context().pause;
        match (pause.is_wanted(), pause.is_in_force()) {
            (true, false) => {
                self.pause();
                tracing::info!(sink = self.settings.name, "paused");
                pause.set_in_force(true);
                Ok(())
            }
            (false, true) => {
                tracing::info!(sink = self.settings.name, "resumed");
                pause.set_in_force(false);
                self.resume()
            }
            _ => Ok(()),
        }
    }

    fn obey(&mut self) -> Result<(), Ended> {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Commit(offsets)) => self.commit(&offsets, CommitMode::Async),
                Ok(Order::Close(offsets)) => return Err(Ended::Closed(offsets)),
                Err(mpsc::error::TryRecvError::Empty) => return Ok(()),
                Err(mpsc::error::TryRecvError::Disconnected) => return Err(Ended::Failed),
            }
        }
    }

    fn commit(&self, offsets: &[(Partition, i64)], mode: CommitMode) {
        self.consumer.context().commit(&self.consumer, offsets, mode);
    }

    /// Polls once.
    fn poll(&self, wait: Duration) -> Result<Polled, Ended> {
        match self.consumer.poll(wait) {
            None => Ok(Polled::Nothing),
            Some(Ok(message)) => {
                let mut pending = self.consumer.context().pending();
                pending.push(&message);
                Ok(if pending.is_chunk(self.budget) { Polled::Chunk } else { Polled::Something })
            }
            Some(Err(error)) => {
                self.judge(&error).map_or(Ok(()), |failure| self.fail(failure))?;
                Ok(Polled::Something)
            }
        }
    }

    /// Whether an error ends this consumer. Most do not: librdkafka goes on by itself and its context logs them.
    fn judge(&self, error: &KafkaError) -> Option<Failure> {
        let what = format!("cannot read as group member at {}", self.settings.kafka.bootstrap_servers);
        let code = kafka::code(error);
        match (error, code) {
            (KafkaError::PartitionEOF(_), _) => None,
            (KafkaError::MessageConsumptionFatal(_), _) => {
                // The error itself says only that it is fatal.
                let code = self.consumer.client().fatal_error().map_or(code, |(code, _)| code);
                Some(match code {
                    RDKafkaErrorCode::FencedInstanceId => fenced(&self.settings),
                    _ => Failure::retry(format!("{what}: {code}")),
                })
            }
            // The next start looks at each partition, names it and follows on_history_lost.
            (_, RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                Some(Failure::retry("records were deleted from a topic before they were read"))
            }
            (
                _,
                RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::PollExceeded
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::UnknownTopicOrPartition,
            ) => None,
            _ => Some(self.context.failure(&what, code)),
        }
    }

    /// Tells the loop why this is the end.
    fn fail(&self, failure: Failure) -> Result<(), Ended> {
        self.send(Event::Failed(failure))?;
        Err(Ended::Failed)
    }

    fn send(&self, event: Event) -> Result<(), Ended> {
        self.events.blocking_send(event).map_err(|_| Ended::Failed)
    }

    fn pending_is_empty(&self) -> bool {
        self.consumer.context().pending().records.is_empty()
    }

    /// Sends what was read, if there is room within `wait`.
    fn hand_over(&mut self, wait: Duration) -> Result<(), Ended> {
        if self.pending_is_empty() {
            return self.unblock();
        }
        // A record larger than the whole budget passes when nothing else is under way.
        let bytes = self.consumer.context().pending().bytes.min(self.budget) as u32;
        let permits = Arc::clone(&self.permits);
        let permit = if wait.is_zero() {
            permits.try_acquire_many_owned(bytes).ok()
        } else {
            // The timer has to be made inside of the runtime.
            let acquire = async { tokio::time::timeout(wait, permits.acquire_many_owned(bytes)).await };
            self.runtime.block_on(acquire).ok().and_then(Result::ok)
        };
        let Some(permit) = permit else {
            self.blocked.get_or_insert_with(|| Blocked { since: Instant::now(), is_paused: false });
            return Ok(());
        };
        let records = self.consumer.context().pending().take();
        self.send(Event::Records(Chunk { records, permit }))?;
        self.unblock()
    }

    fn unblock(&mut self) -> Result<(), Ended> {
        match self.blocked.take() {
            Some(Blocked { is_paused: true, .. }) if !self.consumer.context().pause.is_in_force() => {
                self.resume()
            }
            _ => Ok(()),
        }
    }

    fn resume(&self) -> Result<(), Ended> {
        let outcome = self.consumer.assignment().and_then(|all| self.consumer.resume(&all));
        outcome.or_else(|error| self.fail(Failure::retry(format!("cannot resume the partitions: {error}"))))
    }

    fn pause(&self) {
        if let Err(error) = self.consumer.assignment().and_then(|all| self.consumer.pause(&all)) {
            tracing::warn!(sink = self.settings.name, %error, "partitions cannot be paused");
        }
    }
}

impl Pending {
    fn new(settings: &config::Sink) -> Self {
        Self { reads_headers: settings.errors.keeps_letters(), ..Self::default() }
    }

    fn push(&mut self, message: &impl Message) {
        let topic = match &self.topic {
            Some(topic) if **topic == *message.topic() => Arc::clone(topic),
            _ => Arc::clone(self.topic.insert(message.topic().into())),
        };
        let record = if self.reads_headers {
            Record::of(message, topic, &mut self.arena)
        } else {
            Record::without_headers(message, topic, &mut self.arena)
        };
        self.bytes += RECORD_OVERHEAD_BYTES + record.len();
        self.records.push(record);
    }

    /// Whether it is time to hand it over.
    fn is_chunk(&self, budget: usize) -> bool {
        self.records.len() >= MAX_CHUNK_RECORDS || self.bytes >= MAX_CHUNK_BYTES.min(budget / 4)
    }

    fn take(&mut self) -> Vec<Record> {
        self.bytes = 0;
        // Each chunk has a name of its own: what other threads do with its records shares no counter with this one.
        self.topic = None;
        std::mem::take(&mut self.records)
    }

    /// Leaves out what was read of partitions that go elsewhere: nobody has seen it, so nobody commits it.
    fn forget(&mut self, partitions: &[Partition]) {
        self.records.retain(|record| !partitions.contains(&record.place.partition));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use rdkafka::message::{OwnedHeaders, OwnedMessage, Timestamp};

    use super::*;
    use crate::namespace::{Glob, Patterns, TopicPattern, TopicPatterns};

    fn message(topic: &str, partition: i32, offset: i64, value: Option<&[u8]>) -> OwnedMessage {
        let value = value.map(<[u8]>::to_vec);
        OwnedMessage::new(
            value,
            Some(b"k".to_vec()),
            topic.into(),
            Timestamp::NotAvailable,
            partition,
            offset,
            None,
        )
    }

    pub(super) fn settings() -> config::Sink {
        let nothing = Patterns { include: Vec::new(), exclude: Vec::new() };
        config::Sink {
            name: "copy".into(),
            kafka: config::Kafka { bootstrap_servers: "localhost:1".into(), properties: BTreeMap::new() },
            mongodb: config::Mongodb { uri: config::Secret::new("mongodb://localhost:1/") },
            topics: TopicPatterns { include: vec![TopicPattern::Glob(Glob { text: "shop.*".into() })] },
            handling: Arc::new(crate::sink::example::handling()),
            overrides: Vec::new(),
            allow: nothing,
            batch: config::Batch { max_records: 1, max_bytes: 1, max_age: Duration::ZERO },
            lanes: 1,
            write_concern: config::WriteConcern::Majority,
            max_records_per_second: None,
            unique_conflict_timeout: Duration::ZERO,
            errors: config::SinkErrors {
                tolerance: config::Tolerance::None,
                dead_letter_topic: None,
                max_dead_letters_per_minute: None,
            },
            on_history_lost: config::SinkHistoryLost::Fail,
            instance_id: String::new(),
        }
    }

    #[test]
    fn pending_records_keep_their_order_and_forget_what_goes_elsewhere() {
        let mut pending = Pending::new(&settings());
        for (topic, partition, offset) in [("a", 0, 5), ("a", 1, 7), ("b", 0, 1), ("a", 0, 6)] {
            pending.push(&message(topic, partition, offset, Some(b"value")));
        }
        assert_eq!(pending.bytes, 4 * (RECORD_OVERHEAD_BYTES + 6));
        pending.forget(&[Partition { topic: "a".into(), number: 1 }]);
        let places: Vec<_> = pending.take().iter().map(|record| record.place.to_string()).collect();
        assert_eq!(places, ["a-0@5", "b-0@1", "a-0@6"]);
        assert!(pending.records.is_empty() && pending.bytes == 0);
    }

    #[test]
    fn a_tombstone_has_no_value_and_an_empty_value_is_one() {
        let mut pending = Pending::new(&settings());
        pending.push(&message("a", 0, 1, None));
        pending.push(&message("a", 0, 2, Some(b"")));
        let values: Vec<_> = pending.take().into_iter().map(|record| record.value).collect();
        assert_eq!(values, [None, Some(bytes::Bytes::new())]);
    }

    #[test]
    fn headers_are_read_where_there_may_be_dead_letters() {
        let headers = OwnedHeaders::new().insert(rdkafka::message::Header { key: "trace", value: Some("7") });
        let message = message("a", 0, 1, Some(b"value")).replace_headers(Some(headers));
        for (dead_letter_topic, expected) in [(None, 0), (Some("dead".to_owned()), 1)] {
            let mut settings = settings();
            settings.errors.dead_letter_topic = dead_letter_topic;
            settings.errors.tolerance = config::Tolerance::Data;
            let mut pending = Pending::new(&settings);
            pending.push(&message);
            assert_eq!(pending.take()[0].headers.len(), expected);
        }
    }
}
