//! One source's table.

use bson::Document;
use mongodb::options::{Collation, ReadPreference};

use super::{
    super::{
        BeforeChange, ErrorPolicy, Errors, FullDocument, Heartbeat, Invalid, LargeEvent, Record, RecordKey,
        RecordValue, Route, Snapshot, Source, Start, Stream, Template, TopicCreation, Topics,
        choice::{KeyFormat, KeyKind, Members, Split},
        units::{parse_duration, parse_start},
    },
    Shared, check_name,
    halves::with_allowed,
    reading::{Reader, Section},
    transform,
};
use crate::{
    json,
    namespace::{LONGEST_TOPIC, Namespace, Pattern, Patterns, is_own_topic, is_topic_byte},
};

/// The server takes 32 bits with a sign.
const MOST: u32 = i32::MAX as u32;
/// Each has a connection.
const MOST_THREADS: u32 = 64;

/// The source, if it is sound.
pub(super) fn source(
    reader: &mut Reader<'_>,
    name: String,
    section: &Section<'_>,
    pipeline: &str,
    shared: &Shared<'_>,
) -> Option<Source> {
    let mongodb = shared.mongodb_of(reader, section);
    let kafka = shared.kafka_of(reader, section);
    let include =
        reader.required_list(section, "watch", "[\"shop.*\"], or [\"*\"] for everything", Pattern::parse);
    let exclude = reader.list(section, "exclude", Pattern::parse_exclusion);
    let record = record(reader, section, pipeline);
    let stream = stream(reader, &name, section);
    let start = reader.parse(section, "start", parse_start);
    let on_history_lost = reader.choice(section, "on_history_lost");
    let oplog_window_warning = reader.parse(section, "oplog_window_warning", parse_duration);
    let signal_collection = optional(reader, section, "signal_collection", Namespace::parse);
    let snapshot = snapshot(reader, &section.section("snapshot"));
    let heartbeat = heartbeat(reader, &section.section("heartbeat"));
    let topics = topics(reader, section);
    let rules = section.sections("transform");
    let transform = rules.iter().filter_map(|rule| transform::rule(reader, rule)).collect();
    let errors = errors(reader, &section.section("errors"));
    let (record, mut stream) = (record?, stream?);
    if record.value != RecordValue::Event && stream.full_document == FullDocument::Default {
        // A value that is (or has) the document needs one for updates too.
        stream.full_document = FullDocument::UpdateLookup;
    }
    let source = Source {
        name,
        mongodb: mongodb?,
        kafka: kafka?,
        watch: Patterns { include, exclude },
        stream,
        start: start?,
        on_history_lost: on_history_lost?,
        oplog_window_warning: oplog_window_warning?,
        snapshot: snapshot?,
        signal_collection: signal_collection?,
        heartbeat: heartbeat?,
        record,
        topics: topics?,
        transform,
        errors: errors?,
    };
    refuse_contradictions(reader, section, &source);
    Some(source)
}

fn stream(reader: &mut Reader<'_>, name: &str, section: &Section<'_>) -> Option<Stream> {
    let pipeline = reader.parse(section, "pipeline", parse_pipeline);
    let full_document = reader.choice(section, "full_document");
    let full_document_before_change = reader.choice(section, "full_document_before_change");
    let require_full_document = reader.list(section, "require_full_document", Pattern::parse);
    let require_before_change = reader.list(section, "require_before_change", Pattern::parse);
    let null_lookup = reader.choice(section, "null_lookup");
    let show_expanded_events = reader.flag(section, "show_expanded_events");
    let collation = optional(reader, section, "collation", parse_collation);
    let comment = optional(reader, section, "comment", |text| Ok(text.to_owned()));
    let read_preference = reader.choice(section, "read_preference");
    let split_large_events = reader.choice(section, "split_large_events");
    let batch_size = reader.integer(section, "batch_size", 1..=MOST);
    let max_await = reader.positive_duration(section, "max_await");
    Some(Stream {
        pipeline: pipeline?,
        full_document: full_document?,
        full_document_before_change: full_document_before_change?,
        require_full_document,
        require_before_change,
        null_lookup: null_lookup?,
        show_expanded_events: show_expanded_events?,
        collation: collation?,
        comment: comment?.unwrap_or_else(|| format!("millrace source {name}")),
        read_preference: members(read_preference?),
        split_large_events: matches!(split_large_events?, Split::Auto),
        batch_size: batch_size?,
        max_await: max_await?,
    })
}

