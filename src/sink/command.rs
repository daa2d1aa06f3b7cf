//! Statements → commands in bytes, and the server's reply → which statements failed. Pure.

use std::time::Duration;

use super::{
    batch::{Item, Statement},
    body::Body,
    identify::{Filter, Id},
};
use crate::{
    config::{MissingDocument, WriteConcern},
    json::{self, Style},
    namespace::Namespace,
    raw::{Document, Element, Writer, kind},
};

/// The server takes 100,000; more than this no longer gains anything and makes a failure costlier.
const MAX_STATEMENTS: usize = 5_000;
/// The server takes 16 MB. One document may be that large alone.
const MAX_BYTES: usize = 12_000_000;
/// A write that takes longer is stopped by the server, so that an attempt that seems lost does not end after its
/// successor has begun.
pub const MAX_TIME: Duration = Duration::from_secs(30);

/// The three kinds of commands, in the order in which a lane sends them: a unique value is given up before it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// `delete`
    Delete,
    /// `update`
    Update,
    /// `insert`
    Insert,
}

impl Verb {
    /// What a statement is sent as.
    pub fn of(statement: &Statement) -> Self {
        match statement {
            Statement::Insert(_) | Statement::InsertOnly(_) => Self::Insert,
            Statement::Replace(_) | Statement::Pipeline { .. } | Statement::Update(_) => Self::Update,
            Statement::Delete => Self::Delete,
        }
    }
}

/// What all commands of a sink have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// When the server has to take a write for written.
    pub write_concern: WriteConcern,
    /// Whether it stops at the first statement that it refuses.
    pub is_ordered: bool,
}

/// How many of `items` go into one command, as many as fit and one at least, and about the bytes that they take.
pub fn fitting(items: &[Item]) -> (usize, usize) {
    let (mut count, mut bytes) = (0, 0);
    for item in items.iter().take(MAX_STATEMENTS) {
        let size = size(item);
        if count > 0 && bytes + size > MAX_BYTES {
            break;
        }
        (count, bytes) = (count + 1, bytes + size);
    }
    (count, bytes)
}

/// The command for `items`, as many as are [`fitting`], which take about so many `bytes`. All are of `namespace` and of
/// `verb`.
pub fn build(verb: Verb, namespace: &Namespace, items: &[Item], bytes: usize, manner: Manner) -> Vec<u8> {
    let mut writer = begin(verb, namespace, manner);
    writer.bytes_mut().reserve(bytes);
    for (index, item) in items.iter().enumerate() {
        write_statement(&mut writer, itoa::Buffer::new().format(index).as_bytes(), item);
    }
    finish(writer)
}

/// The command that deletes these documents.
pub fn build_deletes<'a>(
    namespace: &Namespace,
    filters: impl Iterator<Item = &'a Filter>,
    manner: Manner,
) -> Vec<u8> {
    let mut writer = begin(Verb::Delete, namespace, manner);
    for (index, filter) in filters.enumerate() {
        writer.begin_document(itoa::Buffer::new().format(index).as_bytes());
        write_filter(&mut writer, b"q", filter);
        writer.int32(b"limit", 1);
        writer.end();
    }
    finish(writer)
}

fn begin(verb: Verb, namespace: &Namespace, manner: Manner) -> Writer {
    let (name, list) = match verb {
        Verb::Delete => (b"delete", b"deletes".as_slice()),
        Verb::Update => (b"update", b"updates".as_slice()),
        Verb::Insert => (b"insert", b"documents".as_slice()),
    };
    let mut writer = Writer::default();
    writer.begin();
    writer.string(name, namespace.coll.as_bytes());
    writer.boolean(b"ordered", manner.is_ordered);
    writer.begin_document(b"writeConcern");
    match manner.write_concern {
        WriteConcern::Majority => writer.string(b"w", b"majority"),
        WriteConcern::Members(members) => writer.int32(b"w", i32::try_from(members).unwrap_or(i32::MAX)),
    }
    writer.end();
    writer.int32(b"maxTimeMS", MAX_TIME.as_millis() as i32);
    writer.begin_array(list);
    writer
}

