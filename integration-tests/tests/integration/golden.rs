//! The codecs against golden data: what real connectors wrote for a fixed list of changes.
//!
//! The official connector recorded the same events several times, record for record: as raw BSON (`event-bson`) and in
//! its three JSON formatters. From the BSON the writer has to make each text to the byte, and the reader has to make
//! the BSON from each text that keeps the types. What else is recorded is derived from the same BSON: whole documents
//! and copies of a collection ([`documents`]), Debezium's envelopes ([`debezium`]).
//!
//! `GOLDEN=DIR cargo test --package integration-tests golden` runs the same over another folder of this shape: `DIR`
//! (absolute, or as seen from the workspace's root) has the files or folders `official-source` and `debezium` with them,
//! each plain or gzipped (`.json.gz`). What a missing file leaves uncompared is printed; comparing no event at all is a
//! failure.

mod compare;
mod debezium;
mod documents;
mod recording;

use std::{
    fs::{self, File},
    io,
};

use anyhow::{Context, bail, ensure};
use millrace::json::Style;

use self::{
    compare::Report,
    recording::{Connector, Recording, load, load_or_skip, own_folder},
};

const BSON: &str = "event-bson";
const STRICT: &str = "event-default-images-expanded";
const CANONICAL: &str = "event-extended";
const SIMPLIFIED: &str = "event-simplified";

#[test]
fn every_golden_event_is_written_and_read_to_the_byte() -> anyhow::Result<()> {
    let events = golden_events()?;
    let mut report = Report::default();
    for (file, style) in
        [(STRICT, Style::Strict), (CANONICAL, Style::Canonical), (SIMPLIFIED, Style::Simplified)]
    {
        if let Some(texts) = load_or_skip(Connector::OfficialSource, file)? {
            compare_files(&events, &texts, file, style, &mut report)?;
        }
    }
    ensure!(report.compared_count() > 0, "nothing was compared");
    report.finish()
}

#[test]
fn golden_files_are_found_plain_or_gzipped() -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("millrace-golden-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let plain = File::open(own_folder(Connector::OfficialSource).join(format!("{BSON}.json")))?;
    let mut encoder = flate2::read::GzEncoder::new(plain, flate2::Compression::fast());
    io::copy(&mut encoder, &mut File::create(folder.join(format!("{BSON}.json.gz")))?)?;
    let gzipped = load(&folder, BSON)?.context("the gzipped file")?;
    let missing = load(&folder, STRICT)?;
    fs::remove_dir_all(&folder)?;
    let plain = load(&own_folder(Connector::OfficialSource), BSON)?.context("the plain file")?;
    assert_eq!(gzipped.records.len(), plain.records.len());
    assert!(missing.is_none());
    Ok(())
}

/// The recording that all others of the official connector are derived from.
fn golden_events() -> anyhow::Result<Recording> {
    let folder = recording::folder(Connector::OfficialSource);
    load(&folder, BSON)?.with_context(|| {
        format!("{}: no {BSON}.json or {BSON}.json.gz, so there is nothing to compare", folder.display())
    })
}

fn compare_files(
    events: &Recording,
    texts: &Recording,
    file: &str,
    style: Style,
    report: &mut Report,
) -> anyhow::Result<()> {
    ensure!(
        events.records.len() == texts.records.len(),
        "{BSON} has {} records, {file} {}: they are not of the same events",
        events.records.len(),
        texts.records.len()
    );
    for (index, (event, text)) in events.records.iter().zip(&texts.records).enumerate() {
        ensure!(event.topic == text.topic, "{file}: record {index} is of another topic than in {BSON}");
        for (part, bson, text) in [("key", &event.key, &text.key), ("value", &event.value, &text.value)] {
            let place = format!("{file}, topic {}, record {index}, {part}", event.topic);
            let (bson, text) = match (bson, text) {
                (Some(bson), Some(text)) => (bson.bytes()?, text.bytes()?),
                (None, None) => continue,
                _ => bail!("{place}: only one of the two files has it"),
            };
            let written = report.compare_written(&bson, style, &text);
            report.take(&place, written);
            if keeps_types(style) {
                let read = report.compare_read(&bson, &text);
                report.take(&place, read);
            }
        }
    }
    Ok(())
}

/// Whether the text of this style reads back as the same BSON.
fn keeps_types(style: Style) -> bool {
    matches!(style, Style::Strict | Style::Canonical)
}
