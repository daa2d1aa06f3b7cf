//! What documents write.

use bson::{Bson, doc};

use super::{
    super::super::{
        decode::decode,
        example,
        progress::{Partition, Place},
        record::{Record, Timestamp},
        shape::project::{Pattern, Projection},
        template::Purpose,
    },
    *,
};
use crate::config::{self, Side, Step, UuidFormat};

fn handling(strategy: IdStrategy, part: &str, model: WriteModel, by: WriteBy) -> Handling {
    let mut handling = Handling { value: config::ValueShape::Document, ..example::handling() };
    let patterns: Vec<_> = part.split_whitespace().map(|text| Pattern::parse(text).expect("sound")).collect();
    let part = (!patterns.is_empty()).then(|| Projection::allow(patterns));
    handling.id =
        config::Id { strategy, overwrite: false, uuid_format: UuidFormat::String, is_stable: true, part };
    handling.write.model = model;
    handling.write.by = by;
    handling
}

fn json(bytes: &[u8]) -> String {
    bson::Document::from_reader(bytes).expect("sound").to_string()
}

/// What a record does, as text.
fn done(handling: &Handling, key: Option<bson::Document>, value: Option<bson::Document>) -> String {
    let bytes = |document: bson::Document| bytes::Bytes::from(document.to_vec().expect("writable"));
    let place = Place { partition: Partition { topic: "t".into(), number: 0 }, offset: 0 };
    let (key, value) = (key.map(bytes), value.map(bytes));
    let record = Record { place, timestamp: Timestamp::None, key, value, headers: Vec::new() };
    let input = decode(&record, handling, Vec::new()).expect("readable");
    let (filter, kind) = match plan(input, handling, || 42) {
        Err(error) => return format!("error: {error}"),
        Ok(Action::Write(filter, kind)) => (filter, kind),
        Ok(_) => return "nothing".to_owned(),
    };
    let filter = match filter {
        Filter::Fields(fields) => json(&fields),
        Filter::Id(id) => {
            let mut writer = crate::raw::Writer::default();
            writer.begin();
            writer.value(b"_id", id.kind, &id.value);
            writer.end();
            json(&writer.into_bytes())
        }
    };
    let body = |body: &Body| json(body.document().as_bytes());
    match &kind {
        Kind::Replace(document) => format!("replace {filter} {}", body(document)),
        Kind::Literal(document) => format!("literal {filter} {}", body(document)),
        Kind::InsertOnly(document) => format!("insert {}", body(document)),
        Kind::Update(update) => {
            let how = (update.is_pipeline, update.is_ordered, update.missing == MissingDocument::Upsert);
            format!("update {how:?} {filter} {}", json(&update.update))
        }
        Kind::Delete => format!("delete {filter}"),
        other => format!("{other:?}"),
    }
}

fn order() -> bson::Document {
    doc! { "cust": 7, "site": { "code": "N1", "name": "North" }, "qty": 2 }
}

