//! Whole connectors: what they become, and that the daemon takes it.

use super::*;
use crate::config::{
    self, FullDocument, Granularity, HistoryLost, IdStrategy, OnTombstone, ReadFormat, RecordKey,
    RecordValue, Settings, SinkErrors, SnapshotMode, Start, Step, StepAction, Tolerance, ValueShape, Write,
    WriteBy, WriteModel,
};

fn connector(keys: &[(&str, &str)]) -> Connector {
    let config: Properties =
        keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Connector { name: Some("shop".into()), config }
}

const SOURCE: (&str, &str) = ("connector.class", "com.mongodb.kafka.connect.MongoSourceConnector");
const SINK: (&str, &str) = ("connector.class", "com.mongodb.kafka.connect.MongoSinkConnector");
const DEBEZIUM_CLASS: (&str, &str) = ("connector.class", "io.debezium.connector.mongodb.MongoDbConnector");

fn imported(keys: &[(&str, &str)]) -> Imported {
    import(&[connector(keys)], None, None)
}

fn loaded(text: &str) -> Settings {
    let path = std::env::temp_dir().join(format!("millrace-import-{}-{:p}.toml", std::process::id(), text));
    std::fs::write(&path, text).expect("writes");
    let settings = config::load(&path, []);
    std::fs::remove_file(&path).expect("removes");
    settings.unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

/// The only source of a connector that can be carried over.
fn source_of(keys: &[(&str, &str)]) -> config::Source {
    let imported = imported(keys);
    assert!(imported.can_run(), "{:?}", imported.remarks);
    loaded(imported.toml.as_deref().expect("a configuration")).sources.remove(0)
}

fn heaviest(keys: &[(&str, &str)], key: &str) -> Option<Weight> {
    imported(keys).remarks.iter().filter(|remark| remark.key == key).map(|remark| remark.weight).max()
}

#[test]
fn a_source_with_the_defaults_watches_everything_and_writes_what_the_connector_writes() {
    let source = source_of(&[SOURCE]);
    assert_eq!(source.name, "shop");
    assert!(source.watch.matches("a", "b.c"));
    assert_eq!((source.start, source.snapshot.mode), (Start::Latest, SnapshotMode::Off));
    assert_eq!((source.record.value, source.record.key), (RecordValue::Event, RecordKey::DocumentKey));
    assert_eq!(source.stream.full_document, FullDocument::Default);
    assert_eq!(source.on_history_lost, HistoryLost::Fail);
    assert_eq!(source.stream.max_await.as_millis(), 5000);
    assert_eq!(
        (source.record.headers, source.record.timestamp),
        (config::Headers::None, config::Timestamp::SendTime)
    );
}

#[test]
fn a_source_with_much_of_its_own_is_taken_by_the_daemon() {
    let source = source_of(&[
        SOURCE,
        ("connection.uri", "mongodb://u:p%40ss@h1,h2:27018/?replicaSet=rs0"),
        ("database", "shop"),
        ("pipeline", r#"[{$match: {"fullDocument.a": {$regex: /^a\d/}}}]"#),
        ("publish.full.document.only", "true"),
        ("output.json.formatter", "com.mongodb.kafka.connect.source.json.formatter.SimplifiedJson"),
        ("topic.prefix", "cdc"),
        (
            "topic.namespace.map",
            r#"{"shop.orders": "o", "shop": "s", "/sh.*\\.x": "x{sep_coll}", "*": "rest."}"#,
        ),
        ("startup.mode", "timestamp"),
        ("startup.mode.timestamp.start.at.operation.time", r#"{"$timestamp": {"t": 30, "i": 2}}"#),
        ("errors.tolerance", "all"),
        ("errors.deadletterqueue.topic.name", "dead"),
        ("heartbeat.interval.ms", "10000"),
        ("collation", r#"{"locale": "de"}"#),
        ("producer.override.compression.type", "zstd"),
        ("topic.creation.default.partitions", "3"),
        ("topic.creation.default.replication.factor", "-1"),
        ("topic.creation.default.cleanup.policy", "compact"),
    ]);
    assert_eq!(source.record.value, RecordValue::Document);
    assert_eq!(source.topics.routes.len(), 4);
    let topic = |db, coll| crate::source::route::name(&source.topics, db, coll);
    assert_eq!(topic("shop", Some("orders")), "cdc.o");
    assert_eq!(topic("shop", Some("items")), "cdc.s.items");
    assert_eq!(topic("shop", None), "cdc.s");
    assert_eq!(topic("shot", Some("x")), "cdc.x.x");
    assert_eq!(topic("crm", None), "cdc.rest.");
    assert_eq!(source.start, Start::At(config::ClusterTime { seconds: 30, increment: 2 }));
    assert_eq!(source.stream.pipeline.len(), 1);
    assert_eq!(source.errors.dead_letter_topic.as_deref(), Some("dead"));
    assert_eq!(source.topics.creation.and_then(|creation| creation.partitions), Some(3));
    assert_eq!(source.kafka.properties["compression.type"].expose(), "zstd");
}

#[test]
fn what_the_connector_refuses_is_refused_by_its_key() {
    for (key, value) in [
        ("collection", "c"),
        ("pipeline", "{nope"),
        ("change.stream.full.document", "updatelookup"),
        ("poll.await.time.ms", "0"),
        ("heartbeat.topic.name", ""),
        ("batch.size", "-1"),
        ("connection.uri", "http://h"),
        ("topic.namespace.map", "[]"),
        ("topic.namespace.map", r#"{"/a": "{db"}"#),
        ("topic.namespace.map", r#"{"/a": "{nope}"}"#),
        ("topic.namespace.map", r#"{"/[": "t"}"#),
        ("topic.namespace.map", r#"{"a/b": "t"}"#),
        ("topic.namespace.map", r#"{"a": 1}"#),
        ("startup.mode.timestamp.start.at.operation.time", "yesterday"),
        ("startup.mode", "later"),
        ("output.format.value", "xml"),
        ("output.json.formatter", "com.example.Mine"),
        ("exactly.once.support", "required"),
    ] {
        assert_eq!(heaviest(&[SOURCE, (key, value)], key), Some(Weight::Refused), "{key} = {value}");
    }
    assert_eq!(heaviest(&[("x", "y")], "connector.class"), Some(Weight::Refused));
    assert_eq!(heaviest(&[SINK, ("database", "d")], "topics"), Some(Weight::Refused));
    assert_eq!(heaviest(&[SINK, ("topics", "t")], "database"), Some(Weight::Refused));
}

#[test]
fn what_is_not_carried_over_is_named_and_what_changes_the_data_weighs_more() {
    for (key, value, expected) in [
        ("output.format.value", "schema", Some(Weight::Missing)),
        ("output.schema.infer.value", "true", Some(Weight::Missing)),
        ("value.converter", "io.confluent.connect.avro.AvroConverter", Some(Weight::Missing)),
        ("value.converter", "org.apache.kafka.connect.json.JsonConverter", Some(Weight::Missing)),
        ("value.converter", "org.apache.kafka.connect.storage.StringConverter", None),
        ("transforms", "x", Some(Weight::Missing)),
        ("connection.ssl.truststore", "/x.jks", Some(Weight::Missing)),
        ("poll.max.batch.size", "5", Some(Weight::Note)),
        ("tasks.max", "4", Some(Weight::Note)),
        ("tasks.max", "1", None),
        ("no.such.key", "x", Some(Weight::Note)),
        ("topic.prefix", "a b", Some(Weight::Missing)),
        ("database", "local", Some(Weight::Missing)),
    ] {
        assert_eq!(heaviest(&[SOURCE, (key, value)], key), expected, "{key} = {value}");
    }
}

#[test]
fn references_that_both_know_are_kept_and_others_named() {
    let imported = imported(&[SOURCE, ("connection.uri", "mongodb://${env:USER}:${dir:/run/secrets:pw}@h")]);
    let text = imported.toml.as_deref().expect("a configuration");
    assert!(text.contains("mongodb://${env:USER}:${file:/run/secrets/pw}@h"), "{text}");
    assert!(imported.can_run(), "{:?}", imported.remarks);
    let vault = [SOURCE, ("connection.uri", "mongodb://u:${vault:x:y}@h")];
    assert_eq!(heaviest(&vault, "connection.uri"), Some(Weight::Missing));
}

#[test]
fn the_worker_knows_the_cluster_and_its_properties() {
    let worker = read_properties(
        "bootstrap.servers=SASL_SSL://a:9093,b:9093\nsecurity.protocol=SASL_SSL\nsasl.mechanism=PLAIN\n\
         producer.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" password=\"p\";\n\
         key.converter=org.apache.kafka.connect.storage.StringConverter\n\
         value.converter=org.apache.kafka.connect.storage.StringConverter\n",
    );
    let imported = import(&[connector(&[SOURCE])], Some(&worker), Some("other name"));
    assert!(imported.remarks.is_empty(), "{:?}", imported.remarks);
    let settings = loaded(imported.toml.as_deref().expect("a configuration"));
    assert_eq!(settings.name, "other-name");
    let kafka = &settings.sources[0].kafka;
    assert_eq!(kafka.bootstrap_servers, "a:9093,b:9093");
    assert_eq!(kafka.properties["sasl.username"].expose(), "u");
    assert_eq!(kafka.properties["security.protocol"].expose(), "sasl_ssl");
}

#[test]
fn anchors_around_names_of_debezium_say_nothing() {
    for (key, entries) in [
        ("database.include.list", "^shop$"),
        ("database.include.list", "^sh.p$"),
        ("database.include.list", "^shop|crm$"),
        ("collection.include.list", "^shop\\.orders$"),
        ("collection.include.list", "^shop\\..*$"),
    ] {
        let source = source_of(&[
            DEBEZIUM_CLASS,
            ("mongodb.connection.string", "mongodb://h"),
            ("topic.prefix", "p"),
            (key, entries),
        ]);
        assert!(source.watch.matches("shop", "orders"), "{entries}");
        assert!(!source.watch.matches("shop_copy", "orders"), "{entries}");
    }
}

#[test]
fn debezium_becomes_a_source_with_its_envelope() {
    let source = source_of(&[
        DEBEZIUM_CLASS,
        ("mongodb.connection.string", "mongodb://h:27017/?replicaSet=rs0"),
        ("mongodb.user", "u"),
        ("mongodb.password", "p@ss"),
        ("topic.prefix", "dbz"),
        ("collection.include.list", "shop\\.orders, crm[.].*"),
        ("skipped.operations", "d"),
        ("field.exclude.list", "shop.orders.card.number,crm.*.secret"),
        ("field.renames", "shop.orders.card.zip:postcode"),
        ("snapshot.mode", "no_data"),
        ("capture.mode", "change_streams_update_full_with_pre_image"),
        ("value.converter", "org.apache.kafka.connect.json.JsonConverter"),
        ("value.converter.schemas.enable", "false"),
        ("key.converter", "org.apache.kafka.connect.json.JsonConverter"),
        ("key.converter.schemas.enable", "false"),
    ]);
    assert!(source.mongodb.uri.expose().starts_with("mongodb://u:p%40ss@h:27017/?"));
    assert!(
        source.watch.matches("shop", "orders")
            && source.watch.matches("crm", "x")
            && !source.watch.matches("a", "b")
    );
    assert_eq!((source.record.value, source.record.debezium_name.as_str()), (RecordValue::Debezium, "dbz"));
    assert_eq!(crate::source::route::name(&source.topics, "shop", Some("orders")), "dbz.shop.orders");
    assert_eq!((source.stream.pipeline.len(), source.record.debezium_schemas), (1, false));
    let rules = &source.transform;
    assert_eq!((rules.len(), rules[0].exclude.len(), rules[2].rename.len()), (3, 1, 1));
    assert!(rules[1].namespaces.matches("crm", "x") && !rules[0].namespaces.matches("crm", "x"));
    let unusable =
        [DEBEZIUM_CLASS, ("mongodb.connection.string", "mongodb://h"), ("field.exclude.list", "a.b._id")];
    assert_eq!(heaviest(&unusable, "field.exclude.list"), Some(Weight::Missing));
}

/// The text of a sink that can be carried over, which the daemon takes, and the sink.
fn sink_of(keys: &[(&str, &str)]) -> (String, config::Sink) {
    let imported = imported(&[&[SINK, ("topics", "a,b"), ("database", "d")], keys].concat());
    assert!(imported.can_run(), "{:?}", imported.remarks);
    let text = imported.toml.expect("a configuration");
    let sink = loaded(&text).sinks.remove(0);
    (text, sink)
}

#[test]
fn a_sink_with_the_defaults_writes_what_the_connector_writes() {
    let (_, sink) = sink_of(&[]);
    let handling = &sink.handling;
    assert_eq!((handling.value, handling.format), (ValueShape::Document, ReadFormat::Json));
    assert_eq!((handling.id.strategy, handling.on_tombstone), (IdStrategy::ObjectId, OnTombstone::Fail));
    assert_eq!((handling.write.model, handling.write.by), (WriteModel::Replace, WriteBy::Id));
    assert!(handling.steps.is_empty() && handling.time_series.is_none() && sink.overrides.is_empty());
    assert_eq!(sink.errors.tolerance, Tolerance::None);
}

#[test]
fn the_chain_becomes_steps_in_order() {
    let (text, sink) = sink_of(&[
        (
            "post.processor.chain",
            "a.KafkaMetaAdder,a.BlacklistValueProjector,a.DocumentIdAdder,a.RenameByMapping,a.RenameByRegExp,a.AllowListKeyProjector,a.NullFieldValueRemover",
        ),
        ("value.projection.list", "x, y.*"),
        ("key.projection.list", "k"),
        (
            "field.renamer.mapping",
            r#"[{"oldName": "value.a.b", "newName": "c"}, {"oldName": "key.e", "newName": "f"}]"#,
        ),
        (
            "field.renamer.regexp",
            r#"[{"regexp": "^value\\.m\\d+$", "pattern": "m(\\d)", "replace": "$1_"}, {"regexp": ".*", "pattern": "\\.", "replace": "_"}]"#,
        ),
        ("document.id.strategy", "a.PartialKeyStrategy"),
        ("document.id.strategy.partial.key.projection.type", "BlockList"),
        ("document.id.strategy.partial.key.projection.list", "z"),
        ("document.id.strategy.overwrite.existing", "true"),
    ]);
    assert!(!sink.handling.steps.is_empty());
    let expected = r#"
[[sinks.shop.step]]
add_metadata = true

[[sinks.shop.step]]
block = ["x", "y.*"]

[[sinks.shop.step]]
add_id = true

[[sinks.shop.step]]

[sinks.shop.step.rename]
"a.b" = "c"

[[sinks.shop.step]]
on = "key"

[sinks.shop.step.rename]
e = "f"

[[sinks.shop.step]]
rename_regex = "m[0-9]+$"
pattern = "m([0-9])"
replace = "$${1}_"

[[sinks.shop.step]]
rename_regex = ".*"
pattern = '\.'
replace = "_"

[[sinks.shop.step]]
on = "key"
rename_regex = ".*"
pattern = '\.'
replace = "_"

[[sinks.shop.step]]
on = "key"
allow = ["k"]

[[sinks.shop.step]]
remove_nulls = true

[sinks.shop.id]
strategy = "partial_key"
overwrite = true
block = ["z"]
"#;
    assert!(text.contains(expected), "{text}");
}

#[test]
fn strategies_formats_and_limits_of_a_sink_are_carried_over() {
    let (text, sink) = sink_of(&[
        ("document.id.strategy", "a.PartialValueStrategy"),
        ("value.projection.type", "whitelist"),
        ("value.projection.list", "x,y"),
        ("writemodel.strategy", "a.UpdateOneBusinessKeyTimestampStrategy"),
        ("value.converter", "org.apache.kafka.connect.json.JsonConverter"),
        ("value.converter.schemas.enable", "false"),
        ("mongo.errors.tolerance", "DATA"),
        ("errors.tolerance", "none"),
        ("errors.deadletterqueue.topic.name", "dead"),
        ("max.batch.size", "20"),
        ("rate.limiting.every.n", "5"),
        ("rate.limiting.timeout", "2000"),
    ]);
    let Write { model, by, timestamps, .. } = &sink.handling.write;
    assert_eq!((*model, *by, *timestamps), (WriteModel::Update, WriteBy::BusinessKey, true));
    assert!(text.contains("strategy = \"partial_value\"\nallow = [\"x\", \"y\"]\n"), "{text}");
    assert_eq!(sink.handling.format, ReadFormat::PlainJson);
    let SinkErrors { tolerance, dead_letter_topic, .. } = &sink.errors;
    assert_eq!((*tolerance, dead_letter_topic.as_deref()), (Tolerance::Data, Some("dead")));
    assert_eq!((sink.batch.max_records, sink.max_records_per_second), (20, Some(50)));

    let (_, sink) = sink_of(&[
        ("document.id.strategy", "a.PartialKeyStrategy"),
        ("document.id.strategy.partial.key.projection.type", "AllowList"),
        ("document.id.strategy.partial.key.projection.list", "k"),
        ("delete.on.null.values", "true"),
        ("delete.writemodel.strategy", "a.DeleteOneTombstoneBusinessKeyStrategy"),
        ("key.converter", "org.apache.kafka.connect.converters.ByteArrayConverter"),
        ("value.converter", "org.apache.kafka.connect.storage.StringConverter"),
        ("timeseries.timefield", "ts"),
        ("timeseries.granularity", "MINUTES"),
        ("timeseries.expire.after.seconds", "60"),
        ("timeseries.timefield.auto.convert", "true"),
    ]);
    let handling = &sink.handling;
    assert_eq!((handling.format, handling.key_format), (ReadFormat::Json, ReadFormat::Bson));
    assert_eq!(
        (handling.on_tombstone, handling.write.delete_by),
        (OnTombstone::Delete, WriteBy::BusinessKey)
    );
    let series = handling.time_series.as_ref().expect("a time series");
    assert_eq!((series.granularity, series.convert), (Granularity::Minutes, true));
    assert_eq!(series.expire_after.map(|after| after.as_secs()), Some(60));
    assert_eq!(handling.write.model, WriteModel::Insert);
}

#[test]
fn handlers_become_kinds_of_values() {
    for (handler, value) in [
        ("mongodb.ChangeStreamHandler", ValueShape::Event),
        ("debezium.mongodb.ChangeStreamHandler", ValueShape::Debezium),
        ("debezium.mongodb.MongoDbHandler", ValueShape::Debezium),
        ("debezium.rdbms.RdbmsHandler", ValueShape::DebeziumRows),
        ("debezium.rdbms.mysql.MysqlHandler", ValueShape::DebeziumRows),
        ("debezium.rdbms.postgres.PostgresHandler", ValueShape::DebeziumRows),
        ("qlik.rdbms.RdbmsHandler", ValueShape::Qlik),
    ] {
        let handler = format!("com.mongodb.kafka.connect.sink.cdc.{handler}");
        let nulls = ("change.data.capture.handler.remove.null.values", "true");
        let (_, sink) = sink_of(&[("change.data.capture.handler", &handler), nulls]);
        assert_eq!((sink.handling.value, sink.handling.remove_nulls), (value, true), "{handler}");
    }
}

#[test]
fn fields_become_a_template_with_what_stands_in_for_them() {
    let mapper = ("namespace.mapper", "a.FieldPathNamespaceMapper");
    let handler =
        ("change.data.capture.handler", "com.mongodb.kafka.connect.sink.cdc.mongodb.ChangeStreamHandler");
    let key_db = ("namespace.mapper.key.database.field", "t.db");
    let value_db = ("namespace.mapper.value.database.field", "ns.db");
    let value_coll = ("namespace.mapper.value.collection.field", "c");
    let strict = ("namespace.mapper.error.if.invalid", "true");
    for (keys, expected) in [
        (&[("collection", "{x}")][..], "d.{{x}}"),
        (&[("collection", "{${env:COLL}}")], "d.{{${env:COLL}}}"),
        (&[("collection", "x"), mapper, key_db], "{key.t.db|'d'}.x"),
        (&[("collection", "x"), mapper, value_coll], "d.{value.c|'x'}"),
        (&[mapper, key_db, value_coll], "{key.t.db|'d'}.{value.c|topic}"),
        (&[mapper, key_db, value_coll, strict], "{key.t.db}.{value.c}"),
        (&[mapper, value_db, strict], "{value.ns.db}.{topic}"),
        (&[handler, mapper, value_db, strict], "{db}.{topic}"),
    ] {
        let imported = imported(&[&[SINK, ("topics", "a"), ("database", "d")], keys].concat());
        assert!(imported.can_run(), "{:?}", imported.remarks);
        let text = imported.toml.expect("a configuration");
        assert!(text.contains(&format!("namespace = \"{expected}\"\n")), "{expected}: {text}");
    }
}

#[test]
fn a_topic_has_what_it_has_for_itself_and_the_rest_of_the_connectors() {
    let (text, sink) = sink_of(&[
        ("topics", "a.b,c,d"),
        ("post.processor.chain", "a.NullFieldValueRemover"),
        ("writemodel.strategy", "a.UpdateOneTimestampsStrategy"),
        ("topic.override.a.b.collection", "bs"),
        ("topic.override.a.b.document.id.strategy", "a.PartialValueStrategy"),
        ("topic.override.a.b.document.id.strategy.partial.value.projection.type", "allowlist"),
        ("topic.override.a.b.document.id.strategy.partial.value.projection.list", "x"),
        ("topic.override.c.post.processor.chain", "a.DocumentIdAdder"),
        ("topic.override.c.writemodel.strategy", "a.DefaultWriteModelStrategy"),
        ("topic.override.c.timeseries.timefield", ""),
        ("topic.override.d.max.batch.size", "5"),
    ]);
    let [ab, c] = sink.overrides.as_slice() else { panic!("{text}") };
    assert!(ab.topics.matches("a.b") && c.topics.matches("c"));
    assert_eq!(ab.handling.id.strategy, IdStrategy::PartialValue);
    assert_eq!((ab.handling.write.timestamps, ab.handling.steps.len()), (true, 1));
    assert_eq!(ab.handling.namespace.literal(), Some("d.bs"));
    assert_eq!(c.handling.id.strategy, IdStrategy::ObjectId);
    assert_eq!((c.handling.write.model, c.handling.write.timestamps), (WriteModel::Replace, false));
    assert!(matches!(c.handling.steps.as_slice(), [Step { action: StepAction::AddId, .. }]));
}

#[test]
fn what_a_sink_cannot_carry_over_is_named() {
    let keys = [SINK, ("topics", "t"), ("database", "d")];
    for (more, key, expected) in [
        (&[("timeseries.metafield", "m")][..], "timeseries.metafield", Weight::Refused),
        (&[("delete.on.null.values", "true")], "delete.on.null.values", Weight::Refused),
        (
            &[("document.id.strategy", "a.PartialKeyStrategy")],
            "document.id.strategy.partial.key.projection.type",
            Weight::Refused,
        ),
        (
            &[
                ("post.processor.chain", "a.RenameByRegExp"),
                ("field.renamer.regexp", r#"[{"regexp": "value\\.(?=a)b", "pattern": "b", "replace": ""}]"#),
            ],
            "field.renamer.regexp",
            Weight::Missing,
        ),
        (
            &[
                ("post.processor.chain", "a.RenameByMapping"),
                ("field.renamer.mapping", r#"[{"oldName": "value.a"}]"#),
            ],
            "field.renamer.mapping",
            Weight::Refused,
        ),
        (&[("csfle.enabled", "true")], "csfle.enabled", Weight::Missing),
        (&[("errors.deadletterqueue.topic.name", "x")], "errors.deadletterqueue.topic.name", Weight::Note),
        (
            &[("topic.override.t.errors.tolerance", "all")],
            "topic.override.t.errors.tolerance",
            Weight::Missing,
        ),
        (&[("topic.override.t.max.batch.size", "x")], "topic.override.t.max.batch.size", Weight::Refused),
        (&[("topic.override.x.collection", "y")], "topic.override.x.collection", Weight::Note),
        (&[("value.converter", "x.AvroConverter")], "value.converter", Weight::Missing),
    ] {
        assert_eq!(heaviest(&[&keys, more].concat(), key), Some(expected), "{more:?}");
    }
    let unread = [&keys[..], &[("key.converter", "x.AvroConverter")]].concat();
    assert_eq!(heaviest(&unread, "key.converter"), None);
}

#[test]
fn several_connectors_make_one_pipeline() {
    let source = connector(&[SOURCE, ("database", "shop")]);
    let handler = "com.mongodb.kafka.connect.sink.cdc.mongodb.ChangeStreamHandler";
    let sink = connector(&[
        SINK,
        ("topics", "shop.orders"),
        ("database", "copy"),
        ("collection", "orders"),
        ("change.data.capture.handler", handler),
        ("connection.uri", "mongodb://other"),
    ]);
    let imported = import(&[source, sink], None, Some("p"));
    assert!(imported.can_run(), "{:?}", imported.remarks);
    let settings = loaded(imported.toml.as_deref().expect("a configuration"));
    assert_eq!((settings.name.as_str(), settings.sources.len(), settings.sinks.len()), ("p", 1, 1));
    assert_eq!(settings.sinks[0].name, "shop-2");
    assert_eq!(settings.sinks[0].mongodb.uri.expose(), "mongodb://other");
}
