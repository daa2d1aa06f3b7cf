//! Events over 16 MB: split and joined where the server can split, handled as the policy says where it cannot.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bson::{Binary, Document, RawDocument, RawDocumentBuf, doc, rawdoc, spec::BinarySubtype};
use integration_tests::{
    compare,
    daemon::Daemon,
    scene::{Scene, says},
    servers::{self, Addresses, Mongod, MongodOptions, Version},
    topic::{self, Record},
    wait,
};

const SOON: Duration = Duration::from_secs(60);
/// 15.9 MB: an update has two images of it, which is about twice what a reply of the server may have.
const LARGE_BYTES: usize = 16_672_000;

/// The database's `c` with images, and a document as large as it may be in it.
async fn large_document(scene: &Scene) -> Result<()> {
    let database = scene.pair.client.database(&scene.pair.database);
    let images = doc! { "create": "c", "changeStreamPreAndPostImages": { "enabled": true } };
    database.run_command(images).await?;
    let bytes: Vec<u8> = (0..LARGE_BYTES).map(|i| (i * 7 % 251) as u8).collect();
    let binary = Binary { subtype: BinarySubtype::Generic, bytes };
    scene
        .original("c")
        .insert_one(RawDocumentBuf::try_from(&doc! { "_id": "large", "large": binary, "n": 0 })?)
        .await?;
    Ok(())
}

async fn update(scene: &Scene) -> Result<()> {
    let updated =
        scene.original("c").update_one(doc! { "_id": "large" }, doc! { "$inc": { "n": 1 } }).await?;
    ensure!(updated.modified_count == 1);
    Ok(())
}

async fn read(scene: &Scene) -> Result<RawDocumentBuf> {
    scene.original("c").find_one(doc! { "_id": "large" }).await?.context("the document")
}

/// A source of both images as raw BSON.
fn source(scene: &Scene, lines: &str) -> String {
    scene.config(&scene.source(&format!(
        "full_document = \"required\"\nfull_document_before_change = \"required\"\nformat = \"bson\"\n{lines}\n\
         [sources.shop.topic_creation.config]\n\"max.message.bytes\" = \"60000000\"\n"
    )))
}

/// Records of `c`, once there are `count`.
async fn records(scene: &Scene, count: u64) -> Result<Vec<Record>> {
    let topic = format!("{}.c", scene.pair.database);
    let kafka = &scene.addresses.kafka;
    wait::until("the records", SOON, async || {
        let there = topic::count(kafka, vec![topic.clone()]).await?;
        ensure!(there >= count, "{there} of {count} records");
        Ok(Some(()))
    })
    .await?;
    topic::read(kafka, vec![topic]).await
}

fn of_operation<'r>(records: &'r [Record], operation: &str) -> Result<Vec<&'r RawDocument>> {
    let mut found = Vec::new();
    for record in records {
        let event = RawDocument::from_bytes(record.value.as_deref().context("a value")?)?;
        if event.get_str("operationType")? == operation {
            found.push(event);
        }
    }
    Ok(found)
}

/// Fails unless the event has both images, equal to the byte.
fn is_whole(event: &RawDocument, before: &RawDocumentBuf, after: &RawDocumentBuf) -> Result<()> {
    for (name, expected) in [("fullDocumentBeforeChange", before), ("fullDocument", after)] {
        let image = event.get_document(name).with_context(|| format!("no {name}"))?;
        ensure!(image == &**expected, "{name}: {}", compare::shown(image));
    }
    let updated = event.get_document("updateDescription")?.get_document("updatedFields")?;
    ensure!(updated == &*rawdoc! { "n": after.get_i32("n")? }, "{updated:?}");
    ensure!(event.get("splitEvent")?.is_none(), "the event says that it was split");
    Ok(())
}

