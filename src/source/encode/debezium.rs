//! The envelope of Debezium's MongoDB connector. Pure, but for the clock.
//!
//! Documents are texts of JSON inside the JSON: `before`, `after` and `lsid` in one style, `updatedFields` and the key
//! in others, as [`json::Style`] has them. Members stand in Debezium's order. With schemas, key and value come as
//! JsonConverter writes them: `{"schema":…,"payload":…}`.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{Error, Scratch, key};
use crate::{
    config, json,
    raw::{Document, Element, kind},
    source::{
        decode::{self, Change},
        stages::Plan,
    },
};

/// The version of the connector whose envelope this is; consumers look at the shape that it stands for.
const VERSION: &str = "3.3.1.Final";

/// The two halves of a key's schema, around the logical name and the namespace.
const KEY_SCHEMA: (&str, &str) = (
    r#"{"type":"struct","fields":[{"type":"string","optional":false,"field":"id"}],"optional":false,"name":"#,
    r#"}"#,
);

/// The same of a value's schema.
const VALUE_SCHEMA: (&str, &str) = (
    concat!(
        r#"{"type":"struct","fields":["#,
        r#"{"type":"string","optional":true,"name":"io.debezium.data.Json","version":1,"field":"before"},"#,
        r#"{"type":"string","optional":true,"name":"io.debezium.data.Json","version":1,"field":"after"},"#,
        r#"{"type":"struct","fields":["#,
        r#"{"type":"array","items":{"type":"string","optional":false},"optional":true,"field":"removedFields"},"#,
        r#"{"type":"string","optional":true,"name":"io.debezium.data.Json","version":1,"field":"updatedFields"},"#,
        r#"{"type":"array","items":{"type":"struct","fields":["#,
        r#"{"type":"string","optional":false,"field":"field"},{"type":"int32","optional":false,"field":"size"}],"#,
        r#""optional":false,"name":"io.debezium.connector.mongodb.changestream.truncatedarray","version":1},"#,
        r#""optional":true,"field":"truncatedArrays"}],"optional":true,"#,
        r#""name":"io.debezium.connector.mongodb.changestream.updatedescription","version":1,"#,
        r#""field":"updateDescription"},"#,
        r#"{"type":"struct","fields":[{"type":"string","optional":false,"field":"version"},"#,
        r#"{"type":"string","optional":false,"field":"connector"},{"type":"string","optional":false,"field":"name"},"#,
        r#"{"type":"int64","optional":false,"field":"ts_ms"},"#,
        r#"{"type":"string","optional":true,"name":"io.debezium.data.Enum","version":1,"#,
        r#""parameters":{"allowed":"true,first,first_in_data_collection,last_in_data_collection,last,false,"#,
        r#"incremental"},"default":"false","field":"snapshot"},"#,
        r#"{"type":"string","optional":false,"field":"db"},{"type":"string","optional":true,"field":"sequence"},"#,
        r#"{"type":"int64","optional":true,"field":"ts_us"},{"type":"int64","optional":true,"field":"ts_ns"},"#,
        r#"{"type":"string","optional":false,"field":"collection"},"#,
        r#"{"type":"int32","optional":false,"field":"ord"},{"type":"string","optional":true,"field":"lsid"},"#,
        r#"{"type":"int64","optional":true,"field":"txnNumber"},"#,
        r#"{"type":"int64","optional":true,"field":"wallTime"}],"optional":false,"#,
        r#""name":"io.debezium.connector.mongo.Source","version":1,"field":"source"},"#,
        r#"{"type":"string","optional":true,"field":"op"},{"type":"int64","optional":true,"field":"ts_ms"},"#,
        r#"{"type":"struct","fields":[{"type":"string","optional":false,"field":"id"},"#,
        r#"{"type":"int64","optional":false,"field":"total_order"},"#,
        r#"{"type":"int64","optional":false,"field":"data_collection_order"}],"optional":true,"#,
        r#""name":"event.block","version":1,"field":"transaction"}],"optional":false,"name":"#,
    ),
    "}",
);

