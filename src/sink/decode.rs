//! Record → documents. Pure.
//!
//! Takes a record's bytes as they came and yields raw BSON that is sound to its last element, so that no later stage
//! and no server meets a damaged document. A key is read when somebody asks for it. What cannot be read is an
//! [`Error`] that never quotes contents.

mod connect;
mod hints;

use std::{cell::OnceCell, collections::BTreeMap};

use super::{body::Body, record::Record};
use crate::{
    config::{Handling, ReadFormat, TypeHint, ValueShape},
    json,
    raw::{self, Document, Element, Writer, kind},
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
    read: OnceCell<Result<Option<Vec<u8>>, Error>>,
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
    /// The value is not text.
    #[error("the value is not UTF-8")]
    ValueText,
    /// A field is not of the type that the settings promise.
    #[error("the field {path} is no {expected}, as the sink's types say")]
    Type {
        /// The field's path.
        path: String,
        /// The type, as the settings call it.
        expected: &'static str,
    },
    /// The key is neither.
    #[error("the key is not readable as a document: {0}")]
    Key(String),
}

/// Reads one record's value, into `buffer` where that can be used.
///
/// # Errors
/// When its bytes are not what the format promises.
pub fn decode<'a>(record: &'a Record, handling: &Handling, buffer: Vec<u8>) -> Result<Input<'a>, Error> {
    let value =
        record.value.as_deref().map(|value| read(value, handling.format, b"value", buffer)).transpose()?;
    let key = Key { bytes: record.key.as_deref(), format: handling.key_format, read: OnceCell::new() };
    let mut input = Input { record, value: value.flatten().map(Body::whole), key };
    if handling.value != ValueShape::Auto {
        input.apply_types(&handling.types, handling.value)?;
    }
    Ok(input)
}

impl Input<'_> {
    /// Gives the value's fields the types of these paths. Of an event only what it says about the document has the
    /// document's paths; what is neither event nor document says its types itself.
    ///
    /// # Errors
    /// When a field is of none that could become its type.
    pub fn apply_types(
        &mut self,
        types: &BTreeMap<String, TypeHint>,
        shape: ValueShape,
    ) -> Result<(), Error> {
        let parts: &[&str] = match shape {
            ValueShape::Event => &["fullDocument", "documentKey"],
            ValueShape::Document | ValueShape::Auto => &[],
            ValueShape::Debezium | ValueShape::DebeziumRows | ValueShape::Qlik => return Ok(()),
        };
        if let Some(value) = self.value.as_mut().filter(|_| !types.is_empty()) {
            *value = Body::whole(hints::apply(types, value.document(), parts)?);
        }
        Ok(())
    }

    /// The key's document, if the record has a key.
    ///
    /// # Errors
    /// When the key is no document.
    pub fn key(&self) -> Result<Option<Document<'_>>, Error> {
        let Some(bytes) = self.key.bytes else { return Ok(None) };
        let read = || {
            read(bytes, self.key.format, b"_id", Vec::new()).map_err(|error| match error {
                Error::ValueJson(reason) => Error::Key(reason),
                Error::ValueBson(reason) => Error::Key(reason.to_string()),
                Error::ValueText => Error::Key("it is not UTF-8".to_owned()),
                other @ (Error::Key(_) | Error::Type { .. }) => other,
            })
        };
        match self.key.read.get_or_init(read) {
            Ok(document) => Ok(document.as_deref().map(sound)),
            Err(error) => Err(error.clone()),
        }
    }
}

fn sound(checked: &[u8]) -> Document<'_> {
    Document::new(checked).expect("it was checked when it was read")
}

/// The document in `bytes`, in `buffer` where that can be used; none where they spell a null. Text that is a value by
/// itself becomes the field `name`.
fn read(
    bytes: &[u8],
    format: ReadFormat,
    name: &[u8],
    mut buffer: Vec<u8>,
) -> Result<Option<Vec<u8>>, Error> {
    buffer.clear();
    let document = match format {
        ReadFormat::Bson => {
            check(bytes).map_err(Error::ValueBson)?;
            buffer.extend_from_slice(bytes);
            buffer
        }
        ReadFormat::Json => extended(bytes, buffer)?,
        ReadFormat::PlainJson => return plain(bytes, buffer),
        ReadFormat::ConnectJson => return connect::read(bytes),
        ReadFormat::String => {
            std::str::from_utf8(bytes).map_err(|_| Error::ValueText)?;
            buffer.reserve(bytes.len() + name.len() + 12);
            let mut writer = Writer::new(buffer);
            writer.begin();
            writer.string(name, bytes);
            writer.end();
            writer.into_bytes()
        }
    };
    Ok(Some(document))
}

/// The document that `text` spells, in `buffer`, which is empty.
fn extended(text: &[u8], mut buffer: Vec<u8>) -> Result<Vec<u8>, Error> {
    buffer.reserve(text.len());
    json::read_document(text, &mut buffer).map_err(|error| Error::ValueJson(error.to_string()))?;
    Ok(buffer)
}

/// As Kafka Connect reads JSON without schemas: a null is no value, and a text is what a text always is to a sink,
/// extended JSON.
fn plain(text: &[u8], mut buffer: Vec<u8>) -> Result<Option<Vec<u8>>, Error> {
    let trimmed = text.trim_ascii();
    if trimmed == b"null" {
        return Ok(None);
    }
    if trimmed.first() == Some(&b'"') {
        let inner: String =
            serde_json::from_slice(trimmed).map_err(|_| Error::ValueJson("expected a text".to_owned()))?;
        return extended(inner.as_bytes(), buffer).map(Some);
    }
    buffer.reserve(text.len() * 2);
    json::read_plain(text, &mut buffer).map_err(|error| Error::ValueJson(error.to_string()))?;
    Ok(Some(buffer))
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
        let key = Some(b"plain text"[..].into());
        let value = Some(value.to_vec().into());
        let record = Record { place, timestamp: Timestamp::None, key, value, headers: Vec::new() };
        let handling = Handling { format, ..example::handling() };
        let input = decode(&record, &handling, Vec::new())?;
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
