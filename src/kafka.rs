//! Kafka clients from settings, and what librdkafka says when something is wrong.
//!
//! librdkafka retries by itself and tells of trouble only on the side: through a callback that any of its threads may
//! call. [`Context`] keeps the last of these words, so that the error that a half ends with can say why.

mod group;
mod reader;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext,
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier},
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::ConsumerContext,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    message::{DeliveryResult, Message as _},
};
use tokio::sync::Notify;

pub use self::{
    group::{Group, Offsets, partitions},
    reader::Reader,
};
use crate::{config, retry::Failure};

/// How long a request to the cluster may take before the half gives up and tries again later.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The part that every client shares: where the cluster is and the user's own properties.
pub fn client_config(settings: &config::Kafka) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &settings.bootstrap_servers);
    client.set("client.id", "millrace");
    // Log lines are for debugging; what matters also comes through the error callback.
    client.set("log.connection.close", "false");
    // Also the pause between two first connections, which a start waits for several times; a broker that stays away
    // still meets pauses that double up to 10 s.
    client.set("reconnect.backoff.ms", "20");
    for (key, value) in &settings.properties {
        client.set(key, value.expose());
    }
    client
}

/// What librdkafka says on the side. Cheap to clone; all clones share the same memory.
#[derive(Clone)]
pub struct Context {
    shared: Arc<Shared>,
}

struct Shared {
    /// Which half this is, for log lines: `source shop`.
    half: String,
    last: Mutex<Option<(RDKafkaErrorCode, String)>>,
    refused: Notify,
}

impl Context {
    /// A context for the half called `half`.
    pub fn new(half: impl Into<String>) -> Self {
        Self {
            shared: Arc::new(Shared { half: half.into(), last: Mutex::new(None), refused: Notify::new() }),
        }
    }

    /// The last error, as librdkafka put it.
    pub fn last_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.shared.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns once the cluster has refused this client's credentials or certificates.
    pub async fn refused(&self) -> Failure {
        loop {
            let notified = self.shared.refused.notified();
            if let Some((code, reason)) = self.last_error().filter(|(code, _)| is_refusal(*code)) {
                return refusal(code, &reason);
            }
            notified.await;
        }
    }

    /// Why `what` failed with `code`, in one line; the last word of librdkafka on it included.
    pub fn failure(&self, what: &str, code: RDKafkaErrorCode) -> Failure {
        match self.last_error() {
            Some((last, reason)) if is_refusal(last) => refusal(last, &reason),
            Some((_, reason)) if is_transport(code) => Failure::retry(format!("{what}: {reason}")),
            _ => failure(what, code),
        }
    }
}

/// Errors that no retry will mend: the cluster knows us and says no.
fn is_refusal(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::UnsupportedSASLMechanism
            | RDKafkaErrorCode::IllegalSASLState
            | RDKafkaErrorCode::SSL
    )
}

/// Errors that say no more than that there was no answer.
pub fn is_transport(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::Resolve
    )
}

fn refusal(code: RDKafkaErrorCode, reason: &str) -> Failure {
    let remedy = if code == RDKafkaErrorCode::SSL {
        "check ssl.ca.location, the server's certificate and security.protocol in [kafka.properties]"
    } else {
        "check sasl.mechanism, sasl.username and sasl.password in [kafka.properties]"
    };
    Failure::stop(format!("Kafka refuses the connection: {reason}; {remedy}"))
}

/// `what` failed with `code`: the verdict on it, in one line.
pub fn failure(what: &str, code: RDKafkaErrorCode) -> Failure {
    match code {
        RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::GroupAuthorizationFailed
        | RDKafkaErrorCode::ClusterAuthorizationFailed
        | RDKafkaErrorCode::TransactionalIdAuthorizationFailed => Failure::stop(format!(
            "{what}: the Kafka user lacks the right ({code}); see README, Least rights"
        )),
        RDKafkaErrorCode::PolicyViolation
        | RDKafkaErrorCode::InvalidTopic
        | RDKafkaErrorCode::InvalidReplicationFactor
        | RDKafkaErrorCode::InvalidPartitions
        | RDKafkaErrorCode::InvalidConfig => {
            Failure::stop(format!("{what}: {code}; create the topic by hand or change the cluster's policy"))
        }
        RDKafkaErrorCode::MessageSizeTooLarge => Failure::stop(format!(
            "{what}: {code}; raise max.message.bytes of the topic (and message.max.bytes of the broker)"
        )),
        UNPLACED => Failure::retry(format!(
            "{what}: the cluster has it for a duplicate and does not say of what, so it may be lost; it is sent again"
        )),
        _ => Failure::retry(format!("{what}: {code}")),
    }
}

/// The code of a record that was reported as delivered to nowhere.
pub const UNPLACED: RDKafkaErrorCode = RDKafkaErrorCode::DuplicateSequenceNumber;