fn members(members: Members) -> Option<ReadPreference> {
    let options = None;
    match members {
        Members::AsInUri => None,
        Members::Primary => Some(ReadPreference::Primary),
        Members::PrimaryPreferred => Some(ReadPreference::PrimaryPreferred { options }),
        Members::Secondary => Some(ReadPreference::Secondary { options }),
        Members::SecondaryPreferred => Some(ReadPreference::SecondaryPreferred { options }),
        Members::Nearest => Some(ReadPreference::Nearest { options }),
    }
}

fn snapshot(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Snapshot> {
    let mode = reader.choice(section, "mode");
    let namespaces = reader.required_list(section, "namespaces", "[\"*\"]", Pattern::parse);
    let pipeline = reader.parse(section, "pipeline", parse_pipeline);
    let threads = reader.integer(section, "threads", 1..=MOST_THREADS);
    let range_size = reader.integer(section, "range_size", 1..=MOST);
    let max_documents_per_second = reader.integer(section, "max_documents_per_second", 0..=MOST);
    Some(Snapshot {
        mode: mode?,
        namespaces,
        pipeline: pipeline?,
        threads: usize::try_from(threads?).expect("a thread count fits"),
        range_size: range_size?,
        max_documents_per_second: Some(max_documents_per_second?).filter(|most| *most > 0),
    })
}

/// The outer `None` is a problem, the inner one a heartbeat that is switched off.
fn heartbeat(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Option<Heartbeat>> {
    let interval = reader.parse(section, "interval", parse_duration);
    let topic = reader.parse(section, "topic", topic_name);
    let (interval, topic) = (interval?, topic?);
    Some((!interval.is_zero()).then_some(Heartbeat { interval, topic }))
}

fn record(reader: &mut Reader<'_>, section: &Section<'_>, pipeline: &str) -> Option<Record> {
    let value = reader.choice(section, "value");
    let format = reader.choice(section, "format");
    let key_format = reader.choice::<KeyFormat>(section, "key_format");
    let json_style = reader.choice(section, "json_style");
    let kind = reader.choice::<KeyKind>(section, "key");
    let fields = reader.list(section, "key_fields", field_path);
    let tombstones = reader.flag(section, "tombstones");
    let headers = reader.choice(section, "headers");
    let timestamp = reader.choice(section, "timestamp");
    let debezium_name = optional(reader, section, "debezium_name", check_name);
    let debezium_schemas = reader.flag(section, "debezium_schemas");
    let key = match kind? {
        KeyKind::DocumentKey => RecordKey::DocumentKey,
        KeyKind::Id => RecordKey::Id,
        KeyKind::Token => RecordKey::Token,
        KeyKind::Fields => RecordKey::Fields(fields),
    };
    if key == RecordKey::Fields(Vec::new()) {
        let message = "is required: the key is \"fields\"; write a list like [\"fullDocument.customer.id\"]";
        reader.missing(&section.path("key_fields"), &section.path("key"), message);
    }
    let format = format?;
    Some(Record {
        value: value?,
        format,
        key_format: match key_format? {
            KeyFormat::Same => format,
            KeyFormat::Own(format) => format,
        },
        json_style: json_style?,
        key,
        tombstones: tombstones?,
        headers: headers?,
        timestamp: timestamp?,
        debezium_name: debezium_name?.unwrap_or_else(|| pipeline.to_owned()),
        debezium_schemas: debezium_schemas?,
    })
}

fn topics(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Topics> {
    let template = reader.parse(section, "topic", topic_template);
    let partition_by = reader.choice(section, "partition_by");
    let routes = section.sections("route").iter().filter_map(|route| self::route(reader, route)).collect();
    let creation = topic_creation(reader, &section.section("topic_creation"));
    Some(Topics { template: template?, routes, partition_by: partition_by?, creation: creation? })
}

fn route(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Route> {
    let matches = reader.required(section, "match", "it says which namespaces", Pattern::parse_exclusion);
    let topic = reader.required(section, "topic", "it says where they go", topic_template);
    Some(Route { matches: matches?, topic: topic? })
}

/// The outer `None` is a problem, the inner one topics that somebody else creates.
fn topic_creation(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Option<TopicCreation>> {
    let enabled = reader.flag(section, "enabled");
    let partitions = reader.integer(section, "partitions", 0..=MOST);
    // Kafka's field has 16 bits with a sign.
    let replication = reader.integer(section, "replication", 0..=32_767);
    let properties = section.section("config");
    let config = properties.keys().filter_map(|name| {
        let value = reader.parse(&properties, name, |text| Ok(text.to_owned()))?;
        Some((name.clone(), value))
    });
    let config = config.collect();
    let creation = TopicCreation {
        partitions: Some(partitions?).filter(|count| *count > 0),
        replication: Some(replication?).filter(|count| *count > 0),
        config,
    };
    Some(enabled?.then_some(creation))
}

fn errors(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Errors> {
    let encoding = reader.choice(section, "encoding");
    let record_too_large = reader.choice(section, "record_too_large");
    let event_too_large = reader.choice(section, "event_too_large");
    let missing_image = reader.choice(section, "missing_image");
    let dead_letter_topic = optional(reader, section, "dead_letter_topic", topic_name);
    let errors = Errors {
        encoding: encoding?,
        record_too_large: record_too_large?,
        event_too_large: event_too_large?,
        missing_image: missing_image?,
        dead_letter_topic: dead_letter_topic?,
    };
    let uses_topic = [errors.encoding, errors.record_too_large, errors.missing_image]
        .contains(&ErrorPolicy::DeadLetter)
        || errors.event_too_large == LargeEvent::DeadLetter;
    if uses_topic && errors.dead_letter_topic.is_none() {
        let message = "is required: one of the policies is \"dead_letter\"";
        reader.missing(&section.path("dead_letter_topic"), &section.path, message);
    }
    Some(errors)
}

/// What each key alone allows, but not together.
fn refuse_contradictions(reader: &mut Reader<'_>, section: &Section<'_>, source: &Source) {
    let Source { stream, record, .. } = source;
    let needs = [
        (
            "require_full_document",
            "full_document",
            !stream.require_full_document.is_empty(),
            stream.full_document == FullDocument::Default,
        ),
        (
            "require_before_change",
            "full_document_before_change",
            !stream.require_before_change.is_empty(),
            stream.full_document_before_change == BeforeChange::Off,
        ),
    ];
    for (key, option, is_given, is_off) in needs {
        if is_given && is_off {
            let message =
                format!("asks for images that the stream does not carry; set {option} to \"whenAvailable\"");
            reader.report(&section.path(key), message);
        }
    }
    let excludes = |signals: &Namespace| {
        source.watch.exclude.iter().any(|pattern| pattern.matches(&signals.db, &signals.coll))
    };
    if source.signal_collection.as_ref().is_some_and(excludes) {
        let message = "is left out by exclude, so no signal would be seen; exclude less".into();
        reader.report(&section.path("signal_collection"), message);
    }
    if record.value == RecordValue::Debezium && record.format == super::super::Format::Bson {
        reader.report(
            &section.path("format"),
            "Debezium's envelope is JSON; remove it, or choose another value".into(),
        );
    }
    if matches!(source.start, Start::After(_)) && source.snapshot.mode != super::super::SnapshotMode::Off {
        reader.report(
            &section.path("start"),
            "contradicts snapshot.mode, which says where to start; remove one".into(),
        );
    }
}

/// A text that may be empty; the outer `None` is a problem.
pub(super) fn optional<T>(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    key: &str,
    parse: impl FnOnce(&str) -> Result<T, Invalid>,
) -> Option<Option<T>> {
    reader.parse(section, key, |text| if text.is_empty() { Ok(None) } else { parse(text).map(Some) })
}

/// A dotted path into an event.
fn field_path(text: &str) -> Result<String, Invalid> {
    if text.split('.').any(str::is_empty) || text.contains('\0') {
        return Err(Invalid(
            "is no path; write names with dots between them, like \"fullDocument.customer\"".into(),
        ));
    }
    Ok(text.to_owned())
}

fn parse_document(text: &str) -> Result<Document, Invalid> {
    let mut bytes = Vec::new();
    json::read_document(text.as_bytes(), &mut bytes)
        .map_err(|error| Invalid(format!("is no JSON document: {error}")))?;
    bson::deserialize_from_slice(&bytes).map_err(|error| Invalid(format!("is no document: {error}")))
}

/// A collation as the server's documentation has it. The driver reads it without complaining of what it does not know.
fn parse_collation(text: &str) -> Result<Collation, Invalid> {
    let document = parse_document(text)?;
    let not_collation = |reason: String| Invalid(format!("is no collation: {reason}"));
    let collation: Collation = bson::deserialize_from_document(document.clone())
        .map_err(|error| not_collation(error.to_string()))?;
    let known = bson::serialize_to_document(&collation).map_err(|error| not_collation(error.to_string()))?;
    match document.keys().find(|key| !known.contains_key(*key)) {
        Some(unknown) => Err(not_collation(format!("it has no option {unknown:?}"))),
        None => Ok(collation),
    }
}

/// The stages of an aggregation pipeline, written as an Extended JSON array.
pub(crate) fn parse_pipeline(text: &str) -> Result<Vec<Document>, Invalid> {
    let wrapped = format!("{{\"p\":{text}\n}}");
    let stages = parse_document(&wrapped)?;
    let not_stages =
        || Invalid("is no pipeline; write a JSON array of stages, like '[{\"$match\": {…}}]'".into());
    let stages = stages.get_array("p").map_err(|_| not_stages())?;
    let stage = |stage: &bson::Bson| -> Result<Document, Invalid> {
        let stage = stage.as_document().ok_or_else(not_stages)?;
        match stage.keys().next() {
            Some(name) if ["$out", "$merge"].contains(&name.as_str()) => {
                Err(Invalid(format!("has {name}: a source reads and never writes to MongoDB")))
            }
            Some(name) if name.starts_with('$') && stage.len() == 1 => Ok(stage.clone()),
            _ => Err(not_stages()),
        }
    };
    stages.iter().map(stage).collect()
}

/// The name of a topic.
fn topic_name(text: &str) -> Result<String, Invalid> {
    if text.is_empty()
        || text.len() > LONGEST_TOPIC
        || !text.bytes().all(is_topic_byte)
        || [".", ".."].contains(&text)
    {
        return Err(Invalid("is no topic name; allowed: up to 249 ASCII letters, digits, ., _ and -".into()));
    }
    Ok(text.to_owned())
}

/// A source's `topic`: what it makes of sound names must be a topic's name.
fn topic_template(text: &str) -> Result<Template, Invalid> {
    let template = Template::parse_topic(text).map_err(|invalid| with_allowed(&invalid, "{db}, {coll}"))?;
    if template.uses_topic() {
        return Err(Invalid("has {topic}, which a source does not know; allowed: {db}, {coll}".into()));
    }
    let glob = template.glob();
    if glob.len() > LONGEST_TOPIC || !template.texts().all(|text| text.bytes().all(is_topic_byte)) {
        return Err(Invalid(
            "makes no topic name; allowed beside placeholders: ASCII letters, digits, ., _ and -".into(),
        ));
    }
    if is_own_topic(&glob) {
        return Err(Invalid(
            "is the name of a topic in which a daemon keeps its positions; choose another".into(),
        ));
    }
    Ok(template)
}
