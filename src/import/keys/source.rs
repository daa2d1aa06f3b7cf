//! The official source connector's keys.

use super::{
    Check::{Any, AnyCase, Array, Class, Document, Flag, Integer, NotEmpty, Uri, Words},
    INT, LONG, Spec, spec,
};

const TOLERANCE: &[&str] = &["none", "all"];
const FORMATS: &[&str] = &["json", "bson", "schema"];
const POSITIVE: super::Check = Integer { least: 1, bits: INT };
const STORES: &str =
    "missing: stores of Java; write tls=true, tlsCAFile and tlsCertificateKeyFile (PEM) into the uri";
const STABLE_API: &str = "missing: the stable API cannot be asked for yet";
const SCHEMAS: &str = "nothing yet: comes with the schema formats";
const QUEUE: &str = "nothing: the copy is bounded by `limits.memory`";

/// Every key of the official source connector.
pub const OFFICIAL_SOURCE: &[Spec] = &[
    spec("connection.uri", "mongodb://localhost:27017,localhost:27018,localhost:27019", Uri, "`mongodb.uri`"),
    spec("database", "", Any, "`watch`"),
    spec("collection", "", Any, "`watch`"),
    spec("server.api.version", "", Words(&["1"]), STABLE_API),
    spec("server.api.deprecation.errors", "false", Flag, STABLE_API),
    spec("server.api.strict", "false", Flag, STABLE_API),
    spec("connection.ssl.truststore", "", Any, STORES),
    spec("connection.ssl.truststorePassword", "", Any, STORES),
    spec("connection.ssl.keystore", "", Any, STORES),
    spec("connection.ssl.keystorePassword", "", Any, STORES),
    spec("pipeline", "[]", Array, "`pipeline`; of a copy, `snapshot.pipeline` too"),
    spec(
        "batch.size",
        "0",
        Integer { least: 0, bits: INT },
        "`batch_size`; 0 (the server's choice) becomes the default, 5000",
    ),
    spec("publish.full.document.only", "false", Flag, "`value = \"document\"`, which asks for look-ups too"),
    spec("publish.full.document.only.tombstone.on.delete", "false", Flag, "`tombstones`"),
    spec("change.stream.document.key.as.key", "true", Flag, "`key`: document_key or token"),
    spec(
        "change.stream.full.document.before.change",
        "",
        Words(&["default", "off", "whenAvailable", "required"]),
        "`full_document_before_change`",
    ),
    spec(
        "change.stream.full.document",
        "",
        Words(&["default", "updateLookup", "whenAvailable", "required"]),
        "`full_document`",
    ),
    spec(
        "change.stream.show.expanded.events",
        "false",
        Flag,
        "`show_expanded_events`; sent to the server only when true",
    ),
    spec("collation", "", Document, "`collation`"),
    spec("poll.max.batch.size", "1000", POSITIVE, "nothing: records are not handed over in polls"),
    spec("poll.await.time.ms", "5000", Integer { least: 1, bits: LONG }, "`max_await`"),
    spec(
        "topic.mapper",
        "DefaultTopicMapper",
        Class(&["DefaultTopicMapper"]),
        "missing: there are no classes of one's own; see `route`",
    ),
    spec("topic.separator", ".", Any, "`topic`, `route`"),
    spec("topic.prefix", "", Any, "`topic`, `route`"),
    spec("topic.suffix", "", Any, "`topic`, `route`"),
    spec("topic.namespace.map", "", Document, "`topic`, `route`"),
    spec("output.format.key", "json", AnyCase(FORMATS), "`key_format`; schema comes with the schema formats"),
    spec("output.format.value", "json", AnyCase(FORMATS), "`format`; schema comes with the schema formats"),
    spec("output.schema.infer.value", "false", Flag, SCHEMAS),
    spec("output.schema.key", "", Any, SCHEMAS),
    spec("output.schema.value", "", Any, SCHEMAS),
    spec(
        "output.json.formatter",
        "DefaultJson",
        Class(&["DefaultJson", "ExtendedJson", "SimplifiedJson"]),
        "`json_style`: strict, canonical or simplified",
    ),
    spec("startup.mode", "", AnyCase(&["latest", "timestamp", "copy_existing"]), "`start`, `snapshot.mode`"),
    spec("startup.mode.timestamp.start.at.operation.time", "", Any, "`start`"),
    spec("startup.mode.copy.existing.max.threads", "", POSITIVE, "`snapshot.threads`"),
    spec("startup.mode.copy.existing.queue.size", "16000", POSITIVE, QUEUE),
    spec("startup.mode.copy.existing.pipeline", "", Array, "`snapshot.pipeline`"),
    spec("startup.mode.copy.existing.namespace.regex", "", Any, "`snapshot.namespaces`"),
    spec(
        "startup.mode.copy.existing.allow.disk.use",
        "true",
        Flag,
        "nothing: ranges are read in the order of an index",
    ),
    spec("copy.existing", "false", Flag, "`snapshot.mode`"),
    spec("copy.existing.max.threads", "", POSITIVE, "`snapshot.threads`"),
    spec("copy.existing.queue.size", "16000", POSITIVE, QUEUE),
    spec("copy.existing.pipeline", "", Array, "`snapshot.pipeline`"),
    spec("copy.existing.namespace.regex", "", Any, "`snapshot.namespaces`"),
    spec("copy.existing.allow.disk.use", "true", Flag, "nothing: ranges are read in the order of an index"),
    spec("errors.tolerance", "none", AnyCase(TOLERANCE), "all: `errors` and `on_history_lost = \"latest\"`"),
    spec("mongo.errors.tolerance", "none", AnyCase(TOLERANCE), "as errors.tolerance, and wins over it"),
    spec("errors.log.enable", "false", Flag, "nothing: every error is logged"),
    spec("mongo.errors.log.enable", "false", Flag, "nothing: every error is logged"),
    spec("errors.deadletterqueue.topic.name", "", Any, "`errors.dead_letter_topic`"),
    spec(
        "mongo.errors.deadletterqueue.topic.name",
        "",
        Any,
        "as errors.deadletterqueue.topic.name, and wins over it",
    ),
    spec("heartbeat.interval.ms", "0", Integer { least: 0, bits: LONG }, "`heartbeat.interval`"),
    spec("heartbeat.topic.name", "__mongodb_heartbeats", NotEmpty, "`heartbeat.topic`"),
    spec("offset.partition.name", "", Any, "nothing: the checkpoint is named after pipeline and source"),
    spec("provider", "", Any, "nothing: it only shows in the server's log"),
    spec(
        "mongo.custom.auth.mechanism.enable",
        "false",
        Flag,
        "missing: there are no classes of one's own; see the uri's authMechanism",
    ),
    spec(
        "mongo.custom.auth.mechanism.providerClass",
        "",
        Any,
        "missing: there are no classes of one's own; see the uri's authMechanism",
    ),
];
