//! Loading as a user sees it: files and variables in, settings or problems out.

#![expect(clippy::result_large_err, reason = "the jail's error is figment's, and large")]

use std::{path::Path, time::Duration};

use super::*;

pub(super) const MINIMAL: &str = r#"
name = "shop"
[mongodb]
uri = "mongodb://localhost:27017/?replicaSet=rs0"
[kafka]
bootstrap_servers = "localhost:9092"
[sources.shop]
watch = ["shop.*"]
"#;

pub(super) fn load_with(text: &str, variables: &[(&str, &str)]) -> Result<Settings, Problems> {
    let mut loaded = None;
    figment::Jail::expect_with(|jail| {
        jail.create_file("m.toml", text)?;
        let variables = variables.iter().map(|(name, value)| (String::from(*name), String::from(*value)));
        loaded = Some(load(Path::new("m.toml"), variables));
        Ok(())
    });
    loaded.expect("the jail ran")
}

pub(super) fn settings(text: &str) -> Settings {
    load_with(text, &[]).unwrap_or_else(|problems| panic!("{problems}"))
}

/// A source with these lines in its table.
pub(crate) fn source(lines: &str) -> Source {
    let text = format!("{MINIMAL}{lines}\n");
    settings(&text).sources.into_iter().next().expect("a source")
}

pub(super) fn problems_with(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let problems = load_with(text, variables).expect_err("there is a problem");
    problems.to_string().lines().map(String::from).collect()
}

pub(super) fn problems(text: &str) -> Vec<String> {
    problems_with(text, &[])
}

