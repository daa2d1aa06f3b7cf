//! The process: stops when told, stops when idle, and says which half does not work.

use std::time::Duration;

use anyhow::{Result, ensure};
use integration_tests::{
    scene::{Scene, says},
    servers::{self, Addresses, Kafka, KafkaOptions},
    topic, wait,
};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_drains_exits_with_0_and_the_next_run_repeats_nothing() -> Result<()> {
    Scene::play(servers::shared().await?, "sigterm", async |scene| {
        let mut daemon = scene.pipeline("full_document = \"updateLookup\"", "")?;
        daemon.start_ready().await?;
        let mut load = scene.load(|plan| plan.operations = 2_000);
        load.reach(400).await?;
        daemon.terminate().await?;
        daemon.start()?;
        load.finish().await?;
        scene.complete(0).await?;
        daemon.terminate().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_a_stop_that_cannot_drain() -> Result<()> {
    let _alone = servers::alone().await;
    let mut kafka = Kafka::start(KafkaOptions::default()).await?;
    let shared = servers::shared().await?;
    let addresses = Addresses { kafka: kafka.bootstrap(), ..shared.clone() };
    Scene::play(&addresses, "second_signal", async |scene| {
        let limits = "[limits]\nshutdown_timeout = \"10m\"\n";
        let mut daemon = scene.daemon(&scene.config(&(scene.source("") + limits)))?;
        daemon.start_ready().await?;
        // A topic that is known: while one has yet to be created, nothing is on its way.
        let topic = format!("{}.late", scene.pair.database);
        servers::create_topic(&scene.addresses.kafka, &topic, 1).await?;
        scene.original("late").insert_one(&bson::rawdoc! { "_id": 0 }).await?;
        wait::until("the first record", SOON, async || {
            let records = topic::read(&scene.addresses.kafka, vec![topic.clone()]).await?;
            Ok((records.len() == 1).then_some(()))
        })
        .await?;
        kafka.stop()?;
        // What is written now cannot be acknowledged.
        scene.original("late").insert_one(&bson::rawdoc! { "_id": 1 }).await?;
        wait::until("a record that is on its way", SOON, async || {
            let in_flight = daemon.metrics().await?.sum("millrace_source_in_flight_bytes", "");
            Ok(in_flight.filter(|&bytes| bytes > 0.0))
        })
        .await?;
        daemon.sigterm()?;
        daemon.logged(&["a second signal stops at once"], SOON).await?;
        ensure!(daemon.is_running()?, "it ended although nothing was acknowledged");
        daemon.sigterm()?;
        let status = daemon.exit(SOON).await?;
        kafka.cont()?;
        ensure!(status.code() == Some(130), "{status}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_when_idle_moves_everything_that_is_there_and_exits_with_0() -> Result<()> {
    Scene::play(servers::shared().await?, "idle", async |scene| {
        scene.load(|_| {}).finish().await?;
        let mut daemon = scene.pipeline("full_document = \"updateLookup\"", "")?;
        daemon.start_with(&["--exit-when-idle", "1s"])?;
        let status = daemon.exit(Duration::from_secs(90)).await?;
        ensure!(status.success(), "{status}");
        // Nothing runs any more: what has not arrived by now never will.
        let comparison = scene.pair.compare().await?;
        ensure!(comparison.is_identical() && comparison.equal_count > 0, "{comparison:?}");
        scene.complete(0).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_stops_its_sink_alone_and_readiness_says_so() -> Result<()> {
    Scene::play(servers::shared().await?, "bad_record", async |scene| {
        let topic = format!("{}_bad.orders", scene.pair.database);
        let bad_sink = format!("[sinks.bad]\ntopics = [\"{topic}\"]\nnamespace = \"{}.{{coll}}\"\n", scene.pair.copy);
        let good = "{\"_id\": {\"_data\": \"01\"}, \"operationType\": \"insert\", \"ns\": {\"db\": \"d\", \"coll\": \
                    \"before\"}, \"documentKey\": {\"_id\": 1}, \"fullDocument\": {\"_id\": 1}}";
        let entry = |value: &str| (Some(b"{\"_id\": 1}".to_vec()), Some(value.as_bytes().to_vec()));
        topic::write(&scene.addresses.kafka, &[], &topic, vec![entry(good), entry("not json")]).await?;

        let halves = scene.source("full_document = \"updateLookup\"") + &scene.sink("") + &bad_sink;
        let mut daemon = scene.daemon(&scene.config(&halves))?;
        daemon.start()?;
        daemon.logged(&["stays down", &topic, "@1"], SOON).await?;
        let (code, body) = daemon.get("/readyz").await?;
        ensure!(code == 503, "{code}");
        says(&body, &["sink bad", &topic])?;
        ensure!(!body.contains("sink copy: failed") && !body.contains("source shop: failed"), "{body}");
        ensure!(daemon.get("/healthz").await?.0 == 200);
        let status = daemon.status().await?.to_string();
        says(&status, &["\"bad\"", "failed"])?;
        ensure!(!daemon.log()?.contains("not json"), "a record's contents are in the log");

        // What was before the record is there, and the other halves go on.
        let before = scene.copied("before");
        ensure!(before.find_one(bson::doc! { "_id": 1 }).await?.is_some(), "the record before was not written");
        before.drop().await?;
        scene.load(|plan| plan.operations = 100).finish().await?;
        scene.complete(0).await?;
        servers::delete_topics(&scene.addresses.kafka, &[topic]).await?;
        daemon.terminate().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_status_count_what_moves() -> Result<()> {
    Scene::play(servers::shared().await?, "metrics", async |scene| {
        let mut daemon = scene.pipeline("full_document = \"updateLookup\"", "")?;
        daemon.start_ready().await?;
        scene.load(|plan| plan.operations = 100).finish().await?;
        scene.complete(0).await?;
        let event_count = scene.pair.events().await?.len() as f64;
        let metrics = daemon.metrics().await?;
        ensure!(
            metrics.sum("millrace_source_records_total", "name=\"shop\"") == Some(event_count),
            "{}",
            metrics.text()
        );
        ensure!(
            metrics.sum("millrace_sink_records_total", "name=\"copy\"") == Some(event_count),
            "{}",
            metrics.text()
        );
        ensure!(metrics.sum("millrace_half_ready", "") == Some(2.0), "{}", metrics.text());
        let status = daemon.status().await?;
        ensure!(status["name"] == *scene.name, "{status}");
        daemon.terminate().await
    })
    .await
}
