//! Raw BSON: reading without copies, writing without trees.
//!
//! The server's bytes stay bytes: a [`Document`] borrows them, [`Elements`] walks them, a [`Writer`] puts new ones
//! together. Nothing here assumes that its input is sound: a length that does not fit is an [`Error`], never a panic
//! or a read out of bounds. Text is not checked, because servers do not promise valid UTF-8; whoever needs `str` asks
//! for it. Format: <https://bsonspec.org/spec.html>.

use crate::config::ClusterTime;

/// Element types by their byte in BSON.
pub mod kind {
    #![allow(missing_docs, reason = "the names are the specification's")]
    pub const DOUBLE: u8 = 0x01;
    pub const STRING: u8 = 0x02;
    pub const DOCUMENT: u8 = 0x03;
    pub const ARRAY: u8 = 0x04;
    pub const BINARY: u8 = 0x05;
    pub const UNDEFINED: u8 = 0x06;
    pub const OBJECT_ID: u8 = 0x07;
    pub const BOOLEAN: u8 = 0x08;
    pub const DATE_TIME: u8 = 0x09;
    pub const NULL: u8 = 0x0a;
    pub const REGEX: u8 = 0x0b;
    pub const DB_POINTER: u8 = 0x0c;
    pub const CODE: u8 = 0x0d;
    pub const SYMBOL: u8 = 0x0e;
    pub const CODE_WITH_SCOPE: u8 = 0x0f;
    pub const INT32: u8 = 0x10;
    pub const TIMESTAMP: u8 = 0x11;
    pub const INT64: u8 = 0x12;
    pub const DECIMAL128: u8 = 0x13;
    pub const MAX_KEY: u8 = 0x7f;
    pub const MIN_KEY: u8 = 0xff;
}

/// Bytes that are not BSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed BSON at byte {at}: {what}")]
pub struct Error {
    /// Offset within the innermost document.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

/// A document (or array) whose length and terminator are right; what is inside is checked as it is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Document<'a> {
    bytes: &'a [u8],
}

impl<'a> Document<'a> {
    /// The empty document.
    pub const EMPTY: Document<'static> = Document { bytes: &[5, 0, 0, 0, 0] };

    /// Takes the whole of `bytes` as one document.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        let length = length_at(bytes, 0)?;
        if length < 5 || length != bytes.len() {
            return Err(Error { at: 0, what: "the length does not fit" });
        }
        if bytes[length - 1] != 0 {
            return Err(Error { at: length - 1, what: "no terminator" });
        }
        Ok(Self { bytes })
    }

    /// The bytes, length and terminator included.
    pub fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Whether there is no element.
    pub fn is_empty(self) -> bool {
        self.bytes.len() == 5
    }

    /// Its elements in order.
    pub fn elements(self) -> Elements<'a> {
        Elements { bytes: self.bytes, at: 4 }
    }

    /// The first element called `name`.
    pub fn get(self, name: &str) -> Result<Option<Element<'a>>, Error> {
        for element in self.elements() {
            let element = element?;
            if element.name == name.as_bytes() {
                return Ok(Some(element));
            }
        }
        Ok(None)
    }

    /// What a dotted `path` leads to, through documents. A field whose own name has the dots goes before one inside of
    /// others.
    ///
    /// # Errors
    /// When the bytes before it are malformed.
    pub fn find(self, path: &str) -> Result<Option<Element<'a>>, Error> {
        if let Some(found) = self.get(path)? {
            return Ok(Some(found));
        }
        let Some((first, rest)) = path.split_once('.') else { return Ok(None) };
        match self.get(first)?.and_then(Element::as_document) {
            Some(inner) => inner.find(rest),
            None => Ok(None),
        }
    }
}

/// One element of a document: its type, name and the bytes of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    /// One of [`kind`].
    pub kind: u8,
    /// The name without its terminator. Usually UTF-8.
    pub name: &'a [u8],
    /// The value's bytes, exactly as long as the type says.
    pub value: &'a [u8],
}

