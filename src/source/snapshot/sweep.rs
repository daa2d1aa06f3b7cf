//! After changes were lost: which keys of a topic have no document any more?
//!
//! A snapshot brings what is there; what was deleted while nobody looked is only known to the topic. Where that is
//! compacted (so that its keys are what consumers have) and of one collection, its keys are read back, chunk after chunk.
//! Those that the collection does not have at the wave's time are sent as deletes, in their place in the stream, as rows
//! are. To delete something twice does no harm; what is there is never deleted, because a key that cannot be read as an
//! `_id` for certain is passed over.

use std::{collections::HashSet, sync::Arc};

use bson::{Bson, Document, RawDocumentBuf, Timestamp, doc};
use futures_util::TryStreamExt;
use mongodb::Client;
use rdkafka::Message;

use crate::{
    config::{self, ClusterTime, Format, RecordKey},
    json::{self, Style},
    kafka, mongo,
    namespace::Namespace,
    raw,
    retry::{Failure, Verdict},
    sink::identify::Id,
    source::route,
};

/// Keys that are looked up at once.
const CHUNK: usize = 1_000;

/// Reads the keys of one topic.
pub(super) struct Sweep {
    pub(super) namespace: Arc<Namespace>,
    reader: kafka::Reader,
    deleted: u64,
}

/// Deletes that are to be sent.
pub(in crate::source) struct Deletes {
    /// Whose.
    pub(in crate::source) namespace: Arc<Namespace>,
    /// The keys: documents with an `_id`.
    pub(in crate::source) keys: Vec<Vec<u8>>,
    /// Whether the topic has no more keys.
    pub(in crate::source) is_last: bool,
}

/// Why a topic's keys say nothing for certain about what `namespace` once had; `None` where they do.
pub fn obstacle(settings: &config::Source, Namespace { db, coll }: &Namespace) -> Option<&'static str> {
    let record = &settings.record;
    let is_match = |stage: &Document| stage.keys().all(|name| name == "$match");
    if !matches!(record.key, RecordKey::DocumentKey | RecordKey::Id) {
        Some("keys are not those of the documents")
    } else if record.key_format == Format::Json && record.json_style == Style::Simplified {
        Some("simplified JSON does not tell the types of _ids")
    } else if !settings.stream.pipeline.iter().all(is_match) {
        Some("the pipeline may change keys")
    } else if settings.transform.iter().any(|rule| rule.masks_id() && rule.namespaces.matches(db, coll)) {
        Some("a transformation masks the _id")
    } else if !route::is_of_one_namespace(&settings.topics, db, coll) {
        Some("the topic may be that of several collections")
    } else {
        None
    }
}

/// The next deletes of `namespace`; begins with its topic where there is no `sweep` yet. A topic that says nothing for
/// certain has none.
pub(super) async fn next(
    sweep: Option<Sweep>,
    namespace: &Arc<Namespace>,
    client: Client,
    settings: Arc<config::Source>,
    context: &kafka::Context,
    time: ClusterTime,
) -> (Option<Sweep>, Result<Deletes, Failure>) {
    let opened = match sweep {
        Some(sweep) => Ok(Ok(sweep)),
        None => Sweep::open(&settings, context, Arc::clone(namespace)).await,
    };
    let outcome = match opened {
        Ok(Ok(sweep)) => sweep.next(client, Arc::clone(&settings), time).await,
        Ok(Err(obstacle)) => (None, Err(Failure::stop(obstacle))),
        Err(failure) => (None, Err(failure)),
    };
    match outcome {
        (_, Err(failure)) if failure.verdict == Verdict::Stop => {
            let reason = failure.message;
            tracing::warn!(source = settings.name, %namespace, reason, "deletes that were lost stay unknown");
            (None, Ok(Deletes { namespace: Arc::clone(namespace), keys: Vec::new(), is_last: true }))
        }
        outcome => outcome,
    }
}

