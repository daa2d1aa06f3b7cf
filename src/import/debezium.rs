//! Debezium's MongoDB source connector.

use super::{
    Half, connect,
    converters::{Converter, converter},
    fields,
    keys::DEBEZIUM,
    properties::{self, Client},
    reader::{self, Reader},
    shell,
    toml::Table,
    topics, watch,
};
use crate::{config, namespace::Pattern};

/// The connector as a source.
pub(super) fn source(reader: &mut Reader<'_>) -> Option<Half> {
    reader.check(DEBEZIUM);
    connect::common(reader);
    let uri = uri(reader);
    let mut table = Table::default();
    let (include, exclude) = watched(reader);
    table.put("watch", include);
    if !exclude.is_empty() {
        table.put("exclude", exclude);
    }
    stream(reader, &mut table);
    record(reader, &mut table);
    snapshot(reader, &mut table);
    errors(reader, &mut table);
    let creation = connect::topic_creation(reader);
    table.put("topic_creation", creation);
    table.put("transform", fields::transforms(reader));
    let kafka = properties::kafka(reader, Client::Producer);
    Some(Half { is_source: true, name: String::new(), uri: uri?, kafka, table })
}

/// The connection string, with user and TLS in it.
fn uri(reader: &mut Reader<'_>) -> Option<String> {
    let mut uri = reader.plain("mongodb.connection.string");
    let (user, password) = (reader.plain("mongodb.user"), reader.plain("mongodb.password"));
    if !user.is_empty()
        && !uri.contains('@')
        && let Some((scheme, rest)) = uri.split_once("://")
    {
        uri = format!("{scheme}://{}:{}@{rest}", percent_encoded(&user), percent_encoded(&password));
        let source = reader.plain("mongodb.authsource");
        if !uri.to_lowercase().contains("authsource=") {
            uri = with_option(&uri, &format!("authSource={source}"));
        }
    }
    if reader.flag("mongodb.ssl.enabled") && !uri.contains("tls=") && !uri.contains("ssl=") {
        uri = with_option(&uri, "tls=true");
    }
    if !reader::is_reference(&uri)
        && let Err(invalid) = config::check_uri(&uri)
    {
        return reader.refuse("mongodb.connection.string", invalid.to_string());
    }
    Some(uri)
}

fn with_option(uri: &str, option: &str) -> String {
    match uri.split_once("://").map_or(uri, |(_, rest)| rest) {
        _ if uri.contains('?') => format!("{uri}&{option}"),
        rest if rest.contains('/') => format!("{uri}?{option}"),
        _ => format!("{uri}/?{option}"),
    }
}

/// References are left alone: what they give has to be encoded already.
fn percent_encoded(text: &str) -> String {
    if reader::is_reference(text) {
        return text.to_owned();
    }
    let encoded = text.bytes().map(|byte| match byte {
        b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    });
    encoded.collect()
}

/// What is watched, and what of it is left out.
fn watched(reader: &mut Reader<'_>) -> (Vec<String>, Vec<String>) {
    let is_literal = reader.word("filters.match.mode") == "literal";
    let target = reader.plain("capture.target");
    let scope = reader.word("capture.scope");
    let databases = patterns(reader, "database.include.list", is_literal);
    let collections = patterns(reader, "collection.include.list", is_literal);
    if !databases.is_empty() && !collections.is_empty() {
        let is_within = |pattern: &String| {
            databases.iter().any(|db| {
                db.strip_suffix('*').is_some_and(|db| !db.starts_with('/') && pattern.starts_with(db))
            })
        };
        if !collections.iter().all(is_within) {
            reader.lack(
                "database.include.list",
                "together with collection.include.list: only the latter is carried over",
            );
        }
    }
    let mut include = if collections.is_empty() { databases } else { collections };
    if include.is_empty() {
        include = match scope.as_str() {
            "database" if !target.is_empty() => vec![watch::all_of(&target)],
            "collection" if !target.is_empty() => match target.split_once('.') {
                Some((db, coll)) => vec![watch::one(db, coll)],
                None => vec![target],
            },
            _ => vec!["*".into()],
        };
    } else if scope != "deployment" && !target.is_empty() {
        let is_within = |pattern: &String| pattern == &target || pattern.starts_with(&format!("{target}."));
        if !include.iter().all(is_within) {
            reader.lack(
                "capture.target",
                "together with lists of what to include: only these are carried over",
            );
        }
    }
    for pattern in &include {
        if let Err(invalid) = Pattern::parse(pattern) {
            reader.lack("collection.include.list", format!("{pattern:?} {invalid}"));
        }
    }
    let mut exclude = patterns(reader, "database.exclude.list", is_literal);
    exclude.extend(patterns(reader, "collection.exclude.list", is_literal));
    (include, exclude)
}

