//! Change → key, value and headers of a record. Pure.
//!
//! Keys and values are written into buffers that the caller reuses, straight from the event's bytes.

mod debezium;
mod headers;
mod key;

#[cfg(test)]
mod tests;

pub use self::headers::{CLUSTER_TIME, Headers, MOST_HEADERS, NAMESPACE, OPERATION, ORDER, SNAPSHOT};
pub(super) use self::headers::{add_order, add_time};
use crate::{
    config::{self, Format, RecordKey, RecordValue, Timestamp},
    json, raw,
    source::{
        decode::{self, Change},
        publish::Record,
        stages::Plan,
    },
};

/// How a source writes its records.
#[derive(Clone, Debug)]
pub struct Encoder {
    value: RecordValue,
    format: Format,
    key: RecordKey,
    key_format: Format,
    style: json::Style,
    tombstones: bool,
    timestamp: Timestamp,
    headers: headers::Wanted,
    debezium: debezium::Envelope,
}

/// Buffers of one record; what was in them is overwritten.
#[derive(Debug, Default)]
pub struct Buffers {
    /// The record's key.
    pub key: Vec<u8>,
    /// The record's value; meaningless for a tombstone.
    pub value: Vec<u8>,
    /// The record's headers.
    pub headers: Headers,
    /// The record's timestamp in milliseconds since the epoch; `None` for that of sending.
    pub timestamp: Option<i64>,
    /// For an event that is rewritten before it is encoded.
    pub(super) event: Vec<u8>,
    /// For parts that are put together before they are written.
    scratch: Scratch,
}

/// Space for what is put together before it is written.
#[derive(Debug, Default)]
struct Scratch {
    bson: Vec<u8>,
    text: Vec<u8>,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoded {
    /// A record with key and value.
    Record,
    /// A record with a key and no value.
    Tombstone,
    /// A record with key and value, and after it one with the same key and no value.
    RecordAndTombstone,
    /// Nothing: what the value is made of is not in this change.
    Nothing,
}

/// A change that cannot be written in the format, or may not be sent as it is.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// JSON cannot hold it.
    #[error(transparent)]
    Json(#[from] json::WriteError),
    /// The event is not sound BSON.
    #[error(transparent)]
    Malformed(#[from] raw::Error),
    /// What was made of the event is no event any more.
    #[error(transparent)]
    NoEvent(#[from] decode::Error),
    /// The event lacks an image that it must have.
    #[error("{0} is missing")]
    MissingImage(&'static str),
    /// Nothing of it fits into the topic.
    #[error("even its key is too large for the topic")]
    TooLarge,
}

impl Buffers {
    /// What is in the buffers, with `value`, for `partition`.
    pub(super) fn record<'a>(&'a self, value: Option<&'a [u8]>, partition: Option<i32>) -> Record<'a> {
        Record { key: &self.key, value, headers: &self.headers, timestamp: self.timestamp, partition }
    }
}

impl Encoder {
    /// An encoder as the settings have it.
    pub fn new(record: &config::Record) -> Self {
        Self {
            value: record.value,
            format: record.format,
            key: record.key.clone(),
            key_format: record.key_format,
            style: record.json_style,
            tombstones: record.tombstones,
            timestamp: record.timestamp,
            headers: headers::Wanted::new(record),
            debezium: debezium::Envelope::new(record),
        }
    }

    /// Writes the record of `change`, whose namespace has this plan, into `buffers`.
    ///
    /// # Errors
    /// When the format cannot hold the change.
    pub fn encode(&self, change: &Change<'_>, plan: &Plan, buffers: &mut Buffers) -> Result<Encoded, Error> {
        let encoded = self.shape(change);
        if encoded == Encoded::Nothing {
            return Ok(encoded);
        }
        self.write_key(change, plan, buffers)?;
        if encoded != Encoded::Tombstone {
            self.write_value(change, plan, buffers)?;
        }
        self.headers.write(change, plan, &mut buffers.headers)?;
        buffers.timestamp = match self.timestamp {
            Timestamp::ClusterTime => change.time.map(|time| i64::from(time.seconds) * 1000),
            Timestamp::SendTime => None,
        };
        Ok(encoded)
    }

    /// Which records a change becomes.
    fn shape(&self, change: &Change<'_>) -> Encoded {
        match self.value {
            RecordValue::Event => Encoded::Record,
            RecordValue::Document if change.full_document.is_some() => Encoded::Record,
            RecordValue::Document if change.operation == "delete" && self.tombstones => Encoded::Tombstone,
            RecordValue::Document => Encoded::Nothing,
            RecordValue::Debezium => match debezium::operation(change) {
                Some("d") if self.tombstones => Encoded::RecordAndTombstone,
                Some(_) => Encoded::Record,
                None => Encoded::Nothing,
            },
        }
    }

    fn write_key(&self, change: &Change<'_>, plan: &Plan, buffers: &mut Buffers) -> Result<(), Error> {
        let Buffers { key: out, scratch, .. } = buffers;
        out.clear();
        let is_plain_id = matches!(self.key, RecordKey::DocumentKey | RecordKey::Id);
        if self.value == RecordValue::Debezium && self.key_format == Format::Json && is_plain_id {
            return self.debezium.write_key(change, plan, scratch, out);
        }
        let key = key::document(&self.key, change, &mut scratch.bson)?;
        write(key, self.key_format, self.style, out)
    }

    fn write_value(&self, change: &Change<'_>, plan: &Plan, buffers: &mut Buffers) -> Result<(), Error> {
        let Buffers { value: out, scratch, .. } = buffers;
        out.clear();
        let document = match self.value {
            RecordValue::Event => change.event,
            RecordValue::Document => change.full_document.unwrap_or(raw::Document::EMPTY),
            RecordValue::Debezium => return self.debezium.write_value(change, plan, scratch, out),
        };
        write(document, self.format, self.style, out)
    }
}

fn write(
    document: raw::Document<'_>,
    format: Format,
    style: json::Style,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    match format {
        Format::Json => json::write_document(document, style, out)?,
        Format::Bson => out.extend_from_slice(document.as_bytes()),
    }
    Ok(())
}
