//! In-flight groups of records → highest position that is safe to store. Pure.
//!
//! Events are published in groups, in the stream's order. A group is done when Kafka has acknowledged every record of
//! it; records of several partitions are acknowledged in any order, so groups become done in any order too. The safe
//! position moves over the longest prefix of done groups and never further: accepted is not durable.

use std::collections::VecDeque;

use crate::position::Position;

/// What is on its way, in the stream's order.
#[derive(Debug, Default)]
pub struct Progress {
    groups: VecDeque<Group>,
    next_number: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Group {
    number: u64,
    bytes: usize,
    /// Where the stream stands after the group's last event.
    after: Position,
}

impl Progress {
    /// Adds a group behind all others; its number is the one that [`Progress::next_number`] gave.
    pub fn push(&mut self, after: Position, bytes: usize) {
        self.groups.push_back(Group { number: self.next_number, bytes, after });
        self.next_number += 1;
        self.bytes += bytes;
    }

    /// The number that the next group gets. Numbers grow by one.
    pub fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Drops the done groups at the front; gives the position after the last of them, if there was one.
    pub fn advance(&mut self, is_done: impl Fn(u64) -> bool) -> Option<Position> {
        let mut safe = None;
        while let Some(group) = self.groups.pop_front_if(|group| is_done(group.number)) {
            self.bytes -= group.bytes;
            safe = Some(group.after);
        }
        safe
    }

    /// Bytes of records that are not yet safely behind.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Groups that are not yet safely behind.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether everything that was published is acknowledged.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The numbers of the groups that are not yet safely behind.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.groups.iter().map(|group| group.number)
    }

    /// Where the group `number` ends, for error messages.
    pub fn after(&self, number: u64) -> Option<&Position> {
        self.groups.iter().find(|group| group.number == number).map(|group| &group.after)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::config::ClusterTime;

    fn at(seconds: u32) -> Position {
        Position::at_time(0, ClusterTime { seconds, increment: 1 })
    }

    fn three_groups() -> Progress {
        let mut progress = Progress::default();
        for seconds in 0..3 {
            progress.push(at(seconds), 10);
        }
        progress
    }

    #[test]
    fn nothing_is_safe_before_the_first_group_is_done() {
        let mut progress = three_groups();
        assert_eq!(progress.advance(|number| number != 0), None);
        assert_eq!((progress.len(), progress.bytes()), (3, 30));
    }

    #[test]
    fn the_safe_position_stops_before_the_first_gap() {
        let mut progress = three_groups();
        assert_eq!(progress.advance(|number| number != 1), Some(at(0)));
        assert_eq!(progress.advance(|_| true), Some(at(2)));
        assert!(progress.is_empty() && progress.bytes() == 0);
    }

    #[test]
    fn whatever_the_order_of_acknowledgements_the_position_never_passes_an_open_group() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..200 {
            let mut progress = Progress::default();
            let mut done = HashSet::new();
            let mut safe = None;
            for step in 0..60_u32 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                if state.is_multiple_of(3) || progress.is_empty() {
                    progress.push(at(step), 1);
                } else {
                    done.insert(state % progress.next_number());
                }
                let before = progress.next_number() - progress.len() as u64;
                if let Some(position) = progress.advance(|number| done.contains(&number)) {
                    assert!(safe.as_ref().is_none_or(|last| *last < position));
                    safe = Some(position);
                }
                let after = progress.next_number() - progress.len() as u64;
                assert!((before..after).all(|number| done.contains(&number)));
            }
        }
    }
}
