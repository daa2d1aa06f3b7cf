//! The words that stand for a value, for every setting that is one of a few.

use super::{
    BeforeChange, Ddl, ErrorPolicy, Format, FullDocument, Granularity, Headers, HistoryLost, IdStrategy,
    LargeEvent, LogFormat, MissingDocument, NullLookup, OnTombstone, PartitionBy, ReadFormat, RecordValue,
    Side, SinkHistoryLost, SnapshotMode, Timestamp, Tolerance, TypeHint, UuidFormat, ValueShape, WriteBy,
    WriteModel,
};
use crate::json;

/// A setting that is one of a few words.
pub(super) trait Choice: Copy + 'static {
    /// The words, the usual one first.
    const WORDS: &'static [(&'static str, Self)];
}

/// The words of a choice, as the schema lists them.
pub(super) fn words<T: Choice>() -> Vec<&'static str> {
    T::WORDS.iter().map(|(word, _)| *word).collect()
}

/// The word for a choice.
fn word<T: Choice + PartialEq>(choice: T) -> &'static str {
    T::WORDS
        .iter()
        .find(|(_, other)| *other == choice)
        .map(|(word, _)| *word)
        .expect("every choice has a word")
}

/// Which store holds checkpoints; [`super::CheckpointStore`] without what belongs to it.
#[derive(Clone, Copy)]
pub(super) enum StoreKind {
    Kafka,
    Mongodb,
    File,
}

impl Choice for StoreKind {
    const WORDS: &'static [(&'static str, Self)] =
        &[("kafka", Self::Kafka), ("mongodb", Self::Mongodb), ("file", Self::File)];
}

impl Choice for LogFormat {
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("human", Self::Human), ("json", Self::Json)];
}

impl Choice for Format {
    const WORDS: &'static [(&'static str, Self)] = &[("json", Self::Json), ("bson", Self::Bson)];
}

impl Choice for FullDocument {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("default", Self::Default),
        ("updateLookup", Self::UpdateLookup),
        ("whenAvailable", Self::WhenAvailable),
        ("required", Self::Required),
    ];
}

impl Choice for BeforeChange {
    const WORDS: &'static [(&'static str, Self)] =
        &[("off", Self::Off), ("whenAvailable", Self::WhenAvailable), ("required", Self::Required)];
}

impl Choice for NullLookup {
    const WORDS: &'static [(&'static str, Self)] =
        &[("keep", Self::Keep), ("drop", Self::Drop), ("delta", Self::Delta)];
}

impl Choice for HistoryLost {
    const WORDS: &'static [(&'static str, Self)] =
        &[("fail", Self::Fail), ("snapshot", Self::Snapshot), ("latest", Self::Latest)];
}

impl Choice for SnapshotMode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("off", Self::Off), ("initial", Self::Initial), ("only", Self::Only)];
}

impl Choice for RecordValue {
    const WORDS: &'static [(&'static str, Self)] =
        &[("event", Self::Event), ("document", Self::Document), ("debezium", Self::Debezium)];
}

/// What a record's key is; [`super::RecordKey`] without the fields.
#[derive(Clone, Copy)]
pub(super) enum KeyKind {
    DocumentKey,
    Id,
    Token,
    Fields,
}

impl Choice for KeyKind {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("document_key", Self::DocumentKey),
        ("id", Self::Id),
        ("token", Self::Token),
        ("fields", Self::Fields),
    ];
}

/// How keys are written; `Same` as values by default.
#[derive(Clone, Copy)]
pub(super) enum KeyFormat {
    Same,
    Own(Format),
}

impl Choice for KeyFormat {
    const WORDS: &'static [(&'static str, Self)] =
        &[("", Self::Same), ("json", Self::Own(Format::Json)), ("bson", Self::Own(Format::Bson))];
}

impl Choice for json::Style {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("strict", Self::Strict),
        ("canonical", Self::Canonical),
        ("relaxed", Self::Relaxed),
        ("simplified", Self::Simplified),
    ];
}

impl Choice for Headers {
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("all", Self::All), ("none", Self::None)];
}

impl Choice for Timestamp {
    const WORDS: &'static [(&'static str, Self)] =
        &[("cluster_time", Self::ClusterTime), ("send_time", Self::SendTime)];
}

impl Choice for PartitionBy {
    const WORDS: &'static [(&'static str, Self)] = &[("key", Self::Key), ("namespace", Self::Namespace)];
}

impl Choice for ErrorPolicy {
    const WORDS: &'static [(&'static str, Self)] =
        &[("fail", Self::Fail), ("dead_letter", Self::DeadLetter), ("skip", Self::Skip)];
}

impl Choice for LargeEvent {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("fail", Self::Fail),
        ("reduce", Self::Reduce),
        ("dead_letter", Self::DeadLetter),
        ("skip", Self::Skip),
    ];
}