impl<'a> Element<'a> {
    /// The embedded document or array.
    pub fn as_document(self) -> Option<Document<'a>> {
        matches!(self.kind, kind::DOCUMENT | kind::ARRAY).then_some(Document { bytes: self.value })
    }

    /// Whether it is a document that the server could take for operators: its first name begins with `$`.
    pub fn looks_like_operators(self) -> bool {
        // Length and type come before the first name.
        self.kind == kind::DOCUMENT && self.value.get(5) == Some(&b'$')
    }

    /// The text of a string, symbol or code element, if it is UTF-8.
    pub fn as_str(self) -> Option<&'a str> {
        std::str::from_utf8(self.as_text()?).ok()
    }

    /// The bytes of a string, symbol or code element, without length and terminator.
    pub fn as_text(self) -> Option<&'a [u8]> {
        matches!(self.kind, kind::STRING | kind::SYMBOL | kind::CODE)
            .then(|| &self.value[4..self.value.len() - 1])
    }

    /// The whole number.
    pub fn as_i64(self) -> Option<i64> {
        match self.kind {
            kind::INT32 => Some(i64::from(i32::from_le_bytes(self.value.try_into().ok()?))),
            kind::INT64 => Some(i64::from_le_bytes(self.value.try_into().ok()?)),
            _ => None,
        }
    }

    /// The double.
    pub fn as_f64(self) -> Option<f64> {
        if self.kind != kind::DOUBLE {
            return None;
        }
        Some(f64::from_le_bytes(self.value.try_into().ok()?))
    }

    /// The boolean.
    pub fn as_bool(self) -> Option<bool> {
        (self.kind == kind::BOOLEAN).then(|| self.value[0] != 0)
    }

    /// The BSON timestamp.
    pub fn as_timestamp(self) -> Option<ClusterTime> {
        if self.kind != kind::TIMESTAMP {
            return None;
        }
        let bits = u64::from_le_bytes(self.value.try_into().ok()?);
        Some(ClusterTime { seconds: (bits >> 32) as u32, increment: bits as u32 })
    }
}

/// Iterator over a document's elements. After an error it ends.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let end = self.bytes.len() - 1;
        if self.at >= end {
            return None;
        }
        match read_element(self.bytes, self.at, end) {
            Ok((element, next)) => {
                self.at = next;
                Some(Ok(element))
            }
            Err(error) => {
                self.at = end;
                Some(Err(error))
            }
        }
    }
}

/// Reads the element at `at`; `end` is where the document's terminator stands.
fn read_element(bytes: &[u8], at: usize, end: usize) -> Result<(Element<'_>, usize), Error> {
    let kind = bytes[at];
    let name_start = at + 1;
    let name_length = zero_in(&bytes[name_start..end])
        .ok_or(Error { at: name_start, what: "an element's name does not end" })?;
    let start = name_start + name_length + 1;
    let body = &bytes[..end];
    let length = match kind {
        kind::NULL | kind::UNDEFINED | kind::MIN_KEY | kind::MAX_KEY => 0,
        kind::BOOLEAN => 1,
        kind::INT32 => 4,
        kind::DOUBLE | kind::DATE_TIME | kind::TIMESTAMP | kind::INT64 => 8,
        kind::OBJECT_ID => 12,
        kind::DECIMAL128 => 16,
        kind::STRING | kind::SYMBOL | kind::CODE => text_length(body, start)?,
        kind::DB_POINTER => text_length(body, start)?.saturating_add(12),
        kind::BINARY => length_at(body, start)?.saturating_add(5),
        kind::DOCUMENT | kind::ARRAY => {
            let length = length_at(body, start)?;
            let last = start.saturating_add(length).wrapping_sub(1);
            if length < 5 || body.get(last) != Some(&0) {
                return Err(Error { at: start, what: "an embedded document's length does not fit" });
            }
            length
        }
        kind::CODE_WITH_SCOPE => {
            let length = length_at(body, start)?;
            if length < 14 {
                return Err(Error { at: start, what: "code with scope is too short" });
            }
            length
        }
        kind::REGEX => {
            let pattern = c_string_length(body, start)?;
            pattern + c_string_length(body, start + pattern)?
        }
        _ => return Err(Error { at, what: "unknown element type" }),
    };
    let next = start.saturating_add(length);
    if next > end {
        return Err(Error { at: start, what: "a value does not fit" });
    }
    Ok((Element { kind, name: &bytes[name_start..start - 1], value: &bytes[start..next] }, next))
}

