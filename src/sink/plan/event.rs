//! A change event of MongoDB → its write. Pure.

use super::{
    super::{
        delta,
        event::{Event, Operation},
        identify::{self, Filter, Id},
    },
    Action, Error, Kind, Skip, full_state, with_id,
};
use crate::config::Handling;

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
        let full_id =
            full.get("_id").map_err(Error::Malformed)?.map(|_| Id::of(full, "fullDocument")).transpose()?;
        let has_own_id = full_id.is_some();
        let id = agree(key_id, full_id)?;
        let body = event.into_full_document().expect("it was there a moment ago");
        let body = if has_own_id { body } else { with_id(&id, &body) };
        return full_state(id, body, operation == Operation::Insert);
    }
    // With a null fullDocument the look-up came too late: a delete follows, and until then the delta is right.
    let Some(description) = event.update_description() else { return Ok(Action::Skip(Skip::Unchanged)) };
    let stages = delta::compile(description)?;
    if stages.is_empty() {
        return Ok(Action::Skip(Skip::Unchanged));
    }
    let id = key_id.ok_or(identify::Error::Missing("documentKey"))?;
    Ok(Action::Write(Filter::Id(id), Kind::Delta { stages, missing: handling.missing_document }))
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
