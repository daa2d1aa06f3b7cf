//! What the demo shows: how much was written, lies in topics, and was copied.
//!
//! Asked of the load and of Kafka, so that the numbers go on while the daemon is dead.

use std::{sync::Arc, time::Instant};

use anyhow::Result;

use super::{Stage, written_count};
use crate::{daemon::Daemon, load::Counters, topic};

/// Looks at the numbers again and again.
pub(super) struct Counts<'a> {
    stage: &'a Stage,
    written: Vec<Arc<Counters>>,
    begun: Instant,
    last: Option<(Instant, Look)>,
}

/// The numbers at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    /// Seconds since the load began.
    pub(super) seconds: u64,
    /// Documents written, and how many a second since the last look.
    pub(super) written: u64,
    pub(super) written_rate: u64,
    pub(super) transactions: u64,
    /// Records in the topics.
    pub(super) in_topics: u64,
    pub(super) in_topics_rate: u64,
    /// Records that the sinks have made durable.
    pub(super) copied: u64,
    pub(super) copied_rate: u64,
    /// The daemon's own idea of how old its position is; `None` while it is not there.
    pub(super) lag_seconds: Option<f64>,
}

impl<'a> Counts<'a> {
    pub(super) fn new(stage: &'a Stage, written: Vec<Arc<Counters>>) -> Self {
        Self { stage, written, begun: Instant::now(), last: None }
    }

    pub(super) async fn look(&mut self, daemon: &Daemon) -> Result<Look> {
        let mut look = Look { seconds: self.begun.elapsed().as_secs(), ..Look::default() };
        for (pair, sink) in self.stage.pairs.iter().zip(["copy", "exotic"]) {
            let topics = pair.topics().await?;
            let group = format!("millrace.{}.{sink}", self.stage.name);
            look.in_topics += topic::count(&pair.kafka, topics.clone()).await?;
            look.copied += topic::committed(&pair.kafka, &group, topics).await?;
        }
        // Last, so that nothing is in a topic before it counts as written.
        (look.written, look.transactions) = written_count(&self.written);
        // While the daemon is being killed it cannot answer; the other numbers say enough.
        let metrics = daemon.metrics().await.ok();
        look.lag_seconds = metrics.and_then(|metrics| metrics.max("millrace_source_lag_seconds"));
        if let Some((then, last)) = self.last.replace((Instant::now(), look.clone())) {
            let rate = |now: u64, before: u64| {
                (now.saturating_sub(before) as f64 / then.elapsed().as_secs_f64()) as u64
            };
            look.written_rate = rate(look.written, last.written);
            look.in_topics_rate = rate(look.in_topics, last.in_topics);
            look.copied_rate = rate(look.copied, last.copied);
        }
        Ok(look)
    }
}
