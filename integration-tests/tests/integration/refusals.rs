//! What a source cannot send, or may not, stops it: nothing is skipped, and it goes on from there once it can.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration_tests::{
    scene::{Scene, says},
    servers, wait,
};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
};

const SOON: Duration = Duration::from_secs(60);
const LIMIT: &str = "max.message.bytes";

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_its_topic_refuses_stops_the_source_and_is_sent_once_it_may() -> Result<()> {
    Scene::play(servers::shared().await?, "too_large", async |scene| {
        let topic = format!("{}.c", scene.pair.database);
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &scene.addresses.kafka).create()?;
        let new = NewTopic::new(&topic, 1, TopicReplication::Fixed(1)).set(LIMIT, "20000");
        first(admin.create_topics([&new], &AdminOptions::new()).await?)?;
        for id in 0..20 {
            let filler = "x".repeat(if id == 10 { 50_000 } else { 50 });
            scene.original("c").insert_one(&bson::rawdoc! { "_id": id, "filler": filler }).await?;
        }
        let mut daemon = scene.daemon(&scene.config(&scene.source("")))?;
        daemon.start()?;
        let status = daemon.exit(SOON).await?;
        ensure!(status.code() == Some(1), "{status}");
        says(&daemon.errors()?.join("\n"), &["source shop", &topic, "cluster time", LIMIT, "stays down"])?;

        let resource = ResourceSpecifier::Topic(&topic);
        let raised = AlterConfig::new(resource).set(LIMIT, "200000");
        first(admin.alter_configs([&raised], &AdminOptions::new()).await?)?;
        daemon.start_ready().await?;
        // Twice it began again by itself, in search of what fits, each time with the records before the refused one.
        scene.pair.in_order(3).await?;
        daemon.terminate().await
    })
    .await
}

fn first<T, E: std::fmt::Debug>(results: Vec<std::result::Result<T, E>>) -> Result<()> {
    match results.into_iter().next().context("no answer")? {
        Ok(_) => Ok(()),
        Err(error) => anyhow::bail!("{error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_daemons_with_one_source_the_older_stops_and_nothing_is_missing() -> Result<()> {
    Scene::play(servers::shared().await?, "two", async |scene| {
        let config = scene.config(&scene.source(""));
        let (mut older, mut newer) = (scene.daemon(&config)?, scene.daemon(&config)?);
        older.start_ready().await?;
        let mut load = scene.load(|plan| plan.operations = 1_000);
        load.reach(100).await?;
        newer.start_ready().await?;
        let status =
            wait::until("the older one to stop", SOON, async || Ok((!older.is_running()?).then_some(())));
        status.await?;
        says(&older.errors()?.join("\n"), &["another process", "stays down"])?;
        load.finish().await?;
        // While both send, their runs alternate; nothing is missing all the same.
        scene.pair.in_order(1_000).await?;
        newer.terminate().await
    })
    .await
}
