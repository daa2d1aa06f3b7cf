//! Settings → running halves: starts them, starts them again when they fail, drains them at the end.
//!
//! Halves do not know of each other. One that fails is started again after a pause, from its last checkpoint or
//! committed offset, while the others go on; one whose failure needs somebody stays down, and readiness says so.

mod idle;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use mongodb::Client;
use tokio::{sync::Mutex, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    admin,
    config::{self, Settings},
    mongo,
    retry::{Backoff, Failure, Verdict},
    sink, source,
    status::{Half, Metrics, State, Status},
};

/// A half that has worked this long before it failed starts again without the pauses of earlier failures.
const STEADY: Duration = Duration::from_secs(60);

/// How the daemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything that was read is written, and positions are stored.
    Drained,
    /// The deadline passed first: what was not acknowledged will be sent again by the next run.
    Interrupted,
    /// No half is left that could go on.
    Failed,
}

/// Runs all halves until `stop` is cancelled, all have ended, or (`exit_when_idle`) nothing has been left to
/// move for so long.
///
/// # Errors
/// When the HTTP interface cannot listen.
pub async fn run(
    settings: Settings,
    stop: CancellationToken,
    exit_when_idle: Option<Duration>,
) -> Result<Exit, Failure> {
    let shutdown_timeout = settings.shutdown_timeout;
    let clients = Arc::new(Clients::default());
    let mut halves = Halves::start(&settings, &clients, &stop);
    let status = Arc::new(Status {
        pipeline: settings.name.clone(),
        started: Instant::now(),
        halves: halves.halves.clone(),
    });
    let admin = admin::start(&settings, Arc::clone(&status)).await?;
    let mut idle = std::pin::pin!(async {
        match exit_when_idle {
            Some(quiet) => idle::wait(&settings, &clients, &status, quiet).await,
            None => std::future::pending().await,
        }
    });

    let failed = loop {
        tokio::select! {
            // First of all: halves that end because they were told to must not look as if they ended by themselves.
            biased;
            () = stop.cancelled() => break false,
            () = &mut idle => {
                tracing::info!("everything that was there has been moved");
                break false;
            }
            Some(_) = halves.tasks.join_next() => {
                let is_failed = |half: &Arc<Half>| matches!(half.state(), State::Failed { .. });
                let failed = status.halves.iter().filter(|half| is_failed(half)).count();
                // A source that was to copy only has stopped by itself.
                let is_over = halves.tasks.is_empty();
                // What is to end when all is moved cannot end well without one of the halves.
                if is_over || (failed > 0 && exit_when_idle.is_some()) {
                    break failed > 0;
                }
            }
        }
    };
    stop.cancel();
    let drained =
        tokio::time::timeout(shutdown_timeout, async { while halves.tasks.join_next().await.is_some() {} });
    let drained = drained.await.is_ok();
    admin.abort();
    if !drained {
        tracing::warn!(
            ?shutdown_timeout,
            "not all was acknowledged in time; the next run sends the rest again"
        );
        halves.tasks.abort_all();
    }
    Ok(match (failed, drained) {
        (true, _) => Exit::Failed,
        (false, true) => Exit::Drained,
        (false, false) => Exit::Interrupted,
    })
}

/// Clients by deployment: halves with equal settings share one.
#[derive(Default)]
pub(crate) struct Clients {
    known: Mutex<Vec<(config::Mongodb, Client)>>,
}

impl Clients {
    /// The client for the deployment. Connects lazily.
    pub(crate) async fn get(&self, mongodb: &config::Mongodb) -> Result<Client, Failure> {
        let mut known = self.known.lock().await;
        if let Some((_, client)) = known.iter().find(|(settings, _)| settings == mongodb) {
            return Ok(client.clone());
        }
        let client = mongo::client(mongodb).await?;
        known.push((mongodb.clone(), client.clone()));
        Ok(client)
    }
}

/// The halves and the tasks that keep them running.
struct Halves {
    halves: Vec<Arc<Half>>,
    tasks: JoinSet<()>,
}

