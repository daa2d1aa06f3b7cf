//! The official source connector.

use super::{
    Half, connect,
    converters::expect_plain,
    keys::OFFICIAL_SOURCE,
    properties::{self, Client},
    reader::Reader,
    shell,
    toml::Table,
    topics, watch,
};
use crate::config::{self, Start};

/// The longest that the daemon waits for anything: a year.
const MOST_MILLISECONDS: i64 = 366 * 24 * 60 * 60 * 1000;
/// The daemon's own limit.
const MOST_THREADS: i64 = 64;

/// The connector as a source.
pub(super) fn source(reader: &mut Reader<'_>) -> Option<Half> {
    reader.check(OFFICIAL_SOURCE);
    connect::common(reader);
    let mut table = Table::default();
    table.put("watch", watched(reader)?);
    stream(reader, &mut table);
    record(reader, &mut table);
    topics::put(reader, &mut table);
    start(reader, &mut table);
    heartbeat(reader, &mut table);
    let creation = connect::topic_creation(reader);
    table.put("topic_creation", creation);
    let kafka = properties::kafka(reader, Client::Producer);
    errors(reader, &mut table);
    let uri = reader.plain("connection.uri");
    Some(Half { is_source: true, name: String::new(), uri, kafka, table })
}

/// `watch`: one collection, one database or everything.
fn watched(reader: &mut Reader<'_>) -> Option<Vec<String>> {
    let (database, collection) = (reader.plain("database"), reader.plain("collection"));
    if database.is_empty() && !collection.is_empty() {
        return reader.refuse("collection", "needs a database");
    }
    let pattern = match (database.as_str(), collection.as_str()) {
        ("", _) => "*".to_owned(),
        (db, "") => watch::all_of(db),
        (db, coll) => watch::one(db, coll),
    };
    if let Err(invalid) = crate::namespace::Pattern::parse(&pattern) {
        reader.lack(if collection.is_empty() { "database" } else { "collection" }, invalid.to_string());
    }
    Some(vec![pattern])
}

/// How the stream is opened.
fn stream(reader: &mut Reader<'_>, table: &mut Table) {
    let pipeline = pipeline(reader, "pipeline");
    table.put_unless(&"[]".to_owned(), "pipeline", pipeline);
    let whole_document = reader.flag("publish.full.document.only");
    let full_document = reader.text("change.stream.full.document").trim();
    if whole_document && !["", "updateLookup"].contains(&full_document) {
        reader.note(
            "change.stream.full.document",
            "is overridden by publish.full.document.only, as the connector does",
        );
    }
    let full_document = if whole_document { "updateLookup" } else { full_document };
    if !["", "default"].contains(&full_document) {
        table.put("full_document", full_document);
    }
    let before = reader.text("change.stream.full.document.before.change").trim();
    if !["", "default", "off"].contains(&before) {
        table.put("full_document_before_change", before);
    }
    if reader.flag("change.stream.show.expanded.events") {
        table.put("show_expanded_events", true);
    }
    if let Ok(collation) = shell::document(reader.text("collation")) {
        table.put("collation", super::reader::escaped(&collation));
    }
    let batch_size = reader.number("batch.size");
    if batch_size > 0 {
        table.put("batch_size", batch_size);
    }
    let max_await = milliseconds(reader, "poll.await.time.ms");
    table.put("max_await", max_await);
}

/// The stages behind `key`, which has been checked to be an array. Where the daemon would refuse one, so would the server.
fn pipeline(reader: &mut Reader<'_>, key: &str) -> String {
    let text = reader.text(key).trim();
    if text.is_empty() {
        return "[]".into();
    }
    let Ok(array) = shell::array(text) else { return "[]".into() };
    if let Err(invalid) = config::parse_pipeline(&array) {
        reader.refuse::<()>(key, invalid.to_string());
    }
    super::reader::escaped(&array)
}