impl Sweep {
    /// Begins with the topic of `namespace`, up to where it ends now; the inner error is why that would say nothing.
    async fn open(
        settings: &config::Source,
        context: &kafka::Context,
        namespace: Arc<Namespace>,
    ) -> Result<Result<Self, &'static str>, Failure> {
        if let Some(obstacle) = obstacle(settings, &namespace) {
            return Ok(Err(obstacle));
        }
        let Ok(topic) = route::topic(&settings.topics, &namespace.db, Some(&namespace.coll)) else {
            return Ok(Err("its topic has no legal name"));
        };
        let (kafka, own_context) = (settings.kafka.clone(), context.clone());
        let opening = tokio::task::spawn_blocking(move || {
            let mut reader = kafka::Reader::open(&kafka, &own_context, &topic)?;
            reader.assign_all()?;
            Ok((reader.partitions()?.is_empty(), reader))
        });
        let (is_missing, reader) =
            opening.await.map_err(|error| Failure::retry(format!("reading keys back: {error}")))??;
        if is_missing {
            return Ok(Err("its topic does not exist"));
        }
        let admin = kafka::Admin::open(&settings.kafka, context)?;
        let policy = admin.topic_config(reader.topic(), "cleanup.policy").await;
        admin.close();
        match policy? {
            Some(policy) if policy.split(',').any(|policy| policy.trim() == "compact") => {
                Ok(Ok(Self { namespace, reader, deleted: 0 }))
            }
            Some(_) => Ok(Err("its topic is not compacted")),
            None => Ok(Err("whether its topic is compacted may not be asked")),
        }
    }

    /// The next keys, and which of them have no document at `time`.
    async fn next(
        mut self,
        client: Client,
        settings: Arc<config::Source>,
        time: ClusterTime,
    ) -> (Option<Self>, Result<Deletes, Failure>) {
        let read = tokio::task::spawn_blocking(move || {
            let keys = self.keys();
            (self, keys)
        });
        let (mut sweep, keys) = match read.await {
            Ok((sweep, Ok(keys))) => (sweep, keys),
            Ok((sweep, Err(failure))) => {
                sweep.reader.close();
                return (None, Err(failure));
            }
            Err(error) => return (None, Err(Failure::retry(format!("reading keys back: {error}")))),
        };
        let format = (settings.record.key_format, settings.record.json_style);
        let keys = keys.iter().filter_map(|key| read_key(key, format)).collect();
        let keys = match absent(&client, &sweep.namespace, keys, time).await {
            Ok(keys) => keys,
            Err(failure) => {
                sweep.reader.close();
                return (None, Err(failure));
            }
        };
        sweep.deleted += keys.len() as u64;
        let namespace = Arc::clone(&sweep.namespace);
        let is_last = sweep.reader.is_at_end();
        if is_last {
            let (topic, deleted) = (sweep.reader.topic(), sweep.deleted);
            tracing::info!(%namespace, topic, deleted, "the topic's keys are compared with the collection");
            sweep.reader.close();
            return (None, Ok(Deletes { namespace, keys, is_last }));
        }
        (Some(sweep), Ok(Deletes { namespace, keys, is_last }))
    }

    /// Up to a chunk of different keys, tombstones left out.
    fn keys(&mut self) -> Result<HashSet<Vec<u8>>, Failure> {
        let mut keys = HashSet::new();
        while keys.len() < CHUNK
            && let Some(message) = self.reader.read()?
        {
            if let (Some(key), Some(_)) = (message.key(), message.payload()) {
                keys.insert(key.to_vec());
            }
        }
        Ok(keys)
    }
}

/// The key as a document, where it can be read for certain.
fn read_key(key: &[u8], (format, style): (Format, Style)) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    match format {
        Format::Bson => bytes.extend_from_slice(key),
        Format::Json => json::read_document(key, &mut bytes).ok()?,
    }
    let document = raw::Document::new(&bytes).ok()?;
    document.get("_id").ok()??;
    // What is read has to be what was written, to the byte.
    let mut again = Vec::new();
    match format {
        Format::Bson => again.extend_from_slice(document.as_bytes()),
        Format::Json => json::write_document(document, style, &mut again).ok()?,
    }
    (again == key).then_some(bytes)
}

