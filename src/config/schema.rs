//! The one table of keys: names, types and defaults.
//!
//! It drives the walk over the file, the reading of variables, the suggestions for unknown keys, the layer of defaults,
//! `config print` and the test of `config.toml.example`. A new key starts here.

use figment::value::{Dict, Value};

use super::{
    BeforeChange, Ddl, ErrorPolicy, Format, FullDocument, Granularity, Headers, HistoryLost, IdStrategy,
    LargeEvent, LogFormat, MissingDocument, NullLookup, OnTombstone, PartitionBy, ReadFormat, RecordValue,
    Side, SinkHistoryLost, SnapshotMode, Timestamp, Tolerance, UuidFormat, ValueShape, WriteBy, WriteModel,
    choice::{KeyFormat, KeyKind, KeyReadFormat, Members, Split, StoreKind, words},
};
use crate::json;

/// A key of a table.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) default: Default,
}

/// What a key's value is in TOML.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// A connection string, which is only shown without what is secret in it.
    Uri,
    /// Text that is never shown.
    Secret,
    Boolean,
    Integer,
    /// Text like "64MB", or an integer in bytes.
    Size,
    /// Text like "1s".
    Duration,
    /// Text, or a TOML date-time.
    Start,
    /// One of these words.
    Choice(fn() -> Vec<&'static str>),
    /// A list of texts.
    List,
    /// A table with these keys.
    Table(&'static [Key]),
    /// The same; where it is not given, it is not there.
    GivenTable(&'static [Key]),
    /// A table of tables with these keys, under names that the user gives.
    Named(&'static [Key]),
    /// A list of tables with these keys.
    Tables(&'static [Key]),
    /// Texts under names that the user gives; nested tables are joined with dots.
    Properties,
}

/// What a key is where nobody gives it.
#[derive(Clone, Copy)]
pub(super) enum Default {
    /// Required, or taken from another key.
    None,
    Text(&'static str),
    Integer(i64),
    Boolean(bool),
    List(&'static [&'static str]),
}

const fn key(name: &'static str, kind: Kind, default: Default) -> Key {
    Key { name, kind, default }
}

const fn table(name: &'static str, keys: &'static [Key]) -> Key {
    key(name, Kind::Table(keys), Default::None)
}

/// The keys of the file's root.
pub(super) const ROOT: &[Key] = &[
    key("name", Kind::Text, Default::None),
    table("mongodb", MONGODB),
    table("kafka", KAFKA),
    key("sources", Kind::Named(SOURCE), Default::None),
    key("sinks", Kind::Named(SINK), Default::None),
    table("checkpoint", CHECKPOINT),
    table("admin", ADMIN),
    table("limits", LIMITS),
    table("log", LOG),
];

const MONGODB: &[Key] = &[key("uri", Kind::Uri, Default::None)];

const KAFKA: &[Key] = &[
    key("bootstrap_servers", Kind::Text, Default::None),
    key("properties", Kind::Properties, Default::None),
];

const SOURCE: &[Key] = &[
    // Required: publishing a whole deployment must be somebody's decision.
    key("watch", Kind::List, Default::None),
    key("exclude", Kind::List, Default::List(&[])),
    key("pipeline", Kind::Text, Default::Text("[]")),
    key("full_document", Kind::Choice(words::<FullDocument>), Default::Text("default")),
    key("full_document_before_change", Kind::Choice(words::<BeforeChange>), Default::Text("off")),
    key("require_full_document", Kind::List, Default::List(&[])),
    key("require_before_change", Kind::List, Default::List(&[])),
    // As the official connector has it.
    key("null_lookup", Kind::Choice(words::<NullLookup>), Default::Text("keep")),
    key("show_expanded_events", Kind::Boolean, Default::Boolean(false)),
    key("collation", Kind::Text, Default::Text("")),
    key("comment", Kind::Text, Default::Text("")),
    key("read_preference", Kind::Choice(words::<Members>), Default::Text("")),
    key("split_large_events", Kind::Choice(words::<Split>), Default::Text("auto")),
    // The server's replies end at 16 MB; small events need this many to fill a good part of one.
    key("batch_size", Kind::Integer, Default::Integer(5000)),
    // Also how stale the stored position of an idle stream may become.
    key("max_await", Kind::Duration, Default::Text("1s")),
    key("start", Kind::Start, Default::Text("latest")),
    // Stopping is the only answer that loses nothing silently.
    key("on_history_lost", Kind::Choice(words::<HistoryLost>), Default::Text("fail")),
    // Time enough for somebody to come and look.
    key("oplog_window_warning", Kind::Duration, Default::Text("1h")),
    key("signal_collection", Kind::Text, Default::Text("")),
    table("snapshot", SNAPSHOT),
    table("heartbeat", HEARTBEAT),
    key("value", Kind::Choice(words::<RecordValue>), Default::Text("event")),
    // JSON is what most consumers read, and what the official connector writes.
    key("format", Kind::Choice(words::<Format>), Default::Text("json")),
    key("key_format", Kind::Choice(words::<KeyFormat>), Default::Text("")),
    key("json_style", Kind::Choice(words::<json::Style>), Default::Text("strict")),
    key("key", Kind::Choice(words::<KeyKind>), Default::Text("document_key")),
    key("key_fields", Kind::List, Default::List(&[])),
    key("tombstones", Kind::Boolean, Default::Boolean(true)),
    key("headers", Kind::Choice(words::<Headers>), Default::Text("auto")),
    key("timestamp", Kind::Choice(words::<Timestamp>), Default::Text("cluster_time")),
    key("debezium_name", Kind::Text, Default::Text("")),
    key("debezium_schemas", Kind::Boolean, Default::Boolean(false)),
    key("topic", Kind::Text, Default::Text("{db}.{coll}")),
    key("partition_by", Kind::Choice(words::<PartitionBy>), Default::Text("key")),
    key("route", Kind::Tables(ROUTE), Default::None),
    table("topic_creation", TOPIC_CREATION),
    key("transform", Kind::Tables(TRANSFORM), Default::None),
    table("errors", ERRORS),
    table("mongodb", MONGODB),
    table("kafka", KAFKA),
];

const SNAPSHOT: &[Key] = &[
    key("mode", Kind::Choice(words::<SnapshotMode>), Default::Text("off")),
    key("namespaces", Kind::List, Default::List(&["*"])),
    key("pipeline", Kind::Text, Default::Text("[]")),
    // One range at the server while another is written.
    key("threads", Kind::Integer, Default::Integer(2)),
    // Large enough to be fast, small enough for the stream not to wait long.
    key("range_size", Kind::Integer, Default::Integer(10_000)),
    key("max_documents_per_second", Kind::Integer, Default::Integer(0)),
];

const HEARTBEAT: &[Key] = &[
    key("interval", Kind::Duration, Default::Text("0s")),
    // The official connector's.
    key("topic", Kind::Text, Default::Text("__mongodb_heartbeats")),
];

const ROUTE: &[Key] = &[key("match", Kind::Text, Default::None), key("topic", Kind::Text, Default::None)];

const TOPIC_CREATION: &[Key] = &[
    key("enabled", Kind::Boolean, Default::Boolean(true)),
    key("partitions", Kind::Integer, Default::Integer(0)),
    key("replication", Kind::Integer, Default::Integer(0)),
    key("config", Kind::Properties, Default::None),
];

const TRANSFORM: &[Key] = &[
    key("namespaces", Kind::List, Default::List(&["*"])),
    key("drop", Kind::Text, Default::Text("")),
    key("include", Kind::List, Default::List(&[])),
    key("exclude", Kind::List, Default::List(&[])),
    key("redact", Kind::List, Default::List(&[])),
    key("hash", Kind::List, Default::List(&[])),
    key("hash_key", Kind::Secret, Default::None),
    key("set", Kind::Text, Default::Text("")),
    key("rename", Kind::Properties, Default::None),
];

const ERRORS: &[Key] = &[
    key("encoding", Kind::Choice(words::<ErrorPolicy>), Default::Text("fail")),
    key("record_too_large", Kind::Choice(words::<ErrorPolicy>), Default::Text("fail")),
    key("event_too_large", Kind::Choice(words::<LargeEvent>), Default::Text("fail")),
    key("missing_image", Kind::Choice(words::<ErrorPolicy>), Default::Text("fail")),
    key("dead_letter_topic", Kind::Text, Default::Text("")),
];

const SINK: &[Key] = &[
    // Required, for the same reason as a source's `watch`.
    key("topics", Kind::List, Default::None),
    key("value", Kind::Choice(words::<ValueShape>), Default::Text("event")),
    key("format", Kind::Choice(words::<ReadFormat>), Default::Text("json")),
    key("key_format", Kind::Choice(words::<KeyReadFormat>), Default::Text("")),
    key("types", Kind::Properties, Default::None),
    key("namespace", Kind::Text, Default::Text("{db}.{coll}")),
    key("allow", Kind::List, Default::List(&["*"])),
    key("ddl", Kind::Choice(words::<Ddl>), Default::Text("ignore")),
    // A delete may be on its way; to make up a document from a few of its fields would be worse.
    key("missing_document", Kind::Choice(words::<MissingDocument>), Default::Text("skip")),
    key("remove_nulls", Kind::Boolean, Default::Boolean(false)),
    key("on_tombstone", Kind::Choice(words::<OnTombstone>), Default::Text("delete")),
    // One command at the server while the next is made; more helps where the server has cores to spare.
    key("lanes", Kind::Integer, Default::Integer(2)),
    key("write_concern", Kind::Text, Default::Text("majority")),
    key("max_records_per_second", Kind::Integer, Default::Integer(0)),
    // Long enough for the other partitions of a topic to catch up.
    key("unique_conflict_timeout", Kind::Duration, Default::Text("30s")),
    // Stopping is the only answer that loses nothing silently.
    key("on_history_lost", Kind::Choice(words::<SinkHistoryLost>), Default::Text("fail")),
    // Two processes with one id would throw each other out, so nobody has one without asking for it.
    key("instance_id", Kind::Text, Default::Text("")),
    key("transform", Kind::Tables(TRANSFORM), Default::None),
    key("step", Kind::Tables(STEP), Default::None),
    table("id", ID),
    table("write", WRITE),
    table("timeseries", TIME_SERIES),
    table("errors", SINK_ERRORS),
    key("override", Kind::Tables(OVERRIDE), Default::None),
    table("batch", BATCH),
    table("mongodb", MONGODB),
    table("kafka", KAFKA),
];

/// What a sink's override may have: whatever concerns a record alone. What is not given is the sink's.
const OVERRIDE: &[Key] = &[
    key("topics", Kind::List, Default::None),
    key("value", Kind::Choice(words::<ValueShape>), Default::None),
    key("format", Kind::Choice(words::<ReadFormat>), Default::None),
    key("key_format", Kind::Choice(words::<KeyReadFormat>), Default::None),
    key("types", Kind::Properties, Default::None),
    key("namespace", Kind::Text, Default::None),
    key("ddl", Kind::Choice(words::<Ddl>), Default::None),
    key("missing_document", Kind::Choice(words::<MissingDocument>), Default::None),
    key("remove_nulls", Kind::Boolean, Default::None),
    key("on_tombstone", Kind::Choice(words::<OnTombstone>), Default::None),
    key("transform", Kind::Tables(TRANSFORM), Default::None),
    key("step", Kind::Tables(STEP), Default::None),
    key("id", Kind::GivenTable(ID), Default::None),
    key("write", Kind::GivenTable(WRITE), Default::None),
    key("timeseries", Kind::GivenTable(TIME_SERIES), Default::None),
];

const STEP: &[Key] = &[
    key("on", Kind::Choice(words::<Side>), Default::Text("value")),
    key("allow", Kind::List, Default::None),
    key("block", Kind::List, Default::None),
    key("rename", Kind::Properties, Default::None),
    key("rename_regex", Kind::Text, Default::Text("")),
    key("pattern", Kind::Text, Default::Text("")),
    key("replace", Kind::Text, Default::Text("")),
    key("remove_nulls", Kind::Boolean, Default::Boolean(false)),
    key("add_metadata", Kind::Boolean, Default::Boolean(false)),
    key("add_id", Kind::Boolean, Default::Boolean(false)),
    key("set", Kind::Text, Default::Text("")),
];

const ID: &[Key] = &[
    key("strategy", Kind::Choice(words::<IdStrategy>), Default::Text("auto")),
    key("overwrite", Kind::Boolean, Default::Boolean(false)),
    key("uuid_format", Kind::Choice(words::<UuidFormat>), Default::Text("string")),
    key("stable", Kind::Boolean, Default::Boolean(false)),
    key("allow", Kind::List, Default::List(&[])),
    key("block", Kind::List, Default::List(&[])),
];

const WRITE: &[Key] = &[
    key("model", Kind::Choice(words::<WriteModel>), Default::Text("replace")),
    key("by", Kind::Choice(words::<WriteBy>), Default::Text("id")),
    key("timestamps", Kind::Boolean, Default::Boolean(false)),
    key("delete_by", Kind::Choice(words::<WriteBy>), Default::Text("id")),
    key("filter", Kind::Text, Default::Text("")),
    key("update", Kind::Text, Default::Text("")),
    key("upsert", Kind::Boolean, Default::Boolean(true)),
];

const TIME_SERIES: &[Key] = &[
    key("time_field", Kind::Text, Default::Text("")),
    key("meta_field", Kind::Text, Default::Text("")),
    key("granularity", Kind::Choice(words::<Granularity>), Default::Text("")),
    key("expire_after", Kind::Duration, Default::Text("0s")),
    key("convert", Kind::Boolean, Default::Boolean(false)),
    key("date_format", Kind::Text, Default::Text("")),
];

const SINK_ERRORS: &[Key] = &[
    // Stopping is the only answer that loses nothing silently.
    key("tolerance", Kind::Choice(words::<Tolerance>), Default::Text("none")),
    key("dead_letter_topic", Kind::Text, Default::Text("")),
    // More than a few bad records, fewer than a topic that is bad altogether.
    key("max_dead_letters_per_minute", Kind::Integer, Default::Integer(1000)),
];

const BATCH: &[Key] = &[
    key("max_records", Kind::Integer, Default::Integer(5000)),
    key("max_bytes", Kind::Size, Default::Text("8MB")),
    // Short enough not to be felt, long enough to fill a batch from a busy topic.
    key("max_age", Kind::Duration, Default::Text("50ms")),
];

const CHECKPOINT: &[Key] = &[
    // Next to the records: what stores the one stores the other.
    key("store", Kind::Choice(words::<StoreKind>), Default::Text("kafka")),
    key("interval", Kind::Duration, Default::Text("1s")),
    key("namespace", Kind::Text, Default::Text("millrace.checkpoints")),
    key("uri", Kind::Uri, Default::None),
    key("directory", Kind::Text, Default::Text("checkpoints")),
];

const ADMIN: &[Key] = &[
    key("enabled", Kind::Boolean, Default::Boolean(true)),
    // Loopback, because what it shows is not for everybody.
    key("listen", Kind::Text, Default::Text("127.0.0.1:9464")),
    key("token", Kind::Secret, Default::None),
];

const LIMITS: &[Key] = &[
    // Four of the largest replies that a server sends.
    key("memory", Kind::Size, Default::Text("64MB")),
    // Under the 30 seconds that Kubernetes waits before it kills.
    key("shutdown_timeout", Kind::Duration, Default::Text("10s")),
];

const LOG: &[Key] = &[
    key("format", Kind::Choice(words::<LogFormat>), Default::Text("auto")),
    key("level", Kind::Text, Default::Text("info")),
    // Identifiers of documents are data of the user's users.
    key("identifiers", Kind::Boolean, Default::Boolean(false)),
];

impl Kind {
    /// What to write, for the message about something else.
    pub(super) fn expected(self) -> String {
        match self {
            Self::Text | Self::Uri | Self::Secret => "text in quotes".into(),
            Self::Boolean => "true or false".into(),
            Self::Integer => "a whole number".into(),
            Self::Size => "a size like \"64MB\", or a number of bytes".into(),
            Self::Duration => "a duration like \"1s\", in quotes".into(),
            Self::Start => {
                "\"latest\", a time like \"2026-11-23T03:00:00Z\", a cluster time like \"1795398199:31\" or \"token:8264…\""
                    .into()
            }
            Self::Choice(words) => one_of(&words()),
            Self::List => "a list of texts, like [\"shop.*\"]".into(),
            Self::Table(_) | Self::GivenTable(_) => "a table".into(),
            Self::Named(_) => "a table of tables, one for each name".into(),
            Self::Tables(_) => "a list of tables ([[…]])".into(),
            Self::Properties => "a table of properties".into(),
        }
    }
}

impl Default {
    fn value(self) -> Option<Value> {
        match self {
            Self::None => None,
            Self::Text(text) => Some(text.into()),
            Self::Integer(number) => Some(number.into()),
            Self::Boolean(flag) => Some(flag.into()),
            Self::List(texts) => Some(texts.to_vec().into()),
        }
    }
}

/// The defaults of `keys`, and of every named table that `present` has.
pub(super) fn defaults(keys: &[Key], present: &Dict) -> Dict {
    let dict_at = |name: &str| present.get(name).and_then(Value::as_dict).cloned().unwrap_or_default();
    let mut defaults = Dict::new();
    for key in keys {
        let value = match key.kind {
            Kind::Table(inner) => Some(self::defaults(inner, &dict_at(key.name)).into()),
            Kind::GivenTable(inner) => {
                present.contains_key(key.name).then(|| self::defaults(inner, &dict_at(key.name)).into())
            }
            // Without a half in it, the table is as good as absent.
            Kind::Named(inner) => {
                let of_half = |half: &Value| self::defaults(inner, half.as_dict().unwrap_or(&Dict::new()));
                let given = dict_at(key.name);
                let halves: Dict =
                    given.iter().map(|(name, half)| (name.clone(), of_half(half).into())).collect();
                (!halves.is_empty()).then(|| halves.into())
            }
            Kind::Properties => Some(Dict::new().into()),
            // Lists are not merged: a table in one gets its defaults where it is read.
            Kind::Tables(_) => None,
            _ => key.default.value(),
        };
        if let Some(value) = value {
            defaults.insert(key.name.into(), value);
        }
    }
    defaults
}

/// The message about a key that is not in `keys`.
pub(super) fn unknown_key(name: &str, keys: &[Key]) -> String {
    let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
    if let Some(nearest) = nearest(name, &names) {
        return format!("is not a key; did you mean {nearest:?}?");
    }
    match home(name, ROOT, "") {
        Some(place) => format!("is not a key here; it belongs to {place}"),
        None => format!("is not a key; allowed: {}", names.join(", ")),
    }
}

/// The table in which `name` is a key.
fn home(name: &str, keys: &[Key], place: &str) -> Option<String> {
    if keys.iter().any(|key| key.name == name) {
        return Some(if place.is_empty() { "the top of the file".into() } else { format!("[{place}]") });
    }
    keys.iter().find_map(|key| {
        let place = if place.is_empty() { key.name.into() } else { format!("{place}.{}", key.name) };
        match key.kind {
            Kind::Table(inner) | Kind::GivenTable(inner) => home(name, inner, &place),
            Kind::Named(inner) => home(name, inner, &format!("{place}.NAME")),
            Kind::Tables(inner) => home(name, inner, &place),
            _ => None,
        }
    })
}

/// The one of `candidates` that `word` is most likely a slip for.
pub(super) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let slips_allowed = (word.chars().count() / 3).max(1);
    let ranked = candidates
        .iter()
        .map(|&candidate| (distance(&word.to_lowercase(), &candidate.to_lowercase()), candidate));
    ranked
        .filter(|(slips, _)| *slips <= slips_allowed)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// How many characters to insert, remove, replace, or swap with their neighbour, to turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                let swapped: &Vec<usize> = &before_last;
                least = least.min(swapped[j - 2] + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// "one of …", for a message.
pub(super) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("one of {}", quoted.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_finger_find_the_nearest_key() {
        let candidates = ["watch", "exclude", "batch_size", "max_await"];
        for (slip, meant) in [
            ("wacth", Some("watch")),
            ("Watch", Some("watch")),
            ("excludes", Some("exclude")),
            ("batchsize", Some("batch_size")),
            ("max-await", Some("max_await")),
            ("pipeline", None),
            ("x", None),
        ] {
            assert_eq!(nearest(slip, &candidates), meant, "{slip}");
        }
    }

    #[test]
    fn an_unknown_key_is_answered_with_the_nearest_its_home_or_the_list() {
        assert_eq!(unknown_key("nmae", ROOT), "is not a key; did you mean \"name\"?");
        assert_eq!(unknown_key("bootstrap_servers", ROOT), "is not a key here; it belongs to [kafka]");
        assert_eq!(unknown_key("lanes", SOURCE), "is not a key here; it belongs to [sinks.NAME]");
        assert_eq!(unknown_key("zzzzzz", MONGODB), "is not a key; allowed: uri");
    }
}
