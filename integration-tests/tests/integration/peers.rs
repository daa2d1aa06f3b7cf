//! Side by side with the connectors that millrace replaces: both watch one database under a random load, millrace with the
//! imported configuration, and their topics have to be the same. Only with `MILLRACE_TEST_PEERS=1`, because the peers take a JVM each, time and memory.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use bson::{doc, rawdoc};
use integration_tests::{
    daemon::{self, Daemon},
    ledger,
    load::Types,
    scene::Scene,
    servers::{self, Connect},
    topic::{self, Record},
    wait,
};
use serde_json::{Value, json};

/// Longest that a peer may take to write what is there.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// The connector's name, which becomes the source's.
const SOURCE: &str = "connector";

/// Records by collection's topic and key, as texts, with their partitions, in order.
type Histories = BTreeMap<(String, String), Vec<(i32, String)>>;

#[tokio::test(flavor = "multi_thread")]
async fn the_official_connector_and_millrace_write_the_same_events() -> Result<()> {
    side_by_side(async |scene, connect| {
        let start = ledger::now(&scene.pair.client).await?;
        let keys = json!({
            "connector.class": "com.mongodb.kafka.connect.MongoSourceConnector",
            "connection.uri": scene.addresses.mongodb_uri,
            "database": scene.pair.database,
            "topic.prefix": prefix(scene),
            "output.format.key": "json",
            "output.format.value": "json",
            "change.stream.full.document": "whenAvailable",
            "change.stream.full.document.before.change": "whenAvailable",
            "startup.mode": "timestamp",
            "startup.mode.timestamp.start.at.operation.time":
                json!({ "$timestamp": { "t": start.time, "i": start.increment + 1 } }).to_string(),
        });
        connect.run(&scene.name, &keys).await?;
        let mut daemon = imported(scene, connect, &keys).await?;
        write(scene, Types::Strict).await?;
        change_collections(scene).await?;
        let ours = ours(scene, &daemon).await?;
        let theirs = theirs(scene, connect, |_| true, ours.len()).await?;
        daemon.terminate().await?;
        let theirs = histories(theirs, &prefix(scene), |text| Ok(without_bare_words(text)))?;
        compare(&histories(ours, &own_prefix(scene), |text| Ok(text.to_owned()))?, &theirs)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn debezium_and_millrace_write_the_same_envelopes() -> Result<()> {
    side_by_side(async |scene, connect| {
        let converter = "org.apache.kafka.connect.json.JsonConverter";
        let keys = json!({
            "connector.class": "io.debezium.connector.mongodb.MongoDbConnector",
            "mongodb.connection.string": scene.addresses.mongodb_uri,
            "topic.prefix": prefix(scene),
            "database.include.list": scene.pair.database,
            "capture.mode": "change_streams_update_full_with_pre_image",
            "capture.mode.full.update.type": "post_image",
            "snapshot.mode": "no_data",
            "key.converter": converter, "key.converter.schemas.enable": "false",
            "value.converter": converter, "value.converter.schemas.enable": "false",
        });
        connect.run(&scene.name, &keys).await?;
        // It cannot be told where to start: so it has started when it sees something.
        let probe = format!("{}.{}.probe", prefix(scene), scene.pair.database);
        wait::until("Debezium to see a probe", PATIENCE, async || {
            scene.original("probe").insert_one(rawdoc! {}).await?;
            Ok(servers::topic_names(&scene.addresses.kafka).await?.contains(&probe).then_some(()))
        })
        .await?;
        let mut daemon = imported(scene, connect, &keys).await?;
        write(scene, Types::Strict).await?;
        let ours = ours(scene, &daemon).await?;
        let theirs = theirs(scene, connect, |record| !record.topic.ends_with(".probe"), ours.len()).await?;
        daemon.terminate().await?;
        let theirs = histories(theirs, &prefix(scene), of_the_change)?;
        compare(&histories(ours, &own_prefix(scene), of_the_change)?, &theirs)
    })
    .await
}

/// Runs `body` with a worker and a database whose collections keep images, or says why not.
pub(super) async fn side_by_side(body: impl AsyncFnOnce(&Scene, &Connect) -> Result<()>) -> Result<()> {
    if std::env::var("MILLRACE_TEST_PEERS").is_ok_and(|wanted| wanted == "1") {
        let _alone = servers::alone().await;
        return Scene::play(servers::shared().await?, "peers", async |scene| {
            let images = doc! { "enabled": true };
            for name in ["one", "two"] {
                let database = scene.pair.client.database(&scene.pair.database);
                database
                    .run_command(doc! { "create": name, "changeStreamPreAndPostImages": &images })
                    .await?;
            }
            let connect = Connect::start(&scene.addresses.kafka).await?;
            let outcome = body(scene, &connect).await;
            connect.remove(&scene.name).await?;
            remove_topics(scene).await?;
            outcome.with_context(|| connect.tail())
        })
        .await;
    }
    println!("skipped: MILLRACE_TEST_PEERS=1 runs it");
    Ok(())
}

async fn remove_topics(scene: &Scene) -> Result<()> {
    for prefix in [prefix(scene), own_prefix(scene)] {
        servers::delete_topics(&scene.addresses.kafka, &topics(scene, &prefix).await?).await?;
    }
    Ok(())
}

pub(super) async fn topics(scene: &Scene, prefix: &str) -> Result<Vec<String>> {
    let mut names = servers::topic_names(&scene.addresses.kafka).await?;
    names.retain(|name| name.starts_with(&format!("{prefix}.")));
    Ok(names)
}

/// What the peer's topics begin with.
pub(super) fn prefix(scene: &Scene) -> String {
    format!("peer_of_{}", scene.name)
}

/// What millrace's topics begin with.
pub(super) fn own_prefix(scene: &Scene) -> String {
    format!("own_of_{}", scene.name)
}

/// A daemon with the connector's configuration, which writes to topics of its own.
async fn imported(scene: &Scene, connect: &Connect, keys: &Value) -> Result<Daemon> {
    let (connector, worker) = (scene.path("connector.json"), connect.properties());
    std::fs::write(&connector, json!({ "name": SOURCE, "config": keys }).to_string())?;
    let text = |path: &Path| path.to_str().map(str::to_owned).context("a path that is no text");
    let (connector, worker) = (text(&connector)?, text(&worker)?);
    let arguments = ["import", "--worker", &worker, "--name", &scene.name, &connector];
    let (code, toml, remarks) = daemon::run(&arguments).await?;
    println!("{remarks}");
    ensure!(code == Some(0), "{code:?} {toml}");
    let theirs = format!("topic = \"{}.", prefix(scene));
    ensure!(toml.contains(&theirs), "{toml}");
    let mut daemon = scene.daemon(&toml.replace(&theirs, &format!("topic = \"{}.", own_prefix(scene))))?;
    daemon.start_ready().await?;
    Ok(daemon)
}

/// A random load; `MILLRACE_TEST_SEED` repeats one.
pub(super) async fn write(scene: &Scene, types: Types) -> Result<()> {
    let seed = match std::env::var("MILLRACE_TEST_SEED") {
        Ok(seed) => seed.parse()?,
        Err(_) => u64::from(scene.pair.begun.time),
    };
    println!("seed {seed}");
    let load = scene.load(|plan| (plan.seed, plan.types, plan.operations) = (seed, types, 3_000));
    let written = load.finish().await?;
    ensure!(written.writes() > 3_000, "{written:?}");
    Ok(())
}

/// Renames, drops and makes again.
async fn change_collections(scene: &Scene) -> Result<()> {
    let name = |collection: &str| format!("{}.{collection}", scene.pair.database);
    let rename = doc! { "renameCollection": name("one"), "to": name("three") };
    scene.pair.client.database("admin").run_command(rename).await?;
    scene.original("three").insert_one(rawdoc! { "_id": "renamed" }).await?;
    scene.original("two").drop().await?;
    scene.original("two").insert_one(rawdoc! { "_id": "made again" }).await?;
    scene.original("two").update_one(doc! {}, doc! { "$set": { "without": "images" } }).await?;
    scene.original("two").delete_one(doc! {}).await?;
    Ok(())
}

/// All that millrace has to write.
async fn ours(scene: &Scene, daemon: &Daemon) -> Result<Vec<Record>> {
    daemon.passed(SOURCE, ledger::now(&scene.pair.client).await?, PATIENCE).await?;
    let topics = topics(scene, &own_prefix(scene)).await?;
    let mut records = topic::read(&scene.addresses.kafka, topics).await?;
    records.retain(|record| !record.topic.ends_with(".probe"));
    ensure!(records.len() > 3_000, "{} records", records.len());
    Ok(records)
}

/// What the peer has written, once there are as many records as of ours, or no more come.
async fn theirs(
    scene: &Scene,
    connect: &Connect,
    counts: impl Fn(&Record) -> bool,
    count: usize,
) -> Result<Vec<Record>> {
    let mut found = Vec::new();
    let all = wait::until("the peer to write all", PATIENCE, async || {
        let topics = topics(scene, &prefix(scene)).await?;
        found = topic::read(&scene.addresses.kafka, topics).await?;
        found.retain(|record| counts(record));
        ensure!(found.len() >= count, "{} of {count} records", found.len());
        Ok(Some(()))
    });
    if let Err(error) = all.await {
        println!("{error:#}; comparing all the same\n{}", connect.tail());
    }
    Ok(found)
}

fn histories(
    records: Vec<Record>,
    prefix: &str,
    comparable: impl Fn(&str) -> Result<String>,
) -> Result<Histories> {
    let mut histories = Histories::new();
    for record in records {
        let topic = record.topic.strip_prefix(prefix).unwrap_or(&record.topic).to_owned();
        let key = String::from_utf8(record.key.unwrap_or_default())?;
        let value = match record.value {
            Some(value) => comparable(&String::from_utf8(value)?)?,
            None => "(tombstone)".to_owned(),
        };
        histories.entry((topic, without_bare_words(&key))).or_default().push((record.partition, value));
    }
    Ok(histories)
}

/// Fails with the first difference and how many there are.
fn compare(ours: &Histories, theirs: &Histories) -> Result<()> {
    let mut differences = Vec::new();
    for (place @ (topic, key), history) in theirs {
        let Some(own) = ours.get(place) else {
            differences.push(format!("{topic} lacks the key {key}, of which there is {history:?}"));
            continue;
        };
        let pair = own.iter().zip(history).find(|(own, their)| own != their);
        if let Some((own, their)) = pair {
            differences.push(format!("{topic} {key}:\n  ours {own:?}\ntheirs {their:?}"));
        } else if own.len() != history.len() {
            differences.push(format!("{topic} {key}: {} records, theirs are {}", own.len(), history.len()));
        }
    }
    for ((topic, key), history) in ours.iter().filter(|(place, _)| !theirs.contains_key(place)) {
        differences.push(format!("{topic} has the key {key} that the peer has not: {history:?}"));
    }
    let records: usize = theirs.values().map(Vec::len).sum();
    println!("{records} records of {} keys compared", theirs.len());
    ensure!(records > 3_000, "there is not much to compare");
    match differences.first() {
        None => Ok(()),
        Some(_) => bail!(
            "{} differences:\n{}",
            differences.len(),
            differences[..differences.len().min(5)].join("\n")
        ),
    }
}

/// An envelope without the times at which a connector handled it, and without the connector's own version.
fn of_the_change(envelope: &str) -> Result<String> {
    let mut envelope: Value = serde_json::from_str(envelope)?;
    let members = envelope.as_object_mut().context("an envelope is an object")?;
    for time in ["ts_ms", "ts_us", "ts_ns"] {
        members.remove(time);
    }
    for image in ["before", "after"] {
        if let Some(Value::String(text)) = members.get_mut(image) {
            *text = without_bare_words(text);
        }
    }
    if let Some(Value::String(text)) = envelope.pointer_mut("/updateDescription/updatedFields") {
        *text = without_bare_words(text);
    }
    Ok(envelope.to_string())
}

/// The official connector and Debezium write words into JSON that it does not have; ours are wrappers. Only words outside
/// of quoted texts are meant.
fn without_bare_words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut is_quoted) = (text, false);
    while let Some(first) = rest.chars().next() {
        let word =
            ["NaN", "Infinity", "-Infinity"].into_iter().find(|word| !is_quoted && rest.starts_with(word));
        let length = match (word, first) {
            (Some(word), _) => {
                out.push_str(&format!("{{\"$numberDouble\": \"{word}\"}}"));
                rest = &rest[word.len()..];
                continue;
            }
            (None, '\\') => 2,
            (None, '"') => {
                is_quoted = !is_quoted;
                1
            }
            (None, first) => first.len_utf8(),
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out
}

#[test]
fn only_bare_words_are_replaced() {
    let text = r#"{"NaN": NaN, "a\"NaN": "Infinity", "b": [-Infinity, Infinity]}"#;
    let expected = concat!(
        r#"{"NaN": {"$numberDouble": "NaN"}, "a\"NaN": "Infinity", "#,
        r#""b": [{"$numberDouble": "-Infinity"}, {"$numberDouble": "Infinity"}]}"#
    );
    assert_eq!(without_bare_words(text), expected);
}
