//! The codecs against golden data: what the official connector really wrote for a fixed list of changes.
//!
//! The same events were recorded several times, record for record: as raw BSON (`event-bson`) and in JSON styles. The
//! writer has to make the strict text from the BSON to the byte; the reader has to make the BSON from each text.
//! `GOLDEN=DIR cargo test --package integration-tests golden` runs the same over another folder of this shape: `DIR`
//! (absolute, or as seen from the workspace's root) has the files or a folder `official-source` with them, each plain or
//! gzipped (`.json.gz`). What a missing file leaves uncompared is printed; comparing nothing at all is a failure.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use flate2::read::GzDecoder;
use millrace::{
    json::{self, Style},
    raw::{Document, kind},
};
use serde::Deserialize;

const BSON: &str = "event-bson";
const STRICT: &str = "event-default-images-expanded";
const CANONICAL: &str = "event-extended";

#[test]
fn every_golden_event_is_written_and_read_to_the_byte() -> anyhow::Result<()> {
    let folder = golden_folder();
    let Some(events) = load(&folder, BSON)? else {
        bail!("{}: no {BSON}.json or {BSON}.json.gz, so there is nothing to compare", folder.display());
    };
    let mut report = Report::default();
    for (file, is_written) in [(STRICT, true), (CANONICAL, false)] {
        match load(&folder, file)? {
            Some(texts) => compare_files(&events, &texts, file, is_written, &mut report)?,
            None => println!("skipped: {file} is not in {}", folder.display()),
        }
    }
    println!(
        "{} texts written, {} of them with a wrapper in place of a bare NaN or Infinity; {} texts read, {} of them \
         compared as text because JSON cannot carry all that is in the BSON",
        report.written_count, report.bare_word_count, report.read_count, report.read_as_text_count
    );
    ensure!(report.written_count + report.read_count > 0, "nothing was compared");
    ensure!(report.differences.is_empty(), "{}", report.summary());
    Ok(())
}

#[test]
fn golden_files_are_found_plain_or_gzipped() -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("millrace-golden-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let plain = File::open(own_folder().join(format!("{BSON}.json")))?;
    let mut encoder = flate2::read::GzEncoder::new(plain, flate2::Compression::fast());
    io::copy(&mut encoder, &mut File::create(folder.join(format!("{BSON}.json.gz")))?)?;
    let gzipped = load(&folder, BSON)?.context("the gzipped file")?;
    let missing = load(&folder, STRICT)?;
    fs::remove_dir_all(&folder)?;
    let plain = load(&own_folder(), BSON)?.context("the plain file")?;
    assert_eq!(gzipped.records.len(), plain.records.len());
    assert!(missing.is_none());
    Ok(())
}

/// One recording of the connector.
#[derive(Deserialize)]
struct Recording {
    records: Vec<Record>,
}

#[derive(Deserialize)]
struct Record {
    topic: String,
    key: Option<Payload>,
    value: Option<Payload>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Payload {
    Text(String),
    Hex(String),
}

impl Payload {
    fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Text(text) => Ok(text.clone().into_bytes()),
            Self::Hex(digits) => (0..digits.len())
                .step_by(2)
                .map(|at| {
                    let pair = digits.get(at..at + 2).context("hex digits come in pairs")?;
                    u8::from_str_radix(pair, 16).context("hex digits")
                })
                .collect(),
        }
    }
}

#[derive(Default)]
struct Report {
    written_count: usize,
    bare_word_count: usize,
    read_count: usize,
    read_as_text_count: usize,
    differences: Vec<String>,
}

impl Report {
    fn summary(&self) -> String {
        const SHOWN: usize = 20;
        let shown = self.differences.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join("\n");
        format!("{} differences, of which the first:\n{shown}", self.differences.len())
    }
}

fn golden_folder() -> PathBuf {
    let Some(folder) = std::env::var_os("GOLDEN").map(PathBuf::from) else { return own_folder() };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let inner = folder.join("official-source");
    if inner.is_dir() { inner } else { folder }
}

fn own_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden/official-source")
}

