//! What a sink is told to do, resolved and checked.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Kafka, Mongodb, Template};
use crate::{
    namespace::{Patterns, TopicPatterns},
    sink::{
        shape::{date::DatePattern, project::Projection, rename::Renaming},
        template,
    },
    transform,
};

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
    pub topics: TopicPatterns,
    /// What is made of a record.
    pub handling: Arc<Handling>,
    /// What is made of the records of some topics instead; the first that matches is taken.
    pub overrides: Vec<Override>,
    /// Namespaces that records may touch.
    pub allow: Patterns,
    /// When a batch closes.
    pub batch: Batch,
    /// Commands in flight at once; the records of one document always take the same lane.
    pub lanes: usize,
    /// When the server has to take a write for written.
    pub write_concern: WriteConcern,
    /// Most records written in a second; `None` for no limit.
    pub max_records_per_second: Option<u32>,
    /// How long a write waits for another document to give up the value of a unique index.
    pub unique_conflict_timeout: Duration,
    /// What to do with what cannot be written.
    pub errors: SinkErrors,
    /// What to do when a committed offset is no longer in the topic.
    pub on_history_lost: SinkHistoryLost,
    /// The name under which the group keeps this member's partitions over a restart; empty for none.
    pub instance_id: String,
}

impl Sink {
    /// Whether the sink reads `topic`: never its own dead letters, whatever the patterns say.
    pub fn reads(&self, topic: &str) -> bool {
        self.topics.matches(topic) && self.errors.dead_letter_topic.as_deref() != Some(topic)
    }

    /// What is made of the records of `topic`.
    pub fn handling(&self, topic: &str) -> &Arc<Handling> {
        let found = self.overrides.iter().find(|over| over.topics.matches(topic));
        found.map_or(&self.handling, |over| &over.handling)
    }
}

/// What is made of the records of some topics.
#[derive(Clone, Debug)]
pub struct Override {
    /// Which topics.
    pub topics: TopicPatterns,
    /// What is made of them.
    pub handling: Arc<Handling>,
}

/// What is made of a record.
#[derive(Clone, Debug)]
pub struct Handling {
    /// What a record's value is taken for.
    pub value: ValueShape,
    /// How values are read.
    pub format: ReadFormat,
    /// How keys are read.
    pub key_format: ReadFormat,
    /// Types of fields, by path, where JSON has lost them.
    pub types: BTreeMap<String, TypeHint>,
    /// Event's namespace, or topic → target namespace.
    pub namespace: Template,
    /// What becomes of events about collections.
    pub ddl: Ddl,
    /// What becomes of an update without the document where the document is not there.
    pub missing_document: MissingDocument,
    /// Whether nulls are left out of what events write.
    pub remove_nulls: bool,
    /// What a document's record without a value means.
    pub on_tombstone: OnTombstone,
    /// What is changed on the way.
    pub transform: Vec<transform::Rule>,
    /// How a document is put into shape, in order.
    pub steps: Vec<Step>,
    /// Where a document's `_id` comes from.
    pub id: Id,
    /// How a document is written.
    pub write: Write,
    /// The time series collection that documents go to.
    pub time_series: Option<TimeSeries>,
}

/// What a sink takes a record's value for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueShape {
    /// A whole change event of MongoDB.
    Event,
    /// The document alone; a tombstone for a delete.
    Document,
    /// An event of Debezium's MongoDB connector.
    Debezium,
    /// An event of one of Debezium's connectors for relational databases.
    DebeziumRows,
    /// An event of Qlik Replicate.
    Qlik,
    /// One of these, as each topic shows.
    Auto,
}

/// How keys and values are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFormat {
    /// Extended JSON in any style.
    Json,
    /// JSON as it is: nothing in it stands for a type of BSON.
    PlainJson,
    /// JSON with Kafka Connect's schema beside it.
    ConnectJson,
    /// Raw BSON.
    Bson,
    /// Text that is a value by itself.
    String,
}

/// What type a field has where its JSON does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeHint {
    /// A date: a text such as 2020-01-01T00:00:00Z, or milliseconds since 1970.
    Date,
    /// An ObjectId: 24 hex digits.
    ObjectId,
    /// A Decimal128: a number, or one as text.
    Decimal,
    /// A 64-bit whole number, or one as text.
    Long,
    /// A 32-bit whole number, or one as text.
    Int,
    /// A double: a number, or one as text.
    Double,
    /// Bytes: base64.
    Binary,
    /// A UUID, as text or base64.
    Uuid,
    /// A timestamp: `{"t": …, "i": …}`, or seconds since 1970.
    Timestamp,
}

/// What becomes of events about collections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ddl {
    /// They are passed over.
    Ignore,
    /// They are done to the target, after all before them and before all after them.
    Apply,
}

/// What becomes of an update without the document where the document is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingDocument {
    /// Nothing.
    Skip,
    /// What the update says becomes a document.
    Upsert,
    /// The record cannot be written.
    Fail,
}

/// What a document's record without a value means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTombstone {
    /// The document is deleted.
    Delete,
    /// Nothing.
    Skip,
    /// The record cannot be written.
    Fail,
}

