//! The key of a record, as a document. Pure.

use crate::{
    config::RecordKey,
    raw::{self, Document, Element, kind},
    source::decode::Change,
};

/// The key of `change`: a part of the event, or put together in `scratch`.
///
/// Where an event has nothing that the key is made of, it is `{"_id": <resume token>}`, as the official connector has
/// it for events without a `documentKey`.
pub(super) fn document<'a>(
    key: &RecordKey,
    change: &Change<'a>,
    scratch: &'a mut Vec<u8>,
) -> Result<Document<'a>, raw::Error> {
    begin(scratch);
    match key {
        RecordKey::DocumentKey => {
            if let Some(key) = change.document_key {
                return Ok(key);
            }
        }
        RecordKey::Id => {
            if let Some(id) = id(change)? {
                append(b"_id", id, scratch);
            }
        }
        RecordKey::Token => {}
        RecordKey::Fields(paths) => {
            for path in paths {
                if let Some(value) = change.event.find(path)? {
                    append(path.as_bytes(), value, scratch);
                }
            }
        }
    }
    if scratch.len() == LENGTH_BYTES {
        let token = Element { kind: kind::DOCUMENT, name: b"_id", value: change.token.as_bytes() };
        append(b"_id", token, scratch);
    }
    end(scratch)
}

/// `_id` of the document.
pub(super) fn id<'a>(change: &Change<'a>) -> Result<Option<Element<'a>>, raw::Error> {
    change.document_key.map_or(Ok(None), |key| key.get("_id"))
}

/// Bytes of a document's own length.
const LENGTH_BYTES: usize = 4;

fn begin(out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
}

fn append(name: &[u8], value: Element<'_>, out: &mut Vec<u8>) {
    out.push(value.kind);
    out.extend_from_slice(name);
    out.push(0);
    out.extend_from_slice(value.value);
}

fn end(out: &mut Vec<u8>) -> Result<Document<'_>, raw::Error> {
    out.push(0);
    let length = i32::try_from(out.len()).map_err(|_| raw::Error { at: 0, what: "a key is too long" })?;
    out[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    Document::new(out)
}
