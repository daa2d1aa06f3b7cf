//! Records that cannot be written → the dead letter topic.
//!
//! A letter is the record as it came: key, value, headers and timestamp to the byte, and more headers that say what was
//! wrong, in Kafka Connect's names, which existing tools read, and in our own. Promises that a letter counts as sent
//! when Kafka has acknowledged it; where the topic cannot be reached, the sink stops. Only here the server's own words
//! appear, which may quote the document.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext,
    admin::{NewTopic, TopicReplication},
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseRecord, ProducerContext, ThreadedProducer},
};
use tokio::sync::oneshot;

use super::{Metrics, record::Record, stages::Refusal, verdict::Reason};
use crate::{config, kafka, retry::Failure};

/// The headers of Kafka Connect's dead letters.
pub const CONNECT_HEADERS: &str = "__connect.errors.";
/// Our own.
pub const HEADERS: &str = "millrace.error.";
/// How long a letter may take before the sink stops.
const PATIENCE: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_secs(60);
/// Letters under way at once.
const MAX_PENDING: usize = 1000;

/// A record that could not be written, and why.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The record.
    pub record: Record,
    /// The stage in which it was refused.
    pub stage: &'static str,
    /// The kind of error; the last part of the name that the official connector gives it.
    pub class: &'static str,
    /// The server's code, if it was the server.
    pub code: Option<i32>,
    /// What was wrong. May quote the document.
    pub message: String,
}

impl Letter {
    /// A record that cannot be planned.
    pub fn unreadable(record: Record, refusal: &Refusal) -> Self {
        Self {
            record,
            stage: refusal.stage(),
            class: "DataException",
            code: None,
            message: refusal.to_string(),
        }
    }

    /// A record whose write the server refuses. The message has the official connector's form, which tools take apart.
    pub fn refused(record: Record, reason: &Reason) -> Self {
        let Reason { code, message, details } = reason;
        let message = match code {
            Some(code) => format!("v=1, code={code}, message={message}, details={details}"),
            None => message.clone(),
        };
        Self { record, stage: "write", class: "WriteException", code: *code, message }
    }

    /// Its headers: the record's own, and why it is here.
    pub fn headers(&self, group: &str) -> Vec<(String, Option<Vec<u8>>)> {
        let record = &self.record;
        let own = record.headers.iter().map(|header| (header.name.clone(), header.value.clone()));
        let place = &record.place;
        // Connect has one word for all that happens inside of a connector.
        let connect_stage = if self.stage == "decode" { "VALUE_CONVERTER" } else { "TASK_PUT" };
        let connect = [
            ("topic", place.partition.topic.to_string()),
            ("partition", place.partition.number.to_string()),
            ("offset", place.offset.to_string()),
            ("connector.name", group.to_owned()),
            ("task.id", "0".to_owned()),
            ("stage", connect_stage.to_owned()),
            ("class.name", "millrace.sink".to_owned()),
            ("exception.class.name", format!("millrace.{}", self.class)),
            ("exception.message", self.message.clone()),
            ("exception.stacktrace", self.message.clone()),
        ];
        let ours = [
            Some(("stage", self.stage.to_owned())),
            self.code.map(|code| ("code", code.to_string())),
            record.timestamp.millis().map(|millis| ("timestamp", millis.to_string())),
        ];
        let named = |prefix: &str, (name, value): (&str, String)| {
            (format!("{prefix}{name}"), Some(value.into_bytes()))
        };
        own.chain(connect.map(|header| named(CONNECT_HEADERS, header)))
            .chain(ours.into_iter().flatten().map(|header| named(HEADERS, header)))
            .collect()
    }
}

/// The way to the dead letter topic, and the account of what goes there.
pub struct DeadLetters {
    settings: Arc<config::Sink>,
    group: String,
    metrics: Arc<Metrics>,
    producer: Option<ThreadedProducer<Reports>>,
    reports: Reports,
    open: Vec<Letter>,
    /// When the letters of the last minute were added.
    recent: VecDeque<Instant>,
}

impl DeadLetters {
    /// A way without letters. Begins to connect, and does not wait for it.
    ///
    /// # Errors
    /// When the properties do not fit together.
    pub fn new(settings: &Arc<config::Sink>, group: &str, metrics: &Arc<Metrics>) -> Result<Self, Failure> {
        let reports = Reports { context: kafka::Context::new(format!("sink {}", settings.name)) };
        let producer = settings.errors.keeps_letters().then(|| open(settings, &reports)).transpose()?;
        Ok(Self {
            settings: Arc::clone(settings),
            group: group.to_owned(),
            metrics: Arc::clone(metrics),
            producer,
            reports,
            open: Vec::new(),
            recent: VecDeque::new(),
        })
    }

