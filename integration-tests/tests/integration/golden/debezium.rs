//! The texts in Debezium's envelopes.
//!
//! Debezium ran over its own, second run of the writes. Of `types` the documents are the same, so keys and documents
//! are made from their BSON. Of everything else there is only the text: it is read and has to be written again.

use anyhow::{Context, bail, ensure};
use millrace::{
    json::{self, Style},
    raw::Document,
};
use serde::Deserialize;

use super::{
    compare::{Report, ensure_equal},
    recording::{Connector, Payload, Record, load_or_skip, load_types},
};

const FILE: &str = "debezium-plain";

/// The parts of an envelope that are JSON in JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    before: Option<String>,
    after: Option<String>,
    update_description: Option<UpdateDescription>,
    source: Source,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateDescription {
    updated_fields: Option<String>,
}

#[derive(Deserialize)]
struct Source {
    lsid: Option<String>,
}

#[test]
fn every_text_in_the_golden_envelopes_of_debezium_is_written_to_the_byte() -> anyhow::Result<()> {
    let Some(texts) = load_or_skip(Connector::Debezium, FILE)? else { return Ok(()) };
    let mut report = Report::default();
    for (index, record) in texts.records.iter().enumerate() {
        let Some(Payload::Text(value)) = &record.value else { continue };
        let envelope: Envelope = serde_json::from_str(value)?;
        let updated_fields = envelope.update_description.and_then(|update| update.updated_fields);
        for (name, text, style) in [
            ("before", envelope.before, Style::Debezium),
            ("after", envelope.after, Style::Debezium),
            ("lsid", envelope.source.lsid, Style::Debezium),
            ("updatedFields", updated_fields, Style::Relaxed),
        ] {
            let Some(text) = text else { continue };
            let mut bson = Vec::new();
            let place = format!("{FILE}, topic {}, record {index}, {name}", record.topic);
            json::read_document(text.as_bytes(), &mut bson).with_context(|| place.clone())?;
            let written = report.compare_written(&bson, style, text.as_bytes());
            report.take(&place, written);
            let embedded = format!("\"{name}\":{}", quoted(&text));
            report.take(&place, holds(value, &embedded));
        }
    }
    report.finish()
}

#[test]
fn every_stored_document_has_the_key_and_the_text_that_debezium_gave_it() -> anyhow::Result<()> {
    let (Some(types), Some(texts)) = (load_types()?, load_or_skip(Connector::Debezium, FILE)?) else {
        return Ok(());
    };
    let mut report = Report::default();
    let records: Vec<_> = texts.records.iter().filter(|record| record.topic.ends_with(".types")).collect();
    ensure!(records.len() == types.len(), "{} records of {} documents", records.len(), types.len());
    for (index, (bson, record)) in types.iter().zip(records).enumerate() {
        let place = format!("{FILE}, topic {}, record {index}", record.topic);
        let (key, value) = (text(record, "key")?, text(record, "value")?);
        let written = ensure_equal("written", key_of(bson)?.as_bytes(), key.as_bytes());
        report.take(&format!("{place}, key"), written);
        let after = serde_json::from_str::<Envelope>(value)?.after.context("an inserted document")?;
        let written = report.compare_written(bson, Style::Debezium, after.as_bytes());
        report.take(&format!("{place}, value"), written);
    }
    report.finish()
}

fn text<'a>(record: &'a Record, part: &str) -> anyhow::Result<&'a str> {
    let payload = if part == "key" { &record.key } else { &record.value };
    match payload {
        Some(Payload::Text(text)) => Ok(text),
        _ => bail!("topic {}: a {part} that is not text", record.topic),
    }
}

/// `{"id": …}` around the text of the document's `_id`.
fn key_of(bson: &[u8]) -> anyhow::Result<String> {
    let id = Document::new(bson)?.get("_id")?.context("a stored document has an `_id`")?;
    let mut text = Vec::new();
    json::write_value(id, Style::DebeziumKey, &mut text)?;
    Ok(format!("{{\"id\":{}}}", quoted(std::str::from_utf8(&text)?)))
}

fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    json::write_quoted(text.as_bytes(), &mut out);
    String::from_utf8(out).expect("JSON is UTF-8")
}

fn holds(value: &str, part: &str) -> anyhow::Result<()> {
    ensure!(value.contains(part), "the value does not hold\n    ours:   {part}\n    golden: {value}");
    Ok(())
}
