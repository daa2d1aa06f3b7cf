//! Events about collections → commands that do the same to their targets. All but [`run`] is pure.
//!
//! A command may be run again after a crash: what it finds done already is fine. That is safe as long as nothing that
//! came after it is written before its offset is: who runs commands puts a barrier there.

use std::sync::Arc;

use bson::{RawDocument, RawDocumentBuf};
use mongodb::{Client, error::ErrorKind};

use super::{event, plan::Skip, route, verdict};
use crate::{
    mongo,
    namespace::Namespace,
    raw::{Document, Element, Error as RawError, Writer, kind},
    retry::Failure,
};

const NAMESPACE_NOT_FOUND: i32 = 26;
const INDEX_NOT_FOUND: i32 = 27;
const NAMESPACE_EXISTS: i32 = 48;

/// A command that does to a target what an event says was done to its source.
#[derive(Clone, Debug)]
pub struct Ddl {
    /// The collection that is changed, by the name that it has before.
    pub namespace: Arc<Namespace>,
    /// The event's operation.
    pub operation: &'static str,
    /// The database that runs the command.
    pub db: String,
    /// The command.
    pub command: RawDocumentBuf,
    /// Codes that say that there is nothing left to do.
    pub fine_codes: &'static [i32],
}

/// What an event about a collection does.
#[derive(Debug)]
pub enum Read {
    /// This.
    Command(Ddl),
    /// Nothing.
    Skip(Skip),
}

