//! A document → its write. Pure.

use super::{
    super::{
        decode::Input,
        identify::{self, Filter, Id},
    },
    Action, Error, Kind, Skip, full_state, with_id,
};
use crate::config::{Handling, OnTombstone};

/// What a document, or a record without one, does.
///
/// # Errors
/// When it does not say enough.
pub fn plan(mut input: Input<'_>, handling: &Handling) -> Result<Action, Error> {
    let Some(body) = input.value.take() else { return tombstone(&input, handling) };
    if body.document().get("_id").map_err(Error::Malformed)?.is_some() {
        return full_state(Id::of(body.document(), "document")?, body, false);
    }
    let key = input.key()?.ok_or(identify::Error::Missing("document, and no key"))?;
    let id = Id::of(key, "document or the key")?;
    let body = with_id(&id, &body);
    full_state(id, body, false)
}

fn tombstone(input: &Input<'_>, handling: &Handling) -> Result<Action, Error> {
    match handling.on_tombstone {
        OnTombstone::Skip => Ok(Action::Skip(Skip::Tombstone)),
        OnTombstone::Fail => Err(Error::Tombstone),
        OnTombstone::Delete => {
            let id = Id::of(input.key()?.ok_or(Error::NoKey)?, "key")?;
            Ok(Action::Write(Filter::Id(id), Kind::Delete))
        }
    }
}