/// Those of `keys` whose `_id` no document has at `time`.
async fn absent(
    client: &Client,
    namespace: &Namespace,
    keys: Vec<Vec<u8>>,
    time: ClusterTime,
) -> Result<Vec<Vec<u8>>, Failure> {
    let malformed = |error: raw::Error| Failure::retry(format!("looking for keys of {namespace}: {error}"));
    let mut ids = Vec::new();
    for key in &keys {
        let id = bson::deserialize_from_slice::<Document>(key).ok().and_then(|mut key| key.remove("_id"));
        // Regular expressions are patterns inside of $in, and no _ids.
        ids.extend(id.filter(|id| !matches!(id, Bson::RegularExpression(_))));
    }
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let at = Timestamp { time: time.seconds, increment: time.increment };
    let command = doc! {
        "find": &namespace.coll, "filter": { "_id": { "$in": ids } }, "projection": { "_id": 1 },
        "batchSize": i32::try_from(keys.len()).unwrap_or(i32::MAX),
        "readConcern": { "level": "snapshot", "atClusterTime": at },
    };
    let what = format!("cannot look for keys of {namespace}");
    let failure = |error: mongodb::error::Error| mongo::failure(&what, &error);
    let cursor = client.database(&namespace.db).run_cursor_command(command).await.map_err(failure)?;
    let found: Vec<RawDocumentBuf> =
        cursor.with_type::<RawDocumentBuf>().try_collect().await.map_err(failure)?;
    let mut there = HashSet::new();
    for document in &found {
        let document = raw::Document::new(document.as_bytes()).map_err(malformed)?;
        if let Some(id) = document.get("_id").map_err(malformed)? {
            there.insert(identity(id));
        }
    }
    let is_absent = |key: &Vec<u8>| {
        let id = raw::Document::new(key).ok().and_then(|key| key.get("_id").ok().flatten());
        // An _id without an identity is one that no document can have.
        id.and_then(identity).is_some_and(|id| !there.contains(&Some(id)))
    };
    Ok(keys.into_iter().filter(|key| is_absent(key)).collect())
}

/// Equal for `_id`s that the server takes for equal.
fn identity(id: raw::Element<'_>) -> Option<Vec<u8>> {
    let id = Id { kind: id.kind, value: id.value.into() };
    id.fold_key().ok().map(|key| key.bytes.into_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::snapshot::plan::tests::id;

    #[test]
    fn a_key_is_read_only_where_nothing_else_could_be_meant() {
        let strict = (Format::Json, Style::Strict);
        let written = br#"{"_id": {"$oid": "64f1a2b3c4d5e6f708192a3b"}}"#;
        assert_eq!(read_key(br#"{"_id": 5}"#, strict).as_deref(), Some(id(5).as_bytes()));
        for wrong in [&b"{}"[..], b"", b"5", br#"{"id": 5}"#, br#"{ "_id" :  5 }"#, b"\xff"] {
            assert_eq!(read_key(wrong, strict), None, "{wrong:?}");
        }
        let document = read_key(written, strict).expect("as it is written");
        let oid =
            raw::Document::new(&document).expect("a document").get("_id").expect("sound").expect("an _id");
        assert_eq!(oid.kind, raw::kind::OBJECT_ID);
        let bson = id(5);
        assert_eq!(
            read_key(bson.as_bytes(), (Format::Bson, Style::Strict)).as_deref(),
            Some(bson.as_bytes())
        );
        assert_eq!(read_key(b"\x05", (Format::Bson, Style::Strict)), None);
    }

    #[test]
    fn keys_are_compared_only_where_they_are_those_of_the_documents() {
        let namespace = Namespace { db: "shop".into(), coll: "a".into() };
        let found = |lines: &str| obstacle(&config::tests::source(lines), &namespace);
        assert_eq!(found(""), None);
        assert_eq!(found("pipeline = '[{\"$match\": {\"a\": 1}}]'"), None);
        for lines in [
            "key = \"token\"",
            "json_style = \"simplified\"",
            "pipeline = '[{\"$unset\": \"documentKey\"}]'",
            "topic = \"all\"",
            "[[sources.shop.transform]]\nnamespaces = [\"*\"]\nredact = [\"_id\"]",
        ] {
            assert!(found(lines).is_some(), "{lines}");
        }
    }

    #[test]
    fn ids_that_the_server_takes_for_equal_are_one() {
        let identity_of = |value: Bson| {
            let id = id(value);
            let document = raw::Document::new(id.as_bytes()).expect("a document");
            identity(document.get("_id").expect("sound").expect("an _id"))
        };
        assert_eq!(identity_of(Bson::Int32(5)), identity_of(Bson::Double(5.0)));
        assert_ne!(identity_of(Bson::Int32(5)), identity_of(Bson::String("5".into())));
    }
}