/// One step in which a document is put into shape.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it is done to.
    pub on: Side,
    /// What is done.
    pub action: StepAction,
}

/// Key or value of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The value.
    Value,
    /// The key.
    Key,
}

/// What a [`Step`] does.
#[derive(Clone, Debug)]
pub enum StepAction {
    /// Only some fields stay.
    Project(Projection),
    /// Fields get another name.
    Rename(Renaming),
    /// Fields that are null go.
    RemoveNulls,
    /// The record's place and timestamp become fields.
    AddMetadata,
    /// The `_id` is made.
    AddId,
    /// Fields of this template are set.
    Set(template::Template),
}

/// Where a document's `_id` comes from.
#[derive(Clone, Debug)]
pub struct Id {
    /// How it is made.
    pub strategy: IdStrategy,
    /// Whether an `_id` that is there already is replaced.
    pub overwrite: bool,
    /// How a UUID is written.
    pub uuid_format: UuidFormat,
    /// Whether what is made up is made from the record's place, so that it is the same at every replay.
    pub is_stable: bool,
    /// For a part of the key or value: which fields; there is one for those strategies.
    pub part: Option<Projection>,
}

/// How an `_id` is made; the official connector's strategies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdStrategy {
    /// The value's, else the key's.
    Auto,
    /// A new ObjectId.
    ObjectId,
    /// The whole key.
    FullKey,
    /// The key's `_id`.
    ProvidedInKey,
    /// The value's `_id`.
    ProvidedInValue,
    /// Some fields of the key.
    PartialKey,
    /// Some fields of the value.
    PartialValue,
    /// `topic#partition#offset`.
    KafkaMetadata,
    /// A new UUID.
    Uuid,
    /// The UUID that the key's `_id` is.
    UuidInKey,
    /// The UUID that the value's `_id` is.
    UuidInValue,
}

impl IdStrategy {
    /// Whether the `_id` can be made from a key alone.
    pub fn is_of_key(self) -> bool {
        match self {
            Self::Auto | Self::FullKey | Self::ProvidedInKey | Self::PartialKey | Self::UuidInKey => true,
            Self::ObjectId
            | Self::ProvidedInValue
            | Self::PartialValue
            | Self::KafkaMetadata
            | Self::Uuid
            | Self::UuidInValue => false,
        }
    }
}

/// How a UUID is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UuidFormat {
    /// 36 characters.
    String,
    /// Binary of subtype 4.
    Binary,
}

/// How a document is written.
#[derive(Clone, Debug)]
pub struct Write {
    /// What is done with it.
    pub model: WriteModel,
    /// What finds the document that is there.
    pub by: WriteBy,
    /// Whether updates keep the times of insertion and modification.
    pub timestamps: bool,
    /// What finds the document that a tombstone deletes.
    pub delete_by: WriteBy,
    /// A template for what finds the document.
    pub filter: Option<template::Template>,
    /// A template for what is done to it.
    pub update: Option<template::Template>,
    /// Whether a template's update makes a document that is not there.
    pub upsert: bool,
}

/// What is done with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteModel {
    /// It replaces the one that is there, or is inserted.
    Replace,
    /// It is inserted.
    Insert,
    /// Its fields are set in the one that is there, or it is inserted.
    Update,
    /// The one that is there is deleted.
    Delete,
}

/// What finds the document that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteBy {
    /// The `_id`.
    Id,
    /// The fields that the `_id` was made from.
    BusinessKey,
}

/// A time series collection.
#[derive(Clone, Debug)]
pub struct TimeSeries {
    /// The field with the time.
    pub time_field: String,
    /// The field that tells the series apart.
    pub meta_field: Option<String>,
    /// How far apart the times of a series are.
    pub granularity: Granularity,
    /// How long documents stay; `None` for ever.
    pub expire_after: Option<Duration>,
    /// Whether numbers and texts in the time field become dates.
    pub convert: bool,
    /// How texts are read as dates.
    pub date_format: DatePattern,
}

/// How far apart the times of a series are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granularity {
    /// As the server takes it.
    Default,
    /// Seconds.
    Seconds,
    /// Minutes.
    Minutes,
    /// Hours.
    Hours,
}

/// When the server has to take a write for written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteConcern {
    /// When a majority of the members has it.
    Majority,
    /// When so many members have it.
    Members(u32),
}

/// What to do with what cannot be written.
#[derive(Clone, Debug)]
pub struct SinkErrors {
    /// What is passed over.
    pub tolerance: Tolerance,
    /// Where records go that are passed over.
    pub dead_letter_topic: Option<String>,
    /// With more of them in a minute the sink stops; `None` for no limit.
    pub max_dead_letters_per_minute: Option<u32>,
}

impl SinkErrors {
    /// Whether there may be dead letters.
    pub fn keeps_letters(&self) -> bool {
        self.tolerance != Tolerance::None && self.dead_letter_topic.is_some()
    }
}

/// What is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tolerance {
    /// Nothing.
    None,
    /// Records that cannot be read, and statements that the server refuses.
    Data,
    /// The same, and what the server refuses for reasons that lie outside of the record.
    All,
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
