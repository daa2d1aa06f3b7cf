//! What is known of the sizes that topics take. It lives as long as the process, over restarts of the half.
//!
//! A broker judges whole batches, after compression: one that is over the topic's limit is refused with all of its
//! records, and librdkafka does not split it. So batches must not be larger than the smallest limit of the topics in use,
//! and what a refusal says about a record is certain only where the record was alone in its batch.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::Record;
use crate::config;

/// librdkafka's default of `batch.size`.
const USUAL_BATCH_BYTES: usize = 1_000_000;

/// Batches are not made smaller than this in search of what a topic takes.
const SMALLEST_BATCH_BYTES: usize = 1024;

/// What is known of the sizes that topics take.
#[derive(Debug, Default)]
pub struct Sizes {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The most bytes of a batch, where it has to be less than what the properties say.
    batch_bytes: Option<usize>,
    topics: HashMap<String, Known>,
}

/// What is known of one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::source) struct Known {
    /// Whether its limit has to be asked for before anything is sent: a batch was refused.
    pub(in crate::source) is_suspect: bool,
    /// A record with this many bytes of key and value was refused, alone.
    pub(in crate::source) refused_bytes: Option<usize>,
}

/// What a refusal means for the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Lesson {
    /// The topic's limit will be asked for.
    Ask,
    /// Batches will be as small as this.
    SmallerBatches(usize),
    /// The record was alone: it does not fit.
    DoesNotFit,
}

impl Sizes {
    /// The most bytes of a batch.
    pub(super) fn batch_bytes(&self, settings: &config::Kafka) -> usize {
        let usual = batch_size(settings);
        self.state().batch_bytes.map_or(usual, |most| most.min(usual))
    }

    /// What is known of `topic`.
    pub(in crate::source) fn known(&self, topic: &str) -> Known {
        self.state().topics.get(topic).copied().unwrap_or_default()
    }

    /// From the next start on batches are no larger than `limit`; tells whether they were.
    pub(in crate::source) fn limit_batches(&self, limit: usize) -> bool {
        let limit = limit.max(SMALLEST_BATCH_BYTES);
        let mut state = self.state();
        let is_less = state.batch_bytes.is_none_or(|before| limit < before);
        if is_less {
            state.batch_bytes = Some(limit);
        }
        is_less
    }

    /// `topic` refused a batch with a record of `bytes`, while batches had up to `batch_bytes`.
    pub(in crate::source) fn refused(&self, topic: &str, bytes: usize, batch_bytes: usize) -> Lesson {
        let was_alone = bytes >= batch_bytes || batch_bytes <= SMALLEST_BATCH_BYTES;
        let mut state = self.state();
        let known = state.topics.entry(topic.to_owned()).or_default();
        if was_alone {
            known.refused_bytes = Some(known.refused_bytes.map_or(bytes, |before| before.min(bytes)));
            return Lesson::DoesNotFit;
        }
        if !known.is_suspect {
            known.is_suspect = true;
            return Lesson::Ask;
        }
        drop(state);
        let smaller = (batch_bytes / 2).max(SMALLEST_BATCH_BYTES);
        self.limit_batches(smaller);
        Lesson::SmallerBatches(smaller)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The user's `batch.size`, or librdkafka's.
pub(in crate::source) fn batch_size(settings: &config::Kafka) -> usize {
    let given = settings.properties.get("batch.size").and_then(|size| size.expose().parse().ok());
    given.unwrap_or(USUAL_BATCH_BYTES)
}

/// Whether the producer compresses: then only the broker knows how large a record is for it.
pub(in crate::source) fn compresses(settings: &config::Kafka) -> bool {
    ["compression.type", "compression.codec"]
        .iter()
        .filter_map(|key| settings.properties.get(*key))
        .any(|codec| codec.expose() != "none")
}

/// Bytes of a batch that has `record` alone, not compressed: what a broker compares with the topic's limit
/// (<https://kafka.apache.org/documentation/#recordbatch>).
pub(in crate::source) fn batch_bytes_of(record: &Record<'_>) -> usize {
    const BATCH_HEAD: usize = 61;
    /// Attributes, and differences of time and offset to the batch's own, which are 0.
    const RECORD_HEAD: usize = 3;
    let with_length = |bytes: usize| varint_bytes(bytes) + bytes;
    // The length of a value that is not there is -1.
    let value = record.value.map_or(1, |value| with_length(value.len()));
    let headers =
        record.headers.iter().map(|(name, value)| with_length(name.count_bytes()) + with_length(value.len()));
    let headers = varint_bytes(record.headers.iter().count()) + headers.sum::<usize>();
    BATCH_HEAD + with_length(RECORD_HEAD + with_length(record.key.len()) + value + headers)
}

/// Bytes of a length in zigzag notation, seven bits to a byte.
fn varint_bytes(number: usize) -> usize {
    let bits = usize::BITS - (number << 1).leading_zeros();
    bits.div_ceil(7).max(1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_as_many_bytes_as_kafka_gives_them() {
        for (number, expected) in
            [(0, 1), (63, 1), (64, 2), (8_191, 2), (8_192, 3), (1_048_575, 3), (1_048_576, 4)]
        {
            assert_eq!(varint_bytes(number), expected, "{number}");
        }
    }

    #[test]
    fn a_record_is_found_too_large_only_when_it_was_alone() {
        let sizes = Sizes::default();
        for (bytes, batch_bytes, expected) in [
            (500, 4_000, Lesson::Ask),
            (500, 4_000, Lesson::SmallerBatches(2_000)),
            (500, 2_000, Lesson::SmallerBatches(1_024)),
            (3_000, 1_024, Lesson::DoesNotFit),
            (2_000, 1_024, Lesson::DoesNotFit),
            (9_000, 1_024, Lesson::DoesNotFit),
        ] {
            assert_eq!(sizes.refused("t", bytes, batch_bytes), expected, "{bytes} {batch_bytes}");
        }
        assert_eq!(sizes.known("t"), Known { is_suspect: true, refused_bytes: Some(2_000) });
        assert_eq!(sizes.known("other"), Known::default());
    }
}
