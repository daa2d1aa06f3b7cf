//! An event of Qlik Replicate → its write. Pure.
//!
//! The `_id` is the document of the key columns; the body has them too. An update sets what has changed, and makes the
//! document where it is not there.

use super::{
    super::{body::Body, decode::Input, identify::Filter},
    Action, Error, Kind, Skip, Update,
    columns::{self, document, text},
    full_state, nulls, with_id,
};
use crate::{
    config::{Handling, MissingDocument},
    raw::{Document, Writer},
};

/// What an event does.
///
/// # Errors
/// When it does not say enough.
pub fn plan(input: &Input<'_>, handling: &Handling) -> Result<Action, Error> {
    let Some(value) = &input.value else { return Ok(Action::Skip(Skip::Tombstone)) };
    let value = value.document();
    let operation = operation(value)?.ok_or(Error::Row("no operation text in its headers"))?;
    let rows = document(value, "message")?.unwrap_or(value);
    let (before, data) = (document(rows, "beforeData")?, document(rows, "data")?);
    let key = columns::key(input.key()?);
    match operation.to_ascii_uppercase().as_str() {
        "INSERT" | "REFRESH" | "READ" => {
            let data = data.filter(|data| !data.is_empty()).ok_or(Error::Row("no data document"))?;
            let id = key.map_or_else(|| columns::made_id(&input.record.place), columns::id_of);
            let body = nulls::without(columns::rest(data, Document::EMPTY)?, handling.remove_nulls)?;
            let body = with_id(&id, &body);
            full_state(id, body, operation.eq_ignore_ascii_case("insert"))
        }
        "UPDATE" => {
            let data = data.filter(|data| !data.is_empty()).ok_or(Error::Row("no data document"))?;
            let filter = columns::filter(key, before, "an update with neither a key nor beforeData")?;
            update(filter, before.unwrap_or(Document::EMPTY), data, handling)
        }
        "DELETE" => {
            let filter = columns::filter(key, data.or(before), "a delete with neither a key nor data")?;
            Ok(Action::Write(filter, Kind::Delete))
        }
        _ => Err(Error::Row("an operation that this version does not know")),
    }
}

/// Where Qlik says what was done; depends on how its envelope was flattened on the way.
pub(super) fn operation(value: Document<'_>) -> Result<Option<&str>, Error> {
    let message = document(value, "message")?;
    for (place, name) in [
        (message.map(|message| document(message, "headers")).transpose()?.flatten(), "operation"),
        (document(value, "headers")?, "operation"),
        (message, "operation"),
        (message, "headers_operation"),
        (Some(value), "headers_operation"),
    ] {
        if let Some(operation) = place.map(|place| text(place, name)).transpose()?.flatten() {
            return Ok(Some(operation));
        }
    }
    Ok(None)
}

fn update(
    filter: Filter,
    before: Document<'_>,
    data: Document<'_>,
    handling: &Handling,
) -> Result<Action, Error> {
    let mut changed = Writer::new(Vec::with_capacity(data.as_bytes().len()));
    changed.begin();
    for column in data.elements() {
        let column = column.map_err(Error::Malformed)?;
        let was = std::str::from_utf8(column.name).map_or(Ok(None), |name| before.get(name));
        let was = was.map_err(Error::Malformed)?;
        let is_same = was.is_some_and(|was| was.kind == column.kind && was.value == column.value);
        if !is_same {
            columns::check_name(column.name)?;
            changed.value(column.name, column.kind, column.value);
        }
    }
    changed.end();
    let changed = nulls::without(Body::whole(changed.into_bytes()), handling.remove_nulls)?;
    if changed.is_empty() {
        return Ok(Action::Skip(Skip::Unchanged));
    }
    let mut update = Writer::new(Vec::with_capacity(changed.len() + 16));
    update.begin();
    update.document(b"$set", changed.document());
    update.end();
    Ok(Action::Write(
        filter,
        Kind::Update(Update {
            update: update.into_bytes(),
            is_pipeline: false,
            is_ordered: false,
            missing: MissingDocument::Upsert,
        }),
    ))
}
