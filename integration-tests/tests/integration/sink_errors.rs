//! What a sink cannot write: passed over where the settings say so, kept with the reason, and written once it can be.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bson::{Document, RawDocumentBuf, doc, rawdoc};
use integration_tests::{
    daemon::{self, Daemon},
    scene::{Scene, says},
    servers::{self, create_topic},
    topic::{self, Entry, Record},
    wait,
};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};

const SOON: Duration = Duration::from_secs(60);

/// A sink of documents from one topic into a collection whose field `n` must be a number.
struct Stage<'a> {
    scene: &'a Scene,
    topic: String,
    letters: String,
}

impl<'a> Stage<'a> {
    async fn set(scene: &'a Scene, partitions: i32) -> Result<Self> {
        let topic = format!("{}.c", scene.pair.database);
        create_topic(&scene.addresses.kafka, &topic, partitions).await?;
        Ok(Self { scene, topic, letters: format!("{}.letters", scene.name) })
    }

    async fn validate(&self, validator: Document) -> Result<()> {
        let database = self.scene.pair.client.database(&self.scene.pair.copy);
        let command = doc! { "collMod": "c", "validator": validator };
        database.run_command(command).await.map(drop).context("collMod")
    }

    /// Lets no two documents have the same `n`, and begins with two.
    async fn make_unique(&self) -> Result<()> {
        let collection = self.scene.copied("c");
        let index = mongodb::IndexModel::builder()
            .keys(doc! { "n": 1 })
            .options(mongodb::options::IndexOptions::builder().unique(true).build())
            .build();
        collection.create_index(index).await?;
        collection.insert_many([rawdoc! { "_id": 1, "n": 10 }, rawdoc! { "_id": 2, "n": 20 }]).await?;
        Ok(())
    }

    fn daemon(&self, errors: &str) -> Result<Daemon> {
        let letters = &self.letters;
        let tables =
            format!("value = \"document\"\n[sinks.copy.errors]\ndead_letter_topic = \"{letters}\"\n{errors}");
        self.scene.daemon(&self.scene.config(&self.scene.sink(&tables)))
    }

    async fn send(&self, entries: Vec<Entry>) -> Result<()> {
        topic::write(&self.scene.addresses.kafka, &[], &self.topic, entries).await
    }

    async fn letters(&self, count: usize) -> Result<Vec<Record>> {
        wait::until("the dead letters", SOON, async || {
            let letters = topic::read(&self.scene.addresses.kafka, vec![self.letters.clone()]).await?;
            ensure!(letters.len() <= count, "{} letters", letters.len());
            Ok((letters.len() == count).then_some(letters))
        })
        .await
    }

    async fn copied(&self, filter: Document) -> Result<u64> {
        Ok(self.scene.copied("c").count_documents(filter).await?)
    }

    async fn arrives(&self, count: u64) -> Result<()> {
        wait::until("the documents", SOON, async || Ok((self.copied(doc! {}).await? >= count).then_some(())))
            .await?;
        ensure!(self.copied(doc! {}).await? == count);
        Ok(())
    }
}

