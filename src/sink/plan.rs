//! Change → the write that brings a document there. Pure.
//!
//! Full states are written by `_id` as upserts, so that a replay converges; deltas and deletes never create anything.

use std::sync::Arc;

use super::{
    decode::{Body, Change, Event, Operation},
    delta::{self, Stages},
    identify::{self, FoldKey, Id},
};
use crate::{
    namespace::Namespace,
    raw::{Document, Error as RawError, Writer, kind},
};

/// One write to one document.
#[derive(Debug)]
pub struct Write {
    /// The collection.
    pub namespace: Arc<Namespace>,
    /// The document.
    pub id: Id,
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
    /// This is its state, and only a pipeline can write it (see `needs_literal`).
    Literal(Body),
    /// Its state changes by these stages, if it is there.
    Delta(Stages),
    /// It is gone.
    Delete,
}

/// Why a change cannot be written. Never quotes contents.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No usable `_id`.
    #[error(transparent)]
    Id(#[from] identify::Error),
    /// `documentKey` and `fullDocument` speak of two documents.
    #[error("documentKey and fullDocument have different _ids")]
    TwoIds,
    /// An update that cannot be applied.
    #[error(transparent)]
    Delta(#[from] delta::Error),
    /// Damaged bytes.
    #[error("the document is unreadable: {0}")]
    Malformed(RawError),
}

/// The write for a change in `namespace`; none if the change changes nothing.
///
/// # Errors
/// When the change does not say enough.
pub fn plan(change: Change, namespace: Arc<Namespace>) -> Result<Option<Write>, Error> {
    let planned = match change {
        Change::Skipped(_) => None,
        Change::Event(event) => plan_event(event)?,
        Change::Document { key, body } => Some(plan_document(key, body)?),
        Change::Tombstone(key) => {
            let key = Document::new(&key).map_err(Error::Malformed)?;
            Some((Id::of(key, "key")?, Kind::Delete))
        }
    };
    let Some((id, kind)) = planned else { return Ok(None) };
    Ok(Some(Write { namespace, key: id.fold_key()?, id, kind }))
}

fn plan_event(event: Event) -> Result<Option<(Id, Kind)>, Error> {
    let key_id = event.document_key().map(|key| Id::of(key, "documentKey")).transpose()?;
    let operation = event.operation;
    if operation == Operation::Delete {
        return Ok(Some((key_id.ok_or(identify::Error::Missing("documentKey"))?, Kind::Delete)));
    }
    if let Some(full) = event.full_document() {
        let full_id =
            full.get("_id").map_err(Error::Malformed)?.map(|_| Id::of(full, "fullDocument")).transpose()?;
        let has_own_id = full_id.is_some();
        let id = agree(key_id, full_id)?;
        let body = event.into_full_document().expect("it was there a moment ago");
        let body = if has_own_id { body } else { with_id(&id, &body) };
        return Ok(Some(full_state(id, body, operation == Operation::Insert)?));
    }
    // With a null fullDocument the look-up came too late: a delete follows, and until then the delta is right.
    let Some(description) = event.update_description() else { return Ok(None) };
    let stages = delta::compile(description)?;
    if stages.is_empty() {
        return Ok(None);
    }
    Ok(Some((key_id.ok_or(identify::Error::Missing("documentKey"))?, Kind::Delta(stages))))
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

fn plan_document(key: Option<Vec<u8>>, body: Body) -> Result<(Id, Kind), Error> {
    if body.document().get("_id").map_err(Error::Malformed)?.is_some() {
        return full_state(Id::of(body.document(), "document")?, body, false);
    }
    let key = key.ok_or(identify::Error::Missing("document, and no key"))?;
    let id = Id::of(Document::new(&key).map_err(Error::Malformed)?, "document or the key")?;
    let body = with_id(&id, &body);
    full_state(id, body, false)
}

fn full_state(id: Id, body: Body, is_new: bool) -> Result<(Id, Kind), Error> {
    let kind = match needs_literal(body.document()).map_err(Error::Malformed)? {
        true => Kind::Literal(body),
        false if is_new => Kind::Insert(body),
        false => Kind::Replace(body),
    };
    Ok((id, kind))
}

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
fn needs_literal(document: Document<'_>) -> Result<bool, RawError> {
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

#[cfg(test)]
mod tests {
    use bson::{Bson, doc};

    use super::{
        super::{
            decode::{self, Record},
            progress::{Partition, Place},
        },
        *,
    };
    use crate::config::{Format, ValueShape};

    fn planned(
        shape: ValueShape,
        key: Option<bson::Document>,
        value: Option<bson::Document>,
    ) -> Result<Option<Write>, Error> {
        let bytes = |document: bson::Document| document.to_vec().expect("writable");
        let place = Place { partition: Partition { topic: "t".into(), number: 0 }, offset: 0 };
        let record = Record { place, key: key.map(bytes), value: value.map(bytes) };
        let change = decode::decode(record, shape, Format::Bson).expect("readable");
        plan(change, Arc::new(Namespace { db: "d".into(), coll: "c".into() }))
    }

    fn event(operation: &str, rest: bson::Document) -> Result<Option<Write>, Error> {
        let mut event = doc! { "operationType": operation, "ns": { "db": "d", "coll": "c" } };
        event.extend(rest);
        planned(ValueShape::Event, None, Some(event))
    }

    fn described(write: Result<Option<Write>, Error>) -> String {
        let body =
            |body: &Body| bson::Document::from_reader(body.document().as_bytes()).expect("sound").to_string();
        match write {
            Err(error) => format!("error: {error}"),
            Ok(None) => "nothing".to_owned(),
            Ok(Some(write)) => match &write.kind {
                Kind::Insert(document) => format!("insert {}", body(document)),
                Kind::Replace(document) => format!("replace {}", body(document)),
                Kind::Literal(document) => format!("literal {}", body(document)),
                Kind::Delta(stages) => format!("delta of {}", stages.count()),
                Kind::Delete => "delete".to_owned(),
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
        assert_eq!(same.expect("fine").expect("a write").id.kind, kind::INT32);
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
