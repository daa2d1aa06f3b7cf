//! Where a source stands in the stream of changes, as a value.

use std::{cmp::Ordering, fmt, sync::Arc};

use crate::{
    config::ClusterTime,
    raw::{self, Document},
    source::snapshot::Plan,
};

/// A change stream's resume token: an opaque document with a `_data` text whose order is the order of events.
#[derive(Clone, PartialEq, Eq)]
pub struct ResumeToken {
    document: Vec<u8>,
}

impl ResumeToken {
    /// Takes a token as the server sent it.
    ///
    /// # Errors
    /// When the bytes are not a document or there is no `_data` in it.
    pub fn new(document: Document<'_>) -> Result<Self, raw::Error> {
        data(document)?;
        Ok(Self { document: document.as_bytes().to_vec() })
    }

    /// The token with this `_data`.
    pub fn from_data(data: &str) -> Self {
        let mut writer = raw::Writer::default();
        writer.begin();
        writer.string(b"_data", data.as_bytes());
        writer.end();
        Self { document: writer.into_bytes() }
    }

    /// The token's BSON.
    pub fn as_bytes(&self) -> &[u8] {
        &self.document
    }

    /// `_data`: upper-case hexadecimal text. Its order is the order of events, within one deployment.
    pub fn data(&self) -> &str {
        let document = Document::new(&self.document).expect("checked when the token was made");
        data(document).expect("checked when the token was made")
    }

    /// The cluster time that the token stands for: `_data` is a KeyString that begins with the type byte of a
    /// timestamp (0x82) and its eight bytes, big-endian
    /// (<https://github.com/mongodb/mongo/blob/master/src/mongo/db/pipeline/resume_token.h>).
    pub fn time(&self) -> Option<ClusterTime> {
        let digits = self.data().strip_prefix("82")?.get(..16)?;
        let bits = u64::from_str_radix(digits, 16).ok()?;
        Some(ClusterTime { seconds: (bits >> 32) as u32, increment: bits as u32 })
    }

    /// Whether it is known to stand for a time only, and so to lie before all events of that time: its type, the number
    /// after the version, is 0 (<https://github.com/mongodb/mongo/blob/master/src/mongo/db/pipeline/resume_token.h>).
    pub fn is_high_water_mark(&self) -> bool {
        let after_time = self.data().get(18..24).map(str::as_bytes);
        matches!(after_time, Some([b'2', b'B', _, _, b'2', b'9']))
    }

    /// A short name for logs, which does not give away the document key inside the token.
    pub fn short_hash(&self) -> String {
        // FNV-1a: short, and the same in every process.
        let hash = self
            .document
            .iter()
            .fold(0x811c_9dc5_u32, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        format!("{hash:08x}")
    }
}

impl fmt::Debug for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResumeToken({})", self.short_hash())
    }
}

fn data(token: Document<'_>) -> Result<&str, raw::Error> {
    let element = token.get("_data")?;
    element
        .and_then(raw::Element::as_str)
        .ok_or(raw::Error { at: 4, what: "a resume token has no _data text" })
}

/// A point in the stream, and what a snapshot has left to copy there: everything before it is done with.
///
/// Positions are ordered by generation, then time, then token, then steps. A generation is raised when a position is
/// moved back on purpose, so that the lower one wins over what an older process may still store.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// Raised by rewinds, take-overs and losses of history; 0 at first.
    pub generation: u64,
    /// The cluster time: of the last event, or the time from which to start.
    pub time: ClusterTime,
    /// The token after which to go on. Without one the stream starts with the events at or after `time`.
    pub token: Option<ResumeToken>,
    /// Raised with every change of `snapshot`.
    pub steps: u64,
    /// What is left to copy; `None` when there is nothing.
    pub snapshot: Option<Arc<Plan>>,
    /// What was lost last, if ever.
    pub gap: Option<Gap>,
}

/// Changes that were lost, because the oplog no longer had them: those after `after` and before `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The position that was lost.
    pub after: ClusterTime,
    /// Where the stream went on.
    pub until: ClusterTime,
}

impl Position {
    /// The start of a new generation at `time`.
    pub fn at_time(generation: u64, time: ClusterTime) -> Self {
        Self { generation, time, token: None, steps: 0, snapshot: None, gap: None }
    }

