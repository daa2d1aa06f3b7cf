//! The reader: JSON text straight to raw BSON, in one pass.
//!
//! It takes extended JSON in any style (legacy strict, canonical, relaxed), plain JSON, and the bare `NaN`, `Infinity`
//! and `-Infinity` that the official connector writes in strict style; not the shell's syntax. An object is first read
//! as the document that it spells; when it ends and turns out to be a wrapper, its bytes give way to the wrapped value
//! ([`wrapper`]). So there is no look-ahead, and the order of a wrapper's members does not matter. The most usual wrappers
//! are spared that detour ([`compact`]).
//!
//! Text has to be UTF-8. Whole numbers become int32, int64 or double, whichever is the first to hold them; numbers
//! with a fraction or an exponent become doubles. Repeated names are kept.

mod compact;
#[cfg(test)]
mod tests;

use super::{
    MOST_LEVELS, Style,
    text::{long_run_length, run_length},
    wrapper, write_document,
};
use crate::raw::{Document, kind};

/// Appends the one document in `text` to `out` as BSON. After an error `out` is as it was.
pub fn read_document(text: &[u8], out: &mut Vec<u8>) -> Result<(), ReadError> {
    read(text, false, out)
}

/// As [`read_document`], for JSON as it is: no object stands for another value, whole numbers are int64, and there
/// are no bare words for what is no number.
pub fn read_plain(text: &[u8], out: &mut Vec<u8>) -> Result<(), ReadError> {
    read(text, true, out)
}

fn read(text: &[u8], is_plain: bool, out: &mut Vec<u8>) -> Result<(), ReadError> {
    let start = out.len();
    let read = check_utf8(text).and_then(|()| {
        // The reader owns the buffer meanwhile, which spares it a step on the way to each byte.
        let buffer = std::mem::take(out);
        let mut reader = Reader { text, at: 0, is_plain, out: buffer, unwrapped: Vec::new(), deep_at: None };
        let read = reader.read_all();
        *out = reader.out;
        read
    });
    read.map_err(|problem| {
        out.truncate(start);
        problem.located_in(text)
    })
}

/// Most text is ASCII, which is told with less work than that it is UTF-8.
fn check_utf8(text: &[u8]) -> Result<(), Box<Problem>> {
    if text.is_ascii() {
        return Ok(());
    }
    std::str::from_utf8(text).map(drop).map_err(|error| problem(error.valid_up_to(), "UTF-8"))
}

/// Text that is not a JSON document or cannot become BSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column} (byte {offset}): expected {expected}")]
pub struct ReadError {
    /// Bytes before the place.
    pub offset: usize,
    /// Line of the place, from 1.
    pub line: usize,
    /// Column of the place in characters, from 1.
    pub column: usize,
    /// What should have been there.
    pub expected: &'static str,
}

/// Boxed, because what every step of the reader returns should fit into registers.
#[derive(Debug)]
struct Problem {
    at: usize,
    expected: &'static str,
}

#[cold]
fn problem(at: usize, expected: &'static str) -> Box<Problem> {
    Box::new(Problem { at, expected })
}

impl Problem {
    #[cold]
    fn located_in(self, text: &[u8]) -> ReadError {
        let before = &text[..self.at.min(text.len())];
        let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |newline| newline + 1);
        let is_first_byte = |byte: &&u8| **byte & 0xc0 != 0x80;
        ReadError {
            offset: before.len(),
            line: before.iter().filter(|b| **b == b'\n').count() + 1,
            column: before[line_start..].iter().filter(is_first_byte).count() + 1,
            expected: self.expected,
        }
    }
}

/// Wrappers, which are no levels themselves, may open this many braces below the deepest level:
/// `{"$dbPointer": {"$ref": …, "$id": {"$oid": …}}}`.
const MOST_WRAPPER_LEVELS: usize = 3;
const TOO_DEEP: &str = "at most 200 nested levels";

struct Reader<'t> {
    text: &'t [u8],
    at: usize,
    is_plain: bool,
    out: Vec<u8>,
    /// Room for the value of a wrapper, kept between wrappers.
    unwrapped: Vec<u8>,
    /// Where the braces and brackets first went deeper than documents may, which only wrappers should do.
    deep_at: Option<usize>,
}

