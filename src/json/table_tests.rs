//! `docs/formats.md` against the writer and the reader, so that the page cannot go stale.
//!
//! Of each row of its tables the first two cells are taken as they are: what it is about, and its BSON. The row is
//! then made again from the BSON and has to be the line on the page.

use super::{tests::nested, *};
use crate::raw::{Document, Writer};

const PAGE: &str = include_str!("../../docs/formats.md");

/// In the order of the columns.
const STYLES: [(&str, Style); 5] = [
    ("strict", Style::Strict),
    ("canonical", Style::Canonical),
    ("relaxed", Style::Relaxed),
    ("simplified", Style::Simplified),
    ("debezium", Style::Debezium),
];

#[test]
fn every_cell_of_the_published_tables_is_what_the_writer_writes() {
    let mut wrong = Vec::new();
    for (section, least, row) in [
        ("## Values", 45, value_row as fn(&str) -> String),
        ("## Documents", 8, document_row),
        ("## Depth", 4, depth_row),
    ] {
        let lines = rows(section);
        assert!(lines.len() >= least, "{section}: only {} rows", lines.len());
        wrong.extend(lines.iter().map(|line| (*line, row(line))).filter(|(line, made)| line != made));
    }
    let made: Vec<_> = wrong.iter().map(|(_, made)| made.as_str()).collect();
    assert!(wrong.is_empty(), "docs/formats.md: rows that have to be\n{}", made.join("\n"));
}

#[test]
fn the_published_table_has_a_row_for_every_type_of_bson() {
    let lines = rows("## Values");
    let kinds: Vec<_> = lines.iter().map(|line| value_bson(line)[4]).collect();
    for kind in (0x01..=0x13).chain([0x7f, 0xff]) {
        assert!(kinds.contains(&kind), "{kind:#04x}");
    }
}

#[test]
fn the_text_of_debezium_keys_is_the_relaxed_one_without_spaces_after_commas() {
    for line in rows("## Values") {
        let document = value_bson(line);
        let relaxed = written(&document, Style::Relaxed);
        assert_eq!(written(&document, Style::DebeziumKey), relaxed.map(|text| text.replace(", ", ",")));
    }
}

/// The rows of the table in a section, head and rule left out.
fn rows(section: &str) -> Vec<&'static str> {
    let lines = PAGE.lines().skip_while(|line| *line != section).skip(1);
    let lines = lines.take_while(|line| !line.starts_with("## "));
    lines.filter(|line| line.starts_with('|')).skip(2).collect()
}

fn cell(line: &str, column: usize) -> &str {
    line.split('|').nth(column + 1).expect("a row has a cell in each column").trim()
}

/// `| what | type: value | … |`, for a document with one field.
fn value_row(line: &str) -> String {
    let document = value_bson(line);
    let text = |text: &str| {
        let value = text.strip_prefix("{\"v\": ").and_then(|rest| rest.strip_suffix('}'));
        value.expect("a document with one field").to_owned()
    };
    made(line, &document, text)
}

/// `| what | document | … |`
fn document_row(line: &str) -> String {
    made(line, &hex_bytes(cell(line, 1)), str::to_owned)
}

/// `| levels | … |`, for documents in documents.
fn depth_row(line: &str) -> String {
    let levels = cell(line, 0).parse().expect("a number of levels");
    let document = nested(levels);
    let outcome = |(_, style)| match written(&document, style) {
        Some(_) => "written",
        None => "refused",
    };
    let cells: Vec<_> = STYLES.map(outcome).to_vec();
    format!("| {levels} | {} |", cells.join(" | "))
}

/// The row of `document`; `text` takes from the text of a document what the cell shows.
fn made(line: &str, document: &[u8], text: impl Fn(&str) -> String) -> String {
    let cells = STYLES.map(|(_, style)| match written(document, style) {
        Some(written) => format!("`{}`", text(&written)),
        None => "refused".to_owned(),
    });
    format!("| {} | {} | {} | {} |", cell(line, 0), cell(line, 1), cells.join(" | "), kept_by(document))
}

/// The styles whose text reads back as the same BSON.
fn kept_by(document: &[u8]) -> String {
    let is_kept = |style| {
        let Some(text) = written(document, style) else { return false };
        let mut read = Vec::new();
        read_document(text.as_bytes(), &mut read).is_ok() && read == document
    };
    let names: Vec<_> = STYLES.iter().filter(|(_, style)| is_kept(*style)).map(|(name, _)| *name).collect();
    match names.len() {
        0 => "none".to_owned(),
        5 => "all".to_owned(),
        _ => names.join(", "),
    }
}

fn written(document: &[u8], style: Style) -> Option<String> {
    let mut out = Vec::new();
    let document = Document::new(document).expect("the page's BSON is sound on the outside");
    write_document(document, style, &mut out).ok()?;
    Some(String::from_utf8(out).expect("JSON is UTF-8"))
}

/// `{v: value}` of a row's `type: value`.
fn value_bson(line: &str) -> Vec<u8> {
    let (kind, value) = cell(line, 1).trim_matches('`').split_once(':').expect("`type: value`");
    let kind = hex_bytes(kind)[0];
    let mut writer = Writer::default();
    writer.begin();
    writer.value(b"v", kind, &hex_bytes(value));
    writer.end();
    writer.into_bytes()
}

fn hex_bytes(cell: &str) -> Vec<u8> {
    let digits: Vec<_> = cell.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}
