//! One change → records in librdkafka's queue: the stages, the topic's handle, and what is done about failures.

mod destination;
mod refuse;

use std::{
    mem,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use rdkafka::error::RDKafkaErrorCode;

use self::destination::{Destination, Destinations, Finder};
use super::{
    Metrics,
    decode::Change,
    encode::{Buffers, Encoded, Headers},
    heartbeat,
    publish::{self, Lesson, Publisher, Record, Sizes, Topic, Undelivered},
    stages::Stages,
};
use crate::{
    config::{self, ErrorPolicy},
    kafka,
    position::ResumeToken,
    retry::Failure,
};

/// How often a report is looked for that has to come, with pauses in between.
const REPORT_LOOKS: u32 = 200;

/// Hands changes to Kafka.
pub(super) struct Delivery {
    settings: Arc<config::Source>,
    publisher: Arc<Publisher>,
    metrics: Arc<Metrics>,
    sizes: Arc<Sizes>,
    stages: Stages,
    buffers: Buffers,
    /// Space for an event that is changed on its way.
    event: Vec<u8>,
    finder: Finder,
    destinations: Destinations,
    dead_letters: Option<Destination>,
    heartbeats: Option<Destination>,
    log: refuse::Log,
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
        sizes: &Arc<Sizes>,
    ) -> Self {
        Self {
            settings: Arc::clone(settings),
            publisher: Arc::clone(publisher),
            metrics: Arc::clone(metrics),
            sizes: Arc::clone(sizes),
            stages: Stages::new(settings),
            buffers: Buffers::default(),
            event: Vec::new(),
            finder: Finder::new(settings, publisher, sizes),
            destinations: Destinations::default(),
            dead_letters: None,
            heartbeats: None,
            log: refuse::Log::default(),
        }
    }

    /// Hands on what `change` becomes, as part of the open `group`. `too_large` says why the server could not send more of
    /// it than what it was.
    ///
    /// # Errors
    /// When it cannot be sent, and the settings do not say to go on without it.
    pub(super) async fn change(
        &mut self,
        change: &Change<'_>,
        too_large: Option<&str>,
        group: &mut Group,
    ) -> Result<(), Failure> {
        let Some(db) = change.db else {
            let (source, operation) = (&self.settings.name, change.operation);
            tracing::info!(source, operation, "event without a namespace");
            return Ok(());
        };
        self.metrics.event(change.time);
        let number = match self.destinations.find(db, change.coll) {
            Some(number) => number,
            None => Box::pin(self.destination(db, change.coll)).await?,
        };
        let mut event = mem::take(&mut self.event);
        let outcome = match Stages::transform(change, &self.destinations.get(number).plan, &mut event) {
            Ok(Some(change)) => match too_large {
                None => self.transformed(&change, number, group).await,
                Some(error) => Box::pin(self.event_too_large(&change, number, error, group)).await,
            },
            Ok(None) => {
                self.metrics.dropped();
                Ok(())
            }
            Err(error) => Box::pin(self.not_transformed(change, number, error, group)).await,
        };
        self.event = event;
        outcome
    }

    /// Hands on what a change, which its rules have seen, becomes.
    async fn transformed(
        &mut self,
        change: &Change<'_>,
        number: usize,
        group: &mut Group,
    ) -> Result<(), Failure> {
        let plan = &self.destinations.get(number).plan;
        let encoded = match self.stages.encode(change, plan, &mut self.buffers) {
            Ok(encoded) => encoded,
            Err(error) => return Box::pin(self.not_encoded(change, number, error, group)).await,
        };
        let value = match encoded {
            Encoded::Nothing => return Ok(()),
            Encoded::Record | Encoded::RecordAndTombstone => Some(self.buffers.value.as_slice()),
            Encoded::Tombstone => None,
        };
        let mut destination = self.destinations.get(number);
        let mut record = self.buffers.record(value, destination.partition);
        if self.finder.has_to_ask(destination, &record) {
            Box::pin(self.finder.ask(self.destinations.get_mut(number))).await?;
            destination = self.destinations.get(number);
        }
        if !destination.most.takes(&record) {
            let bytes = record.bytes();
            return Box::pin(self.too_large(change, number, bytes, group)).await;
        }
        self.send(|| self.place(change), &destination.topic, record, group).await?;
        if encoded == Encoded::RecordAndTombstone {
            record.value = None;
            self.send(|| self.place(change), &destination.topic, record, group).await?;
        }
        Ok(())
    }

    /// Hands on a heartbeat for `topic`, which is always the same.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub(super) async fn heartbeat(
        &mut self,
        topic: &str,
        token: &ResumeToken,
        group: &mut Group,
    ) -> Result<(), Failure> {
        if self.heartbeats.is_none() {
            self.heartbeats = Some(self.finder.find_own(topic).await?);
        }
        let place = || format!("source {}: a heartbeat", self.settings.name);
        heartbeat::write_key(token, &mut self.buffers.key)
            .map_err(|error| Failure::stop(format!("{}: {error}", place())))?;
        let handle = &self.heartbeats.as_ref().expect("just found").topic;
        let key = &self.buffers.key;
        let record = Record { key, value: None, headers: Headers::NONE, timestamp: None, partition: None };
        self.send(place, handle, record, group).await?;
        self.metrics.heartbeats.fetch_add(1, Relaxed);
        Ok(())
    }

    /// The first record that was not delivered, where the report comes soon.
    async fn first_undelivered(&self) -> Option<Undelivered> {
        let reports = self.publisher.reports();
        for _ in 0..REPORT_LOOKS {
            if let Some(undelivered) = reports.undelivered() {
                return Some(undelivered);
            }
            tokio::time::sleep(publish::QUEUE_FULL_PAUSE).await;
        }
        None
    }

    /// What the delivery report of a record that is too large means; `what` says which.
    pub(super) fn undelivered(&self, undelivered: &Undelivered, what: &str) -> Failure {
        let failure = self.publisher.reports().context().failure(what, undelivered.code);
        if undelivered.code != RDKafkaErrorCode::MessageSizeTooLarge {
            return failure;
        }
        let batch_bytes = self.publisher.batch_bytes();
        match self.sizes.refused(&undelivered.topic, undelivered.bytes, batch_bytes) {
            Lesson::DoesNotFit if self.settings.errors.record_too_large == ErrorPolicy::Fail => failure,
            Lesson::DoesNotFit => {
                Failure::retry(format!("{what}: too large; it will not be sent there again"))
            }
            Lesson::Ask | Lesson::SmallerBatches(_) => Failure::retry(format!(
                "{what}: a batch of up to {batch_bytes} bytes is too large; looking for what fits"
            )),
        }
    }

    /// Hands a record to librdkafka, when there is room for it.
    async fn send(
        &self,
        place: impl Fn() -> String + Send,
        topic: &Topic,
        record: Record<'_>,
        group: &mut Group,
    ) -> Result<(), Failure> {
        let bytes = record.bytes();
        loop {
            match self.publisher.send(topic, record, group.number) {
                Ok(()) => break,
                // The queue drains by itself; what could not be delivered is found when the group is closed.
                Err(RDKafkaErrorCode::QueueFull) if self.publisher.reports().undelivered().is_none() => {
                    tokio::time::sleep(publish::QUEUE_FULL_PAUSE).await;
                }
                Err(code) => {
                    let place = place();
                    // After a fatal error nothing more is taken; it is about a record from before.
                    if let Some(undelivered) = self.first_undelivered().await {
                        let what = format!(
                            "a record of {} bytes for topic {}, before {place}",
                            undelivered.bytes, undelivered.topic
                        );
                        return Err(self.undelivered(&undelivered, &what));
                    }
                    return Err(kafka::failure(&format!("{place}: a record of {bytes} bytes"), code));
                }
            }
        }
        group.records += 1;
        group.bytes += bytes;
        self.metrics.sent(bytes);
        Ok(())
    }

    /// The number of a namespace's destination, which is found out for the first change.
    async fn destination(&mut self, db: &str, coll: Option<&str>) -> Result<usize, Failure> {
        if let Some(number) = self.destinations.find(db, coll) {
            return Ok(number);
        }
        let plan = self
            .stages
            .plan(db, coll)
            .map_err(|error| Failure::stop(format!("source {}: {error}", self.settings.name)))?;
        let destination = self.finder.find(plan).await?;
        Ok(self.destinations.add(destination))
    }

    /// Where a change is, for messages.
    fn place(&self, change: &Change<'_>) -> String {
        let time = change.time.unwrap_or_default();
        let coll = change.coll.map_or_else(String::new, |coll| format!(".{coll}"));
        format!("source {}: {}{coll} at cluster time {time}", self.settings.name, change.db.unwrap_or("?"))
    }
}
