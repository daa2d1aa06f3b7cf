//! What a source is told to do, resolved and checked.

use std::{collections::BTreeMap, time::Duration};

use bson::Document;
use mongodb::options::{Collation, ReadPreference};

use super::{ClusterTime, Kafka, Mongodb, Template};
use crate::{
    json,
    namespace::{Glob, Namespace, Pattern, Patterns},
    transform,
};

/// One MongoDB → Kafka half.
#[derive(Clone, Debug)]
pub struct Source {
    /// The half's name in the file.
    pub name: String,
    /// Where changes are read.
    pub mongodb: Mongodb,
    /// Where records are written.
    pub kafka: Kafka,
    /// Which namespaces, exclusions included.
    pub watch: Patterns,
    /// How the change stream is opened.
    pub stream: Stream,
    /// Where to start when there is no checkpoint.
    pub start: Start,
    /// What to do when the position is no longer in the oplog.
    pub on_history_lost: HistoryLost,
    /// Warn when less than this lies between the position and the oldest entry of the oplog.
    pub oplog_window_warning: Duration,
    /// The initial copy, and how copies on demand are made.
    pub snapshot: Snapshot,
    /// Documents inserted here start snapshots.
    pub signal_collection: Option<Namespace>,
    /// Records that show that an idle source lives.
    pub heartbeat: Option<Heartbeat>,
    /// What is written.
    pub record: Record,
    /// Where it goes.
    pub topics: Topics,
    /// What is changed on the way.
    pub transform: Vec<transform::Rule>,
    /// What to do with what cannot be sent.
    pub errors: Errors,
}

impl Source {
    /// What the change stream has to bring: what is watched, and signals.
    pub fn streamed(&self) -> Patterns {
        let mut streamed = self.watch.clone();
        if let Some(Namespace { db, coll }) = &self.signal_collection
            && !self.watch.matches(db, coll)
        {
            let (db, coll) = (Glob { text: db.clone() }, Glob { text: coll.clone() });
            streamed.include.push(Pattern::Glob { db, coll });
        }
        streamed
    }
}

/// How the change stream is opened, and which of its events count.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The user's stages; they follow the daemon's own filter.
    pub pipeline: Vec<Document>,
    /// The option `fullDocument`.
    pub full_document: FullDocument,
    /// The option `fullDocumentBeforeChange`.
    pub full_document_before_change: BeforeChange,
    /// Namespaces whose updates must carry the document.
    pub require_full_document: Vec<Pattern>,
    /// Namespaces whose updates, replaces and deletes must carry the document before the change.
    pub require_before_change: Vec<Pattern>,
    /// What becomes of an update whose document was looked up too late.
    pub null_lookup: NullLookup,
    /// Whether DDL events are asked for.
    pub show_expanded_events: bool,
    /// The collation of the user's stages.
    pub collation: Option<Collation>,
    /// What the server's log and profiler show beside the stream.
    pub comment: String,
    /// Which members are read; the connection string's by default.
    pub read_preference: Option<ReadPreference>,
    /// Whether the server may split events over 16 MB, where it can.
    pub split_large_events: bool,
    /// Most events the server puts into one reply.
    pub batch_size: u32,
    /// How long the server waits for an event before it sends an empty reply.
    pub max_await: Duration,
}

/// The initial copy of what is there, and how copies on demand are made.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Whether a source without a checkpoint copies first.
    pub mode: SnapshotMode,
    /// Which of the watched namespaces are copied.
    pub namespaces: Vec<Pattern>,
    /// Stages that each collection's documents go through.
    pub pipeline: Vec<Document>,
    /// Ranges read at once.
    pub threads: usize,
    /// Most documents read in one go.
    pub range_size: u32,
    /// Most documents a second; `None` for no limit.
    pub max_documents_per_second: Option<u32>,
}

/// Records that show that an idle source lives.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// How often, while no event comes.
    pub interval: Duration,
    /// Where to.
    pub topic: String,
}

/// What a record is made of.
#[derive(Clone, Debug)]
pub struct Record {
    /// What the value is.
    pub value: RecordValue,
    /// How the value is written.
    pub format: super::Format,
    /// How the key is written.
    pub key_format: super::Format,
    /// How JSON looks.
    pub json_style: json::Style,
    /// What the key is.
    pub key: RecordKey,
    /// Whether a delete makes a tombstone.
    pub tombstones: bool,
    /// Which headers a record gets.
    pub headers: Headers,
    /// Whether the record's timestamp is the change's.
    pub timestamp: Timestamp,
    /// The logical name in Debezium's envelope.
    pub debezium_name: String,
    /// Whether Debezium's envelope comes with its schema.
    pub debezium_schemas: bool,
}