/// The entries of a list as patterns over namespaces. Debezium matches whole names, in any letter case.
fn patterns(reader: &mut Reader<'_>, key: &str, is_literal: bool) -> Vec<String> {
    let of_databases = key.starts_with("database.");
    let mut patterns = Vec::new();
    for entry in reader.list(key) {
        let entry = if is_literal { entry } else { without_anchors(&entry).to_owned() };
        let name = if is_literal { Some(entry.clone()) } else { literal_name(&entry) };
        // No database has a dot in its name, so there it is the operator.
        let name = name.filter(|name| is_literal || !of_databases || !name.contains('.'));
        let pattern = match (name, of_databases) {
            (Some(db), true) => watch::all_of(&db),
            (Some(name), false) => match name.split_once('.') {
                Some((db, coll)) => watch::one(db, coll),
                None => name,
            },
            (None, true) => format!("/(?i)(?:{entry})\\..*/"),
            (None, false) => {
                match entry.strip_suffix("\\..*").or(entry.strip_suffix("[.].*")).and_then(literal_name) {
                    Some(db) if !db.contains('.') => watch::all_of(&db),
                    _ => format!("/(?i){entry}/"),
                }
            }
        };
        match Pattern::parse_exclusion(&pattern) {
            Ok(_) => patterns.push(reader::escaped(&pattern)),
            Err(invalid) => reader.lack(key, format!("{entry:?} {invalid}")),
        }
    }
    patterns
}

/// Names are matched as a whole: an anchor around one says nothing, and one in the middle of a pattern matches nothing.
fn without_anchors(regex: &str) -> &str {
    let regex = regex.strip_prefix('^').unwrap_or(regex);
    regex.strip_suffix('$').filter(|rest| !rest.ends_with('\\')).unwrap_or(regex)
}

/// The name that a regular expression without any operator means; a dot is taken for a dot.
fn literal_name(regex: &str) -> Option<String> {
    let name = regex.replace("\\.", ".").replace("[.]", ".");
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)).then_some(name)
}

fn stream(reader: &mut Reader<'_>, table: &mut Table) {
    let mode = reader.word("capture.mode");
    let has_images = reader.word("capture.mode.full.update.type") == "post_image";
    match mode.contains("update_full") {
        true if has_images => table.put("full_document", "whenAvailable"),
        true => table.put("full_document", "updateLookup"),
        false => reader.note(
            "capture.mode",
            "updates are sent with the document as it is when they are read (\"after\")",
        ),
    }
    if mode.ends_with("with_pre_image") {
        table.put("full_document_before_change", "whenAvailable");
    }
    let mut stages = Vec::new();
    let skipped = reader.list("skipped.operations");
    let skips = |letter: &str| skipped.iter().any(|operation| operation.trim() == letter);
    let mut operations = Vec::new();
    for (letter, names) in [("c", &["insert"][..]), ("u", &["update", "replace"]), ("d", &["delete"])] {
        if skips(letter) {
            operations.extend_from_slice(names);
        }
    }
    if !operations.is_empty() {
        let names: Vec<String> = operations.iter().map(|name| format!("\"{name}\"")).collect();
        stages.push(format!("{{\"$match\": {{\"operationType\": {{\"$nin\": [{}]}}}}}}", names.join(", ")));
    }
    if let Ok(own) = shell::array(reader.text("cursor.pipeline"))
        && own != "[]"
    {
        match config::parse_pipeline(&own) {
            Ok(_) => stages.push(own.trim_start_matches('[').trim_end_matches(']').trim().to_owned()),
            Err(invalid) => {
                reader.refuse::<()>("cursor.pipeline", invalid.to_string());
            }
        }
    }
    if !stages.is_empty() {
        table.put("pipeline", reader::escaped(&format!("[{}]", stages.join(", "))));
    }
    let max_await = reader.number("cursor.max.await.time.ms");
    if max_await > 0 {
        table.put("max_await", format!("{max_await}ms"));
    }
}

