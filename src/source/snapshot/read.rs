//! Reads one range of a collection as it was at one cluster time.
//!
//! A range is read by the bounds of the `_id` index, which unlike comparisons in a filter span all types, and in one
//! reply, so that nothing is left open at the server. With a pipeline of the user's the range's end is looked up first,
//! because what comes out of the pipeline does not tell what went in.

use std::{collections::HashMap, sync::Arc};

use bson::{Bson, Document, RawDocumentBuf, Timestamp, doc};
use futures_util::TryStreamExt;
use mongodb::{
    Client,
    error::Error,
    options::{RunCursorCommandOptions, SelectionCriteria},
    raw_batch_cursor::RawBatch,
};
use tokio::sync::Mutex;

use super::plan::{From, Id, Step};
use crate::{
    config::{self, ClusterTime},
    mongo::{self, codes},
    namespace::Namespace,
    raw,
    retry::Failure,
    source::watch::parse,
};

/// A reply of at least this many bytes may have been cut by the server's limit of 16 MB.
const FULL_REPLY_BYTES: usize = 15 << 20;

/// What to read.
#[derive(Clone, Debug)]
pub(super) struct Range {
    /// The part that it is of.
    pub(super) part: u64,
    pub(super) namespace: Arc<Namespace>,
    pub(super) from: From,
    /// The first `_id` behind it.
    pub(super) until: Option<Id>,
    /// Most documents.
    pub(super) limit: u32,
    /// The cluster time at which to read.
    pub(super) time: ClusterTime,
}

/// What was read.
pub(in crate::source) struct Rows {
    replies: Vec<RawBatch>,
    /// Whether the first document is the last one of the range before.
    skips_first: bool,
    /// Whose they are.
    pub(in crate::source) namespace: Arc<Namespace>,
    /// The fields of the collection's shard key.
    pub(in crate::source) key: Arc<[String]>,
    /// How far the part has come.
    pub(in crate::source) step: Step,
    /// Bytes of the documents.
    pub(super) bytes: usize,
}

/// Why a range could not be read.
pub(super) enum ReadError {
    /// The server no longer (or not yet) knows the state of that time; a later time will do.
    Unavailable(String),
    /// There is no such collection any more, but something else of its name.
    NoCollection(String),
    /// Anything else, with the verdict.
    Failed(Failure),
}

impl Rows {
    /// The documents in the order of their `_id`s.
    pub(in crate::source) fn documents(&self) -> impl Iterator<Item = Result<raw::Document<'_>, raw::Error>> {
        let replies = self.replies.iter().flat_map(|reply| {
            let (elements, error) = match parse(reply) {
                Ok(parsed) => (Some(parsed.events.elements()), None),
                Err(error) => (None, Some(Err(error))),
            };
            elements.into_iter().flatten().chain(error)
        });
        let skipped = usize::from(self.skips_first);
        replies.skip(skipped).map(|element| {
            element?.as_document().ok_or(raw::Error { at: 4, what: "a document of a reply is no document" })
        })
    }
}

/// Reads ranges of one deployment.
#[derive(Clone)]
pub(super) struct Reader {
    client: Client,
    settings: Arc<config::Source>,
    /// Shard keys by collection, as far as they were asked for.
    keys: Arc<Mutex<Keys>>,
}

type Keys = HashMap<Arc<Namespace>, Arc<[String]>>;

impl Reader {
    pub(super) fn new(client: &Client, settings: &Arc<config::Source>) -> Self {
        Self { client: client.clone(), settings: Arc::clone(settings), keys: Arc::default() }
    }

    /// Reads `range`.
    pub(super) async fn read(&self, range: Range) -> Result<Rows, ReadError> {
        self.read_with_key(&range).await.map_err(|error| judge(&range, &error))
    }

    async fn read_with_key(&self, range: &Range) -> Result<Rows, Error> {
        let key = self.shard_key(&range.namespace).await?;
        let (found, replies) = if self.settings.snapshot.pipeline.is_empty() {
            self.read_plain(range).await?
        } else {
            self.read_through_pipeline(range).await?
        };
        Ok(Rows {
            bytes: replies.iter().map(|reply| reply.as_raw_document().as_bytes().len()).sum(),
            replies,
            skips_first: found.skips_first,
            namespace: Arc::clone(&range.namespace),
            key,
            step: Step { part: range.part, after: found.after, documents: found.documents },
        })
    }