/// Where records go.
#[derive(Clone, Debug)]
pub struct Topics {
    /// Namespace → topic, where no route matches.
    pub template: Template,
    /// The first that matches is taken.
    pub routes: Vec<Route>,
    /// What chooses the partition.
    pub partition_by: PartitionBy,
    /// How missing topics are created; `None` where they are not.
    pub creation: Option<TopicCreation>,
}

/// A rule for the topic of some namespaces.
#[derive(Clone, Debug)]
pub struct Route {
    /// Which namespaces; an event of a whole database counts as a collection without a name.
    pub matches: Pattern,
    /// Their topic.
    pub topic: Template,
}

/// How a topic is created.
#[derive(Clone, Debug, Default)]
pub struct TopicCreation {
    /// Partitions; `None` for the broker's default.
    pub partitions: Option<u32>,
    /// Replicas of each; `None` for the broker's default.
    pub replication: Option<u32>,
    /// The topic's properties.
    pub config: BTreeMap<String, String>,
}

/// What to do with what cannot be sent.
#[derive(Clone, Debug)]
pub struct Errors {
    /// An event that the format cannot hold.
    pub encoding: ErrorPolicy,
    /// A record over the topic's limit.
    pub record_too_large: ErrorPolicy,
    /// An event over 16 MB on a server that cannot split it.
    pub event_too_large: LargeEvent,
    /// An event that lacks an image that it must have.
    pub missing_image: ErrorPolicy,
    /// Where dead letters go; always there when one of the policies needs it.
    pub dead_letter_topic: Option<String>,
}

/// Where a source without a checkpoint starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the next change.
    Latest,
    /// With the first change at or after this cluster time.
    At(ClusterTime),
    /// With the change after this resume token, given by its `_data`.
    After(String),
}

/// What to do when the position is no longer in the oplog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryLost {
    /// Stop and say what was lost.
    Fail,
    /// Copy everything that is watched again.
    Snapshot,
    /// Say what was lost and go on with the next change.
    Latest,
}

/// Whether a source without a checkpoint copies first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotMode {
    /// No.
    Off,
    /// It copies, and streams from the beginning of the copy on.
    Initial,
    /// It copies and stops.
    Only,
}

/// The change stream's `fullDocument` option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullDocument {
    /// Inserts and replaces carry the document; updates only what changed.
    Default,
    /// Updates carry the document as it is when the event is read.
    UpdateLookup,
    /// Updates carry the stored post-image where there is one.
    WhenAvailable,
    /// As `WhenAvailable`, and the stream fails where there is none.
    Required,
}

/// The change stream's `fullDocumentBeforeChange` option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeforeChange {
    /// Events do not carry it.
    Off,
    /// Events carry the stored pre-image where there is one.
    WhenAvailable,
    /// As `WhenAvailable`, and the stream fails where there is none.
    Required,
}

/// What becomes of an update whose document was looked up too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NullLookup {
    /// It is sent as it is, with a null in the document's place.
    Keep,
    /// It is not sent: the delete follows.
    Drop,
    /// It is sent without the null, as the delta that it is.
    Delta,
}

/// What a record's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordValue {
    /// The whole change event.
    Event,
    /// The document alone; a tombstone for a delete.
    Document,
    /// The envelope of Debezium's MongoDB connector.
    Debezium,
}

/// What a record's key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordKey {
    /// `documentKey`: `_id`, and the shard key of a sharded collection.
    DocumentKey,
    /// `{"_id": …}` of the document alone.
    Id,
    /// `{"_id": …}` of the event: the resume token.
    Token,
    /// These paths into the event.
    Fields(Vec<String>),
}

/// Which headers a record gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headers {
    /// The order key, and the flag of snapshot rows, where the value lacks them.
    Auto,
    /// All.
    All,
    /// None.
    None,
}

/// What a record's timestamp is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamp {
    /// The change's.
    ClusterTime,
    /// That of sending.
    SendTime,
}

/// What chooses the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionBy {
    /// The record's key.
    Key,
    /// The namespace: all of a collection is in one partition, in order.
    Namespace,
}

/// What to do with what cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorPolicy {
    /// Stop and say where.
    Fail,
    /// Put it into the dead letter topic.
    DeadLetter,
    /// Log it and go on.
    Skip,
}

/// What to do with an event over 16 MB on a server that cannot split it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LargeEvent {
    /// Stop and say where.
    Fail,
    /// Send it without as much of its images, and of what the update changed, as is needed.
    Reduce,
    /// Put it, without its images, into the dead letter topic.
    DeadLetter,
    /// Log it and go on.
    Skip,
}
