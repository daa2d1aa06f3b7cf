//! What the server says of a sink's targets, and time-series collections made for it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bson::{Document, doc};
use integration_tests::{
    scene::{Scene, says},
    servers::{self, Mongod, MongodOptions},
};
use millrace::{
    config::{Granularity, TimeSeries},
    namespace::Namespace,
    retry::Verdict,
    sink::{
        catalog::{self, Collection, Kind, ShardKey},
        shape::date::DatePattern,
    },
};
use mongodb::Client;

const SOON: Duration = Duration::from_secs(60);

fn target(scene: &Scene, name: &str) -> Namespace {
    Namespace { db: scene.pair.copy.clone(), coll: name.to_owned() }
}

fn time_series(time_field: &str) -> TimeSeries {
    let (meta_field, granularity) = (Some("sensor".to_owned()), Granularity::Minutes);
    let expire_after = Some(Duration::from_secs(86_400));
    TimeSeries {
        time_field: time_field.to_owned(),
        meta_field,
        granularity,
        expire_after,
        convert: false,
        date_format: DatePattern::default(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_target_is_told_with_its_validator_and_shard_key() -> Result<()> {
    Scene::play(servers::shared().await?, "catalog", async |scene| {
        let client = &scene.pair.client;
        let database = client.database(&scene.pair.copy);
        let validator = doc! { "total": { "$gte": 0 } };
        database.create_collection("ordinary").validator(validator.clone()).await?;
        database.create_collection("view").view_on("ordinary").await?;
        catalog::create_time_series(client, &target(scene, "metrics"), &time_series("at")).await?;
        let metrics = Kind::TimeSeries { time_field: "at".into(), meta_field: Some("sensor".into()) };
        for (name, kind, validator) in [
            ("nothing", Kind::Missing, None),
            ("ordinary", Kind::Ordinary, Some(validator)),
            ("view", Kind::View, None),
            ("metrics", metrics, None),
        ] {
            let found = catalog::look_up(client, &target(scene, name)).await?;
            let expected = Collection { kind, validator, shard_key: ShardKey::None };
            ensure!(found == expected, "{name}: {found:?}");
        }

        // As a sharded cluster has it; there is none to be had here.
        let entries = client.database("config").collection::<Document>("collections");
        let id = target(scene, "ordinary").to_string();
        entries.insert_one(doc! { "_id": &id, "key": { "customer.id": 1, "_id": "hashed" } }).await?;
        let found = catalog::look_up(client, &target(scene, "ordinary")).await;
        entries.delete_one(doc! { "_id": &id }).await?;
        let key = ShardKey::Fields(vec!["customer.id".into(), "_id".into()]);
        ensure!(found?.shard_key == key);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_whose_updates_can_never_name_the_shard_key_does_not_start() -> Result<()> {
    Scene::play(servers::shared().await?, "unnamed_key", async |scene| {
        let namespace = target(scene, "orders").to_string();
        let entries = scene.pair.client.database("config").collection::<Document>("collections");
        entries.insert_one(doc! { "_id": &namespace, "key": { "region": 1 } }).await?;
        let sink = format!(
            "[sinks.copy]\ntopics = [\"{}.*\"]\nnamespace = \"{namespace}\"\nvalue = \"document\"\n\
             [sinks.copy.write]\nmodel = \"update\"",
            scene.name
        );
        let mut daemon = scene.daemon(&scene.config(&sink))?;
        daemon.start()?;
        let line = daemon.logged(&["ERROR", "sharded by region"], SOON).await;
        daemon.terminate().await.ok();
        entries.delete_one(doc! { "_id": &namespace }).await?;
        says(&line?, &[&namespace, "write.filter"])
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_series_collection_is_made_once_and_never_out_of_something_else() -> Result<()> {
    Scene::play(servers::shared().await?, "time_series", async |scene| {
        let client = &scene.pair.client;
        let database = client.database(&scene.pair.copy);
        let wanted = time_series("at");
        for _ in 0..2 {
            catalog::create_time_series(client, &target(scene, "metrics"), &wanted).await?;
        }
        let filter = doc! { "name": "metrics" };
        let options = database.run_command(doc! { "listCollections": 1, "filter": filter }).await?;
        says(&options.to_string(), &["\"metaField\": \"sensor\"", "\"granularity\": \"minutes\"", "86400"])?;

        database.create_collection("ordinary").await?;
        database.create_collection("view").view_on("ordinary").await?;
        for (name, wanted, words) in [
            ("metrics", &time_series("when"), "whose time field is \"at\""),
            ("ordinary", &wanted, "an ordinary collection"),
            ("view", &wanted, "a view"),
        ] {
            let made = catalog::create_time_series(client, &target(scene, name), wanted).await;
            let failure = made.err().with_context(|| format!("{name} was made"))?;
            ensure!(failure.verdict == Verdict::Stop, "{name}: {failure}");
            says(&failure.message, &[name, words])?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_a_right_to_the_clusters_entries_can_look_up_on_a_replica_set() -> Result<()> {
    let _alone = servers::alone().await;
    let mongod = Mongod::start(MongodOptions { secure: true, ..MongodOptions::default() }).await?;
    let role = doc! { "role": "readWrite", "db": "copy" };
    mongod.create_user("sink", "sink-secret", vec![role]).await?;
    mongod.client().await?.database("copy").create_collection("orders").await?;
    let client = Client::with_uri_str(mongod.uri_for(Some(("sink", "sink-secret")))).await?;
    let namespace = |db: &str| Namespace { db: db.into(), coll: "orders".into() };
    let found = catalog::look_up(&client, &namespace("copy")).await?;
    let expected = Collection { kind: Kind::Ordinary, validator: None, shard_key: ShardKey::None };
    ensure!(found == expected, "{found:?}");
    let failure = catalog::look_up(&client, &namespace("elsewhere")).await;
    ensure!(failure.is_err_and(|failure| failure.verdict == Verdict::Stop), "a right is missing there");
    Ok(())
}