/// The only problem of the minimal file with `extra` after it.
pub(super) fn problem_with_extra(extra: &str) -> String {
    let all = problems(&format!("{MINIMAL}{extra}"));
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

#[test]
fn the_smallest_file_gets_every_default() {
    let settings = settings(MINIMAL);
    assert_eq!(settings.name, "shop");
    assert_eq!(settings.memory_bytes, 64_000_000);
    assert_eq!(settings.admin.map(|admin| admin.listen), "127.0.0.1:9464".parse().ok());
    assert_eq!(settings.shutdown_timeout, Duration::from_secs(10));
    assert!(matches!(settings.checkpoint.store, CheckpointStore::Kafka));
    let source = &settings.sources[0];
    assert_eq!((source.name.as_str(), source.stream.batch_size), ("shop", 5000));
    assert_eq!((source.record.value, source.record.format), (RecordValue::Event, Format::Json));
    assert_eq!((source.stream.full_document, &source.start), (FullDocument::Default, &Start::Latest));
    assert!(source.watch.matches("shop", "orders") && !source.watch.matches("crm", "orders"));
    let mut topic = String::new();
    source.topics.template.render("shop", "orders", "", &mut topic);
    assert_eq!(topic, "shop.orders");
    assert!(settings.sinks.is_empty());
}

#[test]
fn every_key_reaches_its_setting() {
    let text = r#"
        name = "p-1"
        [mongodb]
        uri = "mongodb://a"
        [kafka]
        bootstrap_servers = "k:1"
        [kafka.properties]
        "linger.ms" = 5
        enable.ssl.certificate.verification = false
        [checkpoint]
        store = "file"
        interval = "2s"
        directory = "/var/lib/m"
        [admin]
        enabled = false
        [limits]
        memory = 1048576
        shutdown_timeout = "1m"
        [log]
        format = "json"
        level = "info,millrace=debug"
        identifiers = true
        [sources.b]
        watch = ["*", "/x\\.y+/"]
        exclude = ["shop.tmp*"]
        start = 2026-11-23T03:00:00Z
        value = "document"
        format = "bson"
        topic = "cdc.{db}.{coll}"
        batch_size = 1
        max_await = "500ms"
        mongodb.uri = "mongodb://b"
        kafka.properties.linger.ms = 6
        [sources.a]
        watch = ["a.*"]
        value = "document"
        full_document = "required"
        [sinks.a]
        topics = ["t*"]
        value = "document"
        format = "bson"
        namespace = "copy.{topic}"
        allow = ["copy.*"]
        lanes = 4
        on_history_lost = "earliest"
        [sinks.a.batch]
        max_records = 10
        max_bytes = "1MiB"
        max_age = "0ms"
    "#;
    let settings = settings(text);
    assert_eq!((settings.name.as_str(), settings.admin, settings.memory_bytes), ("p-1", None, 1 << 20));
    assert!(
        matches!(&settings.checkpoint.store, CheckpointStore::File { directory } if directory == Path::new("/var/lib/m"))
    );
    assert_eq!(
        (settings.checkpoint.interval, settings.shutdown_timeout),
        (Duration::from_secs(2), Duration::from_secs(60))
    );
    assert_eq!((settings.log.format, settings.log.level.as_str()), (LogFormat::Json, "info,millrace=debug"));
    assert!(settings.log.identifiers);
    let [b, a] = settings.sources.as_slice() else { panic!("two sources") };
    assert_eq!((b.name.as_str(), a.name.as_str()), ("b", "a"), "the order of the file");
    assert_eq!((b.mongodb.uri.expose(), a.mongodb.uri.expose()), ("mongodb://b", "mongodb://a"));
    assert_eq!(
        (b.stream.full_document, a.stream.full_document),
        (FullDocument::UpdateLookup, FullDocument::Required)
    );
    assert_eq!(b.start, Start::At(ClusterTime { seconds: 1_795_402_800, increment: 1 }));
    assert_eq!(
        (b.record.value, b.record.format, b.stream.batch_size),
        (RecordValue::Document, Format::Bson, 1)
    );
    assert_eq!(b.stream.max_await, Duration::from_millis(500));
    assert!(b.watch.matches("any", "thing") && !b.watch.matches("shop", "tmp1"));
    let property =
        |kafka: &Kafka, name: &str| kafka.properties.get(name).map(|secret| secret.expose().to_owned());
    assert_eq!(property(&b.kafka, "linger.ms").as_deref(), Some("6"));
    assert_eq!(property(&a.kafka, "linger.ms").as_deref(), Some("5"));
    assert_eq!(property(&b.kafka, "enable.ssl.certificate.verification").as_deref(), Some("false"));
    let sink = &settings.sinks[0];
    assert_eq!(
        (sink.handling.value, sink.handling.format, sink.lanes),
        (ValueShape::Document, ReadFormat::Bson, 4)
    );
    assert_eq!(sink.on_history_lost, SinkHistoryLost::Earliest);
    assert_eq!(
        (sink.batch.max_records, sink.batch.max_bytes, sink.batch.max_age),
        (10, 1 << 20, Duration::ZERO)
    );
    assert!(sink.topics.matches("t1") && !sink.topics.matches("u"));
    assert!(sink.allow.matches("copy", "x") && !sink.allow.matches("shop", "x"));
}

#[test]
fn five_mistakes_are_reported_at_once_with_their_places() {
    let text = r#"name = "shop"
[mongodb]
uri = "localhost"
[kafka]
bootstrap_server = "localhost:9092"
bootstrap_servers = "localhost:9092"
[sources.shop]
watch = ["shop.*", "crm"]
max_await = "1 fortnight"
  value = "documnt"
[sinks.copy]
topics = "shop.*"
lanes = 0
"#;
    let expected = [
        "m.toml:3:7: mongodb.uri: is no MongoDB connection string: it starts neither with mongodb:// nor with mongodb+srv://",
        "m.toml:5:1: kafka.bootstrap_server: is not a key; did you mean \"bootstrap_servers\"?",
        "m.toml:8:20: sources.shop.watch[1]: \"crm\" has no collection; write \"crm.*\" for all of a database, \
         \"*\" for everything",
        "m.toml:9:13: sources.shop.max_await: \"1 fortnight\" is not a duration; write a whole number with ms, s, m \
         or h, like \"1s\"",
        "m.toml:10:11: sources.shop.value: \"documnt\" is not one of \"event\", \"document\", \"debezium\"; did you mean \"document\"?",
        "m.toml:12:10: sinks.copy.topics: is text; write a list of texts, like [\"shop.*\"]",
        "m.toml:13:9: sinks.copy.lanes: 0 is out of range; allowed: 1 to 256",
    ];
    assert_eq!(problems(text), expected);
    let guide = include_str!("../../docs/configuration.md");
    assert!(guide.contains(text) && guide.contains(&expected.join("\n")), "the guide shows other output");
}

#[test]
fn what_is_required_is_asked_for_once_and_where_it_belongs() {
    assert_eq!(
        problems("[sources.a]\nbatch_size = 1\n[sinks.b]\n"),
        [
            "m.toml: name: is required: the checkpoints and consumer groups are named after it",
            "m.toml:1:10: kafka.bootstrap_servers: is required: sources.a has none of its own",
            "m.toml:1:10: mongodb.uri: is required: sources.a has no uri of its own",
            "m.toml:1:10: sources.a.watch: is required; write a list like [\"shop.*\"], or [\"*\"] for everything",
            "m.toml:3:8: sinks.b.topics: is required; write a list like [\"shop.*\"]",
        ]
    );
}

#[test]
fn a_file_without_a_half_has_nothing_to_do() {
    for text in ["name = \"x\"\n", "name = \"x\"\n[sources]\n"] {
        assert_eq!(problems(text), ["m.toml: there is nothing to do; add [sources.NAME] or [sinks.NAME]"]);
    }
}

#[test]
fn a_wrong_value_is_not_also_called_missing() {
    let text = "name = 5\nmongodb = 1\nkafka.bootstrap_servers = true\nsources.a.watch = [1]\nsinks = []\n";
    let all = problems(text);
    assert_eq!(all.len(), 5, "{all:?}");
    assert!(all[0].starts_with("m.toml:1:8: name: is a whole number; write text"), "{all:?}");
    assert!(all[3].starts_with("m.toml:4:20: sources.a.watch[0]: is a whole number"), "{all:?}");
}

#[test]
fn what_is_not_toml_is_reported_with_its_place() {
    let message = problems("name = \"x\"\n[kafka\n").join("\n");
    assert!(message.starts_with("m.toml:2:7: is not TOML: "), "{message}");
    let message = problems("name = \"x\"\nname = \"y\"\n").join("\n");
    assert!(message.starts_with("m.toml:2:1: is not TOML: duplicate key"), "{message}");
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem() {
    let missing = load(Path::new("no-such.toml"), []).expect_err("there is no such file").to_string();
    assert!(missing.starts_with("no-such.toml: cannot be read: "), "{missing}");
    figment::Jail::expect_with(|jail| {
        let path = jail.directory().join("latin.toml");
        std::fs::write(&path, b"# \xc3\xa4\nname = \"\xe4\"\n").map_err(|err| err.to_string())?;
        let message = load(&path, []).expect_err("the file is not UTF-8").to_string();
        assert!(message.ends_with("latin.toml:2:9: is not UTF-8 from here"), "{message}");
        Ok(())
    });
}

#[test]
fn variables_win_over_the_file_and_only_those_with_two_underscores_count() {
    let variables = [
        ("MILLRACE_KAFKA__BOOTSTRAP_SERVERS", "env:1"),
        ("MILLRACE_KAFKA__PROPERTIES__SASL__USERNAME", "u"),
        ("MILLRACE_SOURCES__MY_SHOP__WATCH", "a.*, b.*"),
        ("MILLRACE_SOURCES__MY_SHOP__EXCLUDE", "['a.x', \"/a\\\\.{1,2}/\"]"),
        ("MILLRACE_SOURCES__OTHER__WATCH", "c.*"),
        ("MILLRACE_LOG__IDENTIFIERS", "true"),
        ("MILLRACE_LIMITS__MEMORY", "1024"),
        ("MILLRACE_SOURCES__MY_SHOP__BATCH_SIZE", "7"),
        ("MILLRACE__NAME", "p"),
        ("MILLRACE_PORT_9464_TCP", "tcp://10.0.0.1:9464"),
        ("OTHER__KAFKA__X", "1"),
    ];
    let text = MINIMAL.replace("[sources.shop]", "[sources.My-Shop]");
    let settings = load_with(&text, &variables).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((settings.name.as_str(), settings.memory_bytes), ("p", 1024));
    assert!(settings.log.identifiers);
    let [shop, other] = settings.sources.as_slice() else { panic!("two sources: {:?}", settings.sources) };
    assert_eq!((shop.name.as_str(), other.name.as_str()), ("My-Shop", "other"));
    assert_eq!((shop.kafka.bootstrap_servers.as_str(), shop.stream.batch_size), ("env:1", 7));
    assert_eq!(shop.kafka.properties["sasl.username"].expose(), "u");
    assert!(
        shop.watch.matches("b", "y") && !shop.watch.matches("a", "x") && !shop.watch.matches("shop", "y")
    );
}

#[test]
fn problems_of_variables_name_the_variable() {
    let variables = [
        ("MILLRACE_KAFKA__BOOTSTRAP_SERVER", "x:1"),
        ("MILLRACE_LIMITS__MEMORY", "much"),
        ("MILLRACE_LOG", "ignored"),
        ("MILLRACE_LOG__IDENTIFIERS", "yes"),
        ("MILLRACE_SOURCES__SHOP", "x"),
        ("MILLRACE_SOURCES__SHOP__WATCH", "a.*,b"),
    ];
    assert_eq!(
        problems_with(MINIMAL, &variables),
        [
            "MILLRACE_KAFKA__BOOTSTRAP_SERVER: kafka.bootstrap_server: is not a key; did you mean \"bootstrap_servers\"?",
            "MILLRACE_LIMITS__MEMORY: limits.memory: \"much\" is not a size; write a whole number of bytes, or one with \
             kB, MB, GB, KiB, MiB or GiB",
            "MILLRACE_LOG__IDENTIFIERS: log.identifiers: is \"yes\"; write true or false",
            "MILLRACE_SOURCES__SHOP: sources.shop: is a table; name one of its keys after another __",
            "MILLRACE_SOURCES__SHOP__WATCH: sources.shop.watch[1]: \"b\" has no collection; write \"b.*\" for all of a \
             database, \"*\" for everything",
        ]
    );
}

#[test]
fn the_real_environment_is_read() {
    figment::Jail::expect_with(|jail| {
        jail.create_file("m.toml", MINIMAL)?;
        jail.set_env("MILLRACE_SOURCES__SHOP__BATCH_SIZE", "9");
        let settings = load(Path::new("m.toml"), environment()).map_err(|problems| problems.to_string())?;
        assert_eq!(settings.sources[0].stream.batch_size, 9);
        Ok(())
    });
}

#[test]
fn secrets_come_by_reference_and_never_come_out_again() {
    let text = MINIMAL.replace("mongodb://localhost", "mongodb://u:${env:PW}@localhost")
        + "kafka.properties.sasl.password = \"${env:PW}\"\nkafka.properties.linger.ms = \"${env:PW}\"\n\
           topic = \"${env:PW}!\"\nexclude = [\"${env:NONE}\", \"${env:PW}\"]\nstart = \"${env:START}\"\n";
    let variables = [("PW", "hunter2"), ("START", "1:1")];
    let all = problems_with(&text, &variables);
    assert_eq!(all.len(), 4, "{all:?}");
    assert!(all.iter().all(|line| !line.contains("hunter2")), "{all:?}");
    assert!(
        all.iter()
            .any(|line| line.contains("sources.shop.exclude[0]: refers to the environment variable NONE")),
        "{all:?}"
    );
    let text = text.lines().filter(|line| {
        !line.starts_with("topic") && !line.starts_with("exclude") && !line.contains("linger")
    });
    let text: String = text.map(|line| format!("{line}\n")).collect();
    let settings = load_with(&text, &variables).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(
        settings.sources[0].mongodb.uri.expose(),
        "mongodb://u:hunter2@localhost:27017/?replicaSet=rs0"
    );
    assert_eq!(settings.sources[0].start, Start::At(ClusterTime { seconds: 1, increment: 1 }));
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn properties_of_a_cluster_do_not_reach_another() {
    let text = MINIMAL.replace("[sources.shop]", "[kafka.properties]\nsasl.password = \"x\"\n[sources.shop]")
        + "kafka.bootstrap_servers = \"other:1\"\nkafka.properties.linger.ms = 1\n";
    let kafka = &settings(&text).sources[0].kafka;
    assert_eq!(kafka.bootstrap_servers, "other:1");
    assert_eq!(kafka.properties.keys().collect::<Vec<_>>(), ["linger.ms"]);
}

#[test]
fn properties_that_the_daemon_owns_or_nobody_knows_are_refused_with_their_place() {
    let all = problems(&format!(
        "{MINIMAL}[sources.shop.kafka.properties]\nacks = 1\ngroup.id = \"x\"\n\"a.b\" = 1\nlinger.ms = [1]\n\
         \"client.id\" = \"x\"\nclient.id = \"y\"\n"
    ));
    let expected = [
        "m.toml:10:8: sources.shop.kafka.properties.acks: is set by the daemon; it is always all",
        "m.toml:11:12: sources.shop.kafka.properties.group.id: is set by the daemon; it is millrace.NAME.SINK",
        "m.toml:12:9: sources.shop.kafka.properties.a.b: is not a property of librdkafka",
        "m.toml:13:13: sources.shop.kafka.properties.linger.ms: is a list; write text, a number, true or false",
        "m.toml:15:13: sources.shop.kafka.properties.client.id: is given twice, once as a name with dots and once as nested tables",
    ];
    assert_eq!(all, expected);
}

#[test]
fn names_are_fit_for_topics() {
    for name in ["", "a b", "ä", &"x".repeat(101)] {
        let text = MINIMAL.replace("\"shop\"", &format!("{name:?}"));
        assert!(problems(&text)[0].starts_with("m.toml:2:8: name: "), "{name}");
        let text = MINIMAL.replace("sources.shop", &format!("sources.{name:?}"));
        assert!(problems(&text)[0].starts_with("m.toml:7:10: sources."), "{name}");
    }
    assert_eq!(settings(&MINIMAL.replace("sources.shop", "sources.\"a.b-c_1\"")).sources[0].name, "a.b-c_1");
}

#[test]
fn zero_is_refused_where_it_would_stop_everything() {
    for (extra, path) in [
        ("batch_size = 0", "batch_size: 0 is out of range"),
        ("max_await = \"0s\"", "max_await: \"0s\" is no time"),
        ("[limits]\nmemory = 0", "limits.memory: \"0\" is nothing"),
        ("[checkpoint]\ninterval = \"0s\"", "checkpoint.interval: \"0s\" is no time"),
        ("[sinks.a]\ntopics = [\"t\"]\nbatch.max_records = 0", "max_records: 0 is out of range"),
        ("[sinks.a]\ntopics = [\"t\"]\nbatch.max_bytes = \"0B\"", "max_bytes: \"0B\" is nothing"),
    ] {
        let problem = problem_with_extra(extra);
        assert!(problem.contains(path), "{problem}");
    }
}

#[test]
fn templates_must_make_names_that_their_targets_take() {
    for (extra, part) in [
        ("topic = \"{topic}\"", "which a source does not know"),
        ("topic = \"{database}\"", "has the unknown placeholder {database}; allowed: {db}, {coll}"),
        ("topic = \"a b\"", "makes no topic name"),
        ("topic = \"a*\"", "makes no topic name"),
        ("topic = \"millrace.a.b.checkpoint\"", "keeps its positions"),
        ("[sinks.a]\ntopics = [\"t\"]\nnamespace = \"{db}\"", "makes no namespace"),
        ("[sinks.a]\ntopics = [\"t\"]\nnamespace = \"admin.{coll}\"", "server's own database"),
        ("[sinks.a]\ntopics = [\"t\"]\nnamespace = \"x.*\"", "a target is no pattern"),
        ("[sinks.a]\ntopics = [\"t\"]\nnamespace = \"x.y\"\nallow = [\"z.*\"]", "not covered by allow"),
        ("[sinks.a]\ntopics = [\"t\"]\ninstance_id = \"pod 1\"", "is no member's name; allowed: letters"),
    ] {
        let problem = problem_with_extra(extra);
        assert!(problem.contains(part), "{problem}");
    }
}

#[test]
fn a_sink_that_is_certain_to_feed_a_source_is_refused() {
    let sink = |namespace: &str, uri: &str| {
        format!(
            "{MINIMAL}[sinks.a]\ntopics = [\"t\"]\nnamespace = \"{namespace}\"\nmongodb.uri = \"{uri}\"\n"
        )
    };
    let same = "mongodb://localhost:27017/?replicaSet=rs0";
    for namespace in ["shop.copy", "shop.{coll}", "shop.x{topic}"] {
        let all = problems(&sink(namespace, same));
        assert!(all.len() == 1 && all[0].starts_with("m.toml:11:13: sinks.a.namespace: "), "{all:?}");
        assert!(all[0].contains("sources.shop watches"), "{all:?}");
        assert_eq!(settings(&sink(namespace, "mongodb://other")).sinks.len(), 1, "{namespace}");
    }
    for namespace in ["copy.{coll}", "{db}.{coll}", "{topic}"] {
        assert_eq!(settings(&sink(namespace, same)).sinks.len(), 1, "{namespace}");
    }
    let everything = sink("{db}.{coll}", same).replace("shop.*", "*");
    assert!(problems(&everything)[0].contains("go round for ever"));
}

#[test]
fn the_daemons_own_collection_never_matches() {
    let everything = MINIMAL.replace("shop.*", "*") + "[checkpoint]\nstore = \"mongodb\"\n";
    let watch = &settings(&everything).sources[0].watch;
    assert!(!watch.matches("millrace", "checkpoints") && watch.matches("millrace", "checkpoints2"));
    let elsewhere = everything + "uri = \"mongodb://other\"\nnamespace = \"a.b\"\n";
    let settings = settings(&elsewhere);
    assert!(settings.sources[0].watch.matches("a", "b"));
    let CheckpointStore::Mongodb { mongodb, namespace } = &settings.checkpoint.store else {
        panic!("the store is MongoDB")
    };
    assert_eq!((mongodb.uri.expose(), namespace.to_string().as_str()), ("mongodb://other", "a.b"));
}

pub(super) fn printed(text: &str, variables: &[(&str, &str)]) -> String {
    let mut printed = String::new();
    figment::Jail::expect_with(|jail| {
        jail.create_file("m.toml", text)?;
        let variables = variables.iter().map(|(name, value)| (String::from(*name), String::from(*value)));
        printed = print(Path::new("m.toml"), variables).map_err(|problems| problems.to_string())?;
        Ok(())
    });
    printed
}

#[test]
fn printing_shows_what_is_in_force_and_loads_again_but_shows_no_secret() {
    let text = MINIMAL.replace("[sources.shop]", "[sources.\"shop.1\"]").replace(
        "[kafka]",
        "[kafka]\nproperties.linger.ms = 5\nproperties.sasl.password = \"${env:PW}\"\nproperties.sasl.username = \"me\"",
    );
    let variables = [("PW", "hunter2"), ("MILLRACE_LIMITS__MEMORY", "32MB")];
    let printed_once = printed(&text, &variables);
    for part in [
        "name = \"shop\"\n",
        "[sources.\"shop.1\"]\nwatch = [\"shop.*\"]\n",
        "memory = \"32MB\"",
        "properties.linger.ms = \"5\"",
        "properties.sasl.username = \"me\"",
        "properties.sasl.password = \"${env:PW}\"",
        "batch_size = 5000",
    ] {
        assert!(printed_once.contains(part), "{part} is not in\n{printed_once}");
    }
    assert!(!printed_once.contains("hunter2"));
    assert_eq!(printed(&printed_once, &[("PW", "x")]), printed_once);
}

#[test]
fn printing_redacts_secrets_that_stand_in_the_file() {
    let text = MINIMAL.replace("mongodb://localhost", "mongodb://u:hunter2@localhost").replace(
        "[kafka]",
        "[kafka]\nproperties.sasl.password = \"hunter2\"\nproperties.ssl.key.password = \"hunter2${env:PW}\"",
    );
    let printed = printed(&text, &[("PW", "hunter2")]);
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(
        printed.contains("uri = \"mongodb://u:[redacted]@localhost:27017/?replicaSet=rs0\""),
        "{printed}"
    );
    assert_eq!(printed.matches("password = \"[redacted]\"").count(), 2, "{printed}");
}