    /// The fields of the collection's shard key; none where it has none.
    async fn shard_key(&self, namespace: &Arc<Namespace>) -> Result<Arc<[String]>, Error> {
        let mut keys = self.keys.lock().await;
        if let Some(known) = keys.get(namespace) {
            return Ok(Arc::clone(known));
        }
        let hello = self.client.database("admin").run_command(doc! { "hello": 1 }).await?;
        let mut key = Vec::new();
        if hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid") {
            let collections = self.client.database("config").collection::<Document>("collections");
            let collection = collections.find_one(doc! { "_id": namespace.to_string() }).await?;
            let fields = collection.as_ref().and_then(|collection| collection.get_document("key").ok());
            key.extend(fields.into_iter().flat_map(Document::keys).cloned());
        }
        let key: Arc<[String]> = key.into();
        keys.insert(Arc::clone(namespace), Arc::clone(&key));
        Ok(key)
    }

    async fn read_plain(&self, range: &Range) -> Result<(Found, Vec<RawBatch>), Error> {
        let mut replies = self.run(range, find(range, false)).await?;
        let found = look_at(&replies, range)?;
        if found.after.is_none() && range.until.is_none() {
            replies.extend(self.run(range, find_last(range, &[])).await?);
        }
        Ok((found, replies))
    }

    async fn read_through_pipeline(&self, range: &Range) -> Result<(Found, Vec<RawBatch>), Error> {
        let ids = self.run(range, find(range, true)).await?;
        let found = look_at(&ids, range)?;
        let pipeline = &self.settings.snapshot.pipeline;
        let mut replies = self.run(range, aggregate(range, found.after.as_ref(), pipeline)).await?;
        if found.after.is_none() && range.until.is_none() {
            replies.extend(self.run(range, find_last(range, pipeline)).await?);
        }
        // The condition of the aggregation leaves out what the range before has had.
        Ok((Found { skips_first: false, ..found }, replies))
    }

    /// All replies of a cursor's command.
    async fn run(&self, range: &Range, command: Document) -> Result<Vec<RawBatch>, Error> {
        let mut options = RunCursorCommandOptions::default();
        options.selection_criteria =
            self.settings.stream.read_preference.clone().map(SelectionCriteria::ReadPreference);
        let database = self.client.database(&range.namespace.db);
        let command = RawDocumentBuf::try_from(&command).map_err(Error::from)?;
        database.run_raw_cursor_command(command).with_options(options).batch().await?.try_collect().await
    }
}

/// What the replies of a range say about its end.
struct Found {
    skips_first: bool,
    after: Option<Id>,
    documents: u64,
}

fn look_at(replies: &[RawBatch], range: &Range) -> Result<Found, Error> {
    let (mut count, mut bytes) = (0_u64, 0);
    let mut found = Found { skips_first: false, after: None, documents: 0 };
    for reply in replies {
        let documents = parse(reply).map_err(malformed)?.events;
        bytes += documents.as_bytes().len();
        for document in documents.elements() {
            let document = document.map_err(malformed)?.as_document().unwrap_or(raw::Document::EMPTY);
            let Some(id) = document.get("_id").map_err(malformed)? else { continue };
            if count == 0 {
                found.skips_first = matches!(&range.from, From::After(last) if last.is(id));
            }
            count += 1;
            found.after = Some(Id::of(id));
        }
    }
    found.documents = count - u64::from(found.skips_first);
    let is_last = found.after.as_ref().is_some_and(Id::is_greatest);
    if is_last || found.documents == 0 || (count < u64::from(limit(range)) && bytes < FULL_REPLY_BYTES) {
        found.after = None;
    }
    Ok(found)
}

fn malformed(error: raw::Error) -> Error {
    Error::custom(error.to_string())
}

/// One more where the range begins with a document that was read already.
fn limit(range: &Range) -> u32 {
    range.limit.saturating_add(u32::from(matches!(range.from, From::After(_))))
}

fn find(range: &Range, only_ids: bool) -> Document {
    let limit = limit(range);
    let mut command = doc! {
        "find": &range.namespace.coll, "hint": { "_id": 1 }, "limit": limit, "batchSize": limit,
        "singleBatch": true,
    };
    if let From::At(id) | From::After(id) = &range.from {
        command.insert("min", id.document());
    }
    if let Some(id) = &range.until {
        command.insert("max", id.document());
    }
    if only_ids {
        command.insert("projection", doc! { "_id": 1 });
    }
    with_read_concern(command, range)
}

/// The document whose `_id` is MaxKey, which an open end of the index's bounds leaves out.
fn find_last(range: &Range, pipeline: &[Document]) -> Document {
    let mut stages = vec![doc! { "$match": { "_id": Bson::MaxKey } }];
    stages.extend_from_slice(pipeline);
    let command = doc! { "aggregate": &range.namespace.coll, "pipeline": stages, "cursor": {} };
    with_read_concern(command, range)
}

