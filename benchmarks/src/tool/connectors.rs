//! A job as connectors in a worker of their own, tuned as their documentation and Kafka's say: large batches, and a
//! producer that waits for them. A worker stays from run to run, so that its JVM is warm.

use anyhow::{Result, bail};
use serde_json::{Value as Json, json};

use super::Tool;
use crate::{
    figure::Side,
    job::{Begin, Job, Sink, Source},
    load::Value,
    measure::{Usage, forget_peak},
    site::Site,
};

const TEXT: &str = "org.apache.kafka.connect.storage.StringConverter";
const JSON: &str = "org.apache.kafka.connect.json.JsonConverter";
/// As many events as the daemon asks for at once.
const BATCH: &str = "5000";

pub(super) async fn start<'a>(site: &'a Site, side: Side, job: &Job) -> Result<Tool<'a>> {
    let connect = site.connect(side).await?;
    forget_peak(connect.id())?;
    let before = Usage::of(connect.id())?;
    let mut names = Vec::new();
    if let Some(sink) = &job.sink {
        let name = site.unique("sink");
        connect.run(&name, &official_sink(site, side, sink)?).await?;
        names.push(name);
    }
    if let Some(source) = &job.source {
        let name = site.unique("source");
        match (side, &source.capture.begin) {
            (Side::Debezium, Begin::At { time, token }) => {
                let partition = json!({ "server_id": source.topic_prefix });
                let offset = json!({ "sec": time.time, "ord": time.increment, "resume_token": token });
                connect.run_from(&name, &debezium(site, source), &partition, &offset).await?;
            }
            (Side::Debezium, Begin::Copy) => connect.run(&name, &debezium(site, source)).await?,
            _ => connect.run(&name, &official(site, source)).await?,
        }
        names.push(name);
    }
    Ok(Tool::Connectors { connect, before, names })
}

fn merged(parts: &[Json]) -> Json {
    let entries = parts.iter().filter_map(Json::as_object).flatten();
    Json::Object(entries.map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// Keys for the producer of either source.
fn producer(source: &Source) -> Json {
    match source.is_prompt {
        true => json!({ "producer.override.linger.ms": "0" }),
        false => json!({ "producer.override.linger.ms": "20", "producer.override.batch.size": "1000000" }),
    }
}

fn official(site: &Site, source: &Source) -> Json {
    let Source { capture, topic_prefix, .. } = source;
    let mut keys = json!({
        "connector.class": "com.mongodb.kafka.connect.MongoSourceConnector",
        "connection.uri": site.mongodb(),
        "database": capture.db,
        "topic.prefix": topic_prefix,
        "output.format.key": "json",
        "output.format.value": "json",
        "key.converter": TEXT,
        "value.converter": TEXT,
        "batch.size": BATCH,
        "poll.max.batch.size": BATCH,
        "producer.override.max.request.size": "16000000",
    });
    if let Some(coll) = &capture.coll {
        keys["collection"] = coll.as_str().into();
    }
    if capture.has_lookup {
        keys["change.stream.full.document"] = "updateLookup".into();
    }
    if capture.has_before {
        keys["change.stream.full.document.before.change"] = "whenAvailable".into();
    }
    match &capture.begin {
        Begin::At { time, .. } => {
            keys["startup.mode"] = "timestamp".into();
            let time = json!({ "$timestamp": { "t": time.time, "i": time.increment } }).to_string();
            keys["startup.mode.timestamp.start.at.operation.time"] = time.into();
        }
        Begin::Copy => keys["startup.mode"] = "copy_existing".into(),
    }
    merged(&[keys, producer(source)])
}

fn debezium(site: &Site, source: &Source) -> Json {
    let Source { capture, topic_prefix, .. } = source;
    let mut keys = json!({
        "connector.class": "io.debezium.connector.mongodb.MongoDbConnector",
        "mongodb.connection.string": site.mongodb(),
        "topic.prefix": topic_prefix,
        "database.include.list": capture.db,
        "snapshot.mode": if capture.begin == Begin::Copy { "initial" } else { "no_data" },
        "capture.mode": match (capture.has_lookup, capture.has_before) {
            (false, false) => "change_streams",
            (true, false) => "change_streams_update_full",
            (false, true) => "change_streams_with_pre_image",
            (true, true) => "change_streams_update_full_with_pre_image",
        },
        "key.converter": JSON, "key.converter.schemas.enable": "false",
        "value.converter": JSON, "value.converter.schemas.enable": "false",
        "max.batch.size": BATCH,
        "max.queue.size": "20000",
        "snapshot.fetch.size": BATCH,
        "snapshot.max.threads": "2",
        // With 1 its queue's reader never lets go of the lock, and nothing gets in.
        "poll.interval.ms": if source.is_prompt { "5" } else { "50" },
        "cursor.max.await.time.ms": "100",
        "producer.override.max.request.size": "16000000",
    });
    if let Some(coll) = &capture.coll {
        keys["collection.include.list"] = format!("{}.{coll}", capture.db).into();
    }
    merged(&[keys, producer(source)])
}

fn official_sink(site: &Site, side: Side, sink: &Sink) -> Result<Json> {
    let Sink { topic, db, coll, value, is_unordered } = sink;
    if side != Side::Official {
        bail!("Debezium's sink reads no events of MongoDB");
    }
    let keys = json!({
        "connector.class": "com.mongodb.kafka.connect.MongoSinkConnector",
        "connection.uri": site.mongodb(),
        "topics": topic,
        "database": db,
        "collection": coll,
        "key.converter": TEXT,
        "value.converter": TEXT,
        "bulk.write.ordered": if *is_unordered { "false" } else { "true" },
        "consumer.override.max.poll.records": BATCH,
        "consumer.override.auto.offset.reset": "earliest",
    });
    Ok(match value {
        Value::Event => {
            let handler = "com.mongodb.kafka.connect.sink.cdc.mongodb.ChangeStreamHandler";
            merged(&[keys, json!({ "change.data.capture.handler": handler })])
        }
        Value::Document => {
            let strategy = "com.mongodb.kafka.connect.sink.processor.id.strategy.ProvidedInKeyStrategy";
            merged(&[keys, json!({ "document.id.strategy": strategy, "delete.on.null.values": "true" })])
        }
    })
}
