//! Documents without their nulls. Pure.
//!
//! Fields that are null go, at every depth, also in documents that are items of an array. The items themselves stay,
//! since the others would move.

use super::{super::body::Body, Error};
use crate::raw::{Document, Error as RawError, Writer, kind};

/// The body without its nulls, if `is_wanted`.
pub(super) fn without(body: Body, is_wanted: bool) -> Result<Body, Error> {
    if !is_wanted {
        return Ok(body);
    }
    let mut writer = Writer::new(Vec::with_capacity(body.len()));
    writer.begin();
    members(&mut writer, body.document()).map_err(Error::Malformed)?;
    writer.end();
    Ok(Body::whole(writer.into_bytes()))
}

/// Writes the members of `document`, but for the nulls.
pub(super) fn members(writer: &mut Writer, document: Document<'_>) -> Result<(), RawError> {
    for element in document.elements() {
        let element = element?;
        match (element.kind, element.as_document()) {
            (kind::NULL, _) => {}
            (kind::DOCUMENT, Some(inner)) => {
                writer.begin_document(element.name);
                members(writer, inner)?;
                writer.end();
            }
            (kind::ARRAY, Some(array)) => {
                writer.begin_array(element.name);
                items(writer, array)?;
                writer.end();
            }
            _ => writer.value(element.name, element.kind, element.value),
        }
    }
    Ok(())
}

fn items(writer: &mut Writer, array: Document<'_>) -> Result<(), RawError> {
    for item in array.elements() {
        let item = item?;
        match item.as_document().filter(|_| item.kind == kind::DOCUMENT) {
            Some(inner) => {
                writer.begin_document(item.name);
                members(writer, inner)?;
                writer.end();
            }
            None => writer.value(item.name, item.kind, item.value),
        }
    }
    Ok(())
}
