//! Change → key, value and headers of a record. Pure.
//!
//! Keys and values are written into buffers that the caller reuses, straight from the event's bytes.

use crate::{
    config::{self, Format, RecordValue},
    json, raw,
    source::decode::Change,
};

/// Header that carries the order key (the token's `_data`) of a record whose value does not.
pub const ORDER_HEADER: &str = "millrace.order";

/// How a source writes its records.
#[derive(Clone, Copy, Debug)]
pub struct Encoder {
    /// JSON or BSON.
    pub format: Format,
    /// Whole event or document alone.
    pub value: RecordValue,
}

/// Buffers of one record; what was in them is overwritten.
#[derive(Debug, Default)]
pub struct Buffers {
    /// The record's key.
    pub key: Vec<u8>,
    /// The record's value; meaningless for a tombstone.
    pub value: Vec<u8>,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoded<'a> {
    /// A record with key and value.
    Record {
        /// Value of [`ORDER_HEADER`], where it is due.
        order: Option<&'a str>,
    },
    /// A record with a key and no value.
    Tombstone {
        /// Value of [`ORDER_HEADER`].
        order: Option<&'a str>,
    },
    /// Nothing: documents alone were asked for, and this change has none.
    Nothing,
}

/// A change that cannot be written in the format.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// JSON cannot hold it.
    #[error(transparent)]
    Json(#[from] json::WriteError),
    /// The event is not sound BSON.
    #[error(transparent)]
    Malformed(#[from] raw::Error),
}

impl Encoder {
    /// An encoder as the settings have it.
    pub fn new(record: &config::Record) -> Self {
        Self { format: record.format, value: record.value }
    }

    /// Writes the record of `change` into `buffers`.
    ///
    /// The key is the `documentKey`; of an event without one it is `{"_id": <resume token>}`, as the official
    /// connector has it.
    ///
    /// # Errors
    /// When the format cannot hold the change.
    pub fn encode<'a>(self, change: &Change<'a>, buffers: &mut Buffers) -> Result<Encoded<'a>, Error> {
        let encoded = match self.value {
            RecordValue::Event | RecordValue::Debezium => Encoded::Record { order: None },
            RecordValue::Document if change.full_document.is_some() => {
                Encoded::Record { order: order(change)? }
            }
            RecordValue::Document if change.operation == "delete" => {
                Encoded::Tombstone { order: order(change)? }
            }
            RecordValue::Document => return Ok(Encoded::Nothing),
        };
        buffers.key.clear();
        match change.document_key {
            Some(key) => self.write(key, &mut buffers.key)?,
            None => self.write(raw::Document::new(&token_key(change.token))?, &mut buffers.key)?,
        }
        if let Encoded::Record { .. } = encoded {
            buffers.value.clear();
            let value = match self.value {
                RecordValue::Event | RecordValue::Debezium => change.event,
                RecordValue::Document => change.full_document.unwrap_or(raw::Document::EMPTY),
            };
            self.write(value, &mut buffers.value)?;
        }
        Ok(encoded)
    }

    fn write(self, document: raw::Document<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        match self.format {
            Format::Json => json::write_document(document, json::Style::Strict, out)?,
            Format::Bson => out.extend_from_slice(document.as_bytes()),
        }
        Ok(())
    }
}

fn order<'a>(change: &Change<'a>) -> Result<Option<&'a str>, raw::Error> {
    Ok(change.token.get("_data")?.and_then(raw::Element::as_str))
}

/// `{"_id": token}`.
fn token_key(token: raw::Document<'_>) -> Vec<u8> {
    let mut writer = raw::Writer::default();
    writer.begin();
    writer.document(b"_id", token);
    writer.end();
    writer.into_bytes()
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, doc};

    use super::*;
    use crate::source::decode;

    fn encode(event: &bson::Document, value: RecordValue) -> (String, String, Option<bool>, bool) {
        let bytes = RawDocumentBuf::try_from(event).expect("encodes").into_bytes();
        let change = decode::decode(raw::Document::new(&bytes).expect("a document")).expect("an event");
        let mut buffers = Buffers::default();
        let encoded = Encoder { format: Format::Json, value }.encode(&change, &mut buffers).expect("fits");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        let (is_record, has_order) = match encoded {
            Encoded::Record { order } => (Some(true), order == Some("82A0")),
            Encoded::Tombstone { order } => (Some(false), order == Some("82A0")),
            Encoded::Nothing => (None, false),
        };
        (text(buffers.key), text(buffers.value), is_record, has_order)
    }

    fn event(operation: &str) -> bson::Document {
        doc! { "_id": {"_data": "82A0"}, "operationType": operation, "ns": {"db": "d", "coll": "c"} }
    }

    #[test]
    fn a_whole_event_is_keyed_by_its_document() {
        let mut event = event("delete");
        event.insert("documentKey", doc! {"_id": 5});
        let (key, value, is_record, has_order) = encode(&event, RecordValue::Event);
        assert_eq!((key.as_str(), is_record, has_order), (r#"{"_id": 5}"#, Some(true), false));
        assert!(value.starts_with(r#"{"_id": {"_data": "82A0"}, "operationType": "delete""#), "{value}");
    }

    #[test]
    fn an_event_without_a_document_is_keyed_by_its_token() {
        assert_eq!(encode(&event("drop"), RecordValue::Event).0, r#"{"_id": {"_data": "82A0"}}"#);
    }

    #[test]
    fn documents_alone_carry_the_order_key_in_a_header() {
        let mut insert = event("insert");
        insert.insert("documentKey", doc! {"_id": 5});
        insert.insert("fullDocument", doc! {"_id": 5, "a": true});
        let (_, value, is_record, has_order) = encode(&insert, RecordValue::Document);
        assert_eq!((value.as_str(), is_record, has_order), (r#"{"_id": 5, "a": true}"#, Some(true), true));
    }

    #[test]
    fn only_a_delete_becomes_a_tombstone() {
        let mut delete = event("delete");
        delete.insert("documentKey", doc! {"_id": 5});
        assert_eq!(encode(&delete, RecordValue::Document).2, Some(false));
        for operation in ["drop", "rename", "invalidate", "update"] {
            assert_eq!(encode(&event(operation), RecordValue::Document).2, None, "{operation}");
        }
    }
}
