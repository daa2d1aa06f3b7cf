//! A change event of MongoDB → its write. Pure.

use super::{
    super::{
        body::Body,
        delta,
        event::{Event, Operation},
        identify::{self, Filter, Id},
        shape::write_without_nulls,
    },
    Action, Error, Kind, Skip, full_state, nulls, with_id,
};
use crate::{
    config::Handling,
    raw::{Document, Writer, kind},
};

/// What `event` does.
///
/// # Errors
/// When it does not say enough.
pub fn plan(event: Event, handling: &Handling) -> Result<Action, Error> {
    let key_id = event.document_key().map(|key| Id::of(key, "documentKey")).transpose()?;
    let operation = event.operation;
    if operation == Operation::Delete {
        let id = key_id.ok_or(identify::Error::Missing("documentKey"))?;
        return Ok(Action::Write(Filter::Id(id), Kind::Delete));
    }
    if let Some(full) = event.full_document() {
        let full_id = match Id::of(full, "fullDocument") {
            Err(identify::Error::Missing(_)) => None,
            id => Some(id?),
        };
        let has_own_id = full_id.is_some();
        let id = agree(key_id, full_id)?;
        let body = event.into_full_document().expect("it was there a moment ago");
        let body = nulls::without(body, handling.remove_nulls)?;
        let body = if has_own_id { body } else { with_id(&id, &body) };
        return full_state(id, body, operation == Operation::Insert);
    }
    // With a null fullDocument the look-up came too late: a delete follows, and until then the delta is right.
    let Some(description) = event.update_description() else { return Ok(Action::Skip(Skip::Unchanged)) };
    let stages = if handling.remove_nulls {
        let description = without_nulls(description)?;
        delta::compile(description.document())?
    } else {
        delta::compile(description)?
    };
    if stages.is_empty() {
        return Ok(Action::Skip(Skip::Unchanged));
    }
    let id = key_id.ok_or(identify::Error::Missing("documentKey"))?;
    Ok(Action::Write(Filter::Id(id), Kind::Delta { stages, missing: handling.missing_document }))
}

/// A description that sets nothing to null.
fn without_nulls(description: Document<'_>) -> Result<Body, Error> {
    let mut writer = Writer::new(Vec::with_capacity(description.as_bytes().len()));
    writer.begin();
    for member in description.elements() {
        let member = member.map_err(Error::Malformed)?;
        match member
            .as_document()
            .filter(|_| member.name == b"updatedFields" && member.kind == kind::DOCUMENT)
        {
            Some(updated) => {
                writer.begin_document(member.name);
                write_without_nulls(updated, &mut writer).map_err(Error::Malformed)?;
                writer.end();
            }
            None => writer.value(member.name, member.kind, member.value),
        }
    }
    writer.end();
    Ok(Body::whole(writer.into_bytes()))
}

/// The `_id` of a full state: the document's own, which must be the key's.
fn agree(key: Option<Id>, full: Option<Id>) -> Result<Id, Error> {
    match (key, full) {
        (Some(key), Some(full)) if key == full || key.fold_key()?.bytes == full.fold_key()?.bytes => Ok(full),
        (Some(_), Some(_)) => Err(Error::TwoIds),
        (Some(id), None) | (None, Some(id)) => Ok(id),
        (None, None) => Err(identify::Error::Missing("fullDocument").into()),
    }
}
