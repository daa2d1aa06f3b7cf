//! Record → documents. Pure.
//!
//! Takes a record's bytes as they came and yields raw BSON that is sound to its last element, so that no later stage
//! and no server meets a damaged document. A key is read when somebody asks for it. What cannot be read is an
//! [`Error`] that never quotes contents.

use std::cell::OnceCell;

use super::{body::Body, record::Record};
use crate::{
    config::{Handling, ReadFormat},
    json,
    raw::{self, Document, Element, kind},
};

/// Documents nested deeper are refused: the server takes no more, and walking them must not exhaust the stack.
const MAX_DEPTH: usize = 180;

/// A record whose value is read.
#[derive(Debug)]
pub struct Input<'a> {
    /// The record, for what else it has.
    pub record: &'a Record,
    /// Its value; none is a tombstone.
    pub value: Option<Body>,
    key: Key<'a>,
}

#[derive(Debug)]
struct Key<'a> {
    bytes: Option<&'a [u8]>,
    format: ReadFormat,
    read: OnceCell<Result<Vec<u8>, Error>>,
}

/// Why a record cannot be read. Never quotes contents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The value is not JSON.
    #[error("the value is not readable as JSON: {0}")]
    ValueJson(String),
    /// The value is not BSON.
    #[error("the value is not readable as BSON: {0}")]
    ValueBson(raw::Error),
    /// The key is neither.
    #[error("the key is not readable as a document: {0}")]
    Key(String),
}

/// Reads one record's value.
///
/// # Errors
/// When its bytes are not what the format promises.
pub fn decode<'a>(record: &'a Record, handling: &Handling) -> Result<Input<'a>, Error> {
    let value = record.value.as_deref().map(|value| read(value, handling.format)).transpose()?;
    let key = Key { bytes: record.key.as_deref(), format: handling.key_format, read: OnceCell::new() };
    Ok(Input { record, value: value.map(Body::whole), key })
}

impl Input<'_> {
    /// The key's document, if the record has a key.
    ///
    /// # Errors
    /// When the key is no document.
    pub fn key(&self) -> Result<Option<Document<'_>>, Error> {
        let Some(bytes) = self.key.bytes else { return Ok(None) };
        let read = || {
            read(bytes, self.key.format).map_err(|error| match error {
                Error::ValueJson(reason) => Error::Key(reason),
                Error::ValueBson(reason) => Error::Key(reason.to_string()),
                other @ Error::Key(_) => other,
            })
        };
        match self.key.read.get_or_init(read) {
            Ok(document) => Ok(Some(Document::new(document).expect("it was checked when it was read"))),
            Err(error) => Err(error.clone()),
        }
    }
}

fn read(bytes: &[u8], format: ReadFormat) -> Result<Vec<u8>, Error> {
    match format {
        ReadFormat::Bson => {
            check(bytes).map_err(Error::ValueBson)?;
            Ok(bytes.to_vec())
        }
        ReadFormat::Json | ReadFormat::PlainJson | ReadFormat::ConnectJson | ReadFormat::String => {
            let mut document = Vec::with_capacity(bytes.len());
            json::read_document(bytes, &mut document).map_err(|error| Error::ValueJson(error.to_string()))?;
            Ok(document)
        }
    }
}

/// Walks the whole of a document that came from outside.
fn check(bytes: &[u8]) -> Result<(), raw::Error> {
    fn walk(document: Document<'_>, depth: usize) -> Result<(), raw::Error> {
        if depth > MAX_DEPTH {
            return Err(raw::Error { at: 0, what: "nested too deeply" });
        }
        for element in document.elements() {
            let element = element?;
            if let Some(inner) = element.as_document() {
                walk(inner, depth + 1)?;
            } else if element.kind == kind::CODE_WITH_SCOPE {
                walk(scope(element)?, depth + 1)?;
            }
        }
        Ok(())
    }
    walk(Document::new(bytes)?, 1)
}

/// The scope document of a code-with-scope value: total length, code as a string, document.
fn scope(element: Element<'_>) -> Result<Document<'_>, raw::Error> {
    let damaged = raw::Error { at: 0, what: "code with scope does not fit" };
    let length = element.value.get(4..8).and_then(|bytes| Some(i32::from_le_bytes(bytes.try_into().ok()?)));
    let start = length.and_then(|length| usize::try_from(length).ok()).ok_or(damaged)?.saturating_add(8);
    Document::new(element.value.get(start..).ok_or(damaged)?)
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::{
        super::{
            example,
            progress::{Partition, Place},
            record::Timestamp,
        },
        *,
    };

    fn bytes(document: &bson::Document) -> Vec<u8> {
        document.to_vec().expect("writable")
    }

    fn read_as(format: ReadFormat, value: &[u8]) -> Result<Vec<u8>, Error> {
        let place = Place { partition: Partition { topic: "t".into(), number: 0 }, offset: 3 };
        let key = Some(b"plain text".to_vec());
        let value = Some(value.to_vec());
        let record = Record { place, timestamp: Timestamp::None, key, value, headers: Vec::new() };
        let handling = Handling { format, ..example::handling() };
        let input = decode(&record, &handling)?;
        assert!(matches!(input.key(), Err(Error::Key(_))), "read when asked for");
        Ok(input.value.expect("there is one").into_bytes())
    }

    #[test]
    fn json_becomes_the_same_bson() {
        let text = br#"{"operationType": "delete", "documentKey": {"_id": "x"}}"#;
        let expected = bytes(&doc! { "operationType": "delete", "documentKey": { "_id": "x" } });
        assert_eq!(read_as(ReadFormat::Json, text), Ok(expected));
        let torn = read_as(ReadFormat::Json, b"{\"operationType\":");
        assert!(matches!(torn, Err(Error::ValueJson(_))), "{torn:?}");
    }

    #[test]
    fn damaged_bson_is_an_error_wherever_it_stands_and_never_a_panic() {
        let code = bson::Bson::JavaScriptCodeWithScope(bson::JavaScriptCodeWithScope {
            code: "f()".into(),
            scope: doc! { "x": 1 },
        });
        let sound = bytes(&doc! { "updatedFields": { "a": [1, { "b": code }] }, "removedFields": ["x"] });
        assert_eq!(read_as(ReadFormat::Bson, &sound).as_ref(), Ok(&sound));
        for at in 0..sound.len() {
            for value in [0, 1, 5, 0x0f, 0x7f, 0xff] {
                let mut damaged = sound.clone();
                damaged[at] = value;
                if let Ok(read) = read_as(ReadFormat::Bson, &damaged) {
                    assert_eq!(read, damaged, "what is read is what was sent");
                }
            }
        }
        let mut inner = sound.clone();
        let at = inner.windows(3).position(|window| window == b"f()").expect("the code is in there");
        inner[at - 4] = 0x7f;
        assert!(matches!(read_as(ReadFormat::Bson, &inner), Err(Error::ValueBson(_))));
    }

    #[test]
    fn deep_nesting_is_an_error() {
        let mut deep = doc! { "x": 1 };
        for _ in 0..MAX_DEPTH {
            deep = doc! { "x": deep };
        }
        assert!(matches!(read_as(ReadFormat::Bson, &bytes(&deep)), Err(Error::ValueBson(_))));
    }
}