/// `op` of a change; `None` for what Debezium makes no record of.
pub(super) fn operation(change: &Change<'_>) -> Option<&'static str> {
    change.coll?;
    match change.operation {
        "insert" if change.snapshot => Some("r"),
        "insert" => Some("c"),
        "update" | "replace" => Some("u"),
        "delete" => Some("d"),
        _ => None,
    }
}

/// How a source writes its envelopes.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    /// Debezium's `topic.prefix`.
    name: String,
    has_schemas: bool,
    /// Milliseconds since the epoch.
    pub(super) clock: fn() -> i64,
}

impl Envelope {
    pub(super) fn new(record: &config::Record) -> Self {
        Self { name: record.debezium_name.clone(), has_schemas: record.debezium_schemas, clock: now }
    }

    /// Appends the key of a change that has an [`operation`].
    pub(super) fn write_key(
        &self,
        change: &Change<'_>,
        plan: &Plan,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let id = key::id(change)?.ok_or(decode::Error::Missing("documentKey._id"))?;
        self.begin(KEY_SCHEMA, "Key", plan, scratch, out);
        out.extend_from_slice(b"{\"id\":");
        write_text(id, json::Style::DebeziumKey, scratch, out)?;
        out.push(b'}');
        self.end(out);
        Ok(())
    }

    /// Appends the value of a change that has an [`operation`].
    pub(super) fn write_value(
        &self,
        change: &Change<'_>,
        plan: &Plan,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let rest = Rest::of(change.event)?;
        self.begin(VALUE_SCHEMA, "Envelope", plan, scratch, out);
        out.extend_from_slice(b"{\"before\":");
        write_image(change.before_change, scratch, out)?;
        out.extend_from_slice(b",\"after\":");
        write_image(change.full_document, scratch, out)?;
        out.extend_from_slice(b",\"updateDescription\":");
        match rest.update {
            Some(update) => write_update(update, scratch, out)?,
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"source\":");
        self.write_source(change, &rest, scratch, out)?;
        out.extend_from_slice(b",\"op\":\"");
        out.extend_from_slice(operation(change).unwrap_or_default().as_bytes());
        out.extend_from_slice(b"\",\"ts_ms\":");
        write_number((self.clock)(), out);
        out.extend_from_slice(b",\"transaction\":null}");
        self.end(out);
        Ok(())
    }

    /// Appends `source`: where the change comes from.
    fn write_source(
        &self,
        change: &Change<'_>,
        rest: &Rest<'_>,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let time = change.time.unwrap_or_default();
        let seconds = i64::from(time.seconds);
        out.extend_from_slice(b"{\"version\":\"");
        out.extend_from_slice(VERSION.as_bytes());
        out.extend_from_slice(b"\",\"connector\":\"mongodb\",\"name\":");
        json::write_quoted(self.name.as_bytes(), out);
        out.extend_from_slice(b",\"ts_ms\":");
        write_number(seconds * 1_000, out);
        out.extend_from_slice(b",\"snapshot\":\"");
        out.extend_from_slice(if change.snapshot { b"true" } else { b"false" });
        out.extend_from_slice(b"\",\"db\":");
        json::write_quoted(change.db.unwrap_or_default().as_bytes(), out);
        out.extend_from_slice(b",\"sequence\":null,\"ts_us\":");
        write_number(seconds * 1_000_000, out);
        out.extend_from_slice(b",\"ts_ns\":");
        write_number(seconds * 1_000_000_000, out);
        out.extend_from_slice(b",\"collection\":");
        json::write_quoted(change.coll.unwrap_or_default().as_bytes(), out);
        out.extend_from_slice(b",\"ord\":");
        write_number(time.increment, out);
        out.extend_from_slice(b",\"lsid\":");
        match rest.session {
            Some(session) => write_text(session, json::Style::Debezium, scratch, out)?,
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"txnNumber\":");
        write_optional(rest.transaction_number, out);
        out.extend_from_slice(b",\"wallTime\":");
        write_optional(rest.wall_time, out);
        out.push(b'}');
        Ok(())
    }

