//! Records as the settings of a source shape them: keys, values, headers, timestamps, topics, partitions, and what becomes
//! of what cannot be sent. Many sources of one daemon write the same changes, each in its own way.

mod failures;
mod masks;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use bson::{RawDocument, doc, rawdoc};
use integration_tests::{
    daemon::Daemon,
    ledger,
    scene::{Scene, says},
    servers,
    topic::{self, Record},
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

/// A source over the database that writes all to the topic `DATABASE.NAME`, which has one partition.
fn source(scene: &Scene, name: &str, lines: &str) -> String {
    let topic = format!("topic = \"{{db}}.{name}\"\n");
    let creation = "\n[sources.shop.topic_creation]\npartitions = 1\n";
    named(name, &scene.source(&(topic + lines + creation)))
}

/// The table of the source `shop` under another name.
fn named(name: &str, table: &str) -> String {
    table.replace("[sources.shop", &format!("[sources.{name}"))
}

/// A daemon with these sources, once each has sent all that was written.
async fn caught_up(scene: &Scene, sources: &[(&str, String)]) -> Result<Daemon> {
    let tables: String = sources.iter().map(|(_, table)| table.as_str()).collect();
    let mut daemon = scene.daemon(&scene.config(&tables))?;
    daemon.start_ready().await?;
    catch_up(scene, &daemon, sources).await?;
    Ok(daemon)
}

async fn catch_up(scene: &Scene, daemon: &Daemon, sources: &[(&str, String)]) -> Result<()> {
    let now = ledger::now(&scene.pair.client).await?;
    for (name, _) in sources {
        daemon.passed(name, now, SOON).await.with_context(|| format!("source {name}"))?;
    }
    Ok(())
}

/// The records of the topic `DATABASE.NAME`.
async fn read(scene: &Scene, name: &str) -> Result<Vec<Record>> {
    topic::read(&scene.addresses.kafka, vec![format!("{}.{name}", scene.pair.database)]).await
}

fn key(record: &Record) -> Result<&str> {
    Ok(std::str::from_utf8(record.key.as_deref().context("no key")?)?)
}

fn value(record: &Record) -> Result<Value> {
    Ok(serde_json::from_slice(record.value.as_deref().context("a tombstone")?)?)
}

/// What each record says of its operation; "tombstone" where there is no value.
fn operations(records: &[Record]) -> Result<Vec<String>> {
    let operation = |record: &Record| match &record.value {
        None => Ok("tombstone".to_owned()),
        Some(_) => {
            let value = value(record)?;
            Ok(value["operationType"].as_str().or(value["op"].as_str()).unwrap_or("document").to_owned())
        }
    };
    records.iter().map(operation).collect()
}

/// An insert, an update and a delete of one document: whoever looks it up for the update is too late.
async fn three_changes(scene: &Scene) -> Result<()> {
    let collection = scene.original("c");
    let at = bson::DateTime::from_millis(1_709_210_096_789);
    collection.insert_one(rawdoc! { "_id": "a", "customer": { "id": 7_i64 }, "at": at }).await?;
    collection.update_one(doc! { "_id": "a" }, doc! { "$set": { "n": 1 } }).await?;
    collection.delete_one(doc! { "_id": "a" }).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_headers_and_timestamps_are_as_the_settings_say() -> Result<()> {
    Scene::play(servers::shared().await?, "keys", async |scene| {
        three_changes(scene).await?;
        let before = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let sources = [
            ("plain", ""),
            ("id", "key = \"id\"\nheaders = \"all\"\ntimestamp = \"send_time\""),
            ("token", "key = \"token\"\nheaders = \"none\""),
            ("fields", "key = \"fields\"\nkey_fields = [\"fullDocument.customer.id\", \"operationType\"]"),
            ("binary", "key_format = \"bson\""),
        ]
        .map(|(name, lines)| (name, source(scene, name, lines)));
        let mut daemon = caught_up(scene, &sources).await?;
        for record in read(scene, "plain").await? {
            let seconds = value(&record)?["clusterTime"]["$timestamp"]["t"].as_i64();
            ensure!(record.timestamp == seconds.map(|seconds| seconds * 1000), "{record:?}");
            ensure!(record.headers.is_empty() && key(&record)? == r#"{"_id": "a"}"#, "{record:?}");
        }
        for record in read(scene, "id").await? {
            ensure!(key(&record)? == r#"{"_id": "a"}"# && record.timestamp >= Some(before), "{record:?}");
            has_all_headers(&record)?;
        }
        for record in read(scene, "token").await? {
            let key: Value = serde_json::from_str(key(&record)?)?;
            ensure!(key == json!({ "_id": value(&record)?["_id"] }), "{record:?}");
        }
        let fields = read(scene, "fields").await?;
        let keys = fields.iter().map(key).collect::<Result<Vec<_>>>()?;
        let expected = [
            r#"{"fullDocument.customer.id": {"$numberLong": "7"}, "operationType": "insert"}"#,
            r#"{"operationType": "update"}"#,
            r#"{"operationType": "delete"}"#,
        ];
        ensure!(keys == expected, "{keys:?}");
        let binary = read(scene, "binary").await?;
        ensure!(operations(&binary)? == ["insert", "update", "delete"], "{binary:?}");
        let id = rawdoc! { "_id": "a" };
        ensure!(binary.iter().all(|record| record.key.as_deref() == Some(id.as_bytes())), "{binary:?}");
        daemon.terminate().await
    })
    .await
}

fn has_all_headers(record: &Record) -> Result<()> {
    let event = value(record)?;
    let time = &event["clusterTime"]["$timestamp"];
    let (db, coll) = (&event["ns"]["db"], &event["ns"]["coll"]);
    let expected = [
        ("millrace.order", event["_id"]["_data"].as_str().context("a token")?.to_owned()),
        ("millrace.operation", event["operationType"].as_str().context("an operation")?.to_owned()),
        (
            "millrace.namespace",
            format!("{}.{}", db.as_str().unwrap_or_default(), coll.as_str().unwrap_or_default()),
        ),
        ("millrace.cluster_time", format!("{}:{}", time["t"], time["i"])),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), Some(value.into_bytes())));
    ensure!(record.headers == expected, "{:?}", record.headers);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn values_tombstones_and_documents_that_were_looked_up_too_late_are_as_the_settings_say() -> Result<()>
{
    Scene::play(servers::shared().await?, "values", async |scene| {
        three_changes(scene).await?;
        let lookup = |what: &str| format!("full_document = \"updateLookup\"\nnull_lookup = \"{what}\"");
        let style = |what: &str| format!("json_style = \"{what}\"");
        let sources = [
            ("document", "value = \"document\"".to_owned()),
            ("silent", "value = \"document\"\ntombstones = false\nheaders = \"none\"".to_owned()),
            ("debezium", "value = \"debezium\"\ndebezium_name = \"logical\"".to_owned()),
            ("keep", lookup("keep")),
            ("drop", lookup("drop")),
            ("delta", lookup("delta")),
            ("canonical", style("canonical")),
            ("relaxed", style("relaxed")),
            ("simplified", style("simplified")),
        ]
        .map(|(name, lines)| (name, source(scene, name, &lines)));
        let mut daemon = caught_up(scene, &sources).await?;
        let document = read(scene, "document").await?;
        ensure!(operations(&document)? == ["document", "tombstone"], "{document:?}");
        let has_order = |record: &Record| record.header("millrace.order").is_some();
        ensure!(document.iter().all(|record| has_order(record) && record.headers.len() == 1), "{document:?}");
        let silent = read(scene, "silent").await?;
        ensure!(operations(&silent)? == ["document"] && silent[0].headers.is_empty(), "{silent:?}");
        looked_up(scene).await?;
        styles(scene).await?;
        debezium(scene).await?;
        daemon.terminate().await
    })
    .await
}

async fn looked_up(scene: &Scene) -> Result<()> {
    let keep = read(scene, "keep").await?;
    ensure!(operations(&keep)? == ["insert", "update", "delete"], "{keep:?}");
    ensure!(value(&keep[1])?.get("fullDocument") == Some(&Value::Null), "{keep:?}");
    let drop = read(scene, "drop").await?;
    ensure!(operations(&drop)? == ["insert", "delete"], "{drop:?}");
    let delta = read(scene, "delta").await?;
    ensure!(operations(&delta)? == ["insert", "update", "delete"], "{delta:?}");
    let update = value(&delta[1])?;
    ensure!(update.get("fullDocument").is_none(), "{update}");
    ensure!(update["updateDescription"]["updatedFields"] == json!({ "n": 1 }), "{update}");
    ensure!(delta[1].timestamp == keep[1].timestamp, "{delta:?}");
    Ok(())
}

async fn styles(scene: &Scene) -> Result<()> {
    let text = "2024-02-29T12:34:56.789Z";
    for (style, number, date) in [
        ("canonical", json!({ "$numberLong": "7" }), json!({ "$date": { "$numberLong": "1709210096789" } })),
        ("relaxed", json!(7), json!({ "$date": text })),
        ("simplified", json!(7), json!(text)),
    ] {
        let records = read(scene, style).await?;
        let document = value(records.first().context("a record")?)?["fullDocument"].clone();
        ensure!(document["customer"]["id"] == number && document["at"] == date, "{style}: {document}");
    }
    Ok(())
}

async fn debezium(scene: &Scene) -> Result<()> {
    let records = read(scene, "debezium").await?;
    ensure!(operations(&records)? == ["c", "u", "d", "tombstone"], "{records:?}");
    for record in &records {
        ensure!(key(record)? == r#"{"id":"\"a\""}"#, "{record:?}");
        ensure!(record.header("millrace.order").is_some(), "{record:?}");
        let Some(_) = record.value else { continue };
        let envelope = value(record)?;
        let source = &envelope["source"];
        for (name, expected) in [
            ("connector", json!("mongodb")),
            ("name", json!("logical")),
            ("snapshot", json!("false")),
            ("db", json!(scene.pair.database)),
            ("collection", json!("c")),
            ("ts_ms", json!(record.timestamp)),
        ] {
            ensure!(source[name] == expected, "{name}: {envelope}");
        }
        ensure!(source["wallTime"].is_i64() && envelope["ts_ms"].is_i64(), "{envelope}");
        ensure!(envelope["before"].is_null() && envelope["transaction"].is_null(), "{envelope}");
    }
    let after: Value = serde_json::from_str(value(&records[0])?["after"].as_str().context("a text")?)?;
    ensure!(after["_id"] == "a" && after["customer"]["id"]["$numberLong"] == "7", "{after}");
    let update = value(&records[1])?;
    ensure!(update["updateDescription"]["updatedFields"] == r#"{"n": 1}"#, "{update}");
    // It was looked up when it was gone.
    ensure!(update["after"].is_null() && value(&records[2])?["after"].is_null(), "{update}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_created_routed_and_partitioned_as_the_settings_say() -> Result<()> {
    Scene::play(servers::shared().await?, "topics", async |scene| {
        let database = &scene.pair.database;
        let collections = ["one", "two", "three", "4", "5", "6", "7", "8", "9", "10", "11", "12"];
        for collection in collections {
            for id in [1, 2, 3] {
                scene.original(collection).insert_one(rawdoc! { "_id": id }).await?;
            }
        }
        let spread = "topic = \"{db}.spread\"\npartition_by = \"namespace\"\nformat = \"bson\"\n\
                      [sources.shop.topic_creation]\npartitions = 5\n\
                      [sources.shop.topic_creation.config]\n\"cleanup.policy\" = \"compact\"\n";
        let routed = format!(
            "topic = \"{{db}}.routed.rest\"\n\
             [[sources.shop.route]]\nmatch = \"{database}.one\"\ntopic = \"{{db}}.routed.first\"\n\
             [[sources.shop.route]]\nmatch = '/{database}\\.t.*/'\ntopic = \"{{db}}.routed.t[.{{coll}}]\"\n"
        );
        let there = "topic = \"{db}.there\"\n[sources.shop.topic_creation]\nenabled = false\n";
        servers::create_topic(&scene.addresses.kafka, &format!("{database}.there"), 1).await?;
        let sources = [("spread", spread), ("routed", &routed), ("there", there)]
            .map(|(name, lines)| (name, named(name, &scene.source(lines))));
        let mut daemon = caught_up(scene, &sources).await?;
        daemon.terminate().await?;
        for (topic, count) in [
            ("routed.first", 3),
            ("routed.t.two", 3),
            ("routed.t.three", 3),
            ("routed.rest", 27),
            ("there", 36),
        ] {
            let records = read(scene, topic).await?;
            ensure!(records.len() == count, "{topic}: {} records", records.len());
        }
        is_by_namespace(&read(scene, "spread").await?, collections.len())?;
        let spread = format!("{database}.spread");
        let policy = servers::topic_property(&scene.addresses.kafka, &spread, "cleanup.policy").await?;
        ensure!(policy.as_deref() == Some("compact"), "{policy:?}");
        Ok(())
    })
    .await
}

/// Fails unless each namespace's records lie in one partition, and not all in the same.
fn is_by_namespace(records: &[Record], namespaces: usize) -> Result<()> {
    let mut partitions = std::collections::BTreeMap::new();
    for record in records {
        let event = RawDocument::from_bytes(record.value.as_deref().context("a value")?)?;
        let coll = event.get_document("ns")?.get_str("coll")?.to_owned();
        let partition = *partitions.entry(coll).or_insert(record.partition);
        ensure!(partition == record.partition, "{record:?}");
    }
    let mut used: Vec<_> = partitions.values().collect();
    used.sort_unstable();
    used.dedup();
    ensure!(
        partitions.len() == namespaces && used.len() > 1 && used.iter().all(|partition| **partition < 5),
        "{partitions:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_there_and_may_not_be_created_stops_the_source_which_names_it() -> Result<()> {
    Scene::play(servers::shared().await?, "no_topic", async |scene| {
        scene.original("c").insert_one(rawdoc! { "_id": 1 }).await?;
        let lines = "[sources.shop.topic_creation]\nenabled = false\n";
        let mut daemon = scene.daemon(&scene.config(&scene.source(lines)))?;
        daemon.start()?;
        let status = daemon.exit(SOON).await?;
        ensure!(status.code() == Some(1), "{status}");
        let topic = format!("topic {}.c does not exist", scene.pair.database);
        says(&daemon.errors()?.join("\n"), &[&topic, "topic_creation.enabled"])
    })
    .await
}
