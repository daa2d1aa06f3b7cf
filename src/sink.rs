//! Kafka → MongoDB: one loop over the stages below.
//!
//! ```text
//! consume ▶ decode ▶ route ▶ transform ▶ plan ▶ batch ▶ write ▶ progress
//! ```
//!
//! While one batch is written the next one fills; batches are written one after the other, and within a batch each
//! document has one statement, so the order of a key holds whatever runs at once. An offset is committed when all
//! before it is written by a majority. After a crash the records since the last commit are written again, which leads
//! to the same end.
//!
//! A record that cannot be written stops the sink: what is before it is written and committed first, and the reason
//! names its place. Where the settings tolerate it, it goes to the dead letter topic instead, and its offset is
//! committed when it has arrived there.

pub mod consume;
pub mod record;

pub mod stages;

pub mod arena;
pub mod body;
pub mod decode;
pub mod event;
pub mod route;

pub mod identify;

pub mod plan;

pub mod ddl;
pub mod delta;
pub mod shape;
pub mod template;

pub mod batch;

pub mod catalog;
pub mod turn;
pub mod write;

pub mod shards;

pub mod command;
pub mod verdict;

pub mod progress;

pub mod dead_letter;
mod flow;
pub mod replay;

#[cfg(test)]
pub(crate) mod example;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use mongodb::bson::doc;
use tokio_util::sync::CancellationToken;

pub use self::consume::{Pause, is_drained};
use self::{
    consume::Consumer,
    dead_letter::DeadLetters,
    flow::{Flow, Repair},
    stages::Stages,
    write::Target,
};
use crate::{config, mongo, namespace::Patterns, retry::Failure};

/// How long partitions that go elsewhere may be written out. The callback that gives them up waits longer than this and
/// [`command::MAX_TIME`] together.
const DRAIN_BEFORE_HAND_OVER: Duration = Duration::from_secs(30);

/// What a sink needs.
#[derive(Clone)]
pub struct Context {
    /// What it is told to do.
    pub settings: Arc<config::Sink>,
    /// Its consumer group.
    pub group: String,
    /// Bytes that may wait in it, librdkafka's queues included.
    pub memory_bytes: usize,
    /// What the sources of this process watch, and where.
    pub watched: Vec<(config::Mongodb, Patterns)>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// Whether it is paused.
    pub pause: Arc<Pause>,
    /// Cancelled when it has to drain and return.
    pub stop: CancellationToken,
    /// Set while it is connected to both sides.
    pub ready: Arc<AtomicBool>,
}

/// What a sink counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Records read.
    pub records: AtomicU64,
    /// Bytes of their keys and values.
    pub bytes: AtomicU64,
    /// Records that write nothing: events about collections, tombstones in a topic of events, empty updates.
    pub skipped: AtomicU64,
    /// Statements written, after folding.
    pub documents: AtomicU64,
    /// Batches written.
    pub batches: AtomicU64,
    /// Commands sent.
    pub commands: AtomicU64,
    /// Pauses before something was tried again.
    pub retries: AtomicU64,
    /// Inserts that met a document and became replaces: replays.
    pub duplicates: AtomicU64,
    /// Updates whose document was not there.
    pub missing_documents: AtomicU64,
    /// Records that could not be written and were passed over.
    pub dead_letters: AtomicU64,
    /// Records that wait for another document to give up a unique value.
    pub held_records: AtomicU64,
    /// Commits of offsets.
    pub commits: AtomicU64,
    /// Records between the committed offsets and the ends of the partitions, as of the last statistics.
    pub lag_records: AtomicU64,
}

/// Runs a sink into the deployment behind `client` until it is told to stop (then `Ok`, with everything that was begun
/// written and committed) or fails.
///
/// # Errors
/// Why it cannot go on, and whether to start it again.
pub async fn run(client: mongodb::Client, context: Context) -> Result<(), Failure> {
    let Context { settings, group, memory_bytes, watched, metrics, pause, stop, ready } = context;
    let admin = client.database("admin");
    tokio::select! {
        reply = admin.run_command(doc! { "ping": 1 }) => {
            reply.map_err(|error| mongo::failure("cannot reach the sink's MongoDB", &error))?;
        }
        () = stop.cancelled() => return Ok(()),
    }
    let target = Target::new(client, Arc::clone(&settings), Arc::clone(&metrics), &stop);
    target.check().await?;
    let consumer = Consumer::start(&settings, &group, memory_bytes, &metrics, &pause)?;
    let watched =
        watched.into_iter().filter(|(mongodb, _)| *mongodb == settings.mongodb).map(|(_, watched)| watched);
    let stages = Stages::new(Arc::clone(&settings), watched.collect());
    let letters = DeadLetters::new(&settings, &group, &metrics)?;
    letters.prepare().await?;
    let repair = Repair::new(&settings, letters);
    let mut flow = Flow::new(settings, memory_bytes, stages, target, repair, metrics);
    let mut consumer = consumer;
    let outcome = flow.run(&mut consumer, &stop, &ready).await;
    ready.store(false, Relaxed);
    // Also after a failure: nothing may still be written when the half starts again, and what is durable need not be
    // read again.
    let outcome = outcome.and(flow.settle().await);
    consumer.close(flow.progress.all_safe()).await;
    outcome
}
