//! The way of most wrappers: recognised in the text, without the document that they spell.
//!
//! Only what writers mostly write is known here: one member, whose name and value have no escapes. Whatever is anything
//! else, malformed text too, is left to the reader's long way, which says what is wrong with it; so both ways always
//! come to the same value.

use super::{super::wrapper, Reader, digits, run_length, with_sign};
use crate::raw::kind;

impl Reader<'_> {
    /// Reads a wrapper from behind its `{` to behind its `}` and appends its value. `None` with nothing read if it takes
    /// the long way.
    #[inline]
    pub(super) fn read_compact_wrapper(&mut self) -> Option<u8> {
        let rest = &self.text[self.at..];
        if !rest.starts_with(b"\"$") {
            return None;
        }
        self.read_wrapper_of_one()
    }

    fn read_wrapper_of_one(&mut self) -> Option<u8> {
        let start = self.out.len();
        let mut cursor = Cursor { rest: &self.text[self.at..] };
        let kind = cursor.wrapper(&mut self.out);
        if kind.is_some() {
            self.at = self.text.len() - cursor.rest.len();
        } else {
            self.out.truncate(start);
        }
        kind
    }
}

struct Cursor<'t> {
    rest: &'t [u8],
}

impl<'t> Cursor<'t> {
    fn wrapper(&mut self, out: &mut Vec<u8>) -> Option<u8> {
        let name = self.text()?;
        self.eat(b':')?;
        self.skip_space();
        let kind = match (self.rest.first()?, name) {
            (b'"', _) => {
                let text = self.text()?;
                self.eat(b'}')?;
                return wrapper::unwrap_text(name, text, out).ok()?;
            }
            (b'{', b"$timestamp") => self.timestamp(out)?,
            (_, b"$date") => {
                out.extend_from_slice(&self.whole()?.to_le_bytes());
                kind::DATE_TIME
            }
            _ => return None,
        };
        self.eat(b'}')?;
        Some(kind)
    }

    /// `{"t": …, "i": …}`
    fn timestamp(&mut self, out: &mut Vec<u8>) -> Option<u8> {
        self.eat(b'{')?;
        let seconds = self.part(b"t")?;
        self.eat(b',')?;
        let increment = self.part(b"i")?;
        self.eat(b'}')?;
        out.extend_from_slice(&increment.to_le_bytes());
        out.extend_from_slice(&seconds.to_le_bytes());
        Some(kind::TIMESTAMP)
    }

    /// `"name": …`
    fn part(&mut self, name: &[u8]) -> Option<u32> {
        self.skip_space();
        if self.text()? != name {
            return None;
        }
        self.eat(b':')?;
        self.skip_space();
        u32::try_from(self.whole()?).ok()
    }

    /// A string without escapes.
    fn text(&mut self) -> Option<&'t [u8]> {
        let text = self.rest.strip_prefix(b"\"")?;
        let (text, rest) = text.split_at(run_length(text));
        self.rest = rest.strip_prefix(b"\"")?;
        Some(text)
    }

    /// A whole number of 64 bits. What follows it is the caller's to look at: neither a fraction nor an exponent begins
    /// with what may stand behind a number.
    fn whole(&mut self) -> Option<i64> {
        let (is_negative, text) = match self.rest.strip_prefix(b"-") {
            Some(text) => (true, text),
            None => (false, self.rest),
        };
        let (magnitude, count) = digits(text);
        if count == 0 || count > 1 && text[0] == b'0' {
            return None;
        }
        self.rest = &text[count..];
        with_sign(magnitude?, is_negative)
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        self.skip_space();
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        (*first == byte).then_some(())
    }

    fn skip_space(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }
}
