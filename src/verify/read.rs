//! Reads one side: ranges by the bounds of the `_id` index, and single documents.
//!
//! Replies are raw and hashed as they come; nothing of a document is kept but its `_id` and its hash. Everything is read
//! with read concern majority, so what a failover could undo is not seen.

use std::time::Duration;

use bson::{Bson, Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::{
    Client,
    options::{ReadPreference, RunCursorCommandOptions, SelectionCriteria},
    raw_batch_cursor::RawBatch,
};

use super::{
    content::{ById, Content},
    fingerprint::{self, FieldOrder, Fingerprint},
};
use crate::{
    mongo,
    namespace::Namespace,
    ranges::{self, Id},
    raw,
    retry::{Backoff, Failure, Verdict},
    source::watch::parse,
};

/// Bytes of `_id`s at which a range ends, however few they are.
const MOST_ID_BYTES: usize = 4 << 20;

/// How often a request is made before its failure is the comparison's. With the pauses, and the time that the driver looks
/// for a server, this outlasts an election.
const MOST_ATTEMPTS: u32 = 8;

/// One of the two deployments.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) client: Client,
    /// Which members ranges are read from; `None` for the primary.
    pub(super) members: Option<SelectionCriteria>,
    pub(super) order: FieldOrder,
}

/// What to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range<'a> {
    pub(super) namespace: &'a Namespace,
    /// Its first `_id`; `None` for the beginning of the collection.
    pub(super) from: Option<&'a Id>,
    /// The first `_id` behind it; `None` for the end of the collection.
    pub(super) until: Option<&'a Id>,
    /// Most documents.
    pub(super) limit: usize,
}

impl Side {
    /// The range's documents, up to its limit.
    pub(super) async fn content(&self, range: Range<'_>) -> Result<Content, Failure> {
        let what = format!("cannot read {}", range.namespace);
        patiently(|| self.try_content(range, &what)).await
    }

    async fn try_content(&self, range: Range<'_>, what: &str) -> Result<Content, Failure> {
        let mut content = Content::default();
        let mut reading =
            Reading { content: &mut content, order: self.order, id_bytes: 0, scratch: Vec::new() };
        let is_only_the_last = range.from.is_some_and(Id::is_greatest);
        if !is_only_the_last {
            let take = |document: raw::Document<'_>| reading.take(document, range.limit);
            self.walk(range.namespace, find(range), self.members.clone(), what, take).await?;
        }
        if is_only_the_last || (range.from.is_some() && range.until.is_none() && !reading.is_full()) {
            // An open end of the index's bounds leaves out MaxKey.
            let last = doc! { "find": &range.namespace.coll, "filter": { "_id": Bson::MaxKey } };
            let take = |document: raw::Document<'_>| reading.take(document, usize::MAX);
            self.walk(range.namespace, last, self.members.clone(), what, take).await?;
        }
        Ok(content)
    }

    /// The documents of these `_id`s as the primary has them.
    pub(super) async fn prints(
        &self,
        namespace: &Namespace,
        ids: &[Id],
    ) -> Result<ById<Fingerprint>, Failure> {
        patiently(|| self.try_prints(namespace, ids)).await
    }

    async fn try_prints(&self, namespace: &Namespace, ids: &[Id]) -> Result<ById<Fingerprint>, Failure> {
        let what = format!("cannot read documents of {namespace} again");
        let (mut prints, mut scratch) = (ById::default(), Vec::new());
        self.walk(namespace, by_id(namespace, ids), None, &what, |document| {
            prints.insert(&id_of(document)?, fingerprint::of(document, self.order, &mut scratch)?)?;
            Ok(true)
        })
        .await?;
        Ok(prints)
    }

    /// The document of this `_id` as the primary has it.
    pub(super) async fn document(&self, namespace: &Namespace, id: &Id) -> Result<Option<Vec<u8>>, Failure> {
        patiently(|| self.try_document(namespace, id)).await
    }

    async fn try_document(&self, namespace: &Namespace, id: &Id) -> Result<Option<Vec<u8>>, Failure> {
        let what = format!("cannot read a document of {namespace} again");
        let mut found = None;
        self.walk(namespace, by_id(namespace, std::slice::from_ref(id)), None, &what, |document| {
            found = Some(document.as_bytes().to_vec());
            Ok(true)
        })
        .await?;
        Ok(found)
    }

    /// About how many documents there are.
    pub(super) async fn estimate(&self, namespace: &Namespace) -> Result<u64, Failure> {
        let collection = self.client.database(&namespace.db).collection::<Document>(&namespace.coll);
        let estimated = collection.estimated_document_count().await;
        estimated.map_err(|error| mongo::failure(&format!("cannot count {namespace}"), &error))
    }

    /// The `_id`s that cut the collection into about so many parts.
    pub(super) async fn borders(&self, namespace: &Namespace, count: u64) -> Result<Vec<Id>, Failure> {
        patiently(|| ranges::borders(&self.client, namespace, count)).await
    }

