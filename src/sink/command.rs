//! Statements → commands in bytes, and the server's reply → which statements failed. Pure.

use std::time::Duration;

use super::{
    batch::{Item, Statement},
    identify::Id,
};
use crate::{
    namespace::Namespace,
    raw::{Writer, kind},
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

/// A command over the first of some items.
#[derive(Debug)]
pub struct Command {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// How many items it holds.
    pub items: usize,
}

impl Verb {
    /// What a statement is sent as.
    pub fn of(statement: &Statement) -> Self {
        match statement {
            Statement::Insert(_) => Self::Insert,
            Statement::Replace(_) | Statement::Pipeline { .. } => Self::Update,
            Statement::Delete => Self::Delete,
        }
    }
}

/// The command for as many of `items` as fit. All are of `namespace` and of `verb`; there is at least one.
pub fn build(verb: Verb, namespace: &Namespace, items: &[Item]) -> Command {
    let mut writer = begin(verb, namespace);
    let mut count = 0;
    for item in items.iter().take(MAX_STATEMENTS) {
        if count > 0 && writer.len() + size(item) > MAX_BYTES {
            break;
        }
        write_statement(&mut writer, itoa::Buffer::new().format(count).as_bytes(), item);
        count += 1;
    }
    finish(writer, count)
}

/// The command that deletes these documents.
pub fn build_deletes<'a>(namespace: &Namespace, ids: impl Iterator<Item = &'a Id>) -> Command {
    let mut writer = begin(Verb::Delete, namespace);
    let mut count = 0;
    for id in ids {
        writer.begin_document(itoa::Buffer::new().format(count).as_bytes());
        write_query(&mut writer, id);
        writer.int32(b"limit", 1);
        writer.end();
        count += 1;
    }
    finish(writer, count)
}

fn begin(verb: Verb, namespace: &Namespace) -> Writer {
    let (name, list) = match verb {
        Verb::Delete => (b"delete", b"deletes".as_slice()),
        Verb::Update => (b"update", b"updates".as_slice()),
        Verb::Insert => (b"insert", b"documents".as_slice()),
    };
    let mut writer = Writer::default();
    writer.begin();
    writer.string(name, namespace.coll.as_bytes());
    writer.boolean(b"ordered", false);
    writer.begin_document(b"writeConcern");
    writer.string(b"w", b"majority");
    writer.end();
    writer.int32(b"maxTimeMS", MAX_TIME.as_millis() as i32);
    writer.begin_array(list);
    writer
}

fn finish(mut writer: Writer, items: usize) -> Command {
    writer.end();
    writer.end();
    Command { bytes: writer.into_bytes(), items }
}

fn write_query(writer: &mut Writer, id: &Id) {
    writer.begin_document(b"q");
    // An `_id` that is a document with an operator's name must not be read as a condition.
    if id.kind == kind::DOCUMENT && id.value.get(5) == Some(&b'$') {
        writer.begin_document(b"_id");
        writer.value(b"$eq", id.kind, &id.value);
        writer.end();
    } else {
        writer.value(b"_id", id.kind, &id.value);
    }
    writer.end();
}

/// About the bytes that a statement takes.
fn size(item: &Item) -> usize {
    let content = match &item.statement {
        Statement::Insert(body) | Statement::Replace(body) => body.document().as_bytes().len(),
        Statement::Pipeline { full, stages } => {
            full.as_ref().map_or(0, |body| body.document().as_bytes().len())
                + stages.len()
                + 8 * stages.count()
        }
        Statement::Delete => 0,
    };
    content + item.id.value.len() + 100
}

