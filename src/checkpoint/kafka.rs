//! A checkpoint in a compacted Kafka topic of one partition.
//!
//! The topic holds the checkpoints of one source and nothing else, so the last record is the checkpoint, and offsets
//! without a gap mean that nobody else writes. A record that lands further on than the one after our last was preceded
//! by somebody else's; the epochs in the records tell who has signed later.

use rdkafka::{
    Message, Offset, TopicPartitionList,
    admin::{NewTopic, TopicReplication},
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
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
        let (_, (last, next_offset)) =
            tokio::try_join!(self.check_topic(publisher, partitions), self.reader(publisher, Reader::last))?;
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
        match self.next_offset.replace(offset + 1) {
            Some(expected) if expected < offset => {
                self.look_at_others(publisher, expected, offset, checkpoint).await
            }
            _ => Ok(()),
        }
    }

    /// Somebody else has stored between our last record and this one. Who has signed later goes on; who has signed
    /// earlier finds out with the next record that it stores, which is the one that we see.
    async fn look_at_others(
        &self,
        publisher: &Publisher,
        from: i64,
        to: i64,
        ours: &Checkpoint,
    ) -> Result<(), Failure> {
        let records = self.reader(publisher, move |reader| reader.since(from)).await?;
        for (_, text) in records.iter().filter(|(offset, _)| *offset < to) {
            let theirs = Checkpoint::from_json(&self.place(), text)?;
            if theirs.epoch >= ours.epoch {
                return Err(taken(&self.place(), &theirs.owner));
            }
            tracing::warn!(
                topic = self.topic,
                owner = theirs.owner,
                "an older process still stored its position for this source"
            );
        }
        Ok(())
    }

    async fn reader<T: Send + 'static>(
        &self,
        publisher: &Publisher,
        read: impl FnOnce(&Reader) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let context = publisher.reports().context().clone();
        Reader::run(self.settings.clone(), context, self.topic.clone(), read).await
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

/// Reads a checkpoint topic.
struct Reader {
    consumer: BaseConsumer<kafka::Context>,
    context: kafka::Context,
    topic: String,
}

impl Reader {
    /// Runs `read` with a reader, off the runtime's threads.
    async fn run<T: Send + 'static>(
        settings: config::Kafka,
        context: kafka::Context,
        topic: String,
        read: impl FnOnce(&Self) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let reading = tokio::task::spawn_blocking(move || {
            let mut client = kafka::client_config(&settings);
            // The client wants a group's name even though it never joins one, and commits nothing.
            client
                .set("group.id", &topic)
                .set("enable.auto.commit", "false")
                .set("enable.partition.eof", "true")
                .set("auto.offset.reset", "error")
                .set("allow.auto.create.topics", "false")
                .set("fetch.wait.max.ms", "10");
            let consumer = client
                .create_with_context(context.clone())
                .map_err(|error| Failure::stop(format!("[kafka.properties]: {error}")))?;
            let reader = Self { consumer, context, topic };
            let outcome = read(&reader);
            // Closing a consumer takes its time, and nobody needs to wait for it.
            kafka::drop_aside(reader);
            outcome
        });
        reading.await.map_err(|error| Failure::retry(format!("reading the checkpoint: {error}")))?
    }

    /// The last record's value and the offset after it.
    fn last(&self) -> Result<(Option<Vec<u8>>, i64), Failure> {
        let (low, high) = self
            .consumer
            .fetch_watermarks(&self.topic, 0, kafka::REQUEST_TIMEOUT)
            .map_err(|e| self.failure(&e))?;
        // Compaction keeps the last record, so the first try finds it; transaction markers, which show as offsets
        // without a record, are why there may be a second.
        for start in [high.saturating_sub(1).max(low), low] {
            if start < high
                && let Some((_, last)) = self.since(start)?.pop()
            {
                return Ok((Some(last), high));
            }
        }
        Ok((None, high))
    }

    /// Offsets and values of the records from `start` to the end.
    fn since(&self, start: i64) -> Result<Vec<(i64, Vec<u8>)>, Failure> {
        let mut partitions = TopicPartitionList::new();
        partitions
            .add_partition_offset(&self.topic, 0, Offset::Offset(start))
            .and_then(|()| self.consumer.assign(&partitions))
            .map_err(|error| self.failure(&error))?;
        let mut records = Vec::new();
        loop {
            match self.consumer.poll(kafka::REQUEST_TIMEOUT) {
                Some(Ok(message)) => {
                    records.push((message.offset(), message.payload().unwrap_or_default().to_vec()));
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(records),
                Some(Err(error)) => return Err(self.failure(&error)),
                None => {
                    return Err(
                        self.failure(&KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut))
                    );
                }
            }
        }
    }

    fn failure(&self, error: &KafkaError) -> Failure {
        self.context
            .failure(&format!("cannot read the checkpoint in topic {}", self.topic), kafka::code(error))
    }
}
