//! The configuration of Kafka Connect's connectors as a second front door: their JSON in, TOML and remarks out. Pure.
//!
//! ```text
//! connector.json, worker.properties ▶ read ▶ check each key ▶ carry over, connector by connector ▶ TOML
//! ```
//!
//! Known are the official source and sink connectors and Debezium's MongoDB source connector. Every key that is given
//! either becomes something, or a [`Remark`] names it with the reason; a key that a connector would refuse is refused
//! here, all of them at once. What loses data in the official connector is not imitated, and a remark says so.
//!
//! What is promised of the text: `config::load` takes it whenever no remark weighs more than [`Weight::Note`] and the
//! references in it can be resolved. Secrets appear in it as they came; remarks never quote a value that may be one.

mod connect;
mod converters;
mod debezium;
mod fields;
mod keys;
mod partition;
mod properties;
mod read;
mod reader;
mod shell;
mod sink;
mod source;
mod toml;
mod topics;
mod watch;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt};

pub use self::{
    keys::{CONNECT, DEBEZIUM, OFFICIAL_SINK, OFFICIAL_SOURCE, Spec},
    partition::offset_partition,
    read::{read_connector, read_properties},
};
use self::{
    reader::Reader,
    toml::{Table, Value},
};
use crate::namespace::is_topic_byte;

/// Keys and values, as Connect's REST interface and Java's properties files have them.
pub type Properties = BTreeMap<String, String>;

/// One connector, as Connect's REST interface takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connector {
    /// Its name.
    pub name: Option<String>,
    /// Its keys.
    pub config: Properties,
}

/// What became of the connectors.
#[derive(Debug)]
pub struct Imported {
    /// The configuration; none where a connector was refused.
    pub toml: Option<String>,
    /// Which connectors (by their place among those given) became sources, and how these are called.
    pub sources: Vec<(usize, String)>,
    /// The same of sinks.
    pub sinks: Vec<(usize, String)>,
    /// What there is to say, in the order of the connectors.
    pub remarks: Vec<Remark>,
}

/// What became of one key, where that is not simply the same thing under another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The connector's name.
    pub connector: String,
    /// The key.
    pub key: String,
    /// Whether the result can be used in spite of it.
    pub weight: Weight,
    /// What happened, or why not.
    pub message: String,
}

/// How much a remark weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Nothing that changes the data, or keeps it from moving.
    Note,
    /// Not carried over, and without it the data would be other data, or would not move.
    Missing,
    /// The configuration is wrong, and the connector would refuse it too.
    Refused,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = match self.weight {
            Weight::Note => "",
            Weight::Missing => "NOT CARRIED OVER: ",
            Weight::Refused => "REFUSED: ",
        };
        write!(f, "{}: {}: {weight}{}", self.connector, self.key, self.message)
    }
}

impl Imported {
    /// Whether the configuration can be run as it is, and moves the data that the connectors moved.
    pub fn can_run(&self) -> bool {
        self.toml.is_some() && self.remarks.iter().all(|remark| remark.weight == Weight::Note)
    }
}

/// One half of the pipeline to be.
struct Half {
    is_source: bool,
    name: String,
    uri: String,
    kafka: properties::Kafka,
    table: Table,
}

/// Makes one pipeline of `connectors`. Its name is `name`, or that of the first connector; `worker` is the worker's
/// properties file, which knows the Kafka cluster and the converters.
pub fn import(connectors: &[Connector], worker: Option<&Properties>, name: Option<&str>) -> Imported {
    let mut remarks = Vec::new();
    let mut halves: Vec<Half> = Vec::new();
    let (mut sources, mut sinks) = (Vec::new(), Vec::new());
    for (number, connector) in connectors.iter().enumerate() {
        let given = connector.name.as_deref().unwrap_or("connector");
        let mut reader = Reader::new(given, &connector.config, worker);
        let half = half(&mut reader);
        reader.name_rest();
        remarks.extend(reader.into_remarks());
        if let Some(mut half) = half {
            half.name = unused(legal(given), &halves);
            let named = if half.is_source { &mut sources } else { &mut sinks };
            named.push((number, half.name.clone()));
            halves.push(half);
        }
    }
    let pipeline = legal(name.or(connectors.first().and_then(|c| c.name.as_deref())).unwrap_or("pipeline"));
    let is_refused = remarks.iter().any(|remark| remark.weight == Weight::Refused);
    let toml = (!is_refused && !halves.is_empty()).then(|| document(&pipeline, halves));
    Imported { toml, sources, sinks, remarks }
}

/// The connector as a half; `None` where there is none to be made of it, and a remark says why.
fn half(reader: &mut Reader<'_>) -> Option<Half> {
    let class = reader.given("connector.class").unwrap_or_default().to_owned();
    let simple = class.rsplit('.').next().unwrap_or_default();
    match simple {
        "MongoSourceConnector" => source::source(reader),
        "MongoSinkConnector" => sink::sink(reader),
        "MongoDbConnector" => debezium::source(reader),
        "" => reader.refuse("connector.class", "is required"),
        _ => reader.refuse(
            "connector.class",
            "is no connector that can be imported; those are com.mongodb.kafka.connect.MongoSourceConnector, \
             com.mongodb.kafka.connect.MongoSinkConnector and io.debezium.connector.mongodb.MongoDbConnector",
        ),
    }
}

/// `name` as a pipeline or a half can have it.
fn legal(name: &str) -> String {
    const LONGEST: usize = 100;
    let legal = |c: char| if u8::try_from(c).is_ok_and(is_topic_byte) { c } else { '-' };
    let name: String = name.chars().map(legal).take(LONGEST).collect();
    if name.is_empty() { "pipeline".into() } else { name }
}

/// `name`, with a number behind it where another half has it.
fn unused(name: String, halves: &[Half]) -> String {
    let is_free = |name: &str| halves.iter().all(|half| half.name != name);
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    [name.clone()].into_iter().chain(numbered).find(|name| is_free(name)).unwrap_or(name)
}

/// The whole configuration. What all halves have in common stands once, above them.
fn document(pipeline: &str, halves: Vec<Half>) -> String {
    let mut root = Table::default();
    root.put("name", pipeline);
    let uri = halves.first().map_or_else(String::new, |half| half.uri.clone());
    let servers = halves.first().map_or_else(String::new, |half| half.kafka.bootstrap_servers.clone());
    let common =
        properties::common(halves.iter().map(|half| &half.kafka).filter(|k| k.bootstrap_servers == servers));
    root.put("mongodb", Table::of([("uri", uri.clone().into())]));
    let mut kafka = Table::of([("bootstrap_servers", servers.clone().into())]);
    kafka.put("properties", properties::table(&common));
    root.put("kafka", kafka);
    let (mut sources, mut sinks) = (Table::default(), Table::default());
    for half in halves {
        let mut table = half.table;
        if half.uri != uri {
            table.put("mongodb", Table::of([("uri", half.uri.into())]));
        }
        let mut own = half.kafka.properties;
        let mut kafka = Table::default();
        if half.kafka.bootstrap_servers == servers {
            own.retain(|name, value| common.get(name) != Some(value));
        } else {
            kafka.put("bootstrap_servers", half.kafka.bootstrap_servers);
        }
        kafka.put("properties", properties::table(&own));
        table.put("kafka", kafka);
        let halves = if half.is_source { &mut sources } else { &mut sinks };
        halves.put(&half.name, Value::Always(table));
    }
    root.put("sources", sources);
    root.put("sinks", sinks);
    format!("# Made by `millrace import`. Every key and its default: config.toml.example.\n\n{}", root.text())
}
