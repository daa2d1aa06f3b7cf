//! A checkpoint in a compacted Kafka topic of one partition.
//!
//! The topic holds the checkpoints of one source and nothing else, so the last record is the checkpoint, and offsets
//! without a gap mean that nobody else writes: a record that lands further on than the one after our last was preceded
//! by somebody else's.

use std::time::Duration;

use rdkafka::{
    Message, Offset, TopicPartitionList,
    admin::{NewTopic, TopicReplication},
    consumer::{BaseConsumer, Consumer},
};

use super::{Checkpoint, taken};
use crate::{config, kafka, retry::Failure, source::publish::Publisher};

const KEY: &[u8] = b"checkpoint";

/// The checkpoint of one source in a topic.
pub struct KafkaStore {
    settings: config::Kafka,
    topic: String,
    /// The offset that our next record gets if nobody else writes.
    next_offset: Option<i64>,
}

impl KafkaStore {
    /// The checkpoint in `topic`.
    pub fn new(settings: config::Kafka, topic: String) -> Self {
        Self { settings, topic, next_offset: None }
    }

    /// Where the checkpoint is, for messages.
    pub fn place(&self) -> String {
        format!("topic {}", self.topic)
    }

    pub(super) async fn load(&mut self, publisher: &Publisher) -> Result<Option<Checkpoint>, Failure> {
        let new = NewTopic::new(&self.topic, 1, TopicReplication::Fixed(-1)).set("cleanup.policy", "compact");
        let Some(partitions) = publisher.ensure_topic(&self.topic, new).await? else {
            self.next_offset = Some(0);
            return Ok(None);
        };
        let (settings, context, topic) =
            (self.settings.clone(), publisher.reports().context().clone(), self.topic.clone());
        let reading = async {
            tokio::task::spawn_blocking(move || read_last(&settings, &context, &topic))
                .await
                .map_err(|error| Failure::retry(format!("reading the checkpoint: {error}")))?
        };
        let (_, (last, next_offset)) = tokio::try_join!(self.check_topic(publisher, partitions), reading)?;
        self.next_offset = Some(next_offset);
        last.map(|text| Checkpoint::from_json(&self.place(), &text)).transpose()
    }

    pub(super) async fn store(
        &mut self,
        publisher: &Publisher,
        checkpoint: &Checkpoint,
    ) -> Result<(), Failure> {
        let text = checkpoint.to_json();
        let offset = publisher.send_checkpoint(&self.topic, KEY, text.as_bytes()).await?;
        let expected = self.next_offset.replace(offset + 1);
        if expected.is_some_and(|expected| expected != offset) {
            return Err(taken(&self.place(), "its last record is not ours"));
        }
        Ok(())
    }

    /// Refuses a topic that would lose the checkpoint or that has room for several.
    async fn check_topic(&self, publisher: &Publisher, partitions: usize) -> Result<(), Failure> {
        let topic = &self.topic;
        if partitions != 1 {
            return Err(Failure::stop(format!(
                "checkpoint topic {topic} has {partitions} partitions and needs one; delete and recreate it, or rename \
                 the pipeline"
            )));
        }
        let admin = kafka::Admin::open(&self.settings, publisher.reports().context())?;
        let policy = admin.topic_config(topic, "cleanup.policy").await;
        admin.close();
        match policy?.as_deref() {
            Some("compact") => Ok(()),
            Some(policy) => Err(Failure::stop(format!(
                "checkpoint topic {topic} has cleanup.policy={policy}, which can delete the checkpoint; set it to compact"
            ))),
            None => {
                tracing::warn!(topic, "may not read the topic's configuration; taking it for compacted");
                Ok(())
            }
        }
    }
}

/// The last record's value and the offset after it.
fn read_last(
    settings: &config::Kafka,
    context: &kafka::Context,
    topic: &str,
) -> Result<(Option<Vec<u8>>, i64), Failure> {
    let what = format!("cannot read the checkpoint in topic {topic}");
    let fail = |error: rdkafka::error::KafkaError| context.failure(&what, kafka::code(&error));
    let mut client = kafka::client_config(settings);
    // The client wants a group's name even though it never joins one, and commits nothing.
    client
        .set("group.id", topic)
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .set("allow.auto.create.topics", "false")
        .set("fetch.wait.max.ms", "10");
    let consumer: BaseConsumer<kafka::Consumer> =
        client.create_with_context(kafka::Consumer(context.clone())).map_err(fail)?;
    let (low, high) = consumer.fetch_watermarks(topic, 0, kafka::REQUEST_TIMEOUT).map_err(fail)?;
    // Compaction keeps the last record, so the first try finds it; transaction markers, which show as offsets without
    // a record, are why there may be a second.
    for start in [high.saturating_sub(1).max(low), low] {
        if start >= high {
            break;
        }
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_offset(topic, 0, Offset::Offset(start)).map_err(fail)?;
        consumer.assign(&partitions).map_err(fail)?;
        if let Some(last) = read_to_end(&consumer).map_err(fail)? {
            return Ok((Some(last), high));
        }
    }
    Ok((None, high))
}

fn read_to_end(
    consumer: &BaseConsumer<kafka::Consumer>,
) -> Result<Option<Vec<u8>>, rdkafka::error::KafkaError> {
    let mut last = None;
    loop {
        match consumer.poll(kafka::REQUEST_TIMEOUT + Duration::from_secs(1)) {
            Some(Ok(message)) => last = Some(message.payload().unwrap_or_default().to_vec()),
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => return Ok(last),
            Some(Err(error)) => return Err(error),
            None => {
                return Err(rdkafka::error::KafkaError::MessageConsumption(
                    rdkafka::error::RDKafkaErrorCode::OperationTimedOut,
                ));
            }
        }
    }
}
