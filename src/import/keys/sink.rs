//! The official sink connector's keys.

use super::{
    Check::{Any, AnyCase, Array, Class, Classes, Document, Flag, Integer, NotEmpty, Uri, Words},
    INT, LONG, Spec, spec,
};

const CSFLE: &str = "missing: encryption by the client comes with a later version";
const PARTIAL: &str = "`id.allow` or `id.block`; without it, the projection's";
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
    spec("csfle.enabled", "false", Flag, CSFLE),
    spec("csfle.key.vault.namespace", "", Any, CSFLE),
    spec("csfle.local.master.key", "", Any, CSFLE),
    spec("csfle.schema.map", "", Document, CSFLE),
    spec("csfle.bypass.query.analysis", "true", Flag, CSFLE),
    spec("topic.override.<topic>.<key>", "", Any, "`override`; tolerance and pace are the sink's alone"),
    spec("provider", "", Any, "nothing: it only shows in the server's log"),
    spec("database", "", NotEmpty, "`namespace`"),
    spec("collection", "", Any, "`namespace`"),
    spec(
        "namespace.mapper",
        "DefaultNamespaceMapper",
        Class(&["DefaultNamespaceMapper", "FieldPathNamespaceMapper"]),
        "`namespace`",
    ),
    spec("namespace.mapper.key.database.field", "", Any, "`namespace`: {key.PATH}"),
    spec("namespace.mapper.key.collection.field", "", Any, "`namespace`: {key.PATH}"),
    spec(
        "namespace.mapper.value.database.field",
        "",
        Any,
        "`namespace`: {value.PATH}; ns.db of events: {db}",
    ),
    spec(
        "namespace.mapper.value.collection.field",
        "",
        Any,
        "`namespace`: {value.PATH}; ns.coll of events: {coll}",
    ),
    spec(
        "namespace.mapper.error.if.invalid",
        "false",
        Flag,
        "`namespace`: without it with a fallback, database or collection; an event without ns is an error anyway",
    ),
    spec("delete.on.null.values", "false", Flag, "`on_tombstone`: delete, or else fail"),
    spec(
        "writemodel.strategy",
        "DefaultWriteModelStrategy",
        Class(WRITE_MODELS),
        "`write.model`, `write.by`, `write.timestamps`",
    ),
    spec("delete.writemodel.strategy", "DeleteOneDefaultStrategy", Class(WRITE_MODELS), "`write.delete_by`"),
    spec("max.batch.size", "0", NATURAL, "`batch.max_records`"),
    spec(
        "bulk.write.ordered",
        "true",
        Flag,
        "nothing: writes of one document keep their order, others need none",
    ),
    spec("rate.limiting.timeout", "0", NATURAL, "`max_records_per_second`, as near as it goes"),
    spec("rate.limiting.every.n", "0", NATURAL, "`max_records_per_second`, as near as it goes"),
    spec("post.processor.chain", "DocumentIdAdder", Classes(POST_PROCESSORS), "`step`, in order"),
    spec("key.projection.type", "none", AnyCase(PROJECTIONS), "`id.allow` or `id.block` of partial_key"),
    spec("key.projection.list", "", Any, "`step.allow` or `step.block`, with on = \"key\""),
    spec("value.projection.type", "none", AnyCase(PROJECTIONS), "`id.allow` or `id.block` of partial_value"),
    spec("value.projection.list", "", Any, "`step.allow` or `step.block`"),
    spec("field.renamer.mapping", "[]", Array, "`step.rename`"),
    spec(
        "field.renamer.regexp",
        "[]",
        Array,
        "`step.rename_regex`, a step for each rule; lookaround and the like are not carried over",
    ),
    spec("field.value.transformer", "", Class(&[]), "missing: there are no classes of one's own"),
    spec("field.value.transformer.fields", "", Any, "missing: there are no classes of one's own"),
    spec("document.id.strategy", "BsonOidStrategy", Class(ID_STRATEGIES), "`id.strategy`"),
    spec("document.id.strategy.overwrite.existing", "false", Flag, "`id.overwrite`"),
    spec("document.id.strategy.uuid.format", "string", AnyCase(&["string", "binary"]), "`id.uuid_format`"),
    spec("document.id.strategy.partial.key.projection.type", "", AnyCase(PROJECTIONS), PARTIAL),
    spec("document.id.strategy.partial.key.projection.list", "", Any, PARTIAL),
    spec("document.id.strategy.partial.value.projection.type", "", AnyCase(PROJECTIONS), PARTIAL),
    spec("document.id.strategy.partial.value.projection.list", "", Any, PARTIAL),
    spec(
        "errors.tolerance",
        "none",
        AnyCase(TOLERANCE),
        "`errors.tolerance`; what may pass is retried, and never passed over",
    ),
    spec("mongo.errors.tolerance", "none", AnyCase(TOLERANCE), "as errors.tolerance, and wins over it"),
    spec("errors.log.enable", "false", Flag, "nothing: every error is logged"),
    spec("mongo.errors.log.enable", "false", Flag, "nothing: every error is logged"),
    spec("errors.deadletterqueue.topic.name", "", Any, "`errors.dead_letter_topic`"),
    spec("change.data.capture.handler", "", Class(HANDLERS), "`value`"),
    spec("change.data.capture.handler.remove.null.values", "false", Flag, "`remove_nulls`"),
    spec("timeseries.timefield", "", Any, "`timeseries.time_field`"),
    spec("timeseries.metafield", "", Any, "`timeseries.meta_field`"),
    spec(
        "timeseries.expire.after.seconds",
        "0",
        Integer { least: 0, bits: LONG },
        "`timeseries.expire_after`",
    ),
    spec("timeseries.granularity", "", AnyCase(&["seconds", "minutes", "hours"]), "`timeseries.granularity`"),
    spec("timeseries.timefield.auto.convert", "false", Flag, "`timeseries.convert`"),
    spec("timeseries.timefield.auto.convert.date.format", "", Any, "`timeseries.date_format`"),
    spec(
        "timeseries.timefield.auto.convert.locale.language.tag",
        "",
        Any,
        "missing: names of months and days are read in English alone",
    ),
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
