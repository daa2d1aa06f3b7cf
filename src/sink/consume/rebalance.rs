//! What happens when the group gives partitions to this member or takes them away.
//!
//! librdkafka calls back on the consumer's thread, from within a poll, and goes on when the callback returns: what has
//! to be true before a partition is somebody else's has to be true then.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc as sync_mpsc,
    },
    time::Duration,
};

use rdkafka::{
    ClientContext, Offset, Statistics, TopicPartitionList,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext},
    error::{KafkaError, KafkaResult},
    types::RDKafkaRespErr,
};
use tokio::sync::mpsc;

use super::{Event, Pause, Pending};
use crate::{
    config::{self, SinkHistoryLost},
    kafka,
    retry::Failure,
    sink::{Metrics, progress::Partition},
};

/// How long the loop may take to write out what it has of partitions that go elsewhere. The group waits meanwhile, at
/// most `max.poll.interval.ms` (5 minutes).
const HAND_OVER: Duration = Duration::from_secs(75);
/// How long a look at offsets may take.
const LOOK_UP: Duration = Duration::from_secs(10);

/// The consumer's context.
pub(super) struct Listener {
    /// Logs, and keeps librdkafka's last word.
    pub(super) kafka: kafka::Context,
    /// Set when nobody waits for anything any more.
    pub(super) closing: Arc<AtomicBool>,
    /// What the operator wants.
    pub(super) pause: Arc<Pause>,
    settings: Arc<config::Sink>,
    events: mpsc::Sender<Event>,
    metrics: Arc<Metrics>,
    pending: Mutex<Pending>,
}

impl Listener {
    pub(super) fn new(
        settings: &Arc<config::Sink>,
        events: &mpsc::Sender<Event>,
        metrics: &Arc<Metrics>,
        closing: &Arc<AtomicBool>,
        pause: &Arc<Pause>,
    ) -> Self {
        Self {
            kafka: kafka::Context::new(format!("sink {}", settings.name)),
            closing: Arc::clone(closing),
            pause: Arc::clone(pause),
            settings: Arc::clone(settings),
            events: events.clone(),
            metrics: Arc::clone(metrics),
            pending: Mutex::new(Pending::new(settings)),
        }
    }

    /// Only this thread takes the lock; it is there because librdkafka's contexts are shared by type.
    pub(super) fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn commit(
        &self,
        consumer: &BaseConsumer<Self>,
        offsets: &[(Partition, i64)],
        mode: CommitMode,
    ) {
        if offsets.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        let outcome = offsets
            .iter()
            .try_for_each(|(partition, next)| {
                list.add_partition_offset(&partition.topic, partition.number, Offset::Offset(*next))
            })
            .and_then(|()| consumer.commit(&list, mode));
        match outcome {
            Ok(()) => {
                self.metrics.commits.fetch_add(1, Relaxed);
            }
            // What is not committed is read again, and ends the same.
            Err(error) => tracing::warn!(sink = self.settings.name, %error, "offsets were not committed"),
        }
    }

    fn assign(&self, consumer: &BaseConsumer<Self>, list: &mut TopicPartitionList) {
        let outcome = self.set_starts(consumer, list).and_then(|()| {
            consumer
                .incremental_assign(list)
                .and_then(|()| self.pause_new(consumer, list))
                .map_err(|error| Failure::retry(format!("cannot take over the partitions: {error}")))
        });
        match outcome {
            Ok(()) => self.tell(Event::Assigned(partitions(list))),
            Err(failure) => self.tell(Event::Failed(failure)),
        }
    }

    /// A pause holds for what comes later too, from before its first record.
    fn pause_new(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) -> KafkaResult<()> {
        if self.pause.is_in_force() { consumer.pause(list) } else { Ok(()) }
    }

