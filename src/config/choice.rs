//! The words that stand for a value, for every setting that is one of a few.

use super::{Format, FullDocument, LogFormat, SinkHistoryLost, ValueShape};

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

impl Choice for SinkHistoryLost {
    const WORDS: &'static [(&'static str, Self)] = &[("fail", Self::Fail), ("earliest", Self::Earliest)];
}
