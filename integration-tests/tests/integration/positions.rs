//! Where a source starts, and where it goes on when it cannot go on from where it stopped.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bson::{RawDocument, RawDocumentBuf, doc, rawdoc};
use integration_tests::{
    daemon::Daemon,
    ledger, oplog,
    scene::{Scene, says},
    servers::{self, Addresses, Mongod, MongodOptions},
    topic, wait,
};

const SOON: Duration = Duration::from_secs(60);

async fn insert(scene: &Scene, id: i32) -> Result<()> {
    scene.original("c").insert_one(rawdoc! { "_id": id }).await?;
    Ok(())
}

/// The `_id`s in a topic of whole events as raw BSON, sorted, once there are `count`.
async fn ids(scene: &Scene, topic: &str, count: usize) -> Result<Vec<i32>> {
    let kafka = &scene.addresses.kafka;
    wait::until("the records", SOON, async || {
        let there = topic::count(kafka, vec![topic.to_owned()]).await?;
        ensure!(there >= count as u64, "{there} of {count} records in {topic}");
        Ok(Some(()))
    })
    .await?;
    let records = topic::read(kafka, vec![topic.to_owned()]).await?;
    let id = |record: &topic::Record| -> Result<i32> {
        let event = RawDocument::from_bytes(record.value.as_deref().context("a value")?)?;
        Ok(event.get_document("documentKey")?.get_i32("_id")?)
    };
    let mut ids = records.iter().map(id).collect::<Result<Vec<_>>>()?;
    // They lie in several partitions.
    ids.sort_unstable();
    Ok(ids)
}

/// `_data` of the tokens of all events so far.
async fn tokens(scene: &Scene) -> Result<Vec<String>> {
    Ok(scene.pair.events().await?.into_iter().map(|event| event.token).collect())
}