    /// Where each partition starts: never where librdkafka would jump to by itself.
    fn set_starts(
        &self,
        consumer: &BaseConsumer<Self>,
        list: &mut TopicPartitionList,
    ) -> Result<(), Failure> {
        if list.count() == 0 {
            return Ok(());
        }
        let looked_up = |what: &str, error: &KafkaError| self.kafka.failure(what, kafka::code(error));
        let committed = consumer
            .committed_offsets(list.clone(), LOOK_UP)
            .map_err(|error| looked_up("cannot read the group's offsets", &error))?;
        for element in committed.elements() {
            let (topic, number) = (element.topic(), element.partition());
            let start = match element.offset() {
                Offset::Offset(next) => {
                    let (low, high) = consumer.fetch_watermarks(topic, number, LOOK_UP).map_err(|error| {
                        looked_up(&format!("cannot read the ends of {topic}-{number}"), &error)
                    })?;
                    start(&format!("{topic}-{number}"), next, low, high, self.settings.on_history_lost)?
                }
                _ => Offset::Beginning,
            };
            list.set_partition_offset(topic, number, start)
                .map_err(|error| Failure::retry(format!("cannot place {topic}-{number}: {error}")))?;
        }
        Ok(())
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let partitions = partitions(list);
        self.pending().forget(&partitions);
        if consumer.assignment_lost() {
            self.tell(Event::Lost(partitions));
        } else if !partitions.is_empty() {
            let (answer, answered) = sync_mpsc::sync_channel(1);
            self.tell(Event::Revoked { partitions, answer });
            match answered.recv_timeout(HAND_OVER) {
                Ok(offsets) => self.commit(consumer, &offsets, CommitMode::Sync),
                Err(error) => {
                    tracing::warn!(sink = self.settings.name, %error, "partitions are given up unfinished");
                }
            }
        }
    }

    /// Tells the loop. If it is gone, there is nobody who needs to know.
    fn tell(&self, event: Event) {
        let _is_heard = self.events.blocking_send(event);
    }
}

