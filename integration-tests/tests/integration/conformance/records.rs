//! Events through the stages, and the records that are expected of them.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bson::{Bson, Document};
use millrace::{
    config::{self, ErrorPolicy},
    json,
    namespace::{Namespace, is_topic_byte},
    position::ResumeToken,
    raw,
    source::{
        decode::{self, Change},
        encode::{Buffers, Encoded},
        stages::{self, Stages},
    },
    takeover::Stored,
};

use super::{
    Mismatch,
    opens::{Run, stored},
};

/// A record.
pub(super) struct Sent {
    pub(super) topic: String,
    pub(super) key: Vec<u8>,
    pub(super) value: Option<Vec<u8>>,
    /// Where the stream stands after it; none within a copy.
    pub(super) token: Option<ResumeToken>,
}

/// The stages of a source.
pub(super) struct Sender<'a> {
    settings: &'a config::Source,
    stages: Stages,
    buffers: Buffers,
}

impl<'a> Sender<'a> {
    pub(super) fn new(settings: &'a config::Source) -> Self {
        Self { settings, stages: Stages::new(settings), buffers: Buffers::default() }
    }

    /// What an event becomes; the error ends the source.
    pub(super) fn event(&mut self, event: &Document) -> Result<Vec<Sent>, String> {
        let bytes = bson::serialize_to_vec(event).map_err(|error| error.to_string())?;
        let event = raw::Document::new(&bytes).map_err(|error| error.to_string())?;
        let change = decode::decode(event).map_err(|error| error.to_string())?;
        self.change(&change)
    }

    /// What a copied document becomes.
    pub(super) fn row(&mut self, namespace: &str, document: &Document) -> Result<Vec<Sent>, Mismatch> {
        let failed = |error: &dyn std::fmt::Display| Mismatch::plain(format!("{namespace}: {error}"));
        let Some((db, coll)) = namespace.split_once('.') else { return Err(failed(&"has no dot")) };
        let namespace = Namespace { db: db.into(), coll: coll.into() };
        let bytes = bson::serialize_to_vec(document).map_err(|error| failed(&error))?;
        let document = raw::Document::new(&bytes).map_err(|error| failed(&error))?;
        let row = stages::row(&namespace, document).map_err(|error| failed(&error))?;
        let row = raw::Document::new(&row).map_err(|error| failed(&error))?;
        let change = decode::decode(row).map_err(|error| failed(&error))?;
        self.change(&Change { snapshot: true, ..change }).map_err(|error| failed(&error))
    }

    fn change(&mut self, change: &Change<'_>) -> Result<Vec<Sent>, String> {
        // As the daemon does with what is of no namespace.
        let Some(db) = change.db else { return Ok(Vec::new()) };
        let plan = self.stages.plan(db, change.coll).map_err(|error| error.to_string())?;
        let encoded = match self.stages.encode(change, &plan, &mut self.buffers) {
            Ok(encoded) => encoded,
            Err(error) if self.settings.errors.encoding == ErrorPolicy::Fail => return Err(error.to_string()),
            Err(_) => return Ok(Vec::new()),
        };
        if encoded != Encoded::Nothing
            && (!self.buffers.headers.is_empty() || self.buffers.timestamp.is_some())
        {
            return Err("a record has headers or a timestamp, and the connector's have none".into());
        }
        let token = if change.snapshot { None } else { ResumeToken::new(change.token).ok() };
        let sent = |value: Option<Vec<u8>>| Sent {
            topic: plan.topic.clone(),
            key: self.buffers.key.clone(),
            value,
            token: token.clone(),
        };
        let value = Some(self.buffers.value.clone());
        Ok(match encoded {
            Encoded::Nothing => Vec::new(),
            Encoded::Record => vec![sent(value)],
            Encoded::Tombstone => vec![sent(None)],
            Encoded::RecordAndTombstone => vec![sent(value), sent(None)],
        })
    }
}

/// Compares the records of all polls, and reads their offsets as a take-over would.
pub(super) fn compare(run: &Run, polls: &[Bson], partition: &str) -> Result<(), Mismatch> {
    let polls = polls.iter().filter_map(Bson::as_array);
    let expected: Vec<&Document> = polls.flatten().filter_map(Bson::as_document).collect();
    if expected
        .iter()
        .any(|record| !record.get_str("topic").is_ok_and(|topic| topic.bytes().all(is_topic_byte)))
    {
        return Err(Mismatch::explained("topic_not_legal", "a topic that Kafka does not take"));
    }
    let without_others: Vec<&Document> =
        expected.iter().copied().filter(|record| !is_tombstone_of_no_document(record)).collect();
    all(run, &without_others, partition)?;
    if without_others.len() < expected.len() {
        return Err(Mismatch::explained("only_deletes_make_tombstones", "fewer tombstones"));
    }
    Ok(())
}

