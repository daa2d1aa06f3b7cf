//! How to reach a deployment or a cluster: connection strings and librdkafka properties, checked without any I/O.

use mongodb::{error::ErrorKind, options::ConnectionString};
use rdkafka::ClientConfig;

use super::{Invalid, Mongodb, Secret};

/// Properties that the daemon sets itself, because its guarantees or its memory limit rest on them; the names that
/// librdkafka takes for the same thing are here too.
const OWNED: &[(&str, &str)] = &[
    ("bootstrap.servers", "write it as bootstrap_servers beside the properties"),
    ("metadata.broker.list", "write it as bootstrap_servers beside the properties"),
    ("group.id", "it is millrace.NAME.SINK"),
    ("transactional.id", "it is made from the pipeline's name"),
    ("enable.idempotence", "it is always on"),
    ("acks", "it is always all"),
    ("request.required.acks", "it is always all"),
    ("partitioner", "it is always murmur2_random, as in Java"),
    ("max.in.flight", "order rests on it"),
    ("max.in.flight.requests.per.connection", "order rests on it"),
    ("delivery.timeout.ms", "nothing accepted may be given up"),
    ("message.timeout.ms", "nothing accepted may be given up"),
    ("enable.auto.commit", "offsets are committed after the write is durable"),
    ("auto.commit.enable", "offsets are committed after the write is durable"),
    ("enable.auto.offset.store", "offsets are committed after the write is durable"),
    ("auto.offset.reset", "see the sink's on_history_lost"),
    ("enable.partition.eof", "the daemon needs it to know when it is idle"),
    ("partition.assignment.strategy", "partitions are drained before they are given up"),
    ("queue.buffering.max.kbytes", "see [limits] memory"),
    ("queue.buffering.max.messages", "see [limits] memory"),
    ("queued.max.messages.kbytes", "see [limits] memory"),
    ("queued.min.messages", "see [limits] memory"),
];

/// Checks a librdkafka property. The message never holds the value.
pub(crate) fn check_property(name: &str, value: &str) -> Result<(), Invalid> {
    if let Some((_, reason)) = OWNED.iter().find(|(owned, _)| *owned == name) {
        return Err(Invalid(format!("is set by the daemon; {reason}")));
    }
    // Merely setting it would load code into the process.
    if name == "plugin.library.paths" {
        return Err(Invalid("is not supported: it loads code into the daemon".into()));
    }
    let Err(error) = ClientConfig::new().set(name, value).create_native_config() else { return Ok(()) };
    Err(Invalid(match error {
        rdkafka::error::KafkaError::ClientConfig(result, ..) if result == UNKNOWN => {
            "is not a property of librdkafka".into()
        }
        _ => "is refused by librdkafka: the value is not one that this property takes, or this build lacks the feature".into(),
    }))
}

const UNKNOWN: rdkafka::types::RDKafkaConfRes = rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN;

/// Whether a property's value may be a secret, by its name.
pub(super) fn is_sensitive_property(name: &str) -> bool {
    ["password", "secret", "token", "credential", "key.pem", "jaas", "oauthbearer.config"]
        .iter()
        .any(|part| name.contains(part))
}

