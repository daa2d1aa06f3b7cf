//! A document → its write. Pure, but for `_id`s that are new.

mod key;
mod update;

#[cfg(test)]
mod tests;

use super::{
    super::{
        body::Body,
        decode::Input,
        identify::{self, Bytes, Filter, Id},
        shape::{self, Parts, id},
        template::Template,
    },
    Action, Error, Kind, Skip, Update, full_state, needs_literal, with_id,
};
use crate::{
    config::{
        Handling, IdStrategy, MissingDocument, OnTombstone, StepAction, TimeSeries, WriteBy, WriteModel,
    },
    raw::{Document, Element, kind},
};

/// What a document, or a record without one, does. `clock` gives the milliseconds since 1970 for timestamps.
///
/// # Errors
/// When it does not say enough.
pub fn plan(mut input: Input<'_>, handling: &Handling, clock: fn() -> i64) -> Result<Action, Error> {
    let value = input.value.take();
    if is_plain(handling) {
        return match value {
            Some(body) => plain(&input, body),
            None => tombstone(Parts::new(&input, None), handling),
        };
    }
    let mut parts = Parts::new(&input, value);
    if parts.value().is_none() {
        return tombstone(parts, handling);
    }
    if adds_id_first(handling) {
        parts.add_id(&handling.id)?;
    }
    parts.take(&handling.steps, &handling.id)?;
    written(parts, handling, clock)
}

/// Whether nothing is made of documents: they are replaced as they are.
fn is_plain(handling: &Handling) -> bool {
    let write = &handling.write;
    handling.steps.is_empty()
        && handling.id.strategy == IdStrategy::Auto
        && (write.model, write.by) == (WriteModel::Replace, WriteBy::Id)
        && write.filter.is_none()
        && write.update.is_none()
        && handling.time_series.is_none()
}

/// Whether the `_id` is made before the first step.
fn adds_id_first(handling: &Handling) -> bool {
    let write = &handling.write;
    let needs_none = write.filter.is_some() || (write.model, write.by) == (WriteModel::Delete, WriteBy::Id);
    !needs_none && !handling.steps.iter().any(|step| matches!(step.action, StepAction::AddId))
}

fn plain(input: &Input<'_>, body: Body) -> Result<Action, Error> {
    if body.document().get("_id").map_err(Error::Malformed)?.is_some() {
        return full_state(Id::of(body.document(), "document")?, body, false);
    }
    let key = input.key()?.ok_or(identify::Error::Missing("document, and no key"))?;
    let id = Id::of(key, "document or the key")?;
    let body = with_id(&id, &body);
    full_state(id, body, false)
}

fn tombstone(mut parts: Parts<'_>, handling: &Handling) -> Result<Action, Error> {
    match handling.on_tombstone {
        OnTombstone::Skip => return Ok(Action::Skip(Skip::Tombstone)),
        OnTombstone::Fail => return Err(Error::Tombstone),
        OnTombstone::Delete => {}
    }
    parts.take(&handling.steps, &handling.id)?;
    let write = &handling.write;
    let strategy = handling.id.strategy;
    let filter = if let Some(template) = &write.filter {
        rendered_filter(template, &parts)?
    } else if (write.model, write.by) == (WriteModel::Delete, WriteBy::Id) {
        key::whole(parts.key()?.ok_or(Error::NoKey)?)?
    } else if strategy == IdStrategy::Auto {
        Filter::Id(Id::of(parts.key()?.ok_or(Error::NoKey)?, "key")?)
    } else if !strategy.is_of_key() {
        return Err(Error::Tombstone);
    } else {
        let made = id::make(&handling.id, &parts).map_err(shape::Error::Id)?;
        let made = Document::new(&made).expect("just written");
        match write.delete_by {
            WriteBy::Id => Filter::Id(Id::of(made, "key")?),
            WriteBy::BusinessKey => key::business(made, strategy)?,
        }
    };
    Ok(Action::Write(filter, Kind::Delete))
}