    /// Creates the topic if it is not there.
    ///
    /// # Errors
    /// When it may not be created.
    pub async fn prepare(&self) -> Result<(), Failure> {
        let (Some(_), Some(topic)) = (&self.producer, &self.settings.errors.dead_letter_topic) else {
            return Ok(());
        };
        let admin = kafka::Admin::open(&self.settings.kafka, &self.reports.context)?;
        let outcome = admin.create_topic(&NewTopic::new(topic, -1, TopicReplication::Fixed(-1))).await;
        admin.close();
        outcome
    }

    /// What the sink counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Takes a letter; it is sent with the next [`Self::send`].
    ///
    /// # Errors
    /// When there are too many of them.
    pub fn add(&mut self, letter: Letter) -> Result<(), Failure> {
        let now = Instant::now();
        while self.recent.pop_front_if(|added| *added + MINUTE < now).is_some() {}
        self.recent.push_back(now);
        let place = &letter.record.place;
        if let Some(most) =
            self.settings.errors.max_dead_letters_per_minute.filter(|most| self.recent.len() > *most as usize)
        {
            return Err(Failure::stop(format!(
                "{place}: more than {most} records in a minute cannot be written ({} in stage {}), so it is not a few bad ones; \
                 mend the cause, or raise errors.max_dead_letters_per_minute",
                letter.class, letter.stage
            )));
        }
        self.metrics.dead_letters.fetch_add(1, Relaxed);
        tracing::warn!(
            sink = self.settings.name,
            %place,
            stage = letter.stage,
            code = letter.code,
            "a record cannot be written and is passed over"
        );
        if self.producer.is_some() {
            self.open.push(letter);
        }
        Ok(())
    }

    /// Sends all letters and waits until they have arrived.
    ///
    /// # Errors
    /// When one could not be delivered: the sink stops, and comes to its record again.
    pub async fn send(&mut self) -> Result<(), Failure> {
        let (Some(producer), Some(topic)) = (&self.producer, &self.settings.errors.dead_letter_topic) else {
            return Ok(());
        };
        let letters = std::mem::take(&mut self.open);
        for letters in letters.chunks(MAX_PENDING) {
            let mut waiting = Vec::with_capacity(letters.len());
            for letter in letters {
                waiting.push(self.hand_over(producer, topic, letter)?);
            }
            for report in waiting {
                let code = match report.await {
                    Ok(Ok(())) => continue,
                    Ok(Err(code)) => code,
                    Err(_) => RDKafkaErrorCode::PurgeQueue,
                };
                return Err(self.undelivered(topic, code));
            }
        }
        Ok(())
    }

    fn hand_over(
        &self,
        producer: &ThreadedProducer<Reports>,
        topic: &str,
        letter: &Letter,
    ) -> Result<oneshot::Receiver<Report>, Failure> {
        let (report, receiver) = oneshot::channel();
        let mut headers = OwnedHeaders::new();
        let named = letter.headers(&self.group);
        for (name, value) in &named {
            headers = headers.insert(Header { key: name, value: value.as_deref() });
        }
        let mut record: BaseRecord<'_, [u8], [u8], Box<oneshot::Sender<Report>>> =
            BaseRecord::with_opaque_to(topic, Box::new(report)).headers(headers);
        record.key = letter.record.key.as_deref();
        record.payload = letter.record.value.as_deref();
        record.timestamp = letter.record.timestamp.millis();
        match producer.send(record) {
            Ok(()) => Ok(receiver),
            Err((error, _)) => Err(self.undelivered(topic, kafka::code(&error))),
        }
    }

    fn undelivered(&self, topic: &str, code: RDKafkaErrorCode) -> Failure {
        let what = format!("cannot send to the dead letter topic {topic}");
        let failure = self.reports.context.failure(&what, code);
        // Records that cannot be written anywhere are no reason to go on, and none to end for ever.
        Failure { message: format!("{}; the sink waits with the record", failure.message), ..failure }
    }
}

impl Drop for DeadLetters {
    fn drop(&mut self) {
        // It joins its own thread.
        if let Some(producer) = self.producer.take() {
            kafka::drop_aside(producer);
        }
    }
}

fn open(settings: &config::Sink, reports: &Reports) -> Result<ThreadedProducer<Reports>, Failure> {
    let mut client = kafka::client_config(&settings.kafka);
    client
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "5")
        .set("message.max.bytes", (64 << 20).to_string())
        .set("message.timeout.ms", PATIENCE.as_millis().to_string());
    ThreadedProducer::from_config_and_context(&client, reports.clone())
        .map_err(|error| Failure::stop(format!("[kafka.properties]: {error}")))
}

type Report = Result<(), RDKafkaErrorCode>;

/// Gives each letter's report to who waits for it.
#[derive(Clone)]
struct Reports {
    context: kafka::Context,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<oneshot::Sender<Report>>;

    fn delivery(&self, result: &DeliveryResult<'_>, report: Self::DeliveryOpaque) {
        let outcome = kafka::placed(result).map(drop);
        if report.send(outcome).is_err() {
            tracing::debug!("nobody waits for the dead letter any more");
        }
    }
}
