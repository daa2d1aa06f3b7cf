//! The official connector's way from a namespace to a topic, as `topic` and `route`.
//!
//! Its map is asked in this order: the whole namespace, the database (what is found there is followed by the collection),
//! the regular expressions as they were written, `*`. Prefix and suffix are put around whatever comes out.

use super::{reader::Reader, shell, toml::Table, watch};
use crate::namespace::{LONGEST_TOPIC, Pattern, is_topic_byte};

const MAP: &str = "topic.namespace.map";

/// Why a name is no topic's.
pub(super) const NOT_LEGAL: &str =
    "is no topic that Kafka takes: up to 249 ASCII letters, digits, ., _ and -";

/// Whether Kafka takes this as a topic's name.
pub(super) fn is_legal(topic: &str) -> bool {
    !topic.is_empty()
        && topic.len() <= LONGEST_TOPIC
        && topic.bytes().all(is_topic_byte)
        && ![".", ".."].contains(&topic)
}

/// What stands around a name, and between its parts.
struct Frame {
    prefix: String,
    separator: String,
    suffix: String,
}

/// Puts `topic` and `route`.
pub(super) fn put(reader: &mut Reader<'_>, table: &mut Table) {
    let separator = reader.text("topic.separator").to_owned();
    let around = |text: &str| text.to_owned();
    let prefix = around(reader.text("topic.prefix"));
    let suffix = around(reader.text("topic.suffix"));
    for (key, text) in [("topic.separator", &separator), ("topic.prefix", &prefix), ("topic.suffix", &suffix)]
    {
        if !text.bytes().all(is_topic_byte) {
            reader.lack(key, "makes names that Kafka does not take as topics");
        }
    }
    let separator = literal(&separator);
    let prefix = if prefix.is_empty() { prefix } else { format!("{}{separator}", literal(&prefix)) };
    let suffix = if suffix.is_empty() { suffix } else { format!("{separator}{}", literal(&suffix)) };
    let frame = Frame { prefix, separator, suffix };
    let topic = frame.around(&format!("{{db}}[{}{{coll}}]", frame.separator));
    table.put_unless(&"{db}[.{coll}]".to_owned(), "topic", topic);
    let routes = routes(reader, &frame);
    table.put("route", routes);
}

impl Frame {
    fn around(&self, name: &str) -> String {
        format!("{}{name}{}", self.prefix, self.suffix)
    }
}

/// Text in which braces and brackets mean themselves.
fn literal(text: &str) -> String {
    ["{", "}", "[", "]"].iter().fold(text.to_owned(), |text, sign| text.replace(sign, &sign.repeat(2)))
}

/// The map's entries in the order in which they are asked.
fn routes(reader: &mut Reader<'_>, frame: &Frame) -> Vec<Table> {
    let text = reader.text(MAP).trim();
    if text.is_empty() {
        return Vec::new();
    }
    // What is no object has been refused.
    let Ok(map) = shell::parsed(text) else { return Vec::new() };
    let (mut namespaces, mut databases, mut regexes, mut rest) = (vec![], vec![], vec![], vec![]);
    for (key, value) in &map {
        let Some(template) = value.as_str() else {
            reader.refuse::<()>(MAP, format!("has something else than a text for {key:?}"));
            continue;
        };
        if template.is_empty() {
            continue;
        }
        if let Some(regex) = key.strip_prefix('/') {
            if let Some(name) = of_template(reader, template, frame) {
                regexes.extend(by_regex(reader, regex, &frame.around(&name)));
            }
            continue;
        }
        let name = literal(template);
        match key.as_str() {
            "*" => rest.push(("*.*".to_owned(), frame.around(&name))),
            key if key.contains('/') => {
                reader.refuse::<()>(
                    MAP,
                    format!("has a / inside of {key:?}; a regular expression begins with it"),
                );
            }
            key => match key.split_once('.') {
                Some((db, coll)) => namespaces.push((watch::one(db, coll), frame.around(&name))),
                None => {
                    let topic = frame.around(&format!("{name}[{}{{coll}}]", frame.separator));
                    databases.push((watch::all_of(key), topic));
                }
            },
        }
    }
    let all = [namespaces, databases, regexes, rest].into_iter().flatten();
    all.filter_map(|(pattern, topic)| rule(reader, &pattern, topic)).collect()
}

fn rule(reader: &mut Reader<'_>, pattern: &str, topic: String) -> Option<Table> {
    let texts: String = topic.split(['{', '}', '[', ']']).collect();
    if !texts.bytes().all(is_topic_byte) {
        reader.lack(
            MAP,
            format!("makes topics like {topic:?}, and Kafka takes letters, digits, ., _ and - alone"),
        );
    }
    if let Err(invalid) = Pattern::parse_exclusion(pattern) {
        reader.lack(MAP, format!("{pattern:?} {invalid}"));
        return None;
    }
    let escaped = super::reader::escaped;
    let topic = whole(topic);
    Some(Table::of([("match", escaped(pattern).into()), ("topic", escaped(&topic).into())]))
}

/// Without a part that is only there for collections, a topic would lose a separator at its end for events of a whole
/// database; an empty part says that it is meant.
fn whole(topic: String) -> String {
    if !topic.contains('[') && topic.ends_with(['.', '_', '-']) { format!("{topic}[]") } else { topic }
}

fn by_regex(reader: &mut Reader<'_>, regex: &str, topic: &str) -> Option<(String, String)> {
    let pattern = format!("/{regex}/");
    match Pattern::parse_exclusion(&pattern) {
        Ok(_) => Some((pattern, topic.to_owned())),
        // Java may know more of regular expressions than we do.
        Err(invalid) if has_what_only_java_knows(regex) => {
            reader.lack(MAP, format!("the regular expression {regex:?} {invalid}"));
            None
        }
        Err(invalid) => reader.refuse(MAP, format!("the regular expression {regex:?} {invalid}")),
    }
}

fn has_what_only_java_knows(regex: &str) -> bool {
    ["(?=", "(?!", "(?<", "(?>", "++", "*+", "?+", "&&", "[[", "--", "~~", "\\1", "\\Q", "\\Z"]
        .iter()
        .any(|part| regex.contains(part))
}

/// A template of the connector's as one of ours.
fn of_template(reader: &mut Reader<'_>, template: &str, frame: &Frame) -> Option<String> {
    let separator = &frame.separator;
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&literal(&rest[..at]));
        let variable = rest[at..].strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let Some((variable, after)) = variable.filter(|(variable, _)| !variable.contains('{')) else {
            return reader.refuse(MAP, format!("has a brace without its partner in {template:?}"));
        };
        match variable {
            "db" => out.push_str("{db}"),
            "sep" => out.push_str(separator),
            "coll" => out.push_str("[{coll}]"),
            "sep_coll" => out.push_str(&format!("[{separator}{{coll}}]")),
            "coll_sep" => out.push_str(&format!("[{{coll}}{separator}]")),
            "sep_coll_sep" => out.push_str(&format!("[{separator}{{coll}}{separator}]")),
            _ => {
                return reader
                    .refuse(MAP, format!("has the unknown variable {{{variable}}} in {template:?}"));
            }
        }
        rest = after;
    }
    out.push_str(&literal(rest));
    Some(out)
}
