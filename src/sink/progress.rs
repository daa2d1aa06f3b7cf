//! Which offsets are safe to commit. Pure: records and finished batches in, next offsets out.
//!
//! Assumes that every record is told, in the order of its partition, before the batch that holds it is closed; a
//! record that writes nothing counts as part of the batch that is open when it is read. Promises that a partition's
//! next offset never passes a record whose batch is not durable, whatever the order in which batches finish, and never
//! goes back.

use std::{collections::VecDeque, fmt, sync::Arc};

use foldhash::HashMap;

/// What was read and what is durable, for every partition that this sink owns.
#[derive(Debug, Default)]
pub struct Progress {
    partitions: HashMap<Partition, State>,
    /// The batch that is filling.
    open: Ticket,
}

/// A batch, in the order in which batches are closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// One partition's batches that are not durable yet, oldest first.
#[derive(Debug, Default)]
struct State {
    pending: VecDeque<Pending>,
    /// Next offset after the longest durable prefix.
    durable_next: Option<i64>,
    /// Next offset last handed out for a commit.
    committed_next: Option<i64>,
}

#[derive(Debug)]
struct Pending {
    ticket: Ticket,
    /// Offset after the batch's last record of this partition.
    next_offset: i64,
    durable: bool,
}

impl Progress {
    /// A record was read and belongs to the open batch.
    pub fn read(&mut self, place: &Place) {
        let state = match self.partitions.get_mut(&place.partition) {
            Some(state) => state,
            None => self.partitions.entry(place.partition.clone()).or_default(),
        };
        // The one place where "last record" becomes "next offset".
        let next_offset = place.offset + 1;
        match state.pending.back_mut() {
            Some(last) if last.ticket == self.open => last.next_offset = next_offset,
            _ => state.pending.push_back(Pending { ticket: self.open, next_offset, durable: false }),
        }
    }

    /// The open batch is closed; the next record begins another.
    pub fn close(&mut self) -> Ticket {
        let closed = self.open;
        self.open.0 += 1;
        closed
    }

    /// All that the batch wrote is durable.
    pub fn written(&mut self, ticket: Ticket) {
        for state in self.partitions.values_mut() {
            if let Some(pending) = state.pending.iter_mut().find(|pending| pending.ticket == ticket) {
                pending.durable = true;
            }
            while let Some(first) = state.pending.pop_front_if(|first| first.durable) {
                state.durable_next = Some(first.next_offset);
            }
        }
    }

    /// Next offsets that are safe and were not handed out before.
    pub fn take_commits(&mut self) -> Vec<(Partition, i64)> {
        let mut commits = Vec::new();
        for (partition, state) in &mut self.partitions {
            if let Some(next_offset) =
                state.durable_next.filter(|_| state.durable_next > state.committed_next)
            {
                state.committed_next = Some(next_offset);
                commits.push((partition.clone(), next_offset));
            }
        }
        commits
    }

    /// Next offsets that are safe for these partitions, handed out before or not.
    pub fn safe(&self, partitions: &[Partition]) -> Vec<(Partition, i64)> {
        let next = |partition: &Partition| self.partitions.get(partition)?.durable_next;
        partitions.iter().filter_map(|partition| Some((partition.clone(), next(partition)?))).collect()
    }

    /// Next offsets that are safe for all partitions, handed out before or not.
    pub fn all_safe(&self) -> Vec<(Partition, i64)> {
        let next = |(partition, state): (&Partition, &State)| Some((partition.clone(), state.durable_next?));
        self.partitions.iter().filter_map(next).collect()
    }

    /// The partition belongs to another member now, or is read again from its committed offset.
    pub fn forget(&mut self, partition: &Partition) {
        self.partitions.remove(partition);
    }

    /// Whether some record's batch is not durable.
    pub fn is_pending(&self) -> bool {
        self.partitions.values().any(|state| !state.pending.is_empty())
    }
}

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition's number.
    pub number: i32,
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.number)
    }
}

/// Where a record stands. Written `topic-partition@offset`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Its partition.
    pub partition: Partition,
    /// Its own offset (not the next one).
    pub offset: i64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.partition, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: i32) -> Partition {
        Partition { topic: "shop.orders".into(), number }
    }

    fn place(number: i32, offset: i64) -> Place {
        Place { partition: partition(number), offset }
    }

    #[test]
    fn nothing_is_safe_before_its_batch_is_durable() {
        let mut progress = Progress::default();
        progress.read(&place(0, 7));
        progress.read(&place(0, 8));
        assert_eq!(progress.take_commits(), []);
        let ticket = progress.close();
        assert_eq!(progress.take_commits(), []);
        assert!(progress.is_pending());
        progress.written(ticket);
        assert_eq!(progress.take_commits(), [(partition(0), 9)]);
        assert!(!progress.is_pending());
    }

    #[test]
    fn an_offset_is_handed_out_once_but_stays_safe() {
        let mut progress = Progress::default();
        progress.read(&place(0, 7));
        let ticket = progress.close();
        progress.written(ticket);
        assert_eq!(progress.take_commits(), [(partition(0), 8)]);
        assert_eq!(progress.take_commits(), []);
        assert_eq!(progress.safe(&[partition(0), partition(1)]), [(partition(0), 8)]);
        assert_eq!(progress.all_safe(), [(partition(0), 8)]);
    }

    #[test]
    fn a_later_batch_that_finishes_first_waits_for_the_earlier() {
        let mut progress = Progress::default();
        progress.read(&place(0, 1));
        let first = progress.close();
        progress.read(&place(0, 2));
        progress.read(&place(1, 40));
        let second = progress.close();
        progress.written(second);
        assert_eq!(progress.take_commits(), [(partition(1), 41)]);
        progress.written(first);
        assert_eq!(progress.take_commits(), [(partition(0), 3)]);
    }

    #[test]
    fn gaps_of_compaction_and_transactions_do_not_stop_progress() {
        let mut progress = Progress::default();
        progress.read(&place(0, 3));
        progress.read(&place(0, 900));
        let ticket = progress.close();
        progress.written(ticket);
        assert_eq!(progress.take_commits(), [(partition(0), 901)]);
    }

    #[test]
    fn a_forgotten_partition_is_never_committed_again() {
        let mut progress = Progress::default();
        progress.read(&place(0, 1));
        progress.read(&place(1, 1));
        let ticket = progress.close();
        progress.forget(&partition(0));
        progress.written(ticket);
        assert_eq!(progress.take_commits(), [(partition(1), 2)]);
        assert_eq!(progress.safe(&[partition(0)]), []);
    }

    #[test]
    fn batches_without_records_of_a_partition_leave_it_alone() {
        let mut progress = Progress::default();
        let empty = progress.close();
        progress.read(&place(0, 5));
        progress.written(empty);
        assert_eq!(progress.take_commits(), []);
        assert!(progress.is_pending());
    }
}