impl Reader<'_> {
    fn read_all(&mut self) -> Result<(), Box<Problem>> {
        self.skip_space();
        self.eat(b'{', "a document, which begins with `{`")?;
        let start = self.out.len();
        self.read_members(1)?;
        self.skip_space();
        if self.at < self.text.len() {
            return Err(self.expected("the end of the text"));
        }
        self.deep_at.map_or(Ok(()), |at| self.check_depth(start, at))
    }

    /// The writer is the judge of what is too deep, so that reader and writer agree. Rarely needed.
    #[cold]
    fn check_depth(&mut self, start: usize, deep_at: usize) -> Result<(), Box<Problem>> {
        let document = Document::new(&self.out[start..]).expect("the reader finished this document");
        write_document(document, Style::Strict, &mut self.unwrapped).map_err(|_| problem(deep_at, TOO_DEEP))
    }

    /// Appends the value at the cursor; returns its kind. `level` is that of the document or array around it.
    fn read_value(&mut self, level: usize) -> Result<u8, Box<Problem>> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                self.read_string()?;
                Ok(kind::STRING)
            }
            Some(b'{') => {
                self.at += 1;
                self.read_document_or_wrapper(level + 1, start)
            }
            Some(b'[') => {
                self.at += 1;
                self.read_items(level + 1)?;
                Ok(kind::ARRAY)
            }
            Some(b'0'..=b'9' | b'-') => self.read_number(),
            _ => self.read_word(),
        }
    }

    fn read_document_or_wrapper(&mut self, level: usize, text_start: usize) -> Result<u8, Box<Problem>> {
        if self.is_plain {
            self.read_members(level)?;
            return Ok(kind::DOCUMENT);
        }
        if level <= MOST_LEVELS
            && let Some(kind) = self.read_compact_wrapper()
        {
            return Ok(kind);
        }
        let start = self.out.len();
        self.read_members(level)?;
        match wrapper::unwrap(&self.out[start..], &mut self.unwrapped) {
            Ok(Some(kind)) => {
                self.out.truncate(start);
                self.out.extend_from_slice(&self.unwrapped);
                Ok(kind)
            }
            Ok(None) => Ok(kind::DOCUMENT),
            Err(expected) => Err(problem(text_start, expected)),
        }
    }

    /// Reads what follows `{` and appends a document.
    fn read_members(&mut self, level: usize) -> Result<(), Box<Problem>> {
        let start = self.open(level)?;
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return self.close(start);
        }
        loop {
            self.skip_space();
            self.eat(b'"', "a field name in quotes")?;
            let kind_at = self.out.len();
            self.out.push(0);
            self.read_name()?;
            self.skip_space();
            self.eat(b':', "`:` after a field name")?;
            self.skip_space();
            self.out[kind_at] = self.read_value(level)?;
            if self.read_separator(b'}', "`,` or `}` after a field")? {
                return self.close(start);
            }
        }
    }

    /// Reads what follows `[` and appends an array.
    fn read_items(&mut self, level: usize) -> Result<(), Box<Problem>> {
        let start = self.open(level)?;
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return self.close(start);
        }
        let mut name = itoa::Buffer::new();
        for index in 0_u32.. {
            let kind_at = self.out.len();
            self.out.push(0);
            self.out.extend_from_slice(name.format(index).as_bytes());
            self.out.push(0);
            self.skip_space();
            self.out[kind_at] = self.read_value(level)?;
            if self.read_separator(b']', "`,` or `]` after an array's element")? {
                break;
            }
        }
        self.close(start)
    }

    /// Whether `end` stands at the cursor rather than a comma.
    fn read_separator(&mut self, end: u8, expected: &'static str) -> Result<bool, Box<Problem>> {
        self.skip_space();
        match self.peek() {
            Some(byte) if byte == end || byte == b',' => {
                self.at += 1;
                Ok(byte == end)
            }
            _ => Err(self.expected(expected)),
        }
    }

    /// Begins a document or array on this level; where it begins.
    fn open(&mut self, level: usize) -> Result<usize, Box<Problem>> {
        if level > MOST_LEVELS {
            let deep_at = *self.deep_at.get_or_insert(self.at - 1);
            if level > MOST_LEVELS + MOST_WRAPPER_LEVELS {
                return Err(problem(deep_at, TOO_DEEP));
            }
        }
        Ok(self.reserve_length())
    }

    fn reserve_length(&mut self) -> usize {
        let at = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        at
    }

    fn close(&mut self, start: usize) -> Result<(), Box<Problem>> {
        self.out.push(0);
        self.fill_length(start, self.out.len() - start)
    }

    fn fill_length(&mut self, at: usize, length: usize) -> Result<(), Box<Problem>> {
        let length = i32::try_from(length).map_err(|_| self.expected("less than 2 GB in a document"))?;
        self.out[at..at + 4].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }

    /// Reads what follows the opening quote and appends a name with its terminator.
    fn read_name(&mut self) -> Result<(), Box<Problem>> {
        let (text_start, start) = (self.at, self.out.len());
        let had_escapes = self.read_characters()?;
        if had_escapes && self.out[start..].contains(&0) {
            return Err(problem(text_start, "a field name without NUL"));
        }
        self.out.push(0);
        Ok(())
    }

    /// Reads what follows the opening quote and appends a string value.
    fn read_string(&mut self) -> Result<(), Box<Problem>> {
        let start = self.reserve_length();
        self.read_characters()?;
        self.out.push(0);
        self.fill_length(start, self.out.len() - start - 4)
    }

    /// Appends the characters up to the closing quote; whether escapes were among them.
    fn read_characters(&mut self) -> Result<bool, Box<Problem>> {
        let mut had_escapes = false;
        loop {
            self.copy_run();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(had_escapes);
                }
                Some(b'\\') => {
                    had_escapes = true;
                    self.read_escape()?;
                }
                Some(_) => return Err(self.expected("an escape in place of a control character")),
                None => return Err(self.expected("a closing quote")),
            }
        }
    }

    /// Copies the characters up to the next quote, backslash or control character.
    fn copy_run(&mut self) {
        /// Up to here it costs less to copy all that may belong to it than to find its length first.
        const SHORT: usize = 32;
        if let Some(bytes) = self.text[self.at..].first_chunk::<SHORT>() {
            let run = run_length(bytes);
            self.out.extend_from_slice(bytes);
            self.at += run;
            if run < SHORT {
                self.out.truncate(self.out.len() - (SHORT - run));
                return;
            }
        }
        let rest = &self.text[self.at..];
        let run = long_run_length(rest);
        self.out.extend_from_slice(&rest[..run]);
        self.at += run;
    }

    /// The cursor is at a backslash.
    fn read_escape(&mut self) -> Result<(), Box<Problem>> {
        let character = match self.text.get(self.at + 1) {
            Some(plain @ (b'"' | b'\\' | b'/')) => *plain,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => return self.read_unicode_escape(),
            _ => return Err(self.expected("an escape that JSON knows")),
        };
        self.at += 2;
        self.out.push(character);
        Ok(())
    }

    /// The cursor is at `\u`. Half of a surrogate pair becomes U+FFFD.
    fn read_unicode_escape(&mut self) -> Result<(), Box<Problem>> {
        let unit = self.unit_at(self.at).ok_or_else(|| self.expected("four hex digits after `\\u`"))?;
        self.at += 6;
        let mut code = unit;
        if let (0xd800..0xdc00, Some(low @ 0xdc00..0xe000)) = (unit, self.unit_at(self.at)) {
            self.at += 6;
            code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        }
        let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        self.out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    /// The UTF-16 unit that is escaped at `at`.
    fn unit_at(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |sum, digit| Some(sum << 4 | char::from(*digit).to_digit(16)?))
    }

    /// Appends the number at the cursor, or a bare `-Infinity`.
    fn read_number(&mut self) -> Result<u8, Box<Problem>> {
        let start = self.at;
        let is_negative = self.peek() == Some(b'-');
        self.at += usize::from(is_negative);
        if is_negative && self.peek() == Some(b'I') && !self.is_plain {
            return self.read_infinity(f64::NEG_INFINITY);
        }
        let whole_start = self.at;
        let magnitude = self.read_digits()?;
        if self.text[whole_start] == b'0' && self.at > whole_start + 1 {
            return Err(problem(whole_start, "a number without leading zeros"));
        }
        if matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            self.skip_fraction_and_exponent()?;
            return self.push_double(start);
        }
        let Some(value) = magnitude.and_then(|magnitude| with_sign(magnitude, is_negative)) else {
            return self.push_double(start);
        };
        if let Some(value) = i32::try_from(value).ok().filter(|_| !self.is_plain) {
            self.out.extend_from_slice(&value.to_le_bytes());
            return Ok(kind::INT32);
        }
        self.out.extend_from_slice(&value.to_le_bytes());
        Ok(kind::INT64)
    }

    /// Skips at least one digit; their value, unless they are too many for a whole number of 64 bits.
    fn read_digits(&mut self) -> Result<Option<u64>, Box<Problem>> {
        let (value, count) = digits(&self.text[self.at..]);
        self.at += count;
        if count == 0 { Err(self.expected("a digit")) } else { Ok(value) }
    }

    fn skip_fraction_and_exponent(&mut self) -> Result<(), Box<Problem>> {
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.read_digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.read_digits()?;
        }
        Ok(())
    }

    /// Appends the number between `start` and the cursor, whose grammar was checked.
    fn push_double(&mut self, start: usize) -> Result<u8, Box<Problem>> {
        let text = std::str::from_utf8(&self.text[start..self.at]).expect("a number is ASCII");
        let value: f64 = text.parse().expect("every JSON number parses");
        if value.is_infinite() {
            return Err(problem(start, "a number that a double can hold"));
        }
        self.out.extend_from_slice(&value.to_le_bytes());
        Ok(kind::DOUBLE)
    }

    fn read_word(&mut self) -> Result<u8, Box<Problem>> {
        if self.eat_word("true") {
            self.out.push(1);
            Ok(kind::BOOLEAN)
        } else if self.eat_word("false") {
            self.out.push(0);
            Ok(kind::BOOLEAN)
        } else if self.eat_word("null") {
            Ok(kind::NULL)
        } else if self.is_plain {
            Err(self.expected("a value"))
        } else if self.eat_word("NaN") {
            self.out.extend_from_slice(&f64::NAN.to_le_bytes());
            Ok(kind::DOUBLE)
        } else {
            self.read_infinity(f64::INFINITY)
        }
    }

    fn read_infinity(&mut self, value: f64) -> Result<u8, Box<Problem>> {
        if !self.eat_word("Infinity") {
            return Err(self.expected("a value"));
        }
        self.out.extend_from_slice(&value.to_le_bytes());
        Ok(kind::DOUBLE)
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let is_there = self.text[self.at..].starts_with(word.as_bytes());
        self.at += if is_there { word.len() } else { 0 };
        is_there
    }

    fn eat(&mut self, byte: u8, expected: &'static str) -> Result<(), Box<Problem>> {
        if self.peek() != Some(byte) {
            return Err(self.expected(expected));
        }
        self.at += 1;
        Ok(())
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[cold]
    fn expected(&self, expected: &'static str) -> Box<Problem> {
        problem(self.at, expected)
    }
}

/// The digits that `text` begins with: their value, unless they are more than any whole number of 64 bits has, and how
/// many they are.
fn digits(text: &[u8]) -> (Option<u64>, usize) {
    /// So many nines still fit into 64 bits.
    const MOST_DIGITS: usize = 19;
    let (mut value, mut count) = (0_u64, 0);
    while let Some(digit @ b'0'..=b'9') = text.get(count) {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        count += 1;
    }
    ((count <= MOST_DIGITS).then_some(value), count)
}

fn with_sign(magnitude: u64, is_negative: bool) -> Option<i64> {
    if is_negative { 0_i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}
