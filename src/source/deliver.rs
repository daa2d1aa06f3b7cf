//! One change → records in librdkafka's queue: the stages, the topic's handle, and what is done about failures.

use std::{collections::HashMap, sync::Arc};

use rdkafka::error::RDKafkaErrorCode;

use super::{
    Metrics,
    decode::Change,
    encode::{Buffers, Encoded},
    publish::{self, Publisher, Record, Topic},
    stages::{Plan, Stages},
};
use crate::{config, kafka, retry::Failure};

/// Hands changes to Kafka.
pub(super) struct Delivery {
    settings: Arc<config::Source>,
    publisher: Arc<Publisher>,
    metrics: Arc<Metrics>,
    stages: Stages,
    buffers: Buffers,
    /// By namespace (`db.coll`, or `db`).
    destinations: HashMap<String, Destination>,
    /// Scratch space for looking up `destinations`.
    namespace: String,
}

/// Where the changes of a namespace go.
struct Destination {
    plan: Plan,
    topic: Topic,
}

/// A group that is being filled.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Its number in the order of groups.
    pub(super) number: u64,
    /// Records in it.
    pub(super) records: usize,
    /// Bytes of their keys and values.
    pub(super) bytes: usize,
}

impl Delivery {
    /// A delivery without any topic yet.
    pub(super) fn new(
        settings: &Arc<config::Source>,
        publisher: &Arc<Publisher>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        Self {
            settings: Arc::clone(settings),
            publisher: Arc::clone(publisher),
            metrics: Arc::clone(metrics),
            stages: Stages::new(settings),
            buffers: Buffers::default(),
            destinations: HashMap::new(),
            namespace: String::new(),
        }
    }

    /// Hands on what `change` becomes, as part of the open `group`.
    ///
    /// # Errors
    /// When it cannot be sent, and the settings do not say to go on without it.
    pub(super) async fn change(&mut self, change: &Change<'_>, group: &mut Group) -> Result<(), Failure> {
        let Some(db) = change.db else {
            let (source, operation) = (&self.settings.name, change.operation);
            tracing::info!(source, operation, "event without a namespace");
            return Ok(());
        };
        self.metrics.event(change.time);
        self.find_destination(db, change.coll).await?;
        let destination = self.destinations.get(&self.namespace).expect("found above");
        let encoded = self.stages.encode(change, &destination.plan, &mut self.buffers).map_err(|error| {
            let place = self.place(change);
            Failure::stop(format!(
                "{place}: cannot be written as {:?}: {error}; use format = \"bson\", or exclude the collection",
                self.settings.record.format
            ))
        })?;
        let order = match encoded {
            Encoded::Nothing => return Ok(()),
            Encoded::Record { order } | Encoded::Tombstone { order } => order,
        };
        let value = (!matches!(encoded, Encoded::Tombstone { .. })).then_some(self.buffers.value.as_slice());
        let record = Record { key: &self.buffers.key, value, order };
        let bytes = self.send(change, &destination.topic, record, group.number).await?;
        group.records += 1;
        group.bytes += bytes;
        self.metrics.sent(bytes);
        Ok(())
    }

    /// Hands a record to librdkafka, when there is room for it; gives its bytes.
    async fn send(
        &self,
        change: &Change<'_>,
        topic: &Topic,
        record: Record<'_>,
        group: u64,
    ) -> Result<usize, Failure> {
        let bytes = record.key.len() + record.value.map_or(0, <[u8]>::len);
        loop {
            match self.publisher.send(topic, record, group) {
                Ok(()) => return Ok(bytes),
                // The queue drains by itself; what could not be delivered is found when the group is closed.
                Err(RDKafkaErrorCode::QueueFull) if self.publisher.reports().undelivered().is_none() => {
                    tokio::time::sleep(publish::QUEUE_FULL_PAUSE).await;
                }
                Err(code) => {
                    let place = self.place(change);
                    return Err(kafka::failure(&format!("{place}: a record of {bytes} bytes"), code));
                }
            }
        }
    }

    /// Puts the change's namespace into `self.namespace` and where it goes into `self.destinations`.
    async fn find_destination(&mut self, db: &str, coll: Option<&str>) -> Result<(), Failure> {
        self.namespace.clear();
        self.namespace.push_str(db);
        if let Some(coll) = coll {
            self.namespace.push('.');
            self.namespace.push_str(coll);
        }
        if !self.destinations.contains_key(&self.namespace) {
            let plan = self
                .stages
                .plan(db, coll)
                .map_err(|error| Failure::stop(format!("source {}: {error}", self.settings.name)))?;
            let topic = self.publisher.topic(&plan.topic).await?;
            self.destinations.insert(self.namespace.clone(), Destination { plan, topic });
        }
        Ok(())
    }

    /// Where a change is, for messages.
    fn place(&self, change: &Change<'_>) -> String {
        let time = change.time.unwrap_or_default();
        let coll = change.coll.map_or_else(String::new, |coll| format!(".{coll}"));
        format!("source {}: {}{coll} at cluster time {time}", self.settings.name, change.db.unwrap_or("?"))
    }
}
