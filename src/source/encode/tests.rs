//! Keys, headers, timestamps and tombstones in every mode.

use bson::{RawDocumentBuf, Timestamp as BsonTimestamp, rawdoc};

use super::*;
use crate::{
    config::ClusterTime,
    namespace::Namespace,
    raw::Document,
    source::stages::{self, Plan},
};

fn settings() -> config::Record {
    config::Record {
        value: RecordValue::Event,
        format: Format::Json,
        key_format: Format::Json,
        json_style: json::Style::Strict,
        key: RecordKey::DocumentKey,
        tombstones: true,
        headers: config::Headers::Auto,
        timestamp: Timestamp::ClusterTime,
        debezium_name: "shop".to_owned(),
        debezium_schemas: false,
    }
}

fn fields(paths: &[&str]) -> RecordKey {
    RecordKey::Fields(paths.iter().map(|path| (*path).to_owned()).collect())
}

/// An event of a sharded collection, with the document where it is no delete.
fn event(operation: &str) -> RawDocumentBuf {
    let mut event = rawdoc! {
        "_id": { "_data": "82A0" }, "operationType": operation,
        "clusterTime": BsonTimestamp { time: 7, increment: 2 }, "ns": { "db": "shop", "coll": "orders" },
        "documentKey": { "region": "eu", "_id": 5_i64 },
    };
    if operation != "delete" {
        event.append(bson::cstr!("fullDocument"), rawdoc! { "_id": 5_i64, "customer": { "id": 7 } });
    }
    event
}

/// An event without a document.
fn drop() -> RawDocumentBuf {
    rawdoc! {
        "_id": { "_data": "82A1" }, "operationType": "drop",
        "clusterTime": BsonTimestamp { time: 8, increment: 1 }, "ns": { "db": "shop", "coll": "orders" },
    }
}

/// The event of a row that was read at 9:3.
fn row() -> RawDocumentBuf {
    let namespace = Namespace { db: "shop".into(), coll: "orders".into() };
    let document = rawdoc! { "_id": 5_i64 };
    let document = Document::new(document.as_bytes()).expect("sound");
    RawDocumentBuf::from_bytes(stages::row(&namespace, document).expect("sound")).expect("sound")
}

fn encode(settings: &config::Record, event: &RawDocumentBuf) -> (Encoded, Buffers) {
    let mut change = decode::decode(Document::new(event.as_bytes()).expect("sound")).expect("an event");
    // Only rows have no time of their own.
    if change.time.is_none() {
        change = Change { snapshot: true, time: Some(ClusterTime { seconds: 9, increment: 3 }), ..change };
    }
    let mut plan = Plan::default();
    plan.namespace.push_str("shop.orders");
    let mut buffers = Buffers::default();
    let encoded = Encoder::new(settings).encode(&change, &plan, &mut buffers).expect("encodes");
    (encoded, buffers)
}

fn key(settings: &config::Record, event: &RawDocumentBuf) -> String {
    String::from_utf8(encode(settings, event).1.key).expect("text")
}

