//! Changes go MongoDB → Kafka → MongoDB and come back byte for byte, in every shape and format.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bson::doc;
use integration_tests::{
    load::{Plan, Types},
    scene::Scene,
    servers,
    topic::{self, Record},
    wait,
};

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_and_type_that_strict_json_carries_arrives_through_json_events() -> Result<()> {
    Scene::play(servers::shared().await?, "json_events", async |scene| {
        let mut daemon = scene.pipeline("full_document = \"updateLookup\"", "")?;
        daemon.start_ready().await?;
        scene.load(|_| {}).finish().await?;
        scene.complete(0).await?;
        let records = scene.pair.records().await?;
        let first = records.first().context("a record")?;
        let value: serde_json::Value = serde_json::from_slice(first.value.as_deref().context("a value")?)?;
        ensure!(value["ns"]["db"] == *scene.pair.database, "{value}");
        ensure!(
            first.topic
                == format!("{}.{}", scene.pair.database, value["ns"]["coll"].as_str().unwrap_or_default())
        );
        daemon.terminate().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_there_is_arrives_through_bson_events() -> Result<()> {
    let source = "format = \"bson\"\nfull_document = \"updateLookup\"";
    arrives("bson_events", source, "format = \"bson\"", |plan| plan.types = Types::All).await
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_without_the_full_document_are_applied_exactly() -> Result<()> {
    arrives("deltas", "format = \"bson\"", "format = \"bson\"", |plan| plan.types = Types::All).await
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_without_the_full_document_are_applied_exactly_through_json() -> Result<()> {
    arrives("json_deltas", "", "", |plan| plan.seed = 23).await
}

/// A load goes through a pipeline with these lines in its source and sink: all of it arrives, in order, and the copy is
/// identical.
async fn arrives(name: &str, source: &str, sink: &str, change: impl FnOnce(&mut Plan)) -> Result<()> {
    Scene::play(servers::shared().await?, name, async |scene| {
        let mut daemon = scene.pipeline(source, sink)?;
        daemon.start_ready().await?;
        scene.load(change).finish().await?;
        scene.complete(0).await?;
        daemon.terminate().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_alone_arrive_and_deletes_are_tombstones() -> Result<()> {
    for format in ["json", "bson"] {
        Scene::play(servers::shared().await?, "documents", async |scene| {
            let shape = format!("value = \"document\"\nformat = \"{format}\"");
            let mut daemon = scene.pipeline(&shape, &shape)?;
            daemon.start_ready().await?;
            let counters = scene.load(|_| {}).finish().await?;
            let equal_count = scene.pair.identical().await?;
            ensure!(equal_count > 0, "there is nothing to compare");
            let deletes = counters.deletes.load(std::sync::atomic::Ordering::Relaxed);
            wait::until("all tombstones", Duration::from_secs(30), async || {
                let records = scene.pair.records().await?;
                let tombstones = records.iter().filter(|record| record.value.is_none());
                Ok((tombstones.count() as u64 == deletes).then_some(()))
            })
            .await?;
            let records = scene.pair.records().await?;
            ensure!(records.iter().all(|record| record.key.is_some()), "a record without a key");
            ensure!(
                records.iter().all(|record| record.headers.iter().any(|(name, _)| name == "millrace.order"))
            );
            daemon.terminate().await
        })
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_continues_without_a_gap_or_repeat_whatever_the_checkpoint_store() -> Result<()> {
    for store in ["kafka", "mongodb", "file"] {
        Scene::play(servers::shared().await?, "restart", async |scene| {
            let namespace = format!("{}_state.checkpoints", scene.name);
            let checkpoint = match store {
                "mongodb" => format!("namespace = \"{namespace}\"\n"),
                "file" => format!("directory = \"{}\"\n", scene.path("checkpoints").display()),
                _ => String::new(),
            };
            let checkpoint = format!("[checkpoint]\nstore = \"{store}\"\n{checkpoint}");
            let halves = scene.source("full_document = \"updateLookup\"") + &scene.sink("");
            let mut daemon = scene.daemon(&scene.config(&(halves + &checkpoint)))?;
            daemon.start_ready().await?;
            scene.load(|plan| plan.operations = 200).finish().await?;
            daemon.terminate().await?;
            // Written while nobody looks.
            let other = |name: &str| vec![name.to_owned()];
            scene.load(|plan| (plan.collections, plan.operations) = (other("three"), 200)).finish().await?;
            daemon.start_ready().await?;
            scene.load(|plan| (plan.collections, plan.operations) = (other("four"), 200)).finish().await?;
            scene.complete(0).await?;
            daemon.terminate().await?;
            Ok(scene.pair.client.database(&format!("{}_state", scene.name)).drop().await?)
        })
        .await
        .with_context(|| format!("store = {store}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_starts_at_latest_sends_nothing_from_before_and_everything_after() -> Result<()> {
    Scene::play(servers::shared().await?, "latest", async |scene| {
        scene.original("c").insert_one(&bson::rawdoc! { "_id": "before" }).await?;
        let source = format!("[sources.shop]\nwatch = [\"{}.*\"]\n", scene.pair.database);
        let mut daemon = scene.daemon(&scene.config(&source))?;
        daemon.start_ready().await?;
        scene.original("c").insert_one(&bson::rawdoc! { "_id": "after" }).await?;
        let records = records_at_least(scene, 1).await?;
        let key = records[0].key.as_deref().unwrap_or_default();
        ensure!(records.len() == 1 && key == b"{\"_id\": \"after\"}", "{records:?}");
        daemon.terminate().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_sends_what_its_patterns_cover_and_nothing_else() -> Result<()> {
    Scene::play(servers::shared().await?, "patterns", async |scene| {
        let database = &scene.pair.database;
        let source = scene.source(&format!("exclude = [\"*.orders.old\"]\ntopic = \"{database}.all\""));
        let patterns = format!("[\"{database}.orders*\", \"{database}.it*ms\"]");
        let source = source.replace(&format!("[\"{database}.*\"]"), &patterns);
        for collection in ["orders", "orders.new", "orders.old", "items", "other"] {
            scene.original(collection).insert_one(&bson::rawdoc! { "_id": collection }).await?;
        }
        let mut daemon = scene.daemon(&scene.config(&source))?;
        daemon.start_ready().await?;
        scene.original("orders").insert_one(&bson::rawdoc! { "_id": "last" }).await?;
        let records = records_at_least(scene, 4).await?;
        ensure!(records.iter().all(|record| record.topic == format!("{database}.all")), "{records:?}");
        let expected = ["items", "last", "orders", "orders.new"].map(|id| format!("{{\"_id\": \"{id}\"}}"));
        ensure!(document_keys(&records)? == expected, "{records:?}");
        daemon.terminate().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_of_the_whole_deployment_sends_nothing_of_databases_that_it_does_not_watch() -> Result<()> {
    for patterns in ["\"DB.orders\", \"DB_too.*\"", "\"/DB\\\\.ord.rs/\""] {
        Scene::play(servers::shared().await?, "deployment", async |scene| {
            let database = &scene.pair.database;
            let source = scene.source(&format!("topic = \"{database}.all\""));
            let source = source.replace(&format!("\"{database}.*\""), &patterns.replace("DB", database));
            let mut daemon = scene.daemon(&scene.config(&source))?;
            daemon.start_ready().await?;
            let other = scene.pair.client.database(&format!("other_{database}"));
            other.collection("orders").insert_one(doc! {}).await?;
            other.drop().await?;
            scene.original("orders").insert_one(&bson::rawdoc! { "_id": "last" }).await?;
            let records = records_at_least(scene, 1).await?;
            ensure!(document_keys(&records)? == ["{\"_id\": \"last\"}"], "{records:?}");
            daemon.terminate().await
        })
        .await
        .with_context(|| format!("watch = [{patterns}]"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_writes_plain_documents_that_an_application_has_put_into_a_topic() -> Result<()> {
    Scene::play(servers::shared().await?, "plain", async |scene| {
        let topic = format!("{}.items", scene.pair.database);
        let sink = format!(
            "[sinks.copy]\ntopics = [\"{topic}\"]\nvalue = \"document\"\nnamespace = \"{}.items\"\n",
            scene.pair.copy
        );
        let entry = |key: &str, value: Option<&str>| (Some(key.into()), value.map(Into::into));
        let entries = vec![
            entry("{\"_id\": 1}", Some("{\"_id\": 1, \"price\": {\"$numberDecimal\": \"1.50\"}}")),
            entry(
                "{\"_id\": 2}",
                Some("{\"_id\": {\"$numberInt\": \"2\"}, \"at\": {\"$date\": \"2026-11-23T03:00:00Z\"}}"),
            ),
            entry("{\"_id\": 3}", Some("{\"_id\": 3}")),
            entry("{\"_id\": 3}", None),
        ];
        topic::write(&scene.addresses.kafka, &[], &topic, entries).await?;
        let mut daemon = scene.daemon(&scene.config(&sink))?;
        daemon.start_with(&["--exit-when-idle", "500ms"])?;
        ensure!(daemon.exit(Duration::from_secs(60)).await?.success());
        let copied = scene.pair.client.database(&scene.pair.copy).collection::<bson::Document>("items");
        let price: bson::Decimal128 = "1.50".parse()?;
        let date = bson::DateTime::parse_rfc3339_str("2026-11-23T03:00:00Z")?;
        ensure!(copied.find_one(doc! { "_id": 1 }).await? == Some(doc! { "_id": 1, "price": price }));
        ensure!(copied.find_one(doc! { "_id": 2 }).await? == Some(doc! { "_id": 2, "at": date }));
        ensure!(copied.count_documents(doc! {}).await? == 2, "the tombstone deletes");
        Ok(())
    })
    .await
}

/// The records of the scene's topics, once there are as many.
async fn records_at_least(scene: &Scene, count: usize) -> Result<Vec<Record>> {
    wait::until("the records", Duration::from_secs(30), async || {
        let records = scene.pair.records().await?;
        Ok((records.len() >= count).then_some(records))
    })
    .await
}

fn document_keys(records: &[Record]) -> Result<Vec<String>> {
    let mut keys = Vec::new();
    for record in records {
        keys.push(String::from_utf8(record.key.clone().context("a key")?)?);
    }
    keys.sort();
    Ok(keys)
}
