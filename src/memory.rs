//! What the allocator does with large blocks: the replies that a source gets from the server, and the commands of a sink.
#![allow(unsafe_code)]

/// Blocks from this size on are mapped one by one, and given back to the system when they are freed.
#[cfg(target_env = "gnu")]
const LARGE_BLOCK_BYTES: i32 = 8 << 20;

/// So much is left at the end of each heap when what is free there is given back: a command and the driver's copies of
/// it, or a reply of 2 MB and its copy.
#[cfg(target_env = "gnu")]
const KEPT_BYTES: i32 = 6 << 20;

/// So much more than that has to be free before anything is given back.
#[cfg(target_env = "gnu")]
const TRIM_BYTES: i32 = 1 << 20;

/// Has replies of the server's full size, 16 MB, given back when they are done with, and the space of smaller ones and of
/// commands used again.
///
/// By default glibc learns from the first of them that such blocks come and go, and from then on cuts them out of its
/// heaps: those of several threads then hold the space of several, with records between them. And where enough is free at
/// the end of a heap it gives back all but 128 KB, and asks for each page of the next block again. What both are worth:
/// docs/performance.md. With other C libraries there is nothing to do.
pub fn keep_room_for_blocks() {
    #[cfg(target_env = "gnu")]
    for (setting, bytes) in [
        (libc::M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES),
        (libc::M_TRIM_THRESHOLD, TRIM_BYTES),
        (libc::M_TOP_PAD, KEPT_BYTES),
    ] {
        // SAFETY: sets one of the allocator's numbers, under its lock; no memory is touched.
        let is_set = unsafe { libc::mallopt(setting, bytes) } == 1;
        if !is_set {
            tracing::debug!(setting, "the allocator keeps its own setting for large blocks");
        }
    }
}