async fn alone_with(
    version: Version,
    name: &str,
    body: impl AsyncFnOnce(&Scene, &Mongod) -> Result<()>,
) -> Result<()> {
    let _alone = servers::alone().await;
    let mongod =
        Mongod::start(MongodOptions { version, large_cache: true, ..MongodOptions::default() }).await?;
    let addresses = Addresses { mongodb_uri: mongod.uri(), ..servers::shared().await?.clone() };
    Scene::play(&addresses, name, async |scene| body(scene, &mongod).await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_event_is_joined_to_the_byte_and_a_kill_between_its_fragments_loses_nothing() -> Result<()> {
    alone_with(Version::V6_0_27, "split", async |scene, mongod| {
        large_document(scene).await?;
        let mut daemon = scene.daemon(&source(scene, "max_await = \"60s\""))?;
        daemon.start_ready().await?;
        let first = read(scene).await?;
        update(scene).await?;
        let second = read(scene).await?;
        let there = records(scene, 2).await?;
        let updates = of_operation(&there, "update")?;
        ensure!(updates.len() == 1, "{} updates", updates.len());
        is_whole(updates[0], &first, &second)?;

        let hold = Hold::next_reply(mongod).await?;
        update(scene).await?;
        hold.is_reached(&mut daemon).await?;
        daemon.kill9()?;
        hold.release().await?;
        let third = read(scene).await?;
        ensure!(records(scene, 2).await?.len() == 2, "a part of the event was sent");
        scene.original("c").insert_one(rawdoc! { "_id": "small" }).await?;
        daemon.start_ready().await?;
        let there = records(scene, 4).await?;
        let updates = of_operation(&there, "update")?;
        ensure!(updates.len() == 2 && there.len() == 4, "{} updates of {}", updates.len(), there.len());
        is_whole(updates[1], &second, &third)?;
        ensure!(daemon.errors()?.is_empty(), "{:?}", daemon.errors()?);
        daemon.terminate().await
    })
    .await
}

/// The driver fixes the size of replies for a cursor, so the stream is opened again when it should be another.
#[tokio::test(flavor = "multi_thread")]
async fn replies_become_smaller_with_large_documents_and_no_event_is_lost_or_comes_twice() -> Result<()> {
    let addresses = servers::shared().await?.clone();
    Scene::play(&addresses, "replies", async |scene| {
        let mut daemon = scene.daemon(&scene.config(&scene.source("")))?;
        // Two replies of 16 MB, and then small ones.
        let text = "x".repeat(200_000);
        let large = (0..150).map(|id| rawdoc! { "_id": id, "text": &*text });
        let small = (150..3000).map(|id| rawdoc! { "_id": id, "text": "" });
        scene.original("c").insert_many(large.chain(small)).await?;
        daemon.start_ready().await?;
        let mut ids = Vec::new();
        for record in records(scene, 3000).await? {
            let event: Document = serde_json::from_slice(record.value.as_deref().context("a value")?)?;
            ids.push(event.get_document("documentKey")?.get_i32("_id")?);
        }
        ids.sort_unstable();
        ensure!(ids == (0..3000).collect::<Vec<_>>(), "{} records: {ids:?}", ids.len());
        let log = daemon.log()?;
        let reopened = log.matches("reopening the change stream").count();
        ensure!(reopened >= 2, "smaller and larger again: {reopened} times in {log}");
        ensure!(daemon.errors()?.is_empty(), "{:?}", daemon.errors()?);
        daemon.terminate().await
    })
    .await
}

/// Holds back what the server answers to the daemon's `getMore`, from the one after the one that waits now.
struct Hold {
    client: mongodb::Client,
    entered_before: i64,
}

impl Hold {
    async fn next_reply(mongod: &Mongod) -> Result<Self> {
        let client = mongod.client().await?;
        let admin = client.database("admin");
        // The stream waits for an event in a getMore that the fail point no longer concerns.
        wait::until("the stream to wait for an event", SOON, async || {
            let operations = [
                doc! { "$currentOp": {} },
                doc! { "$match": { "op": "getmore", "appName": "millrace", "secs_running": { "$gte": 0 } } },
            ];
            let waiting = admin.aggregate(operations).await?.advance().await?;
            Ok(waiting.then_some(()))
        })
        .await?;
        let hold = doc! {
            "configureFailPoint": "failCommand",
            "mode": "alwaysOn",
            "data": {
                "failCommands": ["getMore"], "appName": "millrace",
                "blockConnection": true, "blockTimeMS": 30_000,
            },
        };
        let reply = admin.run_command(hold).await?;
        Ok(Self { client, entered_before: count(&reply)? })
    }

    /// Returns when the daemon has asked for more after the event's first fragment.
    async fn is_reached(&self, daemon: &mut Daemon) -> Result<()> {
        let wait = doc! {
            "waitForFailPoint": "failCommand", "timesEntered": self.entered_before + 1,
            "maxTimeMS": 60_000,
        };
        self.client.database("admin").run_command(wait).await?;
        ensure!(daemon.is_running()?);
        Ok(())
    }

    async fn release(self) -> Result<()> {
        let off = doc! { "configureFailPoint": "failCommand", "mode": "off" };
        self.client.database("admin").run_command(off).await?;
        Ok(())
    }
}

fn count(reply: &Document) -> Result<i64> {
    match reply.get("count") {
        Some(bson::Bson::Int32(count)) => Ok(i64::from(*count)),
        Some(bson::Bson::Int64(count)) => Ok(*count),
        other => anyhow::bail!("a fail point was entered {other:?} times"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_server_cannot_split_a_large_event_stops_the_source_until_the_policy_lets_it_go_on()
-> Result<()> {
    alone_with(Version::V6_0_5, "too_large", async |scene, _| {
        large_document(scene).await?;
        update(scene).await?;
        scene.original("c").insert_one(rawdoc! { "_id": "small" }).await?;
        let mut daemon = scene.daemon(&source(scene, ""))?;
        daemon.start()?;
        let status = daemon.exit(SOON).await?;
        ensure!(status.code() == Some(1), "{status}");
        says(
            &daemon.errors()?.join("\n"),
            &["source shop", "cluster time", "event_too_large", "stays down"],
        )?;
        let skip = "[sources.shop.errors]\nevent_too_large = \"skip\"\n";
        daemon.configure(&source(scene, skip))?;
        daemon.start_ready().await?;
        // What came before the event may be sent again.
        let there = wait::until("the document behind the event", SOON, async || {
            let there = records(scene, 2).await?;
            let is_small = |key: &RawDocument| key.get_str("_id").is_ok_and(|id| id == "small");
            let inserts = of_operation(&there, "insert")?;
            let has_small =
                inserts.iter().any(|insert| insert.get_document("documentKey").is_ok_and(is_small));
            Ok(has_small.then_some(there))
        })
        .await?;
        ensure!(of_operation(&there, "insert")?.len() == there.len(), "a part of the event was sent");
        let skipped = daemon.source("shop").await?["unsent"]["skippedChanges"]["event_too_large"].clone();
        ensure!(skipped == 1, "{skipped} changes were skipped");
        daemon.terminate().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_server_cannot_split_a_large_event_is_sent_reduced_or_as_a_dead_letter() -> Result<()> {
    alone_with(Version::V6_0_5, "reduced", async |scene, _| {
        large_document(scene).await?;
        update(scene).await?;
        scene.original("c").insert_one(rawdoc! { "_id": "small" }).await?;
        let reduce = "[sources.shop.errors]\nevent_too_large = \"reduce\"\n";
        let mut daemon = scene.daemon(&source(scene, reduce))?;
        daemon.start_ready().await?;
        let there = records(scene, 3).await?;
        let updates = of_operation(&there, "update")?;
        ensure!(there.len() == 3 && updates.len() == 1, "{} records", there.len());
        ensure!(updates[0].get_document("documentKey")? == &*rawdoc! { "_id": "large" });
        let updated = updates[0].get_document("updateDescription")?.get_document("updatedFields")?;
        ensure!(updated == &*rawdoc! { "n": 1 }, "{updated:?}");
        ensure!(updates[0].get_document("fullDocument")? == &*read(scene).await?, "the document is not kept");
        ensure!(updates[0].get("fullDocumentBeforeChange")?.is_none(), "it has both images");
        let reduced = updates[0].get_document("reducedEvent")?;
        ensure!(reduced == &*rawdoc! { "without": ["fullDocumentBeforeChange"] }, "{reduced:?}");

        let letters = format!("{}.letters", scene.pair.database);
        let policy = format!(
            "[sources.shop.errors]\nevent_too_large = \"dead_letter\"\ndead_letter_topic = \"{letters}\"\n"
        );
        daemon.terminate().await?;
        daemon.configure(&source(scene, &policy))?;
        daemon.start_ready().await?;
        update(scene).await?;
        scene.original("c").insert_one(rawdoc! { "_id": "small too" }).await?;
        let there = records(scene, 4).await?;
        ensure!(there.len() == 4 && of_operation(&there, "insert")?.len() == 3, "{} records", there.len());
        let letters = topic::read(&scene.addresses.kafka, vec![letters]).await?;
        let [letter] = &letters[..] else { anyhow::bail!("{} dead letters", letters.len()) };
        let reason = letter.headers.iter().find(|(key, _)| key == "millrace.error.reason");
        ensure!(reason.is_some_and(|(_, value)| value.as_deref() == Some(b"event_too_large")), "{reason:?}");
        daemon.terminate().await
    })
    .await
}
