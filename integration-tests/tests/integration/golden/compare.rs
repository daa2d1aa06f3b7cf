//! Our text against golden text, and the counts that a run prints.

use anyhow::{bail, ensure};
use millrace::{
    json::{self, Style},
    raw::{Document, kind},
};

/// What was compared, and what was different.
#[derive(Default)]
pub(super) struct Report {
    written_count: usize,
    bare_word_count: usize,
    read_count: usize,
    read_as_text_count: usize,
    differences: Vec<String>,
}

impl Report {
    /// Keeps a difference for the end.
    pub(super) fn take(&mut self, place: &str, compared: anyhow::Result<()>) {
        if let Err(difference) = compared {
            self.differences.push(format!("{place}: {difference:#}"));
        }
    }

    /// The text of `bson` has to be `golden`.
    pub(super) fn compare_written(&mut self, bson: &[u8], style: Style, golden: &[u8]) -> anyhow::Result<()> {
        self.written_count += 1;
        let text = text_of(bson, style)?;
        let expected = golden_text_of(bson, style)?;
        self.bare_word_count += usize::from(text != expected);
        ensure_equal("written", expected.as_bytes(), golden)
    }

    /// Reading `text` has to give `bson`; where text cannot carry all of it, writing that again has to give `text`.
    pub(super) fn compare_read(&mut self, bson: &[u8], text: &[u8]) -> anyhow::Result<()> {
        self.read_count += 1;
        let mut read = Vec::new();
        json::read_document(text, &mut read)?;
        if read == bson || !holds_what_text_cannot_carry(Document::new(bson)?)? {
            return ensure_equal("read", &read, bson);
        }
        self.read_as_text_count += 1;
        let written = [read.as_slice(), bson].map(|bson| text_of(bson, Style::Strict));
        let [ours, golden] = written;
        ensure_equal("read and written", ours?.as_bytes(), golden?.as_bytes())
    }

    /// How many comparisons there were.
    pub(super) fn compared_count(&self) -> usize {
        self.written_count + self.read_count
    }

    /// Prints the counts; fails if there are differences.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        println!(
            "{} texts written, {} of them with a wrapper in place of a bare NaN or Infinity; {} texts read, {} of \
             them compared as text because JSON cannot carry all that is in the BSON",
            self.written_count, self.bare_word_count, self.read_count, self.read_as_text_count
        );
        ensure!(self.differences.is_empty(), "{}", self.summary());
        Ok(())
    }

    fn summary(&self) -> String {
        const SHOWN: usize = 20;
        let shown = self.differences.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join("\n");
        format!("{} differences, of which the first:\n{shown}", self.differences.len())
    }
}

/// The text of a document in a style.
fn text_of(bson: &[u8], style: Style) -> anyhow::Result<String> {
    let mut text = Vec::new();
    json::write_document(Document::new(bson)?, style, &mut text)?;
    Ok(String::from_utf8(text)?)
}

/// The text with our one deviation undone: in the legacy strict mode the connectors write what is not finite as a bare
/// word. (In a user's text the wrapper's quotes would be escaped, so this never touches a string.)
pub(super) fn golden_text_of(bson: &[u8], style: Style) -> anyhow::Result<String> {
    let mut text = text_of(bson, style)?;
    if matches!(style, Style::Strict | Style::Debezium) {
        for word in ["NaN", "Infinity", "-Infinity"] {
            text = text.replace(&format!("{{\"$numberDouble\": \"{word}\"}}"), word);
        }
    }
    Ok(text)
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

pub(super) fn ensure_equal(what: &str, ours: &[u8], golden: &[u8]) -> anyhow::Result<()> {
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
