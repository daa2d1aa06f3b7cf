//! Properties of Java's Kafka clients as those of librdkafka.

use std::collections::BTreeMap;

use super::{Properties, reader::Reader, toml::Table};
use crate::config;

/// A Kafka cluster, and what clients are told about it.
pub(super) struct Kafka {
    pub(super) bootstrap_servers: String,
    pub(super) properties: Properties,
}

/// Which of Connect's clients it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    Producer,
    Consumer,
}

/// What Connect itself takes where nothing is said.
const DEFAULT_SERVERS: &str = "localhost:9092";

/// Other names for the same thing.
const RENAMED: &[(&str, &str)] = &[
    ("receive.buffer.bytes", "socket.receive.buffer.bytes"),
    ("send.buffer.bytes", "socket.send.buffer.bytes"),
    ("fetch.max.wait.ms", "fetch.wait.max.ms"),
    ("max.request.size", "message.max.bytes"),
    ("ssl.truststore.certificates", "ssl.ca.pem"),
    ("ssl.keystore.certificate.chain", "ssl.certificate.pem"),
    ("ssl.keystore.key", "ssl.key.pem"),
    ("ssl.cipher.suites", "ssl.cipher.suites"),
];

/// What the daemon sees to itself, or what only a Java client needs.
const NOT_NEEDED: &[&str] = &[
    "acks",
    "auto.offset.reset",
    "buffer.memory",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.idempotence",
    "key.deserializer",
    "key.serializer",
    "max.block.ms",
    "max.in.flight.requests.per.connection",
    "max.poll.records",
    "partitioner.ignore.keys",
    "retries",
    "ssl.keystore.type",
    "ssl.truststore.type",
    "ssl.protocol",
    "ssl.enabled.protocols",
    "transactional.id",
    "value.deserializer",
    "value.serializer",
    "group.id",
    "request.timeout.ms",
    "metric.reporters",
    "metrics.num.samples",
    "metrics.recording.level",
    "metrics.sample.window.ms",
    "auto.commit.interval.ms",
];

/// The cluster of the connector's records.
pub(super) fn kafka(reader: &mut Reader<'_>, client: Client) -> Kafka {
    let (prefix, key) = match client {
        Client::Producer => ("producer.", "producer.override."),
        Client::Consumer => ("consumer.", "consumer.override."),
    };
    // What is said later wins: of the worker itself, of its clients, of the connector's.
    let mut java: BTreeMap<String, (String, &str)> = BTreeMap::new();
    for (name, value) in reader.worker_keys().into_iter().flatten() {
        let is_shared = ["security.", "sasl.", "ssl."].iter().any(|shared| name.starts_with(shared));
        if is_shared || name == "bootstrap.servers" {
            java.entry(name.clone()).or_insert((name.clone(), value));
        }
        if let Some(own) = name.strip_prefix(prefix) {
            java.insert(own.to_owned(), (name.clone(), value));
        }
    }
    for (own, value) in reader.below(key) {
        java.insert(own.to_owned(), (format!("{key}{own}"), value));
    }
    let servers = java.remove("bootstrap.servers");
    if servers.is_none() {
        let message = format!("is not known (see --worker); taken for {DEFAULT_SERVERS}, as Connect would");
        reader.note("bootstrap.servers", message);
    }
    let bootstrap_servers =
        servers.map_or_else(|| DEFAULT_SERVERS.to_owned(), |(_, servers)| without_schemes(servers));
    if config::check_bootstrap_servers(&bootstrap_servers).is_err() {
        reader.refuse::<()>("bootstrap.servers", "is no list of host:port");
    }
    let mut properties = Properties::new();
    let has_pem_store =
        java.get("ssl.truststore.type").is_some_and(|(_, kind)| kind.eq_ignore_ascii_case("PEM"));
    for (own, (key, value)) in &java {
        property(reader, own, key, value, has_pem_store, &mut properties);
    }
    Kafka { bootstrap_servers, properties }
}

