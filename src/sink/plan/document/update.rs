//! A document's fields → what an update sets.

use crate::raw::{Document, Error as RawError, Writer, kind};

const MODIFIED: &[u8] = b"_modifiedTS";
const INSERTED: &[u8] = b"_insertedTS";

/// The update that sets the fields of `document`, with the times where there is a `time`.
///
/// # Errors
/// When its bytes are damaged.
pub(super) fn set(document: Document<'_>, keeps_id: bool, time: Option<i64>) -> Result<Vec<u8>, RawError> {
    let mut writer = Writer::new(Vec::with_capacity(document.as_bytes().len() + 100));
    writer.begin();
    writer.begin_document(b"$set");
    let mut is_stamped = false;
    for element in document.elements() {
        let element = element?;
        match time {
            _ if element.name == b"_id" && !keeps_id => {}
            Some(time) if element.name == MODIFIED => {
                is_stamped = true;
                writer.value(MODIFIED, kind::DATE_TIME, &time.to_le_bytes());
            }
            // Set by both operators, it would be refused; the time of the insertion is the server's document's own.
            Some(_) if element.name == INSERTED => {}
            _ => writer.value(element.name, element.kind, element.value),
        }
    }
    if let Some(time) = time {
        if !is_stamped {
            writer.value(MODIFIED, kind::DATE_TIME, &time.to_le_bytes());
        }
        writer.end();
        writer.begin_document(b"$setOnInsert");
        writer.value(INSERTED, kind::DATE_TIME, &time.to_le_bytes());
    }
    writer.end();
    writer.end();
    Ok(writer.into_bytes())
}

/// `document` but for its `_id`.
///
/// # Errors
/// When its bytes are damaged.
pub(super) fn without_id(document: Document<'_>) -> Result<Vec<u8>, RawError> {
    let mut writer = Writer::new(Vec::with_capacity(document.as_bytes().len()));
    writer.begin();
    for element in document.elements() {
        let element = element?;
        if element.name != b"_id" {
            writer.value(element.name, element.kind, element.value);
        }
    }
    writer.end();
    Ok(writer.into_bytes())
}
