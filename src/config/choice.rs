//! The words that stand for a value, for every setting that is one of a few.

use super::{
    BeforeChange, ErrorPolicy, Format, FullDocument, Headers, HistoryLost, LargeEvent, LogFormat, NullLookup,
    PartitionBy, RecordValue, SinkHistoryLost, SnapshotMode, Timestamp, ValueShape,
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

impl Choice for ValueShape {
    const WORDS: &'static [(&'static str, Self)] = &[("event", Self::Event), ("document", Self::Document)];
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
