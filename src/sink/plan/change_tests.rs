//! What the kinds of change events come to, as a user's records have them.

use bson::{Bson, doc};

use super::{
    super::{
        decode, example,
        progress::{Partition, Place},
        record::{Record, Timestamp},
    },
    *,
};
use crate::config::{Handling, ReadFormat, ValueShape};

fn planned(shape: ValueShape, remove_nulls: bool, key: &str, value: &str) -> Result<Action, Error> {
    let bytes = |text: &str| (!text.is_empty()).then(|| bytes::Bytes::copy_from_slice(text.as_bytes()));
    let place = Place { partition: Partition { topic: "t".into(), number: 3 }, offset: 9 };
    let record = Record {
        place,
        timestamp: Timestamp::None,
        key: bytes(key),
        value: bytes(value),
        headers: Vec::new(),
    };
    let (format, key_format) = (ReadFormat::PlainJson, ReadFormat::PlainJson);
    let handling = Handling { value: shape, format, key_format, remove_nulls, ..example::handling() };
    let input = decode::decode(&record, &handling, Vec::new())?;
    match shape {
        ValueShape::Debezium => debezium::plan(&input, &handling),
        ValueShape::DebeziumRows => rows::plan(&input, &handling),
        _ => qlik::plan(&input, &handling),
    }
}

fn read(bytes: &[u8]) -> bson::Document {
    bson::Document::from_reader(bytes).expect("sound")
}

fn described(action: Result<Action, Error>) -> String {
    let (filter, kind) = match action {
        Err(_) => return "refused".to_owned(),
        Ok(Action::Skip(skip)) => return format!("skip {skip:?}"),
        Ok(Action::Write(filter, kind)) => (filter, kind),
    };
    let filter = match filter {
        Filter::Id(id) => read(&id.to_document()),
        Filter::Fields(fields) => read(&fields),
    };
    let done = match kind {
        Kind::Insert(body) => format!("insert {}", read(body.document().as_bytes())),
        Kind::Replace(body) => format!("replace {}", read(body.document().as_bytes())),
        Kind::Delta { stages, .. } => {
            let stages: Vec<_> = stages.iter().map(|stage| read(stage.as_bytes()).to_string()).collect();
            stages.join(", ")
        }
        Kind::Update(update) => format!("update {}", read(&update.update)),
        Kind::Delete => "delete".to_owned(),
        other => format!("{other:?}"),
    };
    format!("{filter}: {done}").replace('"', "'")
}

const MONGODB_KEY: &str = r#"{"id": "{\"$numberLong\": \"7\"}"}"#;