/// The user's pipeline over the range up to and with `last`, or up to its end.
fn aggregate(range: &Range, last: Option<&Id>, pipeline: &[Document]) -> Document {
    let compare = |operator: &str, id: &Id| doc! { operator: ["$_id", { "$literal": id_value(id) }] };
    let mut bounds = Vec::new();
    match &range.from {
        From::Start => {}
        From::At(id) => bounds.push(compare("$gte", id)),
        From::After(id) => bounds.push(compare("$gt", id)),
    }
    match (last, &range.until) {
        (Some(last), _) => bounds.push(compare("$lte", last)),
        (None, Some(until)) => bounds.push(compare("$lt", until)),
        // What has MaxKey for its `_id` is looked up by itself.
        (None, None) => bounds.push(doc! { "$lt": ["$_id", { "$literal": Bson::MaxKey }] }),
    }
    let mut stages = vec![doc! { "$match": { "$expr": { "$and": bounds } } }, doc! { "$sort": { "_id": 1 } }];
    stages.extend_from_slice(pipeline);
    let command = doc! {
        "aggregate": &range.namespace.coll, "pipeline": stages, "cursor": {}, "hint": { "_id": 1 },
    };
    with_read_concern(command, range)
}

fn with_read_concern(mut command: Document, range: &Range) -> Document {
    let time = Timestamp { time: range.time.seconds, increment: range.time.increment };
    command.insert("readConcern", doc! { "level": "snapshot", "atClusterTime": time });
    command.insert("comment", format!("millrace snapshot of {}", range.namespace));
    command
}

fn id_value(id: &Id) -> Bson {
    id.document().remove("_id").expect("an _id has an _id")
}

/// What an error means for the snapshot.
fn judge(range: &Range, error: &Error) -> ReadError {
    match mongo::code(error) {
        Some(codes::SNAPSHOT_TOO_OLD | codes::SNAPSHOT_UNAVAILABLE) => {
            ReadError::Unavailable(mongo::describe(error))
        }
        Some(codes::COMMAND_NOT_SUPPORTED_ON_VIEW) => ReadError::NoCollection(mongo::describe(error)),
        _ => ReadError::Failed(mongo::failure(&format!("cannot copy {}", range.namespace), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::snapshot::plan::tests::{id, namespace};

    fn range(from: From, until: Option<Id>) -> Range {
        let time = ClusterTime { seconds: 7, increment: 3 };
        Range { part: 1, namespace: namespace("a.b"), from, until, limit: 10, time }
    }

    fn whole(value: &Bson) -> Option<i64> {
        value.as_i64().or(value.as_i32().map(i64::from))
    }

    #[test]
    fn a_range_is_read_by_the_bounds_of_the_index_at_its_time() {
        let command = find(&range(From::After(id("x")), Some(id(5))), false);
        assert_eq!(command.get_document("min").ok(), Some(&doc! { "_id": "x" }));
        assert_eq!(command.get_document("max").ok(), Some(&doc! { "_id": 5 }));
        assert_eq!(command.get("limit").and_then(whole), Some(11), "with the document before it");
        let concern = doc! { "level": "snapshot", "atClusterTime": Timestamp { time: 7, increment: 3 } };
        assert_eq!(command.get_document("readConcern").ok(), Some(&concern));
        let all = find(&range(From::Start, None), true);
        assert!(!all.contains_key("min") && !all.contains_key("max") && all.contains_key("projection"));
        assert_eq!(all.get("limit").and_then(whole), Some(10));
    }

    #[test]
    fn a_pipeline_sees_just_the_range() {
        let bounds = |from, until, last: Option<&Id>| {
            let command = aggregate(&range(from, until), last, &[doc! { "$match": { "a": 1 } }]);
            let stages = command.get_array("pipeline").expect("stages").clone();
            assert_eq!(stages.len(), 3);
            let filter = stages[0].as_document().expect("a stage").get_document("$match").expect("a filter");
            let and = filter.get_document("$expr").and_then(|expr| expr.get_array("$and")).expect("bounds");
            and.iter()
                .map(|bound| bound.as_document().and_then(|b| b.keys().next().cloned()))
                .collect::<Vec<_>>()
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(bounds(From::Start, None, None), [some("$lt")]);
        assert_eq!(bounds(From::At(id(1)), Some(id(5)), None), [some("$gte"), some("$lt")]);
        assert_eq!(bounds(From::After(id(1)), Some(id(5)), Some(&id(4))), [some("$gt"), some("$lte")]);
    }
}