#[test]
fn a_key_is_made_of_what_its_mode_says() {
    let insert = event("insert");
    let token = r#"{"_id": {"_data": "82A0"}}"#;
    for (mode, expected) in [
        (RecordKey::DocumentKey, r#"{"region": "eu", "_id": {"$numberLong": "5"}}"#),
        (RecordKey::Id, r#"{"_id": {"$numberLong": "5"}}"#),
        (RecordKey::Token, token),
        (
            fields(&["fullDocument.customer.id", "nowhere", "operationType"]),
            r#"{"fullDocument.customer.id": 7, "operationType": "insert"}"#,
        ),
        (fields(&["fullDocument.customer"]), r#"{"fullDocument.customer": {"id": 7}}"#),
        (fields(&["nowhere"]), token),
    ] {
        assert_eq!(key(&config::Record { key: mode.clone(), ..settings() }, &insert), expected, "{mode:?}");
    }
}

#[test]
fn the_key_of_an_event_without_a_document_is_its_token() {
    for mode in [RecordKey::DocumentKey, RecordKey::Id, RecordKey::Token, fields(&["documentKey._id"])] {
        let key = key(&config::Record { key: mode.clone(), ..settings() }, &drop());
        assert_eq!(key, r#"{"_id": {"_data": "82A1"}}"#, "{mode:?}");
    }
}

#[test]
fn a_key_has_a_format_and_a_style() {
    for (json_style, expected) in [
        (json::Style::Canonical, r#"{"_id": {"$numberLong": "5"}}"#),
        (json::Style::Relaxed, r#"{"_id": 5}"#),
        (json::Style::Simplified, r#"{"_id": 5}"#),
    ] {
        let settings = config::Record { key: RecordKey::Id, json_style, ..settings() };
        assert_eq!(key(&settings, &event("insert")), expected, "{json_style:?}");
    }
    let binary = config::Record { key: RecordKey::Id, key_format: Format::Bson, ..settings() };
    assert_eq!(encode(&binary, &event("insert")).1.key, rawdoc! { "_id": 5_i64 }.as_bytes());
}

#[test]
fn debezium_has_keys_of_its_own_but_for_other_modes_and_formats() {
    let debezium = config::Record { value: RecordValue::Debezium, ..settings() };
    let own = r#"{"id":"5"}"#;
    for (mode, expected) in [
        (RecordKey::DocumentKey, own),
        (RecordKey::Id, own),
        (RecordKey::Token, r#"{"_id": {"_data": "82A0"}}"#),
        (fields(&["operationType"]), r#"{"operationType": "insert"}"#),
    ] {
        let settings = config::Record { key: mode.clone(), ..debezium.clone() };
        assert_eq!(key(&settings, &event("insert")), expected, "{mode:?}");
    }
    let binary = config::Record { key: RecordKey::Id, key_format: Format::Bson, ..debezium };
    assert_eq!(encode(&binary, &event("insert")).1.key, rawdoc! { "_id": 5_i64 }.as_bytes());
}

#[test]
fn headers_say_what_the_settings_ask_for_and_the_value_lacks() {
    use config::Headers::{All, Auto, None};
    let (order, row_order) = ("millrace.order=82A0", "millrace.order=820000000900000003FF");
    let (of_row, namespace) = ("millrace.snapshot=true", "millrace.namespace=shop.orders");
    let insert = "millrace.operation=insert";
    let (time, row_time) = ("millrace.cluster_time=7:2", "millrace.cluster_time=9:3");
    let (event, row) = (event("insert"), row());
    for (headers, value, event, expected) in [
        (None, RecordValue::Document, &event, vec![]),
        (None, RecordValue::Event, &row, vec![]),
        (Auto, RecordValue::Event, &event, vec![]),
        (Auto, RecordValue::Document, &event, vec![order]),
        (Auto, RecordValue::Debezium, &event, vec![order]),
        (Auto, RecordValue::Event, &row, vec![row_order, of_row]),
        (Auto, RecordValue::Document, &row, vec![row_order, of_row]),
        (All, RecordValue::Event, &event, vec![order, insert, namespace, time]),
        (All, RecordValue::Document, &row, vec![row_order, of_row, insert, namespace, row_time]),
    ] {
        let (_, buffers) = encode(&config::Record { headers, value, ..settings() }, event);
        let text = |(name, value): (&std::ffi::CStr, &[u8])| {
            format!("{}={}", name.to_string_lossy(), String::from_utf8_lossy(value))
        };
        let found: Vec<String> = buffers.headers.iter().map(text).collect();
        assert_eq!(found, expected, "{headers:?} {value:?}");
    }
}

#[test]
fn a_row_sorts_behind_all_events_of_the_time_at_which_it_was_read() {
    let (_, buffers) = encode(&settings(), &row());
    let order = buffers.headers.iter().find(|(name, _)| *name == ORDER).map(|(_, value)| value.to_vec());
    let order = order.expect("an order");
    assert!(order.as_slice() > b"8200000009000000032B022C".as_slice());
    assert!(order.as_slice() > b"820000000900000003FE".as_slice());
    assert!(order.as_slice() < b"820000000900000004".as_slice());
}

#[test]
fn a_timestamp_is_the_second_of_the_change_or_left_to_the_producer() {
    for (timestamp, event, expected) in [
        (Timestamp::ClusterTime, event("insert"), Some(7_000)),
        (Timestamp::ClusterTime, row(), Some(9_000)),
        (Timestamp::SendTime, event("insert"), None),
    ] {
        let (_, buffers) = encode(&config::Record { timestamp, ..settings() }, &event);
        assert_eq!(buffers.timestamp, expected, "{timestamp:?}");
    }
}

#[test]
fn a_change_becomes_the_records_that_value_and_tombstones_say() {
    use RecordValue::{Debezium, Document, Event};
    let mut without_document = event("delete");
    without_document.append(bson::cstr!("fullDocument"), bson::RawBson::Null);
    for (value, tombstones, event, expected) in [
        (Event, true, event("delete"), Encoded::Record),
        (Event, true, drop(), Encoded::Record),
        (Document, true, event("update"), Encoded::Record),
        (Document, true, without_document, Encoded::Tombstone),
        (Document, true, event("delete"), Encoded::Tombstone),
        (Document, false, event("delete"), Encoded::Nothing),
        (Document, true, drop(), Encoded::Nothing),
        (Debezium, true, event("update"), Encoded::Record),
        (Debezium, true, event("delete"), Encoded::RecordAndTombstone),
        (Debezium, false, event("delete"), Encoded::Record),
        (Debezium, true, drop(), Encoded::Nothing),
    ] {
        let found = encode(&config::Record { value, tombstones, ..settings() }, &event).0;
        assert_eq!(found, expected, "{value:?} {tombstones} {event:?}");
    }
}
