//! Faults during snapshots: kills at the borders of ranges, servers that are killed and come back.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};
use bson::{
    Binary, Bson, Decimal128, JavaScriptCodeWithScope, RawDocumentBuf, Timestamp, doc, oid::ObjectId, rawdoc,
    spec::BinarySubtype,
};
use integration_tests::{
    daemon::Daemon,
    ledger, order,
    scene::Scene,
    servers::{self, Addresses, Kafka, KafkaOptions, Mongod, MongodOptions},
    topic::{self, Ends},
    wait,
};

use super::snapshot::{copied, copying, judge, left};

const SOON: Duration = Duration::from_secs(60);

const RANGE_SIZE: usize = 7;

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_all_types_are_copied_with_a_kill_at_every_border() -> Result<()> {
    copy_ids("").await
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_all_types_are_copied_through_a_pipeline_with_a_kill_at_every_border() -> Result<()> {
    copy_ids(r#"pipeline = '[{"$match": {"n": 0}}]'"#).await
}

async fn copy_ids(pipeline: &str) -> Result<()> {
    Scene::play(servers::shared().await?, "ids", async |scene| {
        let documents = documents_of_all_ids();
        let types: BTreeSet<u8> =
            documents.iter().filter_map(|d| d.get("_id").ok()?).map(|id| id.element_type() as u8).collect();
        ensure!(types.len() >= 12, "only {} types", types.len());
        let collection = scene.original("ids");
        collection.insert_many(&documents).await?;
        let start = ledger::now(&scene.pair.client).await?;
        let lines = format!(
            "[sources.shop.snapshot]\nmode = \"initial\"\nthreads = 1\nrange_size = {RANGE_SIZE}\n\
             max_documents_per_second = 70\n{pipeline}\n"
        );
        let mut daemon = scene.daemon(&scene.config(&copying(scene, start, &lines)))?;
        let ends = kill_at_every_border(scene, &mut daemon, &documents).await?;
        daemon.passed("shop", ledger::now(&scene.pair.client).await?, SOON).await?;
        daemon.terminate().await?;
        let kills = ends.len();
        let summary = judge(scene, ends, &collection).await?;
        println!("{} types, {kills} kills: {summary:?}", types.len());
        ensure!(summary.document_count == documents.len(), "{summary:?} of {}", documents.len());
        ensure!(summary.repeated_row_count <= kills * RANGE_SIZE, "too much was read again: {summary:?}");
        Ok(())
    })
    .await
}

/// Kills the daemon after the first range of each of its runs, every second time only when that range is stored, until
/// everything is copied.
async fn kill_at_every_border(
    scene: &Scene,
    daemon: &mut Daemon,
    documents: &[RawDocumentBuf],
) -> Result<Vec<Ends>> {
    let ranges = documents.len().div_ceil(RANGE_SIZE);
    let mut ends = Vec::new();
    daemon.start()?;
    loop {
        let is_over = wait::until("a range to be copied", SOON, async || {
            let is_over = left(daemon).await? == 0;
            Ok((is_over || copied(daemon).await? > 0).then_some(is_over))
        });
        if is_over.await? {
            ensure!(ends.len() >= ranges / 2, "{} kills at {ranges} ranges", ends.len());
            return Ok(ends);
        }
        if ends.len() % 2 == 1 {
            wait::until("the range to be stored", SOON, async || {
                let stored = daemon.metrics().await?.sum("millrace_source_checkpoints_total", "");
                Ok(stored.filter(|&stored| stored > 0.0))
            })
            .await?;
        }
        daemon.kill9()?;
        ends.push(topic::settled_ends(&scene.addresses.kafka, scene.pair.topics().await?).await?);
        ensure!(ends.len() <= 4 * ranges, "{} kills, and still not complete", ends.len());
        daemon.start()?;
    }
}

/// Several documents for each type that an `_id` may have; the server refuses arrays, regular expressions and undefined.
fn documents_of_all_ids() -> Vec<RawDocumentBuf> {
    let binary = |subtype, i: u8| Binary { subtype, bytes: vec![i; 16] };
    let mut ids = vec![Bson::MinKey, Bson::MaxKey, Bson::Null, Bson::Boolean(false), Bson::Boolean(true)];
    ids.push(Bson::Double(f64::NAN));
    for i in 0..8_u8 {
        let (small, text) = (i32::from(i), format!("text {i}"));
        ids.extend([
            Bson::Int32(small),
            Bson::Int64(i64::from(i) + (1 << 40)),
            Bson::Double(f64::from(i) + 0.5),
            Bson::Decimal128(format!("{i}.25").parse::<Decimal128>().expect("a number")),
            Bson::String(text.clone()),
            // Numbers as text sort otherwise than as numbers.
            Bson::String((small * 7).to_string()),
            Bson::Symbol(format!("symbol {i}")),
            Bson::Document(doc! { "a": small, "b": &text }),
            Bson::Document(doc! { "a": [small, 1] }),
            Bson::Binary(binary(BinarySubtype::Generic, i)),
            Bson::Binary(binary(BinarySubtype::Uuid, i)),
            Bson::ObjectId(ObjectId::from_bytes([i; 12])),
            Bson::DateTime(bson::DateTime::from_millis(i64::from(i) - 4)),
            Bson::Timestamp(Timestamp { time: u32::from(i) + 1, increment: 0 }),
            Bson::JavaScriptCode(text.clone()),
            Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope { code: text, scope: doc! { "i": small } }),
        ]);
    }
    ids.into_iter()
        .map(|id| RawDocumentBuf::try_from(&doc! { "_id": id, "n": 0_i64 }).expect("sound"))
        .collect()
}

/// What faults are tried on.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Daemon,
    Mongod,
    Kafka,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_a_snapshot_under_load_loses_nothing() -> Result<()> {
    fault_while_copying(Victim::Daemon).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mongod_that_is_killed_in_a_snapshot_under_load_loses_nothing() -> Result<()> {
    fault_while_copying(Victim::Mongod).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_in_a_snapshot_under_load_loses_nothing() -> Result<()> {
    fault_while_copying(Victim::Kafka).await
}

/// Documents that are there before, beside those of the load.
const PRELOADED: usize = 6_000;

async fn fault_while_copying(victim: Victim) -> Result<()> {
    let _alone = servers::alone().await;
    let (mongod, kafka) =
        tokio::try_join!(Mongod::start(MongodOptions::default()), Kafka::start(KafkaOptions::default()))?;
    let mut servers = Servers { mongod, kafka };
    let addresses = Addresses { mongodb_uri: servers.mongod.uri(), kafka: servers.kafka.bootstrap() };
    Scene::play(&addresses, "fault", async |scene| {
        let preloaded =
            (0..PRELOADED).map(|i| rawdoc! { "_id": format!("preloaded {i}"), "filler": "x".repeat(200) });
        scene.original("one").insert_many(preloaded).await?;
        let mut load = scene.load(|plan| (plan.operations, plan.rate) = (u64::MAX, Some(300)));
        load.reach(300).await?;
        let start = ledger::now(&scene.pair.client).await?;
        let tables = format!("{QUICK_GROUPS}{}{}", source(scene, start), scene.sink(""));
        let mut daemon = scene.daemon(&scene.config(&tables))?;
        daemon.start()?;
        wait::until("a part to be copied", SOON, async || {
            Ok((copied(&daemon).await? >= PRELOADED as u64 / 4).then_some(()))
        })
        .await?;
        ensure!(left(&daemon).await? > 0, "the snapshot was over before the fault");
        let mut faults = servers.strike(victim, &mut daemon).await?;
        wait::until("the snapshot to end", SOON * 2, async || Ok((left(&daemon).await? == 0).then_some(())))
            .await?;
        let more = load.counters().writes() + 100;
        load.reach(more).await?;
        faults += servers.strike(victim, &mut daemon).await?;
        let more = load.counters().writes() + 100;
        load.reach(more).await?;
        load.stop().await?;
        daemon.passed("shop", ledger::now(&scene.pair.client).await?, SOON * 2).await?;
        complete(scene, start, faults + restarts(&daemon).await?).await?;
        daemon.terminate().await
    })
    .await
}

/// Kafka holds the partitions of a consumer that was killed for so long.
const QUICK_GROUPS: &str = "[kafka.properties]\n\"session.timeout.ms\" = 6000\n";

/// A source of JSON events that copies slowly, from just after `start`.
fn source(scene: &Scene, start: Timestamp) -> String {
    let lines = "full_document = \"updateLookup\"\n[sources.shop.snapshot]\nmode = \"initial\"\n\
                 range_size = 500\nmax_documents_per_second = 1500\n";
    copying(scene, start, lines).replace("format = \"bson\"\n", "")
}

struct Servers {
    mongod: Mongod,
    kafka: Kafka,
}

impl Servers {
    /// Kills the victim and starts it again. How many new runs of the source that makes by itself.
    async fn strike(&mut self, victim: Victim, daemon: &mut Daemon) -> Result<usize> {
        match victim {
            Victim::Daemon => {
                daemon.kill9()?;
                daemon.start()?;
                return Ok(1);
            }
            Victim::Mongod => self.mongod.restart().await?,
            Victim::Kafka => self.kafka.restart().await?,
        }
        Ok(0)
    }
}

/// All events and all documents from before are in the topics, events in order, and the copy is identical.
async fn complete(scene: &Scene, start: Timestamp, runs: usize) -> Result<()> {
    let from = Timestamp { increment: start.increment + 1, ..start };
    let events = ledger::read(&scene.pair.client, &scene.pair.database, from).await?;
    let is_row = |record: &topic::Record| record.headers.iter().any(|(key, _)| key == "millrace.snapshot");
    let (rows, streamed): (Vec<_>, Vec<_>) = scene.pair.records().await?.into_iter().partition(is_row);
    let summary = order::check(&events, &streamed, runs)?;
    let copied: BTreeSet<_> = rows.iter().filter_map(|row| row.key.as_deref()).collect();
    let preloaded = copied.iter().filter(|key| key.windows(9).any(|part| part == b"preloaded")).count();
    ensure!(preloaded == PRELOADED, "{preloaded} of {PRELOADED} documents were copied");
    let equal_count = scene.pair.identical().await?;
    println!("{} rows, {summary:?}, {equal_count} documents identical", rows.len());
    ensure!(summary.event_count > 200 && equal_count > PRELOADED as u64, "{summary:?} {equal_count}");
    Ok(())
}

/// How often the daemon started its source again by itself.
async fn restarts(daemon: &Daemon) -> Result<usize> {
    let restarts = daemon.metrics().await?.sum("millrace_half_restarts_total", "kind=\"source\"");
    Ok(restarts.unwrap_or_default() as usize)
}
