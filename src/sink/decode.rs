//! Record → what happened. Pure.
//!
//! Takes a record's bytes as they came and yields raw BSON that is sound to its last element, so that no later stage
//! and no server meets a damaged document. A record that cannot be read is an [`Error`] that never quotes contents.

use std::ops::Range;

use super::progress::Place;
use crate::{
    config::{Format, ValueShape},
    json,
    raw::{self, Document, Element, kind},
};

/// Documents nested deeper are refused: the server takes no more, and walking them must not exhaust the stack.
const MAX_DEPTH: usize = 180;

/// A record as it came from Kafka.
#[derive(Clone, Debug)]
pub struct Record {
    /// Where it stands.
    pub place: Place,
    /// Its key's bytes.
    pub key: Option<Vec<u8>>,
    /// Its value's bytes; none is a tombstone.
    pub value: Option<Vec<u8>>,
}

/// What a record says.
#[derive(Debug)]
pub enum Change {
    /// A change event about one document.
    Event(Event),
    /// A document's new state.
    Document {
        /// The record's key, where it is needed because the document has no `_id`.
        key: Option<Vec<u8>>,
        /// The document.
        body: Body,
    },
    /// The document with this key is gone. The bytes are the key document.
    Tombstone(Vec<u8>),
    /// Nothing that this sink writes.
    Skipped(Skip),
}

/// Why a record writes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Skip {
    /// An event about a collection, a database or the stream: the operation's name.
    Operation(&'static str),
    /// An event of an operation that this version does not know. Those of documents are known since change streams
    /// are; what servers have added since is about collections.
    UnknownOperation,
    /// A record without a value in a topic of events.
    Tombstone,
}

