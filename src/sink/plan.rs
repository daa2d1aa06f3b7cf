//! What a record says → the write that brings a document there. Pure; a module for each kind of value.
//!
//! Full states are written by `_id` as upserts, so that a replay converges; deltas and deletes never create anything
//! unless they are told to.

pub mod auto;
mod columns;
pub mod debezium;
pub mod document;
pub mod event;
mod nulls;
pub mod qlik;
pub mod rows;
pub mod rules;

#[cfg(test)]
mod change_tests;

use std::sync::Arc;

use super::{
    body::Body,
    decode,
    delta::{self, Stages},
    identify::{self, Filter, FoldKey, Id},
    shape,
};
use crate::{
    config::MissingDocument,
    namespace::Namespace,
    raw::{Document, Error as RawError, Writer, kind},
};

/// What becomes of a record, but for the collection.
#[derive(Debug)]
pub enum Action {
    /// This is done to what the filter finds.
    Write(Filter, Kind),
    /// Nothing.
    Skip(Skip),
}

/// Why a record writes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Skip {
    /// An event about a collection, a database or the stream: the operation's name.
    Operation(&'static str),
    /// An event of an operation that this version does not know. Those of documents are known since change streams
    /// are; what servers have added since is about collections.
    UnknownOperation,
    /// A record without a value that says nothing here.
    Tombstone,
    /// A rule of the transformations says so.
    Dropped,
    /// It changes nothing.
    Unchanged,
}

/// One write to one document.
#[derive(Debug)]
pub struct Write {
    /// The collection.
    pub namespace: Arc<Namespace>,
    /// What finds the document.
    pub filter: Filter,
    /// What the document folds by.
    pub key: FoldKey,
    /// What is done to it.
    pub kind: Kind,
}

/// What is done to a document.
#[derive(Debug)]
pub enum Kind {
    /// This is its state, and it was not there before (but may be, in a replay).
    Insert(Body),
    /// This is its state.
    Replace(Body),
    /// This is its state, and only a pipeline can write it (see [`needs_literal`]).
    Literal(Body),
    /// Its state changes by these stages.
    Delta {
        /// What changes it.
        stages: Stages,
        /// What if it is not there.
        missing: MissingDocument,
    },
    /// It is gone.
    Delete,
    /// It is inserted. One that is there already, and is not the same, is an error. Not folded.
    InsertOnly(Body),
    /// It is updated. Not folded: such writes go one after the other.
    Update(Update),
}

impl Kind {
    /// The document that is written as it is, if it is one.
    pub fn body_mut(&mut self) -> Option<&mut Body> {
        match self {
            Self::Insert(body) | Self::Replace(body) | Self::Literal(body) | Self::InsertOnly(body) => {
                Some(body)
            }
            Self::Delta { .. } | Self::Delete | Self::Update(_) => None,
        }
    }
}

/// An update in the server's own terms.
#[derive(Debug)]
pub struct Update {
    /// A document of operators, or the array of a pipeline's stages.
    pub update: Vec<u8>,
    /// Whether it is a pipeline.
    pub is_pipeline: bool,
    /// Whether it may touch anything, so that all writes to its collection keep their order.
    pub is_ordered: bool,
    /// What if the document is not there.
    pub missing: MissingDocument,
}

