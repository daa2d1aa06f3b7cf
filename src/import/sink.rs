//! The official sink connector.

mod handling;
mod namespace;
mod overrides;
mod regex;
mod steps;

use super::{
    Half, connect,
    keys::OFFICIAL_SINK,
    properties::{self, Client},
    reader::Reader,
    toml::{Table, Value},
};
use crate::namespace::TopicPattern;

/// What the connector's consumer gets at once where `max.batch.size` does not say less.
const USUAL_RECORDS: i64 = 500;
/// The daemon's own limit.
const MOST_RECORDS: i64 = 100_000;
const MILLISECONDS: i64 = 1000;

/// The connector as a sink.
pub(super) fn sink(reader: &mut Reader<'_>) -> Option<Half> {
    reader.check(OFFICIAL_SINK);
    connect::common(reader);
    let topics = topics(reader);
    let handling = handling::handling(reader);
    let overrides = match &handling {
        Some(handling) => overrides::overrides(reader, handling),
        None => Vec::new(),
    };
    let mut table = Table::default();
    table.put("topics", topics.clone().unwrap_or_default());
    if let Some(handling) = handling.clone() {
        handling.put(&mut table);
    }
    batch(reader, &mut table);
    errors(reader, &mut table);
    table.put("override", overrides);
    let kafka = properties::kafka(reader, Client::Consumer);
    let uri = reader.plain("connection.uri");
    topics.and(handling)?;
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

/// How much is written at once, and in a second.
fn batch(reader: &mut Reader<'_>, table: &mut Table) {
    let most = reader.number("max.batch.size");
    if most > MOST_RECORDS {
        reader
            .note("max.batch.size", format!("is more than {MOST_RECORDS}, which is the most that there is"));
    }
    let most = most.min(MOST_RECORDS);
    let (every, timeout) = (reader.number("rate.limiting.every.n"), reader.number("rate.limiting.timeout"));
    if every > 0 && timeout > 0 {
        let records = if most > 0 { most } else { USUAL_RECORDS };
        let in_a_second = (every * records * MILLISECONDS / timeout).clamp(1, i64::from(u32::MAX));
        table.put("max_records_per_second", in_a_second);
        let message = format!(
            "is carried over as near as it goes: {every} writes of up to {records} records in {timeout} ms, which is \
             {in_a_second} records a second, of all topics"
        );
        reader.note("rate.limiting.every.n", message);
    }
    if most > 0 {
        table.put("batch", Table::of([("max_records", most.into())]));
    }
}

/// `errors.tolerance`, of which the connector's own key wins.
fn tolerance(reader: &Reader<'_>) -> String {
    let key = ["mongo.errors.tolerance", "errors.tolerance"]
        .map(|key| (reader.given(key).is_some(), reader.word(key)));
    let [(is_own, own), (_, connects)] = key;
    if is_own { own } else { connects }
}

/// `[…errors]`
fn errors(reader: &mut Reader<'_>, table: &mut Table) {
    const TOPIC: &str = "errors.deadletterqueue.topic.name";
    let tolerance = tolerance(reader);
    let topic = reader.plain(TOPIC);
    if ["", "none"].contains(&tolerance.as_str()) {
        if !topic.is_empty() {
            reader.note(TOPIC, "not carried over: nothing goes there while errors.tolerance is none");
        }
        return;
    }
    let key = if reader.given("mongo.errors.tolerance").is_some() {
        "mongo.errors.tolerance"
    } else {
        "errors.tolerance"
    };
    let message = "what may pass is retried for as long as it takes, and not passed over; with more than \
                   errors.max_dead_letters_per_minute the sink stops";
    reader.note(key, message);
    let mut errors = Table::of([("tolerance", Value::from(tolerance))]);
    errors.put_unless(&String::new(), "dead_letter_topic", topic);
    table.put("errors", errors);
}