/// A change event. The ranges point into `bytes`.
#[derive(Debug)]
pub struct Event {
    bytes: Vec<u8>,
    /// What was done.
    pub operation: Operation,
    db: Range<usize>,
    coll: Range<usize>,
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

/// A document that owns the buffer in which it stands.
#[derive(Clone, Debug)]
pub struct Body {
    bytes: Vec<u8>,
    range: Range<usize>,
}

/// Why a record cannot be read. Never quotes contents.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The value is not JSON.
    #[error("the value is not readable as JSON: {0}")]
    ValueJson(String),
    /// The value is not BSON.
    #[error("the value is not readable as BSON: {0}")]
    ValueBson(raw::Error),
    /// The key is neither.
    #[error("the key is not readable as a document: {0}")]
    Key(String),
    /// A tombstone needs a key.
    #[error("a record without a value needs a key")]
    NoKey,
    /// Not a change event.
    #[error("not a change event: {0}")]
    NotAnEvent(&'static str),
}

/// Reads one record.
///
/// # Errors
/// When the bytes are not what shape and format promise.
pub fn decode(record: Record, shape: ValueShape, format: Format) -> Result<Change, Error> {
    let Some(value) = record.value else {
        return match shape {
            ValueShape::Event => Ok(Change::Skipped(Skip::Tombstone)),
            ValueShape::Document => Ok(Change::Tombstone(read_key(record.key.ok_or(Error::NoKey)?, format)?)),
        };
    };
    let bytes = read_value(value, format)?;
    match shape {
        ValueShape::Event => read_event(bytes),
        ValueShape::Document => {
            let has_id = document_at(&bytes, 0..bytes.len()).get("_id").map_err(Error::ValueBson)?.is_some();
            let key = match record.key {
                Some(key) if !has_id => Some(read_key(key, format)?),
                _ => None,
            };
            Ok(Change::Document { key, body: Body::whole(bytes) })
        }
    }
}

fn read_value(value: Vec<u8>, format: Format) -> Result<Vec<u8>, Error> {
    match format {
        Format::Bson => {
            check(&value).map_err(Error::ValueBson)?;
            Ok(value)
        }
        Format::Json => {
            let mut bytes = Vec::with_capacity(value.len());
            json::read_document(&value, &mut bytes).map_err(|error| Error::ValueJson(error.to_string()))?;
            Ok(bytes)
        }
    }
}

fn read_key(key: Vec<u8>, format: Format) -> Result<Vec<u8>, Error> {
    read_value(key, format).map_err(|error| match error {
        Error::ValueJson(reason) => Error::Key(reason),
        Error::ValueBson(reason) => Error::Key(reason.to_string()),
        other => other,
    })
}

/// Walks the whole of a document that came from outside.
fn check(bytes: &[u8]) -> Result<(), raw::Error> {
    fn walk(document: Document<'_>, depth: usize) -> Result<(), raw::Error> {
        if depth > MAX_DEPTH {
            return Err(raw::Error { at: 0, what: "nested too deeply" });
        }
        for element in document.elements() {
            let element = element?;
            if let Some(inner) = element.as_document() {
                walk(inner, depth + 1)?;
            } else if element.kind == kind::CODE_WITH_SCOPE {
                walk(scope(element)?, depth + 1)?;
            }
        }
        Ok(())
    }
    walk(Document::new(bytes)?, 1)
}

/// The scope document of a code-with-scope value: total length, code as a string, document.
fn scope(element: Element<'_>) -> Result<Document<'_>, raw::Error> {
    let damaged = raw::Error { at: 0, what: "code with scope does not fit" };
    let length = element.value.get(4..8).and_then(|bytes| Some(i32::from_le_bytes(bytes.try_into().ok()?)));
    let start = length.and_then(|length| usize::try_from(length).ok()).ok_or(damaged)?.saturating_add(8);
    Document::new(element.value.get(start..).ok_or(damaged)?)
}

fn read_event(bytes: Vec<u8>) -> Result<Change, Error> {
    let mut fields = Fields::default();
    for element in document_at(&bytes, 0..bytes.len()).elements() {
        fields.take(element.map_err(Error::ValueBson)?, &bytes);
    }
    let operation = match operation(fields.operation.ok_or(Error::NotAnEvent("no operationType text"))?) {
        Kind::Document(operation) => operation,
        Kind::Other(name) => return Ok(Change::Skipped(Skip::Operation(name))),
        Kind::Unknown => return Ok(Change::Skipped(Skip::UnknownOperation)),
    };
    let ns = fields.ns.ok_or(Error::NotAnEvent("no ns document"))?;
    let part = |name: &str, missing: &'static str| match ns.get(name) {
        Ok(Some(element)) if element.as_str().is_some() && element.kind == kind::STRING => {
            let range = range_in(&bytes, element.value);
            Ok(range.start + 4..range.end - 1)
        }
        Ok(_) => Err(Error::NotAnEvent(missing)),
        Err(error) => Err(Error::ValueBson(error)),
    };
    let (db, coll) = (part("db", "no ns.db text")?, part("coll", "no ns.coll text")?);
    let (document_key, full_document, update) = (fields.document_key, fields.full_document, fields.update);
    let event = Event { db, coll, document_key, full_document, update, operation, bytes };
    event.check()?;
    Ok(Change::Event(event))
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

fn operation(name: &str) -> Kind {
    match name {
        "insert" => Kind::Document(Operation::Insert),
        "update" => Kind::Document(Operation::Update),
        "replace" => Kind::Document(Operation::Replace),
        "delete" => Kind::Document(Operation::Delete),
        _ => OTHER_OPERATIONS
            .iter()
            .find(|other| **other == name)
            .map_or(Kind::Unknown, |other| Kind::Other(other)),
    }
}

impl Change {
    /// The database and collection that an event names.
    pub fn namespace(&self) -> Option<(&str, &str)> {
        match self {
            Self::Event(event) => Some(event.namespace()),
            Self::Document { .. } | Self::Tombstone(_) | Self::Skipped(_) => None,
        }
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

    /// The database and collection in which it happened.
    pub fn namespace(&self) -> (&str, &str) {
        let text = |range: &Range<usize>| {
            std::str::from_utf8(&self.bytes[range.clone()]).expect("ns was text when the event was read")
        };
        (text(&self.db), text(&self.coll))
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

    /// `fullDocument` with the event's buffer.
    pub fn into_full_document(self) -> Option<Body> {
        match self.full_document {
            FullDocument::There(range) => Some(Body { bytes: self.bytes, range }),
            FullDocument::Absent | FullDocument::Null => None,
        }
    }
}

impl Body {
    /// A document that fills its buffer. The bytes must be sound BSON.
    pub fn whole(bytes: Vec<u8>) -> Self {
        Self { range: 0..bytes.len(), bytes }
    }

    /// The document.
    pub fn document(&self) -> Document<'_> {
        document_at(&self.bytes, self.range.clone())
    }
}

fn document_at(bytes: &[u8], range: Range<usize>) -> Document<'_> {
    Document::new(&bytes[range]).expect("the range was taken from a checked document")
}

/// Where `part` stands in `whole`; it must have been borrowed from it.
fn range_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    debug_assert!(start + part.len() <= whole.len(), "the part was borrowed from the whole");
    start..start + part.len()
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::{super::progress::Partition, *};

    fn record(key: Option<Vec<u8>>, value: Option<Vec<u8>>) -> Record {
        let partition = Partition { topic: "t".into(), number: 0 };
        Record { place: Place { partition, offset: 3 }, key, value }
    }

    fn bytes(document: &bson::Document) -> Vec<u8> {
        document.to_vec().expect("writable")
    }

    fn event(document: &bson::Document) -> Result<Change, Error> {
        decode(record(None, Some(bytes(document))), ValueShape::Event, Format::Bson)
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
        let Ok(Change::Event(event)) = change else { panic!("{change:?}") };
        assert_eq!(event.operation, Operation::Insert);
        assert_eq!(event.namespace(), ("shop", "or.ders"));
        assert_eq!(event.document_key().map(Document::as_bytes), Some(&bytes(&doc! { "_id": 7 })[..]));
        assert_eq!(event.into_full_document().expect("there").document().as_bytes(), bytes(&full));
    }

    #[test]
    fn events_about_collections_are_skipped_by_name() {
        for name in OTHER_OPERATIONS {
            let change = event(&doc! { "operationType": *name, "ns": { "db": "shop" } });
            let Ok(Change::Skipped(skip)) = change else { panic!("{name}: {change:?}") };
            assert_eq!(skip, Skip::Operation(name));
        }
        let change = event(&doc! { "operationType": "somethingNew", "ns": { "db": "d", "coll": "c" } });
        let is_skipped = matches!(change, Ok(Change::Skipped(Skip::UnknownOperation)));
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
            doc! { "operationType": "insert", "ns": { "db": "d" }, "fullDocument": { "_id": 1 } },
            doc! { "operationType": "insert", "fullDocument": { "_id": 1 } },
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
    fn a_null_full_document_is_told_from_none() {
        let change = event(&doc! {
            "operationType": "update", "ns": { "db": "d", "coll": "c" },
            "documentKey": { "_id": 1 }, "fullDocument": bson::Bson::Null,
        });
        let Ok(Change::Event(event)) = change else { panic!("{change:?}") };
        assert!(event.full_document().is_none() && event.update_description().is_none());
    }

    #[test]
    fn tombstones_are_deletes_of_documents_and_nothing_for_events() {
        let key = bytes(&doc! { "_id": "k" });
        let events = decode(record(Some(key.clone()), None), ValueShape::Event, Format::Bson);
        assert!(matches!(events, Ok(Change::Skipped(Skip::Tombstone))), "{events:?}");
        let documents = decode(record(Some(key.clone()), None), ValueShape::Document, Format::Bson);
        assert!(matches!(&documents, Ok(Change::Tombstone(found)) if *found == key), "{documents:?}");
        let keyless = decode(record(None, None), ValueShape::Document, Format::Bson);
        assert_eq!(keyless.err(), Some(Error::NoKey));
    }

    #[test]
    fn a_key_is_read_only_where_the_document_has_no_id() {
        let unreadable = Some(b"plain text".to_vec());
        let with_id = decode(
            record(unreadable.clone(), Some(bytes(&doc! { "_id": 1 }))),
            ValueShape::Document,
            Format::Bson,
        );
        assert!(matches!(with_id, Ok(Change::Document { key: None, .. })), "{with_id:?}");
        let without =
            decode(record(unreadable, Some(bytes(&doc! { "a": 1 }))), ValueShape::Document, Format::Bson);
        assert!(matches!(without, Err(Error::Key(_))), "{without:?}");
    }

    #[test]
    fn json_events_become_the_same_bson() {
        let text =
            br#"{"operationType": "delete", "ns": {"db": "d", "coll": "c"}, "documentKey": {"_id": "x"}}"#;
        let change = decode(record(None, Some(text.to_vec())), ValueShape::Event, Format::Json);
        let Ok(Change::Event(event)) = change else { panic!("{change:?}") };
        assert_eq!(event.document_key().map(Document::as_bytes), Some(&bytes(&doc! { "_id": "x" })[..]));
        let torn =
            decode(record(None, Some(b"{\"operationType\":".to_vec())), ValueShape::Event, Format::Json);
        assert!(matches!(torn, Err(Error::ValueJson(_))), "{torn:?}");
    }

    #[test]
    fn damaged_bson_is_an_error_wherever_it_stands_and_never_a_panic() {
        let code = bson::Bson::JavaScriptCodeWithScope(bson::JavaScriptCodeWithScope {
            code: "f()".into(),
            scope: doc! { "x": 1 },
        });
        let sound = bytes(&doc! {
            "operationType": "update", "ns": { "db": "d", "coll": "c" }, "documentKey": { "_id": 1 },
            "updateDescription": { "updatedFields": { "a": [1, { "b": code }] }, "removedFields": ["x"] },
        });
        assert!(decode(record(None, Some(sound.clone())), ValueShape::Event, Format::Bson).is_ok());
        for at in 0..sound.len() {
            for value in [0, 1, 5, 0x0f, 0x7f, 0xff] {
                let mut damaged = sound.clone();
                damaged[at] = value;
                for shape in [ValueShape::Event, ValueShape::Document] {
                    if let Ok(Change::Event(event)) =
                        decode(record(None, Some(damaged.clone())), shape, Format::Bson)
                    {
                        assert!(!event.namespace().0.contains('\u{fffd}'));
                    }
                }
            }
        }
        let mut inner = sound.clone();
        let at = inner.windows(3).position(|window| window == b"f()").expect("the code is in there");
        inner[at - 4] = 0x7f;
        let change = decode(record(None, Some(inner)), ValueShape::Event, Format::Bson);
        assert!(matches!(change, Err(Error::ValueBson(_))), "{change:?}");
    }

    #[test]
    fn deep_nesting_is_an_error() {
        let mut deep = doc! { "x": 1 };
        for _ in 0..MAX_DEPTH {
            deep = doc! { "x": deep };
        }
        let change = decode(record(None, Some(bytes(&deep))), ValueShape::Document, Format::Bson);
        assert!(matches!(change, Err(Error::ValueBson(_))), "{change:?}");
    }
}