/// Where the first zero stands. Names are short: most end within the first eight bytes.
#[inline]
fn zero_in(bytes: &[u8]) -> Option<usize> {
    const EACH_BYTE: u64 = 0x0101_0101_0101_0101;
    let mut at = 0;
    while let Some(word) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        // The lowest bit that is set is that of a zero; a borrow may set some above it.
        let zeros = word.wrapping_sub(EACH_BYTE) & !word & (EACH_BYTE * 0x80);
        if zeros != 0 {
            return Some(at + (zeros.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    bytes[at..].iter().position(|byte| *byte == 0).map(|rest| at + rest)
}

fn length_at(bytes: &[u8], at: usize) -> Result<usize, Error> {
    let field = bytes.get(at..at.saturating_add(4)).ok_or(Error { at, what: "a length is cut off" })?;
    let length = i32::from_le_bytes([field[0], field[1], field[2], field[3]]);
    usize::try_from(length).map_err(|_| Error { at, what: "a length is negative" })
}

/// Length of a string value: its own length field, the text and the terminator.
fn text_length(bytes: &[u8], at: usize) -> Result<usize, Error> {
    let length = length_at(bytes, at)?;
    let last = at.saturating_add(3).saturating_add(length);
    if length == 0 || bytes.get(last) != Some(&0) {
        return Err(Error { at, what: "a string's length does not fit" });
    }
    Ok(length + 4)
}

fn c_string_length(bytes: &[u8], at: usize) -> Result<usize, Error> {
    let rest = bytes.get(at..).ok_or(Error { at, what: "a value is cut off" })?;
    rest.iter().position(|&b| b == 0).map(|n| n + 1).ok_or(Error { at, what: "a name does not end" })
}

/// Puts documents together in one buffer; lengths are filled in when a document ends.
///
/// Names are cut at a NUL by no one: callers pass names that come from BSON or are literals.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    open: Vec<usize>,
}

impl Writer {
    /// Writes the condition that a field equals a value, where nothing in the value becomes a condition of its own.
    pub fn equal(&mut self, name: &[u8], kind: u8, value: &[u8]) {
        if matches!(kind, kind::DOCUMENT | kind::REGEX) {
            self.begin_document(name);
            self.value(b"$eq", kind, value);
            self.end();
        } else {
            self.value(name, kind, value);
        }
    }

    /// A writer that appends to `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, open: Vec::new() }
    }

    /// Begins a top-level document.
    pub fn begin(&mut self) {
        self.open.push(self.bytes.len());
        self.bytes.extend_from_slice(&[0; 4]);
    }

    /// Begins an embedded document.
    pub fn begin_document(&mut self, name: &[u8]) {
        self.head(kind::DOCUMENT, name);
        self.begin();
    }

    /// Begins an embedded array; its elements are named "0", "1", …
    pub fn begin_array(&mut self, name: &[u8]) {
        self.head(kind::ARRAY, name);
        self.begin();
    }

    /// Ends the innermost open document or array.
    pub fn end(&mut self) {
        let start = self.open.pop().expect("every end has a begin");
        self.bytes.push(0);
        let length = (self.bytes.len() - start) as i32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The finished bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        debug_assert!(self.open.is_empty(), "a document was left open");
        self.bytes
    }

    /// Appends a value as it stands in other BSON.
    pub fn value(&mut self, name: &[u8], kind: u8, value: &[u8]) {
        self.head(kind, name);
        self.bytes.extend_from_slice(value);
    }

    /// Appends an embedded document.
    pub fn document(&mut self, name: &[u8], document: Document<'_>) {
        self.value(name, kind::DOCUMENT, document.as_bytes());
    }

    /// Appends a string.
    pub fn string(&mut self, name: &[u8], text: &[u8]) {
        self.head(kind::STRING, name);
        self.bytes.extend_from_slice(&(text.len() as i32 + 1).to_le_bytes());
        self.bytes.extend_from_slice(text);
        self.bytes.push(0);
    }

    /// Appends a 32-bit whole number.
    pub fn int32(&mut self, name: &[u8], value: i32) {
        self.value(name, kind::INT32, &value.to_le_bytes());
    }

    /// Appends a 64-bit whole number.
    pub fn int64(&mut self, name: &[u8], value: i64) {
        self.value(name, kind::INT64, &value.to_le_bytes());
    }

    /// Appends a double.
    pub fn double(&mut self, name: &[u8], value: f64) {
        self.value(name, kind::DOUBLE, &value.to_le_bytes());
    }

    /// Appends a boolean.
    pub fn boolean(&mut self, name: &[u8], value: bool) {
        self.value(name, kind::BOOLEAN, &[u8::from(value)]);
    }

    /// Appends a null.
    pub fn null(&mut self, name: &[u8]) {
        self.head(kind::NULL, name);
    }

    /// The buffer, for writers of whole values that know the format.
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    fn head(&mut self, kind: u8, name: &[u8]) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut writer = Writer::default();
        writer.begin();
        writer.int32(b"_id", 7);
        writer.begin_document(b"n");
        writer.string(b"s", "é".as_bytes());
        writer.end();
        writer.begin_array(b"a");
        writer.null(b"0");
        writer.end();
        writer.end();
        writer.into_bytes()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let bytes = sample();
        let document = Document::new(&bytes).expect("well formed");
        let names: Vec<_> = document.elements().map(|e| e.expect("sound").name.to_vec()).collect();
        assert_eq!(names, [b"_id".to_vec(), b"n".to_vec(), b"a".to_vec()]);
        let nested = document.get("n").expect("sound").expect("there").as_document().expect("a document");
        assert_eq!(nested.get("s").expect("sound").expect("there").as_str(), Some("é"));
        assert_eq!(
            bson::RawDocumentBuf::from_bytes(bytes).expect("bson agrees").get_i32("_id").ok(),
            Some(7)
        );
    }

    #[test]
    fn a_name_ends_at_its_zero_wherever_that_stands() {
        for length in 0..40 {
            for other in [1, 0x7f, 0x80, 0x81, 0xff] {
                let mut bytes = vec![other; length];
                assert_eq!(zero_in(&bytes), None);
                for at in 0..length {
                    bytes.fill(other);
                    bytes[at] = 0;
                    assert_eq!(zero_in(&bytes), Some(at), "{other} {length}");
                    bytes[at..].fill(0);
                    assert_eq!(zero_in(&bytes), Some(at), "{other} {length}");
                }
            }
        }
    }

    #[test]
    fn damaged_bytes_are_errors_and_never_panics() {
        fn walk(document: Document<'_>) -> Result<(), Error> {
            for element in document.elements() {
                if let Some(inner) = element?.as_document() {
                    walk(inner)?;
                }
            }
            Ok(())
        }
        let sound = sample();
        for at in 0..sound.len() {
            for value in [0, 1, 2, 5, 0x0f, 0x7f, 0x80, 0xff] {
                let mut bytes = sound.clone();
                bytes[at] = value;
                if let Ok(document) = Document::new(&bytes) {
                    let _outcome = walk(document);
                }
            }
            assert!(Document::new(&sound[..at]).is_err(), "cut at {at}");
        }
    }
}