fn written(parts: Parts<'_>, handling: &Handling, clock: fn() -> i64) -> Result<Action, Error> {
    let write = &handling.write;
    if let Some(series) = &handling.time_series {
        return insert(parts, handling, Some(series));
    }
    if write.filter.is_some() || write.update.is_some() {
        return templated(&parts, handling);
    }
    let document = parts.value().expect("a record without one is no document");
    match (write.model, write.by) {
        (WriteModel::Replace, WriteBy::Id) => {
            let id = Id::of(document, "document")?;
            full_state(id, parts.into_value().expect("it was there a moment ago"), false)
        }
        (WriteModel::Replace, WriteBy::BusinessKey) => {
            let filter = key::business(document, handling.id.strategy)?;
            let body = Body::whole(update::without_id(document).map_err(Error::Malformed)?);
            let is_literal = needs_literal(body.document()).map_err(Error::Malformed)?;
            let kind = if is_literal { Kind::Literal(body) } else { Kind::Replace(body) };
            Ok(Action::Write(filter, kind))
        }
        (WriteModel::Insert, _) => insert(parts, handling, None),
        (WriteModel::Update, by) => {
            let filter = found_by(document, handling)?;
            let keeps_id = write.timestamps && by == WriteBy::Id;
            let time = write.timestamps.then(clock);
            let update = update::set(document, keeps_id, time).map_err(Error::Malformed)?;
            let update =
                Update { update, is_pipeline: false, is_ordered: false, missing: MissingDocument::Upsert };
            Ok(Action::Write(filter, Kind::Update(update)))
        }
        (WriteModel::Delete, WriteBy::Id) => {
            Ok(Action::Write(key::whole(parts.key()?.ok_or(Error::NoKey)?)?, Kind::Delete))
        }
        (WriteModel::Delete, WriteBy::BusinessKey) => {
            Ok(Action::Write(key::business(document, handling.id.strategy)?, Kind::Delete))
        }
    }
}

/// What finds the document of a document that has its `_id`.
fn found_by(document: Document<'_>, handling: &Handling) -> Result<Filter, Error> {
    match handling.write.by {
        WriteBy::Id => Ok(Filter::Id(Id::of(document, "document")?)),
        WriteBy::BusinessKey => key::business(document, handling.id.strategy),
    }
}

/// An insert. A document that has lost its `_id` gets a new one, as drivers do it.
fn insert(parts: Parts<'_>, handling: &Handling, series: Option<&TimeSeries>) -> Result<Action, Error> {
    let document = parts.value().expect("a record without one is no document");
    let own = document.get("_id").map_err(Error::Malformed)?;
    let id = match own {
        Some(_) => Id::of(document, "document")?,
        None => Id { kind: kind::OBJECT_ID, value: Bytes::from_slice(&id::object_id(&handling.id, &parts)) },
    };
    let has_id = own.is_some();
    let body = match series.filter(|series| series.convert) {
        Some(series) => {
            let converted = series.date_format.convert(document, &series.time_field);
            Body::whole(converted.map_err(Error::Malformed)?)
        }
        None => parts.into_value().expect("it was there a moment ago"),
    };
    let body = if has_id { body } else { with_id(&id, &body) };
    Ok(Action::Write(Filter::Id(id), Kind::InsertOnly(body)))
}

fn templated(parts: &Parts<'_>, handling: &Handling) -> Result<Action, Error> {
    let write = &handling.write;
    let document = parts.value().expect("a record without one is no document");
    let filter = match &write.filter {
        Some(template) => rendered_filter(template, parts)?,
        None => found_by(document, handling)?,
    };
    let Some(template) = &write.update else { return Ok(Action::Write(filter, Kind::Delete)) };
    let update = Update {
        update: template.render(parts).map_err(shape::Error::Template)?,
        is_pipeline: template.is_pipeline(),
        is_ordered: true,
        missing: if write.upsert { MissingDocument::Upsert } else { MissingDocument::Skip },
    };
    Ok(Action::Write(filter, Kind::Update(update)))
}

/// What a template finds; it must name something.
fn rendered_filter(template: &Template, parts: &Parts<'_>) -> Result<Filter, Error> {
    let filter = template.render(parts).map_err(shape::Error::Template)?;
    if Document::new(&filter).is_ok_and(Document::is_empty) {
        return Err(Error::NoFilter);
    }
    Ok(Filter::Fields(filter))
}

/// Whether a condition of this value would be read as something else than equality.
fn is_misread(element: Element<'_>) -> bool {
    element.kind == kind::REGEX || element.looks_like_operators()
}
