//! A checkpoint in a compacted Kafka topic of one partition.
//!
//! The topic holds the checkpoints of one source and nothing else, so the last record is the checkpoint, and offsets
//! without a gap mean that nobody else writes. A record that lands further on than the one after our last was preceded
//! by somebody else's; the epochs in the records tell who has signed later.

use rdkafka::{
    Message,
    admin::{NewTopic, TopicReplication},
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
            tokio::try_join!(self.check_topic(publisher, partitions), self.reader(publisher, last))?;
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
        let records = self.reader(publisher, move |reader| since(reader, from)).await?;
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

    /// Runs `read` with a reader of the topic, off the runtime's threads.
    async fn reader<T: Send + 'static>(
        &self,
        publisher: &Publisher,
        read: impl FnOnce(&mut kafka::Reader) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (settings, topic) = (self.settings.clone(), self.topic.clone());
        let context = publisher.reports().context().clone();
        let reading = tokio::task::spawn_blocking(move || {
            let mut reader = kafka::Reader::open(&settings, &context, &topic)?;
            let outcome = read(&mut reader);
            reader.close();
            outcome
        });
        reading.await.map_err(|error| Failure::retry(format!("reading the checkpoint: {error}")))?
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
fn last(reader: &mut kafka::Reader) -> Result<(Option<Vec<u8>>, i64), Failure> {
    let (low, high) = reader.watermarks(0)?;
    // Compaction keeps the last record, so the first try finds it; transaction markers, which show as offsets
    // without a record, are why there may be a second.
    for start in [high.saturating_sub(1).max(low), low] {
        if start < high
            && let Some((_, last)) = since(reader, start)?.pop()
        {
            return Ok((Some(last), high));
        }
    }
    Ok((None, high))
}

/// Offsets and values of the records from `start` to the end.
fn since(reader: &mut kafka::Reader, start: i64) -> Result<Vec<(i64, Vec<u8>)>, Failure> {
    reader.assign(&[(0, start)])?;
    let mut records = Vec::new();
    while let Some(message) = reader.read()? {
        records.push((message.offset(), message.payload().unwrap_or_default().to_vec()));
    }
    Ok(records)
}
