//! Statements for sharded collections. Pure.
//!
//! An upsert has to name the shard key, so its fields are added to what finds the document, with the values that the
//! document will have; one that it lacks is null, as the server has it. What is on another shard, or under another value
//! of the key, is another document for such an upsert. So before a replace whatever has the same `_id` and another key is
//! deleted. Updates and deletes by `_id` alone find their document on every shard.

use super::{
    batch::{Item, Statement},
    identify::{Filter, Id},
};
use crate::{
    config::{Handling, MissingDocument, ValueShape, WriteBy, WriteModel},
    namespace::Namespace,
    raw::{Document, Element, Writer, kind},
    retry::Failure,
};

/// The fields of a shard key that an `_id` does not name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardKey {
    paths: Vec<String>,
}

impl ShardKey {
    /// A key over these dotted paths.
    pub fn new(paths: &[String]) -> Self {
        Self { paths: paths.iter().filter(|path| *path != "_id").cloned().collect() }
    }

    /// Whether `_id` is enough.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Whether the writes of these records can name the key at all.
    ///
    /// # Errors
    /// When each of them may insert, and none can.
    pub fn check_settings(&self, handling: &Handling, namespace: &Namespace) -> Result<(), Failure> {
        let Some(named) = names_of_upserts(handling) else { return Ok(()) };
        if self.paths.iter().all(|path| named.contains(&path.as_bytes())) {
            return Ok(());
        }
        Err(self.unnamed("", namespace))
    }

    /// Adds the key to what finds `item`'s document.
    ///
    /// # Errors
    /// When it may insert a document, and the key cannot be known.
    pub fn complete(&self, item: &mut Item) -> Result<(), Failure> {
        let body = match &item.statement {
            Statement::Replace(body) | Statement::Pipeline { full: Some(body), .. } => body,
            Statement::Insert(_) | Statement::InsertOnly(_) | Statement::Delete => return Ok(()),
            Statement::Pipeline { full: None, missing, .. } => return self.check(item, *missing),
            Statement::Update(update) => return self.check(item, update.missing),
        };
        let values: Vec<_> =
            self.paths.iter().map(|path| (path.as_str(), value(body.document(), path))).collect();
        if let Filter::Id(id) = &item.filter {
            item.stale = Some(Box::new(Filter::Fields(stale(id, &values))));
        }
        item.filter = Filter::Fields(completed(&item.filter, &values));
        Ok(())
    }

    /// An update that inserts has to name the key by itself.
    fn check(&self, item: &Item, missing: MissingDocument) -> Result<(), Failure> {
        let names = |path: &&String| match &item.filter {
            Filter::Id(_) => false,
            Filter::Fields(filter) => has(filter, path),
        };
        if missing != MissingDocument::Upsert || self.paths.iter().all(|path| names(&path)) {
            return Ok(());
        }
        Err(self.unnamed(&format!("{}: ", item.place), &item.namespace))
    }

    fn unnamed(&self, place: &str, namespace: &Namespace) -> Failure {
        Failure::stop(format!(
            "{place}{namespace} is sharded by {}, which the update's filter does not name, so it cannot insert; name it in \
             write.filter, or set upsert and missing_document so that nothing is inserted",
            self.paths.join(", ")
        ))
    }
}

/// What each write of these records names beside the `_id`, where it may insert and the settings alone decide.
fn names_of_upserts(handling: &Handling) -> Option<Vec<&[u8]>> {
    let write = &handling.write;
    if handling.value != ValueShape::Document || handling.time_series.is_some() {
        return None;
    }
    let is_upsert = match (&write.filter, &write.update) {
        (None, None) => write.model == WriteModel::Update,
        (_, update) => update.is_some() && write.upsert,
    };
    match &write.filter {
        Some(filter) if is_upsert => filter.names(),
        None if is_upsert && write.by == WriteBy::Id => Some(Vec::new()),
        _ => None,
    }
}

fn value<'a>(document: Document<'a>, path: &str) -> Element<'a> {
    let found = document.find(path).ok().flatten();
    found.unwrap_or(Element { kind: kind::NULL, name: b"", value: b"" })
}

fn has(filter: &[u8], path: &str) -> bool {
    Document::new(filter).is_ok_and(|filter| filter.get(path).is_ok_and(|found| found.is_some()))
}

