//! `ddl = "apply"`: what is done to collections is done to their copies, in its place among the changes of documents.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bson::{Document, doc, rawdoc};
use futures_util::TryStreamExt;
use integration_tests::{
    scene::Scene,
    servers::{self, create_topic},
    wait,
};

const SOON: Duration = Duration::from_secs(60);
const EXPANDED: &str = "show_expanded_events = true\n[sources.shop.topic_creation]\npartitions = 1";
const APPLY: &str = "ddl = \"apply\"";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_to_collections_is_done_to_their_copies() -> Result<()> {
    Scene::play(servers::shared().await?, "ddl", async |scene| {
        let mut daemon = scene.pipeline(EXPANDED, APPLY)?;
        daemon.start_ready().await?;
        let run = async |command: Document| {
            let what = command.to_string();
            scene.pair.client.database(&scene.pair.database).run_command(command).await.context(what)
        };
        let collation = doc! { "locale": "de", "strength": 2 };
        run(doc! { "create": "a", "collation": collation, "validator": { "n": { "$type": "int" } } }).await?;
        run(doc! { "create": "capped", "capped": true, "size": 65536, "max": 100 }).await?;
        for number in 0..20 {
            scene.original("a").insert_one(&rawdoc! { "_id": number, "n": number }).await?;
            scene.original("gone").insert_one(&rawdoc! { "_id": number }).await?;
        }
        let indexes = [
            doc! { "key": { "n": 1 }, "name": "unique", "unique": true },
            doc! { "key": { "at": 1 }, "name": "old", "expireAfterSeconds": 3600 },
            doc! { "key": { "text": -1, "n": 1 }, "name": "some", "partialFilterExpression": { "n": { "$gt": 3 } } },
        ];
        run(doc! { "createIndexes": "a", "indexes": indexes.to_vec() }).await?;
        same_collections(scene).await?;
        scene.pair.identical().await?;

        run(doc! { "dropIndexes": "a", "index": "some" }).await?;
        run(doc! { "collMod": "a", "index": { "name": "old", "expireAfterSeconds": 60 } }).await?;
        // What follows can be written only after this, and what came before only before it.
        run(doc! { "collMod": "a", "validator": { "n": { "$type": "string" } } }).await?;
        scene.original("a").insert_one(&rawdoc! { "_id": 100, "n": "text" }).await?;
        run(doc! { "drop": "gone" }).await?;
        scene.original("gone").insert_one(&rawdoc! { "_id": 0, "again": true }).await?;
        run(doc! { "drop": "capped" }).await?;
        same_collections(scene).await?;
        let equal_count = scene.pair.identical().await?;
        ensure!(equal_count == 22, "{equal_count} documents");

        ensure!(daemon.errors()?.is_empty(), "{:?}", daemon.errors()?);
        daemon.terminate().await
    })
    .await
}

/// Waits until the copy has the same collections, with the same options and indexes.
async fn same_collections(scene: &Scene) -> Result<()> {
    wait::until("the copy's collections to be the original's", SOON, async || {
        let original = described(scene, &scene.pair.database).await?;
        let copy = described(scene, &scene.pair.copy).await?;
        ensure!(original == copy, "{original:#?}\n  in the copy: {copy:#?}");
        Ok(Some(()))
    })
    .await
}

/// Each collection of a database with its options and indexes.
async fn described(scene: &Scene, database: &str) -> Result<Vec<Document>> {
    let database = scene.pair.client.database(database);
    let mut names = database.list_collection_names().await?;
    names.sort();
    let mut all = Vec::new();
    for name in names {
        let listed = database.run_cursor_command(doc! { "listCollections": 1, "filter": { "name": &name } });
        let mut found: Vec<Document> = listed.await?.try_collect().await?;
        let options = found.pop().context("the collection is gone")?.get_document("options")?.clone();
        let listed = database.run_cursor_command(doc! { "listIndexes": &name });
        let mut indexes: Vec<Document> = listed.await?.try_collect().await?;
        indexes.sort_by_key(|index| index.get_str("name").unwrap_or_default().to_owned());
        all.push(doc! { "name": name, "options": options, "indexes": indexes });
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_several_partitions_has_no_place_for_a_collections_event() -> Result<()> {
    Scene::play(servers::shared().await?, "ddl_wide", async |scene| {
        create_topic(&scene.addresses.kafka, &format!("{}.c", scene.pair.database), 3).await?;
        let mut daemon = scene.pipeline("show_expanded_events = true", APPLY)?;
        daemon.start_ready().await?;
        scene.pair.client.database(&scene.pair.database).create_collection("c").await?;
        daemon.logged(&["stays down", "has 3 partitions", "ddl to \\\"ignore\\\""], SOON).await?;
        let copies = scene.pair.client.database(&scene.pair.copy).list_collection_names().await?;
        ensure!(copies.is_empty(), "{copies:?}");
        daemon.kill9()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_among_several_topics_stops_the_sink() -> Result<()> {
    Scene::play(servers::shared().await?, "ddl_rename", async |scene| {
        let mut daemon = scene.pipeline(EXPANDED, APPLY)?;
        daemon.start_ready().await?;
        scene.original("old").insert_one(&rawdoc! { "_id": 0 }).await?;
        scene.pair.identical().await?;
        let name = |coll: &str| format!("{}.{coll}", scene.pair.database);
        let command = doc! { "renameCollection": name("old"), "to": name("new") };
        scene.pair.client.database("admin").run_command(command).await?;
        daemon.logged(&["stays down", "was renamed", "ddl to \\\"ignore\\\""], SOON).await?;
        let copies = scene.pair.client.database(&scene.pair.copy).list_collection_names().await?;
        ensure!(copies == ["old"], "{copies:?}");
        daemon.terminate().await
    })
    .await
}
