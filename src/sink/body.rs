//! A document inside of the buffer that it came in.

use std::ops::Range;

use bytes::Bytes;

use super::arena::Arena;
use crate::raw::Document;

/// A larger buffer is not used again.
const MAX_REUSED_BYTES: usize = 64 << 10;

/// A document that owns the buffer in which it stands, or has a part in one.
#[derive(Clone, Debug)]
pub struct Body {
    buffer: Buffer,
    range: Range<usize>,
}

#[derive(Clone, Debug)]
enum Buffer {
    Own(Vec<u8>),
    Shared(Bytes),
}

impl Body {
    /// A document that fills its buffer. The bytes must be sound BSON.
    pub fn whole(bytes: Vec<u8>) -> Self {
        Self { range: 0..bytes.len(), buffer: Buffer::Own(bytes) }
    }

    /// The document at `range`. The bytes there must be sound BSON.
    pub fn part(bytes: Vec<u8>, range: Range<usize>) -> Self {
        Self { buffer: Buffer::Own(bytes), range }
    }

    /// The document.
    pub fn document(&self) -> Document<'_> {
        let bytes: &[u8] = match &self.buffer {
            Buffer::Own(bytes) => bytes,
            Buffer::Shared(bytes) => bytes,
        };
        document_at(bytes, self.range.clone())
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
    pub fn into_bytes(self) -> Vec<u8> {
        match self.buffer {
            Buffer::Own(mut bytes) => {
                if self.range.len() < bytes.len() {
                    bytes.truncate(self.range.end);
                    bytes.drain(..self.range.start);
                }
                bytes
            }
            Buffer::Shared(_) => self.document().as_bytes().to_vec(),
        }
    }

    /// Makes the document hold not much more than itself, because it waits to be written: a small one moves into
    /// `arena`. Returns the buffer that it leaves, if that can be used again, else an empty one.
    pub fn settle(&mut self, arena: &mut Arena) -> Vec<u8> {
        let document = self.document().as_bytes();
        let kept = match &self.buffer {
            Buffer::Own(_) if Arena::shares(document.len()) => arena.keep(document),
            Buffer::Own(bytes) if document.len() < bytes.capacity() / 2 => Bytes::copy_from_slice(document),
            Buffer::Own(_) | Buffer::Shared(_) => return Vec::new(),
        };
        self.range = 0..kept.len();
        match std::mem::replace(&mut self.buffer, Buffer::Shared(kept)) {
            Buffer::Own(buffer) if buffer.capacity() <= MAX_REUSED_BYTES => buffer,
            Buffer::Own(_) | Buffer::Shared(_) => Vec::new(),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A document with a string of so many bytes.
    fn document(len: usize) -> Vec<u8> {
        bson::doc! { "text": "x".repeat(len) }.to_vec().expect("writable")
    }

    #[test]
    fn a_settled_document_is_the_same_and_leaves_its_buffer() {
        let mut arena = Arena::default();
        for (len, room, is_left) in [
            (10, 0, true),
            // Too large for a block that is shared.
            (20_000, 0, false),
            // In too large a buffer for itself.
            (20_000, 44_000, true),
            // In one that is too large to be kept.
            (20_000, 100_000, false),
        ] {
            let expected = document(len);
            let mut bytes = vec![1, 2, 3];
            bytes.reserve_exact(expected.len() + room);
            bytes.extend_from_slice(&expected);
            let mut body = Body::part(bytes, 3..3 + expected.len());
            let left = body.settle(&mut arena);
            assert_eq!(left.capacity() > 0, is_left, "{len} {room}");
            assert_eq!(body.document().as_bytes(), expected, "{len} {room}");
            assert_eq!(body.settle(&mut arena).capacity(), 0, "it leaves only once");
            assert_eq!(body.into_bytes(), expected, "{len} {room}");
        }
    }
}
