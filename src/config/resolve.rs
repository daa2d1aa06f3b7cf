//! From the merged tree to [`Settings`]: every value is parsed, every problem is reported with its place.
//!
//! A value that is missing from the tree although it has a default has been reported before; so is every `None` that a
//! method here returns. Nothing is decided from half of the settings: they come out whole or not at all.

mod document;
mod halves;
mod reading;
mod sink;
mod source;
mod transform;

use std::{collections::BTreeMap, net::SocketAddr};

use self::reading::{Reader, Section};
pub(crate) use self::source::parse_pipeline;
use super::{
    Admin, Checkpoint, CheckpointStore, Invalid, Kafka, Log, Mongodb, Problem, Secret, Settings,
    choice::StoreKind,
    connection::{check_bootstrap_servers, check_property, check_uri},
    layers::{Expanded, Places},
    problem::KeyPath,
    units::parse_duration,
};
use crate::namespace::{Glob, Namespace, Pattern, is_topic_byte};

/// What the halves have in common.
struct Shared<'a> {
    mongodb: Option<Mongodb>,
    kafka: Section<'a>,
    bootstrap_servers: Option<String>,
    properties: BTreeMap<String, Secret>,
}

/// The settings, or `None` with at least one more problem than there were.
pub(super) fn settings(
    expanded: &Expanded,
    places: &Places,
    problems: &mut Vec<Problem>,
) -> Option<Settings> {
    let mut reader = Reader::new(expanded, places, problems);
    let root = Section::root(&expanded.tree);
    let name =
        reader.required(&root, "name", "the checkpoints and consumer groups are named after it", check_name);
    let shared = shared(&mut reader, &root);
    let checkpoint = checkpoint(&mut reader, &root, &shared);
    let pipeline = name.as_deref().unwrap_or_default();
    let mut sources = halves::sources(&mut reader, &root, pipeline, &shared);
    let mut sinks = halves::sinks(&mut reader, &root, &shared);
    if root.lacks_tables("sources") && root.lacks_tables("sinks") {
        let message = "there is nothing to do; add [sources.NAME] or [sinks.NAME]".into();
        reader.report(&KeyPath::default(), message);
    }
    halves::refuse_loops(&mut reader, &sources, &sinks);
    let log = log(&mut reader, &root.section("log"));
    let admin = admin(&mut reader, &root.section("admin"));
    let limits = root.section("limits");
    let memory_bytes = reader.size(&limits, "memory");
    let shutdown_timeout = reader.parse(&limits, "shutdown_timeout", parse_duration);
    let checkpoint = checkpoint?;
    exclude_own_collection(&checkpoint, &mut sources, &mut sinks);
    Some(Settings {
        name: name?,
        log: log?,
        admin: admin?,
        memory_bytes: memory_bytes?,
        shutdown_timeout: shutdown_timeout?,
        checkpoint,
        sources,
        sinks,
    })
}

