//! When a difference is one. Pure.
//!
//! While a copy is being kept up, documents differ for a moment: the source is ahead, or it was read before the target was.
//! So a document that differs is only suspected, and looked at again and again. It is reported once every look of a
//! whole settling time has found both sides as they were and different. If either side changes, that time begins anew; a
//! document that never rests is let go, and counted as unsettled.

use std::time::{Duration, Instant};

use super::content::State;
use crate::ranges::Id;

/// The first pause before another look; pauses double.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A document is let go when it has not rested within so many settling times…
const PATIENCE: u32 = 6;
/// …or within this, whatever is longer.
const LEAST_PATIENCE: Duration = Duration::from_secs(2);

/// A document that differed when it was last looked at.
#[derive(Debug)]
pub(super) struct Suspect {
    /// Whose: the number of the pair.
    pub(super) pair: usize,
    pub(super) id: Id,
    /// What each side had at the last look.
    state: State,
    /// When a look had first found both sides like this.
    since: Instant,
    /// When it was first suspected.
    suspected: Instant,
    pause: Duration,
    /// When to look again.
    pub(super) next_look: Instant,
}

/// What a look has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlook {
    /// Both sides are equal now.
    Equal,
    /// It is to be looked at again.
    Open,
    /// It is different for certain.
    Different(State),
    /// It does not come to rest.
    Unsettled,
}

impl Suspect {
    /// A document in which the sides differed when they were read, which was done at `now`.
    pub(super) fn new(pair: usize, id: Id, state: State, now: Instant) -> Self {
        let next_look = now + FIRST_PAUSE;
        Self { pair, id, state, since: now, suspected: now, pause: FIRST_PAUSE, next_look }
    }

    /// Judges a look that was begun at `begun` and done at `done`.
    pub(super) fn look(&mut self, seen: State, begun: Instant, done: Instant, settle: Duration) -> Outlook {
        if seen.is_equal() {
            return Outlook::Equal;
        }
        if seen != self.state {
            self.state = seen;
            self.since = done;
            self.pause = FIRST_PAUSE;
        } else if begun.saturating_duration_since(self.since) >= settle {
            return Outlook::Different(seen);
        }
        if done.saturating_duration_since(self.suspected) >= (settle * PATIENCE).max(LEAST_PATIENCE) {
            return Outlook::Unsettled;
        }
        // The last look comes when the time is over, not long after it.
        let settled = self.since + settle;
        self.next_look = (done + self.pause).min(settled.max(done));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Outlook::Open
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;
    use crate::{
        raw::Document,
        verify::fingerprint::{self, FieldOrder, Fingerprint},
    };

    const SETTLE: Duration = Duration::from_secs(10);

    fn print(version: i32) -> Fingerprint {
        let bytes = doc! { "v": version }.to_vec().expect("writable");
        let document = Document::new(&bytes).expect("sound");
        fingerprint::of(document, FieldOrder::Counts, &mut Vec::new()).expect("sound")
    }

    /// Versions of the document; 0 is none.
    fn state(source: i32, target: i32) -> State {
        let side = |version| (version != 0).then(|| print(version));
        State { source: side(source), target: side(target) }
    }

    /// Looks at these seconds with these versions; the outlook of the last look.
    fn outlook(first: State, looks: &[(u64, State)], settle: Duration) -> Outlook {
        let start = Instant::now();
        let id = Id::from_bytes(doc! { "_id": 1 }.to_vec().expect("writable")).expect("an _id");
        let mut suspect = Suspect::new(0, id, first, start);
        let mut last = Outlook::Open;
        for (second, seen) in looks {
            assert_eq!(last, Outlook::Open, "nobody looks after a verdict");
            let at = start + Duration::from_secs(*second);
            last = suspect.look(*seen, at, at, settle);
        }
        last
    }

    #[test]
    fn a_copy_that_catches_up_is_equal() {
        assert_eq!(outlook(state(2, 1), &[(1, state(2, 1)), (3, state(2, 2))], SETTLE), Outlook::Equal);
        assert_eq!(outlook(state(0, 1), &[(1, state(0, 0))], SETTLE), Outlook::Equal);
    }

    #[test]
    fn a_difference_that_stays_for_the_settling_time_is_one() {
        for difference in [state(2, 1), state(1, 0), state(0, 1)] {
            let looks = [(1, difference), (9, difference)];
            assert_eq!(outlook(difference, &looks, SETTLE), Outlook::Open);
            let looks = [(1, difference), (10, difference)];
            assert_eq!(outlook(difference, &looks, SETTLE), Outlook::Different(difference));
        }
        assert_eq!(
            outlook(state(2, 1), &[(0, state(2, 1))], Duration::ZERO),
            Outlook::Different(state(2, 1)),
            "without a settling time one more look is enough"
        );
    }

    #[test]
    fn a_change_on_either_side_begins_the_time_anew() {
        for changed in [state(3, 1), state(2, 9)] {
            let looks = [(9, changed), (18, changed)];
            assert_eq!(outlook(state(2, 1), &looks, SETTLE), Outlook::Open);
            let looks = [(9, changed), (19, changed)];
            assert_eq!(outlook(state(2, 1), &looks, SETTLE), Outlook::Different(changed));
        }
    }

    #[test]
    fn a_document_that_never_rests_is_let_go() {
        let looks: Vec<_> = (1..=12).map(|n| (n * 5, state(n as i32 + 10, 1))).collect();
        assert_eq!(outlook(state(2, 1), &looks, SETTLE), Outlook::Unsettled);
        assert_eq!(outlook(state(2, 1), &looks[..11], SETTLE), Outlook::Open);
    }

    #[test]
    fn looks_grow_rarer_and_the_last_one_is_in_time() {
        let start = Instant::now();
        let id = Id::from_bytes(doc! { "_id": 1 }.to_vec().expect("writable")).expect("an _id");
        let mut suspect = Suspect::new(0, id, state(2, 1), start);
        let mut looks = 0;
        let verdict = loop {
            let at = suspect.next_look;
            assert!(at > start && at <= start + SETTLE);
            looks += 1;
            match suspect.look(state(2, 1), at, at, SETTLE) {
                Outlook::Open => {}
                verdict => break verdict,
            }
        };
        assert_eq!(verdict, Outlook::Different(state(2, 1)));
        assert!((5..20).contains(&looks), "{looks}");
    }
}
