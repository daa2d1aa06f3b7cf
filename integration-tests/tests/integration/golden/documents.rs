//! Whole documents: what the official connector publishes without the event around them, and its copies of a
//! collection.

use anyhow::{Context, ensure};
use millrace::{
    json::Style,
    raw::{Document, Element, Writer, kind},
    source::decode::{Change, decode},
};

use super::{
    compare::Report,
    golden_events,
    recording::{Connector, Record, Recording, load, load_or_skip, load_types},
};

/// A record that has to have been recorded: topic, key and, but for a tombstone, value.
struct Expected {
    topic: String,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

#[test]
fn every_golden_document_and_its_key_is_written_to_the_byte() -> anyhow::Result<()> {
    let events = golden_events()?;
    let mut report = Report::default();
    for (file, style, has_tombstones) in
        [("document-default", Style::Strict, true), ("document-simplified", Style::Simplified, false)]
    {
        if let Some(texts) = load_or_skip(Connector::OfficialSource, file)? {
            compare(&published(&events, has_tombstones)?, &texts, file, style, &mut report)?;
        }
    }
    // The same records again, so the project's own folder does without them.
    let folder = super::recording::folder(Connector::OfficialSource);
    if let Some(texts) = load(&folder, "document-key-id")? {
        compare(&published(&events, true)?, &texts, "document-key-id", Style::Strict, &mut report)?;
    }
    report.finish()
}

#[test]
fn every_golden_copy_of_a_stored_document_is_written_to_the_byte() -> anyhow::Result<()> {
    const FILE: &str = "copy-existing";
    let (Some(types), Some(texts)) = (load_types()?, load_or_skip(Connector::OfficialSource, FILE)?) else {
        return Ok(());
    };
    let topic = &texts.records.first().context("the copy has records")?.topic;
    let copies: Vec<_> = types
        .iter()
        .map(|bson| {
            let document = Document::new(bson)?;
            let id = document.get("_id")?.context("a stored document has an `_id`")?;
            let value = Some(copied(document, id));
            Ok(Expected { topic: topic.clone(), key: only(id), value })
        })
        .collect::<anyhow::Result<_>>()?;
    let mut report = Report::default();
    compare(&copies, &texts, FILE, Style::Strict, &mut report)?;
    report.finish()
}

/// What the connector makes of the events when it publishes documents alone.
fn published(events: &Recording, has_tombstones: bool) -> anyhow::Result<Vec<Expected>> {
    let mut published = Vec::new();
    for record in &events.records {
        let value = record.value.as_ref().context("an event has a value")?.bytes()?;
        let change = decode(Document::new(&value)?)?;
        if let Some(document) = change.full_document {
            published.push(expected(record, &change, Some(document))?);
        } else if has_tombstones && has_tombstone(change.operation) {
            published.push(expected(record, &change, None)?);
        }
    }
    Ok(published)
}

fn expected(record: &Record, change: &Change<'_>, value: Option<Document<'_>>) -> anyhow::Result<Expected> {
    let key = match change.document_key {
        Some(key) => key.as_bytes().to_vec(),
        None => record.key.as_ref().context("an event has a key")?.bytes()?,
    };
    Ok(Expected {
        topic: record.topic.clone(),
        key,
        value: value.map(|document| document.as_bytes().to_vec()),
    })
}

/// The connector makes a tombstone of every event without `fullDocument`; without expanded events these are all.
fn has_tombstone(operation: &str) -> bool {
    matches!(operation, "delete" | "drop" | "rename" | "dropDatabase" | "invalidate")
}

/// `{"_id": id}`
fn only(id: Element<'_>) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.begin();
    writer.value(b"_id", id.kind, id.value);
    writer.end();
    writer.into_bytes()
}

/// The event that the connector invents for a document that it copies.
fn copied(document: Document<'_>, id: Element<'_>) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.begin();
    writer.begin_document(b"_id");
    writer.value(b"_id", id.kind, id.value);
    writer.boolean(b"copyingData", true);
    writer.end();
    writer.string(b"operationType", b"insert");
    writer.value(b"documentKey", kind::DOCUMENT, &only(id));
    writer.document(b"fullDocument", document);
    writer.begin_document(b"ns");
    writer.string(b"db", b"golden");
    writer.string(b"coll", b"types");
    writer.end();
    writer.end();
    writer.into_bytes()
}

fn compare(
    expected: &[Expected],
    texts: &Recording,
    file: &str,
    style: Style,
    report: &mut Report,
) -> anyhow::Result<()> {
    ensure!(
        expected.len() == texts.records.len(),
        "{file} has {} records, {} were expected",
        texts.records.len(),
        expected.len()
    );
    for (index, (expected, text)) in expected.iter().zip(&texts.records).enumerate() {
        let place = format!("{file}, topic {}, record {index}", text.topic);
        ensure!(expected.topic == text.topic, "{place}: topic {} was expected", expected.topic);
        let golden_key = text.key.as_ref().with_context(|| format!("{place}: no key"))?.bytes()?;
        let written = report.compare_written(&expected.key, style, &golden_key);
        report.take(&format!("{place}, key"), written);
        ensure!(expected.value.is_some() == text.value.is_some(), "{place}: one is a tombstone, one is not");
        if let (Some(bson), Some(golden)) = (&expected.value, &text.value) {
            let written = report.compare_written(bson, style, &golden.bytes()?);
            report.take(&format!("{place}, value"), written);
        }
    }
    Ok(())
}
