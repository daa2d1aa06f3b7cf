//! A position that cannot be continued stops the source, which says what was lost and what can be done.

use std::time::Duration;

use anyhow::{Result, ensure};
use bson::{doc, rawdoc};
use integration_tests::{
    ledger, oplog,
    scene::{Scene, says},
    servers::{self, Addresses, Mongod, MongodOptions},
};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_has_left_the_oplog_stops_the_source_which_says_what_was_lost() -> Result<()> {
    let _alone = servers::alone().await;
    let mongod = Mongod::start(MongodOptions { oplog_mb: Some(1), ..MongodOptions::default() }).await?;
    let addresses = Addresses { mongodb_uri: mongod.uri(), ..servers::shared().await?.clone() };
    Scene::play(&addresses, "history", async |scene| {
        let mut daemon = scene.daemon(&scene.config(&scene.source("")))?;
        daemon.start_ready().await?;
        scene.load(|plan| plan.operations = 50).finish().await?;
        scene.pair.in_order(0).await?;
        daemon.terminate().await?;
        let stopped_at = ledger::now(&scene.pair.client).await?;
        oplog::roll_over(&scene.pair.client, stopped_at).await?;

        let before = scene.pair.record_count().await?;
        daemon.start()?;
        let status = daemon.exit(SOON).await?;
        ensure!(status.code() == Some(1), "its only half is down, but it ended with {status}");
        let errors = daemon.errors()?;
        let loss = errors.iter().find(|line| line.contains("no longer in the oplog"));
        says(loss.map_or("", String::as_str), &["source shop", "are lost", "remove the checkpoint"])?;
        ensure!(scene.pair.record_count().await? == before, "it went on");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_after_a_loss_makes_up_for_lost_deletes_where_the_topic_is_compacted() -> Result<()> {
    let _alone = servers::alone().await;
    let mongod = Mongod::start(MongodOptions { oplog_mb: Some(1), ..MongodOptions::default() }).await?;
    let addresses = Addresses { mongodb_uri: mongod.uri(), ..servers::shared().await?.clone() };
    Scene::play(&addresses, "swept", async |scene| {
        let source = "value = \"document\"\non_history_lost = \"snapshot\"\n\
                      [sources.shop.topic_creation.config]\n\"cleanup.policy\" = \"compact\"";
        let mut daemon = scene.pipeline(source, "value = \"document\"")?;
        daemon.start_ready().await?;
        let original = scene.original("swept");
        // More than are looked up at once.
        let documents = (0..2_500).map(|id| rawdoc! { "_id": id, "a": "before" });
        original.insert_many(documents).await?;
        scene.pair.identical().await?;
        daemon.terminate().await?;

        let deleted = doc! { "_id": { "$mod": [5, 0] } };
        let deleted = original.delete_many(deleted).await?.deleted_count;
        original.update_many(doc! { "_id": { "$lt": 100 } }, doc! { "$set": { "a": "after" } }).await?;
        original.insert_one(rawdoc! { "_id": "new" }).await?;
        oplog::roll_over(&scene.pair.client, ledger::now(&scene.pair.client).await?).await?;

        daemon.start_ready().await?;
        ensure!(deleted == 500 && scene.pair.identical().await? > 0, "{deleted} were deleted");
        let status = daemon.source("shop").await?;
        ensure!(status["lost"]["before"]["seconds"].as_u64() > Some(0), "{status}");
        ensure!(daemon.metrics().await?.sum("millrace_source_history_losses_total", "") == Some(1.0));
        daemon.terminate().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_of_another_deployment_is_refused() -> Result<()> {
    let _alone = servers::alone().await;
    let other = Mongod::start(MongodOptions::default()).await?;
    Scene::play(servers::shared().await?, "deployment", async |scene| {
        let config = scene.config(&scene.source(""));
        let mut daemon = scene.daemon(&config)?;
        daemon.start_ready().await?;
        scene.load(|plan| plan.operations = 20).finish().await?;
        scene.pair.in_order(0).await?;
        daemon.terminate().await?;
        daemon.configure(&config.replace(&scene.addresses.mongodb_uri, &other.uri()))?;
        daemon.start()?;
        let status = daemon.exit(SOON).await?;
        ensure!(status.code() == Some(1), "{status}");
        says(&daemon.errors()?.join("\n"), &["belongs to another MongoDB deployment"])
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_checkpoint_is_refused_and_left_alone() -> Result<()> {
    Scene::play(servers::shared().await?, "damaged", async |scene| {
        let directory = scene.path("checkpoints");
        let checkpoint = format!("[checkpoint]\nstore = \"file\"\ndirectory = \"{}\"\n", directory.display());
        let mut daemon = scene.daemon(&scene.config(&(scene.source("") + &checkpoint)))?;
        daemon.start_ready().await?;
        daemon.terminate().await?;
        let file = std::fs::read_dir(&directory)?.next().expect("a checkpoint was stored")?.path();
        std::fs::write(&file, "{\"version\": 1, ")?;
        daemon.start()?;
        ensure!(daemon.exit(SOON).await?.code() == Some(1));
        says(&daemon.errors()?.join("\n"), &["cannot be read", "nothing was changed"])?;
        ensure!(std::fs::read_to_string(&file)? == "{\"version\": 1, ");
        Ok(())
    })
    .await
}