    /// The start of the next generation at `time`, which is later: what lies between is lost.
    #[must_use]
    pub fn skip_to(&self, time: ClusterTime) -> Self {
        let gap = Some(Gap { after: self.time, until: time });
        Self { gap, ..Self::at_time(self.generation + 1, time) }
    }

    /// The position after `token`, in the same generation.
    #[must_use]
    pub fn after(&self, token: ResumeToken) -> Self {
        Self { time: token.time().unwrap_or(self.time), token: Some(token), ..self.clone() }
    }

    /// The same place in the stream with another plan for the snapshot.
    #[must_use]
    pub fn with_snapshot(&self, plan: &Plan) -> Self {
        let snapshot = (!plan.is_empty()).then(|| Arc::new(plan.clone()));
        Self { steps: self.steps + 1, snapshot, ..self.clone() }
    }

    /// The place in the stream of `stream` with this position's snapshot and gap.
    #[must_use]
    pub fn moved_to(&self, stream: &Self) -> Self {
        Self { steps: self.steps, snapshot: self.snapshot.clone(), gap: self.gap, ..stream.clone() }
    }

    /// How positions compare.
    fn order(&self) -> (u64, ClusterTime, Option<&str>, u64) {
        (self.generation, self.time, self.token.as_ref().map(ResumeToken::data), self.steps)
    }
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.order().cmp(&other.order()))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cluster time {}", self.time)?;
        if let Some(token) = &self.token {
            write!(f, " token {}", token.short_hash())?;
        }
        match &self.snapshot {
            Some(plan) => write!(f, " with {} collections to copy", plan.collections_left()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn token(data: &str) -> ResumeToken {
        ResumeToken::from_data(data)
    }

    #[test]
    fn a_token_gives_its_cluster_time() {
        let token = token("826B039A370000001F2B022C0100296E5A10047AA4");
        assert_eq!(token.time(), Some(ClusterTime { seconds: 0x6B03_9A37, increment: 0x1f }));
    }

    #[test]
    fn a_token_of_a_time_is_told_from_one_of_an_event() {
        assert!(token("826B039A37000000012B0229296E1404").is_high_water_mark());
        assert!(!token("826B039A370000001F2B022C0100296E5A10047AA4").is_high_water_mark());
        assert!(!token("826B").is_high_water_mark());
    }

    #[test]
    fn a_document_without_data_is_no_token() {
        assert!(ResumeToken::new(Document::EMPTY).is_err());
    }

    #[test]
    fn positions_are_ordered_by_generation_time_and_token() {
        let start = Position::at_time(0, ClusterTime { seconds: 0x6B03_9A37, increment: 0x1f });
        let first = start.after(token("826B039A370000001F2B02"));
        let second = start.after(token("826B039A370000001F2B03"));
        let rewound = Position::at_time(1, ClusterTime::default());
        assert!(start < first && first < second && second < rewound);
    }

    #[test]
    fn a_snapshot_that_has_moved_on_makes_a_higher_position_at_the_same_place() {
        let start = Position::at_time(0, ClusterTime::default()).after(token("826B039A370000001F2B02"));
        let moved = start.with_snapshot(&Plan::default());
        assert!(start < moved && moved.moved_to(&start) == moved);
    }

    #[test]
    fn what_is_skipped_is_remembered() {
        let at = |seconds| ClusterTime { seconds, increment: 1 };
        let start = Position::at_time(0, at(5)).after(token("826B039A370000001F2B02"));
        let skipped = start.skip_to(at(0x7000_0000));
        assert_eq!(skipped.gap, Some(Gap { after: start.time, until: at(0x7000_0000) }));
        assert!(start < skipped && skipped.token.is_none());
        assert_eq!(skipped.moved_to(&Position::at_time(1, at(0x7100_0000))).gap, skipped.gap);
    }

    #[test]
    fn a_position_does_not_print_its_token() {
        let position = Position::at_time(0, ClusterTime::default()).after(token("826B039A370000001F2B02"));
        assert!(!format!("{position} {position:?}").contains("826B039A"));
    }
}
