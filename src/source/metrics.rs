//! What a source counts. Plain atomics: the loop writes them, whoever renders them reads.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::dead_letter::Reason;
use crate::{
    config::ClusterTime,
    position::{Gap, Position},
};

/// Counters and gauges of one source. They live as long as the process, over restarts of the half.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Change events read.
    pub events: AtomicU64,
    /// Bytes of the server's replies.
    pub read_bytes: AtomicU64,
    /// Records handed to Kafka.
    pub records: AtomicU64,
    /// Bytes of keys and values handed to Kafka.
    pub record_bytes: AtomicU64,
    /// Bytes of records that are not yet acknowledged.
    pub in_flight_bytes: AtomicU64,
    /// Times that the stream was opened again after an error.
    pub reopens: AtomicU64,
    /// Events over 16 MB that were sent in part.
    pub reduced: AtomicU64,
    /// Heartbeat records.
    pub heartbeats: AtomicU64,
    /// Checkpoints stored.
    pub checkpoints: AtomicU64,
    /// Events that a transformation dropped.
    pub dropped: AtomicU64,
    /// Changes that were skipped, by [`Reason`].
    skipped: [AtomicU64; Reason::ALL.len()],
    /// Dead letters that were sent, by [`Reason`].
    dead_letters: [AtomicU64; Reason::ALL.len()],
    /// Documents that snapshots have copied.
    pub snapshot_documents: AtomicU64,
    /// Collections that are not copied yet, as of what is acknowledged.
    pub snapshot_collections_left: AtomicU64,
    /// About how many documents are left in them.
    pub snapshot_documents_left: AtomicU64,
    /// Seconds that the rest will take at the speed so far.
    pub snapshot_eta_seconds: AtomicU64,
    /// Times that changes were lost because the oplog no longer had them.
    pub history_losses: AtomicU64,
    /// Cluster times after and before which changes were lost last, packed; 0 for never.
    gap: [AtomicU64; 2],
    /// Cluster time of the last event read, in seconds since the epoch.
    pub event_seconds: AtomicU64,
    /// Cluster time up to which everything is acknowledged, packed: seconds, then increment.
    acknowledged: AtomicU64,
    /// Cluster time of the stored checkpoint, packed the same way.
    stored: AtomicU64,
    /// Seconds between the stored checkpoint and the oldest entry of the oplog, plus one; 0 while that is unknown.
    oplog_window: AtomicU64,
}

impl Metrics {
    /// The source starts at `position`, which is stored.
    pub fn started(&self, position: &Position) {
        self.acknowledged(position);
        let gap = position.gap.map_or([0, 0], |gap| [pack(gap.after), pack(gap.until)]);
        for (place, time) in self.gap.iter().zip(gap) {
            place.store(time, Relaxed);
        }
        self.stored.store(pack(position.time), Relaxed);
    }

    /// A reply of `bytes` was read.
    pub fn read(&self, bytes: usize) {
        self.read_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// An event of this cluster time is being handled.
    pub fn event(&self, time: Option<ClusterTime>) {
        self.events.fetch_add(1, Relaxed);
        if let Some(time) = time {
            self.event_seconds.store(u64::from(time.seconds), Relaxed);
        }
    }

    /// A record of `bytes` was handed to Kafka.
    pub fn sent(&self, bytes: usize) {
        self.records.fetch_add(1, Relaxed);
        self.record_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// A transformation dropped an event.
    pub fn dropped(&self) {
        self.dropped.fetch_add(1, Relaxed);
    }

    /// A change was skipped.
    pub fn skipped(&self, reason: Reason) {
        self.skipped[reason.index()].fetch_add(1, Relaxed);
    }

    /// A dead letter was sent.
    pub fn dead_letter(&self, reason: Reason) {
        self.dead_letters[reason.index()].fetch_add(1, Relaxed);
    }

    /// Changes that were skipped for `reason`.
    pub fn skipped_count(&self, reason: Reason) -> u64 {
        self.skipped[reason.index()].load(Relaxed)
    }

    /// Dead letters that were sent for `reason`.
    pub fn dead_letter_count(&self, reason: Reason) -> u64 {
        self.dead_letters[reason.index()].load(Relaxed)
    }

    /// So many bytes are on their way.
    pub fn in_flight(&self, bytes: usize) {
        self.in_flight_bytes.store(bytes as u64, Relaxed);
    }

    /// Everything before `position` is acknowledged.
    pub fn acknowledged(&self, position: &Position) {
        self.acknowledged.store(pack(position.time), Relaxed);
        let (collections, documents) =
            position.snapshot.as_ref().map_or((0, 0), |plan| (plan.collections_left(), plan.estimate()));
        self.snapshot_collections_left.store(collections as u64, Relaxed);
        self.snapshot_documents_left.store(documents, Relaxed);
    }

    /// A snapshot has copied so many more documents, and will be complete in about this time.
    pub fn snapshot_copied(&self, documents: u64, eta: Option<Duration>) {
        self.snapshot_documents.fetch_add(documents, Relaxed);
        self.snapshot_eta_seconds.store(eta.unwrap_or_default().as_secs(), Relaxed);
    }

    /// `position` is stored.
    pub fn stored(&self, position: &Position) {
        self.stored.store(pack(position.time), Relaxed);
        self.checkpoints.fetch_add(1, Relaxed);
    }

    /// The stream is opened again.
    pub fn reopened(&self) {
        self.reopens.fetch_add(1, Relaxed);
    }

    /// The position is no longer in the oplog.
    pub fn history_lost(&self) {
        self.history_losses.fetch_add(1, Relaxed);
    }

    /// What lies between the stored checkpoint and the oldest entry of the oplog, where that is known.
    pub fn set_oplog_window(&self, window: Option<Duration>) {
        self.oplog_window.store(window.map_or(0, |window| window.as_secs() + 1), Relaxed);
    }

    /// Seconds between the stored checkpoint and the oldest entry of the oplog, where that is known.
    pub fn oplog_window_seconds(&self) -> Option<u64> {
        self.oplog_window.load(Relaxed).checked_sub(1)
    }

    /// Cluster time up to which everything is acknowledged.
    pub fn acknowledged_time(&self) -> ClusterTime {
        unpack(self.acknowledged.load(Relaxed))
    }

    /// What was lost last, if anything.
    pub fn gap(&self) -> Option<Gap> {
        let [after, until] = self.gap.each_ref().map(|time| unpack(time.load(Relaxed)));
        (until != ClusterTime::default()).then_some(Gap { after, until })
    }

    /// Cluster time of the stored checkpoint.
    pub fn stored_time(&self) -> ClusterTime {
        unpack(self.stored.load(Relaxed))
    }
}

fn pack(time: ClusterTime) -> u64 {
    u64::from(time.seconds) << 32 | u64::from(time.increment)
}

fn unpack(bits: u64) -> ClusterTime {
    ClusterTime { seconds: (bits >> 32) as u32, increment: bits as u32 }
}
