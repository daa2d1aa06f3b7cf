//! One half of a pipeline is millrace, the other a connector that it replaces: what the one writes the other has to read,
//! and the copy has to be the original. Only with `MILLRACE_TEST_PEERS=1`, as [`peers`](super::peers).
//!
//! The variants of a test run at once, on one load, each with topics and a copy of its own.

use anyhow::{Context, Result, bail, ensure};
use bson::{Bson, Document, RawDocumentBuf, doc, rawdoc};
use futures_util::TryStreamExt;
use integration_tests::{
    compare, daemon,
    daemon::Daemon,
    ledger,
    load::Types,
    scene::Scene,
    servers::{self, Connect},
    topic, wait,
};
use mongodb::Collection;
use serde_json::{Value, json};

use super::peers::{PATIENCE, own_prefix, prefix, side_by_side, write};

const COLLECTIONS: [&str; 2] = ["one", "two"];
const TEXT: &str = "org.apache.kafka.connect.storage.StringConverter";
const BYTES: &str = "org.apache.kafka.connect.converters.ByteArrayConverter";
const JSON: &str = "org.apache.kafka.connect.json.JsonConverter";

/// How equal a copy has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Equality {
    /// Byte for byte.
    Bytes,
    /// Byte for byte, but that an int64 may have become an int32 of the same value.
    IntegersByValue,
}

/// One way to write topics and to read them.
#[derive(Debug)]
struct Variant {
    name: &'static str,
    /// What the source connector has beside what all have.
    source: Value,
    /// What the official sink connector, that is imported or run, has beside what all have.
    sink: Value,
    equality: Equality,
}

