//! An event of Debezium's MongoDB connector → its write, in both of its shapes. Pure.
//!
//! Its documents are texts of extended JSON. An update has the document after it, or what changed (`updateDescription`),
//! or, from the time of the oplog, a `patch`. Whichever there is is taken.

use super::{
    super::{
        body::Body,
        decode::Input,
        delta,
        identify::{self, Filter, Id},
        shape::write_without_nulls,
    },
    Action, Error, Kind, Skip,
    columns::{document, text},
    full_state, nulls, with_id,
};
use crate::{
    config::Handling,
    json,
    raw::{Document, Element, Writer, kind},
};

/// What an event does.
///
/// # Errors
/// When it does not say enough.
pub fn plan(input: &Input<'_>, handling: &Handling) -> Result<Action, Error> {
    let Some(value) = &input.value else { return Ok(Action::Skip(Skip::Tombstone)) };
    let value = unwrapped(value.document())?;
    match text(value, "op")?.ok_or(Error::Debezium("no op text"))? {
        operation @ ("c" | "r") => {
            let after = read(value, "after")?.ok_or(Error::Debezium("no after"))?;
            state(after, operation == "c", None, handling)
        }
        "u" => update(input, value, handling),
        "d" => Ok(Action::Write(Filter::Id(key_id(input)?), Kind::Delete)),
        _ => Err(Error::Debezium("an op that this version does not know")),
    }
}