/// Which members are read.
#[derive(Clone, Copy)]
pub(super) enum Members {
    AsInUri,
    Primary,
    PrimaryPreferred,
    Secondary,
    SecondaryPreferred,
    Nearest,
}

impl Choice for Members {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("", Self::AsInUri),
        ("primary", Self::Primary),
        ("primaryPreferred", Self::PrimaryPreferred),
        ("secondary", Self::Secondary),
        ("secondaryPreferred", Self::SecondaryPreferred),
        ("nearest", Self::Nearest),
    ];
}

/// Whether the server may split large events.
#[derive(Clone, Copy)]
pub(super) enum Split {
    Auto,
    Off,
}

impl Choice for Split {
    const WORDS: &'static [(&'static str, Self)] = &[("auto", Self::Auto), ("off", Self::Off)];
}

impl Choice for SinkHistoryLost {
    const WORDS: &'static [(&'static str, Self)] = &[("fail", Self::Fail), ("earliest", Self::Earliest)];
}

impl Choice for ValueShape {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("event", Self::Event),
        ("document", Self::Document),
        ("debezium", Self::Debezium),
        ("debezium_rows", Self::DebeziumRows),
        ("qlik", Self::Qlik),
        ("auto", Self::Auto),
    ];
}

impl ValueShape {
    /// The configuration's word for it.
    pub fn word(self) -> &'static str {
        word(self)
    }
}

impl Choice for TypeHint {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("date", Self::Date),
        ("object_id", Self::ObjectId),
        ("decimal", Self::Decimal),
        ("long", Self::Long),
        ("int", Self::Int),
        ("double", Self::Double),
        ("binary", Self::Binary),
        ("uuid", Self::Uuid),
        ("timestamp", Self::Timestamp),
    ];
}

impl TypeHint {
    /// The configuration's word for it.
    pub fn word(self) -> &'static str {
        word(self)
    }
}

impl Choice for ReadFormat {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("json", Self::Json),
        ("plain_json", Self::PlainJson),
        ("connect_json", Self::ConnectJson),
        ("bson", Self::Bson),
        ("string", Self::String),
    ];
}

/// How keys are read; `Same` as values by default.
#[derive(Clone, Copy)]
pub(super) enum KeyReadFormat {
    Same,
    Own(ReadFormat),
}

impl Choice for KeyReadFormat {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("", Self::Same),
        ("json", Self::Own(ReadFormat::Json)),
        ("plain_json", Self::Own(ReadFormat::PlainJson)),
        ("connect_json", Self::Own(ReadFormat::ConnectJson)),
        ("bson", Self::Own(ReadFormat::Bson)),
        ("string", Self::Own(ReadFormat::String)),
    ];
}

impl Choice for Ddl {
    const WORDS: &'static [(&'static str, Self)] = &[("ignore", Self::Ignore), ("apply", Self::Apply)];
}

impl Choice for MissingDocument {
    const WORDS: &'static [(&'static str, Self)] =
        &[("skip", Self::Skip), ("upsert", Self::Upsert), ("fail", Self::Fail)];
}

impl Choice for OnTombstone {
    const WORDS: &'static [(&'static str, Self)] =
        &[("delete", Self::Delete), ("skip", Self::Skip), ("fail", Self::Fail)];
}

impl Choice for Side {
    const WORDS: &'static [(&'static str, Self)] = &[("value", Self::Value), ("key", Self::Key)];
}

impl Choice for IdStrategy {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("object_id", Self::ObjectId),
        ("full_key", Self::FullKey),
        ("provided_in_key", Self::ProvidedInKey),
        ("provided_in_value", Self::ProvidedInValue),
        ("partial_key", Self::PartialKey),
        ("partial_value", Self::PartialValue),
        ("kafka_metadata", Self::KafkaMetadata),
        ("uuid", Self::Uuid),
        ("uuid_in_key", Self::UuidInKey),
        ("uuid_in_value", Self::UuidInValue),
    ];
}

impl Choice for UuidFormat {
    const WORDS: &'static [(&'static str, Self)] = &[("string", Self::String), ("binary", Self::Binary)];
}

impl Choice for WriteModel {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("replace", Self::Replace),
        ("insert", Self::Insert),
        ("update", Self::Update),
        ("delete", Self::Delete),
    ];
}

impl Choice for WriteBy {
    const WORDS: &'static [(&'static str, Self)] = &[("id", Self::Id), ("business_key", Self::BusinessKey)];
}

impl Choice for Granularity {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("", Self::Default),
        ("seconds", Self::Seconds),
        ("minutes", Self::Minutes),
        ("hours", Self::Hours),
    ];
}

impl Choice for Tolerance {
    const WORDS: &'static [(&'static str, Self)] =
        &[("none", Self::None), ("data", Self::Data), ("all", Self::All)];
}
