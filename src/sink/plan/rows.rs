//! An event of one of Debezium's connectors for relational databases → its write. Pure.
//!
//! The `_id` is the document of the key columns, which are not repeated in the body.

use super::{
    super::decode::Input,
    Action, Error, Kind, Skip,
    columns::{self, document, text},
    debezium, full_state, nulls, with_id,
};
use crate::{config::Handling, raw::Document};

/// What an event does.
///
/// # Errors
/// When it does not say enough.
pub fn plan(input: &Input<'_>, handling: &Handling) -> Result<Action, Error> {
    let Some(value) = &input.value else { return Ok(Action::Skip(Skip::Tombstone)) };
    let value = value.document();
    let Some(operation) = text(value, "op")? else {
        // Changes of tables stand in a topic of their own, which a pattern of topics may well match.
        let is_ddl = text(value, "ddl")?.is_some() && value.get("op").map_err(Error::Malformed)?.is_none();
        return if is_ddl { Ok(Action::Skip(Skip::Operation("ddl"))) } else { Err(Error::Row("no op text")) };
    };
    let (before, after) = (document(value, "before")?, document(value, "after")?);
    match operation {
        "t" => Ok(Action::Skip(Skip::Operation("truncate"))),
        "m" => Ok(Action::Skip(Skip::Operation("message"))),
        "d" => {
            let key = columns::key(input.key()?);
            let filter = columns::filter(key, before, "a delete with neither a key nor a before image")?;
            Ok(Action::Write(filter, Kind::Delete))
        }
        "c" | "r" | "u" => {
            let after = after.ok_or(Error::Row("no after document"))?;
            let key = columns::key(input.key()?);
            let body = columns::rest(after, key.unwrap_or(Document::EMPTY))?;
            let body = nulls::without(body, handling.remove_nulls)?;
            if operation == "u" && key.is_none() {
                let missing = "an update with neither a key nor a before image";
                let filter = columns::filter(None, before, missing)?;
                columns::check_names(body.document())?;
                return Ok(Action::Write(filter, Kind::Replace(body)));
            }
            let id = key.map_or_else(|| columns::made_id(&input.record.place), columns::id_of);
            let body = with_id(&id, &body);
            full_state(id, body, operation == "c")
        }
        _ => Err(Error::Row("an op that this version does not know")),
    }
}

/// The database and the table or collection that an event of Debezium says it came from.
///
/// # Errors
/// When its bytes are damaged.
pub fn names(value: Document<'_>) -> Result<Option<(&str, &str)>, Error> {
    let Some(source) = document(debezium::unwrapped(value)?, "source")? else { return Ok(None) };
    let db = match text(source, "db")?.filter(|db| !db.is_empty()) {
        Some(db) => Some(db),
        None => text(source, "schema")?,
    };
    let table = match text(source, "table")? {
        Some(table) => Some(table),
        None => text(source, "collection")?,
    };
    Ok(db.zip(table))
}