/// Checks `host:port`, comma separated.
pub(crate) fn check_bootstrap_servers(text: &str) -> Result<String, Invalid> {
    let sound = |server: &str| {
        let host_and_port = server.trim().rsplit_once(':');
        host_and_port.is_some_and(|(host, port)| {
            !host.is_empty()
                && !host.contains(char::is_whitespace)
                && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
    };
    if text.split(',').all(sound) {
        return Ok(text.into());
    }
    Err(Invalid("is no list of servers; write host:port, with commas between several".into()))
}

/// Checks a MongoDB connection string. The message never holds a part of it that may be secret.
pub(crate) fn check_uri(text: &str) -> Result<Mongodb, Invalid> {
    match ConnectionString::parse(text) {
        Ok(_) => Ok(Mongodb { uri: Secret::new(text) }),
        Err(_) => Err(Invalid(format!("is no MongoDB connection string: {}", what_is_wrong(text)))),
    }
}

/// The driver's message may quote what it stumbled over, and that may be a password which looks like a port. So the
/// options are shown to the driver alone, and the rest is described without it.
fn what_is_wrong(uri: &str) -> String {
    let scheme_and_rest =
        uri.split_once("://").filter(|(scheme, _)| ["mongodb", "mongodb+srv"].contains(scheme));
    let Some((scheme, rest)) = scheme_and_rest else {
        return "it starts neither with mongodb:// nor with mongodb+srv://".into();
    };
    let options = rest.split_once('?').map_or("", |(_, options)| options);
    // What looks like options may be the end of a password with a question mark in it.
    if !options.contains('@') && !may_hold_secret(&options.to_lowercase()) {
        let only_options = ConnectionString::parse(format!("{scheme}://user:password@host/?{options}"));
        if let Some(ErrorKind::InvalidArgument { message, .. }) = only_options.err().map(|err| *err.kind) {
            return message;
        }
    }
    if rest.contains('@') {
        return "special characters in the user name and the password must be percent-encoded, and hosts written as \
                host:port"
            .into();
    }
    "write one like \"mongodb://user:password@host:27017/?replicaSet=rs0\"".into()
}

/// `uri`, which is sound, without what is secret in it.
pub(super) fn redact_uri(uri: &str) -> String {
    let (scheme, rest) = uri.split_once("://").map_or(("", uri), |(scheme, rest)| (scheme, rest));
    let (before_options, options) = rest.split_once('?').map_or((rest, None), |(a, b)| (a, Some(b)));
    let mut redacted = format!("{scheme}://");
    match before_options.rsplit_once('@') {
        Some((user_and_password, hosts)) => {
            let user = user_and_password.split_once(':').map_or(user_and_password, |(user, _)| user);
            // A reference holds a colon itself: then there is no telling where the user name ends.
            let user = if user.contains("${") { REDACTED } else { user };
            let password = if user_and_password.contains(':') { ":[redacted]" } else { "" };
            redacted.push_str(&format!("{user}{password}@{hosts}"));
        }
        None => redacted.push_str(before_options),
    }
    let kept = options.into_iter().flat_map(|options| options.split('&')).map(|option| {
        match option.split_once('=') {
            Some((name, _)) if may_hold_secret(&name.to_lowercase()) => format!("{name}={REDACTED}"),
            _ => option.into(),
        }
    });
    let kept: Vec<String> = kept.collect();
    if !kept.is_empty() {
        redacted.push_str(&format!("?{}", kept.join("&")));
    }
    redacted
}

/// What is printed in the place of a secret.
pub(super) const REDACTED: &str = "[redacted]";

/// Whether one of these lower-case option names is followed by a secret.
fn may_hold_secret(options: &str) -> bool {
    ["password", "mechanismproperties", "token"].iter().any(|part| options.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_uri_is_explained_without_its_password() {
        for uri in [
            "mongodb://u:hunter2@h:99999999/",
            "mongodb://u:hunter2/x@h",
            "mongodb://u:hunter2:x@h",
            "mongodb://u:hunter2%@h",
            "mongodb://u:hun@hunter2@h",
            "mongodb://u:hunter2",
            "mongodb://u:a?hunter2@h",
            "mongodb://h/?authMechanism=hunter&authMechanismProperties=hunter2",
            "hunter://u:hunter2@h",
            "u:hunter2@h",
        ] {
            let message = check_uri(uri).expect_err("the uri is wrong").to_string();
            assert!(!message.contains("hunter"), "{message}");
        }
        assert!(check_uri("mongodb://u:p%40ss@h1,h2:27018/db?replicaSet=rs0&tls=true").is_ok());
        assert!(check_uri("mongodb+srv://cluster.example.com").is_ok());
    }

    #[test]
    fn a_refused_uri_is_explained_as_far_as_that_is_safe() {
        for (uri, part) in [
            ("localhost:27017", "neither with mongodb://"),
            ("mongodb://u:p/w@h", "percent-encoded"),
            ("mongodb://u:p@h/?maxPoolSize=many", "maxpoolsize"),
            ("mongodb://h:port", "write one like"),
        ] {
            let message = check_uri(uri).expect_err("the uri is wrong").to_string();
            assert!(
                message.starts_with("is no MongoDB connection string: ") && message.contains(part),
                "{message}"
            );
        }
    }

    #[test]
    fn redaction_keeps_what_helps_and_hides_what_is_secret() {
        for (uri, expected) in [
            ("mongodb://h:1/?replicaSet=rs0", "mongodb://h:1/?replicaSet=rs0"),
            ("mongodb://u:p@h/db?tls=true", "mongodb://u:[redacted]@h/db?tls=true"),
            ("mongodb+srv://u@h", "mongodb+srv://u@h"),
            ("mongodb://${env:U}:${env:P}@h", "mongodb://[redacted]:[redacted]@h"),
            (
                "mongodb://h/?tlsCertificateKeyFilePassword=x&w=1",
                "mongodb://h/?tlsCertificateKeyFilePassword=[redacted]&w=1",
            ),
        ] {
            assert_eq!(redact_uri(uri), expected);
        }
    }

    #[test]
    fn owned_unknown_and_ill_valued_properties_are_refused_without_the_value() {
        let message =
            |name: &str, value: &str| check_property(name, value).expect_err("it is refused").to_string();
        assert_eq!(message("acks", "1"), "is set by the daemon; it is always all");
        assert_eq!(message("linger.mss", "hunter2"), "is not a property of librdkafka");
        assert!(!message("linger.ms", "hunter2").contains("hunter2"));
        for (name, value) in
            [("linger.ms", "5"), ("security.protocol", "sasl_ssl"), ("isolation.level", "read_committed")]
        {
            assert_eq!(check_property(name, value), Ok(()), "{name}");
        }
    }

    #[test]
    fn every_owned_property_is_one_of_librdkafka() {
        for (name, _) in OWNED {
            let error = ClientConfig::new().set(*name, "\u{1}").create_native_config().err();
            let unknown = matches!(error, Some(rdkafka::error::KafkaError::ClientConfig(result, ..)) if result == UNKNOWN);
            assert!(!unknown, "{name}");
        }
    }

    #[test]
    fn servers_need_hosts_and_ports() {
        for text in ["h:9092", "a:1, b:2", "[::1]:9092", "SSL://h:9093"] {
            assert!(check_bootstrap_servers(text).is_ok(), "{text}");
        }
        for text in ["", "h", "h:", ":1", "h:x", "h:0", "a:1,", "a b:1"] {
            assert!(check_bootstrap_servers(text).is_err(), "{text}");
        }
    }
}
