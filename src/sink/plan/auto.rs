//! What kind of value a topic has, by the first of them. Pure.

use super::{
    Error,
    columns::{document, text},
    debezium, qlik,
};
use crate::{
    config::ValueShape,
    raw::{Document, kind},
};

/// What `value` is. Anything that is no change event is a document.
///
/// # Errors
/// When its bytes are damaged.
pub fn recognise(value: Document<'_>) -> Result<ValueShape, Error> {
    if text(value, "operationType")?.is_some() {
        return Ok(ValueShape::Event);
    }
    let value = debezium::unwrapped(value)?;
    if text(value, "op")?.is_some() {
        if is_of_mongodb(value)? {
            return Ok(ValueShape::Debezium);
        }
        if ["before", "after", "source"].iter().any(|name| matches!(document(value, name), Ok(Some(_)))) {
            return Ok(ValueShape::DebeziumRows);
        }
    }
    let is_ddl = text(value, "ddl")?.is_some() && document(value, "source")?.is_some();
    if is_ddl {
        return Ok(ValueShape::DebeziumRows);
    }
    let message = document(value, "message")?.unwrap_or(value);
    let has_rows = ["data", "beforeData"].iter().any(|name| matches!(document(message, name), Ok(Some(_))));
    match has_rows && qlik::operation(value)?.is_some() {
        true => Ok(ValueShape::Qlik),
        false => Ok(ValueShape::Document),
    }
}

/// Debezium writes documents as text, and rows as documents.
fn is_of_mongodb(value: Document<'_>) -> Result<bool, Error> {
    for name in ["after", "before", "patch"] {
        let member = value.get(name).map_err(Error::Malformed)?;
        if member.is_some_and(|member| member.kind == kind::STRING) {
            return Ok(true);
        }
    }
    let source = document(value, "source")?.unwrap_or(Document::EMPTY);
    Ok(text(source, "connector")? == Some("mongodb") || text(source, "collection")?.is_some())
}
