//! The official sink connector, as far as sinks can do what it does.

use super::{
    Half, connect,
    converters::{Converter, converter},
    keys::OFFICIAL_SINK,
    properties::{self, Client},
    reader::Reader,
    toml::Table,
};
use crate::namespace::TopicPattern;

const HANDLER: &str = "change.data.capture.handler";

/// The connector as a sink.
pub(super) fn sink(reader: &mut Reader<'_>) -> Option<Half> {
    reader.check(OFFICIAL_SINK);
    connect::common(reader);
    let mut table = Table::default();
    let topics = topics(reader);
    value(reader, &mut table);
    let namespace = namespace(reader);
    let format = format(reader);
    table.put_unless(&"json", "format", format);
    let most = reader.number("max.batch.size");
    if most > 0 {
        table.put("batch", Table::of([("max_records", most.into())]));
    }
    for (key, _) in reader.below("topic.override.") {
        reader.lack(
            &format!("topic.override.{key}"),
            "comes with a later version; write a sink for that topic",
        );
    }
    for (key, _) in reader.below("errors.deadletterqueue.") {
        reader.lack(&format!("errors.deadletterqueue.{key}"), "sinks have no dead letters yet");
    }
    let kafka = properties::kafka(reader, Client::Consumer);
    let uri = reader.plain("connection.uri");
    table.put("topics", topics?);
    table.put("namespace", namespace?);
    Some(Half { is_source: false, name: String::new(), uri, kafka, table })
}

fn topics(reader: &mut Reader<'_>) -> Option<Vec<String>> {
    let (names, regex) = (reader.list("topics"), reader.plain("topics.regex"));
    match (names.is_empty(), regex.is_empty()) {
        (true, true) => reader.refuse("topics", "is required, or topics.regex"),
        (false, false) => reader.refuse("topics", "and topics.regex cannot both be given"),
        (false, true) => Some(names),
        (true, false) => {
            let pattern = format!("/{regex}/");
            if let Err(invalid) = TopicPattern::parse(&pattern) {
                return reader.refuse("topics.regex", invalid.to_string());
            }
            Some(vec![pattern])
        }
    }
}

/// What a record's value is, and which `_id` a document gets.
fn value(reader: &mut Reader<'_>, table: &mut Table) {
    let handler = reader.text(HANDLER).trim();
    if handler.ends_with("cdc.mongodb.ChangeStreamHandler") {
        let message = "updates write what changed where the event has no document, arrays cut short included; a tombstone is \
                       passed over";
        reader.note(HANDLER, message);
    } else if !handler.is_empty() {
        reader.lack(HANDLER, "comes with a later version");
    } else {
        table.put("value", "document");
        identity(reader);
    }
    if reader.class("writemodel.strategy") != "DefaultWriteModelStrategy"
        && reader.class("writemodel.strategy") != "ReplaceOneDefaultStrategy"
    {
        reader.lack("writemodel.strategy", "comes with a later version");
    }
    if reader.class("delete.writemodel.strategy") != "DeleteOneDefaultStrategy" {
        reader.lack("delete.writemodel.strategy", "comes with a later version");
    }
    if reader.list("post.processor.chain").iter().any(|class| !class.ends_with("DocumentIdAdder")) {
        reader.lack("post.processor.chain", "comes with a later version");
    }
}

fn identity(reader: &mut Reader<'_>) {
    const STRATEGY: &str = "document.id.strategy";
    match reader.class(STRATEGY) {
        "ProvidedInValueStrategy" => {}
        "" | "BsonOidStrategy" => {
            reader.note(STRATEGY, "a value without _id gets the key's, and is refused where there is none");
        }
        _ => reader.lack(STRATEGY, "comes with a later version"),
    }
    if !reader.flag("delete.on.null.values") {
        reader.note(
            "delete.on.null.values",
            "a record without a value deletes the document of its key; the connector stops at it",
        );
    }
}

/// The target.
fn namespace(reader: &mut Reader<'_>) -> Option<String> {
    let (database, collection) = (reader.plain("database"), reader.plain("collection"));
    if database.trim().is_empty() {
        return reader.refuse("database", "is required");
    }
    let fixed = |name: &str| name.replace('{', "{{").replace('}', "}}");
    let collection = if collection.is_empty() { "{topic}".to_owned() } else { fixed(&collection) };
    let mut parts = [fixed(&database), collection];
    if reader.class("namespace.mapper") == "FieldPathNamespaceMapper" {
        let fields = ["database", "collection"].map(|part| {
            let key = format!("namespace.mapper.key.{part}.field");
            let value = format!("namespace.mapper.value.{part}.field");
            let fields = (reader.plain(&key), reader.plain(&value));
            if !fields.0.is_empty() {
                reader.lack(&key, "comes with a later version");
                if !fields.1.is_empty() {
                    reader.refuse::<()>(&key, format!("and {value} cannot both be given"));
                }
            }
            fields
        });
        if fields.iter().all(|(key, value)| key.is_empty() && value.is_empty()) {
            return reader.refuse("namespace.mapper", "needs a field for the database or the collection");
        }
        for (((_, field), (path, own)), (part, name)) in fields
            .iter()
            .zip([("ns.db", "{db}"), ("ns.coll", "{coll}")])
            .zip(parts.iter_mut().zip(["database", "collection"]))
        {
            if field == path {
                own.clone_into(part);
            } else if !field.is_empty() {
                reader.lack(&format!("namespace.mapper.value.{name}.field"), "comes with a later version");
            }
        }
    }
    Some(parts.join("."))
}

fn format(reader: &mut Reader<'_>) -> &'static str {
    match converter(reader, "value.converter") {
        Converter::Bytes => "bson",
        Converter::Text | Converter::Json { schemas: false } => "json",
        Converter::Unknown => {
            reader.note("value.converter", "is not known (see --worker); taken for StringConverter");
            "json"
        }
        Converter::Json { schemas: true } | Converter::Other => {
            reader.lack("value.converter", "values with schemas come with the schema formats");
            "json"
        }
    }
}
