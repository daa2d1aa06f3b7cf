//! Whole records through all the stages, with settings as a user has them.

use std::path::Path;

use super::{
    super::{
        plan::Kind,
        progress::{Partition, Place},
        record::Timestamp,
    },
    *,
};

fn stages(lines: &str) -> Stages {
    let text = format!(
        "name = \"shop\"\n[mongodb]\nuri = \"mongodb://localhost:27017/?replicaSet=rs0\"\n[kafka]\n\
         bootstrap_servers = \"localhost:9092\"\n[sinks.copy]\ntopics = [\"*\"]\nallow = [\"shop.*\", \"copy.*\"]\n{lines}\n"
    );
    let settings =
        config::load_text(Path::new("m.toml"), &text, []).unwrap_or_else(|problems| panic!("{problems}"));
    Stages::new(Arc::new(settings.sinks.into_iter().next().expect("a sink")), Vec::new())
}

fn judge(stages: &mut Stages, topic: &str, key: &str, value: &str) -> String {
    let bytes = |text: &str| (!text.is_empty()).then(|| bytes::Bytes::copy_from_slice(text.as_bytes()));
    let place = Place { partition: Partition { topic: topic.into(), number: 0 }, offset: 0 };
    let (key, value) = (bytes(key), bytes(value));
    let judged = stages.judge(&Record { place, timestamp: Timestamp::None, key, value, headers: Vec::new() });
    match judged {
        Err(refusal) => format!("{}: {refusal}", refusal.stage()),
        Ok(Judged::Nothing(skip)) => format!("nothing: {skip:?}"),
        Ok(Judged::Ddl(ddl)) => format!("{}: {}", ddl.namespace, ddl.operation),
        Ok(Judged::Write(write)) => {
            let kind = match write.kind {
                Kind::Insert(body) | Kind::Replace(body) => {
                    bson::Document::from_reader(body.document().as_bytes()).expect("sound").to_string()
                }
                Kind::Delete => "delete".to_owned(),
                other => format!("{other:?}"),
            };
            format!("{}: {kind}", write.namespace).replace('"', "'")
        }
    }
}

#[test]
fn a_topic_is_what_its_first_value_is_and_that_is_told_once() {
    let mut stages = stages("value = \"auto\"\nkey_format = \"plain_json\"");
    let rows = r#"{"op": "c", "after": {"id": 1, "a": 2}, "source": {"db": "shop", "table": "orders"}}"#;
    let topic = "pg.shop.orders";
    assert_eq!(judge(&mut stages, topic, r#"{"id": 1}"#, ""), "nothing: Tombstone");
    assert!(stages.take_notes().is_empty());
    for _ in 0..2 {
        let found = judge(&mut stages, topic, r#"{"id": 1}"#, rows);
        assert_eq!(found, "shop.orders: { '_id': { 'id': 1 }, 'a': 2 }");
    }
    assert_eq!(stages.take_notes(), ["the values of topic pg.shop.orders are taken for \"debezium_rows\""]);
    let found = judge(&mut stages, topic, r#"{"id": 1}"#, r#"{"a": 1}"#);
    assert!(found.starts_with("plan: not an event about a row"), "{found}");
    assert_eq!(judge(&mut stages, "shop.plain", r#"{"_id": 1}"#, ""), "shop.plain: delete");
    assert_eq!(
        judge(&mut stages, "shop.plain", "", r#"{"_id": 1, "op": "c"}"#),
        "shop.plain: { '_id': 1, 'op': 'c' }"
    );
    let event =
        r#"{"operationType": "Insert", "ns": {"db": "shop", "coll": "x"}, "fullDocument": {"_id": 1}}"#;
    assert_eq!(judge(&mut stages, "any", "", event), "shop.x: { '_id': 1 }");
    assert_eq!(judge(&mut stages, "any", r#"{"_id": 1}"#, ""), "nothing: Tombstone");
}

#[test]
fn an_events_namespace_is_needed_where_the_target_is_made_of_it() {
    let event = r#"{"operationType": "insert", "fullDocument": {"_id": 1}}"#;
    assert_eq!(judge(&mut stages("namespace = \"copy.all\""), "t", "", event), "copy.all: { '_id': 1 }");
    let found = judge(&mut stages(""), "shop.orders", "", event);
    assert!(found.starts_with("decode: not a change event: no ns.db"), "{found}");
}

#[test]
fn transformations_see_the_documents_of_all_kinds() {
    let rules =
        "value = \"debezium\"\n[[sinks.copy.transform]]\nnamespaces = [\"*\"]\nexclude = [\"secret\"]";
    let key = r#"{"id": "1"}"#;
    for (value, expected) in [
        (r#"{"op": "c", "after": "{\"_id\": 1, \"secret\": 2}"}"#, "shop.orders: { '_id': 1 }"),
        (r#"{"op": "d"}"#, "shop.orders: delete"),
    ] {
        assert_eq!(judge(&mut stages(rules), "shop.orders", key, value), expected);
    }
    let patch = r#"{"op": "u", "patch": "{\"$set\": {\"secret\": 2}}"}"#;
    let found = judge(&mut stages(rules), "shop.orders", key, patch);
    assert!(found.starts_with("plan: an update without the full document"), "{found}");
}

#[test]
fn events_about_collections_are_judged_by_every_namespace_that_they_name() {
    let rename = |to: &str| {
        format!(
            r#"{{"operationType": "rename", "ns": {{"db": "shop", "coll": "a"}}, "to": {{"db": "{to}", "coll": "b"}}}}"#
        )
    };
    assert_eq!(judge(&mut stages(""), "t", "", &rename("shop")), "nothing: Operation(\"rename\")");
    let mut applying = stages("ddl = \"apply\"");
    assert_eq!(judge(&mut applying, "t", "", &rename("shop")), "shop.a: rename");
    assert!(judge(&mut applying, "t", "", &rename("other")).starts_with("route: other.b is not among"));
    assert!(judge(&mut applying, "t", "", &rename("admin")).starts_with("route: admin.b belongs to"));
}

#[test]
fn types_that_the_settings_give_are_those_of_the_document() {
    let types = "value = \"event\"\n[sinks.copy.types]\nat = \"date\"";
    let event = |at: &str| {
        format!(
            r#"{{"operationType": "insert", "at": 1, "ns": {{"db": "shop", "coll": "c"}}, "fullDocument": {{"_id": 1, "at": {at}}}}}"#
        )
    };
    let found = judge(&mut stages(types), "t", "", &event("0"));
    assert_eq!(found, "shop.c: { '_id': 1, 'at': DateTime('1970-01-01 0:00:00.0 +00:00:00') }");
    let found = judge(&mut stages(types), "t", "", &event("true"));
    assert_eq!(found, "decode: the field at is no date, as the sink's types say");
}
