//! Snapshots while their documents change: what is copied, in which order, and how much of it again after a SIGKILL.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bson::{RawDocumentBuf, Timestamp};
use integration_tests::{
    daemon::Daemon,
    ledger,
    load::{
        Random,
        counted::{self, Changes, Plan},
    },
    oplog::{self, Roller},
    replay::{Replay, Summary},
    scene::Scene,
    servers::{self, Addresses, Mongod, MongodOptions},
    topic::{self, Ends},
    wait,
};

const SOON: Duration = Duration::from_secs(60);
/// Longest that the large form may take from one kill to the next, or to its end.
const LONG: Duration = Duration::from_secs(1_800);
const THREADS: u32 = 2;

/// How much is copied, and what happens meanwhile.
#[derive(Clone, Copy, Debug)]
struct Scale {
    documents: u32,
    hot: u32,
    updates_per_second: u32,
    kills: usize,
    /// Copied from one kill to the next, at least and at most.
    copied_per_kill: (usize, usize),
    range_size: u32,
    documents_per_second: u32,
    oplog_mb: u32,
    /// Into the oplog, beside the updates.
    filler_per_second: u32,
}

#[tokio::test(flavor = "multi_thread")]
async fn hot_documents_kills_and_a_short_oplog_leave_a_complete_snapshot_in_order() -> Result<()> {
    copy_under_fire(Scale {
        documents: 200_000,
        hot: 500,
        updates_per_second: 500,
        kills: 5,
        copied_per_kill: (5_000, 25_000),
        range_size: 1_000,
        documents_per_second: 10_000,
        oplog_mb: 16,
        filler_per_second: 2 << 20,
    })
    .await
}

/// `MILLRACE_TEST_SNAPSHOT_…` change the figures.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; run with: cargo test --package integration-tests two_million -- --ignored --nocapture"]
async fn two_million_documents_with_kills_and_a_short_oplog_are_copied_in_order() -> Result<()> {
    let copied_per_kill = figure("COPIED_PER_KILL", 150_000)?;
    copy_under_fire(Scale {
        documents: figure("DOCUMENTS", 2_000_000)?,
        hot: 1_000,
        updates_per_second: figure("UPDATES_PER_SECOND", 1_000)?,
        kills: figure("KILLS", 10)? as usize,
        copied_per_kill: (copied_per_kill as usize / 2, copied_per_kill as usize * 3 / 2),
        range_size: figure("RANGE_SIZE", 10_000)?,
        documents_per_second: figure("DOCUMENTS_PER_SECOND", 0)?,
        oplog_mb: figure("OPLOG_MB", 16)?,
        filler_per_second: figure("FILLER_PER_SECOND", 2 << 20)?,
    })
    .await
}

fn figure(name: &str, usual: u32) -> Result<u32> {
    match std::env::var(format!("MILLRACE_TEST_SNAPSHOT_{name}")) {
        Ok(text) => Ok(text.parse()?),
        Err(_) => Ok(usual),
    }
}

async fn copy_under_fire(scale: Scale) -> Result<()> {
    let _alone = servers::alone().await;
    let options = MongodOptions { oplog_mb: Some(scale.oplog_mb), ..MongodOptions::default() };
    let mongod = Mongod::start(options).await?;
    let addresses = Addresses { mongodb_uri: mongod.uri(), ..servers::shared().await?.clone() };
    Scene::play(&addresses, "under_fire", async |scene| {
        let orders = scene.original("orders");
        counted::insert(&orders, scale.documents).await?;
        let start = ledger::now(&scene.pair.client).await?;
        let Scale { documents, hot, range_size, documents_per_second, .. } = scale;
        let changes = Changes::start(&orders, Plan { documents, hot, rate: scale.updates_per_second });
        let roller = Roller::start(&scene.pair.client, scale.filler_per_second);
        let lines = format!(
            "[sources.shop.snapshot]\nmode = \"initial\"\nthreads = {THREADS}\nrange_size = {range_size}\n\
             max_documents_per_second = {documents_per_second}\n"
        );
        let mut daemon = scene.daemon(&scene.config(&copying(scene, start, &lines)))?;
        let began = Instant::now();
        daemon.start()?;
        let ends = kill_while_copying(scene, &mut daemon, &scale).await?;
        oplog::has_rolled_over(&scene.pair.client, start).await?;
        ensure!(left(&daemon).await? > 0, "the oplog was longer than the snapshot");
        wait::until("the snapshot to end", LONG, async || Ok((left(&daemon).await? == 0).then_some(())))
            .await?;
        let took = began.elapsed();
        let writes = changes.stop().await?;
        roller.stop().await?;
        daemon.passed("shop", ledger::now(&scene.pair.client).await?, SOON).await?;
        ensure!(daemon.errors()?.is_empty(), "{:?}", daemon.errors()?);
        daemon.terminate().await?;
        let summary = judge(scene, ends, &orders).await?;
        println!("{scale:?}: copied in {took:?} with {writes} writes beside: {summary:?}");
        check(&summary, &scale, writes)
    })
    .await
}

