//! Members of a sink's consumer group: static membership, and a pause that keeps the membership.

use std::time::Duration;

use anyhow::{Result, ensure};
use bson::rawdoc;
use integration_tests::{
    daemon::Daemon,
    scene::Scene,
    servers::{self, create_topic},
    wait,
};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_static_member_that_restarts_in_time_moves_nobodys_partitions() -> Result<()> {
    Scene::play(servers::shared().await?, "static", async |scene| {
        create_topic(&scene.addresses.kafka, &format!("{}.c", scene.pair.database), 6).await?;
        let member = |id: &str| {
            let lines = format!("instance_id = \"{id}\"\nkafka.properties.session.timeout.ms = \"30000\"");
            scene.daemon(&scene.config(&scene.sink(&lines)))
        };
        let (mut first, mut second) = (member("first")?, member("second")?);
        first.start_ready().await?;
        second.start_ready().await?;
        wait::until("both members to have partitions", SOON, async || {
            let is_shared = count(&first, "partitions given up")? > 0 && has_partitions(&second)?;
            Ok(is_shared.then_some(()))
        })
        .await?;
        let before = (count(&first, "partitions assigned")?, count(&first, "partitions given up")?);
        second.terminate().await?;
        second.start_ready().await?;

        let mut source = scene.daemon(&scene.config(&scene.source("")))?;
        source.start_ready().await?;
        for number in 0..60 {
            scene.original("c").insert_one(&rawdoc! { "_id": number }).await?;
        }
        scene.complete(0).await?;
        let after = (count(&first, "partitions assigned")?, count(&first, "partitions given up")?);
        ensure!(before == after, "{before:?} became {after:?}");

        // A second process under the same name takes its place; the first one does not take it back.
        let mut double = member("first")?;
        double.start_ready().await?;
        first.logged(&["stays down", "instance_id"], SOON).await?;
        for mut daemon in [source, second, double] {
            daemon.terminate().await?;
        }
        Ok(())
    })
    .await
}

/// Lines with these words that name partitions: a change that gives a member nothing is told too.
fn count(daemon: &Daemon, words: &str) -> Result<usize> {
    Ok(daemon.log()?.lines().filter(|line| line.contains(words) && line.contains(".c-")).count())
}

fn has_partitions(daemon: &Daemon) -> Result<bool> {
    Ok(count(daemon, "partitions assigned")? > 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_sink_writes_nothing_and_stays_in_its_group_until_it_is_resumed() -> Result<()> {
    Scene::play(servers::shared().await?, "pause", async |scene| {
        create_topic(&scene.addresses.kafka, &format!("{}.c", scene.pair.database), 6).await?;
        // Without polling the group would lose it within these six seconds.
        let lines = "[sinks.copy.kafka.properties]\nsession.timeout.ms = \"6000\"\n\
                     max.poll.interval.ms = \"6000\"";
        let mut daemon = scene.pipeline("", lines)?;
        daemon.start_ready().await?;
        scene.original("c").insert_one(&rawdoc! { "_id": 0 }).await?;
        scene.complete(0).await?;
        let (code, answer, complaints) = daemon.command(&["pause", "copy"]).await?;
        ensure!(code == Some(0) && answer.contains("\"done\":true"), "{code:?} {answer} {complaints}");
        ensure!(daemon.status().await?.to_string().contains("\"paused\":true"));

        for number in 1..200 {
            scene.original("c").insert_one(&rawdoc! { "_id": number }).await?;
        }
        scene.pair.in_order(0).await?;
        wait::pass(Duration::from_secs(8)).await;
        let copied = scene.copied("c").count_documents(bson::doc! {}).await?;
        ensure!(copied == 1, "{copied} documents are there");
        ensure!(
            count(&daemon, "partitions given up")? == 0 && daemon.errors()?.is_empty(),
            "{:?}",
            daemon.errors()?
        );
        daemon.ready(SOON).await?;

        ensure!(daemon.post("/sinks/shop/pause", "", &serde_json::json!({})).await?.0 == 404, "a source");
        let foreign = "Origin: http://evil.example\r\n";
        ensure!(daemon.post("/sinks/copy/resume", foreign, &serde_json::json!({})).await?.0 == 403);
        ensure!(daemon.command(&["resume", "copy"]).await?.0 == Some(0));
        scene.complete(0).await?;
        ensure!(count(&daemon, "partitions given up")? == 0, "it left the group");
        daemon.terminate().await
    })
    .await
}
