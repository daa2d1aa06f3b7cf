//! Topics: whether they are there, how they are created, what they take.

use std::time::Duration;

use rdkafka::{
    admin::{NewTopic, TopicReplication},
    error::RDKafkaErrorCode,
    metadata::Metadata,
};

use super::{Publisher, Topic};
use crate::{config::TopicCreation, kafka, retry::Failure};

/// How often a topic that was just created is looked for, and how long after the last time.
const LOOKS: u32 = 100;
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// The property that limits records.
const LIMIT: &str = "max.message.bytes";

/// A topic that is there.
pub(in crate::source) struct Place {
    /// By which it is sent to.
    pub(in crate::source) topic: Topic,
    /// How many partitions it has.
    partitions: usize,
}

impl Place {
    /// The partition for what has this hash.
    pub(in crate::source) fn partition(&self, hash: u32) -> Option<i32> {
        let count = u32::try_from(self.partitions).ok().filter(|count| *count > 0)?;
        Some((hash % count).cast_signed())
    }
}

impl Publisher {
    /// The place of `topic`, which is created as `creation` says if it is not there.
    ///
    /// # Errors
    /// When it is not there and may not be created.
    pub(in crate::source) async fn place(
        &self,
        topic: &str,
        creation: Option<&TopicCreation>,
    ) -> Result<Place, Failure> {
        let partitions = match creation {
            Some(creation) => {
                let count = |number: Option<u32>| number.map_or(-1, u32::cast_signed);
                let replication = TopicReplication::Fixed(count(creation.replication));
                let new = NewTopic::new(topic, count(creation.partitions), replication);
                let new = creation.config.iter().fold(new, |new, (key, value)| new.set(key, value));
                match self.ensure_topic(topic, new).await? {
                    Some(partitions) => partitions,
                    None => self.settled_partitions(topic).await?,
                }
            }
            None => self.partitions(topic).await?.ok_or_else(|| {
                Failure::stop(format!(
                    "topic {topic} does not exist, and topic_creation.enabled is false; create it, or let it be created"
                ))
            })?,
        };
        Ok(Place { topic: self.handle(topic)?, partitions })
    }

    /// Creates `topic` as `new` says unless it is there; tells how many partitions it had before.
    ///
    /// # Errors
    /// When it is not there and may not be created.
    pub async fn ensure_topic(&self, topic: &str, new: NewTopic<'_>) -> Result<Option<usize>, Failure> {
        if let Some(partitions) = self.partitions(topic).await? {
            return Ok(Some(partitions));
        }
        let admin = kafka::Admin::open(&self.settings, self.reports.context())?;
        let created = admin.create_topic(&new).await;
        admin.close();
        created.map(|()| None)
    }

    /// The largest batch that `topic` takes, and so the largest record; `None` where the user may not ask.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub(in crate::source) async fn limit(&self, topic: &str) -> Result<Option<usize>, Failure> {
        let admin = kafka::Admin::open(&self.settings, self.reports.context())?;
        let limit = admin.topic_config(topic, LIMIT).await;
        admin.close();
        Ok(limit?.and_then(|limit| limit.parse().ok()))
    }

    /// How many partitions `topic` has; `None` where it is not there.
    async fn partitions(&self, topic: &str) -> Result<Option<usize>, Failure> {
        let metadata = self.metadata(topic).await?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        match found.map(|found| (found.error().map(RDKafkaErrorCode::from), found.partitions().len())) {
            Some((None, partitions)) if partitions > 0 => Ok(Some(partitions)),
            Some((Some(code @ RDKafkaErrorCode::TopicAuthorizationFailed), _)) => {
                Err(kafka::failure(&format!("cannot see topic {topic}"), code))
            }
            _ => Ok(None),
        }
    }

    /// How many partitions `topic` has, which was just created, as soon as their leaders know of them: one that does not
    /// yet may lose the first records, see [`kafka::placed`].
    async fn settled_partitions(&self, topic: &str) -> Result<usize, Failure> {
        // Brokers hear of a new topic one after the other.
        for _ in 0..LOOKS {
            if let Some(count) = self.partitions(topic).await?
                && self.is_led(topic, count).await?
            {
                return Ok(count);
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        Err(Failure::retry(format!("topic {topic} was created, and its partitions have no leaders yet")))
    }

    /// Whether the leader of each of `topic`'s partitions answers for it.
    async fn is_led(&self, topic: &str, partitions: usize) -> Result<bool, Failure> {
        let name = topic.to_owned();
        let asked = self.ask(move |client| {
            (0..i32::try_from(partitions).unwrap_or(i32::MAX)).try_for_each(|partition| {
                client.fetch_watermarks(&name, partition, kafka::REQUEST_TIMEOUT).map(drop)
            })
        });
        match asked.await?.map_err(|error| kafka::code(&error)) {
            Ok(()) => Ok(true),
            Err(
                RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::UnknownTopic,
            ) => Ok(false),
            // The cluster is away for a moment: no reason to start again and to repeat what was sent.
            Err(code) if kafka::is_transport(code) => Ok(false),
            Err(code) => Err(self.reports.context().failure(&format!("cannot ask for topic {topic}"), code)),
        }
    }

    /// Metadata of one topic.
    async fn metadata(&self, topic: &str) -> Result<Metadata, Failure> {
        let name = topic.to_owned();
        let outcome =
            self.ask(move |client| client.fetch_metadata(Some(&name), kafka::REQUEST_TIMEOUT)).await?;
        outcome.map_err(|error| self.unreachable(kafka::code(&error)))
    }
}
