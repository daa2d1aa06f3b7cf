//! Snapshots as they are asked for: alone, on demand, filtered.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bson::{RawDocument, rawdoc};
use integration_tests::{
    daemon::Daemon,
    ledger,
    load::counted,
    scene::{Scene, says},
    servers,
    topic::{self, Record},
    wait,
};
use serde_json::json;

use super::snapshot::{copied, copying, judge, left};

const SOON: Duration = Duration::from_secs(60);

/// Those records of a collection's topic that are rows of a snapshot; none where there is no topic.
async fn rows(scene: &Scene, collection: &str) -> Result<Vec<Record>> {
    let topic = format!("{}.{collection}", scene.pair.database);
    let topics = scene.pair.topics().await?.into_iter().filter(|name| *name == topic).collect();
    let mut records = topic::read(&scene.addresses.kafka, topics).await?;
    records.retain(|record| record.headers.iter().any(|(key, _)| key == "millrace.snapshot"));
    Ok(records)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_only_copies_ends_with_0_when_all_is_copied_even_after_a_kill() -> Result<()> {
    const DOCUMENTS: u32 = 3_000;
    Scene::play(servers::shared().await?, "only", async |scene| {
        let orders = scene.original("orders");
        counted::insert(&orders, DOCUMENTS).await?;
        let start = ledger::now(&scene.pair.client).await?;
        let lines =
            "[sources.shop.snapshot]\nmode = \"only\"\nrange_size = 200\nmax_documents_per_second = 1000\n";
        let mut daemon = scene.daemon(&scene.config(&copying(scene, start, lines)))?;
        daemon.start()?;
        wait::until("a part to be copied", SOON, async || Ok((copied(&daemon).await? >= 600).then_some(())))
            .await?;
        daemon.kill9()?;
        let ends = topic::settled_ends(&scene.addresses.kafka, scene.pair.topics().await?).await?;
        let before: i64 = ends.values().sum();
        ensure!(before > 0 && before < i64::from(DOCUMENTS), "killed after {before} rows");
        daemon.start()?;
        let status = daemon.exit(SOON).await?;
        ensure!(status.code() == Some(0), "{status}");
        let summary = judge(scene, vec![ends], &orders).await?;
        ensure!(summary.document_count == DOCUMENTS as usize && summary.event_count == 0, "{summary:?}");
        ensure!(summary.repeated_row_count <= 2 * 200 && summary.run_count == 2, "{summary:?}");

        // Nothing is left to do, and changes are none of its business.
        orders.insert_one(counted::document(DOCUMENTS)).await?;
        let before = scene.pair.record_count().await?;
        daemon.start()?;
        let status = daemon.exit(SOON).await?;
        ensure!(status.code() == Some(0), "{status}");
        says(&daemon.log()?, &["the copy is complete"])?;
        ensure!(scene.pair.record_count().await? == before, "it went on");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_ends_with_the_greatest_id_of_all_is_the_last() -> Result<()> {
    Scene::play(servers::shared().await?, "max_key", async |scene| {
        let orders = scene.original("orders");
        for id in (0..9).map(bson::Bson::from).chain([bson::Bson::MaxKey]) {
            orders.insert_one(bson::RawDocumentBuf::try_from(&bson::doc! { "_id": id })?).await?;
        }
        let start = ledger::now(&scene.pair.client).await?;
        let lines = "[sources.shop.snapshot]\nmode = \"only\"\nrange_size = 10\n";
        let mut daemon = scene.daemon(&scene.config(&copying(scene, start, lines)))?;
        daemon.start()?;
        let status = daemon.exit(SOON).await?;
        ensure!(status.code() == Some(0), "{status}");
        let records = scene.pair.records().await?;
        let keys: std::collections::BTreeSet<_> = records.iter().map(|record| &record.key).collect();
        ensure!(keys.len() == 10, "{} keys", keys.len());
        Ok(())
    })
    .await
}

/// A scene with `one`, `two` and `three` of 40 documents each, and a source that streams from after them.
async fn on_demand(lines: &str, body: impl AsyncFnOnce(&Scene, &mut Daemon) -> Result<()>) -> Result<()> {
    Scene::play(servers::shared().await?, "on_demand", async |scene| {
        for name in ["one", "two", "three"] {
            counted::insert(&scene.original(name), 40).await?;
        }
        let start = ledger::now(&scene.pair.client).await?;
        let lines = lines.replace("SIGNALS", &format!("{}.signals", scene.pair.copy));
        let mut daemon = scene.daemon(&scene.config(&copying(scene, start, &lines)))?;
        daemon.start_ready().await?;
        body(scene, &mut daemon).await?;
        daemon.terminate().await
    })
    .await
}

async fn all_rows(scene: &Scene, collection: &str, count: usize) -> Result<()> {
    wait::until("the rows", SOON, async || {
        let found = rows(scene, collection).await?.len();
        ensure!(found <= count, "{found} rows of {collection}");
        Ok((found == count).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_are_copied_on_demand_over_http_from_the_command_line_and_by_a_signal() -> Result<()> {
    on_demand("signal_collection = \"SIGNALS\"", async |scene, daemon| {
        let name = |collection: &str| format!("{}.{collection}", scene.pair.database);
        let body = json!({ "namespaces": [name("one")] });
        let (code, answer) = daemon.post("/sources/shop/snapshot", "", &body).await?;
        ensure!(code == 202, "{code} {answer}");
        says(&answer, &[&name("one"), "40"])?;
        all_rows(scene, "one", 40).await?;
        ensure!(rows(scene, "two").await?.is_empty() && rows(scene, "three").await?.is_empty());

        let (code, answer, complaint) = daemon.command(&["snapshot", "shop", &name("two")]).await?;
        ensure!(code == Some(0), "{code:?} {answer} {complaint}");
        says(&answer, &[&name("two")])?;
        all_rows(scene, "two", 40).await?;
        ensure!(rows(scene, "three").await?.is_empty());

        let signals = scene.copied("signals");
        signals
            .insert_one(rawdoc! { "type": "snapshot", "namespaces": [name("three"), name("one")] })
            .await?;
        all_rows(scene, "three", 40).await?;
        all_rows(scene, "one", 80).await?;
        // The signal itself is nobody's record.
        let topics = servers::topic_names(&scene.addresses.kafka).await?;
        ensure!(!topics.iter().any(|topic| topic.contains("signals")), "{topics:?}");
        ensure!(daemon.source("shop").await?["snapshot"]["documentsCopied"] == 160);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_copied_is_refused_and_the_source_goes_on() -> Result<()> {
    on_demand("signal_collection = \"SIGNALS\"", async |scene, daemon| {
        let watched = json!({ "namespaces": [format!("{}.one", scene.pair.database)] });
        let foreign = json!({ "namespaces": [format!("{}.one", scene.pair.copy)] });
        for (path, headers, body, expected, words) in [
            ("/sources/shop/snapshot", "", &foreign, 409, "is not watched"),
            ("/sources/nobody/snapshot", "", &watched, 404, "nobody"),
            ("/sources/shop/snapshot", "Origin: http://evil.example\r\n", &watched, 403, "web pages"),
            ("/sources/shop/snapshot", "", &json!({ "namespaces": [] }), 400, "names no collection"),
            ("/sources/shop/snapshot", "", &json!({ "namespaces": ["x"], "pipeline": [] }), 422, "pipeline"),
        ] {
            let (code, answer) = daemon.post(path, headers, body).await?;
            ensure!(code == expected, "{path} {headers} {body}: {code} {answer}");
            says(&answer, &[words])?;
        }
        let (code, _, _) = daemon.command(&["snapshot", "shop", "elsewhere.one"]).await?;
        ensure!(code == Some(1), "{code:?}");
        let signals = scene.copied("signals");
        signals.insert_one(rawdoc! { "type": "snapshot", "namespaces": ["elsewhere.one"] }).await?;
        daemon.logged(&["WARN", "a signal cannot be followed", "is not watched"], SOON).await?;
        signals.insert_one(rawdoc! { "type": "format the disk" }).await?;
        daemon.logged(&["WARN", "a signal cannot be followed", "`type` is neither"], SOON).await?;

        scene.original("one").insert_one(counted::document(100)).await?;
        daemon.passed("shop", ledger::now(&scene.pair.client).await?, SOON).await?;
        ensure!(scene.pair.record_count().await? == 1, "something was copied");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_on_demand_survives_a_kill_and_ends_when_it_is_cancelled() -> Result<()> {
    let lines = "[sources.shop.snapshot]\nrange_size = 5\nthreads = 1\nmax_documents_per_second = 20\n";
    on_demand(lines, async |scene, daemon| {
        let name = |collection: &str| format!("{}.{collection}", scene.pair.database);
        let (code, ..) = daemon.command(&["snapshot", "shop", &name("one")]).await?;
        ensure!(code == Some(0));
        let some_are_copied = async |daemon: &Daemon| {
            wait::until("a range to be copied", SOON, async || Ok((copied(daemon).await? > 0).then_some(())))
                .await
        };
        some_are_copied(daemon).await?;
        daemon.kill9()?;
        let ends = topic::settled_ends(&scene.addresses.kafka, scene.pair.topics().await?).await?;
        daemon.start_ready().await?;
        daemon.passed("shop", ledger::now(&scene.pair.client).await?, SOON).await?;
        let summary = judge(scene, vec![ends], &scene.original("one")).await?;
        ensure!(summary.document_count == 40 && summary.repeated_row_count <= 5, "{summary:?}");

        let copied_before = copied(daemon).await?;
        let (code, ..) = daemon.command(&["snapshot", "shop", &name("two")]).await?;
        ensure!(code == Some(0));
        wait::until("a range to be copied", SOON, async || {
            Ok((copied(daemon).await? > copied_before).then_some(()))
        })
        .await?;
        let (code, answer, _) = daemon.command(&["snapshot", "--cancel", "shop"]).await?;
        ensure!(code == Some(0), "{answer}");
        says(&answer, &[&name("two")])?;
        wait::until("nothing to be left", SOON, async || Ok((left(daemon).await? == 0).then_some(())))
            .await?;
        scene.original("one").insert_one(counted::document(100)).await?;
        daemon.passed("shop", ledger::now(&scene.pair.client).await?, SOON).await?;
        let count = rows(scene, "two").await?.len();
        ensure!(count > 0 && count < 40, "{count} rows of a copy that was cancelled");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_copies_only_its_namespaces_and_what_its_pipeline_lets_through() -> Result<()> {
    Scene::play(servers::shared().await?, "filtered", async |scene| {
        for name in ["one", "two", "twofold", "three", "left_out"] {
            counted::insert(&scene.original(name), 500).await?;
        }
        let start = ledger::now(&scene.pair.client).await?;
        let database = &scene.pair.database;
        let lines = format!(
            "exclude = [\"{database}.left_out\"]\n[sources.shop.snapshot]\nmode = \"initial\"\nrange_size = 37\n\
             namespaces = [\"{database}.one\", '/{database}\\.(two|left).*/']\n\
             pipeline = '[{{\"$match\": {{\"_id\": {{\"$mod\": [5, 0]}}}}}}, {{\"$set\": {{\"copied\": true}}}}]'\n"
        );
        let mut daemon = scene.daemon(&scene.config(&copying(scene, start, &lines)))?;
        daemon.start_ready().await?;
        // The snapshot's pipeline is not the stream's, nor are its namespaces.
        scene.original("one").insert_one(counted::document(501)).await?;
        scene.original("three").insert_one(counted::document(501)).await?;
        daemon.passed("shop", ledger::now(&scene.pair.client).await?, SOON).await?;
        for name in ["one", "two", "twofold"] {
            let rows = rows(scene, name).await?;
            let mut ids = Vec::new();
            for row in &rows {
                let event = RawDocument::from_bytes(row.value.as_deref().context("a value")?)?;
                let document = event.get_document("fullDocument")?;
                ensure!(document.get_bool("copied")?, "{document:?} did not go through the pipeline");
                ids.push(document.get_i32("_id")?);
            }
            ids.sort_unstable();
            ensure!(ids == (0..500).step_by(5).collect::<Vec<_>>(), "{name}: {ids:?}");
        }
        ensure!(rows(scene, "three").await?.is_empty() && rows(scene, "left_out").await?.is_empty());
        ensure!(scene.pair.record_count().await? == 300 + 2, "{}", scene.pair.record_count().await?);
        daemon.terminate().await
    })
    .await
}