impl Halves {
    fn start(settings: &Settings, clients: &Arc<Clients>, stop: &CancellationToken) -> Self {
        let mut halves = Self { halves: Vec::new(), tasks: JoinSet::new() };
        let memory_bytes = settings.memory_bytes / (settings.sources.len() + settings.sinks.len());
        let owner = owner();
        for source in &settings.sources {
            let metrics = Arc::new(source::Metrics::default());
            let requests = Arc::<source::Requests>::default();
            let mut half = Half::new(source.name.clone(), Metrics::Source(Arc::clone(&metrics)));
            half.requests = Some(Arc::clone(&requests));
            let half = halves.add(half);
            let context = source::Context {
                settings: Arc::new(source.clone()),
                pipeline: settings.name.clone(),
                owner: owner.clone(),
                identifiers: settings.log.identifiers,
                checkpoint: settings.checkpoint.clone(),
                memory_bytes,
                sizes: Arc::default(),
                losses: Arc::default(),
                metrics,
                requests,
                stop: stop.clone(),
                ready: Arc::clone(&half.ready),
            };
            let clients = Arc::clone(clients);
            halves.tasks.spawn(supervise(half, stop.clone(), move || {
                let (clients, context) = (Arc::clone(&clients), context.clone());
                async move { source::run(clients.get(&context.settings.mongodb).await?, context).await }
            }));
        }
        let watched: Vec<_> = settings.sources.iter().map(|s| (s.mongodb.clone(), s.watch.clone())).collect();
        for sink in &settings.sinks {
            let metrics = Arc::new(sink::Metrics::default());
            let pause = Arc::<sink::Pause>::default();
            let mut half = Half::new(sink.name.clone(), Metrics::Sink(Arc::clone(&metrics)));
            half.pause = Some(Arc::clone(&pause));
            let half = halves.add(half);
            let context = sink::Context {
                settings: Arc::new(sink.clone()),
                group: sink_group(&settings.name, &sink.name),
                memory_bytes,
                watched: watched.clone(),
                metrics,
                pause,
                stop: stop.clone(),
                ready: Arc::clone(&half.ready),
            };
            let clients = Arc::clone(clients);
            halves.tasks.spawn(supervise(half, stop.clone(), move || {
                let (clients, context) = (Arc::clone(&clients), context.clone());
                async move { sink::run(clients.get(&context.settings.mongodb).await?, context).await }
            }));
        }
        halves
    }

    fn add(&mut self, half: Half) -> Arc<Half> {
        let half = Arc::new(half);
        self.halves.push(Arc::clone(&half));
        half
    }
}

/// The consumer group of a sink.
pub(crate) fn sink_group(pipeline: &str, sink: &str) -> String {
    format!("millrace.{pipeline}.{sink}")
}

/// Names this process in checkpoints: where it runs, and something that no other run has.
pub(crate) fn owner() -> String {
    use std::hash::{BuildHasher, Hasher};
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "localhost".to_owned());
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    format!("{host}/{}/{random:016x}", std::process::id())
}

/// Keeps one half running until it has stopped as told or has failed for good.
async fn supervise<F>(half: Arc<Half>, stop: CancellationToken, start: impl Fn() -> F + Send)
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(30));
    let (kind, name) = (half.kind(), half.name.clone());
    loop {
        half.set_state(State::Running);
        let started = Instant::now();
        // A task of its own, so that a panic is an error of this half and not of the process.
        let outcome = tokio::spawn(start()).await;
        let failure = match outcome {
            Ok(Ok(())) => {
                tracing::info!(kind, name, "stopped");
                return half.set_state(State::Stopped);
            }
            Ok(Err(failure)) => failure,
            Err(error) => Failure::retry(format!("a defect in millrace: {error}")),
        };
        let reason = failure.message;
        if failure.verdict == Verdict::Stop {
            tracing::error!(kind, name, "failed and stays down: {reason}");
            return half.set_state(State::Failed { reason });
        }
        if started.elapsed() > STEADY {
            backoff.reset();
        }
        let pause = backoff.next_pause();
        tracing::error!(kind, name, ?pause, "failed and will be tried again: {reason}");
        half.set_state(State::Waiting { reason });
        half.restarts.fetch_add(1, Relaxed);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return half.set_state(State::Stopped),
        }
    }
}