fn entry(id: i32, n: &str) -> Entry {
    (
        Some(format!("{{\"_id\": {id}}}").into_bytes()),
        Some(format!("{{\"_id\": {id}, \"n\": {n}}}").into_bytes()),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_records_with_three_bad_ones_the_rest_is_written_and_a_replay_writes_those()
-> Result<()> {
    Scene::play(servers::shared().await?, "three_bad", async |scene| {
        let stage = Stage::set(scene, 1).await?;
        scene.pair.client.database(&scene.pair.copy).create_collection("c").await?;
        stage.validate(doc! { "n": { "$type": "number" } }).await?;
        let mut entries: Vec<_> = (0..996).map(|id| entry(id, "1")).collect();
        // Two that are only bad, and one behind a good one of the same key, with which it makes one statement.
        entries.insert(100, entry(2000, "\"bad\""));
        entries.insert(500, entry(2001, "\"bad\""));
        entries.insert(700, entry(5, "2"));
        entries.insert(701, entry(5, "\"bad\""));
        ensure!(entries.len() == 1000);
        let mut daemon = stage.daemon("tolerance = \"data\"")?;
        daemon.start_ready().await?;
        stage.send(entries).await?;
        let letters = stage.letters(3).await?;
        stage.arrives(996).await?;
        ensure!(
            stage.copied(doc! { "_id": 5, "n": 2 }).await? == 1,
            "what is sound of a statement is written"
        );
        stage.send(vec![entry(5, "3")]).await?;
        wait::until("the next of the same key", SOON, async || {
            Ok((stage.copied(doc! { "_id": 5, "n": 3 }).await? == 1).then_some(()))
        })
        .await?;
        let mut letters: Vec<_> =
            letters.iter().map(|letter| (letter.header("__connect.errors.offset"), letter)).collect();
        letters.sort_by_key(|(offset, _)| *offset);
        let offsets: Vec<_> = letters.iter().filter_map(|(offset, _)| *offset).collect();
        ensure!(offsets == ["100", "500", "701"], "{offsets:?}");
        let (_, first) = letters.first().context("a letter")?;
        ensure!(first.key.as_deref() == Some(b"{\"_id\": 2000}".as_slice()));
        ensure!(first.value.as_deref() == Some(b"{\"_id\": 2000, \"n\": \"bad\"}".as_slice()));
        for (name, part) in [
            ("__connect.errors.topic", stage.topic.as_str()),
            ("__connect.errors.partition", "0"),
            ("__connect.errors.stage", "TASK_PUT"),
            ("__connect.errors.exception.class.name", "WriteException"),
            ("__connect.errors.exception.message", "v=1, code=121, message=Document failed validation"),
            ("millrace.error.code", "121"),
        ] {
            let value = first.header(name).with_context(|| name.to_owned())?;
            ensure!(value.contains(part), "{name}: {value}");
        }
        ensure!(daemon.metrics().await?.sum("millrace_sink_dead_letters_total", "copy") == Some(3.0));

        // Not while the sink runs.
        let config = daemon.config();
        let config = config.to_str().context("a path that is no text")?;
        let replay = ["dlq", "replay", "--config", config, "copy"];
        let (code, _, complaint) = daemon::run(&replay).await?;
        ensure!(code == Some(1), "{complaint}");
        says(&complaint, &["has members", "stop the sink first"])?;
        daemon.terminate().await?;

        // The cause is not gone: they are refused again, and become letters again, but for the one that a sound record of
        // the same key follows.
        let (code, report, complaint) = daemon::run(&replay).await?;
        ensure!(code == Some(1), "{complaint}");
        says(&report, &["3 dead letters: 4 records", "2 were refused again"])?;
        stage.letters(5).await?;

        stage.validate(doc! {}).await?;
        let (code, report, complaint) = daemon::run(&replay).await?;
        ensure!(code == Some(0), "{complaint} {report}");
        says(&report, &["2 dead letters: 2 records", "0 were refused"])?;
        stage.arrives(998).await?;
        ensure!(stage.copied(doc! { "n": "bad" }).await? == 2);
        ensure!(
            stage.copied(doc! { "_id": 5, "n": 3 }).await? == 1,
            "an old record is not written over a newer one"
        );
        let (code, report, _) = daemon::run(&replay).await?;
        ensure!(code == Some(0));
        says(&report, &["0 dead letters"])
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_stops_rather_than_lose_a_record_or_drain_a_topic_into_dead_letters() -> Result<()> {
    Scene::play(servers::shared().await?, "bad_topics", async |scene| {
        let stage = Stage::set(scene, 1).await?;
        let bad = |count: i32| (0..count).map(|id| (None, Some(format!("no JSON {id}").into_bytes()))).collect();
        // The letters' topic takes nothing.
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &scene.addresses.kafka).create()?;
        let tight = NewTopic::new(&stage.letters, 1, TopicReplication::Fixed(1)).set("max.message.bytes", "10");
        let created = admin.create_topics([&tight], &AdminOptions::new()).await?;
        ensure!(created.iter().all(Result::is_ok), "{created:?}");
        stage.send(bad(1)).await?;
        let mut daemon = stage.daemon("tolerance = \"all\"")?;
        daemon.start()?;
        daemon.logged(&["dead letter topic", &stage.letters, "stays down"], SOON).await?;
        daemon.terminate().await.ok();
        let group = format!("millrace.{}.copy", scene.name);
        let committed = topic::committed(&scene.addresses.kafka, &group, vec![stage.topic.clone()]).await?;
        ensure!(committed == 0, "{committed} records were committed");

        // Too many of them.
        let mut daemon = scene.daemon(&scene.config(&scene.sink(
            "value = \"document\"\n[sinks.copy.errors]\ntolerance = \"data\"\nmax_dead_letters_per_minute = 5",
        )))?;
        stage.send(bad(20)).await?;
        daemon.start()?;
        daemon.logged(&[&format!("{}-0@5", stage.topic), "more than 5 records in a minute"], SOON).await?;
        daemon.terminate().await.ok();
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn unique_values_may_change_hands_within_a_batch_and_between_partitions() -> Result<()> {
    Scene::play(servers::shared().await?, "unique", async |scene| {
        let stage = Stage::set(scene, 2).await?;
        stage.make_unique().await?;
        // In the order of one partition: they swap their values by way of a third.
        let swap = vec![entry(1, "30"), entry(2, "10"), entry(1, "20")];
        let keyed = |id: &str, n: &str| {
            (Some(b"same key".to_vec()), Some(format!("{{\"_id\": {id}, \"n\": {n}}}").into_bytes()))
        };
        stage.send(swap.into_iter().map(|(_, value)| (Some(b"same key".to_vec()), value)).collect()).await?;
        let mut daemon = stage.daemon("tolerance = \"data\"")?;
        daemon.start_ready().await?;
        let swapped = doc! { "$or": [{ "_id": 1, "n": 20 }, { "_id": 2, "n": 10 }] };
        wait::until("the swap", SOON, async || Ok((stage.copied(swapped.clone()).await? == 2).then_some(())))
            .await?;

        // The value is taken before it is given up by another partition; what follows for the document waits with it.
        stage.send(vec![keyed("3", "20"), keyed("3", "21"), keyed("3", "20")]).await?;
        daemon.logged(&["another document has the value of a unique index"], SOON).await?;
        stage.send(vec![(Some(b"other".to_vec()), Some(b"{\"_id\": 1, \"n\": 99}".to_vec()))]).await?;
        wait::until("the value", SOON, async || {
            Ok((stage.copied(doc! { "_id": 3, "n": 20 }).await? == 1).then_some(()))
        })
        .await?;
        let copied: Vec<RawDocumentBuf> = all_copied(scene).await?;
        ensure!(copied.len() == 3, "{copied:?}");
        ensure!(daemon.metrics().await?.sum("millrace_sink_dead_letters_total", "copy") == Some(0.0));
        daemon.terminate().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_held_record_is_never_overtaken_by_it() -> Result<()> {
    Scene::play(servers::shared().await?, "overtaken", async |scene| {
        let stage = Stage::set(scene, 2).await?;
        stage.make_unique().await?;
        let other = |id: i32, n: &str| (Some(b"other".to_vec()), entry(id, n).1);
        // The sink reads all of it at once and has batches of one record, so that those behind the one that is held are on
        // their way or waiting when it comes to be held. In the end each document has the state of its last record.
        let many = (100..140).map(|id| other(id, &id.to_string()));
        let held = [other(3, "20"), other(4, "40"), other(3, "33")];
        stage.send(held.into_iter().chain(many).collect()).await?;
        let mut daemon = scene.daemon(&scene.config(&scene.sink(
            "value = \"document\"\nunique_conflict_timeout = \"60s\"\n\
             [sinks.copy.batch]\nmax_records = 1\n[sinks.copy.errors]\ntolerance = \"data\"",
        )))?;
        daemon.start_ready().await?;
        daemon.logged(&["another document has the value of a unique index"], SOON).await?;
        wait::until("what needs not wait", SOON, async || {
            Ok((stage.copied(doc! { "_id": { "$gte": 100 } }).await? == 40).then_some(()))
        })
        .await?;
        // What both come to has no need of the value that is taken.
        wait::until("the last state", SOON, async || {
            Ok((stage.copied(doc! { "_id": 3, "n": 33 }).await? == 1).then_some(()))
        })
        .await?;
        stage.send(vec![(Some(b"same key".to_vec()), entry(2, "99").1)]).await?;
        wait::until("the value given up", SOON, async || {
            Ok((stage.copied(doc! { "_id": 2, "n": 99 }).await? == 1).then_some(()))
        })
        .await?;
        wait::until("nothing that is held", SOON, async || {
            Ok((daemon.metrics().await?.sum("millrace_sink_held_records", "copy") == Some(0.0)).then_some(()))
        })
        .await?;
        stage.arrives(44).await?;
        ensure!(
            stage.copied(doc! { "_id": 3, "n": 33 }).await? == 1,
            "an older record was written over a newer one"
        );
        ensure!(stage.copied(doc! { "_id": 4, "n": 40 }).await? == 1);
        ensure!(daemon.metrics().await?.sum("millrace_sink_dead_letters_total", "copy") == Some(0.0));
        daemon.terminate().await
    })
    .await
}

async fn all_copied(scene: &Scene) -> Result<Vec<RawDocumentBuf>> {
    let mut cursor = scene.copied("c").find(doc! {}).await?;
    let mut found = Vec::new();
    while cursor.advance().await? {
        found.push(cursor.current().to_owned());
    }
    Ok(found)
}
