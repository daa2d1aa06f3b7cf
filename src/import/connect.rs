//! What Kafka Connect itself does for a connector: names, transformations, creation of topics.

use super::{
    keys::CONNECT,
    reader::Reader,
    toml::{Table, Value},
};

/// Reads the keys that all connectors have; those of clients and converters are read elsewhere.
pub(super) fn common(reader: &mut Reader<'_>) {
    for key in ["name", "connector.class"] {
        reader.pass_over(key);
    }
    for list in ["transforms", "predicates"] {
        let names = reader.list(list);
        for (_, _) in reader.below(&format!("{list}.")) {}
        if !names.is_empty() {
            reader.lack(list, format!("not carried over: {}; see `transform` and `route`", names.join(", ")));
        }
    }
    if reader.word("exactly.once.support") == "required" {
        reader.refuse::<()>("exactly.once.support", "is required, which the connector does not declare");
    }
    for spec in CONNECT {
        let reason = spec.becomes.strip_prefix("nothing: ");
        if let (Some(reason), Some(_)) = (reason, reader.unusual_of(spec)) {
            reader.note(spec.key, format!("not carried over: {reason}"));
        }
    }
    if !reader.below("admin.override.").is_empty() {
        reader.note("admin.override.*", "not carried over: topics are created with the source's properties");
    }
}

/// `[topic_creation]` of a source.
pub(super) fn topic_creation(reader: &mut Reader<'_>) -> Table {
    let mut table = Table::default();
    let mut config = Table::default();
    for (key, value) in reader.below("topic.creation.default.") {
        match key {
            "partitions" | "replication.factor" => {
                let own = if key == "partitions" { "partitions" } else { "replication" };
                match value.trim().parse::<i64>() {
                    Ok(-1) => {}
                    Ok(count) if count > 0 => table.put(own, count),
                    _ => {
                        reader.refuse::<()>(
                            &format!("topic.creation.default.{key}"),
                            "is neither -1 nor above 0",
                        );
                    }
                }
            }
            "include" | "exclude" => {}
            _ => config.put(key, value),
        }
    }
    if !reader.list("topic.creation.groups").is_empty() {
        reader.lack(
            "topic.creation.groups",
            "all topics of a source are created alike; create others beforehand",
        );
    }
    for (_, _) in reader.below("topic.creation.") {}
    table.put("config", Value::Table(config));
    table
}
