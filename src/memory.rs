//! What the allocator does with the replies that a source gets from the server, the only large blocks there are.
#![allow(unsafe_code)]

/// Blocks from this size on are mapped one by one, and given back to the system when they are freed. Of what is free at
/// the end of a heap, less than this is kept.
#[cfg(target_env = "gnu")]
const LARGE_BLOCK_BYTES: i32 = 8 << 20;

/// Has replies of the server's full size, 16 MB, given back when they are done with, and the space of smaller ones used
/// again.
///
/// By default glibc learns from the first of them that such blocks come and go, and from then on cuts them out of its
/// heaps: those of several threads then hold the space of several, with records between them. Where its thresholds are
/// fixed it gives back all but 128 KB at the end of a heap, and asks for each page of the next reply again. What both are
/// worth: docs/performance.md. With other C libraries there is nothing to do.
pub fn give_back_large_blocks() {
    #[cfg(target_env = "gnu")]
    for threshold in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: sets one of the allocator's numbers, under its lock; no memory is touched.
        let is_set = unsafe { libc::mallopt(threshold, LARGE_BLOCK_BYTES) } == 1;
        if !is_set {
            tracing::debug!(threshold, "the allocator keeps its threshold for large blocks");
        }
    }
}
