//! SIGKILL of the daemon and outages of the servers, under load: nothing is missing, order is as promised, the copy is
//! identical. Small forms run always; the long ones are ignored, each with the command that runs it.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result, ensure};
use bson::doc;
use futures_util::TryStreamExt as _;
use integration_tests::{
    daemon::Daemon,
    load::Random,
    scene::Scene,
    servers::{self, Addresses, Kafka, KafkaOptions, Mongod, MongodOptions},
    topic, wait,
};

const LOOKUP: &str = "full_document = \"updateLookup\"";

#[tokio::test(flavor = "multi_thread")]
async fn three_kills_under_load_lose_nothing() -> Result<()> {
    kills_under_load(3, 300).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "three minutes; run with: cargo test --package integration-tests twenty_kills -- --ignored"]
async fn twenty_kills_under_load_lose_nothing() -> Result<()> {
    kills_under_load(20, 3_000).await
}

/// Kills the daemon after up to `most_writes` writes each time, wherever it is then. Kafka holds the partitions of a
/// consumer that was killed for a while, so every second time the kill waits until the sink works again: else only
/// sources would be killed at work.
async fn kills_under_load(kills: usize, most_writes: usize) -> Result<()> {
    Scene::play(servers::shared().await?, "kills", async |scene| {
        let mut random = Random::new(scene.pair.begun.time.into(), 0);
        println!("seed {}", scene.pair.begun.time);
        let mut daemon = scene.pipeline(LOOKUP, "")?;
        daemon.start_ready().await?;
        let mut load = scene.load(|plan| (plan.operations, plan.rate) = (u64::MAX, Some(600)));
        for kill in 0..kills {
            if kill % 2 == 0 {
                wait::until("the sink to work", Duration::from_secs(60), async || {
                    let records = daemon.metrics().await?.sum("millrace_sink_records_total", "");
                    Ok(records.filter(|&records| records > 0.0))
                })
                .await?;
            }
            let next = load.counters().writes() + 1 + random.below(most_writes) as u64;
            load.reach(next).await?;
            daemon.kill9()?;
            daemon.start()?;
        }
        let last = load.counters().writes() + most_writes as u64;
        load.reach(last).await?;
        load.stop().await?;
        scene.complete(kills).await?;
        daemon.terminate().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_follow_each_other_write_each_document_in_order_and_kills_lose_nothing() -> Result<()> {
    /// Each batch has a record of each of them, so what it writes is what the batch on its way writes too.
    const DOCUMENTS: i32 = 250;
    const STATES: i32 = 100;
    const KILLS: usize = 3;
    Scene::play(servers::shared().await?, "behind", async |scene| {
        let topic = format!("{}.c", scene.pair.database);
        servers::create_topic(&scene.addresses.kafka, &topic, 1).await?;
        let entry = |state, id| {
            let key = format!("{{\"_id\": {id}}}").into_bytes();
            (Some(key), Some(format!("{{\"_id\": {id}, \"state\": {state}}}").into_bytes()))
        };
        let entries = (0..STATES).flat_map(|state| (0..DOCUMENTS).map(move |id| entry(state, id)));
        topic::write(&scene.addresses.kafka, &[], &topic, entries.collect()).await?;
        let copied = scene.copied("c");
        let mut changes = copied.watch().await?;
        // A member with a name of its own need not wait until the group has given up the one that was killed.
        let mut daemon = scene.daemon(&scene.config(&scene.sink(&format!(
            "value = \"document\"\ninstance_id = \"one\"\n[sinks.copy.batch]\nmax_records = {DOCUMENTS}"
        ))))?;
        daemon.start_ready().await?;
        for kill in 0..KILLS {
            wait::until("batches", Duration::from_secs(60), async || {
                let written = daemon.metrics().await?.sum("millrace_sink_batches_total", "copy");
                Ok(written.filter(|&written| written > (10 * kill) as f64))
            })
            .await?;
            daemon.kill9()?;
            daemon.start_ready().await?;
        }
        wait::until("the last state of all", Duration::from_secs(60), async || {
            let last = copied.count_documents(doc! { "state": STATES - 1 }).await?;
            Ok((last == DOCUMENTS as u64).then_some(()))
        })
        .await?;
        daemon.terminate().await?;
        let mut states: HashMap<i32, (i32, usize)> = HashMap::new();
        let read_all = async {
            while states.len() < DOCUMENTS as usize || states.values().any(|(last, _)| *last < STATES - 1) {
                let change = changes.try_next().await?.context("the collection is gone")?;
                let document = change.full_document.context("no insert or replace")?;
                let state = document.get_i32("state")?;
                let (last, backs) = states.entry(document.get_i32("_id")?).or_default();
                *backs += usize::from(state < *last);
                *last = state;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(Duration::from_secs(60), read_all)
            .await
            .context("a document ends otherwise")??;
        for (id, (_, backs)) in states {
            ensure!(backs <= KILLS, "document {id} went back {backs} times for {KILLS} kills");
        }
        Ok(())
    })
    .await
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Freeze(Duration),
    Restart,
}

#[derive(Clone, Copy, Debug)]
enum Victim {
    Mongod,
    Kafka,
}

const SHORT: Fault = Fault::Freeze(Duration::from_secs(3));
const LONG: Fault = Fault::Freeze(Duration::from_secs(20));

#[tokio::test(flavor = "multi_thread")]
async fn a_mongod_that_freezes_for_a_moment_loses_nothing() -> Result<()> {
    outage(Victim::Mongod, SHORT).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_freezes_for_a_moment_loses_nothing() -> Result<()> {
    outage(Victim::Kafka, SHORT).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mongod_that_is_killed_and_restarted_loses_nothing() -> Result<()> {
    outage(Victim::Mongod, Fault::Restart).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_and_restarted_loses_nothing() -> Result<()> {
    outage(Victim::Kafka, Fault::Restart).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute; run with: cargo test --package integration-tests freezes_for_20_s -- --ignored"]
async fn a_mongod_that_freezes_for_20_s_loses_nothing() -> Result<()> {
    outage(Victim::Mongod, LONG).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute; run with: cargo test --package integration-tests freezes_for_20_s -- --ignored"]
async fn a_broker_that_freezes_for_20_s_loses_nothing() -> Result<()> {
    outage(Victim::Kafka, LONG).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_election_loses_nothing() -> Result<()> {
    let _alone = servers::alone().await;
    let mongod = Mongod::start(MongodOptions::default()).await?;
    let addresses = Addresses { mongodb_uri: mongod.uri(), ..servers::shared().await?.clone() };
    Scene::play(&addresses, "election", async |scene| {
        let mut daemon = scene.pipeline(LOOKUP, "")?;
        daemon.start_ready().await?;
        let mut load = scene.load(|plan| (plan.operations, plan.rate) = (u64::MAX, Some(300)));
        load.reach(200).await?;
        mongod.step_down(1).await?;
        let more = load.counters().writes() + 300;
        load.reach(more).await?;
        load.stop().await?;
        scene.complete(restarts(&daemon).await?).await?;
        daemon.terminate().await
    })
    .await
}

async fn outage(victim: Victim, fault: Fault) -> Result<()> {
    let _alone = servers::alone().await;
    let (mut mongod, mut kafka) =
        tokio::try_join!(Mongod::start(MongodOptions::default()), Kafka::start(KafkaOptions::default()))?;
    let addresses = Addresses { mongodb_uri: mongod.uri(), kafka: kafka.bootstrap() };
    Scene::play(&addresses, "outage", async |scene| {
        let mut daemon = scene.pipeline(LOOKUP, "")?;
        daemon.start_ready().await?;
        let mut load = scene.load(|plan| (plan.operations, plan.rate) = (u64::MAX, Some(300)));
        load.reach(300).await?;
        match (victim, fault) {
            (Victim::Mongod, Fault::Freeze(duration)) => {
                mongod.stop()?;
                wait::pass(duration).await;
                mongod.cont()?;
            }
            (Victim::Kafka, Fault::Freeze(duration)) => {
                kafka.stop()?;
                wait::pass(duration).await;
                kafka.cont()?;
            }
            (Victim::Mongod, Fault::Restart) => mongod.restart().await?,
            (Victim::Kafka, Fault::Restart) => kafka.restart().await?,
        }
        let more = load.counters().writes() + 300;
        load.reach(more).await?;
        load.stop().await?;
        scene.complete(restarts(&daemon).await?).await?;
        ensure!(daemon.is_running()?, "the daemon ended because of {fault:?} of {victim:?}");
        daemon.ready(Duration::from_secs(60)).await?;
        daemon.terminate().await
    })
    .await
}

/// How often the daemon started its source again by itself: each may have stepped back once.
async fn restarts(daemon: &Daemon) -> Result<usize> {
    let metrics = daemon.metrics().await?;
    let restarts = metrics.sum("millrace_half_restarts_total", "kind=\"source\"").unwrap_or_default();
    println!("the source was started again {restarts} times");
    Ok(restarts as usize)
}
