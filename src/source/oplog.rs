//! How far the stored position is from falling out of the oplog.
//!
//! The oplog's first entry is read now and then, beside the loop, where the user may: not on mongos, whose shards have
//! an oplog each. Where it cannot be read the window is unknown, and nothing is shown.

use std::{sync::Arc, time::Duration};

use bson::{Document, doc};
use mongodb::{
    Client,
    error::Error,
    options::{FindOneOptions, SelectionCriteria},
};
use tokio::task::JoinHandle;

use super::Metrics;
use crate::{
    config::{self, ClusterTime},
    mongo::{self, codes},
};

/// How often the oplog is looked at.
const INTERVAL: Duration = Duration::from_secs(30);

/// Longest that it may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Watches the oplog in a task of its own, until it is dropped.
pub(super) struct Monitor {
    metrics: Arc<Metrics>,
    task: JoinHandle<()>,
}

impl Monitor {
    /// Starts watching.
    pub(super) fn start(client: Client, settings: Arc<config::Source>, metrics: Arc<Metrics>) -> Self {
        Self { metrics: Arc::clone(&metrics), task: tokio::spawn(watch(client, settings, metrics)) }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.task.abort();
        self.metrics.set_oplog_window(None);
    }
}

async fn watch(client: Client, settings: Arc<config::Source>, metrics: Arc<Metrics>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut is_low = false;
    loop {
        ticks.tick().await;
        let oldest = match tokio::time::timeout(PATIENCE, read(&client, &settings)).await {
            Ok(Ok(oldest)) => oldest,
            Ok(Err(error)) if mongo::code(&error) == Some(codes::UNAUTHORIZED) => {
                tracing::info!(
                    source = settings.name,
                    "the oplog window is unknown: the user may not read local.oplog.rs"
                );
                return;
            }
            // A server out of reach is the stream's to report.
            Ok(Err(_)) | Err(_) => continue,
        };
        let left = oldest.map(|oldest| window(metrics.stored_time(), oldest));
        metrics.set_oplog_window(left);
        let threshold = settings.oplog_window_warning;
        let was_low = is_low;
        is_low = left.is_some_and(|left| left < threshold);
        if is_low && !was_low {
            tracing::warn!(
                source = settings.name,
                left = ?left.unwrap_or_default(),
                ?threshold,
                "the stored position is close to the oldest entry of the oplog; when it falls out, changes are lost. \
                 Make the oplog longer (replSetResizeOplog), or find out why the source is slow"
            );
        } else if was_low && left.is_some_and(|left| left >= threshold) {
            tracing::info!(
                source = settings.name,
                ?left,
                "the stored position is far from the oldest entry again"
            );
        }
    }
}

/// What lies between the oldest entry and the position; nothing when the position is the older.
fn window(position: ClusterTime, oldest: ClusterTime) -> Duration {
    Duration::from_secs(u64::from(position.seconds.saturating_sub(oldest.seconds)))
}

/// The time of the oldest entry; `None` where it cannot be read.
pub(super) async fn oldest(client: &Client, settings: &config::Source) -> Option<ClusterTime> {
    match tokio::time::timeout(PATIENCE, read(client, settings)).await {
        Ok(Ok(oldest)) => oldest,
        Ok(Err(_)) | Err(_) => None,
    }
}

/// The time of the oldest entry, on one of the members that the stream may be read from.
async fn read(client: &Client, settings: &config::Source) -> Result<Option<ClusterTime>, Error> {
    let mut options =
        FindOneOptions::builder().sort(doc! { "$natural": 1 }).projection(doc! { "ts": 1 }).build();
    let preference = settings.stream.read_preference.clone();
    options.selection_criteria = preference.map(SelectionCriteria::ReadPreference);
    let oplog = client.database("local").collection::<Document>("oplog.rs");
    let entry = oplog.find_one(doc! {}).with_options(options).await?;
    let time = entry.and_then(|entry| entry.get_timestamp("ts").ok());
    Ok(time.map(|time| ClusterTime { seconds: time.time, increment: time.increment }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_before_the_oldest_entry_has_no_window() {
        let at = |seconds| ClusterTime { seconds, increment: 1 };
        assert_eq!(window(at(100), at(40)), Duration::from_secs(60));
        assert_eq!(window(at(40), at(100)), Duration::ZERO);
    }
}
