//! The harness itself: servers come up, freeze, thaw and come back; the load writes and the comparison sees it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bson::{RawDocumentBuf, doc};
use integration_tests::{
    compare,
    load::{Load, Plan, Types},
    scene::Scene,
    servers::{self, Kafka, KafkaOptions, Mongod, MongodOptions},
    topic, wait,
};
#[tokio::test(flavor = "multi_thread")]
async fn the_load_writes_the_same_for_the_same_seed_and_the_comparison_sees_one_changed_byte() -> Result<()> {
    Scene::play(servers::shared().await?, "load", async |scene| {
        for database in [&scene.pair.database, &scene.pair.copy] {
            let plan = Plan { types: Types::All, database: database.clone(), ..Plan::small(database, 11) };
            Load::start(&scene.pair.client, &plan).finish().await?;
            // The only values that the clock decides.
            for collection in &plan.collections {
                let collection =
                    scene.pair.client.database(database).collection::<RawDocumentBuf>(collection);
                collection.update_many(doc! {}, doc! { "$unset": { "changed": "" } }).await?;
            }
        }
        let same = scene.pair.compare().await?;
        ensure!(same.is_identical() && same.equal_count > 100, "{same:?}");

        let victim =
            scene.copied("two").find_one(doc! { "number": { "$gt": 5 } }).await?.context("a document")?;
        let id = bson::Bson::try_from(victim.get("_id")?.context("an _id")?)?;
        let filter = doc! { "_id": { "$eq": id } };
        scene.copied("two").update_one(filter.clone(), doc! { "$set": { "number": 5_i64 } }).await?;
        let changed = compare::collections(&scene.original("two"), &scene.copied("two")).await?;
        ensure!(changed.difference.is_some_and(|text| text.contains("\"number\"")));
        scene.copied("two").delete_one(filter).await?;
        let deleted = compare::collections(&scene.original("two"), &scene.copied("two")).await?;
        ensure!(deleted.difference.is_some_and(|text| text.contains("lacks")));

        let events = scene.pair.events().await?;
        for operation in ["insert", "update", "replace", "delete"] {
            ensure!(events.iter().any(|event| event.operation == operation), "no {operation}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mongod_freezes_thaws_steps_down_and_comes_back_with_its_data() -> Result<()> {
    let _alone = servers::alone().await;
    let mut mongod = Mongod::start(MongodOptions::default()).await?;
    let collection = mongod.client().await?.database("shop").collection::<bson::Document>("orders");
    collection.insert_one(doc! { "_id": 1 }).await?;

    mongod.stop()?;
    let frozen =
        tokio::time::timeout(Duration::from_millis(500), collection.insert_one(doc! { "_id": 2 })).await;
    ensure!(frozen.is_err(), "a frozen mongod took a write");
    mongod.cont()?;
    mongod.step_down(1).await?;
    wait::until("a write after the election", Duration::from_secs(30), async || {
        collection.insert_one(doc! {}).await?;
        Ok(Some(()))
    })
    .await?;

    mongod.restart().await?;
    ensure!(
        mongod
            .client()
            .await?
            .database("shop")
            .collection::<bson::Document>("orders")
            .find_one(doc! { "_id": 1 })
            .await?
            .is_some()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_takes_records_and_has_them_after_a_restart() -> Result<()> {
    let _alone = servers::alone().await;
    let mut kafka = Kafka::start(KafkaOptions::default()).await?;
    produce(&kafka.bootstrap(), &[], "shop.orders").await?;
    kafka.stop()?;
    kafka.cont()?;
    kafka.restart().await?;
    produce(&kafka.bootstrap(), &[], "shop.orders").await?;
    let records = topic::read(&kafka.bootstrap(), vec!["shop.orders".to_owned()]).await?;
    ensure!(records.len() == 2, "{records:?}");
    ensure!(topic::count(&kafka.bootstrap(), vec!["shop.orders".to_owned()]).await? == 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn secured_servers_let_in_who_may_and_nobody_else() -> Result<()> {
    let _alone = servers::alone().await;
    let users = vec![("writer".to_owned(), "good".to_owned())];
    let kafka_options = KafkaOptions { users, ..KafkaOptions::default() };
    let mongod_options = MongodOptions { secure: true, ..MongodOptions::default() };
    let (mongod, kafka) = tokio::try_join!(Mongod::start(mongod_options), Kafka::start(kafka_options))?;

    mongod.client().await?.database("shop").collection("orders").insert_one(doc! {}).await?;
    let wrong = mongodb::Client::with_uri_str(mongod.uri_for(Some(("root", "wrong")))).await?;
    ensure!(wrong.database("shop").run_command(doc! { "ping": 1 }).await.is_err());

    let bootstrap = kafka.secure_bootstrap().context("it has a secure listener")?;
    let authority = kafka.certificates().context("it has a certificate")?.authority().display().to_string();
    let login = |password: &str| {
        [
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "writer"),
            ("sasl.password", password),
            ("ssl.ca.location", &authority),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
    };
    ensure!(produce(&bootstrap, &login("good"), "shop.orders").await.is_err(), "no right was given yet");
    kafka.allow("writer", &["Write", "Create", "Describe"], "topic", "shop.").await?;
    produce(&bootstrap, &login("good"), "shop.orders").await?;
    ensure!(produce(&bootstrap, &login("bad"), "shop.orders").await.is_err(), "the password was wrong");
    Ok(())
}

async fn produce(bootstrap: &str, properties: &[(String, String)], topic: &str) -> Result<()> {
    let entry = (Some(b"k".to_vec()), Some(b"v".to_vec()));
    topic::write(bootstrap, properties, topic, vec![entry]).await
}
