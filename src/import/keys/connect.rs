//! The keys that Kafka Connect takes for every connector.

use super::{
    Check::{Any, AnyCase, Flag},
    Spec, spec,
};

const RETRIES: &str = "nothing: what may pass is retried for as long as it takes";
const CONVERTER: &str = "`format`, `key_format`; converters that need schemas come with the schema formats";
const TRANSFORMS: &str = "missing: see `transform` and `route` for what can be done without them";

/// The keys of Kafka Connect itself. `*` stands for names of the user's, or the client's own.
pub const CONNECT: &[Spec] = &[
    spec("name", "", Any, "the half's name"),
    spec("connector.class", "", Any, "`sources` or `sinks`, and `value`"),
    spec("tasks.max", "1", Any, "nothing: a source has one stream, and a sink as many lanes as `lanes` says"),
    spec("tasks.max.enforce", "true", Any, "nothing: as tasks.max"),
    spec("key.converter", "", Any, CONVERTER),
    spec("value.converter", "", Any, CONVERTER),
    spec("header.converter", "", Any, "nothing: headers are text"),
    spec("transforms", "", Any, TRANSFORMS),
    spec("transforms.*", "", Any, "missing: as transforms"),
    spec("predicates", "", Any, "missing: as transforms"),
    spec("predicates.*", "", Any, "missing: as transforms"),
    spec("errors.tolerance", "none", AnyCase(&["none", "data", "all"]), "`errors`"),
    spec("errors.retry.timeout", "0", Any, RETRIES),
    spec("errors.retry.delay.max.ms", "60000", Any, RETRIES),
    spec("errors.log.enable", "false", Flag, "nothing: every error is logged"),
    spec("errors.log.include.messages", "false", Flag, "nothing: contents are never logged"),
    spec("config.action.reload", "restart", Any, "nothing: references are read at the start"),
    spec("producer.override.*", "", Any, "`kafka.properties`, of sources"),
    spec("consumer.override.*", "", Any, "`kafka.properties`, of sinks"),
    spec("admin.override.*", "", Any, "nothing: topics are created with the source's properties"),
    spec("topic.creation.default.partitions", "", Any, "`topic_creation.partitions`"),
    spec("topic.creation.default.replication.factor", "", Any, "`topic_creation.replication`"),
    spec("topic.creation.default.*", "", Any, "`topic_creation.config`"),
    spec(
        "topic.creation.groups",
        "",
        Any,
        "missing: all topics of a source are created alike; create others beforehand",
    ),
    spec(
        "exactly.once.support",
        "requested",
        Any,
        "nothing: records are delivered at least once; required is refused",
    ),
    spec("transaction.boundary", "poll", Any, "nothing: there are no transactions"),
    spec("transaction.boundary.interval.ms", "", Any, "nothing: there are no transactions"),
    spec("offsets.storage.topic", "", Any, "nothing: only `--take-over` reads it"),
    spec("errors.deadletterqueue.topic.replication.factor", "3", Any, "nothing: the broker's default"),
    spec(
        "errors.deadletterqueue.context.headers.enable",
        "false",
        Flag,
        "nothing: dead letters always have headers",
    ),
];
