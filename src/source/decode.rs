//! Raw change event → [`Change`]. Pure.
//!
//! One pass over the event's top level picks what the later stages need; the rest stays bytes. Fields:
//! <https://www.mongodb.com/docs/manual/reference/change-events/>.

use crate::{
    config::ClusterTime,
    raw::{self, Document, Element, kind},
};

/// What the stages need to know of an event; borrows the server's reply.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The whole event.
    pub event: Document<'a>,
    /// `operationType`.
    pub operation: &'a str,
    /// `_id`: the resume token.
    pub token: Document<'a>,
    /// `clusterTime`; invalidate events of old servers lack it.
    pub time: Option<ClusterTime>,
    /// `ns.db`; absent in invalidate events.
    pub db: Option<&'a str>,
    /// `ns.coll`; absent in events of a whole database.
    pub coll: Option<&'a str>,
    /// `documentKey`; absent in events that are not of one document.
    pub document_key: Option<Document<'a>>,
    /// `fullDocument`, where it is there and not null.
    pub full_document: Option<Document<'a>>,
    /// Whether there is a `fullDocument` that is null: the document was looked up too late, or no image was kept.
    pub has_null_document: bool,
    /// `fullDocumentBeforeChange`, where it is there and not null.
    pub before_change: Option<Document<'a>>,
    /// Whether this is a row of a snapshot. Events of the stream are none: whoever makes an event of a row says so, and
    /// puts the time at which it was read into `time`.
    pub snapshot: bool,
}

/// Why an event could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are not BSON.
    #[error(transparent)]
    Malformed(#[from] raw::Error),
    /// A field that every event has is missing or has another type.
    #[error("the event has no usable `{0}`")]
    Missing(&'static str),
}

/// Reads one event.
///
/// # Errors
/// When it is not BSON or lacks `_id` or `operationType`.
pub fn decode(event: Document<'_>) -> Result<Change<'_>, Error> {
    let mut token = None;
    let mut operation = None;
    let mut change = Change {
        event,
        operation: "",
        token: Document::EMPTY,
        time: None,
        db: None,
        coll: None,
        document_key: None,
        full_document: None,
        has_null_document: false,
        before_change: None,
        snapshot: false,
    };
    for element in event.elements() {
        let element = element?;
        match element.name {
            b"_id" => token = embedded(element),
            b"operationType" => operation = element.as_str(),
            b"clusterTime" => change.time = element.as_timestamp(),
            b"documentKey" => change.document_key = embedded(element),
            b"fullDocument" => {
                change.full_document = embedded(element);
                change.has_null_document = element.kind == kind::NULL;
            }
            b"fullDocumentBeforeChange" => change.before_change = embedded(element),
            b"ns" => {
                let namespace = element.as_document().ok_or(Error::Missing("ns"))?;
                change.db = namespace.get("db")?.and_then(Element::as_str);
                change.coll = namespace.get("coll")?.and_then(Element::as_str);
            }
            _ => {}
        }
    }
    change.token = token.ok_or(Error::Missing("_id"))?;
    change.operation = operation.ok_or(Error::Missing("operationType"))?;
    Ok(change)
}

fn embedded(element: Element<'_>) -> Option<Document<'_>> {
    (element.kind == kind::DOCUMENT).then(|| element.as_document()).flatten()
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, doc};

    use super::*;

    fn raw(document: &bson::Document) -> Vec<u8> {
        RawDocumentBuf::try_from(document).expect("encodes").into_bytes()
    }

    #[test]
    fn an_event_gives_its_parts() {
        let bytes = raw(&doc! {
            "_id": {"_data": "82"}, "operationType": "update", "clusterTime": bson::Timestamp { time: 7, increment: 2 },
            "ns": {"db": "shop", "coll": "orders.eu"}, "documentKey": {"_id": 1}, "fullDocument": null,
        });
        let change = decode(Document::new(&bytes).expect("a document")).expect("an event");
        assert_eq!((change.operation, change.db, change.coll), ("update", Some("shop"), Some("orders.eu")));
        assert_eq!(change.time, Some(ClusterTime { seconds: 7, increment: 2 }));
        assert!(change.document_key.is_some() && change.full_document.is_none());
        assert!(change.has_null_document && change.before_change.is_none() && !change.snapshot);
    }

    #[test]
    fn an_event_of_a_whole_database_has_no_collection() {
        let bytes =
            raw(&doc! { "_id": {"_data": "82"}, "operationType": "dropDatabase", "ns": {"db": "shop"} });
        let change = decode(Document::new(&bytes).expect("a document")).expect("an event");
        assert_eq!((change.db, change.coll), (Some("shop"), None));
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let bytes = raw(&doc! { "_id": 1, "operationType": "insert" });
        let outcome = decode(Document::new(&bytes).expect("a document"));
        assert_eq!(outcome.err(), Some(Error::Missing("_id")));
    }
}