#[test]
fn debeziums_mongodb_events_become_writes() {
    for (value, expected) in [
        (
            r#"{"op": "c", "after": "{\"_id\": 7, \"d\": {\"$date\": 5}, \"n\": null}"}"#,
            "{ '_id': 7 }: insert { '_id': 7, 'd': DateTime('1970-01-01 0:00:00.005 +00:00:00'), 'n': null }",
        ),
        (r#"{"op": "r", "after": "{\"_id\": 7}"}"#, "{ '_id': 7 }: replace { '_id': 7 }"),
        (
            r#"{"op": "u", "after": "{\"_id\": 7, \"a\": 1}", "updateDescription": {}}"#,
            "{ '_id': 7 }: replace { '_id': 7, 'a': 1 }",
        ),
        (r#"{"schema": {}, "payload": {"op": "d", "before": "{}"}}"#, "{ '_id': 7 }: delete"),
        (
            r#"{"op": "u", "patch": "{\"$v\": 1, \"$set\": {\"a.b\": 1}, \"$unset\": {\"c\": true}}"}"#,
            "{ '_id': 7 }: { '$unset': ['c'] }, ",
        ),
        (
            r#"{"op": "u", "patch": "{\"$set\": {\"a\": 1}}"}"#,
            "{ '_id': 7 }: { '$set': { 'a': { '$literal': 1 } } }",
        ),
        (
            r#"{"op": "u", "patch": "{\"_id\": 8, \"$v\": 1, \"a\": 1}"}"#,
            "{ '_id': 8 }: replace { '_id': 8, 'a': 1 }",
        ),
        (r#"{"op": "u", "patch": "{\"a\": 1}"}"#, "{ '_id': 7 }: replace { '_id': 7, 'a': 1 }"),
        (r#"{"op": "u", "patch": "{\"$v\": 1}"}"#, "skip Unchanged"),
        (
            r#"{"op": "u", "after": null, "updateDescription": {"removedFields": ["x"], "updatedFields": "{\"a\": \"$b\"}", "truncatedArrays": null}}"#,
            "{ '_id': 7 }: { '$unset': ['x'] }, { '$set': { 'a': { '$literal': '$b' } } }",
        ),
        (
            r#"{"op": "u", "after": null, "updateDescription": {"removedFields": null, "updatedFields": null, "truncatedArrays": [{"field": "l", "size": 2}]}}"#,
            "{ '_id': 7 }: { '$set': { 'l': ",
        ),
        (
            r#"{"op": "u", "after": null, "updateDescription": {"removedFields": [], "updatedFields": "{}"}}"#,
            "skip Unchanged",
        ),
        ("", "skip Tombstone"),
        ("null", "skip Tombstone"),
    ] {
        let found = described(planned(ValueShape::Debezium, false, MONGODB_KEY, value));
        assert!(found.replace("Int64(7)", "7").starts_with(expected), "{value}:\n{found}");
    }
}

#[test]
fn debeziums_mongodb_events_that_do_not_say_enough_are_refused() {
    for (key, value) in [
        (MONGODB_KEY, r#"{"op": "t"}"#),
        (MONGODB_KEY, r#"{"op": 1}"#),
        (MONGODB_KEY, r#"{"after": "{}"}"#),
        (MONGODB_KEY, r#"{"op": "c"}"#),
        (MONGODB_KEY, r#"{"op": "r", "after": null}"#),
        (MONGODB_KEY, r#"{"op": "c", "after": {"_id": 1}}"#),
        (MONGODB_KEY, r#"{"op": "c", "after": "{\"a\": 1}"}"#),
        (MONGODB_KEY, r#"{"op": "c", "after": "{"}"#),
        (MONGODB_KEY, r#"{"op": "u", "after": null}"#),
        (MONGODB_KEY, r#"{"op": "u", "patch": "{\"$v\": 2, \"diff\": {\"u\": {}}}"}"#),
        (MONGODB_KEY, r#"{"op": "u", "patch": "{\"$set\": {\"a\": 1}, \"b\": 1}"}"#),
        (MONGODB_KEY, r#"{"op": "u", "updateDescription": {"updatedFields": "{}", "new": 1}}"#),
        ("", r#"{"op": "d"}"#),
        (r#"{"id": 7}"#, r#"{"op": "d"}"#),
        (r#"{"_id": "7"}"#, r#"{"op": "d"}"#),
        (r#"{"id": "7, \"x\": 1"}"#, r#"{"op": "d"}"#),
        (r#"{"id": "{"}"#, r#"{"op": "d"}"#),
    ] {
        assert_eq!(described(planned(ValueShape::Debezium, false, key, value)), "refused", "{key} {value}");
    }
}

#[test]
fn rows_are_written_by_the_columns_of_their_key() {
    let made = Bson::from(bson::oid::ObjectId::from_bytes({
        let id =
            columns::made_id(&Place { partition: Partition { topic: "t".into(), number: 3 }, offset: 9 });
        id.value[..].try_into().expect("twelve bytes")
    }));
    let made = format!("{{ '_id': {made} }}: insert {{ '_id': {made}, 'v': 2 }}").replace('"', "'");
    let key = r#"{"id": 1, "shop": "x"}"#;
    for (key, value, expected) in [
        (
            key,
            r#"{"op": "c", "after": {"v": null, "id": 1, "shop": "x"}}"#,
            "{ '_id': { 'id': 1, 'shop': 'x' } }: insert { '_id': { 'id': 1, 'shop': 'x' }, 'v': null }",
        ),
        (
            key,
            r#"{"op": "u", "before": {"id": 1}, "after": {"id": 1, "v": 2}}"#,
            "{ '_id': { 'id': 1, 'shop': 'x' } }: replace { '_id': { 'id': 1, 'shop': 'x' }, 'v': 2 }",
        ),
        (
            key,
            r#"{"op": "r", "after": {}}"#,
            "{ '_id': { 'id': 1, 'shop': 'x' } }: replace { '_id': { 'id': 1, 'shop': 'x' } }",
        ),
        (
            r#"{"_id": 4}"#,
            r#"{"op": "r", "after": {"_id": 4, "v": 1}}"#,
            "{ '_id': { '_id': 4 } }: replace { '_id': { '_id': 4 }, 'v': 1 }",
        ),
        (key, r#"{"op": "d", "before": null, "after": null}"#, "{ '_id': { 'id': 1, 'shop': 'x' } }: delete"),
        ("", r#"{"op": "c", "after": {"v": 2}}"#, &made),
        ("{}", r#"{"op": "c", "after": {"v": 2}}"#, &made),
        (
            "",
            r#"{"op": "u", "before": {"v": 1, "j": {"$gt": 0}}, "after": {"v": 2}}"#,
            "{ 'v': 1, 'j': { '$eq': { '$gt': 0 } } }: replace { 'v': 2 }",
        ),
        ("", r#"{"op": "d", "before": {"v": 1}}"#, "{ 'v': 1 }: delete"),
        (key, r#"{"op": "t"}"#, "skip Operation('truncate')"),
        (key, r#"{"op": "m", "message": {}}"#, "skip Operation('message')"),
        (key, r#"{"ddl": "DROP TABLE x", "source": {}}"#, "skip Operation('ddl')"),
        (key, "", "skip Tombstone"),
        (key, r#"{"op": "x"}"#, "refused"),
        (key, r#"{"before": {}}"#, "refused"),
        (key, r#"{"op": "c", "after": null}"#, "refused"),
        (key, r#"{"op": "c", "after": {"_id": 4}}"#, "refused"),
        ("", r#"{"op": "u", "before": {}, "after": {"v": 1}}"#, "refused"),
        ("", r#"{"op": "d"}"#, "refused"),
        ("", r#"{"op": "d", "before": {"$where": "sleep(1)"}}"#, "refused"),
    ] {
        let found = described(planned(ValueShape::DebeziumRows, false, key, value)).replace('"', "'");
        assert_eq!(found, expected, "{key} {value}");
    }
}

#[test]
fn qliks_events_keep_the_key_columns_and_set_what_has_changed() {
    let key = r#"{"id": 1}"#;
    for (key, value, expected) in [
        (
            key,
            r#"{"message": {"data": {"id": 1, "n": "a"}, "beforeData": null, "headers": {"operation": "INSERT"}}}"#,
            "{ '_id': { 'id': 1 } }: insert { '_id': { 'id': 1 }, 'id': 1, 'n': 'a' }",
        ),
        (
            key,
            r#"{"data": {"id": 1}, "headers": {"operation": "refresh"}}"#,
            "{ '_id': { 'id': 1 } }: replace { '_id': { 'id': 1 }, 'id': 1 }",
        ),
        (
            key,
            r#"{"message": {"data": {"id": 1}, "operation": "READ"}}"#,
            "{ '_id': { 'id': 1 } }: replace { '_id': { 'id': 1 }, 'id': 1 }",
        ),
        (
            key,
            r#"{"data": {"id": 1, "a": 2, "b": {"c": 1}}, "beforeData": {"id": 1, "a": 1, "b": {"c": 1}}, "headers_operation": "UPDATE"}"#,
            "{ '_id': { 'id': 1 } }: update { '$set': { 'a': 2 } }",
        ),
        (
            key,
            r#"{"message": {"data": {"id": 1}, "beforeData": null, "headers": {"operation": "UPDATE"}}}"#,
            "{ '_id': { 'id': 1 } }: update { '$set': { 'id': 1 } }",
        ),
        (
            key,
            r#"{"message": {"data": {"id": 1}, "beforeData": {"id": 1}, "headers": {"operation": "UPDATE"}}}"#,
            "skip Unchanged",
        ),
        (
            "",
            r#"{"message": {"data": {"a": 2}, "beforeData": {"a": 1}, "headers": {"operation": "UPDATE"}}}"#,
            "{ 'a': 1 }: update { '$set': { 'a': 2 } }",
        ),
        (
            "",
            r#"{"message": {"data": null, "beforeData": {"a": 1}, "headers": {"operation": "DELETE"}}}"#,
            "{ 'a': 1 }: delete",
        ),
        ("", r#"{"message": {"data": {"a": 2}, "headers": {"operation": "DELETE"}}}"#, "{ 'a': 2 }: delete"),
        (
            key,
            r#"{"message": {"data": {"a": 2}, "headers": {"operation": "DELETE"}}}"#,
            "{ '_id': { 'id': 1 } }: delete",
        ),
        (key, "", "skip Tombstone"),
        (key, r#"{"message": {"data": {"id": 1}, "headers": {"operation": "TRUNCATE"}}}"#, "refused"),
        (key, r#"{"message": {"data": {"id": 1}}}"#, "refused"),
        (key, r#"{"message": "x"}"#, "refused"),
        (
            key,
            r#"{"message": {"data": {}, "beforeData": {"id": 1}, "headers": {"operation": "UPDATE"}}}"#,
            "refused",
        ),
        (key, r#"{"message": {"data": null, "headers": {"operation": "INSERT"}}}"#, "refused"),
        ("", r#"{"message": {"data": {"a": 2}, "headers": {"operation": "UPDATE"}}}"#, "refused"),
    ] {
        let found = described(planned(ValueShape::Qlik, false, key, value));
        assert_eq!(found, expected, "{key} {value}");
    }
}

#[test]
fn nulls_are_left_out_where_the_settings_say_so() {
    for (shape, key, value, expected) in [
        (
            ValueShape::Debezium,
            MONGODB_KEY,
            r#"{"op": "c", "after": "{\"_id\": 7, \"n\": null, \"s\": {\"n\": null, \"l\": [null, {\"n\": null}]}}"}"#,
            "{ '_id': 7 }: insert { '_id': 7, 's': { 'l': [null, {}] } }",
        ),
        (
            ValueShape::Debezium,
            MONGODB_KEY,
            r#"{"op": "u", "patch": "{\"$set\": {\"a\": null}}"}"#,
            "skip Unchanged",
        ),
        (
            ValueShape::DebeziumRows,
            r#"{"id": null}"#,
            r#"{"op": "c", "after": {"id": null, "a": null, "b": 1}}"#,
            "{ '_id': { 'id': null } }: insert { '_id': { 'id': null }, 'b': 1 }",
        ),
        (
            ValueShape::Qlik,
            r#"{"id": 1}"#,
            r#"{"message": {"data": {"a": null}, "beforeData": {"a": 1}, "headers": {"operation": "UPDATE"}}}"#,
            "skip Unchanged",
        ),
        (
            ValueShape::Qlik,
            r#"{"id": 1}"#,
            r#"{"message": {"data": {"a": null, "b": 1}, "headers": {"operation": "READ"}}}"#,
            "{ '_id': { 'id': 1 } }: replace { '_id': { 'id': 1 }, 'b': 1 }",
        ),
    ] {
        assert_eq!(described(planned(shape, true, key, value)), expected, "{value}");
    }
}

#[test]
fn the_first_value_of_a_topic_shows_what_it_is() {
    for (value, expected) in [
        (doc! { "operationType": "insert", "fullDocument": {} }, ValueShape::Event),
        (doc! { "op": "c", "after": "{}", "source": { "db": "d" } }, ValueShape::Debezium),
        (doc! { "op": "d", "before": Bson::Null, "source": { "collection": "c" } }, ValueShape::Debezium),
        (doc! { "schema": {}, "payload": { "op": "u", "patch": "{}" } }, ValueShape::Debezium),
        (
            doc! { "op": "c", "after": { "a": 1 }, "source": { "connector": "mysql" } },
            ValueShape::DebeziumRows,
        ),
        (doc! { "op": "d", "before": { "a": 1 } }, ValueShape::DebeziumRows),
        (doc! { "ddl": "CREATE TABLE t", "source": {} }, ValueShape::DebeziumRows),
        (doc! { "message": { "data": {}, "headers": { "operation": "INSERT" } } }, ValueShape::Qlik),
        (doc! { "op": "c", "price": 1 }, ValueShape::Document),
        (doc! { "headers": { "operation": "buy" } }, ValueShape::Document),
        (doc! {}, ValueShape::Document),
    ] {
        let bytes = value.to_vec().expect("writable");
        assert_eq!(auto::recognise(Document::new(&bytes).expect("sound")), Ok(expected), "{value}");
    }
}
