//! Small values side by side in shared blocks.
//!
//! A record and what is made of it live until their batch is durable. One by one they would be several blocks of the
//! allocator for each record, given back on another thread than they were taken on.

use bytes::{Bytes, BytesMut};

/// Bytes of a block; below the size from which glibc maps blocks one by one.
const BLOCK_BYTES: usize = 64 << 10;
/// What is larger has a block of its own.
const MAX_SHARED_BYTES: usize = BLOCK_BYTES / 8;

/// Puts values into blocks. A block lives as long as the last of its values.
#[derive(Debug, Default)]
pub struct Arena {
    block: BytesMut,
}

impl Arena {
    /// Whether a value of so many bytes shares a block with others.
    pub fn shares(len: usize) -> bool {
        len <= MAX_SHARED_BYTES
    }

    /// A copy of `value`.
    pub fn keep(&mut self, value: &[u8]) -> Bytes {
        if !Self::shares(value.len()) {
            return Bytes::copy_from_slice(value);
        }
        if self.block.capacity() < value.len() {
            self.block = BytesMut::with_capacity(BLOCK_BYTES);
        }
        self.block.extend_from_slice(value);
        self.block.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_values_stand_side_by_side_and_large_ones_alone() {
        let mut arena = Arena::default();
        let (a, b) = (arena.keep(b"one"), arena.keep(b"two"));
        let large = arena.keep(&[7; MAX_SHARED_BYTES + 1]);
        let c = arena.keep(b"");
        assert_eq!((&a[..], &b[..], &c[..]), (&b"one"[..], &b"two"[..], &b""[..]));
        assert_eq!(a.as_ptr().addr() + 3, b.as_ptr().addr());
        assert_eq!(large, [7; MAX_SHARED_BYTES + 1][..]);
    }

    #[test]
    fn values_outlive_the_arena_and_fill_many_blocks() {
        let mut arena = Arena::default();
        let value = |n: usize| vec![n as u8; n % 1000];
        let kept: Vec<_> = (0..1000).map(|n| arena.keep(&value(n))).collect();
        drop(arena);
        assert!(kept.iter().enumerate().all(|(n, kept)| *kept == value(n)));
    }
}
