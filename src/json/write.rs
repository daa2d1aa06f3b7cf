//! The writer: one recursive walk over raw BSON.
//!
//! It owns what all styles share (documents, arrays, the depth limit, where an error is); a style's [`Notation`] owns
//! the comma and how scalars look. What is written is always JSON that any reader takes.

use super::{
    MOST_LEVELS,
    canonical::Canonical,
    notation::{Notation, write_scalar},
    relaxed::Relaxed,
    simplified::Simplified,
    strict::Strict,
    text::write_string,
};
use crate::raw::{self, Document, Element, kind};

/// Appends `document` to `out` as one line of JSON. After an error `out` is as it was.
///
/// # Errors
/// When the bytes are not BSON or nested too deeply.
pub fn write_document(document: Document<'_>, style: Style, out: &mut Vec<u8>) -> Result<(), WriteError> {
    write_value(Element { kind: kind::DOCUMENT, name: b"", value: document.as_bytes() }, style, out)
}

/// Appends the value of `element`, without its name, as one line of JSON. After an error `out` is as it was.
///
/// # Errors
/// When the bytes are not BSON or nested too deeply.
pub fn write_value(element: Element<'_>, style: Style, out: &mut Vec<u8>) -> Result<(), WriteError> {
    let start = out.len();
    let written = match style {
        Style::Strict => write_any::<Strict<false>>(element, 0, out),
        Style::Canonical => write_any::<Canonical>(element, 0, out),
        Style::Relaxed => write_any::<Relaxed<false>>(element, 0, out),
        Style::Simplified => write_any::<Simplified>(element, 0, out),
        Style::Debezium => write_any::<Strict<true>>(element, 0, out),
        Style::DebeziumKey => write_any::<Relaxed<true>>(element, 0, out),
    };
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// How values look that JSON has no notation for. `docs/formats.md` has the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// The official connector's DefaultJson: keeps every type.
    #[default]
    Strict,
    /// The official connector's ExtendedJson: canonical extended JSON, version 2; keeps every type.
    Canonical,
    /// Relaxed extended JSON, version 2: plain numbers, dates as text in a wrapper. The official connector's dead
    /// letters, and the `updatedFields` of Debezium's events.
    Relaxed,
    /// The official connector's SimplifiedJson: plain values wherever possible.
    Simplified,
    /// `before`, `after` and `lsid` of Debezium's events: strict, with nothing after commas.
    Debezium,
    /// The `id` of Debezium's keys: relaxed, with nothing after commas.
    DebeziumKey,
}

/// A document that cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot write {} as JSON: {reason}", place(.path))]
pub struct WriteError {
    /// Names from the top down to where it failed, joined with dots; empty for the document itself.
    pub path: String,
    /// What is wrong there.
    pub reason: Reason,
}

/// Why a value cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The bytes are not BSON.
    #[error(transparent)]
    Malformed(#[from] raw::Error),
    /// Documents in documents without end.
    #[error("it is nested more than {MOST_LEVELS} levels deep")]
    TooDeep,
}

fn place(path: &str) -> String {
    if path.is_empty() { "the document".to_owned() } else { format!("field {path}") }
}

impl<R: Into<Reason>> From<R> for WriteError {
    fn from(reason: R) -> Self {
        Self { path: String::new(), reason: reason.into() }
    }
}

impl WriteError {
    #[cold]
    fn inside(mut self, name: &[u8]) -> Self {
        if !self.path.is_empty() {
            self.path.insert(0, '.');
        }
        self.path.insert_str(0, &String::from_utf8_lossy(name));
        self
    }
}

fn write_members<N: Notation>(
    document: Document<'_>,
    level: usize,
    out: &mut Vec<u8>,
) -> Result<(), WriteError> {
    check_level(level)?;
    out.push(b'{');
    let mut separator: &[u8] = b"";
    for element in document.elements() {
        let element = element?;
        out.extend_from_slice(separator);
        separator = N::COMMA;
        write_string(element.name, out);
        out.extend_from_slice(b": ");
        write_any::<N>(element, level, out).map_err(|error| error.inside(element.name))?;
    }
    out.push(b'}');
    Ok(())
}

fn write_items<N: Notation>(array: Document<'_>, level: usize, out: &mut Vec<u8>) -> Result<(), WriteError> {
    check_level(level)?;
    out.push(b'[');
    let mut separator: &[u8] = b"";
    for element in array.elements() {
        let element = element?;
        out.extend_from_slice(separator);
        separator = N::COMMA;
        write_any::<N>(element, level, out).map_err(|error| error.inside(element.name))?;
    }
    out.push(b']');
    Ok(())
}

fn check_level(level: usize) -> Result<(), Reason> {
    if level > MOST_LEVELS { Err(Reason::TooDeep) } else { Ok(()) }
}

/// `level` is that of the document or array in which the value stands.
fn write_any<N: Notation>(element: Element<'_>, level: usize, out: &mut Vec<u8>) -> Result<(), WriteError> {
    match (element.kind, element.as_document()) {
        (kind::ARRAY, Some(array)) => write_items::<N>(array, level + 1, out),
        (_, Some(document)) => write_members::<N>(document, level + 1, out),
        (kind::CODE_WITH_SCOPE, None) => write_code_with_scope::<N>(element.value, level, out),
        (_, None) => Ok(write_scalar::<N>(element, out)?),
    }
}

/// The scope counts as two levels, because its text is a document inside the wrapper's braces: so writer and reader
/// have the same limit.
fn write_code_with_scope<N: Notation>(
    value: &[u8],
    level: usize,
    out: &mut Vec<u8>,
) -> Result<(), WriteError> {
    let (code, scope) = split_code_with_scope(value)
        .ok_or(Reason::Malformed(raw::Error { at: 0, what: "code with scope is malformed" }))?;
    out.extend_from_slice(b"{\"$code\": ");
    write_string(code, out);
    out.extend_from_slice(N::COMMA);
    out.extend_from_slice(b"\"$scope\": ");
    write_members::<N>(Document::new(scope)?, level + 2, out).map_err(|error| error.inside(b"$scope"))?;
    out.push(b'}');
    Ok(())
}

/// The value is a total length, a string and a document.
fn split_code_with_scope(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_total, rest) = value.split_at_checked(4)?;
    let (length, rest) = rest.split_first_chunk()?;
    let (code, scope) = rest.split_at_checked(usize::try_from(i32::from_le_bytes(*length)).ok()?)?;
    Some((code.strip_suffix(b"\0")?, scope))
}