/// At which offset a record stands, by its delivery report.
///
/// A broker that learns of a new partition between two batches refuses the first, takes the second, and when the first
/// comes again calls it a duplicate (KAFKA-15591). librdkafka takes every duplicate for delivered, and only leaves out
/// the offset. A true duplicate, whose answer was lost, looks the same; so neither counts as delivered.
///
/// # Errors
/// When it was not delivered, or nobody knows where.
pub fn placed(report: &DeliveryResult<'_>) -> Result<i64, RDKafkaErrorCode> {
    match report {
        Ok(message) if message.offset() < 0 => Err(UNPLACED),
        Ok(message) => Ok(message.offset()),
        Err((error, _)) => Err(code(error)),
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(half = self.shared.half, facility, "{message}");
            }
            _ => tracing::debug!(half = self.shared.half, facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = code(&error);
        // Where a reader asks to be told of a partition's end, that is no error.
        if code == RDKafkaErrorCode::PartitionEOF {
            return;
        }
        let known = {
            let mut last = self.shared.last.lock().unwrap_or_else(PoisonError::into_inner);
            // "All brokers down" follows each single failure and says less than it.
            if code == RDKafkaErrorCode::AllBrokersDown && last.is_some() {
                return;
            }
            let known = last.as_ref().is_some_and(|(before, _)| *before == code);
            *last = Some((code, reason.to_owned()));
            known
        };
        if is_refusal(code) {
            self.shared.refused.notify_waiters();
        }
        if known {
            tracing::debug!(half = self.shared.half, "kafka: {reason}");
        } else {
            tracing::warn!(half = self.shared.half, "kafka: {reason}");
        }
    }

    fn stats_raw(&self, _statistics: &[u8]) {}
}

impl ConsumerContext for Context {}

/// A client for creating and inspecting topics; made when one is needed, closed soon after.
pub struct Admin {
    client: AdminClient<Context>,
    context: Context,
}

impl Admin {
    /// Makes the client. Connects lazily.
    ///
    /// # Errors
    /// When the properties do not fit together.
    pub fn open(settings: &config::Kafka, context: &Context) -> Result<Self, Failure> {
        let client = AdminClient::from_config_and_context(&client_config(settings), context.clone())
            .map_err(|error| Failure::stop(format!("[kafka.properties]: {error}")))?;
        Ok(Self { client, context: context.clone() })
    }

    /// Creates a topic; one that is there already is as good.
    ///
    /// # Errors
    /// When it may not be created.
    pub async fn create_topic(&self, new: &NewTopic<'_>) -> Result<(), Failure> {
        let topic = new.name;
        let what = format!("topic {topic} does not exist and cannot be created");
        match first(self.client.create_topics([new], &options()).await) {
            Ok(_) => tracing::info!(topic, "created topic"),
            Err(RDKafkaErrorCode::TopicAlreadyExists) => {}
            Err(code) => return Err(self.context.failure(&what, code)),
        }
        Ok(())
    }

    /// A configuration entry of a topic; `None` where the user may not ask.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn topic_config(&self, topic: &str, key: &str) -> Result<Option<String>, Failure> {
        let results = self.client.describe_configs([&ResourceSpecifier::Topic(topic)], &options()).await;
        match first(results) {
            Ok(resource) => Ok(resource.get(key).and_then(|entry| entry.value.clone())),
            Err(
                RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed,
            ) => Ok(None),
            Err(code) => {
                Err(self.context.failure(&format!("cannot read the configuration of topic {topic}"), code))
            }
        }
    }

    /// Drops the client off the runtime's threads: it joins its own.
    pub fn close(self) {
        drop_aside(self);
    }
}

/// Drops a client on a thread that may block.
pub fn drop_aside<T: Send + 'static>(client: T) {
    tokio::task::spawn_blocking(move || drop(client));
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT))
}

/// The single result of a request about a single thing.
fn first<T, E: ErrorCode>(results: KafkaResult<Vec<Result<T, E>>>) -> Result<T, RDKafkaErrorCode> {
    match results.map(|results| results.into_iter().next()) {
        Ok(Some(result)) => result.map_err(E::code),
        Ok(None) => Err(RDKafkaErrorCode::Unknown),
        Err(error) => Err(code(&error)),
    }
}

/// The admin requests of the crate report the errors of single things in two shapes.
trait ErrorCode {
    fn code(self) -> RDKafkaErrorCode;
}

impl ErrorCode for RDKafkaErrorCode {
    fn code(self) -> RDKafkaErrorCode {
        self
    }
}

impl ErrorCode for (String, RDKafkaErrorCode) {
    fn code(self) -> RDKafkaErrorCode {
        self.1
    }
}

/// The code of an error, however the crate wraps it.
pub fn code(error: &KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)
}
