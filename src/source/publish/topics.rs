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
    /// How many partitions it has; `None` where it was just created and nobody looked.
    partitions: Option<usize>,
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
                let found = self.ensure_topic(topic, new).await?;
                found.or(creation.partitions.map(|partitions| partitions as usize))
            }
            None => Some(self.partitions(topic).await?.ok_or_else(|| {
                Failure::stop(format!(
                    "topic {topic} does not exist, and topic_creation.enabled is false; create it, or let it be created"
                ))
            })?),
        };
        Ok(Place { topic: self.handle(topic)?, partitions })
    }

    /// The partition of `place` for what has this hash.
    ///
    /// # Errors
    /// When the topic's partitions cannot be counted.
    pub(in crate::source) async fn partition(
        &self,
        place: &Place,
        name: &str,
        hash: u32,
    ) -> Result<i32, Failure> {
        let mut count = place.partitions;
        let mut looks_left = LOOKS;
        // Brokers hear of a new topic one after the other.
        while count.is_none() && looks_left > 0 {
            tokio::time::sleep(LOOK_PAUSE).await;
            count = self.partitions(name).await?;
            looks_left -= 1;
        }
        let count = count.and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0);
        let count = count.ok_or_else(|| Failure::retry(format!("topic {name} has no partitions yet")))?;
        Ok((hash % count).cast_signed())
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

    /// Metadata of one topic.
    async fn metadata(&self, topic: &str) -> Result<Metadata, Failure> {
        let name = topic.to_owned();
        let outcome =
            self.ask(move |client| client.fetch_metadata(Some(&name), kafka::REQUEST_TIMEOUT)).await?;
        outcome.map_err(|error| self.unreachable(kafka::code(&error)))
    }
}