fn finish(mut writer: Writer) -> Vec<u8> {
    writer.end();
    writer.end();
    writer.into_bytes()
}

/// The command that finds at most one of what `filter` finds.
pub fn build_find(namespace: &Namespace, filter: &Filter) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.begin();
    writer.string(b"find", namespace.coll.as_bytes());
    write_filter(&mut writer, b"filter", filter);
    writer.int32(b"limit", 1);
    writer.boolean(b"singleBatch", true);
    writer.end();
    writer.into_bytes()
}

fn write_filter(writer: &mut Writer, name: &[u8], filter: &Filter) {
    match filter {
        Filter::Id(id) => {
            writer.begin_document(name);
            write_id(writer, id);
            writer.end();
        }
        Filter::Fields(filter) => writer.value(name, kind::DOCUMENT, filter),
    }
}

fn write_id(writer: &mut Writer, id: &Id) {
    // An `_id` that is a document with an operator's name must not be read as a condition.
    if (Element { kind: id.kind, name: b"", value: &id.value }).looks_like_operators() {
        writer.begin_document(b"_id");
        writer.value(b"$eq", id.kind, &id.value);
        writer.end();
    } else {
        writer.value(b"_id", id.kind, &id.value);
    }
}

/// About the bytes that a statement takes.
fn size(item: &Item) -> usize {
    let content = match &item.statement {
        Statement::Insert(body) | Statement::Replace(body) | Statement::InsertOnly(body) => body.len(),
        Statement::Pipeline { full, stages, .. } => {
            full.as_ref().map_or(0, Body::len) + stages.len() + 8 * stages.count()
        }
        Statement::Update(update) => update.update.len(),
        Statement::Delete => 0,
    };
    content + item.filter.len() + 100
}

fn write_statement(writer: &mut Writer, name: &[u8], item: &Item) {
    if let Statement::Insert(body) | Statement::InsertOnly(body) = &item.statement {
        return writer.document(name, body.document());
    }
    writer.begin_document(name);
    write_filter(writer, b"q", &item.filter);
    match &item.statement {
        Statement::Replace(body) => {
            writer.document(b"u", body.document());
            writer.boolean(b"upsert", true);
        }
        Statement::Pipeline { full, stages, missing } => {
            writer.begin_array(b"u");
            let mut at = 0;
            if let Some(body) = full {
                writer.begin_document(b"0");
                writer.begin_document(b"$replaceWith");
                writer.document(b"$literal", body.document());
                writer.end();
                writer.end();
                at = 1;
            }
            for stage in stages.iter() {
                writer.document(itoa::Buffer::new().format(at).as_bytes(), stage);
                at += 1;
            }
            writer.end();
            writer.boolean(b"upsert", full.is_some() || *missing == MissingDocument::Upsert);
        }
        Statement::Delete => writer.int32(b"limit", 1),
        Statement::Update(update) => {
            let kind = if update.is_pipeline { kind::ARRAY } else { kind::DOCUMENT };
            writer.value(b"u", kind, &update.update);
            writer.boolean(b"upsert", update.missing == MissingDocument::Upsert);
        }
        Statement::Insert(_) | Statement::InsertOnly(_) => {}
    }
    writer.end();
}

/// What the server says of a command that it took.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The statements that failed.
    pub refused: Vec<Refused>,
    /// The code of a write concern error: everything is written, but maybe not for good.
    pub concern: Option<i32>,
    /// Documents that were found, inserted or deleted.
    pub touched: usize,
}

/// A statement that failed.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which one in the command.
    pub index: usize,
    /// The error.
    pub code: i32,
    /// For a duplicate key: whether it is that of `_id`.
    pub is_on_id: bool,
    /// What the server says. It may quote the document.
    pub message: String,
    /// The server's details, as relaxed Extended JSON. They may quote the document.
    pub details: String,
}