    /// Hands each document of a command's replies to `take`, until it says that it has enough.
    async fn walk(
        &self,
        namespace: &Namespace,
        mut command: Document,
        members: Option<SelectionCriteria>,
        what: &str,
        mut take: impl FnMut(raw::Document<'_>) -> Result<bool, raw::Error>,
    ) -> Result<(), Failure> {
        command.insert("readConcern", doc! { "level": "majority" });
        command.insert("comment", "millrace verify");
        let command = RawDocumentBuf::try_from(&command).expect("a command is made of what BSON holds");
        let failed = |error: mongodb::error::Error| mongo::failure(what, &error);
        let mut options = RunCursorCommandOptions::default();
        let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
        options.selection_criteria = Some(members.unwrap_or(primary));
        let database = self.client.database(&namespace.db);
        let cursor = database.run_raw_cursor_command(command).with_options(options).batch().await;
        let mut replies = cursor.map_err(failed)?;
        while let Some(reply) = replies.try_next().await.map_err(failed)? {
            match all(&reply, &mut take) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => return Err(Failure::stop(format!("{what}: {error}"))),
            }
        }
        Ok(())
    }
}

/// Hands the reply's documents on; whether more are wanted.
fn all(
    reply: &RawBatch,
    take: &mut impl FnMut(raw::Document<'_>) -> Result<bool, raw::Error>,
) -> Result<bool, raw::Error> {
    for document in parse(reply)?.events.elements() {
        if !take(document?.as_document().unwrap_or(raw::Document::EMPTY))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A range that is being read.
struct Reading<'a> {
    content: &'a mut Content,
    order: FieldOrder,
    id_bytes: usize,
    scratch: Vec<u8>,
}

impl Reading<'_> {
    /// Whether there was more than the range had room for.
    fn is_full(&self) -> bool {
        self.content.next.is_some()
    }

    /// Adds a document; `false` when it is the first that the range has no room for.
    fn take(&mut self, document: raw::Document<'_>, limit: usize) -> Result<bool, raw::Error> {
        let id = id_of(document)?;
        let documents = &mut self.content.documents;
        if documents.len() >= limit || (self.id_bytes > MOST_ID_BYTES && !documents.is_empty()) {
            self.content.next = Some(id);
            return Ok(false);
        }
        self.id_bytes += id.as_bytes().len();
        documents.push((id, fingerprint::of(document, self.order, &mut self.scratch)?));
        Ok(true)
    }
}

fn id_of(document: raw::Document<'_>) -> Result<Id, raw::Error> {
    document.get("_id")?.map(Id::of).ok_or(raw::Error { at: 4, what: "a document without an _id" })
}

/// One more than the limit, to see where the next range begins. The order is the index's own; a router needs to be told
/// it to merge what its shards send.
fn find(range: Range<'_>) -> Document {
    let limit = i64::try_from(range.limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut command = doc! {
        "find": &range.namespace.coll, "hint": { "_id": 1 }, "sort": { "_id": 1 }, "limit": limit, "batchSize": limit,
    };
    if let Some(id) = range.from {
        command.insert("min", id.document());
    }
    if let Some(id) = range.until {
        command.insert("max", id.document());
    }
    command
}

fn by_id(namespace: &Namespace, ids: &[Id]) -> Document {
    let ids: Vec<Bson> =
        ids.iter().map(|id| id.document().remove("_id").expect("an _id has an _id")).collect();
    doc! { "find": &namespace.coll, "filter": { "_id": { "$in": ids } } }
}

/// Tries again what may pass by itself.
async fn patiently<T, F>(attempt: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    for _ in 1..MOST_ATTEMPTS {
        match attempt().await {
            Err(failure) if failure.verdict == Verdict::Retry => {
                tokio::time::sleep(backoff.next_pause()).await;
            }
            outcome => return outcome,
        }
    }
    attempt().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_by_the_bounds_of_the_index() {
        let id =
            |number: i32| Id::from_bytes(doc! { "_id": number }.to_vec().expect("writable")).expect("an _id");
        let namespace = Namespace { db: "d".into(), coll: "c".into() };
        let (from, until) = (id(1), id(5));
        let range = Range { namespace: &namespace, from: Some(&from), until: Some(&until), limit: 10 };
        let command = find(range);
        assert_eq!(command.get_document("min").ok(), Some(&doc! { "_id": 1 }));
        assert_eq!(command.get_document("max").ok(), Some(&doc! { "_id": 5 }));
        assert_eq!(command.get_i64("limit").ok(), Some(11));
        let whole = find(Range { from: None, until: None, ..range });
        assert!(!whole.contains_key("min") && !whole.contains_key("max"));
    }

    #[test]
    fn a_range_ends_at_its_limit_and_where_its_ids_are_large() {
        let read = |ids: &[Bson], limit: usize| {
            let mut content = Content::default();
            let mut reading = Reading {
                content: &mut content,
                order: FieldOrder::Counts,
                id_bytes: 0,
                scratch: Vec::new(),
            };
            for id in ids {
                let bytes = doc! { "_id": id }.to_vec().expect("writable");
                if !reading.take(raw::Document::new(&bytes).expect("sound"), limit).expect("sound") {
                    break;
                }
            }
            (content.documents.len(), content.next.is_some())
        };
        let small = [Bson::from(1), Bson::from(2), Bson::from(3)];
        assert_eq!(read(&small, 3), (3, false));
        assert_eq!(read(&small, 2), (2, true));
        let large: Vec<Bson> =
            (0..3).map(|n| Bson::from(format!("{n}{}", "x".repeat(MOST_ID_BYTES)))).collect();
        assert_eq!(read(&large, 10), (1, true));
    }
}
