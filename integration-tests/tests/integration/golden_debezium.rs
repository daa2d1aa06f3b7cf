//! Debezium's envelope against golden data: what Debezium's MongoDB connector really wrote for a fixed list of changes.
//!
//! The events behind the records were not kept, so each is made again from its record; documents of `types`, which has
//! every BSON type, are those that were stored. Key and value have to be the golden ones to the byte, but for the time of
//! processing and for words that JSON does not have (a bare NaN or Infinity: ours is a wrapper).

use std::{fs::File, io::Read, path::Path};

use anyhow::{Context, ensure};
use bson::{Bson, Document, RawDocumentBuf, doc};
use flate2::read::GzDecoder;
use millrace::{
    config::{Format, Headers, Record, RecordKey, RecordValue, Timestamp},
    json::{self, Style},
    raw,
    source::{
        decode,
        encode::{Buffers, Encoded, Encoder},
        stages::Plan,
    },
};
use serde_json::Value;

#[test]
fn every_golden_envelope_is_written_to_the_byte_without_schemas() -> anyhow::Result<()> {
    compare("debezium-plain", false)
}

#[test]
fn every_golden_envelope_is_written_to_the_byte_with_schemas() -> anyhow::Result<()> {
    compare("debezium-schemas", true)
}

fn compare(file: &str, has_schemas: bool) -> anyhow::Result<()> {
    let recording = load(file)?;
    let stored = load("final-state.bson.hex")?;
    let mut stored = stored["types"].as_array().context("documents")?.iter();
    let encoder = Encoder::new(&settings(&format!("g.{file}"), has_schemas));
    let mut buffers = Buffers::default();
    let mut last = Encoded::Nothing;
    let mut compared = 0;
    for record in recording["records"].as_array().context("records")? {
        let place = || format!("{file}: {}", record["key"]);
        let Some(value) = record["value"]["text"].as_str() else {
            ensure!(last == Encoded::RecordAndTombstone, "{}: a tombstone after no delete", place());
            ensure!(text(&buffers.key)? == record["key"]["text"].as_str().context("a key")?, "{}", place());
            continue;
        };
        let envelope: Value = serde_json::from_str(&without_bare_words(value)).with_context(place)?;
        let envelope = if has_schemas { &envelope["payload"] } else { &envelope };
        let mut event = event_of(envelope, &record["key"]).with_context(place)?;
        if record["topic"] == "golden.types" {
            let document = hex(stored.next().and_then(Value::as_str).context("a stored document")?)?;
            event.insert("fullDocument", bson::deserialize_from_slice::<Document>(&document)?);
            event.insert(
                "documentKey",
                doc! { "_id": event.get_document("fullDocument")?.get("_id").cloned() },
            );
        }
        let event = RawDocumentBuf::try_from(&event)?;
        let change = decode::decode(raw::Document::new(event.as_bytes())?)?;
        let mut plan = Plan::default();
        plan.namespace = format!("golden.{}", change.coll.unwrap_or_default());
        last = encoder.encode(&change, &plan, &mut buffers).with_context(place)?;
        assert_eq!(text(&buffers.key)?, record["key"]["text"].as_str().context("a key")?, "{file}");
        let ours = with_bare_words(text(&buffers.value)?);
        assert_eq!(without_processing_time(&ours)?, without_processing_time(value)?, "{}", place());
        compared += 1;
    }
    ensure!(stored.next().is_none() && compared > 100, "{compared} compared");
    Ok(())
}

fn settings(name: &str, debezium_schemas: bool) -> Record {
    Record {
        value: RecordValue::Debezium,
        format: Format::Json,
        key_format: Format::Json,
        json_style: Style::Strict,
        key: RecordKey::DocumentKey,
        tombstones: true,
        headers: Headers::Auto,
        timestamp: Timestamp::ClusterTime,
        debezium_name: name.to_owned(),
        debezium_schemas,
    }
}