#[test]
fn models_by_id() {
    let value = || Some(doc! { "_id": 3, "a": 1 });
    let by_id = |model| handling(IdStrategy::ObjectId, "", model, WriteBy::Id);
    assert_eq!(
        done(&by_id(WriteModel::Replace), None, value()),
        r#"replace { "_id": 3 } { "_id": 3, "a": 1 }"#
    );
    assert_eq!(done(&by_id(WriteModel::Insert), None, value()), r#"insert { "_id": 3, "a": 1 }"#);
    let update = r#"update (false, false, true) { "_id": 3 } { "$set": { "a": 1 } }"#;
    assert_eq!(done(&by_id(WriteModel::Update), None, value()), update);
    let mut stamped = by_id(WriteModel::Update);
    stamped.write.timestamps = true;
    let time = bson::DateTime::from_millis(42);
    let update =
        doc! { "$set": { "_id": 3, "_modifiedTS": time, "a": 1 }, "$setOnInsert": { "_insertedTS": time } };
    let found = done(&stamped, None, Some(doc! { "_id": 3, "_modifiedTS": 1, "_insertedTS": 1, "a": 1 }));
    assert_eq!(found, format!(r#"update (false, false, true) {{ "_id": 3 }} {update}"#));
}

#[test]
fn models_by_business_key() {
    let by_key = |model| handling(IdStrategy::PartialValue, "cust site.code", model, WriteBy::BusinessKey);
    let filter = r#"{ "cust": 7, "site.code": "N1" }"#;
    let found = done(&by_key(WriteModel::Replace), None, Some(order()));
    assert_eq!(found, format!("replace {filter} {}", order()));
    assert_eq!(done(&by_key(WriteModel::Delete), None, Some(order())), format!("delete {filter}"));
    let mut stamped = by_key(WriteModel::Update);
    stamped.write.timestamps = true;
    let found = done(&stamped, None, Some(order()));
    assert!(
        found.starts_with(&format!(r#"update (false, false, true) {filter} {{ "$set": {{ "cust": 7"#)),
        "{found}"
    );
    assert!(!found.contains("\"_id\"") && found.contains("_insertedTS"), "{found}");
    let mut dollar = order();
    dollar.insert("$x", 1);
    assert!(done(&by_key(WriteModel::Replace), None, Some(dollar)).starts_with("literal"));
}

#[test]
fn a_full_key_is_not_flattened() {
    let handling = handling(IdStrategy::FullKey, "", WriteModel::Replace, WriteBy::BusinessKey);
    let key = doc! { "site": { "code": "N1" } };
    let found = done(&handling, Some(key), Some(doc! { "qty": 2 }));
    assert_eq!(found, r#"replace { "site": { "code": "N1" } } { "qty": 2 }"#);
    let evil = doc! { "site": { "$gt": "" } };
    let found = done(&handling, Some(evil), Some(doc! { "qty": 2 }));
    assert_eq!(found, r#"replace { "site": { "$eq": { "$gt": "" } } } { "qty": 2 }"#);
    let found = done(&handling, Some(doc! { "$where": "1" }), Some(doc! { "qty": 2 }));
    assert!(found.contains("taken for an operator") || found.contains("for an operator"), "{found}");
}

#[test]
fn a_business_key_that_is_none_is_refused() {
    let by_key = handling(IdStrategy::PartialValue, "cust", WriteModel::Replace, WriteBy::BusinessKey);
    for value in [doc! { "_id": 1, "cust": 7 }, doc! { "other": 1 }] {
        let found = done(&by_key, None, Some(value));
        assert!(found.contains("no document with the fields of a business key"), "{found}");
    }
    let found = done(&by_key, None, Some(doc! { "cust": { "a": {}, "b": [1] } }));
    assert!(
        found.starts_with(r#"replace { "cust": { } }"#) || found.starts_with(r#"replace { "cust": {} }"#),
        "{found}"
    );
}

#[test]
fn deletes_by_a_whole_key() {
    let handling = handling(IdStrategy::ObjectId, "", WriteModel::Delete, WriteBy::Id);
    for (key, expected) in [
        (Some(doc! { "_id": 1 }), r#"delete { "_id": 1 }"#),
        (Some(doc! { "_id": 1, "a": 2 }), r#"delete { "_id": 1, "a": 2 }"#),
        (Some(doc! { "a": 2 }), r#"delete { "_id": { "a": 2 } }"#),
        (None, "error: a record without a value needs a key"),
    ] {
        assert_eq!(done(&handling, key.clone(), Some(doc! { "x": 1 })), expected, "{key:?}");
        assert_eq!(done(&handling, key, None), expected);
    }
}

#[test]
fn tombstones_delete_by_the_key() {
    let key = || Some(doc! { "a": 1, "b": { "c": 2, "d": 3 }, "_id": 9 });
    let full = doc! { "a": 1, "b": { "c": 2, "d": 3 }, "_id": 9 };
    let replace = |strategy, part| handling(strategy, part, WriteModel::Replace, WriteBy::Id);
    assert_eq!(
        done(&replace(IdStrategy::FullKey, ""), key(), None),
        format!(r#"delete {{ "_id": {full} }}"#)
    );
    assert_eq!(done(&replace(IdStrategy::ProvidedInKey, ""), key(), None), r#"delete { "_id": 9 }"#);
    let mut partial = replace(IdStrategy::PartialKey, "a b.c");
    assert_eq!(done(&partial, key(), None), r#"delete { "_id": { "a": 1, "b": { "c": 2 } } }"#);
    partial.write.delete_by = WriteBy::BusinessKey;
    assert_eq!(done(&partial, key(), None), r#"delete { "a": 1, "b.c": 2 }"#);
    partial.on_tombstone = OnTombstone::Skip;
    assert_eq!(done(&partial, key(), None), "nothing");
    partial.on_tombstone = OnTombstone::Fail;
    assert!(done(&partial, key(), None).starts_with("error"));
    assert!(done(&replace(IdStrategy::FullKey, ""), None, None).starts_with("error"));
}

#[test]
fn the_id_is_made_before_the_first_step_unless_a_step_makes_it() {
    let project = || Step {
        on: Side::Value,
        action: StepAction::Project(Projection::allow(vec![Pattern::parse("a").expect("sound")])),
    };
    let mut handling = handling(IdStrategy::KafkaMetadata, "", WriteModel::Replace, WriteBy::Id);
    handling.steps = vec![project()];
    assert!(done(&handling, None, Some(doc! { "a": 1, "b": 2 })).contains("no _id in the document"));
    handling.steps.push(Step { on: Side::Value, action: StepAction::AddId });
    let found = done(&handling, None, Some(doc! { "a": 1, "b": 2 }));
    assert_eq!(found, r##"replace { "_id": "t#0#0" } { "a": 1, "_id": "t#0#0" }"##);
}

#[test]
fn inserts_without_an_id_get_one() {
    let mut handling = handling(IdStrategy::ObjectId, "", WriteModel::Insert, WriteBy::Id);
    handling.steps = vec![Step {
        on: Side::Value,
        action: StepAction::Project(Projection::block(vec![Pattern::parse("_id").expect("sound")])),
    }];
    let found = done(&handling, None, Some(doc! { "_id": 1, "a": 1 }));
    assert!(found.starts_with(r#"insert { "_id": ObjectId("#) && found.ends_with(r#", "a": 1 }"#), "{found}");
}

#[test]
fn time_series_get_inserts_with_dates() {
    let mut handling = handling(IdStrategy::ObjectId, "", WriteModel::Replace, WriteBy::Id);
    handling.time_series = Some(TimeSeries {
        time_field: "ts".into(),
        meta_field: None,
        granularity: config::Granularity::Default,
        expire_after: None,
        convert: true,
        date_format: shape::date::DatePattern::default(),
    });
    let date = bson::DateTime::from_millis(1_577_836_800_000);
    for ts in [Bson::from("2020-01-01"), Bson::from(1_577_836_800_000_i64), Bson::from(date)] {
        let found = done(&handling, None, Some(doc! { "_id": 3, "ts": ts }));
        assert_eq!(found, format!("insert {}", doc! { "_id": 3, "ts": date }));
    }
    let found = done(&handling, None, Some(doc! { "_id": 3, "ts": "soon" }));
    assert_eq!(found, r#"insert { "_id": 3, "ts": "soon" }"#, "what is no date is left alone");
}

#[test]
fn templates_say_what_is_found_and_what_is_done() {
    let mut handling = handling(IdStrategy::Auto, "", WriteModel::Replace, WriteBy::Id);
    let template = |text, purpose| Some(Template::parse(text, purpose).expect("sound"));
    handling.write.update = template(r#"{"$inc": {"n": "{value.qty}"}}"#, Purpose::Update);
    let found = done(&handling, Some(doc! { "_id": 5 }), Some(order()));
    assert_eq!(found, r#"update (false, true, true) { "_id": 5 } { "$inc": { "n": 2 } }"#, "by the _id");
    handling.write.filter = template(r#"{"cust": "{value.cust?}"}"#, Purpose::Filter);
    handling.write.upsert = false;
    let found = done(&handling, None, Some(order()));
    assert_eq!(found, r#"update (false, true, false) { "cust": 7 } { "$inc": { "n": 2 } }"#);
    assert!(done(&handling, None, Some(doc! { "qty": 1 })).contains("would find any document"));
    assert!(done(&handling, None, Some(doc! { "cust": 1 })).contains("no value.qty"));
    handling.write.update = None;
    handling.write.model = WriteModel::Delete;
    assert_eq!(done(&handling, None, Some(order())), r#"delete { "cust": 7 }"#);
    handling.write.filter = template(r#"{"sku": "{key.sku}"}"#, Purpose::Filter);
    assert_eq!(done(&handling, Some(doc! { "sku": "x" }), None), r#"delete { "sku": "x" }"#);
}