/// A source over the database as raw BSON, from just after `start`, with more lines.
pub(crate) fn copying(scene: &Scene, start: Timestamp, lines: &str) -> String {
    let database = &scene.pair.database;
    let start = format!("{}:{}", start.time, start.increment + 1);
    format!("[sources.shop]\nwatch = [\"{database}.*\"]\nstart = \"{start}\"\nformat = \"bson\"\n{lines}\n")
}

/// Kills the daemon wherever it is; yields where the topic ended each time.
async fn kill_while_copying(scene: &Scene, daemon: &mut Daemon, scale: &Scale) -> Result<Vec<Ends>> {
    let mut random = Random::new(scene.pair.begun.time.into(), 0);
    println!("seed {}", scene.pair.begun.time);
    let mut ends = Vec::new();
    for _ in 0..scale.kills {
        let (least, most) = scale.copied_per_kill;
        let enough = (least + random.below(most - least)) as u64;
        wait::until("documents to be copied", LONG, async || {
            Ok((copied(daemon).await? >= enough).then_some(()))
        })
        .await?;
        daemon.kill9()?;
        ends.push(topic::settled_ends(&scene.addresses.kafka, scene.pair.topics().await?).await?);
        daemon.start()?;
    }
    wait::until("the last start", SOON, async || left(daemon).await.map(Some)).await?;
    Ok(ends)
}

/// Documents that this run has copied.
pub(crate) async fn copied(daemon: &Daemon) -> Result<u64> {
    figure_of(daemon, "/snapshot/documentsCopied").await
}

/// Collections that are not copied yet; an error as long as the source has not begun.
pub(crate) async fn left(daemon: &Daemon) -> Result<u64> {
    figure_of(daemon, "/snapshot/collectionsLeft").await
}

async fn figure_of(daemon: &Daemon, at: &str) -> Result<u64> {
    let status = daemon.source("shop").await?;
    let number = |at: &str| status.pointer(at).and_then(serde_json::Value::as_u64);
    ensure!(number("/checkpoint/seconds") > Some(0), "the source has not begun");
    number(at).with_context(|| format!("{at} is not in {status}"))
}

pub(crate) async fn judge(
    scene: &Scene,
    ends: Vec<Ends>,
    collection: &mongodb::Collection<RawDocumentBuf>,
) -> Result<Summary> {
    let topic = format!("{}.{}", scene.pair.database, collection.name());
    Replay::new(ends).judge(&scene.addresses.kafka, &topic, collection).await
}

fn check(summary: &Summary, scale: &Scale, writes: u64) -> Result<()> {
    let in_flight = THREADS as usize * scale.range_size as usize;
    ensure!(summary.repeated_row_count <= scale.kills * in_flight, "too much was read again: {summary:?}");
    // Deleted ones may have gone before their row.
    ensure!(summary.row_count - summary.repeated_row_count >= (scale.documents - scale.hot) as usize);
    ensure!(summary.run_count == scale.kills + 1, "not every run was killed while copying: {summary:?}");
    ensure!(
        summary.event_count as u64 >= writes && writes > u64::from(scale.hot),
        "{summary:?}, {writes} writes"
    );
    Ok(())
}
