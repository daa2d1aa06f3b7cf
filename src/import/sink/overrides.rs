//! `topic.override.<topic>.<key>`: what a topic has for itself.
//!
//! A topic's own keys and all others of the connector make a whole configuration, and what comes of that is compared with
//! what comes of the connector's. So keys that belong together are never taken apart.

use std::collections::BTreeMap;

use super::{
    super::{
        Properties,
        keys::OFFICIAL_SINK,
        reader::{Reader, escaped},
        toml::Table,
    },
    handling::{Handling, handling},
    tolerance,
};
use crate::namespace::TopicPattern;

const PREFIX: &str = "topic.override.";

/// Keys that only a connector has.
const OF_CONNECTORS: &[&str] = &["topics", "topics.regex", "connection.uri", "provider"];

/// Keys that a topic may have there, and only a sink here, where the difference is one of pace.
const OF_SINKS: &[&str] = &["max.batch.size", "rate.limiting.every.n", "rate.limiting.timeout"];

/// The tables, one for each topic that is not handled as `sink` handles all.
pub(super) fn overrides(reader: &mut Reader<'_>, sink: &Handling) -> Vec<Table> {
    let mut tables = Vec::new();
    let names = reader.list("topics");
    for (topic, own) in by_topic(reader) {
        let of_topic = |key: &str| format!("{PREFIX}{topic}.{key}");
        if TopicPattern::parse(&topic).is_err() || topic.contains('*') {
            reader.refuse::<()>(&format!("{PREFIX}{topic}"), "is no name of a topic");
            continue;
        }
        if !names.is_empty() && !names.contains(&topic) {
            for key in own.keys() {
                reader.note(&of_topic(key), "not carried over: topics has no such topic");
            }
            continue;
        }
        let mut whole = reader.config().clone();
        whole.retain(|key, _| !key.starts_with(PREFIX));
        whole.extend(own.clone());
        let mut effective = Reader::new(reader.name, &whole, reader.worker_keys());
        effective.check(OFFICIAL_SINK);
        let handling = handling(&mut effective);
        let has_own_tolerance = tolerance(&effective) != tolerance(reader);
        for mut remark in effective.into_remarks() {
            // What is said of the connector's own keys has been said.
            if own.contains_key(&remark.key) {
                remark.key = of_topic(&remark.key);
                reader.adopt(remark);
            } else if !reader.has_said(&remark) {
                reader.adopt(remark);
            }
        }
        if has_own_tolerance {
            let key = of_topic("errors.tolerance");
            reader.lack(&key, "a sink has one tolerance; write a sink for that topic");
        }
        for key in OF_SINKS.iter().filter(|key| own.contains_key(**key)) {
            reader.note(&of_topic(key), "not carried over: a sink has one pace; write a sink for that topic");
        }
        let mut table = Table::default();
        if let Some(handling) = handling {
            handling.put_over(sink, &mut table);
        }
        if !table.is_empty() {
            let mut named = Table::of([("topics", vec![escaped(&topic)].into())]);
            named.extend(table);
            tables.push(named);
        }
    }
    tables
}

/// The keys of each topic. Names of topics have dots as keys have: the longest key that there is decides.
fn by_topic(reader: &mut Reader<'_>) -> BTreeMap<String, Properties> {
    let mut topics: BTreeMap<String, Properties> = BTreeMap::new();
    for (rest, value) in reader.below(PREFIX) {
        let split = |key: &'static str| {
            let topic = rest.strip_suffix(key)?.strip_suffix('.')?;
            (!topic.is_empty()).then_some((topic, key))
        };
        let known = OFFICIAL_SINK.iter().filter_map(|spec| split(spec.key));
        match known.max_by_key(|(_, key)| key.len()) {
            Some((_, key)) if OF_CONNECTORS.contains(&key) => {
                reader
                    .note(&format!("{PREFIX}{rest}"), "not carried over: a topic cannot have it for itself");
            }
            Some((topic, key)) => {
                topics.entry(topic.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
            }
            None => {
                let message = "is no key that the connector has; not carried over";
                reader.note(&format!("{PREFIX}{rest}"), message);
            }
        }
    }
    topics
}
