//! What the allocator does with the replies that a source gets from the server, the only large blocks there are.
#![allow(unsafe_code)]

/// Blocks from this size on are mapped one by one, and given back to the system when they are freed.
#[cfg(target_env = "gnu")]
const LARGE_BLOCK_BYTES: i32 = 8 << 20;

/// So much of what is free at the end of a heap is kept: a reply of 2 MB and the driver's copy of it.
#[cfg(target_env = "gnu")]
const KEPT_BYTES: i32 = 4 << 20;

/// Has replies of the server's full size, 16 MB, given back when they are done with, and the space of smaller ones used
/// again.
///
/// By default glibc learns from the first of them that such blocks come and go, and from then on cuts them out of its
/// heaps: those of several threads then hold the space of several, with records between them. Where its thresholds are
/// fixed it gives back all but 128 KB at the end of a heap, and asks for each page of the next reply again. What both are
/// worth: docs/performance.md. With other C libraries there is nothing to do.
pub fn give_back_large_blocks() {
    #[cfg(target_env = "gnu")]
    for (threshold, bytes) in
        [(libc::M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES), (libc::M_TRIM_THRESHOLD, KEPT_BYTES)]
    {
        // SAFETY: sets one of the allocator's numbers, under its lock; no memory is touched.
        let is_set = unsafe { libc::mallopt(threshold, bytes) } == 1;
        if !is_set {
            tracing::debug!(threshold, "the allocator keeps its threshold for large blocks");
        }
    }
}
