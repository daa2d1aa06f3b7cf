//! What rows of relational databases have in common, whoever captured them. Pure.

use sha2::{Digest, Sha256};

use super::{
    super::{
        body::Body,
        identify::{Bytes, Filter, Id},
        progress::Place,
    },
    Error,
};
use crate::raw::{Document, Element, Writer, kind};

/// What finds a row: its key columns as `_id`, else the whole image of it.
pub(super) fn filter(
    key: Option<Document<'_>>,
    image: Option<Document<'_>>,
    missing: &'static str,
) -> Result<Filter, Error> {
    if let Some(key) = key {
        return Ok(Filter::Id(id_of(key)));
    }
    let image = image.filter(|image| !image.is_empty()).ok_or(Error::Row(missing))?;
    let mut writer = Writer::new(Vec::with_capacity(image.as_bytes().len() + 16));
    writer.begin();
    for column in image.elements() {
        let column = column.map_err(Error::Malformed)?;
        check_name(column.name)?;
        writer.equal(column.name, column.kind, column.value);
    }
    writer.end();
    Ok(Filter::Fields(writer.into_bytes()))
}

/// A key that has columns.
pub(super) fn key(key: Option<Document<'_>>) -> Option<Document<'_>> {
    key.filter(|key| !key.is_empty())
}

pub(super) fn id_of(key: Document<'_>) -> Id {
    Id { kind: kind::DOCUMENT, value: Bytes::from_slice(key.as_bytes()) }
}

/// The `_id` of a row without a key: the same whenever its record is read.
pub(super) fn made_id(place: &Place) -> Id {
    let name = format!("{}-{}-{}", place.partition.topic, place.partition.number, place.offset);
    let hash = Sha256::digest(name.as_bytes());
    Id { kind: kind::OBJECT_ID, value: Bytes::from_slice(&hash[..12]) }
}

/// The columns of a row, but for those of `left_out`.
pub(super) fn rest(row: Document<'_>, left_out: Document<'_>) -> Result<Body, Error> {
    let mut writer = Writer::new(Vec::with_capacity(row.as_bytes().len()));
    writer.begin();
    for column in row.elements() {
        let column = column.map_err(Error::Malformed)?;
        if has(left_out, column.name)? {
            continue;
        }
        if column.name == b"_id" {
            return Err(Error::Row("a column named _id that is not in the key"));
        }
        writer.value(column.name, column.kind, column.value);
    }
    writer.end();
    Ok(Body::whole(writer.into_bytes()))
}

fn has(document: Document<'_>, name: &[u8]) -> Result<bool, Error> {
    for element in document.elements() {
        if element.map_err(Error::Malformed)?.name == name {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A name that the server would not take for the name of a field, where an update or a filter has it.
pub(super) fn check_name(name: &[u8]) -> Result<(), Error> {
    if name.is_empty() || name[0] == b'$' || name.contains(&b'.') {
        return Err(Error::Row("a column whose name is empty, has a dot or begins with $"));
    }
    Ok(())
}

/// As [`check_name`], for every name at the top.
pub(super) fn check_names(document: Document<'_>) -> Result<(), Error> {
    document.elements().try_for_each(|element| check_name(element.map_err(Error::Malformed)?.name))
}

/// The document that is this member, if it is one.
pub(super) fn document<'a>(value: Document<'a>, name: &str) -> Result<Option<Document<'a>>, Error> {
    let element = value.get(name).map_err(Error::Malformed)?;
    Ok(element.filter(|element| element.kind == kind::DOCUMENT).and_then(Element::as_document))
}

/// The text that is this member, if it is one.
pub(super) fn text<'a>(value: Document<'a>, name: &str) -> Result<Option<&'a str>, Error> {
    let element = value.get(name).map_err(Error::Malformed)?;
    Ok(element.filter(|element| element.kind == kind::STRING).and_then(Element::as_str))
}
