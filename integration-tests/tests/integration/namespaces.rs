//! Collections and databases that are dropped, renamed and made again: the source goes on behind them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bson::{doc, rawdoc};
use integration_tests::{order, scene::Scene, servers, wait};

/// Ids and operations of the records that are about documents, in the order of their events.
async fn happened(scene: &Scene) -> Result<Vec<(String, String)>> {
    let mut happened = Vec::new();
    for record in scene.pair.records().await? {
        let value = record.value.context("a value")?;
        let event: serde_json::Value = serde_json::from_slice(&value)?;
        let operation = event["operationType"].as_str().unwrap_or_default().to_owned();
        if let Some(id) = event.pointer("/documentKey/_id") {
            happened.push((order::token(&value)?, operation + " " + id.as_str().unwrap_or_default()));
        }
    }
    happened.sort();
    Ok(happened)
}

async fn happens(scene: &Scene, expected: &[&str]) -> Result<()> {
    wait::until("the events", Duration::from_secs(60), async || {
        let happened: Vec<_> = happened(scene).await?.into_iter().map(|(_, what)| what).collect();
        ensure!(happened == expected, "{happened:?}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_one_collection_goes_on_after_the_collection_was_dropped_and_made_again() -> Result<()> {
    Scene::play(servers::shared().await?, "drop", async |scene| {
        let source = scene.source("").replace(".*\"]", ".one\"]");
        let mut daemon = scene.daemon(&scene.config(&source))?;
        daemon.start_ready().await?;
        for round in ["a", "b", "c"] {
            scene.original("one").insert_one(&rawdoc! { "_id": round }).await?;
            scene.original("one").drop().await?;
        }
        scene.original("one").insert_one(&rawdoc! { "_id": "last" }).await?;
        happens(scene, &["insert a", "insert b", "insert c", "insert last"]).await?;
        // The position after the last invalidate holds too.
        daemon.terminate().await?;
        scene.original("one").insert_one(&rawdoc! { "_id": "more" }).await?;
        daemon.start_ready().await?;
        happens(scene, &["insert a", "insert b", "insert c", "insert last", "insert more"]).await?;
        daemon.terminate().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_a_database_goes_on_after_the_database_was_dropped() -> Result<()> {
    Scene::play(servers::shared().await?, "drop_database", async |scene| {
        let mut daemon = scene.daemon(&scene.config(&scene.source("")))?;
        daemon.start_ready().await?;
        for round in ["a", "b"] {
            scene.original("one").insert_one(&rawdoc! { "_id": round }).await?;
            scene.pair.client.database(&scene.pair.database).drop().await?;
        }
        scene.original("two").insert_one(&rawdoc! { "_id": "last" }).await?;
        happens(scene, &["insert a", "insert b", "insert last"]).await?;
        daemon.terminate().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_goes_on_after_its_collection_was_renamed() -> Result<()> {
    for watched in [".*\"]", ".one\"]"] {
        Scene::play(servers::shared().await?, "rename", async |scene| {
            let source = scene.source("").replace(".*\"]", watched);
            let mut daemon = scene.daemon(&scene.config(&source))?;
            daemon.start_ready().await?;
            scene.original("one").insert_one(&rawdoc! { "_id": "a" }).await?;
            let name = |collection: &str| format!("{}.{collection}", scene.pair.database);
            let rename = doc! { "renameCollection": name("one"), "to": name("aside") };
            scene.pair.client.database("admin").run_command(rename).await?;
            scene.original("one").insert_one(&rawdoc! { "_id": "b" }).await?;
            happens(scene, &["insert a", "insert b"]).await?;
            daemon.terminate().await
        })
        .await?;
    }
    Ok(())
}
