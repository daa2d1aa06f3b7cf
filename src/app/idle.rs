//! When is everything that was there moved? For `--exit-when-idle`.
//!
//! A source is idle when it has nothing left to copy, has passed the deployment's operation time of the check and all of it is acknowledged; a
//! sink when its group's committed offsets are at the ends of the topics. Sources are looked at first, because they
//! fill the topics of sinks. Positions are stored by the stop that follows.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::time::Instant;

use super::{Clients, sink_group};
use crate::{
    config::{ClusterTime, Settings},
    mongo,
    retry::Failure,
    sink,
    status::{Metrics, State, Status},
};

/// Pause between two looks.
const INTERVAL: Duration = Duration::from_millis(200);

/// Returns when nothing has been left to move for `quiet`.
pub(super) async fn wait(settings: &Settings, clients: &Clients, status: &Status, quiet: Duration) {
    let mut since: Option<(Instant, u64)> = None;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let moved = status.halves.iter().map(|half| half.moved()).sum();
        let is_idle = match is_idle(settings, clients, status).await {
            Ok(is_idle) => is_idle,
            Err(failure) => {
                tracing::debug!(error = %failure, "cannot tell whether everything is moved");
                false
            }
        };
        since = match since {
            _ if !is_idle => None,
            Some((start, before)) if before == moved => Some((start, before)),
            _ => Some((Instant::now(), moved)),
        };
        if since.is_some_and(|(start, _)| start.elapsed() >= quiet) {
            return;
        }
    }
}

async fn is_idle(settings: &Settings, clients: &Clients, status: &Status) -> Result<bool, Failure> {
    if status.halves.iter().any(|half| half.state() != State::Running) {
        return Ok(false);
    }
    for source in &settings.sources {
        let client = clients.get(&source.mongodb).await?;
        let now = mongo::operation_time(&client).await?;
        // One look is enough: what was there at the first look is what counts.
        if acknowledged(status, &source.name).is_none_or(|time| time < now) {
            return Ok(false);
        }
    }
    for sink in &settings.sinks {
        if !sink::is_drained(sink, &sink_group(&settings.name, &sink.name)).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn acknowledged(status: &Status, name: &str) -> Option<ClusterTime> {
    status.halves.iter().find_map(|half| match &half.metrics {
        Metrics::Source(metrics) if half.name == name => {
            let is_copying = metrics.snapshot_collections_left.load(Relaxed) > 0;
            (!is_copying).then(|| metrics.acknowledged_time())
        }
        _ => None,
    })
}