fn write_statement(writer: &mut Writer, name: &[u8], item: &Item) {
    if let Statement::Insert(body) = &item.statement {
        return writer.document(name, body.document());
    }
    writer.begin_document(name);
    write_query(writer, &item.id);
    match &item.statement {
        Statement::Replace(body) => {
            writer.document(b"u", body.document());
            writer.boolean(b"upsert", true);
        }
        Statement::Pipeline { full, stages } => {
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
            writer.boolean(b"upsert", full.is_some());
        }
        Statement::Delete => writer.int32(b"limit", 1),
        Statement::Insert(_) => {}
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
}

/// Reads a reply; `None` if it is not one.
pub fn read_reply(reply: &bson::Document) -> Option<Reply> {
    let mut read = Reply::default();
    if let Some(concern) = reply.get("writeConcernError") {
        read.concern = Some(concern.as_document()?.get_i32("code").ok()?);
    }
    let Some(errors) = reply.get("writeErrors") else { return Some(read) };
    for error in errors.as_array()? {
        let error = error.as_document()?;
        let is_on_id = error.get_document("keyPattern").is_ok_and(|pattern| pattern.keys().eq(["_id"]));
        let index = usize::try_from(error.get_i32("index").ok()?).ok()?;
        read.refused.push(Refused { index, code: error.get_i32("code").ok()?, is_on_id });
    }
    Some(read)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bson::{Bson, doc};

    use crate::raw::Document;

    use super::{
        super::{
            batch::{Batch, Limits},
            decode::Body,
            delta,
            plan::{Kind, Write},
            progress::{Partition, Place},
        },
        *,
    };

    fn item(id: impl Into<Bson>, kind: Kind) -> Item {
        let bytes = doc! { "_id": id.into() }.to_vec().expect("writable");
        let id = Id::of(Document::new(&bytes).expect("sound"), "test").expect("an _id");
        let namespace = Arc::new(Namespace { db: "d".into(), coll: "c.x".into() });
        let limits = Limits { max_records: 9, max_bytes: 9, max_age: Duration::ZERO };
        let mut batch = Batch::new(limits);
        let place = Place { partition: Partition { topic: "t".into(), number: 0 }, offset: 0 };
        let write = Write { namespace, key: id.fold_key().expect("sound"), id, kind };
        assert!(matches!(
            batch.add(write, place, std::time::Instant::now()),
            super::super::batch::Added::Yes
        ));
        batch.close(1).remove(0).remove(0)
    }

    fn body(document: &bson::Document) -> Body {
        Body::whole(document.to_vec().expect("writable"))
    }

    fn built(items: &[Item]) -> bson::Document {
        let command = build(Verb::of(&items[0].statement), &items[0].namespace, items);
        assert_eq!(command.items, items.len());
        bson::Document::from_reader(&command.bytes[..]).expect("well formed")
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
                item(1, Kind::Delta(stages)),
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
        let command = build_deletes(&one.namespace, [&one.id, &two.id].into_iter());
        assert_eq!(command.items, 2);
        assert_eq!(bson::Document::from_reader(&command.bytes[..]).ok(), Some(built(&[one, two])));
    }

    #[test]
    fn a_command_ends_before_it_is_too_large_but_holds_at_least_one() {
        let sized = |bytes| item(1, Kind::Replace(body(&doc! { "_id": 1, "a": "x".repeat(bytes) })));
        let items = [sized(5_000_000), sized(5_000_000), sized(5_000_000)];
        assert_eq!(build(Verb::Update, &items[0].namespace, &items).items, 2);
        let items = [sized(15_000_000), sized(1)];
        assert_eq!(build(Verb::Update, &items[0].namespace, &items).items, 1);
        let items: Vec<_> = (0..=MAX_STATEMENTS).map(|_| item(1, Kind::Delete)).collect();
        assert_eq!(build(Verb::Delete, &items[0].namespace, &items).items, MAX_STATEMENTS);
    }

    #[test]
    fn replies_name_what_failed_and_by_which_index() {
        let reply = |document: bson::Document| read_reply(&document);
        assert_eq!(reply(doc! { "n": 2, "ok": 1.0 }), Some(Reply::default()));
        let errors = doc! { "ok": 1.0, "writeErrors": [
            { "index": 3, "code": 11000, "keyPattern": { "_id": 1 }, "errmsg": "E11000" },
            { "index": 4, "code": 11000, "keyPattern": { "_id": 1, "a": 1 } },
            { "index": 5, "code": 121 },
        ] };
        let refused = |index, code, is_on_id| Refused { index, code, is_on_id };
        let expected = vec![refused(3, 11000, true), refused(4, 11000, false), refused(5, 121, false)];
        assert_eq!(reply(errors), Some(Reply { refused: expected, concern: None }));
        let concern =
            doc! { "ok": 1.0, "writeConcernError": { "code": 64, "codeName": "WriteConcernFailed" } };
        assert_eq!(reply(concern), Some(Reply { refused: vec![], concern: Some(64) }));
        assert_eq!(reply(doc! { "writeErrors": [{ "index": 1 }] }), None);
    }
}
