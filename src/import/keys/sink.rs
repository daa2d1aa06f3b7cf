//! The official sink connector's keys.

use super::{
    Check::{Any, AnyCase, Array, Class, Classes, Document, Flag, Integer, NotEmpty, Uri, Words},
    INT, LONG, Spec, spec,
};

const LATER: &str = "nothing yet: comes with a later version";
const STORES: &str =
    "missing: stores of Java; write tls=true, tlsCAFile and tlsCertificateKeyFile (PEM) into the uri";
const STABLE_API: &str = "missing: the stable API cannot be asked for yet";
const TOLERANCE: &[&str] = &["none", "data", "all"];
const PROJECTIONS: &[&str] = &["none", "blacklist", "whitelist", "allowlist", "blocklist"];
const NATURAL: super::Check = Integer { least: 0, bits: INT };

/// The classes of `document.id.strategy`.
const ID_STRATEGIES: &[&str] = &[
    "BsonOidStrategy",
    "FullKeyStrategy",
    "KafkaMetaDataStrategy",
    "PartialKeyStrategy",
    "PartialValueStrategy",
    "ProvidedInKeyStrategy",
    "ProvidedInValueStrategy",
    "UuidProvidedInKeyStrategy",
    "UuidProvidedInValueStrategy",
    "UuidStrategy",
];

/// The classes of both write model keys.
const WRITE_MODELS: &[&str] = &[
    "DefaultWriteModelStrategy",
    "DeleteOneBusinessKeyStrategy",
    "DeleteOneDefaultStrategy",
    "DeleteOneTombstoneBusinessKeyStrategy",
    "InsertOneDefaultStrategy",
    "ReplaceOneBusinessKeyStrategy",
    "ReplaceOneDefaultStrategy",
    "UpdateOneBusinessKeyTimestampStrategy",
    "UpdateOneDefaultStrategy",
    "UpdateOneTimestampsStrategy",
];

const POST_PROCESSORS: &[&str] = &[
    "AllowListKeyProjector",
    "AllowListValueProjector",
    "BlacklistKeyProjector",
    "BlacklistValueProjector",
    "BlockListKeyProjector",
    "BlockListValueProjector",
    "DocumentIdAdder",
    "KafkaMetaAdder",
    "NullFieldValueRemover",
    "RenameByMapping",
    "RenameByRegExp",
    "WhitelistKeyProjector",
    "WhitelistValueProjector",
];

const HANDLERS: &[&str] =
    &["ChangeStreamHandler", "MongoDbHandler", "MysqlHandler", "PostgresHandler", "RdbmsHandler"];