fn completed(filter: &Filter, values: &[(&str, Element<'_>)]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.begin();
    match filter {
        Filter::Id(id) => writer.equal(b"_id", id.kind, &id.value),
        Filter::Fields(filter) => writer.bytes_mut().extend_from_slice(&filter[4..filter.len() - 1]),
    }
    for (path, value) in values {
        let is_named = matches!(filter, Filter::Fields(filter) if has(filter, path));
        if !is_named {
            writer.equal(path.as_bytes(), value.kind, value.value);
        }
    }
    writer.end();
    writer.into_bytes()
}

/// What has the same `_id` and another key.
fn stale(id: &Id, values: &[(&str, Element<'_>)]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.begin();
    writer.equal(b"_id", id.kind, &id.value);
    writer.begin_array(b"$nor");
    writer.begin_document(b"0");
    for (path, value) in values {
        writer.equal(path.as_bytes(), value.kind, value.value);
    }
    writer.end();
    writer.end();
    writer.end();
    writer.into_bytes()
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Instant};

    use bson::{Bson, doc};

    use super::{
        super::{
            batch::{Batch, Limits},
            body::Body,
            plan::{Kind, Update, Write},
            progress::{Partition, Place},
            record::{Record, Timestamp},
        },
        *,
    };
    use crate::namespace::Namespace;

    fn item(kind: Kind) -> Item {
        let id = doc! { "_id": 1 }.to_vec().expect("writable");
        let filter = Filter::Id(Id::of(Document::new(&id).expect("sound"), "test").expect("an _id"));
        let place = Place { partition: Partition { topic: "t".into(), number: 0 }, offset: 0 };
        let record =
            Record { place, timestamp: Timestamp::None, key: None, value: None, headers: Vec::new() };
        let namespace = Arc::new(Namespace { db: "d".into(), coll: "c".into() });
        let write = Write { namespace, key: filter.fold_key().expect("sound"), filter, kind };
        let mut batch =
            Batch::new(Limits { max_records: 9, max_bytes: 9, max_age: std::time::Duration::ZERO }, 1);
        assert!(matches!(batch.add(write, record, Instant::now()), super::super::batch::Added::Yes));
        batch.close().lanes.remove(0).items.remove(0)
    }

    fn read(bytes: &[u8]) -> bson::Document {
        bson::Document::from_reader(bytes).expect("sound")
    }

    #[test]
    fn a_replace_names_the_key_and_deletes_what_has_another() {
        let key = ShardKey::new(&["_id".into(), "region".into(), "a.b".into()]);
        let body = doc! { "_id": 1, "a": { "b": { "$gt": 1 } } }.to_vec().expect("writable");
        let mut item = item(Kind::Replace(Body::whole(body)));
        key.complete(&mut item).expect("fine");
        let Filter::Fields(filter) = &item.filter else { panic!("{item:?}") };
        let value = doc! { "$eq": { "$gt": 1 } };
        assert_eq!(read(filter), doc! { "_id": 1, "region": Bson::Null, "a.b": value.clone() });
        let Some(Filter::Fields(stale)) = item.stale.as_deref() else { panic!("{item:?}") };
        assert_eq!(read(stale), doc! { "_id": 1, "$nor": [{ "region": Bson::Null, "a.b": value }] });
    }

    #[test]
    fn what_inserts_nothing_is_found_by_its_id() {
        let key = ShardKey::new(&["region".into()]);
        for kind in [Kind::Delete, Kind::Insert(Body::whole(doc! { "_id": 1 }.to_vec().expect("writable")))] {
            let mut item = item(kind);
            key.complete(&mut item).expect("fine");
            assert!(matches!(item.filter, Filter::Id(_)) && item.stale.is_none());
        }
        let update = |missing| {
            let update = doc! { "$set": { "n": 1 } }.to_vec().expect("writable");
            Kind::Update(Update { update, is_pipeline: false, is_ordered: false, missing })
        };
        assert!(key.complete(&mut item(update(MissingDocument::Skip))).is_ok());
        let refused =
            key.complete(&mut item(update(MissingDocument::Upsert))).expect_err("it cannot be known");
        assert!(refused.message.contains("d.c is sharded by region"), "{refused}");
        assert!(ShardKey::new(&["_id".into()]).is_empty());
    }
}
