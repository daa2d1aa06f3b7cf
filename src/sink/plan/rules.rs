//! The transformations, for writes that were not events of MongoDB. Pure.

use super::{
    super::{body::Body, identify::Filter, stages::Refusal},
    Action, Error, Kind, full_state,
};
use crate::{
    raw::Document,
    transform::{Compiled, Verdict},
};

/// The write of what the rules make of the document; none if they drop it.
///
/// # Errors
/// When there is no document for the rules to see.
pub fn apply(rules: &Compiled, filter: Filter, kind: Kind) -> Result<Option<Action>, Refusal> {
    let (body, is_new) = match kind {
        Kind::Insert(body) => (body, true),
        Kind::Replace(body) | Kind::Literal(body) => (body, false),
        Kind::Delete => return delete(rules, filter).map(Some),
        Kind::Delta { .. } | Kind::InsertOnly(_) | Kind::Update(_) => return Err(Error::Partial.into()),
    };
    let Some(body) = transformed(rules, body.document())? else { return Ok(None) };
    Ok(Some(match filter {
        Filter::Id(_) => {
            let id = super::Id::of(body.document(), "transformed document").map_err(Error::Id)?;
            full_state(id, body, is_new)?
        }
        Filter::Fields(_) => Action::Write(filter, Kind::Replace(body)),
    }))
}

/// A rule may mask the `_id` that finds the document. One that drops documents drops no deletes: what was never
/// written is not there.
fn delete(rules: &Compiled, filter: Filter) -> Result<Action, Refusal> {
    let Filter::Id(id) = &filter else { return Err(Error::Partial.into()) };
    let document = Body::whole(id.to_document());
    let filter = match transformed(rules, document.document())? {
        Some(masked) => {
            Filter::Id(super::Id::of(masked.document(), "transformed document").map_err(Error::Id)?)
        }
        None => filter,
    };
    Ok(Action::Write(filter, Kind::Delete))
}

/// What the rules make of a document; none if they drop it.
///
/// # Errors
/// When it cannot be transformed.
pub fn transformed(rules: &Compiled, document: Document<'_>) -> Result<Option<Body>, Refusal> {
    let mut bytes = Vec::with_capacity(document.as_bytes().len());
    match rules.document(document, &mut bytes).map_err(Refusal::Transform)? {
        Verdict::Keep => Ok(Some(Body::whole(bytes))),
        Verdict::Drop => Ok(None),
    }
}
