//! MongoDB → Kafka: one loop over the stages below.
//!
//! ```text
//! watch ▶ decode ▶ route ▶ encode ▶ publish ▶ progress ▶ checkpoint
//!         └──── stages ────┘
//!         └───── deliver ──────────┘
//! └─────────────────── flow ──────────────────┘
//! ```
//!
//! `watch` reads ahead in a task of its own. Everything between a reply and librdkafka's queue happens in the loop, on
//! the reply's own bytes. Positions move only over what Kafka has acknowledged, and `checkpoint` stores them beside the
//! loop. The first record that cannot be sent ends the source; it starts again from its checkpoint.

mod start;

mod history;
mod oplog;
pub mod snapshot;
pub mod watch;

pub mod decode;
pub mod encode;
pub mod route;
pub mod stages;

pub mod dead_letter;
mod deliver;
pub mod publish;

mod flow;
pub mod heartbeat;
pub mod progress;

mod metrics;
mod requests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mongodb::Client;
use tokio_util::sync::CancellationToken;

use self::{
    deliver::Delivery,
    flow::{Flow, Share},
    publish::Publisher,
    watch::Watcher,
};
pub use self::{
    history::Losses,
    metrics::Metrics,
    requests::{Answer, Ask, Requests},
    start::{now, with_everything},
};
use crate::{
    checkpoint::{Identity, Keeper},
    config::{self, CheckpointStore, SnapshotMode},
    kafka, mongo,
    retry::Failure,
};

/// How long a source that has failed may take to store its last position.
const LAST_STORE: Duration = Duration::from_secs(3);

/// What a source needs to run, over all of its restarts.
#[derive(Clone)]
pub struct Context {
    /// The half's settings.
    pub settings: Arc<config::Source>,
    /// The pipeline's name.
    pub pipeline: String,
    /// This process, as it signs checkpoints.
    pub owner: String,
    /// Whether whole resume tokens may be logged.
    pub identifiers: bool,
    /// Where and how often positions are stored.
    pub checkpoint: config::Checkpoint,
    /// This half's share of the byte budget.
    pub memory_bytes: usize,
    /// What is known of the sizes that topics take.
    pub sizes: Arc<publish::Sizes>,
    /// What is known of lost history.
    pub losses: Arc<Losses>,
    /// Counters and gauges.
    pub metrics: Arc<Metrics>,
    /// What the source is asked for from outside.
    pub requests: Arc<Requests>,
    /// Cancelled when the source has to drain and return.
    pub stop: CancellationToken,
    /// Set while the source is connected and reading.
    pub ready: Arc<AtomicBool>,
}

/// Runs the source on the deployment behind `client` until it is told to stop (then all that was sent is acknowledged and
/// the position stored) or fails.
///
/// # Errors
/// What ended it, with the verdict on starting it again.
pub async fn run(client: Client, context: Context) -> Result<(), Failure> {
    let half = format!("source {}", context.settings.name);
    let share = Share::of(context.memory_bytes);
    let publisher =
        Arc::new(Publisher::open(&half, &context.settings.kafka, &context.sizes, share.in_flight_bytes)?);
    let outcome = run_with(&client, &context, &publisher, share).await;
    context.ready.store(false, Ordering::Relaxed);
    kafka::drop_aside(publisher);
    outcome
}

async fn run_with(
    client: &Client,
    context: &Context,
    publisher: &Arc<Publisher>,
    share: Share,
) -> Result<(), Failure> {
    // A checkpoint in Kafka is looked for next, which shows whether the cluster is there.
    let reached = async {
        match context.checkpoint.store {
            CheckpointStore::Kafka => Ok(()),
            _ => publisher.reach().await,
        }
    };
    let (deployment, ()) = tokio::try_join!(mongo::deployment_id(client), reached)?;
    let identity = Identity { deployment, owner: context.owner.clone(), epoch: 0 };
    // From here on the position is known to be of this deployment, where that can be known.
    let same_deployment = identity.deployment.is_some();
    let (store, identity, position) = start::position(client, context, identity, publisher).await?;
    let metrics = &context.metrics;
    metrics.started(&position);
    let keeper = Keeper::start(
        store,
        Arc::clone(publisher),
        identity,
        context.checkpoint.interval,
        Arc::clone(metrics),
    );
    let _window = oplog::Monitor::start(client.clone(), Arc::clone(&context.settings), Arc::clone(metrics));
    let delivery = Delivery::new(&context.settings, publisher, metrics, &context.sizes);
    let mut flow =
        Flow::new(client, context, delivery, Arc::clone(publisher), keeper, position.clone(), share);
    let outcome = if context.settings.snapshot.mode == SnapshotMode::Only {
        flow.run_without_stream().await
    } else {
        let settings = Arc::clone(&context.settings);
        let watcher = Watcher::start(watch::Start {
            client: client.clone(),
            settings,
            position,
            same_deployment,
            read_ahead_bytes: share.read_ahead_bytes,
            metrics: Arc::clone(metrics),
            losses: Arc::clone(&context.losses),
        });
        flow.run(watcher).await
    };
    let stored = flow.finish();
    match outcome {
        Ok(()) => stored.await,
        // What is acknowledged need not be sent again, if it can be noted now.
        Err(failure) => {
            if !matches!(tokio::time::timeout(LAST_STORE, stored).await, Ok(Ok(()))) {
                tracing::debug!(source = context.settings.name, "the last position was not stored");
            }
            Err(failure)
        }
    }
}