/// Every key of the official sink connector.
pub const OFFICIAL_SINK: &[Spec] = &[
    spec("topics", "", Any, "`topics`"),
    spec("topics.regex", "", Any, "`topics`"),
    spec("connection.uri", "mongodb://localhost:27017", Uri, "`mongodb.uri`"),
    spec("server.api.version", "", Words(&["1"]), STABLE_API),
    spec("server.api.deprecation.errors", "false", Flag, STABLE_API),
    spec("server.api.strict", "false", Flag, STABLE_API),
    spec("connection.ssl.truststore", "", Any, STORES),
    spec("connection.ssl.truststorePassword", "", Any, STORES),
    spec("connection.ssl.keystore", "", Any, STORES),
    spec("connection.ssl.keystorePassword", "", Any, STORES),
    spec("csfle.enabled", "false", Flag, LATER),
    spec("csfle.key.vault.namespace", "", Any, LATER),
    spec("csfle.local.master.key", "", Any, LATER),
    spec("csfle.schema.map", "", Document, LATER),
    spec("csfle.bypass.query.analysis", "true", Flag, LATER),
    spec("topic.override.<topic>.<key>", "", Any, LATER),
    spec("provider", "", Any, "nothing: it only shows in the server's log"),
    spec("database", "", NotEmpty, "`namespace`"),
    spec("collection", "", Any, "`namespace`"),
    spec(
        "namespace.mapper",
        "DefaultNamespaceMapper",
        Class(&["DefaultNamespaceMapper", "FieldPathNamespaceMapper"]),
        "ns.db and ns.coll of events: `namespace`; else comes with a later version",
    ),
    spec("namespace.mapper.key.database.field", "", Any, LATER),
    spec("namespace.mapper.key.collection.field", "", Any, LATER),
    spec(
        "namespace.mapper.value.database.field",
        "",
        Any,
        "ns.db: `namespace`; else comes with a later version",
    ),
    spec(
        "namespace.mapper.value.collection.field",
        "",
        Any,
        "ns.coll: `namespace`; else comes with a later version",
    ),
    spec("namespace.mapper.error.if.invalid", "false", Flag, "nothing: an event without ns is an error"),
    spec(
        "delete.on.null.values",
        "false",
        Flag,
        "nothing: a record without a value deletes the document of its key",
    ),
    spec(
        "writemodel.strategy",
        "DefaultWriteModelStrategy",
        Class(WRITE_MODELS),
        "replaceOne is what `value = \"document\"` does; else comes with a later version",
    ),
    spec(
        "delete.writemodel.strategy",
        "DeleteOneDefaultStrategy",
        Class(WRITE_MODELS),
        "deleteOne by _id is what a sink does; else comes with a later version",
    ),
    spec("max.batch.size", "0", NATURAL, "`batch.max_records`"),
    spec(
        "bulk.write.ordered",
        "true",
        Flag,
        "nothing: writes of one document keep their order, others need none",
    ),
    spec("rate.limiting.timeout", "0", NATURAL, LATER),
    spec("rate.limiting.every.n", "0", NATURAL, LATER),
    spec("post.processor.chain", "DocumentIdAdder", Classes(POST_PROCESSORS), LATER),
    spec("key.projection.type", "none", AnyCase(PROJECTIONS), LATER),
    spec("key.projection.list", "", Any, LATER),
    spec("value.projection.type", "none", AnyCase(PROJECTIONS), LATER),
    spec("value.projection.list", "", Any, LATER),
    spec("field.renamer.mapping", "[]", Array, LATER),
    spec("field.renamer.regexp", "[]", Array, LATER),
    spec("field.value.transformer", "", Class(&[]), "missing: there are no classes of one's own"),
    spec("field.value.transformer.fields", "", Any, "missing: there are no classes of one's own"),
    spec(
        "document.id.strategy",
        "BsonOidStrategy",
        Class(ID_STRATEGIES),
        "an _id from the value or else the key is what a sink takes; else comes with a later version",
    ),
    spec("document.id.strategy.overwrite.existing", "false", Flag, LATER),
    spec("document.id.strategy.uuid.format", "string", AnyCase(&["string", "binary"]), LATER),
    spec("document.id.strategy.partial.key.projection.type", "", AnyCase(PROJECTIONS), LATER),
    spec("document.id.strategy.partial.key.projection.list", "", Any, LATER),
    spec("document.id.strategy.partial.value.projection.type", "", AnyCase(PROJECTIONS), LATER),
    spec("document.id.strategy.partial.value.projection.list", "", Any, LATER),
    spec(
        "errors.tolerance",
        "none",
        AnyCase(TOLERANCE),
        "nothing yet: the sink stops at a record that it cannot write",
    ),
    spec(
        "mongo.errors.tolerance",
        "none",
        AnyCase(TOLERANCE),
        "nothing yet: the sink stops at a record that it cannot write",
    ),
    spec("errors.log.enable", "false", Flag, "nothing: every error is logged"),
    spec("mongo.errors.log.enable", "false", Flag, "nothing: every error is logged"),
    spec(
        "change.data.capture.handler",
        "",
        Class(HANDLERS),
        "mongodb.ChangeStreamHandler: `value = \"event\"`; else comes with a later version",
    ),
    spec("change.data.capture.handler.remove.null.values", "false", Flag, LATER),
    spec("timeseries.timefield", "", Any, LATER),
    spec("timeseries.metafield", "", Any, LATER),
    spec("timeseries.expire.after.seconds", "0", Integer { least: 0, bits: LONG }, LATER),
    spec("timeseries.granularity", "", AnyCase(&["seconds", "minutes", "hours"]), LATER),
    spec("timeseries.timefield.auto.convert", "false", Flag, LATER),
    spec("timeseries.timefield.auto.convert.date.format", "", Any, LATER),
    spec("timeseries.timefield.auto.convert.locale.language.tag", "", Any, LATER),
    spec("max.num.retries", "", Any, "nothing: the connector ignores it too"),
    spec("retries.defer.timeout", "", Any, "nothing: the connector ignores it too"),
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
