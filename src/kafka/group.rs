//! A consumer group, seen by somebody who never joins it.

use std::{collections::BTreeMap, fmt};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    error::KafkaError,
    metadata::Metadata,
};

use super::{Context, REQUEST_TIMEOUT, client_config, code, drop_aside};
use crate::{config, retry::Failure};

/// The offset of the record that comes next, by topic and partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offsets(pub BTreeMap<(String, i32), i64>);

impl fmt::Display for Offsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, ((topic, partition), next_offset)) in self.0.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{topic}[{partition}] at {next_offset}")?;
        }
        Ok(())
    }
}

/// How many members a consumer (or worker) group of the cluster has.
pub(super) fn members(
    consumer: &BaseConsumer<Context>,
    context: &Context,
    group: &str,
) -> Result<usize, Failure> {
    let groups = consumer.fetch_group_list(Some(group), REQUEST_TIMEOUT);
    let groups =
        groups.map_err(|error| context.failure(&format!("cannot look at group {group}"), code(&error)))?;
    Ok(groups.groups().iter().map(|group| group.members().len()).sum())
}

/// The partitions of the topics that are read.
pub fn partitions(metadata: &Metadata, is_read: impl Fn(&str) -> bool) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for topic in metadata.topics().iter().filter(|topic| is_read(topic.name())) {
        for partition in topic.partitions() {
            list.add_partition(topic.name(), partition.id());
        }
    }
    list
}

/// A consumer group. Every call waits for the cluster: not for the threads of the runtime.
pub struct Group {
    consumer: BaseConsumer<Context>,
    context: Context,
    name: String,
}

impl Group {
    /// Connects when it is first asked something.
    ///
    /// # Errors
    /// When the properties do not fit together.
    pub fn open(settings: &config::Kafka, context: &Context, name: &str) -> Result<Self, Failure> {
        let mut client = client_config(settings);
        client.set("group.id", name).set("enable.auto.commit", "false");
        let consumer = client
            .create_with_context(context.clone())
            .map_err(|error| Failure::stop(format!("[kafka.properties]: {error}")))?;
        Ok(Self { consumer, context: context.clone(), name: name.to_owned() })
    }

    /// How many members it has.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn members(&self) -> Result<usize, Failure> {
        members(&self.consumer, &self.context, &self.name)
    }

    /// The partitions of the cluster's topics that are read.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn partitions(&self, is_read: impl Fn(&str) -> bool) -> Result<TopicPartitionList, Failure> {
        let metadata = self.consumer.fetch_metadata(None, REQUEST_TIMEOUT);
        let metadata = metadata.map_err(|error| self.failure("look for the topics of", &error))?;
        Ok(partitions(&metadata, is_read))
    }

    /// What it has committed of these partitions.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn committed(&self, partitions: &TopicPartitionList) -> Result<Offsets, Failure> {
        if partitions.count() == 0 {
            return Ok(Offsets::default());
        }
        let committed = self.consumer.committed_offsets(partitions.clone(), REQUEST_TIMEOUT);
        let committed = committed.map_err(|error| self.failure("look at the offsets of", &error))?;
        let mut offsets = Offsets::default();
        for element in committed.elements() {
            element.error().map_err(|error| self.failure("look at the offsets of", &error))?;
            if let Offset::Offset(next_offset) = element.offset() {
                offsets.0.insert((element.topic().to_owned(), element.partition()), next_offset);
            }
        }
        Ok(offsets)
    }

    /// Commits for it.
    ///
    /// # Errors
    /// When the cluster does not answer, or the group has members.
    pub fn commit(&self, offsets: &Offsets) -> Result<(), Failure> {
        let mut list = TopicPartitionList::new();
        for ((topic, partition), next_offset) in &offsets.0 {
            let added = list.add_partition_offset(topic, *partition, Offset::Offset(*next_offset));
            added.map_err(|error| self.failure("commit", &error))?;
        }
        self.consumer.commit(&list, CommitMode::Sync).map_err(|error| self.failure("commit", &error))
    }

    /// Drops the group on a thread that may wait: closing a consumer takes its time.
    pub fn close(self) {
        drop_aside(self);
    }

    fn failure(&self, what: &str, error: &KafkaError) -> Failure {
        self.context.failure(&format!("cannot {what} group {}", self.name), code(error))
    }
}