fn milliseconds(reader: &mut Reader<'_>, key: &str) -> String {
    let milliseconds = reader.number(key);
    if milliseconds > MOST_MILLISECONDS {
        reader.note(key, "is longer than a year, which is the longest that there is");
    }
    format!("{}ms", milliseconds.min(MOST_MILLISECONDS))
}

/// What a record is made of.
fn record(reader: &mut Reader<'_>, table: &mut Table) {
    let whole_document = reader.flag("publish.full.document.only");
    let tombstones = reader.flag("publish.full.document.only.tombstone.on.delete");
    if whole_document {
        table.put("value", "document");
        table.put_unless(&true, "tombstones", tombstones);
        if tombstones {
            let message =
                "deletes make tombstones; drops, renames and other events without a document do not";
            reader.note("publish.full.document.only.tombstone.on.delete", message);
        }
    }
    let value = format(reader, "output.format.value");
    let key = format(reader, "output.format.key");
    expect_plain(reader, "value.converter", value);
    expect_plain(reader, "key.converter", key);
    table.put_unless(&"json", "format", value);
    table.put_unless(&value, "key_format", key);
    let style = match reader.class("output.json.formatter") {
        "ExtendedJson" => "canonical",
        "SimplifiedJson" => "simplified",
        _ => "strict",
    };
    table.put_unless(&"strict", "json_style", style);
    if !reader.flag("change.stream.document.key.as.key") {
        table.put("key", "token");
    }
    // The connector has no headers, and leaves the time to the producer.
    table.put("headers", "none");
    table.put("timestamp", "send_time");
}

fn format(reader: &mut Reader<'_>, key: &str) -> &'static str {
    match reader.word(key).as_str() {
        "bson" => "bson",
        "schema" => {
            reader.lack(key, "schema formats come later");
            "json"
        }
        _ => "json",
    }
}

/// The value of the newer key where it is given, else of the deprecated one.
fn newer(name: &str, reader: &Reader<'_>) -> String {
    let newer = format!("startup.mode.{name}");
    reader.pass_over(name);
    if reader.given(&newer).is_some() { newer } else { name.to_owned() }
}

/// Where the source starts that has no checkpoint.
fn start(reader: &mut Reader<'_>, table: &mut Table) {
    let old = reader.flag("copy.existing");
    let mode = match reader.word("startup.mode").as_str() {
        "" if old => "copy_existing".to_owned(),
        "" => "latest".to_owned(),
        mode => mode.to_owned(),
    };
    let time = operation_time(reader);
    if mode == "timestamp"
        && let Some(time) = time
    {
        table.put("start", time);
    }
    let is_copy = mode == "copy_existing";
    let mut snapshot = Table::default();
    if is_copy {
        snapshot.put("mode", "initial");
    }
    snapshot_keys(reader, &mut snapshot, is_copy);
    table.put("snapshot", snapshot);
}

const TIME: &str = "startup.mode.timestamp.start.at.operation.time";

/// Seconds since the epoch, a time, or a timestamp; `None` for now.
fn operation_time(reader: &mut Reader<'_>) -> Option<String> {
    let text = reader.text(TIME).trim();
    if text.is_empty() {
        return None;
    }
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(format!("{seconds}:0"));
    }
    // Fractions of a second are cut off by both.
    if let Ok(Start::At(time)) = config::parse_start(text)
        && text.contains('T')
    {
        return Some(format!("{}:0", time.seconds));
    }
    let timestamp = shell::parsed(text).ok().and_then(|document| match document.get("$timestamp") {
        Some(bson::Bson::Document(inner)) => {
            let part = |name| inner.get(name).and_then(|part| u32::try_from(number(part)?).ok());
            Some((part("t")?, part("i")?))
        }
        _ => None,
    });
    match timestamp.or_else(|| timestamp_value(text)) {
        Some((seconds, increment)) => Some(format!("{seconds}:{increment}")),
        None => reader
            .refuse(TIME, "is neither seconds, nor a time like \"2026-11-23T03:00:00Z\", nor a $timestamp"),
    }
}