#[tokio::test(flavor = "multi_thread")]
async fn sinks_copy_from_topics_of_the_official_source_connector() -> Result<()> {
    let lookup = "updateLookup";
    let text = json!({ "key.converter": TEXT, "value.converter": TEXT });
    let bytes = json!({ "key.converter": BYTES, "value.converter": BYTES });
    let format = |name: &str| json!({ "output.format.key": name, "output.format.value": name });
    let extended = json!({
        "output.json.formatter": "com.mongodb.kafka.connect.source.json.formatter.ExtendedJson",
    });
    let mut variants = Vec::new();
    for (names, format, converters) in [
        (["strict", "strict_delta"], format("json"), &text),
        (["extended", "extended_delta"], merged(&[&format("json"), &extended]), &text),
        (["bson", "bson_delta"], format("bson"), &bytes),
    ] {
        for (name, full_document) in names.into_iter().zip([lookup, "default"]) {
            let full_document = json!({ "change.stream.full.document": full_document });
            variants.push(Variant {
                name,
                source: merged(&[&format, converters, &full_document]),
                sink: merged(&[converters, &change_streams()]),
                equality: Equality::Bytes,
            });
        }
    }
    side_by_side(async |scene, connect| {
        let start = ledger::now(&scene.pair.client).await?;
        for variant in &variants {
            let keys = json!({
                "connector.class": "com.mongodb.kafka.connect.MongoSourceConnector",
                "connection.uri": scene.addresses.mongodb_uri,
                "database": scene.pair.database,
                "topic.prefix": format!("{}.{}", prefix(scene), variant.name),
                "startup.mode": "timestamp",
                "startup.mode.timestamp.start.at.operation.time":
                    json!({ "$timestamp": { "t": start.time, "i": start.increment + 1 } }).to_string(),
            });
            connect.run(&connector(scene, variant), &merged(&[&keys, &variant.source])).await?;
        }
        read_by_millrace(scene, connect, &variants).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn sinks_copy_from_topics_of_debezium() -> Result<()> {
    let mut variants = Vec::new();
    for (names, mode) in [
        (["lookup", "lookup_schemas"], "change_streams_update_full"),
        (["delta", "delta_schemas"], "change_streams"),
    ] {
        for (name, schemas) in names.into_iter().zip(["false", "true"]) {
            let converters = json!({
                "key.converter": JSON, "key.converter.schemas.enable": schemas,
                "value.converter": JSON, "value.converter.schemas.enable": schemas,
            });
            let sink = json!({
                "change.data.capture.handler":
                    "com.mongodb.kafka.connect.sink.cdc.debezium.mongodb.ChangeStreamHandler",
                "namespace.mapper": "com.mongodb.kafka.connect.sink.namespace.mapping.FieldPathNamespaceMapper",
                "namespace.mapper.value.collection.field": "source.collection",
            });
            variants.push(Variant {
                name,
                source: merged(&[&converters, &json!({ "capture.mode": mode })]),
                sink: merged(&[&converters, &sink]),
                // `updatedFields` is relaxed JSON, which has one kind of whole number.
                equality: match mode {
                    "change_streams" => Equality::IntegersByValue,
                    _ => Equality::Bytes,
                },
            });
        }
    }
    side_by_side(async |scene, connect| {
        for variant in &variants {
            let prefix = format!("{}.{}", prefix(scene), variant.name);
            let keys = json!({
                "connector.class": "io.debezium.connector.mongodb.MongoDbConnector",
                "mongodb.connection.string": scene.addresses.mongodb_uri,
                "topic.prefix": prefix,
                // Without the anchors it takes the copies too, whose names begin alike.
                "database.include.list": format!("^{}$", scene.pair.database),
                "snapshot.mode": "no_data",
            });
            connect.run(&connector(scene, variant), &merged(&[&keys, &variant.source])).await?;
            // It cannot be told where to start: so it has started when it sees something.
            let probe = format!("{prefix}.{}.probe", scene.pair.database);
            wait::until("Debezium to see a probe", PATIENCE, async || {
                scene.original("probe").insert_one(rawdoc! {}).await?;
                Ok(servers::topic_names(&scene.addresses.kafka).await?.contains(&probe).then_some(()))
            })
            .await?;
        }
        read_by_millrace(scene, connect, &variants).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_sink_connector_copies_from_topics_of_sources() -> Result<()> {
    let variants = [("json", TEXT), ("bson", BYTES)].map(|(name, converter)| Variant {
        name,
        source: Value::Null,
        sink: merged(&[
            &json!({ "key.converter": converter, "value.converter": converter }),
            &change_streams(),
        ]),
        equality: Equality::Bytes,
    });
    side_by_side(async |scene, connect| {
        let begun = scene.pair.begun;
        let sources = variants.iter().map(|variant| {
            format!(
                "[sources.{name}]\nwatch = [\"{}.*\"]\nstart = \"{}:{}\"\nformat = \"{name}\"\n\
                 full_document = \"updateLookup\"\ntopic = \"{}.{name}.{{db}}.{{coll}}\"\n",
                scene.pair.database,
                begun.time,
                begun.increment,
                own_prefix(scene),
                name = variant.name,
            )
        });
        let mut daemon = scene.daemon(&scene.config(&sources.collect::<String>()))?;
        daemon.start_ready().await?;
        write(scene, Types::Strict).await?;
        let end = ledger::now(&scene.pair.client).await?;
        for variant in &variants {
            daemon.passed(variant.name, end, PATIENCE).await?;
            let letters = json!({
                "errors.tolerance": "all",
                "errors.deadletterqueue.topic.name": dead_letters(scene, variant),
                "errors.deadletterqueue.topic.replication.factor": 1,
            });
            let keys = merged(&[&sink_keys(scene, variant, &own_prefix(scene)), &letters]);
            connect.run(&connector(scene, variant), &keys).await?;
        }
        let mut outcome = copies_are_equal(scene, &variants).await;
        for variant in &variants {
            outcome = outcome.and(only_lost_look_ups(scene, variant).await);
        }
        daemon.terminate().await?;
        finish(scene, connect, &variants, outcome).await
    })
    .await
}

/// Writes a load, lets imported sinks read the peer's topics, and compares.
async fn read_by_millrace(scene: &Scene, connect: &Connect, variants: &[Variant]) -> Result<()> {
    let mut daemon = imported(scene, connect, variants).await?;
    write(scene, Types::Strict).await?;
    let outcome = copies_are_equal(scene, variants).await;
    if outcome.is_err() {
        println!("{}", daemon.tail());
    }
    let ended = daemon.terminate().await;
    finish(scene, connect, variants, outcome.and(ended)).await
}

/// Where the official sink connector puts what it refuses.
fn dead_letters(scene: &Scene, variant: &Variant) -> String {
    format!("{}.{}.refused", own_prefix(scene), variant.name)
}

/// The official sink connector refuses an update whose document was gone when it was looked up. Fails if it has refused
/// anything else.
async fn only_lost_look_ups(scene: &Scene, variant: &Variant) -> Result<()> {
    let topic = dead_letters(scene, variant);
    if !servers::topic_names(&scene.addresses.kafka).await?.contains(&topic) {
        return Ok(());
    }
    let letters = topic::read(&scene.addresses.kafka, vec![topic]).await?;
    println!("{}: {} look-ups refused by the connector", variant.name, letters.len());
    for letter in letters {
        let value = letter.value.context("a tombstone was refused")?;
        let event: Document = match variant.name {
            "bson" => bson::deserialize_from_slice(&value)?,
            _ => {
                let event: Value = serde_json::from_slice(&value)?;
                bson::serialize_to_document(&event)?
            }
        };
        let is_lost = event.get_str("operationType").is_ok_and(|kind| kind == "update")
            && event.get("fullDocument") == Some(&Bson::Null);
        ensure!(is_lost, "{}: the connector refused {event}", variant.name);
    }
    Ok(())
}

/// Removes what is there of all variants.
async fn finish(scene: &Scene, connect: &Connect, variants: &[Variant], outcome: Result<()>) -> Result<()> {
    for variant in variants {
        connect.remove(&connector(scene, variant)).await?;
        scene.pair.client.database(&copy(scene, variant)).drop().await?;
    }
    outcome
}

/// A daemon with the sinks of the official sink connector's configurations.
async fn imported(scene: &Scene, connect: &Connect, variants: &[Variant]) -> Result<Daemon> {
    let text = |path: std::path::PathBuf| path.to_str().map(str::to_owned).context("a path that is no text");
    let mut arguments = vec!["import".to_owned(), "--worker".to_owned(), text(connect.properties())?];
    arguments.extend(["--name".to_owned(), scene.name.clone()]);
    for variant in variants {
        let path = scene.path(&format!("{}.json", variant.name));
        let keys = sink_keys(scene, variant, &prefix(scene));
        std::fs::write(&path, json!({ "name": variant.name, "config": keys }).to_string())?;
        arguments.push(text(path)?);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (code, toml, remarks) = daemon::run(&arguments).await?;
    println!("{remarks}\n{toml}");
    ensure!(code == Some(0), "import said {code:?}");
    let mut daemon = scene.daemon(&toml)?;
    daemon.start_ready().await?;
    Ok(daemon)
}

/// The official sink connector, from the topics of a variant into its copy.
fn sink_keys(scene: &Scene, variant: &Variant, prefix: &str) -> Value {
    let keys = json!({
        "connector.class": "com.mongodb.kafka.connect.MongoSinkConnector",
        "connection.uri": scene.addresses.mongodb_uri,
        "topics.regex": format!("{prefix}\\.{}\\..*\\.({})", variant.name, COLLECTIONS.join("|")),
        "database": copy(scene, variant),
    });
    merged(&[&keys, &variant.sink])
}

/// The official sink connector's keys for change events of the official source connector.
fn change_streams() -> Value {
    json!({
        "change.data.capture.handler": "com.mongodb.kafka.connect.sink.cdc.mongodb.ChangeStreamHandler",
        "namespace.mapper": "com.mongodb.kafka.connect.sink.namespace.mapping.FieldPathNamespaceMapper",
        "namespace.mapper.value.collection.field": "ns.coll",
    })
}

/// The connector of a variant.
fn connector(scene: &Scene, variant: &Variant) -> String {
    format!("{}_{}", scene.name, variant.name)
}

/// The database of a variant's copy.
fn copy(scene: &Scene, variant: &Variant) -> String {
    format!("{}_{}", scene.pair.copy, variant.name)
}

fn merged(parts: &[&Value]) -> Value {
    let members = parts.iter().filter_map(|part| part.as_object()).flatten();
    members.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Waits until each variant's copy is the original; an error names all that do not become so.
async fn copies_are_equal(scene: &Scene, variants: &[Variant]) -> Result<()> {
    let mut differences = Vec::new();
    for variant in variants {
        let equal = wait::until("the copy to become equal", PATIENCE, async || {
            let mut count = 0;
            for name in COLLECTIONS {
                let target = scene.pair.client.database(&copy(scene, variant)).collection(name);
                count += equal_count(&scene.original(name), &target, variant.equality).await?;
            }
            Ok(Some(count))
        });
        match equal.await {
            Ok(0) => differences.push(format!("{}: there is nothing to compare", variant.name)),
            Ok(count) => println!("{}: {count} documents equal", variant.name),
            Err(error) => differences.push(format!("{}: {error:#}", variant.name)),
        }
    }
    if differences.is_empty() {
        return Ok(());
    }
    bail!("{}", differences.join("\n"))
}

/// How many documents are equal; an error with the first that is not.
async fn equal_count(
    original: &Collection<RawDocumentBuf>,
    copy: &Collection<RawDocumentBuf>,
    equality: Equality,
) -> Result<u64> {
    if equality == Equality::Bytes {
        let found = compare::collections(original, copy).await?;
        return found.difference.map_or(Ok(found.equal_count), |difference| bail!(difference));
    }
    let (originals, copies) = (with_long_integers(original).await?, with_long_integers(copy).await?);
    for (original, copy) in originals.iter().zip(&copies) {
        let [left, right] = [original, copy].map(bson::serialize_to_vec);
        ensure!(left? == right?, "the original is {original}, the copy {copy}");
    }
    ensure!(originals.len() == copies.len(), "{} documents of {}", copies.len(), originals.len());
    Ok(originals.len() as u64)
}

/// The documents in the order of `_id`, with each int32 as an int64.
async fn with_long_integers(collection: &Collection<RawDocumentBuf>) -> Result<Vec<Document>> {
    let typed = collection.clone_with_type::<Document>();
    let cursor = typed.find(doc! {}).sort(doc! { "_id": 1 }).await?;
    let mut documents: Vec<Document> = cursor.try_collect().await?;
    for document in &mut documents {
        document.iter_mut().for_each(|(_, value)| lengthen(value));
    }
    Ok(documents)
}

fn lengthen(value: &mut Bson) {
    match value {
        Bson::Int32(number) => *value = Bson::Int64(i64::from(*number)),
        Bson::Document(document) => document.iter_mut().for_each(|(_, value)| lengthen(value)),
        Bson::Array(values) => values.iter_mut().for_each(lengthen),
        _ => {}
    }
}
