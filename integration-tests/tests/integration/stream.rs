//! The change stream as the configuration opens it: images, the user's stages, collation, DDL events, and what a server
//! refuses.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bson::{RawDocument, RawDocumentBuf, doc, rawdoc};
use integration_tests::{
    scene::{Scene, says},
    servers, topic, wait,
};

const SOON: Duration = Duration::from_secs(60);

/// All events of the database's topics, once there are `count`.
async fn events(scene: &Scene, count: u64) -> Result<Vec<RawDocumentBuf>> {
    wait::until("the events", SOON, async || {
        let there = scene.pair.record_count().await?;
        ensure!(there >= count, "{there} of {count} records");
        Ok(Some(()))
    })
    .await?;
    let records = topic::read(&scene.addresses.kafka, scene.pair.topics().await?).await?;
    let timed = |record: &topic::Record| -> Result<_> {
        let event = RawDocument::from_bytes(record.value.as_deref().context("a value")?)?;
        Ok((event.get_timestamp("clusterTime")?, event.to_owned()))
    };
    let mut events = records.iter().map(timed).collect::<Result<Vec<_>>>()?;
    // Events of the collection and of its documents may lie in different partitions, which are read in no order.
    events.sort_by_key(|(time, _)| *time);
    Ok(events.into_iter().map(|(_, event)| event).collect())
}

fn operations(events: &[RawDocumentBuf]) -> Result<Vec<&str>> {
    events.iter().map(|event| Ok(event.get_str("operationType")?)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn images_ddl_events_and_the_users_stages_are_as_asked_for() -> Result<()> {
    Scene::play(servers::shared().await?, "stream", async |scene| {
        let lines = "format = \"bson\"\nfull_document = \"whenAvailable\"\n\
                     full_document_before_change = \"whenAvailable\"\nshow_expanded_events = true\nbatch_size = 2\n\
                     comment = \"seen by the profiler\"\nread_preference = \"primaryPreferred\"\n\
                     pipeline = '[{\"$match\": {\"operationType\": {\"$ne\": \"insert\"}}}, {\"$unset\": \"wallTime\"}]'";
        let mut daemon = scene.daemon(&scene.config(&scene.source(lines)))?;
        daemon.start_ready().await?;
        let images = doc! { "create": "c", "changeStreamPreAndPostImages": { "enabled": true } };
        scene.pair.client.database(&scene.pair.database).run_command(images).await?;
        let collection = scene.original("c");
        collection.insert_one(rawdoc! { "_id": 1, "a": 1 }).await?;
        collection.update_one(doc! { "_id": 1 }, doc! { "$set": { "a": 2 } }).await?;
        collection.delete_one(doc! { "_id": 1 }).await?;
        let events = events(scene, 3).await?;
        ensure!(operations(&events)? == ["create", "update", "delete"], "{:?}", operations(&events)?);
        let [_, update, delete] = &events[..] else { anyhow::bail!("three events") };
        ensure!(update.get_document("fullDocumentBeforeChange")? == &*rawdoc! { "_id": 1, "a": 1 });
        ensure!(update.get_document("fullDocument")? == &*rawdoc! { "_id": 1, "a": 2 });
        ensure!(delete.get_document("fullDocumentBeforeChange")? == &*rawdoc! { "_id": 1, "a": 2 });
        ensure!(update.get("wallTime")?.is_none(), "the user's stage was left out");
        let cursors = [
            doc! { "$currentOp": { "idleCursors": true } },
            doc! { "$match": { "cursor.originatingCommand.comment": "seen by the profiler" } },
        ];
        let admin = scene.pair.client.database("admin");
        ensure!(admin.aggregate(cursors).await?.advance().await?, "the comment is nowhere");
        daemon.terminate().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collation_is_the_users_stages_and_changes_nothing_about_what_is_watched() -> Result<()> {
    Scene::play(servers::shared().await?, "collation", async |scene| {
        let database = &scene.pair.database;
        let mut daemon = scene.daemon(&scene.config(&format!(
            "[sources.shop]\nwatch = [\"{database}.orders\", \"{database}.other\"]\nformat = \"bson\"\n\
             start = \"{}:1\"\ncollation = '{{\"locale\": \"de\", \"strength\": 2}}'\n\
             pipeline = '[{{\"$match\": {{\"fullDocument.name\": \"müller\"}}}}]'\n",
            scene.pair.begun.time
        )))?;
        daemon.start_ready().await?;
        for (collection, name) in [("ORDERS", "Müller"), ("orders", "Maier"), ("orders", "MÜLLER")] {
            scene.original(collection).insert_one(rawdoc! { "name": name }).await?;
        }
        scene.original("other").insert_one(rawdoc! { "name": "müller" }).await?;
        let mut names = Vec::new();
        for event in events(scene, 2).await? {
            let coll = event.get_document("ns")?.get_str("coll")?.to_owned();
            names.push((coll, event.get_document("fullDocument")?.get_str("name")?.to_owned()));
        }
        names.sort_unstable();
        let expected = [("orders", "MÜLLER"), ("other", "müller")];
        ensure!(names == expected.map(|(coll, name)| (coll.to_owned(), name.to_owned())), "{names:?}");
        daemon.terminate().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_the_server_refuses_stops_the_source_which_says_why() -> Result<()> {
    Scene::play(servers::shared().await?, "refused", async |scene| {
        for (lines, words) in [
            ("pipeline = '[{\"$group\": {\"_id\": 1}}]'", ["refuses the change stream", "check pipeline"]),
            ("pipeline = '[{\"$nonsense\": 1}]'", ["refuses the change stream", "check pipeline"]),
            ("full_document = \"required\"", ["\\\"required\\\" is not there", "require_full_document"]),
        ] {
            let mut daemon = scene.daemon(&scene.config(&scene.source(lines)))?;
            scene.original("c").insert_one(rawdoc! { "_id": lines, "n": 0 }).await?;
            scene.original("c").update_one(doc! { "_id": lines }, doc! { "$inc": { "n": 1 } }).await?;
            daemon.start()?;
            let status = daemon.exit(SOON).await?;
            ensure!(status.code() == Some(1), "{lines}: {status}");
            says(&daemon.errors()?.join("\n"), &words)?;
        }
        Ok(())
    })
    .await
}