/// Whether the record has a token as its key and no value; heartbeats have the token alone.
fn is_tombstone_of_no_document(record: &Document) -> bool {
    let key = record.get_document("key").ok().and_then(|key| key.get_str("text").ok());
    record.get("value") == Some(&Bson::Null) && key.is_some_and(|key| key.starts_with("{\"_id\": {\"_data\""))
}

fn all(run: &Run, expected: &[&Document], partition: &str) -> Result<(), Mismatch> {
    if expected.len() != run.sent.len() {
        let topics: Vec<&str> = run.sent.iter().map(|sent| sent.topic.as_str()).collect();
        return Err(Mismatch::plain(format!(
            "{} records {topics:?} instead of {}",
            run.sent.len(),
            expected.len()
        )));
    }
    for (number, (sent, expected)) in run.sent.iter().zip(expected).enumerate() {
        record(sent, expected, partition)
            .map_err(|message| Mismatch::plain(format!("record {number}: {message}")))?;
        part("value", sent.value.as_deref(), expected.get("value")).map_err(|message| {
            let text = expected.get_document("value").ok().and_then(|value| value.get_str("text").ok());
            let is_json = text.is_none_or(|text| serde_json::from_str::<serde_json::Value>(text).is_ok());
            let deviation = (!is_json).then_some("not_json");
            Mismatch { message: format!("record {number}: {message}"), deviation }
        })?;
    }
    Ok(())
}

/// Compares all but the value.
fn record(sent: &Sent, expected: &Document, partition: &str) -> Result<(), String> {
    if expected.get_str("topic").ok() != Some(sent.topic.as_str()) {
        return Err(format!("topic {} instead of {:?}", sent.topic, expected.get("topic")));
    }
    part("key", Some(&sent.key), expected.get("key"))?;
    if let Ok(source) = expected.get_document("sourcePartition")
        && source.get_str("ns").ok() != Some(partition)
    {
        return Err(format!("partition {partition} instead of {source}"));
    }
    let Ok(offset) = expected.get_document("sourceOffset") else { return Ok(()) };
    match (stored(offset).map_err(|mismatch| mismatch.message)?, &sent.token) {
        (Stored::Token(expected), Some(token)) if expected != *token => {
            Err(format!("the offset {offset} is another one"))
        }
        _ => Ok(()),
    }
}

/// Compares a key or a value.
fn part(what: &str, own: Option<&[u8]>, expected: Option<&Bson>) -> Result<(), String> {
    let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let expected = match (own, expected) {
        (None, Some(Bson::Null)) => return Ok(()),
        (Some(_), Some(Bson::Document(expected))) => expected,
        _ => return Err(format!("{what} is {:?} instead of {expected:?}", own.map(shown))),
    };
    let own = own.unwrap_or_default();
    let is_equal = match (expected.get_str("format"), expected.get("text"), expected.get("json")) {
        (Ok("string"), Some(Bson::String(text)), _) => own == text.as_bytes(),
        (Ok("string"), _, Some(json)) => {
            let own: Option<serde_json::Value> = serde_json::from_slice(own).ok();
            own.is_some() && own == Some(plain(json))
        }
        (Ok("bson"), ..) => {
            let bytes = expected.get_str("base64").ok().and_then(|text| BASE64.decode(text).ok());
            bytes.as_deref() == Some(own)
        }
        _ => false,
    };
    if is_equal { Ok(()) } else { Err(format!("{what} is {} instead of {expected}", shown(own))) }
}

/// Plain JSON that was read as Extended JSON.
pub(super) fn plain(value: &Bson) -> serde_json::Value {
    let bytes = bson::serialize_to_vec(&bson::doc! { "value": value.clone() }).expect("a document");
    let mut text = Vec::new();
    let document = raw::Document::new(&bytes).expect("a document");
    json::write_document(document, json::Style::Relaxed, &mut text).expect("it was JSON before");
    let mut parsed: serde_json::Value = serde_json::from_slice(&text).expect("it was just written");
    parsed["value"].take()
}
