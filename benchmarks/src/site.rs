//! The servers, and how one run on them is measured.

use std::{
    path::{Path, PathBuf},
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
    daemon,
    scratch::Scratch,
    servers::{Connect, Kafka, KafkaOptions, Mongod, MongodOptions},
    wait,
};
use mongodb::{Client, Collection};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use tokio::sync::OnceCell;

use crate::{
    figure::{Figure, Run, Side},
    job::Job,
    limit::{self, Outcome, Task},
    load::End,
    measure::{Cpu, Pace, Usage},
    tool::Tool,
};

/// Longest that a run may take.
pub(crate) const RUN_DEADLINE: Duration = Duration::from_secs(600);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// One mongod and one Kafka, for measuring, and a Connect worker for each peer that is asked for.
pub(crate) struct Site {
    mongod: Mongod,
    kafka: Kafka,
    beside: Option<PathBuf>,
    official: OnceCell<Connect>,
    debezium: OnceCell<Connect>,
    /// A client of the mongod.
    pub(crate) client: Client,
    watcher: Arc<BaseConsumer>,
    directory: Scratch,
    run_count: AtomicU32,
}

impl Site {
    /// Builds the daemon and starts the servers.
    pub(crate) async fn start(beside: Option<PathBuf>) -> Result<Self> {
        println!("building the daemon and starting the servers");
        daemon::binary()?;
        let mongod = Mongod::start(MongodOptions { large_cache: true, ..MongodOptions::default() });
        let kafka = Kafka::start(KafkaOptions { full_speed: true, ..KafkaOptions::default() });
        let (mongod, kafka) = tokio::try_join!(mongod, kafka)?;
        let watcher = ClientConfig::new().set("bootstrap.servers", kafka.bootstrap()).create()?;
        Ok(Self {
            beside,
            client: mongod.client().await?,
            official: OnceCell::new(),
            debezium: OnceCell::new(),
            watcher: Arc::new(watcher),
            mongod,
            kafka,
            directory: Scratch::new("benchmarks")?,
            run_count: AtomicU32::new(0),
        })
    }

    /// The mongod's connection string.
    pub(crate) fn mongodb(&self) -> String {
        self.mongod.uri()
    }

    /// The broker's `host:port`.
    pub(crate) fn kafka(&self) -> String {
        self.kafka.bootstrap()
    }

    /// Where files of runs go.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The worker of a peer, started with the first use.
    pub(crate) async fn connect(&self, side: Side) -> Result<&Connect> {
        let worker = match side {
            Side::Official => &self.official,
            Side::Debezium => &self.debezium,
            Side::Limit | Side::Relay | Side::Millrace | Side::Other => {
                bail!("{} needs no worker", side.name())
            }
        };
        worker
            .get_or_try_init(async || {
                println!("starting a Kafka Connect worker for {}", side.name());
                Connect::start_at_full_speed(&self.kafka()).await
            })
            .await
    }

    /// The other build of the daemon.
    pub(crate) fn beside(&self) -> Result<&Path> {
        self.beside.as_deref().context("no other build was given")
    }

    /// A name that no other run has.
    pub(crate) fn unique(&self, name: &str) -> String {
        format!("{name}-{}", self.run_count.fetch_add(1, Ordering::Relaxed))
    }

    /// A collection.
    pub(crate) fn collection(&self, db: &str, coll: &str) -> Collection<RawDocumentBuf> {
        self.client.database(db).collection(coll)
    }