/// Reads a reply; `None` if it is not one.
pub fn read_reply(reply: &bson::Document) -> Option<Reply> {
    let touched = reply.get("n").and_then(bson::Bson::as_i32).and_then(|n| usize::try_from(n).ok());
    let mut read = Reply { touched: touched.unwrap_or_default(), ..Reply::default() };
    if let Some(concern) = reply.get("writeConcernError") {
        read.concern = Some(concern.as_document()?.get_i32("code").ok()?);
    }
    let Some(errors) = reply.get("writeErrors") else { return Some(read) };
    for error in errors.as_array()? {
        let error = error.as_document()?;
        let is_on_id = error.get_document("keyPattern").is_ok_and(|pattern| pattern.keys().eq(["_id"]));
        let index = usize::try_from(error.get_i32("index").ok()?).ok()?;
        let message = error.get_str("errmsg").unwrap_or_default().to_owned();
        let details = error.get_document("errInfo").map_or_else(|_| "{}".into(), relaxed);
        read.refused.push(Refused { index, code: error.get_i32("code").ok()?, is_on_id, message, details });
    }
    Some(read)
}

/// As relaxed Extended JSON; nothing where it cannot be written.
fn relaxed(document: &bson::Document) -> String {
    let mut text = Vec::new();
    let bytes = document.to_vec().unwrap_or_default();
    let written = Document::new(&bytes)
        .is_ok_and(|document| json::write_document(document, Style::Relaxed, &mut text).is_ok());
    if written { String::from_utf8(text).unwrap_or_default() } else { "{}".into() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bson::{Bson, doc};

    use crate::raw::Document;

    use super::{
        super::{
            batch::{Batch, Limits},
            delta,
            plan::{Kind, Write},
            progress::{Partition, Place},
            record::{Record, Timestamp},
        },
        *,
    };

    const MANNER: Manner = Manner { write_concern: WriteConcern::Majority, is_ordered: false };

    fn item(id: impl Into<Bson>, kind: Kind) -> Item {
        let bytes = doc! { "_id": id.into() }.to_vec().expect("writable");
        let filter = Filter::Id(Id::of(Document::new(&bytes).expect("sound"), "test").expect("an _id"));
        let namespace = Arc::new(Namespace { db: "d".into(), coll: "c.x".into() });
        let limits = Limits { max_records: 9, max_bytes: 9, max_age: Duration::ZERO };
        let mut batch = Batch::new(limits, 1);
        let place = Place { partition: Partition { topic: "t".into(), number: 0 }, offset: 0 };
        let record =
            Record { place, timestamp: Timestamp::None, key: None, value: None, headers: Vec::new() };
        let write = Write { namespace, key: filter.fold_key().expect("sound"), filter, kind };
        assert!(matches!(
            batch.add(write, record, std::time::Instant::now()),
            super::super::batch::Added::Yes
        ));
        batch.close().lanes.remove(0).items.remove(0)
    }

    fn body(document: &bson::Document) -> Body {
        Body::whole(document.to_vec().expect("writable"))
    }

    fn built(items: &[Item]) -> bson::Document {
        let verb = Verb::of(&items[0].statement);
        let command = build(verb, &items[0].namespace, items, fitting(items).1, MANNER);
        bson::Document::from_reader(&command[..]).expect("well formed")
    }

    fn expected(verb: &str, list: &str, statements: Vec<Bson>) -> bson::Document {
        let mut command =
            doc! { verb: "c.x", "ordered": false, "writeConcern": { "w": "majority" }, "maxTimeMS": 30_000 };
        command.insert(list, statements);
        command
    }

    #[test]
    fn each_verb_has_its_command() {
        let full = doc! { "_id": 1, "a": 1 };
        assert_eq!(
            built(&[item(1, Kind::Insert(body(&full)))]),
            expected("insert", "documents", vec![full.clone().into()])
        );
        assert_eq!(
            built(&[item(1, Kind::Delete), item("x", Kind::Delete)]),
            expected(
                "delete",
                "deletes",
                vec![
                    doc! { "q": { "_id": 1 }, "limit": 1 }.into(),
                    doc! { "q": { "_id": "x" }, "limit": 1 }.into(),
                ]
            )
        );
        let description =
            doc! { "updatedFields": { "a": 2 }, "removedFields": [] }.to_vec().expect("writable");
        let stages = delta::compile(Document::new(&description).expect("sound")).expect("sound");
        assert_eq!(
            built(&[
                item(1, Kind::Replace(body(&full))),
                item(1, Kind::Literal(body(&full))),
                item(1, Kind::Delta { stages, missing: MissingDocument::Skip }),
            ]),
            expected("update", "updates", vec![
                doc! { "q": { "_id": 1 }, "u": full.clone(), "upsert": true }.into(),
                doc! { "q": { "_id": 1 }, "u": [{ "$replaceWith": { "$literal": full } }], "upsert": true }.into(),
                doc! { "q": { "_id": 1 }, "u": [{ "$set": { "a": { "$literal": 2 } } }], "upsert": false }.into(),
            ])
        );
    }

    #[test]
    fn a_document_as_an_id_is_compared_and_not_interpreted() {
        let command = built(&[item(doc! { "$gt": 1 }, Kind::Delete)]);
        let expected = expected(
            "delete",
            "deletes",
            vec![doc! { "q": { "_id": { "$eq": { "$gt": 1 } } }, "limit": 1 }.into()],
        );
        assert_eq!(command, expected);
        let plain = built(&[item(doc! { "a": 1 }, Kind::Delete)]);
        assert!(plain.to_string().contains(r#""q": { "_id": { "a": 1 } }"#), "{plain}");
    }

    #[test]
    fn documents_are_deleted_by_id_alone() {
        let (one, two) = (item(1, Kind::Delete), item("x", Kind::Delete));
        let command = build_deletes(&one.namespace, [&one.filter, &two.filter].into_iter(), MANNER);
        assert_eq!(bson::Document::from_reader(&command[..]).ok(), Some(built(&[one, two])));
    }

    #[test]
    fn a_command_ends_before_it_is_too_large_but_holds_at_least_one() {
        let sized = |bytes| item(1, Kind::Replace(body(&doc! { "_id": 1, "a": "x".repeat(bytes) })));
        let items = [sized(5_000_000), sized(5_000_000), sized(5_000_000)];
        assert_eq!(fitting(&items).0, 2);
        let items = [sized(15_000_000), sized(1)];
        assert_eq!(fitting(&items).0, 1);
        let items: Vec<_> = (0..=MAX_STATEMENTS).map(|_| item(1, Kind::Delete)).collect();
        assert_eq!(fitting(&items).0, MAX_STATEMENTS);
    }

    #[test]
    fn replies_name_what_failed_and_by_which_index() {
        let reply = |document: bson::Document| read_reply(&document);
        assert_eq!(reply(doc! { "n": 2, "ok": 1.0 }), Some(Reply { touched: 2, ..Reply::default() }));
        let errors = doc! { "ok": 1.0, "writeErrors": [
            { "index": 3, "code": 11000, "keyPattern": { "_id": 1 }, "errmsg": "E11000" },
            { "index": 4, "code": 11000, "keyPattern": { "_id": 1, "a": 1 } },
            { "index": 5, "code": 121 },
        ] };
        let refused = |index, code, is_on_id, message: &str| Refused {
            index,
            code,
            is_on_id,
            message: message.into(),
            details: "{}".into(),
        };
        let expected =
            vec![refused(3, 11000, true, "E11000"), refused(4, 11000, false, ""), refused(5, 121, false, "")];
        assert_eq!(reply(errors), Some(Reply { refused: expected, ..Reply::default() }));
        let concern =
            doc! { "ok": 1.0, "writeConcernError": { "code": 64, "codeName": "WriteConcernFailed" } };
        assert_eq!(reply(concern), Some(Reply { concern: Some(64), ..Reply::default() }));
        assert_eq!(reply(doc! { "writeErrors": [{ "index": 1 }] }), None);
    }
}
