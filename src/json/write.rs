//! The writer: one recursive walk over raw BSON.
//!
//! It owns what all styles share (documents, arrays, spacing, the depth limit, where an error is); a style's module
//! owns how scalars look.

use super::{MOST_LEVELS, strict, text::write_string};
use crate::raw::{self, Document, Element, kind};

/// Appends `document` to `out` as one line of JSON. After an error `out` is as it was.
pub fn write_document(document: Document<'_>, style: Style, out: &mut Vec<u8>) -> Result<(), WriteError> {
    let start = out.len();
    let written = write_members(document, style, 1, out);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// How values look that JSON has no notation for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// The official connector's DefaultJson: compact, keeps every type.
    #[default]
    Strict,
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

fn write_members(
    document: Document<'_>,
    style: Style,
    level: usize,
    out: &mut Vec<u8>,
) -> Result<(), WriteError> {
    check_level(level)?;
    out.push(b'{');
    let mut separator: &[u8] = b"";
    for element in document.elements() {
        let element = element?;
        out.extend_from_slice(separator);
        separator = b", ";
        write_string(element.name, out);
        out.extend_from_slice(b": ");
        write_value(element, style, level, out).map_err(|error| error.inside(element.name))?;
    }
    out.push(b'}');
    Ok(())
}

fn write_items(array: Document<'_>, style: Style, level: usize, out: &mut Vec<u8>) -> Result<(), WriteError> {
    check_level(level)?;
    out.push(b'[');
    let mut separator: &[u8] = b"";
    for element in array.elements() {
        let element = element?;
        out.extend_from_slice(separator);
        separator = b", ";
        write_value(element, style, level, out).map_err(|error| error.inside(element.name))?;
    }
    out.push(b']');
    Ok(())
}

fn check_level(level: usize) -> Result<(), Reason> {
    if level > MOST_LEVELS { Err(Reason::TooDeep) } else { Ok(()) }
}

/// `level` is that of the document or array in which the value stands.
fn write_value(
    element: Element<'_>,
    style: Style,
    level: usize,
    out: &mut Vec<u8>,
) -> Result<(), WriteError> {
    match (element.kind, element.as_document()) {
        (kind::ARRAY, Some(array)) => write_items(array, style, level + 1, out),
        (_, Some(document)) => write_members(document, style, level + 1, out),
        (kind::CODE_WITH_SCOPE, None) => write_code_with_scope(element.value, style, level, out),
        (_, None) => match style {
            Style::Strict => Ok(strict::write_scalar(element, out)?),
        },
    }
}

/// The scope counts as two levels, because its text is a document inside the wrapper's braces: so writer and reader
/// have the same limit.
fn write_code_with_scope(
    value: &[u8],
    style: Style,
    level: usize,
    out: &mut Vec<u8>,
) -> Result<(), WriteError> {
    let (code, scope) = split_code_with_scope(value)
        .ok_or(Reason::Malformed(raw::Error { at: 0, what: "code with scope is malformed" }))?;
    out.extend_from_slice(b"{\"$code\": ");
    write_string(code, out);
    out.extend_from_slice(b", \"$scope\": ");
    write_members(Document::new(scope)?, style, level + 2, out).map_err(|error| error.inside(b"$scope"))?;
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
