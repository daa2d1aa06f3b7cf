//! Sources and sinks, and what must not hold between them.

use super::{
    super::{Batch, Invalid, Sink, Source, Template, problem::KeyPath, units::parse_duration},
    Shared, check_name,
    reading::{Reader, Section},
    source::source,
};
use crate::namespace::{Glob, Namespace, Pattern, Patterns, TopicPattern, TopicPatterns};

/// What the server takes in one command.
const MOST_RECORDS: u32 = 100_000;
/// What Kafka takes.
const MOST_INSTANCE_ID: usize = 249;
/// Each lane has a connection.
const MOST_LANES: u32 = 256;

/// The sources that are sound, in the order of the file.
pub(super) fn sources(
    reader: &mut Reader<'_>,
    root: &Section<'_>,
    pipeline: &str,
    shared: &Shared<'_>,
) -> Vec<Source> {
    let names = names(reader, &root.section("sources"));
    names.into_iter().filter_map(|(name, section)| source(reader, name, &section, pipeline, shared)).collect()
}

/// The sinks that are sound, in the order of the file.
pub(super) fn sinks(reader: &mut Reader<'_>, root: &Section<'_>, shared: &Shared<'_>) -> Vec<Sink> {
    let names = names(reader, &root.section("sinks"));
    names.into_iter().filter_map(|(name, section)| sink(reader, name, &section, shared)).collect()
}

/// The tables of `section` by name; those that only variables know come last.
fn names<'a>(reader: &mut Reader<'_>, section: &Section<'a>) -> Vec<(String, Section<'a>)> {
    let mut halves: Vec<(String, Section<'a>)> =
        section.keys().map(|name| (name.clone(), section.section(name))).collect();
    halves.sort_by_key(|(_, half)| {
        reader.start_of(&half.path).map_or((true, None), |start| (false, Some(start)))
    });
    for (name, half) in &halves {
        if let Err(invalid) = check_name(name) {
            reader.report(&half.path, invalid.to_string());
        }
    }
    halves
}

fn sink(reader: &mut Reader<'_>, name: String, section: &Section<'_>, shared: &Shared<'_>) -> Option<Sink> {
    let kafka = shared.kafka_of(reader, section);
    let mongodb = shared.mongodb_of(reader, section);
    let topics = reader.required_list(section, "topics", "[\"shop.*\"]", TopicPattern::parse);
    let value = reader.choice(section, "value");
    let format = reader.choice(section, "format");
    let namespace = reader.parse(section, "namespace", namespace_template);
    let allow = reader.required_list(section, "allow", "[\"*\"]", Pattern::parse);
    let lanes = reader.integer(section, "lanes", 1..=MOST_LANES);
    let on_history_lost = reader.choice(section, "on_history_lost");
    let instance_id = reader.parse(section, "instance_id", instance_id);
    let batch = batch(reader, &section.section("batch"));
    let allow = Patterns { include: allow, exclude: Vec::new() };
    let namespace = namespace?;
    refuse_disallowed_target(reader, section, &namespace, &allow);
    Some(Sink {
        name,
        kafka: kafka?,
        mongodb: mongodb?,
        topics: TopicPatterns { include: topics },
        value: value?,
        format: format?,
        namespace,
        allow,
        batch: batch?,
        lanes: usize::try_from(lanes?).expect("a lane count fits"),
        on_history_lost: on_history_lost?,
        instance_id: instance_id?,
    })
}

/// A member's name as the group takes it.
fn instance_id(text: &str) -> Result<String, Invalid> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.len() > MOST_INSTANCE_ID || matches!(text, "." | "..") || !text.chars().all(is_allowed) {
        return Err(Invalid(format!(
            "{text:?} is no member's name; allowed: letters, digits, \".\", \"_\" and \"-\", at most {MOST_INSTANCE_ID}"
        )));
    }
    Ok(text.to_owned())
}

fn batch(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Batch> {
    let max_records = reader.integer(section, "max_records", 1..=MOST_RECORDS);
    let max_bytes = reader.size(section, "max_bytes");
    let max_age = reader.parse(section, "max_age", parse_duration);
    Some(Batch {
        max_records: usize::try_from(max_records?).expect("a record count fits"),
        max_bytes: max_bytes?,
        max_age: max_age?,
    })
}

/// A sink's `namespace`: it must make a database and a collection, and not one of the server's own.
fn namespace_template(text: &str) -> Result<Template, Invalid> {
    let template =
        Template::parse(text).map_err(|invalid| with_allowed(&invalid, "{db}, {coll}, {topic}"))?;
    if template.texts().any(|text| text.contains('*')) {
        return Err(Invalid("has a *, but a target is no pattern; allowed: {db}, {coll}, {topic}".into()));
    }
    let glob = template.glob();
    if glob.contains('.') {
        Pattern::parse(&glob)?;
    } else if !template.uses_topic() {
        return Err(Invalid(
            "makes no namespace; write a database and a collection, like \"{db}.{coll}\"".into(),
        ));
    }
    Ok(template)
}

pub(super) fn with_allowed(invalid: &Invalid, allowed: &str) -> Invalid {
    Invalid(format!("{invalid}; allowed: {allowed}"))
}

/// Where every record goes into one collection, that one must be allowed.
fn refuse_disallowed_target(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    namespace: &Template,
    allow: &Patterns,
) {
    let target = namespace.literal().and_then(|text| Namespace::parse(text).ok());
    let Some(target) =
        target.filter(|target| !allow.include.is_empty() && !allow.matches(&target.db, &target.coll))
    else {
        return;
    };
    reader.report(
        &section.path("namespace"),
        format!("the target {target} is not covered by allow; add it there"),
    );
}

/// Refuses sinks that are certain to write where a source of the same deployment reads: a change would go round for
/// ever. What is only possible is left to the sink, which checks each target.
pub(super) fn refuse_loops(reader: &mut Reader<'_>, sources: &[Source], sinks: &[Sink]) {
    for sink in sinks {
        let reads_target =
            |source: &&Source| source.mongodb == sink.mongodb && is_watched(&sink.namespace, &source.watch);
        if let Some(source) = sources.iter().find(reads_target) {
            let path = KeyPath::from(["sinks", &sink.name, "namespace"]);
            let message = format!(
                "the target lies in what sources.{} watches on the same deployment, so changes would go round for ever; \
                 write elsewhere, or exclude the target there",
                source.name
            );
            reader.report(&path, message);
        }
    }
}

/// Whether every namespace that `target` can make is certain to be watched.
fn is_watched(target: &Template, watch: &Patterns) -> bool {
    if let Some(text) = target.literal() {
        return text.split_once('.').is_some_and(|(db, coll)| watch.matches(db, coll));
    }
    let glob = target.glob();
    let (db, coll) = glob.split_once('.').unwrap_or(("*", "*"));
    let target = Pattern::Glob { db: Glob { text: db.into() }, coll: Glob { text: coll.into() } };
    watch.exclude.is_empty() && watch.include.iter().any(|pattern| pattern.covers(&target))
}
