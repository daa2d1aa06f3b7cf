//! The servers, and how one run on them is measured.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bson::{Document, RawDocumentBuf, doc};
use integration_tests::{
    child::Child,
    daemon::{self, Daemon},
    scratch::Scratch,
    servers::{Kafka, KafkaOptions, Mongod, MongodOptions},
    wait,
};
use mongodb::{Client, Collection};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};

use crate::{
    limit::{self, Outcome},
    load::End,
    measure::{Cpu, Pace, Usage},
    report::Run,
};

/// Longest that a run may take.
const RUN_DEADLINE: Duration = Duration::from_secs(600);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// One mongod and one Kafka, for measuring.
pub(crate) struct Site {
    mongod: Mongod,
    kafka: Kafka,
    /// A client of the mongod.
    pub(crate) client: Client,
    watcher: Arc<BaseConsumer>,
    directory: Scratch,
    run_count: AtomicU32,
}

impl Site {
    /// Builds the daemon and starts the servers.
    pub(crate) async fn start() -> Result<Self> {
        println!("building the daemon and starting the servers");
        daemon::binary()?;
        let mongod = Mongod::start(MongodOptions { large_cache: true, ..MongodOptions::default() });
        let kafka = Kafka::start(KafkaOptions { full_speed: true, ..KafkaOptions::default() });
        let (mongod, kafka) = tokio::try_join!(mongod, kafka)?;
        let watcher = ClientConfig::new().set("bootstrap.servers", kafka.bootstrap()).create()?;
        Ok(Self {
            client: mongod.client().await?,
            watcher: Arc::new(watcher),
            mongod,
            kafka,
            directory: Scratch::new("benchmarks")?,
            run_count: AtomicU32::new(0),
        })
    }

    /// The broker's `host:port`.
    pub(crate) fn kafka(&self) -> String {
        self.kafka.bootstrap()
    }

    /// A name that no other run has.
    pub(crate) fn unique(&self, name: &str) -> String {
        format!("{name}-{}", self.run_count.fetch_add(1, Ordering::Relaxed))
    }

    /// A collection.
    pub(crate) fn collection(&self, db: &str, coll: &str) -> Collection<RawDocumentBuf> {
        self.client.database(db).collection(coll)
    }

    /// How many records the one partition of a topic has.
    pub(crate) async fn record_count(&self, topic: &str) -> Result<u64> {
        let (watcher, topic) = (self.watcher.clone(), topic.to_owned());
        let asking =
            tokio::task::spawn_blocking(move || watcher.fetch_watermarks(&topic, 0, REQUEST_TIMEOUT));
        let (low, high) = asking.await??;
        Ok(u64::try_from(high - low)?)
    }

    /// Fails unless a collection holds what it has to.
    pub(crate) async fn holds(&self, db: &str, coll: &str, wanted: End) -> Result<()> {
        let group =
            doc! { "$group": { "_id": null, "count": { "$sum": 1_i64 }, "sum": { "$sum": "$number" } } };
        let collection = self.client.database(db).collection::<Document>(coll);
        let mut found = collection.aggregate([group]).await?;
        ensure!(found.advance().await?, "{db}.{coll} is empty");
        let found = Document::try_from(found.current())?;
        let number = |name| found.get(name).and_then(whole).with_context(|| format!("no {name}"));
        let end = End { count: number("count")?, sum: number("sum")? };
        ensure!(end == wanted, "{db}.{coll} holds {end:?} instead of {wanted:?}");
        Ok(())
    }

    /// Runs a limit and measures it.
    pub(crate) async fn limit(
        &self,
        what: &str,
        namespace: [&str; 2],
        events: u32,
        more: &[String],
    ) -> Result<Run> {
        let log = self.directory.path().join(self.unique(what));
        let mut command = Command::new(std::env::current_exe()?);
        command.args([limit::VERB, what, &self.mongod.uri()]).args(namespace);
        command.arg(events.to_string()).args(more);
        self.measured(events, async || {
            let mut child = Child::spawn(what, command, &log)?;
            let status = child.exit(RUN_DEADLINE).await?;
            let text = std::fs::read_to_string(&log)?;
            ensure!(status.success(), "the limit {what} ended with {status}: {text}");
            let outcome: Outcome = serde_json::from_str(text.trim()).context("a limit's outcome")?;
            Ok((outcome.pace, outcome.usage))
        })
        .await
    }

    /// Runs a daemon with `tables` in its configuration until `progress` says that all `events` are done, and measures it.
    pub(crate) async fn millrace(
        &self,
        tables: &str,
        events: u32,
        progress: impl AsyncFnMut() -> Result<u64>,
    ) -> Result<Run> {
        let name = self.unique("bench");
        let config = format!(
            "name = \"{name}\"\n[mongodb]\nuri = \"{}\"\n[kafka]\nbootstrap_servers = \"{}\"\n{tables}",
            self.mongod.uri(),
            self.kafka(),
        );
        let mut daemon = Daemon::new(&self.directory.path().join(&name), &config)?;
        let run = self.measured(events, async || watch(&mut daemon, events, progress).await).await;
        let run = run.map_err(|error| error.context(daemon.tail()))?;
        daemon.terminate().await?;
        Ok(run)
    }

    async fn measured(&self, events: u32, tool: impl AsyncFnOnce() -> Result<(Pace, Usage)>) -> Result<Run> {
        // What earlier runs left for the disk is written now, and not while this one is measured.
        self.client.database("admin").run_command(doc! { "fsync": 1 }).await?;
        let cpu = || Cpu::now(self.mongod.id(), self.kafka.id());
        let (before, begun) = (cpu()?, Instant::now());
        let (pace, usage) = tool().await?;
        Ok(Run::new(events, pace, usage, cpu()?.since(before), begun.elapsed()))
    }
}

/// Starts a daemon and watches it until `progress` has reached `events`.
async fn watch(
    daemon: &mut Daemon,
    events: u32,
    mut progress: impl AsyncFnMut() -> Result<u64>,
) -> Result<(Pace, Usage)> {
    let begun = Instant::now();
    daemon.start()?;
    let mut first = None;
    let reached = wait::until("all events to be there", RUN_DEADLINE, async || {
        if !daemon.is_running()? {
            return Ok(Some(None));
        }
        let count = progress().await?;
        if count > 0 {
            first.get_or_insert_with(|| (begun.elapsed(), count));
        }
        Ok((count >= u64::from(events)).then(|| Some((begun.elapsed(), count))))
    });
    let Some((all, count)) = reached.await? else { bail!("the daemon ended") };
    ensure!(count == u64::from(events), "{count} events instead of {events}");
    let usage = Usage::of(daemon.id()?)?;
    let (first, first_count) = first.context("no progress")?;
    ensure!(first < all, "all was there at the first look: more events are needed");
    Ok((Pace { first, first_count, all }, usage))
}

/// A whole number of any type.
pub(crate) fn whole(value: &bson::Bson) -> Option<u64> {
    let number = value.as_i64().or_else(|| value.as_i32().map(i64::from))?;
    u64::try_from(number).ok()
}