/// Why a change cannot be written. Never quotes contents.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No usable `_id`.
    #[error(transparent)]
    Id(#[from] identify::Error),
    /// The key cannot be read.
    #[error(transparent)]
    Decode(#[from] decode::Error),
    /// `documentKey` and `fullDocument` speak of two documents.
    #[error("documentKey and fullDocument have different _ids")]
    TwoIds,
    /// A tombstone needs a key.
    #[error("a record without a value needs a key")]
    NoKey,
    /// A tombstone where the settings allow none.
    #[error("a record without a value; on_tombstone says what to do with one")]
    Tombstone,
    /// No event of Debezium's MongoDB connector.
    #[error("not an event of Debezium's MongoDB connector: {0}")]
    Debezium(&'static str),
    /// A document in such an event that cannot be read.
    #[error("{name} is not readable as JSON: {reason}")]
    DebeziumText {
        /// The event's member.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// No event about a row.
    #[error("not an event about a row of a table: {0}")]
    Row(&'static str),
    /// An update where the transformations need the document.
    #[error("an update without the full document cannot be transformed; let the producer add the document")]
    Partial,
    /// An update that cannot be applied.
    #[error(transparent)]
    Delta(#[from] delta::Error),
    /// A document that cannot be put into shape.
    #[error(transparent)]
    Shape(#[from] shape::Error),
    /// What is written by its business key needs one.
    #[error(
        "the _id is no document with the fields of a business key; one that the value brings is kept unless id.overwrite is set"
    )]
    NoBusinessKey,
    /// A field whose name is an operator's.
    #[error(
        "the business key or the key has a field with $ in front, which a filter would take for an operator"
    )]
    OperatorInKey,
    /// A filter that would find any document.
    #[error("write.filter names nothing for this record, and would find any document")]
    NoFilter,
    /// Damaged bytes.
    #[error("the document is unreadable: {0}")]
    Malformed(RawError),
}

/// The write of a full state.
fn full_state(id: Id, body: Body, is_new: bool) -> Result<Action, Error> {
    let kind = match needs_literal(body.document()).map_err(Error::Malformed)? {
        true => Kind::Literal(body),
        false if is_new => Kind::Insert(body),
        false => Kind::Replace(body),
    };
    Ok(Action::Write(Filter::Id(id), kind))
}

/// `body` with this `_id` in front.
fn with_id(id: &Id, body: &Body) -> Body {
    let document = body.document().as_bytes();
    let mut writer = Writer::new(Vec::with_capacity(document.len() + id.value.len() + 5));
    writer.begin();
    writer.value(b"_id", id.kind, &id.value);
    writer.bytes_mut().extend_from_slice(&document[4..document.len() - 1]);
    writer.end();
    Body::whole(writer.into_bytes())
}

/// Whether insert and replace would refuse the document or rewrite it: a name with `$` in front at the top is taken
/// for an operator, and an empty timestamp at the top becomes the server's time.
pub fn needs_literal(document: Document<'_>) -> Result<bool, RawError> {
    if !has_byte_of_literal(document.as_bytes()) {
        return Ok(false);
    }
    for element in document.elements() {
        let element = element?;
        let is_empty_time =
            element.kind == kind::TIMESTAMP && element.value == [0; 8] && element.name != b"_id";
        if is_empty_time || element.name.first() == Some(&b'$') {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether there is a `$` or the kind of timestamps anywhere. Most documents have neither, and need not be walked.
fn has_byte_of_literal(bytes: &[u8]) -> bool {
    let is_one = |byte: u8| (byte == b'$') | (byte == kind::TIMESTAMP);
    // A block is looked through without branches, by the processor's wide registers.
    let (blocks, rest) = bytes.as_chunks::<32>();
    let has_one = |block: &[u8; 32]| block.iter().fold(false, |found, byte| found | is_one(*byte));
    blocks.iter().any(has_one) || rest.iter().any(|byte| is_one(*byte))
}

#[cfg(test)]
mod tests {
    use bson::{Bson, doc};

    use super::{
        super::{
            event, example,
            progress::{Partition, Place},
            record::{Record, Timestamp},
        },
        *,
    };
    use crate::config::{Handling, ValueShape};

    fn planned(
        shape: ValueShape,
        key: Option<bson::Document>,
        value: Option<bson::Document>,
    ) -> Result<Action, Error> {
        let bytes = |document: bson::Document| bytes::Bytes::from(document.to_vec().expect("writable"));
        let place = Place { partition: Partition { topic: "t".into(), number: 0 }, offset: 0 };
        let (key, value) = (key.map(bytes), value.map(bytes));
        let record = Record { place, timestamp: Timestamp::None, key, value, headers: Vec::new() };
        let handling = Handling { value: shape, ..example::handling() };
        let input = decode::decode(&record, &handling, Vec::new())?;
        match shape {
            ValueShape::Event => match event::read(input.value.expect("there is one")) {
                Ok(event::Read::Document(event)) => super::event::plan(event, &handling),
                other => panic!("{other:?}"),
            },
            _ => document::plan(input, &handling, || 0),
        }
    }

    fn event(operation: &str, rest: bson::Document) -> Result<Action, Error> {
        let mut event = doc! { "operationType": operation, "ns": { "db": "d", "coll": "c" } };
        event.extend(rest);
        planned(ValueShape::Event, None, Some(event))
    }

    fn described(action: Result<Action, Error>) -> String {
        let body =
            |body: &Body| bson::Document::from_reader(body.document().as_bytes()).expect("sound").to_string();
        match action {
            Err(error) => format!("error: {error}"),
            Ok(Action::Skip(_)) => "nothing".to_owned(),
            Ok(Action::Write(_, kind)) => match &kind {
                Kind::Insert(document) => format!("insert {}", body(document)),
                Kind::Replace(document) => format!("replace {}", body(document)),
                Kind::Literal(document) => format!("literal {}", body(document)),
                Kind::Delta { stages, .. } => format!("delta of {}", stages.count()),
                Kind::Delete => "delete".to_owned(),
                Kind::InsertOnly(document) => format!("insert only {}", body(document)),
                Kind::Update(_) => "update".to_owned(),
            },
        }
    }

    #[test]
    fn operations_become_writes() {
        let key = doc! { "_id": 1 };
        let full = doc! { "_id": 1, "a": 2 };
        let update = doc! { "updatedFields": { "a": 2 }, "removedFields": [] };
        let nothing = doc! { "updatedFields": {}, "removedFields": [] };
        for (operation, rest, expected) in [
            ("insert", doc! { "documentKey": &key, "fullDocument": &full }, r#"insert { "_id": 1, "a": 2 }"#),
            (
                "replace",
                doc! { "documentKey": &key, "fullDocument": &full },
                r#"replace { "_id": 1, "a": 2 }"#,
            ),
            (
                "update",
                doc! { "documentKey": &key, "fullDocument": &full },
                r#"replace { "_id": 1, "a": 2 }"#,
            ),
            ("update", doc! { "documentKey": &key, "updateDescription": &update }, "delta of 1"),
            (
                "update",
                doc! { "documentKey": &key, "updateDescription": &update, "fullDocument": Bson::Null },
                "delta of 1",
            ),
            ("update", doc! { "documentKey": &key, "fullDocument": Bson::Null }, "nothing"),
            ("update", doc! { "documentKey": &key, "updateDescription": &nothing }, "nothing"),
            ("delete", doc! { "documentKey": &key }, "delete"),
            ("insert", doc! { "fullDocument": &full }, r#"insert { "_id": 1, "a": 2 }"#),
            (
                "insert",
                doc! { "documentKey": &key, "fullDocument": { "a": 2 } },
                r#"insert { "_id": 1, "a": 2 }"#,
            ),
        ] {
            assert_eq!(described(event(operation, rest.clone())), expected, "{operation} {rest}");
        }
    }

    #[test]
    fn the_documents_own_id_is_written_and_must_be_the_keys() {
        let same = event("insert", doc! { "documentKey": { "_id": 1_i64 }, "fullDocument": { "_id": 1 } });
        let Ok(Action::Write(Filter::Id(id), _)) = same else { panic!("{same:?}") };
        assert_eq!(id.kind, kind::INT32);
        let other = event("insert", doc! { "documentKey": { "_id": 2 }, "fullDocument": { "_id": 1 } });
        assert_eq!(other.err(), Some(Error::TwoIds));
        assert!(event("insert", doc! { "fullDocument": { "a": 1 } }).is_err());
        assert!(event("delete", doc! { "documentKey": { "shard": 1 } }).is_err());
    }

    #[test]
    fn what_insert_and_replace_would_change_is_written_literally() {
        let zero = Bson::Timestamp(bson::Timestamp { time: 0, increment: 0 });
        for (full, expected) in [
            (doc! { "_id": 1, "$a": 1 }, "literal"),
            (doc! { "_id": 1, "t": zero.clone() }, "literal"),
            (doc! { "_id": 1, "long": "x".repeat(100), "$a": 1 }, "literal"),
            (doc! { "_id": 1, "long": "x".repeat(100), "t": zero.clone() }, "literal"),
            (doc! { "_id": 0x11, "text": "a $ and a \u{11}", "longer": "x".repeat(100) }, "insert"),
            (doc! { "_id": zero.clone() }, "insert"),
            (doc! { "_id": 1, "deep": { "t": zero, "$a": 1 } }, "insert"),
            (doc! { "_id": 1, "a$": 1, "b.c": 2, "": 3 }, "insert"),
        ] {
            let found = described(event("insert", doc! { "fullDocument": full.clone() }));
            assert!(found.starts_with(expected), "{full}: {found}");
        }
    }

    #[test]
    fn documents_take_their_id_from_themselves_or_from_the_key() {
        let document = |key, value| described(planned(ValueShape::Document, key, value));
        assert_eq!(document(None, Some(doc! { "a": 1, "_id": 2 })), r#"replace { "a": 1, "_id": 2 }"#);
        assert_eq!(
            document(Some(doc! { "_id": "k" }), Some(doc! { "a": 1 })),
            r#"replace { "_id": "k", "a": 1 }"#
        );
        assert_eq!(document(Some(doc! { "_id": "k" }), None), "delete");
        assert!(document(Some(doc! { "id": "k" }), None).starts_with("error"));
        assert!(document(None, Some(doc! { "a": 1 })).starts_with("error"));
    }
}