/// Java takes `SASL_SSL://host:port` too; the protocol is told by security.protocol.
fn without_schemes(servers: &str) -> String {
    let servers = servers.split(',').map(|server| server.trim().rsplit("://").next().unwrap_or_default());
    servers.collect::<Vec<_>>().join(",")
}

fn property(
    reader: &mut Reader<'_>,
    own: &str,
    key: &str,
    value: &str,
    has_pem_store: bool,
    properties: &mut Properties,
) {
    let renamed = RENAMED.iter().find(|(java, _)| *java == own).map_or(own, |(_, renamed)| renamed);
    let mut put = |reader: &mut Reader<'_>, name: &str, value: &str| {
        let value = reader.translated(key, value);
        // Where a part comes by reference nothing can be said about it yet.
        if !value.contains("${") && config::check_property(name, &value).is_err() {
            reader
                .lack(key, "is nothing that librdkafka takes; see its CONFIGURATION.md for what comes near");
            return;
        }
        properties.insert(name.to_owned(), value);
    };
    match own {
        _ if NOT_NEEDED.contains(&own) => {}
        "ssl.truststore.location" if has_pem_store => put(reader, "ssl.ca.location", value),
        "ssl.truststore.location" | "ssl.truststore.password" => {
            reader.lack(key, "a store of Java; write ssl.ca.location (PEM) under kafka.properties");
        }
        "sasl.jaas.config" => match credentials(value) {
            Some((user, password)) => {
                put(reader, "sasl.username", &user);
                put(reader, "sasl.password", &password);
            }
            None => reader.lack(key, "has no username and password; see librdkafka's sasl.* properties"),
        },
        "ssl.endpoint.identification.algorithm" if value.trim().is_empty() => put(reader, own, "none"),
        "security.protocol" => put(reader, own, &value.trim().to_lowercase()),
        "interceptor.classes"
        | "partitioner.class"
        | "sasl.client.callback.handler.class"
        | "sasl.login.callback.handler.class" => {
            reader.lack(key, "there are no classes of one's own");
        }
        _ => put(reader, renamed, value),
    }
}

/// `username` and `password` of a login module's options.
fn credentials(jaas: &str) -> Option<(String, String)> {
    let option = |name: &str| {
        let (_, rest) = jaas.split_once(&format!("{name}="))?;
        let quote = rest.chars().next().filter(|c| ['"', '\''].contains(c));
        let mut value = String::new();
        let mut chars = rest.chars().skip(usize::from(quote.is_some()));
        while let Some(c) = chars.next() {
            match (c, quote) {
                ('\\', Some(_)) => value.extend(chars.next()),
                (c, Some(quote)) if c == quote => break,
                (';', None) => break,
                (c, None) if c.is_whitespace() => break,
                (c, _) => value.push(c),
            }
        }
        Some(value)
    };
    Some((option("username")?, option("password")?))
}

/// What all of these have in common.
pub(super) fn common<'a>(mut clusters: impl Iterator<Item = &'a Kafka>) -> Properties {
    let mut common = clusters.next().map(|kafka| kafka.properties.clone()).unwrap_or_default();
    for kafka in clusters {
        common.retain(|name, value| kafka.properties.get(name) == Some(value));
    }
    common
}

/// The properties as `[kafka.properties]`.
pub(super) fn table(properties: &Properties) -> Table {
    let mut table = Table::default();
    for (name, value) in properties {
        table.put(name, value.as_str());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_out_of_a_login_modules_options() {
        let both = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        for (jaas, expected) in [
            (r#"org.x.PlainLoginModule required username="u" password="p;\"x";"#, both("u", "p;\"x")),
            ("org.x.ScramLoginModule required username='u' password='p q';", both("u", "p q")),
            ("x required username=u password=p;", both("u", "p")),
            ("x required;", None),
        ] {
            assert_eq!(credentials(jaas), expected, "{jaas}");
        }
    }
}
