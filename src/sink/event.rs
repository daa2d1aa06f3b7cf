//! A change event of MongoDB, taken apart. Pure.

use std::ops::Range;

use super::{
    body::{Body, document_at, range_in},
    plan::Skip,
};
use crate::raw::{self, Document, Element, kind};

/// A change event. The ranges point into `bytes`.
#[derive(Debug)]
pub struct Event {
    bytes: Vec<u8>,
    /// What was done.
    pub operation: Operation,
    namespace: Option<(Range<usize>, Range<usize>)>,
    document_key: Option<Range<usize>>,
    full_document: FullDocument,
    update: Option<Range<usize>>,
}

/// What an event says was done to its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It is new.
    Insert,
    /// It has a new state.
    Replace,
    /// Some of its fields changed.
    Update,
    /// It is gone.
    Delete,
}

#[derive(Debug)]
enum FullDocument {
    Absent,
    Null,
    There(Range<usize>),
}

/// Why a document is no change event. Never quotes contents.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Damaged bytes.
    #[error("the event is unreadable: {0}")]
    Malformed(raw::Error),
    /// It lacks something.
    #[error("not a change event: {0}")]
    NotAnEvent(&'static str),
}

/// What a document says that may be a change event.
#[derive(Debug)]
pub enum Read {
    /// A change of a document.
    Document(Event),
    /// Nothing about a document.
    Other(Skip),
}

/// Takes a checked document apart.
///
/// # Errors
/// When it is no change event, or lacks what its operation needs.
pub fn read(body: Body) -> Result<Read, Error> {
    let bytes = body.into_bytes();
    let mut fields = Fields::default();
    for element in document_at(&bytes, 0..bytes.len()).elements() {
        fields.take(element.map_err(Error::Malformed)?, &bytes);
    }
    let operation = match operation(fields.operation.ok_or(Error::NotAnEvent("no operationType text"))?) {
        Kind::Document(operation) => operation,
        Kind::Other(name) => return Ok(Read::Other(Skip::Operation(name))),
        Kind::Unknown => return Ok(Read::Other(Skip::UnknownOperation)),
    };
    let part = |name: &str| -> Result<Option<Range<usize>>, Error> {
        let Some(ns) = fields.ns else { return Ok(None) };
        let element = ns.get(name).map_err(Error::Malformed)?;
        let text = element.filter(|element| element.kind == kind::STRING && element.as_str().is_some());
        Ok(text.map(|element| range_in(&bytes, element.value)).map(|range| range.start + 4..range.end - 1))
    };
    let namespace = part("db")?.zip(part("coll")?);
    let (document_key, full_document, update) = (fields.document_key, fields.full_document, fields.update);
    let event = Event { namespace, document_key, full_document, update, operation, bytes };
    event.check()?;
    Ok(Read::Document(event))
}

/// The members of an event that a sink needs.
struct Fields<'a> {
    operation: Option<&'a str>,
    ns: Option<Document<'a>>,
    document_key: Option<Range<usize>>,
    full_document: FullDocument,
    update: Option<Range<usize>>,
}

impl Default for Fields<'_> {
    fn default() -> Self {
        Self {
            operation: None,
            ns: None,
            document_key: None,
            full_document: FullDocument::Absent,
            update: None,
        }
    }
}

impl<'a> Fields<'a> {
    fn take(&mut self, element: Element<'a>, bytes: &[u8]) {
        let document = || (element.kind == kind::DOCUMENT).then(|| range_in(bytes, element.value));
        match element.name {
            b"operationType" if element.kind == kind::STRING => self.operation = element.as_str(),
            b"ns" if element.kind == kind::DOCUMENT => self.ns = element.as_document(),
            b"documentKey" => self.document_key = document(),
            b"updateDescription" => self.update = document(),
            b"fullDocument" => {
                self.full_document = match document() {
                    Some(range) => FullDocument::There(range),
                    None if element.kind == kind::NULL => FullDocument::Null,
                    None => FullDocument::Absent,
                }
            }
            _ => {}
        }
    }
}

enum Kind {
    Document(Operation),
    Other(&'static str),
    Unknown,
}

/// Operations about something else than a document, as of MongoDB 8.
const OTHER_OPERATIONS: &[&str] = &[
    "drop",
    "rename",
    "dropDatabase",
    "invalidate",
    "create",
    "createIndexes",
    "dropIndexes",
    "startIndexBuild",
    "abortIndexBuild",
    "modify",
    "shardCollection",
    "refineCollectionShardKey",
    "reshardCollection",
    "reshardBegin",
    "reshardBlockingWrites",
    "reshardDoneCatchUp",
    "migrateChunkToNewShard",
    "migrateLastChunkFromShard",
    "endOfTransaction",
];

/// The name of an operation about something else than a document, as the server writes it.
pub(super) fn other_operation(name: &str) -> Option<&'static str> {
    OTHER_OPERATIONS.iter().copied().find(|known| known.eq_ignore_ascii_case(name))
}

fn operation(name: &str) -> Kind {
    const DOCUMENT_OPERATIONS: [(&str, Operation); 4] = [
        ("insert", Operation::Insert),
        ("update", Operation::Update),
        ("replace", Operation::Replace),
        ("delete", Operation::Delete),
    ];
    // In whatever letters: some who rewrite events on the way change them.
    let of_document = DOCUMENT_OPERATIONS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    match of_document {
        Some((_, operation)) => Kind::Document(*operation),
        None => other_operation(name).map_or(Kind::Unknown, Kind::Other),
    }
}

