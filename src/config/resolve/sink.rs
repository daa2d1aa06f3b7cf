//! One sink's table.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    super::{
        Batch, Ddl, Handling, Invalid, Override, Piece, ReadFormat, Sink, SinkErrors, Template, Tolerance,
        TypeHint, WriteConcern, choice::KeyReadFormat, units::parse_duration,
    },
    Shared, document,
    halves::with_allowed,
    reading::{Reader, Section},
    source::optional,
    transform,
};
use crate::namespace::{Namespace, Pattern, Patterns, TopicPattern, TopicPatterns};

/// What the server takes in one command.
const MOST_RECORDS: u32 = 100_000;
/// What a target can be made of.
const TARGET_PLACEHOLDERS: &str = "{db}, {coll}, {topic}, {value.PATH}, {key.PATH}, and with what stands for a field that is \
                                   missing, {value.PATH|key.PATH|'text'}";
/// What Kafka takes.
const MOST_INSTANCE_ID: usize = 249;
/// Each lane has a connection.
const MOST_LANES: u32 = 256;

/// The sink, if it is sound.
pub(super) fn sink(
    reader: &mut Reader<'_>,
    name: String,
    section: &Section<'_>,
    shared: &Shared<'_>,
) -> Option<Sink> {
    let kafka = shared.kafka_of(reader, section);
    let mongodb = shared.mongodb_of(reader, section);
    let topics = reader.required_list(section, "topics", "[\"shop.*\"]", TopicPattern::parse);
    let include = reader.required_list(section, "allow", "[\"*\"]", Pattern::parse);
    let allow = Patterns { include, exclude: Vec::new() };
    let handling = handling(reader, section, None, &allow);
    let overrides = overrides(reader, section, handling.as_ref(), &allow);
    let lanes = reader.integer(section, "lanes", 1..=MOST_LANES);
    let write_concern = reader.parse(section, "write_concern", write_concern);
    let max_records_per_second = reader.integer(section, "max_records_per_second", 0..=u32::MAX);
    let unique_conflict_timeout = reader.parse(section, "unique_conflict_timeout", parse_duration);
    let errors = errors(reader, &section.section("errors"));
    let on_history_lost = reader.choice(section, "on_history_lost");
    let instance_id = reader.parse(section, "instance_id", instance_id);
    let batch = batch(reader, &section.section("batch"));
    Some(Sink {
        name,
        kafka: kafka?,
        mongodb: mongodb?,
        topics: TopicPatterns { include: topics },
        handling: Arc::new(handling?),
        overrides: overrides?,
        allow,
        batch: batch?,
        lanes: usize::try_from(lanes?).expect("a lane count fits"),
        write_concern: write_concern?,
        max_records_per_second: most_or_none(max_records_per_second?),
        unique_conflict_timeout: unique_conflict_timeout?,
        errors: errors?,
        on_history_lost: on_history_lost?,
        instance_id: instance_id?,
    })
}

fn overrides(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    own: Option<&Handling>,
    allow: &Patterns,
) -> Option<Vec<Override>> {
    let sections = section.sections("override");
    let overrides: Vec<_> = sections
        .iter()
        .map(|section| {
            let include = reader.required_list(section, "topics", "[\"shop.orders\"]", TopicPattern::parse);
            // Without the sink's own settings there is something to report already.
            let handling = handling(reader, section, Some(own?), allow)?;
            Some(Override { topics: TopicPatterns { include }, handling: Arc::new(handling) })
        })
        .collect();
    overrides.into_iter().collect()
}

/// What is made of a record. What an override does not give is `own`, the sink's.
fn handling(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    own: Option<&Handling>,
    allow: &Patterns,
) -> Option<Handling> {
    let given = |key: &str| own.filter(|_| !section.has(key));
    let value = given("value").map_or_else(|| reader.choice(section, "value"), |own| Some(own.value));
    let format = given("format").map_or_else(|| reader.choice(section, "format"), |own| Some(own.format));
    let key_format = match given("key_format") {
        Some(own) => Some(own.key_format),
        None => key_format(reader, section, format),
    };
    let types = section.section("types");
    let types = match own.filter(|_| types.keys().next().is_none()) {
        Some(own) => own.types.clone(),
        None => type_hints(reader, &types),
    };
    let namespace = match given("namespace") {
        Some(own) => Some(own.namespace.clone()),
        None => namespace(reader, section, allow),
    };
    let ddl = given("ddl").map_or_else(|| reader.choice(section, "ddl"), |own| Some(own.ddl));
    let missing_document = given("missing_document")
        .map_or_else(|| reader.choice(section, "missing_document"), |own| Some(own.missing_document));
    let remove_nulls = given("remove_nulls")
        .map_or_else(|| reader.flag(section, "remove_nulls"), |own| Some(own.remove_nulls));
    let on_tombstone = given("on_tombstone")
        .map_or_else(|| reader.choice(section, "on_tombstone"), |own| Some(own.on_tombstone));
    let transform = match given("transform") {
        Some(own) => own.transform.clone(),
        None => {
            section.sections("transform").iter().filter_map(|rule| transform::rule(reader, rule)).collect()
        }
    };
    let steps = match given("step") {
        Some(own) => own.steps.clone(),
        None => document::steps(reader, section),
    };
    let id =
        given("id").map_or_else(|| document::id(reader, &section.section("id")), |own| Some(own.id.clone()));
    let write = given("write")
        .map_or_else(|| document::write(reader, &section.section("write")), |own| Some(own.write.clone()));
    let time_series = given("timeseries").map_or_else(
        || document::time_series(reader, &section.section("timeseries")),
        |own| Some(own.time_series.clone()),
    );
    refuse_ddl_of_many(reader, section, ddl, namespace.as_ref());
    let handling = Handling {
        value: value?,
        format: format?,
        key_format: key_format?,
        types,
        namespace: namespace?,
        ddl: ddl?,
        missing_document: missing_document?,
        remove_nulls: remove_nulls?,
        on_tombstone: on_tombstone?,
        transform,
        steps,
        id: id?,
        write: write?,
        time_series: time_series?,
    };
    document::refuse_contradictions(reader, section, &handling);
    Some(handling)
}