/// Why such an event cannot be applied. Never quotes contents.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It lacks something.
    #[error("not an event that can be applied: {0}")]
    Shape(&'static str),
    /// Damaged bytes.
    #[error("the event is unreadable: {0}")]
    Malformed(RawError),
    /// A namespace in it has no target.
    #[error(transparent)]
    Route(#[from] route::Error),
}

impl From<RawError> for Error {
    fn from(error: RawError) -> Self {
        Self::Malformed(error)
    }
}

/// What `event` does; `None` if it is not about a collection. `target` yields where the records of a database and
/// collection go, and is asked about every namespace that is touched.
///
/// # Errors
/// When it lacks what its operation needs, or touches what the sink must not.
pub fn read(
    event: Document<'_>,
    mut target: impl FnMut(&str, &str) -> Result<Arc<Namespace>, route::Error>,
) -> Result<Option<Read>, Error> {
    let operation = event.get("operationType")?.and_then(Element::as_str);
    let Some(operation) = operation.and_then(event::other_operation) else { return Ok(None) };
    let fine_codes: &[i32] = match operation {
        "create" => &[NAMESPACE_EXISTS],
        "createIndexes" => &[],
        "drop" | "rename" | "modify" => &[NAMESPACE_NOT_FOUND],
        "dropIndexes" => &[NAMESPACE_NOT_FOUND, INDEX_NOT_FOUND],
        // The drops of its collections came before a database's; the rest is about how a cluster keeps its data.
        _ => return Ok(Some(Read::Skip(Skip::Operation(operation)))),
    };
    let description = document(event, "operationDescription")?;
    if operation == "create" && is_view(event, description)? {
        return Ok(Some(Read::Skip(Skip::Operation("create (of a view)"))));
    }
    let (db, coll) = names(event, "ns")?.ok_or(Error::Shape("no ns.db and ns.coll texts"))?;
    let namespace = target(db, coll)?;
    let needed =
        description.ok_or(Error::Shape("no operationDescription; the source has to show expanded events"));
    let mut db = namespace.db.clone();
    let mut writer = Writer::new(Vec::new());
    writer.begin();
    let name = namespace.coll.as_bytes();
    match operation {
        "drop" => writer.string(b"drop", name),
        "create" => {
            writer.string(b"create", name);
            options(&mut writer, description.unwrap_or(Document::EMPTY))?;
        }
        "modify" => {
            writer.string(b"collMod", name);
            options(&mut writer, needed?)?;
        }
        "createIndexes" => {
            writer.string(b"createIndexes", name);
            writer.begin_array(b"indexes");
            for (position, index) in indexes(needed?)?.into_iter().enumerate() {
                writer.document(itoa::Buffer::new().format(position).as_bytes(), index);
            }
            writer.end();
        }
        "dropIndexes" => {
            writer.string(b"dropIndexes", name);
            writer.begin_array(b"index");
            for (position, index) in indexes(needed?)?.into_iter().enumerate() {
                let name = index.get("name")?.and_then(Element::as_text);
                let name = name.ok_or(Error::Shape("an index without a name"))?;
                writer.string(itoa::Buffer::new().format(position).as_bytes(), name);
            }
            writer.end();
        }
        _ => {
            let to = match description.map(|description| names(description, "to")).transpose()?.flatten() {
                Some(to) => to,
                None => names(event, "to")?.ok_or(Error::Shape("no database and collection in to"))?,
            };
            let to = target(to.0, to.1)?;
            writer.string(b"renameCollection", namespace.to_string().as_bytes());
            writer.string(b"to", to.to_string().as_bytes());
            let dropped = description.map(|description| description.get("dropTarget")).transpose()?.flatten();
            writer.boolean(
                b"dropTarget",
                dropped.is_some_and(|dropped| dropped.as_bool() != Some(false) && dropped.kind != kind::NULL),
            );
            "admin".clone_into(&mut db);
        }
    }
    writer.end();
    let command = RawDocumentBuf::from_bytes(writer.into_bytes()).expect("the writer made this document");
    Ok(Some(Read::Command(Ddl { namespace, operation, db, command, fine_codes })))
}

/// The options of a collection. Its index on `_id` and its UUID are the server's business.
fn options(writer: &mut Writer, description: Document<'_>) -> Result<(), Error> {
    for option in description.elements() {
        let option = option?;
        if !matches!(option.name, b"idIndex" | b"uuid") {
            writer.value(option.name, option.kind, option.value);
        }
    }
    Ok(())
}

/// A view reads collections whose targets may be anywhere, so views are not made.
fn is_view(event: Document<'_>, description: Option<Document<'_>>) -> Result<bool, Error> {
    let is_named = event.get("nsType")?.and_then(Element::as_str) == Some("view");
    let has_source =
        description.map(|description| description.get("viewOn")).transpose()?.flatten().is_some();
    Ok(is_named || has_source)
}

fn indexes(description: Document<'_>) -> Result<Vec<Document<'_>>, Error> {
    const WRONG: Error = Error::Shape("no indexes in operationDescription");
    let array = description.get("indexes")?.filter(|element| element.kind == kind::ARRAY).ok_or(WRONG)?;
    let indexes = array.as_document().unwrap_or(Document::EMPTY).elements();
    let indexes: Vec<_> =
        indexes.map(|index| index?.as_document().ok_or(WRONG)).collect::<Result<_, Error>>()?;
    if indexes.is_empty() { Err(WRONG) } else { Ok(indexes) }
}

fn document<'a>(event: Document<'a>, name: &str) -> Result<Option<Document<'a>>, Error> {
    Ok(event.get(name)?.filter(|element| element.kind == kind::DOCUMENT).and_then(Element::as_document))
}

fn names<'a>(event: Document<'a>, name: &str) -> Result<Option<(&'a str, &'a str)>, Error> {
    let Some(ns) = document(event, name)? else { return Ok(None) };
    let text = |name| Ok::<_, Error>(ns.get(name)?.and_then(Element::as_str));
    Ok(text("db")?.zip(text("coll")?))
}