impl Event {
    /// An event must carry what its operation needs, or it would write something else than what happened.
    fn check(&self) -> Result<(), Error> {
        let is_full = matches!(self.full_document, FullDocument::There(_));
        match self.operation {
            Operation::Insert | Operation::Replace if !is_full => {
                Err(Error::NotAnEvent("an insert or replace without fullDocument"))
            }
            Operation::Delete if self.document_key.is_none() => {
                Err(Error::NotAnEvent("a delete without documentKey"))
            }
            Operation::Update if !is_full && self.document_key.is_none() => {
                Err(Error::NotAnEvent("an update without documentKey and fullDocument"))
            }
            Operation::Update
                if matches!(self.full_document, FullDocument::Absent) && self.update.is_none() =>
            {
                Err(Error::NotAnEvent("an update without updateDescription and fullDocument"))
            }
            _ => Ok(()),
        }
    }

    /// The whole event.
    pub fn document(&self) -> Document<'_> {
        document_at(&self.bytes, 0..self.bytes.len())
    }

    /// The database and collection in which it happened, if it names both.
    pub fn namespace(&self) -> Option<(&str, &str)> {
        let text = |range: &Range<usize>| {
            std::str::from_utf8(&self.bytes[range.clone()]).expect("ns was text when the event was read")
        };
        self.namespace.as_ref().map(|(db, coll)| (text(db), text(coll)))
    }

    /// `documentKey`, if there is one.
    pub fn document_key(&self) -> Option<Document<'_>> {
        self.document_key.clone().map(|range| document_at(&self.bytes, range))
    }

    /// `fullDocument`, if there is one and it is not null.
    pub fn full_document(&self) -> Option<Document<'_>> {
        match &self.full_document {
            FullDocument::There(range) => Some(document_at(&self.bytes, range.clone())),
            FullDocument::Absent | FullDocument::Null => None,
        }
    }

    /// `updateDescription`, if there is one.
    pub fn update_description(&self) -> Option<Document<'_>> {
        self.update.clone().map(|range| document_at(&self.bytes, range))
    }

    /// `fullDocument`, with the event's buffer.
    pub fn into_full_document(self) -> Option<Body> {
        match self.full_document {
            FullDocument::There(range) => Some(Body::part(self.bytes, range)),
            FullDocument::Absent | FullDocument::Null => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    fn bytes(document: &bson::Document) -> Vec<u8> {
        document.to_vec().expect("writable")
    }

    fn event(document: &bson::Document) -> Result<Read, Error> {
        read(Body::whole(bytes(document)))
    }

    #[test]
    fn an_insert_is_taken_apart() {
        let full = doc! { "_id": 7, "a": { "b": [1, 2] } };
        let change = event(&doc! {
            "_id": { "_data": "82" },
            "operationType": "insert",
            "ns": { "db": "shop", "coll": "or.ders" },
            "documentKey": { "_id": 7 },
            "fullDocument": full.clone(),
        });
        let Ok(Read::Document(event)) = change else { panic!("{change:?}") };
        assert_eq!(event.operation, Operation::Insert);
        assert_eq!(event.namespace(), Some(("shop", "or.ders")));
        assert_eq!(event.document_key().map(Document::as_bytes), Some(&bytes(&doc! { "_id": 7 })[..]));
        assert_eq!(event.into_full_document().expect("there").document().as_bytes(), bytes(&full));
    }

    #[test]
    fn events_about_collections_are_skipped_by_name() {
        for name in OTHER_OPERATIONS {
            let change = event(&doc! { "operationType": *name, "ns": { "db": "shop" } });
            let Ok(Read::Other(skip)) = change else { panic!("{name}: {change:?}") };
            assert_eq!(skip, Skip::Operation(name));
        }
        let change = event(&doc! { "operationType": "somethingNew", "ns": { "db": "d", "coll": "c" } });
        let is_skipped = matches!(change, Ok(Read::Other(Skip::UnknownOperation)));
        assert!(is_skipped, "{change:?}");
    }

    #[test]
    fn events_that_lack_what_they_need_are_errors() {
        let ns = doc! { "db": "d", "coll": "c" };
        for lacking in [
            doc! { "hello": 1 },
            doc! { "operationType": 5 },
            doc! { "operationType": "insert", "ns": ns.clone(), "documentKey": { "_id": 1 } },
            doc! { "operationType": "insert", "ns": ns.clone(), "fullDocument": bson::Bson::Null },
            doc! { "operationType": "delete", "ns": ns.clone() },
            doc! { "operationType": "delete", "ns": ns.clone(), "documentKey": 3 },
            doc! { "operationType": "update", "ns": ns.clone(), "documentKey": { "_id": 1 } },
            doc! { "operationType": "update", "ns": ns, "updateDescription": { "updatedFields": {} } },
        ] {
            let change = event(&lacking);
            assert!(change.is_err(), "{lacking}: {change:?}");
        }
    }

    #[test]
    fn operations_may_be_written_in_any_letters_and_without_a_namespace() {
        for ns in [doc! {}, doc! { "ns": { "db": "d" } }, doc! { "ns": 3 }] {
            let mut insert = doc! { "operationType": "INSERT", "fullDocument": { "_id": 1 } };
            insert.extend(ns);
            let Ok(Read::Document(event)) = event(&insert) else { panic!("{insert}") };
            assert_eq!((event.operation, event.namespace()), (Operation::Insert, None));
        }
        let change = event(&doc! { "operationType": "DropDatabase" });
        assert!(matches!(change, Ok(Read::Other(Skip::Operation("dropDatabase")))), "{change:?}");
    }

    #[test]
    fn a_null_full_document_is_told_from_none() {
        let change = event(&doc! {
            "operationType": "update", "ns": { "db": "d", "coll": "c" },
            "documentKey": { "_id": 1 }, "fullDocument": bson::Bson::Null,
        });
        let Ok(Read::Document(event)) = change else { panic!("{change:?}") };
        assert!(event.full_document().is_none() && event.update_description().is_none());
    }
}