/// Where the target does not have the collection's name, several collections may share it, and what is done to one of
/// them must not be done to all.
fn refuse_ddl_of_many(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    ddl: Option<Ddl>,
    namespace: Option<&Template>,
) {
    let has_name = namespace.is_none_or(|namespace| namespace.pieces.contains(&Piece::Collection));
    if ddl == Some(Ddl::Apply) && !has_name {
        let message =
            "is \"apply\", but namespace has no {coll}, so that collections may share a target; add it there";
        reader.report(&section.path("ddl"), message.into());
    }
}

fn key_format(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    format: Option<ReadFormat>,
) -> Option<ReadFormat> {
    match reader.choice(section, "key_format")? {
        KeyReadFormat::Same => format,
        KeyReadFormat::Own(format) => Some(format),
    }
}

/// A table of fields' paths and their types.
fn type_hints(reader: &mut Reader<'_>, section: &Section<'_>) -> BTreeMap<String, TypeHint> {
    let hint = |path: &String| {
        if path.split('.').any(str::is_empty) {
            let message = "is no path of a field; write one like \"address.since\"";
            reader.report(&section.path(path), message.into());
            return None;
        }
        Some((path.clone(), reader.choice(section, path)?))
    };
    section.keys().filter_map(hint).collect()
}

fn write_concern(text: &str) -> Result<WriteConcern, Invalid> {
    match text {
        "majority" => Ok(WriteConcern::Majority),
        text => match text.parse() {
            Ok(members @ 1..=50) => Ok(WriteConcern::Members(members)),
            _ => Err(Invalid("is neither \"majority\" nor a number of members from \"1\" to \"50\"".into())),
        },
    }
}

fn errors(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<SinkErrors> {
    let tolerance = reader.choice(section, "tolerance");
    let dead_letter_topic = optional(reader, section, "dead_letter_topic", |text| Ok(text.to_owned()));
    let most = reader.integer(section, "max_dead_letters_per_minute", 0..=u32::MAX);
    let errors = SinkErrors {
        tolerance: tolerance?,
        dead_letter_topic: dead_letter_topic?,
        max_dead_letters_per_minute: most_or_none(most?),
    };
    if errors.tolerance == Tolerance::None && errors.dead_letter_topic.is_some() {
        let message = "is never written to while tolerance is \"none\"; set tolerance to \"data\" or \"all\"";
        reader.report(&section.path("dead_letter_topic"), message.into());
    }
    Some(errors)
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

fn namespace(reader: &mut Reader<'_>, section: &Section<'_>, allow: &Patterns) -> Option<Template> {
    let namespace = reader.parse(section, "namespace", namespace_template)?;
    refuse_disallowed_target(reader, section, &namespace, allow);
    Some(namespace)
}

/// A sink's `namespace`: it must make a database and a collection, and not one of the server's own.
fn namespace_template(text: &str) -> Result<Template, Invalid> {
    let template = Template::parse(text).map_err(|invalid| with_allowed(&invalid, TARGET_PLACEHOLDERS))?;
    if template.texts().any(|text| text.contains('*')) {
        let invalid = Invalid("has a *, but a target is no pattern".into());
        return Err(with_allowed(&invalid, TARGET_PLACEHOLDERS));
    }
    let glob = template.glob();
    if glob.contains('.') {
        Pattern::parse(&glob)?;
    } else if !template.uses_topic() && !template.has_fields() {
        return Err(Invalid(
            "makes no namespace; write a database and a collection, like \"{db}.{coll}\"".into(),
        ));
    }
    Ok(template)
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

/// A limit, where zero is none.
fn most_or_none(most: u32) -> Option<u32> {
    Some(most).filter(|most| *most > 0)
}