    /// Appends what stands before the payload; `what` ends the schema's name.
    fn begin(&self, schema: (&str, &str), what: &str, plan: &Plan, scratch: &mut Scratch, out: &mut Vec<u8>) {
        if !self.has_schemas {
            return;
        }
        scratch.text.clear();
        for (place, part) in [self.name.as_str(), &plan.namespace, what].into_iter().enumerate() {
            if place > 0 {
                scratch.text.push(b'.');
            }
            scratch.text.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(b"{\"schema\":");
        out.extend_from_slice(schema.0.as_bytes());
        json::write_quoted(&scratch.text, out);
        out.extend_from_slice(schema.1.as_bytes());
        out.extend_from_slice(b",\"payload\":");
    }

    /// Appends what stands after the payload.
    fn end(&self, out: &mut Vec<u8>) {
        if self.has_schemas {
            out.push(b'}');
        }
    }
}

fn now() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

/// What the envelope has of an event, and no other stage needs.
#[derive(Default)]
struct Rest<'a> {
    update: Option<Document<'a>>,
    session: Option<Element<'a>>,
    transaction_number: Option<i64>,
    wall_time: Option<i64>,
}

impl<'a> Rest<'a> {
    fn of(event: Document<'a>) -> Result<Self, Error> {
        let mut rest = Self::default();
        for element in event.elements() {
            let element = element?;
            match element.name {
                b"updateDescription" => rest.update = element.as_document(),
                b"lsid" => rest.session = element.as_document().map(|_| element),
                b"txnNumber" => rest.transaction_number = element.as_i64(),
                b"wallTime" if element.kind == kind::DATE_TIME => {
                    rest.wall_time = element.value.try_into().ok().map(i64::from_le_bytes);
                }
                _ => {}
            }
        }
        Ok(rest)
    }
}

/// Appends `updateDescription`. What is empty is null, but for the fields.
fn write_update(update: Document<'_>, scratch: &mut Scratch, out: &mut Vec<u8>) -> Result<(), Error> {
    let list = |name| -> Result<Option<Document<'_>>, Error> {
        Ok(update.get(name)?.and_then(Element::as_document).filter(|list| !list.is_empty()))
    };
    out.extend_from_slice(b"{\"removedFields\":");
    match list("removedFields")? {
        Some(removed) => write_names(removed, out)?,
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"updatedFields\":");
    match update.get("updatedFields")? {
        Some(fields) => write_text(fields, json::Style::Relaxed, scratch, out)?,
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"truncatedArrays\":");
    match list("truncatedArrays")? {
        Some(arrays) => write_truncated(arrays, out)?,
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
    Ok(())
}

fn write_names(names: Document<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
    let mut sign = b'[';
    for name in names.elements() {
        out.push(sign);
        json::write_quoted(name?.as_text().unwrap_or_default(), out);
        sign = b',';
    }
    out.push(b']');
    Ok(())
}

fn write_truncated(arrays: Document<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
    let mut sign = b'[';
    for array in arrays.elements() {
        let array = array?.as_document().unwrap_or(Document::EMPTY);
        out.push(sign);
        out.extend_from_slice(b"{\"field\":");
        json::write_quoted(array.get("field")?.and_then(Element::as_text).unwrap_or_default(), out);
        out.extend_from_slice(b",\"size\":");
        write_number(array.get("newSize")?.and_then(Element::as_i64).unwrap_or_default(), out);
        out.push(b'}');
        sign = b',';
    }
    out.push(b']');
    Ok(())
}

fn write_image(image: Option<Document<'_>>, scratch: &mut Scratch, out: &mut Vec<u8>) -> Result<(), Error> {
    match image {
        Some(image) => {
            let element = Element { kind: kind::DOCUMENT, name: b"", value: image.as_bytes() };
            write_text(element, json::Style::Debezium, scratch, out)
        }
        None => {
            out.extend_from_slice(b"null");
            Ok(())
        }
    }
}

/// Appends a text that is JSON itself.
fn write_text(
    element: Element<'_>,
    style: json::Style,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    scratch.text.clear();
    json::write_value(element, style, &mut scratch.text)?;
    json::write_quoted(&scratch.text, out);
    Ok(())
}

fn write_optional(number: Option<i64>, out: &mut Vec<u8>) {
    match number {
        Some(number) => write_number(number, out),
        None => out.extend_from_slice(b"null"),
    }
}

fn write_number(number: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}