fn record(reader: &mut Reader<'_>, table: &mut Table) {
    table.put("value", "debezium");
    let prefix = reader.plain("topic.prefix");
    let delimiter = reader.plain("topic.delimiter");
    for (key, text) in [("topic.prefix", &prefix), ("topic.delimiter", &delimiter)] {
        if !topics::is_legal(text) && text != "." {
            reader.lack(key, topics::NOT_LEGAL);
        }
    }
    table.put("debezium_name", prefix.as_str());
    table.put("topic", format!("{prefix}{delimiter}{{db}}{delimiter}{{coll}}"));
    let strategy = reader.class("topic.naming.strategy");
    if !["", "DefaultTopicNamingStrategy", "SchemaTopicNamingStrategy"].contains(&strategy) {
        reader.lack("topic.naming.strategy", "there are no classes of one's own; see topic and route");
    }
    let (key, value) = (converter(reader, "key.converter"), converter(reader, "value.converter"));
    match (key, value) {
        (Converter::Json { schemas: key }, Converter::Json { schemas }) if key == schemas => {
            table.put_unless(&false, "debezium_schemas", schemas);
        }
        (Converter::Unknown, Converter::Unknown) => {
            table.put("debezium_schemas", true);
            reader
                .note("value.converter", "is not known (see --worker); taken for JsonConverter with schemas");
        }
        _ => reader.lack(
            "value.converter",
            "anything but JsonConverter, alike for key and value, comes with the schema formats",
        ),
    }
    let tombstones = reader.flag("tombstones.on.delete");
    table.put_unless(&true, "tombstones", tombstones);
    table.put("headers", "none");
    table.put("timestamp", "send_time");
    let interval = reader.number("heartbeat.interval.ms");
    let heartbeats = reader.plain("topic.heartbeat.prefix");
    if interval > 0 {
        let topic = format!("{heartbeats}{delimiter}{prefix}");
        table.put(
            "heartbeat",
            Table::of([("interval", format!("{interval}ms").into()), ("topic", topic.into())]),
        );
        reader.note(
            "heartbeat.interval.ms",
            "heartbeats are records of another form: the resume token as the key, no value",
        );
    }
}

fn snapshot(reader: &mut Reader<'_>, table: &mut Table) {
    let mut snapshot = Table::default();
    match reader.word("snapshot.mode").as_str() {
        "no_data" | "never" => {}
        "initial_only" => snapshot.put("mode", "only"),
        "when_needed" => {
            snapshot.put("mode", "initial");
            table.put("on_history_lost", "snapshot");
        }
        mode => {
            snapshot.put("mode", "initial");
            if mode != "initial" {
                reader.lack("snapshot.mode", format!("{mode} is not there; taken for initial"));
            }
        }
    }
    let namespaces = patterns(reader, "snapshot.include.collection.list", false);
    if !namespaces.is_empty() {
        snapshot.put("namespaces", namespaces);
    }
    let threads = reader.number("snapshot.max.threads");
    if reader.given("snapshot.max.threads").is_some() {
        snapshot.put("threads", threads.clamp(1, 64));
    }
    if reader.given("incremental.snapshot.chunk.size").is_some() {
        snapshot.put("range_size", reader.number("incremental.snapshot.chunk.size").max(1));
    }
    table.put("snapshot", snapshot);
    let time = reader.number("capture.start.op.time");
    if time > 0 {
        table.put("start", format!("{}:{}", time >> 32, time & 0xffff_ffff));
    }
    let signals = reader.plain("signal.data.collection");
    if !signals.is_empty() {
        table.put("signal_collection", signals);
        let message =
            "documents that ask for a copy look different: {type: \"snapshot\", namespaces: [\"db.coll\"]}";
        reader.note("signal.data.collection", message);
    }
}

fn errors(reader: &mut Reader<'_>, table: &mut Table) {
    let mut errors = Table::default();
    if reader.word("event.processing.failure.handling.mode") != "fail" {
        errors.put("encoding", "skip");
    }
    if reader.word("cursor.oversize.handling.mode") == "skip" {
        errors.put("event_too_large", "skip");
    }
    // A tolerance of Connect's, not of the connector's: it is for converters, which cannot fail here.
    reader.pass_over("errors.tolerance");
    table.put("errors", errors);
}
