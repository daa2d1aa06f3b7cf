//! How many events a reply is asked for, so that it has a size that is good to handle. Pure.
//!
//! A server fills a reply up to 16 MB if there are as many events. Of large documents that is more than caches hold, and
//! two blocks that come from the system each time; and whoever waits for the first event waits for all of them.

/// Replies of more bytes have too many events.
const LARGE_BYTES: usize = 8 << 20;
/// Full replies of fewer bytes have too few.
const SMALL_BYTES: usize = 128 << 10;
/// About what a reply should have.
const GOOD_BYTES: usize = 2 << 20;

/// How many events a reply may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReplySize {
    most: u32,
    current: u32,
}

impl ReplySize {
    /// `most` is what the settings say, and what is asked for until replies turn out to be large.
    pub(super) fn new(most: u32) -> Self {
        Self { most, current: most }
    }

    pub(super) fn events(self) -> u32 {
        self.current
    }

    /// Learns from a reply; whether the next one should be asked for with another number. `events` counts those of the
    /// reply, which is seldom needed.
    pub(super) fn learn(&mut self, bytes: usize, events: impl FnOnce() -> usize) -> bool {
        if (SMALL_BYTES..LARGE_BYTES).contains(&bytes) {
            return false;
        }
        let (events, current) = (events(), self.current);
        let good = GOOD_BYTES.saturating_mul(events) / bytes.max(1);
        let good = u32::try_from(good).unwrap_or(u32::MAX).clamp(1, self.most);
        if bytes >= LARGE_BYTES && events > 1 {
            self.current = good.min(current);
        } else if bytes < SMALL_BYTES && events >= current as usize {
            self.current = good.max(current);
        }
        self.current != current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_become_smaller_with_large_documents_and_larger_again_with_small_ones() {
        let mut size = ReplySize::new(5000);
        for (events, bytes, expected) in [
            // Documents of 500 bytes fill a reply of the settings' size.
            (5000, 4 << 20, 5000),
            // Of 20 KB.
            (800, 16 << 20, 100),
            (100, 2 << 20, 100),
            // Some that are larger than the others.
            (100, 7 << 20, 100),
            (100, 12 << 20, 16),
            // Not all that were asked for: more would not have come.
            (15, 7 << 10, 16),
            (16, 8 << 10, 4096),
            (64, 16 << 20, 8),
            // One that is as large as can be.
            (1, 16 << 20, 8),
            (8, 8 << 20, 2),
            (2, 16 << 20, 1),
            (1, 16 << 20, 1),
            (1, 1000, 2097),
            (0, 200, 2097),
        ] {
            let before = size.events();
            assert_eq!(size.learn(bytes, || events), before != expected, "{events} {bytes}");
            assert_eq!(size.events(), expected, "{events} {bytes}");
        }
    }

    #[test]
    fn the_settings_number_is_never_exceeded() {
        let mut size = ReplySize::new(3);
        assert!(!size.learn(100, || 3) && !size.learn(7 << 20, || 3) && size.events() == 3);
        assert!(size.learn(40 << 20, || 3) && size.events() == 1);
        assert!(size.learn(100, || 1) && size.events() == 3);
    }
}