/// The token of the same moment that no event has.
fn forged(token: &str) -> String {
    // Behind type, time, version and transaction index stands the collection's UUID.
    let (head, tail) = token.split_at(token.len() - 10);
    let flipped = if tail.starts_with('A') { "B" } else { "A" };
    format!("{head}{flipped}{}", &tail[1..])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_starts_with_the_next_change_at_a_time_at_a_cluster_time_or_after_a_token() -> Result<()> {
    Scene::play(servers::shared().await?, "start", async |scene| {
        insert(scene, 1).await?;
        let second = ledger::now(&scene.pair.client).await?;
        insert(scene, 2).await?;
        let first_token = tokens(scene).await?.swap_remove(0);
        let database = &scene.pair.database;
        let cases = [
            ("latest", "latest".to_owned(), vec![3]),
            ("ever", "2020-01-01T00:00:00Z".to_owned(), vec![1, 2, 3]),
            ("time", format!("{}:{}", second.time, second.increment + 1), vec![2, 3]),
            ("token", format!("token:{first_token}"), vec![2, 3]),
        ];
        let mut tables = String::new();
        for (name, start, _) in &cases {
            tables += &format!(
                "[sources.{name}]\nwatch = [\"{database}.c\"]\nstart = \"{start}\"\nformat = \"bson\"\n\
                 topic = \"{database}.{name}\"\n"
            );
        }
        let mut daemon = scene.daemon(&scene.config(&tables))?;
        daemon.start_ready().await?;
        insert(scene, 3).await?;
        for (name, _, expected) in cases {
            let found = ids(scene, &format!("{database}.{name}"), expected.len()).await?;
            ensure!(found == expected, "{name}: {found:?}");
        }
        daemon.terminate().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_after_a_token_that_the_deployment_does_not_know_is_refused() -> Result<()> {
    Scene::play(servers::shared().await?, "unknown_token", async |scene| {
        insert(scene, 1).await?;
        insert(scene, 2).await?;
        let token = forged(&tokens(scene).await?[0]);
        let database = &scene.pair.database;
        let source = |start: &str| {
            scene.config(&format!(
                "[sources.shop]\nwatch = [\"{database}.*\"]\nstart = \"{start}\"\nformat = \"bson\"\n"
            ))
        };
        let mut daemon = scene.daemon(&source(&format!("token:{token}")))?;
        daemon.start()?;
        let status = daemon.exit(SOON).await?;
        ensure!(status.code() == Some(1), "{status}");
        says(
            &daemon.errors()?.join("\n"),
            &["source shop", "does not know the resume token", "nothing was stored"],
        )?;

        daemon.configure(&source("2020-01-01T00:00:00Z"))?;
        daemon.start_ready().await?;
        ensure!(ids(scene, &format!("{database}.c"), 2).await? == [1, 2]);
        daemon.terminate().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_token_that_is_refused_is_followed_by_its_time_and_nothing_is_missing() -> Result<()> {
    Scene::play(servers::shared().await?, "by_time", async |scene| {
        let directory = scene.path("checkpoints");
        let store = format!("[checkpoint]\nstore = \"file\"\ndirectory = \"{}\"\n", directory.display());
        let mut daemon = scene.daemon(&scene.config(&(scene.source("format = \"bson\"") + &store)))?;
        daemon.start_ready().await?;
        let topic = format!("{}.c", scene.pair.database);
        insert(scene, 1).await?;
        insert(scene, 2).await?;
        ids(scene, &topic, 2).await?;
        daemon.terminate().await?;

        let token = tokens(scene).await?.swap_remove(1);
        let file = fs::read_dir(&directory)?.next().context("a checkpoint was stored")??.path();
        let mut checkpoint: serde_json::Value = serde_json::from_slice(&fs::read(&file)?)?;
        let unknown = RawDocumentBuf::try_from(&doc! { "_data": forged(&token) })?;
        checkpoint["token"] = BASE64.encode(unknown.as_bytes()).into();
        let time = |range| u32::from_str_radix(&token[range], 16);
        checkpoint["clusterTime"] = vec![time(2..10)?, time(10..18)?].into();
        fs::write(&file, serde_json::to_vec(&checkpoint)?)?;

        insert(scene, 3).await?;
        daemon.start_ready().await?;
        let found = ids(scene, &topic, 4).await?;
        ensure!(found == [1, 2, 2, 3], "the change of that moment, and what follows: {found:?}");
        says(&daemon.log()?, &["the server refuses the resume token", "going on by its time"])?;
        daemon.terminate().await
    })
    .await
}

/// A source whose position has left the oplog, with this policy; then `body`.
async fn lost_history(policy: &str, body: impl AsyncFnOnce(&Scene, &mut Daemon) -> Result<()>) -> Result<()> {
    let _alone = servers::alone().await;
    let mongod = Mongod::start(MongodOptions { oplog_mb: Some(1), ..MongodOptions::default() }).await?;
    let addresses = Addresses { mongodb_uri: mongod.uri(), ..servers::shared().await?.clone() };
    Scene::play(&addresses, "lost", async |scene| {
        let lines = format!("format = \"bson\"\non_history_lost = \"{policy}\"");
        let mut daemon = scene.daemon(&scene.config(&scene.source(&lines)))?;
        daemon.start_ready().await?;
        insert(scene, 1).await?;
        ids(scene, &format!("{}.c", scene.pair.database), 1).await?;
        daemon.terminate().await?;
        insert(scene, 2).await?;
        let stopped_at = ledger::now(&scene.pair.client).await?;
        oplog::roll_over(&scene.pair.client, stopped_at).await?;
        daemon.start()?;
        daemon.logged(&["history was lost"], SOON).await?;
        daemon.ready(SOON).await?;
        let losses = daemon.metrics().await?.sum("millrace_source_history_losses_total", "");
        ensure!(losses == Some(1.0), "{losses:?} losses");
        let lost = daemon.source("shop").await?["lost"].clone();
        ensure!(lost["before"]["seconds"].as_u64() >= Some(stopped_at.time.into()), "{lost}");
        body(scene, &mut daemon).await?;
        daemon.terminate().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_may_goes_on_with_the_next_change_after_its_history_was_lost() -> Result<()> {
    lost_history("latest", async |scene, daemon| {
        insert(scene, 3).await?;
        let topic = format!("{}.c", scene.pair.database);
        ensure!(ids(scene, &topic, 2).await? == [1, 3], "2 is lost");
        // The position from which it went on was stored.
        daemon.terminate().await?;
        insert(scene, 4).await?;
        daemon.start_ready().await?;
        ensure!(ids(scene, &topic, 3).await? == [1, 3, 4]);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_may_copies_what_is_watched_after_its_history_was_lost() -> Result<()> {
    lost_history("snapshot", async |scene, _| {
        let topic = format!("{}.c", scene.pair.database);
        let found = ids(scene, &topic, 3).await?;
        ensure!(found == [1, 1, 2], "{found:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oplog_window_is_shown_and_warned_of_and_an_idle_source_sends_heartbeats() -> Result<()> {
    Scene::play(servers::shared().await?, "window", async |scene| {
        let beats = format!("{}.beats", scene.pair.database);
        let lines = format!(
            "oplog_window_warning = \"8000h\"\n[sources.shop.heartbeat]\ninterval = \"100ms\"\ntopic = \"{beats}\""
        );
        let mut daemon = scene.daemon(&scene.config(&scene.source(&lines)))?;
        daemon.start_ready().await?;
        daemon.logged(&["close to the oldest entry of the oplog"], SOON).await?;
        let left = daemon.metrics().await?.max("millrace_source_oplog_window_seconds");
        ensure!(left.is_some_and(|left| left < 8_000.0 * 3_600.0), "{left:?}");
        ensure!(daemon.source("shop").await?["oplogWindowSeconds"].is_u64());

        // Somebody else writes, so that the stream has somewhere to move.
        scene.copied("elsewhere").insert_one(rawdoc! { "_id": 1 }).await?;
        wait::until("a heartbeat", SOON, async || {
            Ok((topic::count(&scene.addresses.kafka, vec![beats.clone()]).await? > 0).then_some(()))
        })
        .await?;
        let records = topic::read(&scene.addresses.kafka, vec![beats.clone()]).await?;
        let key = String::from_utf8(records[0].key.clone().context("a key")?)?;
        ensure!(key.starts_with("{\"_data\": \"82") && key.ends_with("\"}"), "{key}");
        ensure!(records[0].value.is_none() && records[0].headers.is_empty(), "{:?}", records[0]);
        daemon.terminate().await
    })
    .await
}
