//! A copied document as the event that it is sent as. Pure.
//!
//! It has the form that the official connector's copy gives it: an insert whose `_id` says that it was copied. So every
//! later stage, and every consumer, treats it as an insert. Deletes that make up for lost history have the same form.

use crate::{
    namespace::Namespace,
    raw::{self, Document, Element, Writer},
};

/// Appends the event of a document of `namespace`: `{_id: {_id: …, copyingData: true}, operationType: "insert",
/// documentKey: {…}, fullDocument: …, ns: {db, coll}}`. `key` names the fields of a sharded collection's key.
///
/// # Errors
/// When the document is not sound BSON.
pub(in crate::source) fn write_row(
    namespace: &Namespace,
    key: &[String],
    document: Document<'_>,
    out: Vec<u8>,
) -> Result<Vec<u8>, raw::Error> {
    let id = document.get("_id")?;
    let mut writer = Writer::new(out);
    writer.begin();
    write_id(id, &mut writer);
    writer.string(b"operationType", b"insert");
    if let Some(id) = id {
        writer.begin_document(b"documentKey");
        for name in key.iter().filter(|name| *name != "_id") {
            if let Some(field) = document.find(name)? {
                writer.value(name.as_bytes(), field.kind, field.value);
            }
        }
        writer.value(b"_id", id.kind, id.value);
        writer.end();
    }
    writer.document(b"fullDocument", document);
    Ok(end(namespace, writer))
}

/// Appends the event of the delete of the document with this key, in the form of [`write_row`].
///
/// # Errors
/// When the key is not sound BSON.
pub(in crate::source) fn write_delete(
    namespace: &Namespace,
    key: Document<'_>,
    out: Vec<u8>,
) -> Result<Vec<u8>, raw::Error> {
    let mut writer = Writer::new(out);
    writer.begin();
    write_id(key.get("_id")?, &mut writer);
    writer.string(b"operationType", b"delete");
    writer.document(b"documentKey", key);
    Ok(end(namespace, writer))
}

/// What stands in the place of a resume token.
fn write_id(id: Option<Element<'_>>, writer: &mut Writer) {
    writer.begin_document(b"_id");
    if let Some(id) = id {
        writer.value(b"_id", id.kind, id.value);
    }
    writer.boolean(b"copyingData", true);
    writer.end();
}

fn end(namespace: &Namespace, mut writer: Writer) -> Vec<u8> {
    writer.begin_document(b"ns");
    writer.string(b"db", namespace.db.as_bytes());
    writer.string(b"coll", namespace.coll.as_bytes());
    writer.end();
    writer.end();
    writer.into_bytes()
}

/// `event`, one of those that are made here, with the `_id` of its `documentKey` inside of its own `_id`: for events whose
/// key was changed.
///
/// # Errors
/// When the event is not sound BSON.
pub(in crate::source) fn with_key_in_id(event: Document<'_>) -> Result<Vec<u8>, raw::Error> {
    let key = event.get("documentKey")?.and_then(Element::as_document);
    let id = key.map_or(Ok(None), |key| key.get("_id"))?;
    let mut writer = Writer::default();
    writer.begin();
    for element in event.elements() {
        let element = element?;
        if element.name != b"_id" {
            writer.value(element.name, element.kind, element.value);
            continue;
        }
        write_id(id, &mut writer);
    }
    writer.end();
    Ok(writer.into_bytes())
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, doc, rawdoc};

    use super::*;

    fn row(document: &RawDocumentBuf, key: &[&str]) -> bson::Document {
        let namespace = Namespace { db: "shop".into(), coll: "a.b".into() };
        let key: Vec<String> = key.iter().map(|name| String::from(*name)).collect();
        let document = Document::new(document.as_bytes()).expect("a document");
        let bytes = write_row(&namespace, &key, document, Vec::new()).expect("sound");
        bson::deserialize_from_slice(&bytes).expect("sound")
    }

    #[test]
    fn a_row_has_the_form_of_the_official_connectors_copy() {
        let expected = doc! {
            "_id": { "_id": 1, "copyingData": true }, "operationType": "insert", "documentKey": { "_id": 1 },
            "fullDocument": { "a": "x", "_id": 1 }, "ns": { "db": "shop", "coll": "a.b" },
        };
        assert_eq!(row(&rawdoc! { "a": "x", "_id": 1 }, &[]), expected);
    }

    #[test]
    fn the_key_of_a_sharded_collection_has_its_shard_key() {
        let row = row(&rawdoc! { "_id": 1, "a": "x" }, &["a", "b", "_id"]);
        assert_eq!(row.get_document("documentKey").ok(), Some(&doc! { "a": "x", "_id": 1 }));
    }

    #[test]
    fn a_delete_has_the_form_of_a_row() {
        let namespace = Namespace { db: "shop".into(), coll: "a.b".into() };
        let key = rawdoc! { "_id": 1 };
        let key = Document::new(key.as_bytes()).expect("a document");
        let bytes = write_delete(&namespace, key, Vec::new()).expect("sound");
        let expected = doc! {
            "_id": { "_id": 1, "copyingData": true }, "operationType": "delete", "documentKey": { "_id": 1 },
            "ns": { "db": "shop", "coll": "a.b" },
        };
        assert_eq!(bson::deserialize_from_slice::<bson::Document>(&bytes).ok(), Some(expected));
    }

    #[test]
    fn the_id_of_a_row_follows_its_key() {
        let namespace = Namespace { db: "shop".into(), coll: "a".into() };
        let document = rawdoc! { "_id": "secret" };
        let row = write_row(&namespace, &[], Document::new(document.as_bytes()).expect("sound"), Vec::new());
        let row = row.expect("sound");
        let mut changed: bson::Document = bson::deserialize_from_slice(&row).expect("sound");
        changed.insert("documentKey", doc! { "_id": "masked" });
        let changed = RawDocumentBuf::try_from(&changed).expect("encodes");
        let event = with_key_in_id(Document::new(changed.as_bytes()).expect("sound")).expect("sound");
        let event: bson::Document = bson::deserialize_from_slice(&event).expect("sound");
        assert_eq!(event.get_document("_id").ok(), Some(&doc! { "_id": "masked", "copyingData": true }));
        assert_eq!(event.keys().next().map(String::as_str), Some("_id"));
    }
}