/// The change event that `envelope` was made of.
fn event_of(envelope: &Value, key: &Value) -> anyhow::Result<Document> {
    let source = &envelope["source"];
    let update = &envelope["updateDescription"];
    let operation = match envelope["op"].as_str() {
        Some("c") => "insert",
        Some("d") => "delete",
        _ if update.is_null() => "replace",
        _ => "update",
    };
    let time = u32::try_from(source["ts_ms"].as_i64().context("a time")? / 1000)?;
    let increment = u32::try_from(source["ord"].as_i64().context("a place")?)?;
    let mut event = doc! {
        "_id": { "_data": "82" },
        "operationType": operation,
        "clusterTime": bson::Timestamp { time, increment },
        "wallTime": bson::DateTime::from_millis(source["wallTime"].as_i64().context("a wall time")?),
        "ns": { "db": source["db"].as_str(), "coll": source["collection"].as_str() },
    };
    for (name, image) in [("fullDocumentBeforeChange", "before"), ("fullDocument", "after")] {
        if let Some(image) = envelope[image].as_str() {
            event.insert(name, parsed(image)?);
        }
    }
    let of_image = |name| event.get_document(name).ok().and_then(|image| image.get("_id").cloned());
    let id = match of_image("fullDocument").or_else(|| of_image("fullDocumentBeforeChange")) {
        Some(id) => id,
        None => {
            let key: Value = serde_json::from_str(key["text"].as_str().context("a key")?)?;
            let key = if key["payload"].is_null() { &key } else { &key["payload"] };
            parsed(&format!("{{\"_id\": {}}}", key["id"].as_str().context("an id")?))?
                .remove("_id")
                .context("an id")?
        }
    };
    event.insert("documentKey", doc! { "_id": id });
    if let Some(session) = source["lsid"].as_str() {
        event.insert("lsid", parsed(session)?);
        event.insert("txnNumber", source["txnNumber"].as_i64().context("a number")?);
    }
    if !update.is_null() {
        event.insert("updateDescription", update_of(update)?);
    }
    Ok(event)
}

fn update_of(update: &Value) -> anyhow::Result<Document> {
    let list = |name: &str| update[name].as_array().cloned().unwrap_or_default();
    let removed: Vec<Bson> = list("removedFields").iter().map(|name| name.as_str().into()).collect();
    let truncated = list("truncatedArrays").into_iter().map(|array| {
        let size = i32::try_from(array["size"].as_i64().context("a size")?)?;
        Ok(Bson::Document(doc! { "field": array["field"].as_str(), "newSize": size }))
    });
    Ok(doc! {
        "updatedFields": parsed(update["updatedFields"].as_str().context("fields")?)?,
        "removedFields": removed,
        "truncatedArrays": truncated.collect::<anyhow::Result<Vec<_>>>()?,
    })
}

fn parsed(text: &str) -> anyhow::Result<Document> {
    let mut bytes = Vec::new();
    json::read_document(text.as_bytes(), &mut bytes)?;
    Ok(bson::deserialize_from_slice(&bytes)?)
}

/// `after` is a text, so the words stand at the end of a quoted document there.
const BARE_WORDS: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

fn with_bare_words(text: &str) -> String {
    let put =
        |text: String, word: &&str| text.replace(&format!("{{\\\"$numberDouble\\\": \\\"{word}\\\"}}"), word);
    BARE_WORDS.iter().fold(text.to_owned(), put)
}

fn without_bare_words(text: &str) -> String {
    let put = |text: String, word: &&str| {
        text.replace(&format!(": {word}}}"), &format!(": {{\\\"$numberDouble\\\": \\\"{word}\\\"}}}}"))
    };
    BARE_WORDS.iter().fold(text.to_owned(), put)
}

/// The time at which the connector handled the event stands between these.
fn without_processing_time(value: &str) -> anyhow::Result<String> {
    let (before, rest) = value.rsplit_once("\",\"ts_ms\":").context("a time")?;
    let (_, after) = rest.split_once(',').context("more members")?;
    Ok(format!("{before} … {after}"))
}

fn text(bytes: &[u8]) -> anyhow::Result<&str> {
    Ok(std::str::from_utf8(bytes)?)
}

fn hex(digits: &str) -> anyhow::Result<Vec<u8>> {
    let pair = |at| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..digits.len()).step_by(2).map(|at| pair(at).context("hex digits")).collect()
}

fn load(file: &str) -> anyhow::Result<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden/debezium");
    let mut text = String::new();
    GzDecoder::new(File::open(folder.join(format!("{file}.json.gz")))?).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}