    /// How many records topics with one partition each have together. Nothing is ever deleted from them.
    pub(crate) async fn record_count(&self, topics: &[String]) -> Result<u64> {
        let mut ends = TopicPartitionList::new();
        for topic in topics {
            // The time of which the protocol says "the end".
            ends.add_partition_offset(topic, 0, Offset::End)?;
        }
        let watcher = self.watcher.clone();
        let asking = tokio::task::spawn_blocking(move || watcher.offsets_for_times(ends, REQUEST_TIMEOUT));
        let mut count = 0;
        for end in asking.await??.elements() {
            end.error()?;
            let Offset::Offset(offset) = end.offset() else { bail!("{} has no end", end.topic()) };
            count += u64::try_from(offset)?;
        }
        Ok(count)
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
    pub(crate) async fn limit(&self, task: &Task) -> Result<Run> {
        let log = self.directory.path().join(self.unique("limit"));
        let mut command = Command::new(std::env::current_exe()?);
        command.args([limit::VERB, &self.mongodb(), &serde_json::to_string(task)?]);
        let meter = self.meter().await?;
        let mut child = Child::spawn("limit", command, &log)?;
        let status = child.exit(RUN_DEADLINE).await?;
        let text = std::fs::read_to_string(&log)?;
        ensure!(status.success(), "the limit ended with {status}: {text}");
        let Outcome { pace, usage } =
            serde_json::from_str(text.trim()).with_context(|| format!("not a limit's outcome: {text}"))?;
        Ok(meter.run(pace.count, usage)?.with_pace(pace))
    }

    /// Runs a tool until `progress` says that all `events` are done, and measures it.
    pub(crate) async fn tool(
        &self,
        side: Side,
        job: &Job,
        events: u64,
        progress: impl AsyncFnMut() -> Result<u64>,
    ) -> Result<Run> {
        let meter = self.meter().await?;
        let begun = Instant::now();
        let mut tool = Tool::start(self, side, job).await?;
        let pace = watch(&mut tool, begun, events, progress).await;
        let pace = pace.map_err(|error| error.context(tool.tail()))?;
        // A peer, which is slow, is stopped in the middle; the daemon has to have done neither less nor more.
        let is_right = side.is_peer() || pace.count == events;
        ensure!(is_right, "{} events instead of {events}", pace.count);
        let run = meter.run(pace.count, tool.usage()?)?.with_pace(pace);
        tool.stop().await?;
        Ok(run)
    }

    /// Begins to measure the machine.
    pub(crate) async fn meter(&self) -> Result<Meter<'_>> {
        // What earlier runs left for the disk is written now, and not while this one is measured.
        self.client.database("admin").run_command(doc! { "fsync": 1 }).await?;
        Ok(Meter { site: self, before: self.cpu()?, begun: Instant::now() })
    }

    fn cpu(&self) -> Result<Cpu> {
        Cpu::now(self.mongod.id(), self.kafka.id())
    }
}

/// What the machine had done when a run began.
pub(crate) struct Meter<'a> {
    site: &'a Site,
    before: Cpu,
    begun: Instant,
}

impl Meter<'_> {
    /// The figures of a run that moved `events` and ends now.
    pub(crate) fn run(&self, events: u64, usage: Usage) -> Result<Run> {
        let cpu = self.site.cpu()?.since(self.before);
        let per_million = |seconds: f64| seconds * 1e6 / events as f64;
        let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
        let foreign = cpu.machine - cpu.mongod - cpu.kafka - cpu.watcher - usage.cpu_seconds;
        let foreign = foreign / self.begun.elapsed().as_secs_f64() / cores;
        Ok(Run::default()
            .with(Figure::ToolCpuPerMillion, per_million(usage.cpu_seconds))
            .with(Figure::MongodCpuPerMillion, per_million(cpu.mongod))
            .with(Figure::KafkaCpuPerMillion, per_million(cpu.kafka))
            .with(Figure::PeakRssBytes, usage.peak_rss_bytes as f64)
            .with(Figure::ForeignCpuShare, foreign.max(0.0)))
    }
}

impl Run {
    fn with_pace(self, pace: Pace) -> Self {
        self.with(Figure::EventsPerSecond, pace.rate()).with(Figure::FirstSeconds, pace.first.as_secs_f64())
    }
}

/// Watches a tool until `progress` has reached `events`.
async fn watch(
    tool: &mut Tool<'_>,
    begun: Instant,
    events: u64,
    mut progress: impl AsyncFnMut() -> Result<u64>,
) -> Result<Pace> {
    let mut first = None;
    let reached = wait::until("all events to be there", RUN_DEADLINE, async || {
        if !tool.is_running()? {
            return Ok(Some(None));
        }
        let count = progress().await?;
        if count > 0 {
            first.get_or_insert_with(|| (begun.elapsed(), count));
        }
        Ok((count >= events).then(|| Some((begun.elapsed(), count))))
    });
    let Some((all, count)) = reached.await? else { bail!("the tool ended") };
    let (first, first_count) = first.context("no progress")?;
    ensure!(first < all, "all was there at the first look: more events are needed");
    Ok(Pace { first, first_count, all, count })
}

/// A whole number of any type.
pub(crate) fn whole(value: &bson::Bson) -> Option<u64> {
    let number = value.as_i64().or_else(|| value.as_i32().map(i64::from))?;
    u64::try_from(number).ok()
}
