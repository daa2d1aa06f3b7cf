//! At which cluster time can the stream be held so that all events up to it are handed on and none after? Pure.
//!
//! What a reply tells is that everything before its first event, or, in an empty reply, before the time of its token has
//! been seen. A token's own time may still have events, unless it is that of an event that was handed on and nothing came
//! after it: events of one transaction have one time.

use crate::{config::ClusterTime, position::Position};

/// Follows what is handed on.
#[derive(Debug, Default)]
pub(in crate::source) struct Clean {
    /// The time of the last event that was handed on.
    handed_on: ClusterTime,
}

impl Clean {
    /// For a stream that goes on after `position`.
    pub(in crate::source) fn after(position: &Position) -> Self {
        let is_after_event = position.token.as_ref().is_some_and(|token| !token.is_high_water_mark());
        Self { handed_on: if is_after_event { position.time } else { ClusterTime::default() } }
    }

    /// An event of this time is handed on.
    pub(in crate::source) fn handed_on(&mut self, time: ClusterTime) {
        self.handed_on = self.handed_on.max(time);
    }

    /// The time at which the stream stands before the reply that has just come is handed on: its first event is at
    /// `first`; without one, its token stands for `token`. `None` where the stream stands within a transaction.
    pub(in crate::source) fn before(
        &self,
        first: Option<ClusterTime>,
        token: ClusterTime,
    ) -> Option<ClusterTime> {
        match first {
            Some(first) if first > self.handed_on => Some(just_before(first)),
            Some(_) => None,
            None if token > self.handed_on => Some(just_before(token)),
            None => Some(self.handed_on),
        }
    }
}

fn just_before(time: ClusterTime) -> ClusterTime {
    match time.increment.checked_sub(1) {
        Some(increment) => ClusterTime { increment, ..time },
        None => ClusterTime { seconds: time.seconds.saturating_sub(1), increment: u32::MAX },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::ResumeToken;

    fn at(seconds: u32, increment: u32) -> ClusterTime {
        ClusterTime { seconds, increment }
    }

    #[test]
    fn the_stream_stands_clean_between_events_of_different_times() {
        let mut clean = Clean::default();
        assert_eq!(clean.before(None, at(5, 3)), Some(at(5, 2)), "the token's time may still have events");
        clean.handed_on(at(5, 3));
        for (first, token, expected) in [
            (Some(at(5, 4)), at(9, 9), Some(at(5, 3))),
            (Some(at(6, 0)), at(9, 9), Some(at(5, u32::MAX))),
            // More of the same transaction.
            (Some(at(5, 3)), at(9, 9), None),
            (None, at(5, 3), Some(at(5, 3))),
            (None, at(7, 1), Some(at(7, 0))),
        ] {
            assert_eq!(clean.before(first, token), expected, "{first:?} {token:?}");
        }
    }

    #[test]
    fn a_stream_that_goes_on_stands_after_an_event_or_before_all_of_its_time() {
        let start = Position::at_time(0, at(5, 3));
        let after = |data: &str| Clean::after(&start.after(ResumeToken::from_data(data)));
        assert_eq!(Clean::after(&start).before(Some(at(5, 3)), at(5, 3)), Some(at(5, 2)));
        let mark = after("8200000005000000032B0229296E1404");
        assert_eq!(mark.before(None, at(5, 3)), Some(at(5, 2)));
        let event = after("8200000005000000032B022C0100296E");
        assert_eq!(event.before(Some(at(5, 3)), at(5, 3)), None, "the rest of a transaction");
    }

    #[test]
    fn an_older_event_does_not_move_it_back() {
        let mut clean = Clean::default();
        clean.handed_on(at(5, 3));
        clean.handed_on(at(4, 9));
        assert_eq!(clean.before(None, at(5, 3)), Some(at(5, 3)));
    }
}
