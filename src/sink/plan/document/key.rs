//! Filters made of keys: the fields of an `_id`, or a record's whole key.

use super::{
    super::super::identify::{Bytes, Filter, Id},
    Error, is_misread,
};
use crate::{
    config::IdStrategy,
    raw::{Document, Element, Error as RawError, Writer, kind},
};

/// The filter on the fields of the `_id` of `document`. Parts of a key or value are looked for by dotted paths, so that
/// what else is in their documents does not matter; a whole key is compared document by document.
///
/// # Errors
/// When the `_id` is no document with fields that a filter can name.
pub(super) fn business(document: Document<'_>, strategy: IdStrategy) -> Result<Filter, Error> {
    let id = document.get("_id").map_err(Error::Malformed)?;
    let fields = id.filter(|id| id.kind == kind::DOCUMENT).and_then(Element::as_document);
    let fields = fields.filter(|fields| !fields.is_empty()).ok_or(Error::NoBusinessKey)?;
    let is_flat = matches!(strategy, IdStrategy::PartialKey | IdStrategy::PartialValue);
    conditions(fields, is_flat).map(Filter::Fields)
}

/// The document of a whole key: what has all its fields where one of them is the `_id`, else the one of that `_id`.
///
/// # Errors
/// When its `_id` is not possible.
pub(super) fn whole(key: Document<'_>) -> Result<Filter, Error> {
    if key.get("_id").map_err(Error::Malformed)?.is_none() {
        return Ok(Filter::Id(Id { kind: kind::DOCUMENT, value: Bytes::from_slice(key.as_bytes()) }));
    }
    let id = Id::of(key, "key")?;
    match key.elements().nth(1) {
        None => Ok(Filter::Id(id)),
        Some(_) => conditions(key, false).map(Filter::Fields),
    }
}

fn conditions(fields: Document<'_>, is_flat: bool) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::default();
    writer.begin();
    for element in fields.elements() {
        let element = element.map_err(Error::Malformed)?;
        if element.name.starts_with(b"$") {
            return Err(Error::OperatorInKey);
        }
        let mut path = element.name.to_vec();
        condition(element, is_flat, &mut path, &mut writer).map_err(Error::Malformed)?;
    }
    writer.end();
    Ok(writer.into_bytes())
}

fn condition(
    element: Element<'_>,
    is_flat: bool,
    path: &mut Vec<u8>,
    writer: &mut Writer,
) -> Result<(), RawError> {
    let inner = element.as_document().filter(|inner| {
        // An empty document has no path in it; left out, the filter would find more than it should.
        is_flat && element.kind == kind::DOCUMENT && !inner.is_empty()
    });
    let Some(inner) = inner else {
        if is_misread(element) {
            writer.begin_document(path);
            writer.value(b"$eq", element.kind, element.value);
            writer.end();
        } else {
            writer.value(path, element.kind, element.value);
        }
        return Ok(());
    };
    let length = path.len();
    for member in inner.elements() {
        let member = member?;
        path.push(b'.');
        path.extend_from_slice(member.name);
        condition(member, is_flat, path, writer)?;
        path.truncate(length);
    }
    Ok(())
}
