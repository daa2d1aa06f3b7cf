//! Reads a topic to its end, outside of any consumer group. Blocks: for threads that may.

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
    metadata::MetadataTopic,
};

use super::{Context, REQUEST_TIMEOUT, client_config, code, drop_aside, group::members};
use crate::{config, retry::Failure};

/// Reads one topic. Where a partition ends is settled when it is assigned.
pub struct Reader {
    consumer: BaseConsumer<Context>,
    context: Context,
    topic: String,
    /// Partitions that are being read, with the offsets at which they end.
    open: Vec<(i32, i64)>,
}

impl Reader {
    /// A reader of `topic`.
    ///
    /// # Errors
    /// When the properties do not fit together.
    pub fn open(settings: &config::Kafka, context: &Context, topic: &str) -> Result<Self, Failure> {
        let mut client = client_config(settings);
        // The client wants a group's name even though it never joins one, and commits nothing.
        client
            .set("group.id", topic)
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            .set("allow.auto.create.topics", "false")
            .set("queued.max.messages.kbytes", "4096")
            .set("fetch.wait.max.ms", "10");
        let consumer = client
            .create_with_context(context.clone())
            .map_err(|error| Failure::stop(format!("[kafka.properties]: {error}")))?;
        let (topic, context) = (topic.to_owned(), context.clone());
        Ok(Self { consumer, context, topic, open: Vec::new() })
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The numbers of its partitions; none where it does not exist.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn partitions(&self) -> Result<Vec<i32>, Failure> {
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), REQUEST_TIMEOUT);
        let metadata = metadata.map_err(|error| self.failure(&error))?;
        let found = metadata.topics().iter().find(|found| found.name() == self.topic);
        let partitions = found.map(MetadataTopic::partitions).unwrap_or_default();
        Ok(partitions.iter().map(rdkafka::metadata::MetadataPartition::id).collect())
    }

    /// How many members a consumer (or worker) group of the cluster has.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn group_members(&self, group: &str) -> Result<usize, Failure> {
        members(&self.consumer, &self.context, group)
    }

    /// The first offset of a partition, and the one after its last.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn watermarks(&self, partition: i32) -> Result<(i64, i64), Failure> {
        let watermarks = self.consumer.fetch_watermarks(&self.topic, partition, REQUEST_TIMEOUT);
        watermarks.map_err(|error| self.failure(&error))
    }

    /// Begins to read these partitions at these offsets.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn assign(&mut self, from: &[(i32, i64)]) -> Result<(), Failure> {
        let mut assigned = TopicPartitionList::new();
        self.open.clear();
        for (partition, offset) in from {
            let (_, end) = self.watermarks(*partition)?;
            if *offset < end {
                self.open.push((*partition, end));
                let added = assigned.add_partition_offset(&self.topic, *partition, Offset::Offset(*offset));
                added.map_err(|error| self.failure(&error))?;
            }
        }
        self.consumer.assign(&assigned).map_err(|error| self.failure(&error))
    }

    /// Begins to read everything.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn assign_all(&mut self) -> Result<(), Failure> {
        let mut from = Vec::new();
        for partition in self.partitions()? {
            from.push((partition, self.watermarks(partition)?.0));
        }
        self.assign(&from)
    }

    /// Whether everything is read.
    pub fn is_at_end(&self) -> bool {
        self.open.is_empty()
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn read(&mut self) -> Result<Option<BorrowedMessage<'_>>, Failure> {
        while !self.open.is_empty() {
            match self.consumer.poll(REQUEST_TIMEOUT) {
                Some(Ok(message)) => {
                    let (partition, next) = (message.partition(), message.offset() + 1);
                    self.open.retain(|(open, end)| *open != partition || next < *end);
                    return Ok(Some(message));
                }
                // Transaction markers at the end are offsets without a record.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.open.retain(|(open, _)| *open != partition);
                }
                Some(Err(error)) => return Err(self.failure(&error)),
                None => {
                    let silent = KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);
                    return Err(self.failure(&silent));
                }
            }
        }
        Ok(None)
    }

    /// Drops the reader on a thread that may wait: closing a consumer takes its time.
    pub fn close(self) {
        drop_aside(self);
    }

    fn failure(&self, error: &KafkaError) -> Failure {
        self.context.failure(&format!("cannot read topic {}", self.topic), code(error))
    }
}
