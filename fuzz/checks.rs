//! What has to hold for arbitrary bytes: nothing panics, and what is written is JSON.
//!
//! The fuzz targets call these checks, and so does a test that replays `corpus/` with mutations in every run of
//! `cargo test` (integration-tests/tests/integration/fuzz.rs). Longer, on demand, with libFuzzer (new inputs go to
//! `fuzz/found`, which git ignores) or, without nightly Rust, with the test's own mutations:
//!
//! ```text
//! mkdir -p fuzz/found/write && cargo +nightly fuzz run write fuzz/found/write fuzz/corpus/bson
//! mkdir -p fuzz/found/read && cargo +nightly fuzz run read fuzz/found/read fuzz/corpus/json
//! mkdir -p fuzz/found/decode && cargo +nightly fuzz run decode fuzz/found/decode fuzz/corpus/bson
//! FUZZ_MUTATIONS=100000 cargo test --package integration-tests fuzz -- --ignored --nocapture
//! ```
//!
//! An input that broke something belongs in `corpus/`, under a name that says what it is.

use millrace::{
    json::{self, Style},
    raw::{Document, Element},
    source::decode,
};
use serde_json::Value;

const STYLES: [Style; 6] =
    [Style::Strict, Style::Canonical, Style::Relaxed, Style::Simplified, Style::Debezium, Style::DebeziumKey];

/// `bytes` as BSON: the walker, every accessor, the writers; and as text to be quoted.
pub fn write(bytes: &[u8]) {
    quote(bytes);
    let Ok(document) = Document::new(bytes) else { return };
    touch(document, 0);
    for style in STYLES {
        let mut out = Vec::new();
        let written = json::write_document(document, style, &mut out);
        assert_eq!(written.is_err(), out.is_empty(), "an error leaves the buffer as it was: {written:?}");
        if let Ok(()) = written {
            assert_json(&out);
            // A user's document that looks like a wrapper may be refused, but not with a panic.
            read(&out);
        }
    }
    for element in document.elements().map_while(Result::ok) {
        let mut out = Vec::new();
        if json::write_value(element, Style::DebeziumKey, &mut out).is_ok() {
            assert_json(&out);
        }
    }
}

/// `bytes` as JSON: what is read is sound BSON, and comes back from its canonical text.
pub fn read(bytes: &[u8]) {
    let mut document = Vec::new();
    if json::read_document(bytes, &mut document).is_err() {
        assert!(document.is_empty(), "an error leaves the buffer as it was");
        return;
    }
    let mut text = Vec::new();
    let sound = Document::new(&document).expect("what is read is a document");
    json::write_document(sound, Style::Canonical, &mut text).expect("what is read can be written");
    let mut again = Vec::new();
    json::read_document(&text, &mut again).expect("what is written can be read");
    assert_eq!(again, document, "{}", String::from_utf8_lossy(&text));
}

/// `bytes` as a change event.
pub fn decode(bytes: &[u8]) {
    let Ok(document) = Document::new(bytes) else { return };
    let Ok(change) = decode::decode(document) else { return };
    for part in [Some(change.event), Some(change.token), change.document_key, change.full_document] {
        touch(part.unwrap_or(Document::EMPTY), 0);
    }
}

/// Reads every element in every way, down to where malformed BSON ends it.
fn touch(document: Document<'_>, level: usize) {
    // Deeper than any writer goes.
    if level > 300 {
        return;
    }
    for element in document.elements().map_while(Result::ok) {
        let numbers = (element.as_i64(), element.as_f64(), element.as_bool(), element.as_timestamp());
        assert!(format!("{numbers:?}").len() < 200);
        assert!(element.as_str().is_none_or(|text| element.as_text() == Some(text.as_bytes())));
        assert!(element.name.len() + element.value.len() < document.as_bytes().len());
        assert_eq!(found(document, element.name).is_some(), std::str::from_utf8(element.name).is_ok());
        if let Some(inner) = element.as_document() {
            touch(inner, level + 1);
        }
    }
}

fn found<'a>(document: Document<'a>, name: &[u8]) -> Option<Element<'a>> {
    document.get(std::str::from_utf8(name).ok()?).expect("it was walked up to here")
}

fn quote(bytes: &[u8]) {
    let mut out = Vec::new();
    json::write_quoted(bytes, &mut out);
    let text: String = serde_json::from_slice(&out).expect("a JSON string");
    assert_eq!(text, String::from_utf8_lossy(bytes));
}

fn assert_json(text: &[u8]) {
    match serde_json::from_slice::<Value>(text) {
        Ok(_) => {}
        // The other reader gives up at fewer levels than we write.
        Err(error) => assert!(
            error.to_string().starts_with("recursion limit exceeded"),
            "{error}: {}",
            String::from_utf8_lossy(text)
        ),
    }
}