/// The recording, if the folder has it.
fn load(folder: &Path, file: &str) -> anyhow::Result<Option<Recording>> {
    let plain = folder.join(format!("{file}.json"));
    let gzipped = folder.join(format!("{file}.json.gz"));
    let (path, is_gzipped) = if plain.exists() { (plain, false) } else { (gzipped, true) };
    if !path.exists() {
        return Ok(None);
    }
    let place = || path.display().to_string();
    let mut source = File::open(&path).with_context(place)?;
    let mut text = String::new();
    let read = if is_gzipped {
        GzDecoder::new(source).read_to_string(&mut text)
    } else {
        source.read_to_string(&mut text)
    };
    read.with_context(place)?;
    serde_json::from_str(&text).map(Some).with_context(place)
}

fn compare_files(
    events: &Recording,
    texts: &Recording,
    file: &str,
    is_written: bool,
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
            let compared = if is_written { compare_written(&bson, &text, report) } else { Ok(()) }
                .and_then(|()| compare_read(&bson, &text, report));
            if let Err(difference) = compared {
                report.differences.push(format!("{place}: {difference:#}"));
            }
        }
    }
    Ok(())
}

/// The strict text of `bson` has to be `expected`.
fn compare_written(bson: &[u8], expected: &[u8], report: &mut Report) -> anyhow::Result<()> {
    report.written_count += 1;
    let (text, has_bare_words) = with_bare_words(&strict_text(bson)?);
    report.bare_word_count += usize::from(has_bare_words);
    ensure_equal("written", text.as_bytes(), expected)
}

/// Reading `text` has to give `bson`; where text cannot carry all of it, writing that again has to give `text`.
fn compare_read(bson: &[u8], text: &[u8], report: &mut Report) -> anyhow::Result<()> {
    report.read_count += 1;
    let mut read = Vec::new();
    json::read_document(text, &mut read)?;
    if read == bson || !holds_what_text_cannot_carry(Document::new(bson)?)? {
        return ensure_equal("read", &read, bson);
    }
    report.read_as_text_count += 1;
    ensure_equal("read and written", strict_text(&read)?.as_bytes(), strict_text(bson)?.as_bytes())
}

fn strict_text(bson: &[u8]) -> anyhow::Result<String> {
    let mut text = Vec::new();
    json::write_document(Document::new(bson)?, Style::Strict, &mut text)?;
    Ok(String::from_utf8(text)?)
}

/// Our one deviation undone: the connector writes what is not finite as a bare word. (In a user's text the wrapper's
/// quotes would be escaped, so this never touches a string.)
fn with_bare_words(text: &str) -> (String, bool) {
    let mut bare = text.to_owned();
    for word in ["NaN", "Infinity", "-Infinity"] {
        bare = bare.replace(&format!("{{\"$numberDouble\": \"{word}\"}}"), word);
    }
    let has_bare_words = bare != text;
    (bare, has_bare_words)
}

/// A DBPointer, text that is not UTF-8, or a user's own document that may look like a wrapper.
fn holds_what_text_cannot_carry(document: Document<'_>) -> anyhow::Result<bool> {
    for element in document.elements() {
        let element = element?;
        let is_lossy = element.kind == kind::DB_POINTER
            || std::str::from_utf8(element.name).is_err()
            || element.as_text().is_some_and(|text| std::str::from_utf8(text).is_err());
        if is_lossy {
            return Ok(true);
        }
        if let Some(inner) = element.as_document() {
            let may_look_like_a_wrapper =
                inner.elements().next().transpose()?.is_some_and(|first| first.name.starts_with(b"$"));
            if may_look_like_a_wrapper || holds_what_text_cannot_carry(inner)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn ensure_equal(what: &str, ours: &[u8], golden: &[u8]) -> anyhow::Result<()> {
    if ours == golden {
        return Ok(());
    }
    const CONTEXT: usize = 40;
    let at = ours.iter().zip(golden).take_while(|(a, b)| a == b).count();
    let around = |bytes: &[u8]| {
        let end = bytes.len().min(at + CONTEXT);
        bytes[at.saturating_sub(CONTEXT).min(end)..end].escape_ascii().to_string()
    };
    bail!(
        "{what}: first differs at byte {at}\n    ours:   …{}\n    golden: …{}",
        around(ours),
        around(golden)
    )
}