fn number(value: &bson::Bson) -> Option<i64> {
    value.as_i64().or_else(|| value.as_i32().map(i64::from))
}

/// `{"$timestamp": …}`, which reads as a value where it stands in a document.
fn timestamp_value(text: &str) -> Option<(u32, u32)> {
    let document = shell::parsed(&format!("{{\"time\": {text}}}")).ok()?;
    document.get_timestamp("time").ok().map(|time| (time.time, time.increment))
}

fn snapshot_keys(reader: &mut Reader<'_>, table: &mut Table, is_copy: bool) {
    let regex_key = newer("copy.existing.namespace.regex", reader);
    let regex = reader.text(&regex_key).to_owned();
    if !regex.is_empty() {
        // The connector searches; here the whole name has to match.
        let pattern = format!("/.*(?:{regex}).*/");
        match crate::namespace::Pattern::parse(&pattern) {
            Ok(_) => table.put("namespaces", vec![super::reader::escaped(&pattern)]),
            Err(invalid) => reader.lack(&regex_key, invalid.to_string()),
        }
    }
    let pipeline_key = newer("copy.existing.pipeline", reader);
    let own = pipeline(reader, &pipeline_key);
    let of_stream = reader.text("pipeline").trim();
    if is_copy && ![String::new(), "[]".into()].contains(&of_stream.to_owned()) {
        let message = "is for the stream alone here, while the connector applies it to copied documents too; write stages \
                       that do the same to documents into snapshot.pipeline";
        reader.lack("pipeline", message);
    }
    table.put_unless(&"[]".to_owned(), "pipeline", own);
    let threads_key = newer("copy.existing.max.threads", reader);
    let threads = reader.number(&threads_key);
    if threads > 0 {
        table.put("threads", threads.min(MOST_THREADS));
    }
}

fn heartbeat(reader: &mut Reader<'_>, table: &mut Table) {
    let interval = milliseconds(reader, "heartbeat.interval.ms");
    let topic = reader.plain("heartbeat.topic.name");
    if interval == "0ms" {
        return;
    }
    if !topics::is_legal(&topic) {
        reader.lack("heartbeat.topic.name", topics::NOT_LEGAL);
    }
    let mut heartbeat = Table::of([("interval", interval.into())]);
    heartbeat.put_unless(&"__mongodb_heartbeats".to_owned(), "topic", topic);
    table.put("heartbeat", heartbeat);
}

/// One tolerance for what has policies of its own here.
fn errors(reader: &mut Reader<'_>, table: &mut Table) {
    let chosen = |reader: &Reader<'_>, name: &str| {
        let own = format!("mongo.{name}");
        reader.pass_over(name);
        if reader.given(&own).is_some() { own } else { name.to_owned() }
    };
    let tolerance = chosen(reader, "errors.tolerance");
    let topic = chosen(reader, "errors.deadletterqueue.topic.name");
    let is_tolerant = reader.word(&tolerance) == "all";
    let topic_name = reader.plain(&topic);
    if !is_tolerant {
        if !topic_name.is_empty() {
            reader.note(&topic, "not carried over: nothing goes there while errors.tolerance is none");
        }
        return;
    }
    let policy = if topic_name.is_empty() { "skip" } else { "dead_letter" };
    let mut errors = Table::of([
        ("encoding", policy.into()),
        ("record_too_large", policy.into()),
        ("event_too_large", policy.into()),
    ]);
    if !topic_name.is_empty() {
        if !topics::is_legal(&topic_name) {
            reader.lack(&topic, topics::NOT_LEGAL);
        }
        errors.put("dead_letter_topic", topic_name);
    }
    table.put("errors", errors);
    table.put("on_history_lost", "latest");
    let message = "all: events that cannot be sent are passed over, and lost history is logged and counted; what lies \
                   behind one such event is not lost with it, as it is with the connector";
    reader.note(&tolerance, message);
}