/// The outer `None` is a problem, the inner one an interface that is switched off.
fn admin(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Option<Admin>> {
    let token = reader.parse_unshown(section, "token", |text| {
        if text.is_empty() { Err(Invalid("is empty".into())) } else { Ok(Secret::new(text)) }
    });
    let is_local = |listen: &SocketAddr| listen.ip().is_loopback() || section.has("token");
    let listen = reader.parse(section, "listen", |text| {
        let listen = text
            .parse::<SocketAddr>()
            .map_err(|_| Invalid("is no address; write one like \"127.0.0.1:9464\"".into()))?;
        if is_local(&listen) {
            return Ok(listen);
        }
        Err(Invalid("can be reached from elsewhere; set admin.token too, or listen on 127.0.0.1".into()))
    });
    let enabled = reader.flag(section, "enabled")?;
    let listen = listen?;
    Some(enabled.then_some(Admin { listen, token }))
}

/// Names become parts of topic and group names, and of file names.
fn check_name(name: &str) -> Result<String, Invalid> {
    // Two of them and the fixed parts of a checkpoint's name fit into a topic's name.
    const LONGEST: usize = 100;
    if name.is_empty() || name.len() > LONGEST || !name.bytes().all(is_topic_byte) {
        return Err(Invalid(format!(
            "is no name; allowed: up to {LONGEST} ASCII letters, digits, -, _ and ., because topics and groups are named after it"
        )));
    }
    Ok(name.into())
}

fn shared<'a>(reader: &mut Reader<'_>, root: &Section<'a>) -> Shared<'a> {
    let kafka = root.section("kafka");
    Shared {
        mongodb: reader.parse(&root.section("mongodb"), "uri", check_uri),
        bootstrap_servers: reader.parse(&kafka, "bootstrap_servers", check_bootstrap_servers),
        properties: properties(reader, &kafka),
        kafka,
    }
}

fn properties(reader: &mut Reader<'_>, kafka: &Section<'_>) -> BTreeMap<String, Secret> {
    let section = kafka.section("properties");
    let names: Vec<String> = section.keys().cloned().collect();
    let mut properties = BTreeMap::new();
    for name in names {
        let check = |value: &str| check_property(&name, value).map(|()| Secret::new(value));
        properties.extend(reader.parse_unshown(&section, &name, check).map(|value| (name.clone(), value)));
    }
    properties
}

impl Shared<'_> {
    /// The deployment of the half at `half`: its own, or the one that all share.
    fn mongodb_of(&self, reader: &mut Reader<'_>, half: &Section<'_>) -> Option<Mongodb> {
        let own = half.section("mongodb");
        if own.has("uri") {
            return reader.parse(&own, "uri", check_uri);
        }
        if self.mongodb.is_none() {
            let default = KeyPath::from(["mongodb", "uri"]);
            reader.missing(
                &default,
                &half.path,
                &format!("is required: {} has no uri of its own", half.path),
            );
        }
        self.mongodb.clone()
    }

    /// The cluster of the half at `half`. Where the half names its own servers, the shared properties do not apply:
    /// credentials must not be sent to a cluster that they were not written for.
    fn kafka_of(&self, reader: &mut Reader<'_>, half: &Section<'_>) -> Option<Kafka> {
        let own = half.section("kafka");
        let own_properties = properties(reader, &own);
        if own.has("bootstrap_servers") {
            let bootstrap_servers = reader.parse(&own, "bootstrap_servers", check_bootstrap_servers)?;
            return Some(Kafka { bootstrap_servers, properties: own_properties });
        }
        if self.bootstrap_servers.is_none() {
            let default = self.kafka.path("bootstrap_servers");
            reader.missing(&default, &half.path, &format!("is required: {} has none of its own", half.path));
        }
        let mut properties = self.properties.clone();
        properties.extend(own_properties);
        Some(Kafka { bootstrap_servers: self.bootstrap_servers.clone()?, properties })
    }
}

fn checkpoint(reader: &mut Reader<'_>, root: &Section<'_>, shared: &Shared<'_>) -> Option<Checkpoint> {
    let section = root.section("checkpoint");
    let kind = reader.choice::<StoreKind>(&section, "store");
    let interval = reader.positive_duration(&section, "interval");
    let namespace = reader.parse(&section, "namespace", Namespace::parse);
    let directory = reader.parse(&section, "directory", |text| {
        if text.is_empty() {
            Err(Invalid("is empty; write a directory, \".\" for the working directory".into()))
        } else {
            Ok(text.into())
        }
    });
    let own_uri = section.has("uri").then(|| reader.parse(&section, "uri", check_uri));
    let store = match kind? {
        StoreKind::Kafka => CheckpointStore::Kafka,
        StoreKind::File => CheckpointStore::File { directory: directory? },
        StoreKind::Mongodb => {
            let mongodb = own_uri.unwrap_or_else(|| shared.mongodb.clone());
            if mongodb.is_none() {
                let message = "is required: the store is \"mongodb\" and there is no uri under [mongodb]";
                reader.missing(&section.path("uri"), &["mongodb", "uri"].into(), message);
            }
            CheckpointStore::Mongodb { mongodb: mongodb?, namespace: namespace? }
        }
    };
    Some(Checkpoint { store, interval: interval? })
}

fn log(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Log> {
    let format = reader.choice(section, "format");
    let identifiers = reader.flag(section, "identifiers");
    let level = reader.parse(section, "level", |text| match text.parse::<tracing_subscriber::EnvFilter>() {
        Ok(_) if !text.trim().is_empty() => Ok(text.to_owned()),
        _ => Err(Invalid("is no log level; write error, warn, info, debug or trace, or a filter like \"info,millrace=debug\"".into())),
    });
    Some(Log { format: format?, level: level?, identifiers: identifiers? })
}

/// Positions are changes too: a daemon that read its own would never come to rest.
fn exclude_own_collection(checkpoint: &Checkpoint, sources: &mut [super::Source], sinks: &mut [super::Sink]) {
    let CheckpointStore::Mongodb { mongodb, namespace } = &checkpoint.store else { return };
    let own = Pattern::Glob {
        db: Glob { text: namespace.db.clone() },
        coll: Glob { text: namespace.coll.clone() },
    };
    for source in sources.iter_mut().filter(|source| source.mongodb == *mongodb) {
        source.watch.exclude.push(own.clone());
    }
    for sink in sinks.iter_mut().filter(|sink| sink.mongodb == *mongodb) {
        sink.allow.exclude.push(own.clone());
    }
}