/// What is inside of an envelope of schema and payload. Nothing is lost: all that matters here is text.
pub(super) fn unwrapped(value: Document<'_>) -> Result<Document<'_>, Error> {
    Ok(match document(value, "payload")? {
        Some(payload) if value.get("schema").map_err(Error::Malformed)?.is_some() => payload,
        _ => value,
    })
}

fn state(after: Body, is_new: bool, id: Option<Id>, handling: &Handling) -> Result<Action, Error> {
    let after = nulls::without(after, handling.remove_nulls)?;
    match (id, after.document().get("_id").map_err(Error::Malformed)?) {
        (Some(id), None) => {
            let after = with_id(&id, &after);
            full_state(id, after, is_new)
        }
        _ => full_state(Id::of(after.document(), "after")?, after, is_new),
    }
}

fn update(input: &Input<'_>, value: Document<'_>, handling: &Handling) -> Result<Action, Error> {
    if let Some(patch) = read(value, "patch")? {
        return patched(input, patch.document(), handling);
    }
    if let Some(after) = read(value, "after")? {
        return state(after, false, None, handling);
    }
    let description = document(value, "updateDescription")?
        .ok_or(Error::Debezium("an update with neither patch nor after nor updateDescription"))?;
    let updated = read(description, "updatedFields")?;
    let updated = updated.as_ref().map_or(Document::EMPTY, Body::document);
    changed(input, updated, handling, |writer| {
        let mut has_removed = false;
        for member in description.elements() {
            let member = member.map_err(Error::Malformed)?;
            match (member.name, member.kind) {
                (b"updatedFields", _) | (_, kind::NULL) => {}
                (b"truncatedArrays", kind::ARRAY) => truncated(writer, member)?,
                (name, _) => {
                    has_removed |= name == b"removedFields";
                    writer.value(name, member.kind, member.value);
                }
            }
        }
        if !has_removed {
            writer.begin_array(b"removedFields");
            writer.end();
        }
        Ok(())
    })
}

/// Debezium says `size` where the server says `newSize`.
fn truncated(writer: &mut Writer, arrays: Element<'_>) -> Result<(), Error> {
    writer.begin_array(b"truncatedArrays");
    for item in arrays.as_document().unwrap_or(Document::EMPTY).elements() {
        let item = item.map_err(Error::Malformed)?;
        writer.begin_document(item.name);
        for member in item.as_document().unwrap_or(Document::EMPTY).elements() {
            let member = member.map_err(Error::Malformed)?;
            let name = if member.name == b"size" { b"newSize" } else { member.name };
            writer.value(name, member.kind, member.value);
        }
        writer.end();
    }
    writer.end();
    Ok(())
}

/// A patch of the oplog: the whole document, or `$set` and `$unset`.
fn patched(input: &Input<'_>, patch: Document<'_>, handling: &Handling) -> Result<Action, Error> {
    let mut document = Writer::new(Vec::with_capacity(patch.as_bytes().len()));
    let (mut has_operators, mut has_fields) = (false, false);
    let (mut set, mut unset) = (Document::EMPTY, Document::EMPTY);
    document.begin();
    for member in patch.elements() {
        let member = member.map_err(Error::Malformed)?;
        let inner = member.as_document().filter(|_| member.kind == kind::DOCUMENT);
        match (member.name, inner) {
            (b"$v", _) => {}
            (b"$set", Some(fields)) => (set, has_operators) = (fields, true),
            (b"$unset", Some(fields)) => (unset, has_operators) = (fields, true),
            ([b'$', ..] | b"diff", _) => {
                return Err(Error::Debezium("a patch with something else than $set and $unset"));
            }
            _ => {
                has_fields = true;
                document.value(member.name, member.kind, member.value);
            }
        }
    }
    document.end();
    match (has_operators, has_fields) {
        (true, true) => Err(Error::Debezium("a patch that is neither a document nor an update")),
        (false, false) => Ok(Action::Skip(Skip::Unchanged)),
        (false, true) => {
            let document = Body::whole(document.into_bytes());
            let has_id = document.document().get("_id").map_err(Error::Malformed)?.is_some();
            let id = if has_id { None } else { Some(key_id(input)?) };
            state(document, false, id, handling)
        }
        (true, false) => changed(input, set, handling, |writer| {
            writer.begin_array(b"removedFields");
            for (index, member) in unset.elements().enumerate() {
                let member = member.map_err(Error::Malformed)?;
                writer.string(itoa::Buffer::new().format(index).as_bytes(), member.name);
            }
            writer.end();
            Ok(())
        }),
    }
}

/// An update that sets these fields; `rest` writes the other members of its description.
fn changed(
    input: &Input<'_>,
    updated: Document<'_>,
    handling: &Handling,
    rest: impl FnOnce(&mut Writer) -> Result<(), Error>,
) -> Result<Action, Error> {
    let mut writer = Writer::new(Vec::with_capacity(updated.as_bytes().len() + 64));
    writer.begin();
    writer.begin_document(b"updatedFields");
    if handling.remove_nulls {
        write_without_nulls(updated, &mut writer).map_err(Error::Malformed)?;
    } else {
        for field in updated.elements() {
            let field = field.map_err(Error::Malformed)?;
            writer.value(field.name, field.kind, field.value);
        }
    }
    writer.end();
    rest(&mut writer)?;
    writer.end();
    let description = Body::whole(writer.into_bytes());
    let stages = delta::compile(description.document())?;
    if stages.is_empty() {
        return Ok(Action::Skip(Skip::Unchanged));
    }
    let kind = Kind::Delta { stages, missing: handling.missing_document };
    Ok(Action::Write(Filter::Id(key_id(input)?), kind))
}

/// The document that is the text of this member; none if it is null or missing.
fn read(value: Document<'_>, name: &'static str) -> Result<Option<Body>, Error> {
    let Some(element) = value.get(name).map_err(Error::Malformed)? else { return Ok(None) };
    match (element.kind, element.as_text()) {
        (kind::NULL, _) => Ok(None),
        (kind::STRING, Some(text)) => {
            let mut document = Vec::with_capacity(text.len());
            json::read_document(text, &mut document)
                .map_err(|error| Error::DebeziumText { name, reason: error.to_string() })?;
            Ok(Some(Body::whole(document)))
        }
        _ => Err(Error::Debezium("a document that is not the text of one")),
    }
}

/// The `_id` whose text the key has.
fn key_id(input: &Input<'_>) -> Result<Id, Error> {
    let key = unwrapped(input.key()?.ok_or(Error::Debezium("no key"))?)?;
    let text = text(key, "id")?.ok_or(Error::Debezium("no id text in the key"))?;
    let mut document = Vec::with_capacity(text.len() + 16);
    json::read_document(format!("{{\"_id\": {text}}}").as_bytes(), &mut document)
        .map_err(|_| Error::Debezium("an id in the key that is no JSON"))?;
    let document = Document::new(&document).map_err(Error::Malformed)?;
    match document.elements().count() {
        1 => Ok(Id::of(document, "key")?),
        _ => Err(identify::Error::Missing("key").into()),
    }
}