/// Where a partition with a committed offset starts.
fn start(partition: &str, next: i64, low: i64, high: i64, lost: SinkHistoryLost) -> Result<Offset, Failure> {
    if (low..=high).contains(&next) {
        return Ok(Offset::Offset(next));
    }
    let reason = if next < low {
        format!(
            "{partition}: the group's offset {next} is gone, the lowest that is left is {low}; records were lost"
        )
    } else {
        format!(
            "{partition}: the group's offset {next} is beyond the end {high}; the topic was made anew or cut"
        )
    };
    match lost {
        SinkHistoryLost::Fail => Err(Failure::stop(format!(
            "{reason}; copy the collection again, or set on_history_lost = \"earliest\" to go on with what is left"
        ))),
        SinkHistoryLost::Earliest => {
            tracing::warn!("{reason}; going on with the oldest record that is left");
            Ok(Offset::Beginning)
        }
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<Partition> {
    let partition = |topic: &str, number| Partition { topic: topic.into(), number };
    list.elements().iter().map(|element| partition(element.topic(), element.partition())).collect()
}

impl ConsumerContext for Listener {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS && !self.closing.load(Relaxed) {
            return self.assign(consumer, list);
        }
        if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS && !self.closing.load(Relaxed) {
            self.revoke(consumer, list);
        }
        let outcome = match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => consumer.incremental_unassign(list),
            // What is assigned while the consumer closes has to be acknowledged all the same.
            _ => consumer.incremental_assign(list),
        };
        if let Err(error) = outcome {
            self.tell(Event::Failed(Failure::retry(format!("cannot change the partitions: {error}"))));
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::warn!(sink = self.settings.name, %error, "offsets were not committed");
        }
    }
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.kafka.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.kafka.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
        let lag: i64 = partitions.map(|partition| partition.consumer_lag.max(0)).sum();
        self.metrics.lag_records.store(lag.unsigned_abs(), Relaxed);
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.kafka.generate_oauth_token(config)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rdkafka::{
        ClientConfig,
        mocking::MockCluster,
        producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer},
    };

    use super::{super::Consumer, *};
    use crate::{retry::Verdict, sink::consume::tests::settings};

    #[test]
    fn an_offset_within_the_partition_is_the_start() {
        for (next, low, high) in [(5, 0, 10), (0, 0, 0), (10, 0, 10), (3, 3, 10)] {
            for lost in [SinkHistoryLost::Fail, SinkHistoryLost::Earliest] {
                let found = start("t-0", next, low, high, lost);
                assert_eq!(found.ok(), Some(Offset::Offset(next)), "{next} in {low}..={high}");
            }
        }
    }

    #[test]
    fn an_offset_out_of_range_never_jumps_silently() {
        for (next, low, high) in [(2, 3, 10), (11, 3, 10)] {
            let failure = start("t-0", next, low, high, SinkHistoryLost::Fail).expect_err("lost");
            assert_eq!(failure.verdict, Verdict::Stop);
            assert!(
                failure.message.contains("t-0") && failure.message.contains("on_history_lost"),
                "{failure}"
            );
            assert!(failure.message.contains(&next.to_string()), "{failure}");
            assert_eq!(
                start("t-0", next, low, high, SinkHistoryLost::Earliest).ok(),
                Some(Offset::Beginning)
            );
        }
    }

    type Cluster = MockCluster<'static, DefaultProducerContext>;

    /// A broker inside of librdkafka with records 0 to 9 in each of two partitions.
    fn cluster() -> Cluster {
        let cluster = MockCluster::new(1).expect("a mock cluster");
        cluster.create_topic("shop.orders", 2, 1).expect("a topic");
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .create()
            .expect("a producer");
        for partition in 0..2 {
            for number in 0..10 {
                let value = format!("{number}");
                let record: BaseRecord<'_, (), _> =
                    BaseRecord::to("shop.orders").partition(partition).payload(&value);
                producer.send(record).map_err(|(error, _)| error).expect("room for a record");
            }
        }
        producer.flush(Duration::from_secs(30)).expect("all records are acknowledged");
        cluster
    }

    fn member(cluster: &Cluster) -> Consumer {
        let mut settings = settings();
        settings.kafka.bootstrap_servers = cluster.bootstrap_servers();
        // The mock waits for a session's length for members that may yet join.
        for (property, value) in [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "500")] {
            settings.kafka.properties.insert(property.to_owned(), config::Secret::new(value));
        }
        Consumer::start(&Arc::new(settings), "millrace.shop.copy", 32 << 20, &Arc::default(), &Arc::default())
            .expect("a consumer")
    }

    /// Takes events until `done` says so; the next offset that was read of each partition.
    async fn read(
        member: &mut Consumer,
        mut done: impl FnMut(&Event, &HashMap<i32, i64>) -> bool,
    ) -> HashMap<i32, i64> {
        let mut next = HashMap::new();
        loop {
            let event =
                tokio::time::timeout(Duration::from_secs(60), member.next()).await.expect("an event in time");
            match &event {
                Event::Records(chunk) => {
                    for record in &chunk.records {
                        next.insert(record.place.partition.number, record.place.offset + 1);
                    }
                }
                Event::Failed(failure) => panic!("{failure}"),
                _ => {}
            }
            if done(&event, &next) {
                return next;
            }
            if let Event::Revoked { partitions, answer } = event {
                let offsets = partitions.into_iter().map(|partition| (partition, 4)).collect();
                answer.send(offsets).expect("the callback waits");
                return next;
            }
        }
    }

    fn has_all(next: &HashMap<i32, i64>) -> bool {
        (0..2).all(|partition| next.get(&partition) == Some(&10))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_new_member_starts_where_the_old_one_says_it_is_durable() {
        let cluster = cluster();
        let mut old = member(&cluster);
        read(&mut old, |_, next| has_all(next)).await;
        let mut new = member(&cluster);
        let mut first = HashMap::new();
        // The old one answers that all below 4 is durable, and goes on with the partition that it keeps.
        let (_, _) = tokio::join!(
            read(&mut old, |_, _| false),
            read(&mut new, |event, next| {
                if let Event::Records(chunk) = event {
                    let place = &chunk.records[0].place;
                    first.entry(place.partition.number).or_insert(place.offset);
                }
                next.values().any(|next| *next == 10)
            })
        );
        assert_eq!(
            first.values().copied().collect::<Vec<_>>(),
            [4],
            "one partition, from the committed offset on"
        );
        tokio::join!(old.close(Vec::new()), new.close(Vec::new()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn offsets_that_are_committed_at_the_end_are_where_the_next_start_begins() {
        let cluster = cluster();
        let mut one = member(&cluster);
        read(&mut one, |_, next| has_all(next)).await;
        let partition = |number| Partition { topic: "shop.orders".into(), number };
        one.close(vec![(partition(0), 10), (partition(1), 7)]).await;
        let mut two = member(&cluster);
        let mut places = Vec::new();
        read(&mut two, |event, next| {
            if let Event::Records(chunk) = event {
                places.extend(chunk.records.iter().map(|record| record.place.to_string()));
            }
            next.get(&1) == Some(&10)
        })
        .await;
        assert_eq!(places, ["shop.orders-1@7", "shop.orders-1@8", "shop.orders-1@9"]);
        two.close(Vec::new()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_committed_offset_beyond_the_end_is_a_failure() {
        let cluster = cluster();
        let mut one = member(&cluster);
        read(&mut one, |_, next| has_all(next)).await;
        one.close(vec![(Partition { topic: "shop.orders".into(), number: 0 }, 99)]).await;
        let mut two = member(&cluster);
        let failure = loop {
            match two.next().await {
                Event::Failed(failure) => break failure,
                Event::Records(_) => panic!("nothing may be read"),
                _ => {}
            }
        };
        assert_eq!(failure.verdict, Verdict::Stop);
        assert!(failure.message.contains("shop.orders-0"), "{failure}");
        two.close(Vec::new()).await;
    }
}
