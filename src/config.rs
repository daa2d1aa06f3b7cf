//! What the daemon is told to do: [`Settings`], resolved and checked.
//!
//! Nothing else in the program sees the user's file. [`load`] layers defaults, file and environment, reports every
//! problem at once with its place, and does no I/O beyond reading the file and the secrets it points to.

mod choice;
mod connection;
mod environment;
mod file;
mod layers;
mod print;
mod problem;
mod reference;
mod resolve;
mod schema;
mod secret;
mod source;
mod template;
mod units;

#[cfg(test)]
mod example_tests;
#[cfg(test)]
mod source_tests;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

pub(crate) use self::{
    connection::{check_bootstrap_servers, check_property, check_uri},
    resolve::parse_pipeline,
    units::parse_start,
};
pub use self::{
    environment::environment,
    problem::{Invalid, KeyPath, Place, Problem, Problems},
    secret::Secret,
    source::{
        BeforeChange, ErrorPolicy, Errors, FullDocument, Headers, Heartbeat, HistoryLost, LargeEvent,
        NullLookup, PartitionBy, Record, RecordKey, RecordValue, Route, Snapshot, SnapshotMode, Source,
        Start, Stream, Timestamp, TopicCreation, Topics,
    },
    units::{parse_duration, parse_size},
};
use crate::namespace::{Namespace, Patterns};

/// Reads the file at `path` and the variables that belong to the daemon. [`environment`] gives the process's.
pub fn load(
    path: &Path,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, Problems> {
    Ok(load_layers(path, &file::text(path)?, variables)?.0)
}

/// As [`load`], with the text that the file at `path` would have.
pub fn load_text(
    path: &Path,
    text: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, Problems> {
    Ok(load_layers(path, text, variables)?.0)
}

/// The effective configuration as TOML: all layers, with defaults, without any secret. Reports what [`load`] would.
pub fn print(path: &Path, variables: impl IntoIterator<Item = (String, String)>) -> Result<String, Problems> {
    let (_, layers) = load_layers(path, &file::text(path)?, variables)?;
    Ok(print::toml(&layers.tree, schema::ROOT))
}

fn load_layers(
    path: &Path,
    text: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<(Settings, layers::Layers), Problems> {
    let variables: BTreeMap<String, String> = variables.into_iter().collect();
    let mut layers = layers::read(path, text, &variables)?;
    let expanded = layers.expand(&variables);
    match resolve::settings(&expanded, &layers.places, &mut layers.problems) {
        Some(settings) if layers.problems.is_empty() => Ok((settings, layers)),
        _ => Err(Problems::new(path.into(), layers.problems)),
    }
}

/// Everything the daemon needs to know, resolved and checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The pipeline's identity: names checkpoints and consumer groups.
    pub name: String,
    /// How the daemon logs.
    pub log: Log,
    /// Where the HTTP interface listens; `None` switches it off.
    pub admin: Option<Admin>,
    /// Bytes that may wait anywhere in the process, librdkafka's queues included.
    pub memory_bytes: usize,
    /// How long a stop may take to drain.
    pub shutdown_timeout: Duration,
    /// Where positions of the sources are stored, and how often.
    pub checkpoint: Checkpoint,
    /// MongoDB → Kafka halves, in the order of the file.
    pub sources: Vec<Source>,
    /// Kafka → MongoDB halves, in the order of the file.
    pub sinks: Vec<Sink>,
}

/// The HTTP interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What callers of `/metrics` and `/status` have to bring; always there when `listen` is not loopback.
    pub token: Option<Secret>,
}

/// How the daemon logs.
#[derive(Clone, Debug)]
pub struct Log {
    /// Human on a terminal and JSON elsewhere, unless told otherwise.
    pub format: LogFormat,
    /// A `tracing` filter directive, e.g. `info` or `millrace=debug`.
    pub level: String,
    /// Whether `_id` values and whole resume tokens may be logged.
    pub identifiers: bool,
}

/// The shape of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `Human` on a terminal, `Json` elsewhere.
    Auto,
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

/// A MongoDB deployment. Two equal values share one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mongodb {
    /// The connection string; may hold a password.
    pub uri: Secret,
}

/// A Kafka cluster. `properties` holds librdkafka properties by dotted name; none of those that the daemon owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kafka {
    /// `host:port`, comma separated.
    pub bootstrap_servers: String,
    /// librdkafka properties by dotted name. All values are kept as secrets, because some are.
    pub properties: BTreeMap<String, Secret>,
}

/// Where and how often positions are stored.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The store.
    pub store: CheckpointStore,
    /// Longest time between a record being acknowledged and its position being stored.
    pub interval: Duration,
}

/// A checkpoint store.
#[derive(Clone, Debug)]
pub enum CheckpointStore {
    /// A compacted topic `millrace.NAME.SOURCE.checkpoint` in the source's Kafka cluster.
    Kafka,
    /// A document `millrace.NAME.SOURCE.checkpoint` in this collection.
    Mongodb {
        /// The deployment.
        mongodb: Mongodb,
        /// The collection.
        namespace: Namespace,
    },
    /// A file `millrace.NAME.SOURCE.checkpoint` in this directory.
    File {
        /// The directory; made if absent.
        directory: PathBuf,
    },
}

/// A BSON timestamp used as a point in the oplog: seconds since the epoch, then a counter within the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterTime {
    /// Seconds since the epoch.
    pub seconds: u32,
    /// Order within the second, from 1.
    pub increment: u32,
}

impl std::fmt::Display for ClusterTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.seconds, self.increment)
    }
}

/// What a sink takes a record's value for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueShape {
    /// The whole change event.
    Event,
    /// The document alone; a tombstone for a delete.
    Document,
}

/// How keys and values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Extended JSON. Written in the source's style; read in any.
    Json,
    /// Raw BSON.
    Bson,
}

/// Text with the placeholders `{db}`, `{coll}` and, where a topic is the input, `{topic}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The pieces in order.
    pub pieces: Vec<Piece>,
}

/// A piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Literal text.
    Text(String),
    /// The database's name.
    Database,
    /// The collection's name.
    Collection,
    /// The topic's name.
    Topic,
    /// These pieces where there is a collection, nothing for an event of a whole database.
    IfCollection(Vec<Piece>),
}

/// One Kafka → MongoDB half.
#[derive(Clone, Debug)]
pub struct Sink {
    /// The half's name in the file.
    pub name: String,
    /// Where records are read.
    pub kafka: Kafka,
    /// Where documents are written.
    pub mongodb: Mongodb,
    /// Which topics, by name or pattern.
    pub topics: crate::namespace::TopicPatterns,
    /// What a record's value is taken for.
    pub value: ValueShape,
    /// How keys and values are read.
    pub format: Format,
    /// Event's namespace, or topic → target namespace.
    pub namespace: Template,
    /// Namespaces that records may touch.
    pub allow: Patterns,
    /// When a batch closes.
    pub batch: Batch,
    /// Commands in flight at once; the records of one document always take the same lane.
    pub lanes: usize,
    /// What to do when a committed offset is no longer in the topic.
    pub on_history_lost: SinkHistoryLost,
    /// The name under which the group keeps this member's partitions over a restart; empty for none.
    pub instance_id: String,
}

/// When a sink's batch closes: at the first limit that it reaches.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// Records.
    pub max_records: usize,
    /// Bytes of decoded documents.
    pub max_bytes: usize,
    /// Age of the oldest record.
    pub max_age: Duration,
}

/// What a sink does when its committed offset is no longer in the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkHistoryLost {
    /// Stop and say what was lost.
    Fail,
    /// Go on with the oldest record that is left.
    Earliest,
}