/// Runs a command. Done again, it changes nothing.
///
/// # Errors
/// When the server refuses it, or cannot be reached.
pub async fn run(client: &Client, ddl: &Ddl) -> Result<(), Failure> {
    let Ddl { namespace, operation, .. } = ddl;
    let what = || format!("cannot apply the event {operation} to {namespace}");
    let command: &RawDocument = &ddl.command;
    match client.database(&ddl.db).run_raw_command(command.to_owned()).await {
        Ok(_) => Ok(()),
        Err(error) => match *error.kind {
            ErrorKind::Command(ref refused) if ddl.fine_codes.contains(&refused.code) => {
                tracing::debug!(%namespace, operation, code = refused.code, "there was nothing left to do");
                Ok(())
            }
            ErrorKind::Command(ref refused) if !verdict::is_transient(refused.code) => {
                let failure = mongo::failure(&what(), &error);
                Err(Failure::stop(failure.message))
            }
            _ => Err(mongo::failure(&what(), &error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use bson::{Bson, doc};

    use super::*;

    fn applied(event: &bson::Document) -> Result<Option<Read>, Error> {
        let bytes = event.to_vec().expect("writable");
        read(Document::new(&bytes).expect("sound"), |db, coll| match db {
            "secret" => Err(route::Error::NotAllowed(Namespace { db: db.into(), coll: coll.into() })),
            _ => Ok(Arc::new(Namespace { db: "copy".into(), coll: format!("{db}_{coll}") })),
        })
    }

    #[test]
    fn events_about_collections_become_commands_on_their_targets() {
        let ns = doc! { "db": "shop", "coll": "orders" };
        let index = doc! { "v": 2, "key": { "a": 1 }, "name": "a_1", "unique": true };
        for (operation, more, db, command) in [
            ("drop", doc! {}, "copy", doc! { "drop": "shop_orders" }),
            ("DROP", doc! {}, "copy", doc! { "drop": "shop_orders" }),
            (
                "create",
                doc! { "operationDescription": { "idIndex": { "v": 2 }, "capped": true, "size": 4096 } },
                "copy",
                doc! { "create": "shop_orders", "capped": true, "size": 4096 },
            ),
            (
                "modify",
                doc! { "operationDescription": { "validationLevel": "off" } },
                "copy",
                doc! { "collMod": "shop_orders", "validationLevel": "off" },
            ),
            (
                "createIndexes",
                doc! { "operationDescription": { "indexes": [index.clone()] } },
                "copy",
                doc! { "createIndexes": "shop_orders", "indexes": [index.clone()] },
            ),
            (
                "dropIndexes",
                doc! { "operationDescription": { "indexes": [index] } },
                "copy",
                doc! { "dropIndexes": "shop_orders", "index": ["a_1"] },
            ),
            (
                "rename",
                doc! { "to": { "db": "shop", "coll": "old" }, "operationDescription": { "dropTarget": "uuid" } },
                "admin",
                doc! { "renameCollection": "copy.shop_orders", "to": "copy.shop_old", "dropTarget": true },
            ),
        ] {
            let mut event = doc! { "operationType": operation, "ns": ns.clone() };
            event.extend(more);
            let Ok(Some(Read::Command(ddl))) = applied(&event) else { panic!("{event}") };
            assert_eq!(ddl.db, db, "{event}");
            let found = bson::Document::from_reader(ddl.command.as_bytes()).expect("sound");
            assert_eq!(found, command, "{event}");
        }
    }

    #[test]
    fn what_has_no_command_is_skipped_and_what_is_forbidden_refused() {
        for event in [
            doc! { "operationType": "dropDatabase", "ns": { "db": "shop" } },
            doc! { "operationType": "shardCollection", "ns": { "db": "shop", "coll": "c" } },
            doc! { "operationType": "create", "nsType": "view", "ns": { "db": "shop", "coll": "c" } },
        ] {
            assert!(matches!(applied(&event), Ok(Some(Read::Skip(_)))), "{event}");
        }
        for event in [
            doc! { "operationType": "drop", "ns": { "db": "secret", "coll": "c" } },
            doc! {
                "operationType": "rename", "ns": { "db": "shop", "coll": "c" }, "to": { "db": "secret", "coll": "c" },
            },
        ] {
            assert!(matches!(applied(&event), Err(Error::Route(_))), "{event}");
        }
        for event in [
            doc! { "operationType": "drop", "ns": { "db": "shop" } },
            doc! { "operationType": "rename", "ns": { "db": "shop", "coll": "c" } },
            doc! { "operationType": "modify", "ns": { "db": "shop", "coll": "c" } },
            doc! { "operationType": "createIndexes", "ns": { "db": "shop", "coll": "c" },
            "operationDescription": { "indexes": Bson::Null } },
        ] {
            assert!(matches!(applied(&event), Err(Error::Shape(_))), "{event}");
        }
        assert!(matches!(applied(&doc! { "operationType": "insert" }), Ok(None)));
    }
}
