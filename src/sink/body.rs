//! A document inside of the buffer that it came in.

use std::ops::Range;

use crate::raw::Document;

/// A document that owns the buffer in which it stands.
#[derive(Clone, Debug)]
pub struct Body {
    bytes: Vec<u8>,
    range: Range<usize>,
}

impl Body {
    /// A document that fills its buffer. The bytes must be sound BSON.
    pub fn whole(bytes: Vec<u8>) -> Self {
        Self { range: 0..bytes.len(), bytes }
    }

    /// The document at `range`. The bytes there must be sound BSON.
    pub fn part(bytes: Vec<u8>, range: Range<usize>) -> Self {
        Self { bytes, range }
    }

    /// The document.
    pub fn document(&self) -> Document<'_> {
        document_at(&self.bytes, self.range.clone())
    }

    /// Bytes of the document.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there is no field in it.
    pub fn is_empty(&self) -> bool {
        self.document().is_empty()
    }

    /// The document's bytes alone.
    pub fn into_bytes(mut self) -> Vec<u8> {
        if self.range.len() < self.bytes.len() {
            self.bytes.truncate(self.range.end);
            self.bytes.drain(..self.range.start);
        }
        self.bytes
    }
}

/// The document at `range` of a buffer whose contents were checked.
pub(super) fn document_at(bytes: &[u8], range: Range<usize>) -> Document<'_> {
    Document::new(&bytes[range]).expect("the range was taken from a checked document")
}

/// Where `part` stands in `whole`; it must have been borrowed from it.
pub(super) fn range_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    debug_assert!(start + part.len() <= whole.len(), "the part was borrowed from the whole");
    start..start + part.len()
}
