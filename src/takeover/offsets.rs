//! Records of Connect's offsets topic. Pure.
//!
//! The key is JSON `["<connector>", {<partition>}]`, the value the position as a JSON object. The official connector's
//! partition is `{"ns": …}` and its position `{"_id": "<resume token as JSON>"}`, with `"copy": "true"` while it copies.
//! Debezium's partition is `{"server_id": …}` and its position has `resume_token`, the token's BSON in base64, and
//! `initsync` while it makes its snapshot.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Map, Value};

use super::Connector;
use crate::{json, position::ResumeToken, raw::Document, retry::Failure};

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub struct Offset {
    /// The connector's name.
    pub connector: String,
    /// What it calls that which it reads.
    pub partition: String,
    /// Where it stands.
    pub stored: Stored,
}

/// Where a connector stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    /// After this token.
    Token(ResumeToken),
    /// Within a copy, which cannot be gone on with.
    Copying,
}

/// Reads a record; `None` where it is none of a MongoDB source connector.
///
/// # Errors
/// When it is one, and damaged.
pub fn read(key: &[u8], value: &[u8]) -> Result<Option<Offset>, String> {
    let Ok(Value::Array(key)) = serde_json::from_slice(key) else { return Ok(None) };
    let [Value::String(connector), Value::Object(partition)] = key.as_slice() else { return Ok(None) };
    let partition = ["ns", "server_id"].iter().find_map(|name| partition.get(*name)).and_then(Value::as_str);
    let Some(partition) = partition else { return Ok(None) };
    let Ok(Value::Object(position)) = serde_json::from_slice(value) else {
        return Err(format!("the offset of connector {connector} is no JSON object"));
    };
    let stored =
        read_position(&position).map_err(|error| format!("the offset of connector {connector} {error}"))?;
    Ok(Some(Offset { connector: connector.clone(), partition: partition.to_owned(), stored }))
}

fn read_position(position: &Map<String, Value>) -> Result<Stored, String> {
    let is_set = |name| {
        matches!(position.get(name), Some(Value::Bool(true))) || position.get(name) == Some(&"true".into())
    };
    if is_set("copy") || is_set("initsync") {
        return Ok(Stored::Copying);
    }
    let text = |name| position.get(name).and_then(Value::as_str);
    let mut bytes = Vec::new();
    if let Some(token) = text("resume_token") {
        bytes = BASE64
            .decode(token)
            .map_err(|error| format!("has a resume_token that is not base64: {error}"))?;
    } else if let Some(token) = text("_id") {
        json::read_document(token.as_bytes(), &mut bytes)
            .map_err(|error| format!("has an _id that is no JSON document: {error}"))?;
    } else {
        return Err("has neither _id nor resume_token".to_owned());
    }
    let token = Document::new(&bytes).and_then(ResumeToken::new);
    token.map(Stored::Token).map_err(|error| format!("has no resume token: {error}"))
}

/// The position of `connector` among the last values of the offsets topic.
pub(super) fn choose(
    connector: &Connector,
    topic: &str,
    records: &BTreeMap<Vec<u8>, Vec<u8>>,
) -> Result<Stored, Failure> {
    let name = &connector.name;
    let mut own = Vec::new();
    for (key, value) in records {
        match read(key, value) {
            Ok(Some(offset)) if offset.connector == *name => own.push(offset),
            Ok(_) => {}
            Err(error) => return Err(Failure::stop(format!("topic {topic}: {error}"))),
        }
    }
    if own.len() > 1
        && let Some(partition) = &connector.partition
    {
        own.retain(|offset| offset.partition == *partition);
    }
    let found: Vec<String> = own.iter().map(|offset| offset.partition.clone()).collect();
    match (own.pop(), found.as_slice()) {
        (Some(only), [_]) => Ok(only.stored),
        (None, _) => Err(Failure::stop(format!(
            "topic {topic} has no position of connector {name}; start without --take-over, with `start` or a snapshot"
        ))),
        (Some(_), several) => Err(Failure::stop(format!(
            "topic {topic} has several positions of connector {name} ({}), and which is the last cannot be told",
            several.join(", ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(data: &str) -> Stored {
        Stored::Token(ResumeToken::from_data(data))
    }

    #[test]
    fn positions_of_both_connectors_are_read() {
        let base64 = BASE64.encode(ResumeToken::from_data("82AB").as_bytes());
        let debezium = format!(r#"{{"sec":1,"ord":2,"transaction_id":null,"resume_token":"{base64}"}}"#);
        let initial = format!(r#"{{"initsync":true,"resume_token":"{base64}"}}"#);
        let ns = r#"["shop",{"ns":"mongodb://a:1/"}]"#;
        let server = r#"["shop",{"server_id":"dbz"}]"#;
        for (key, value, expected) in [
            (ns, r#"{"_id":"{\"_data\": \"82AB\"}"}"#, token("82AB")),
            (ns, r#"{"_id":"{\"_data\": \"82AB\"}","HEARTBEAT":"true"}"#, token("82AB")),
            (ns, r#"{"_id":"{\"_id\": 5, \"copyingData\": true}","copy":"true"}"#, Stored::Copying),
            (server, debezium.as_str(), token("82AB")),
            (server, initial.as_str(), Stored::Copying),
        ] {
            let offset = read(key.as_bytes(), value.as_bytes()).expect("sound").expect("of a source");
            assert_eq!((offset.connector.as_str(), offset.stored), ("shop", expected), "{value}");
        }
    }

    #[test]
    fn other_connectors_are_passed_over_and_damage_is_not() {
        let ns = br#"["shop",{"ns":"x"}]"#;
        for other in [&b"x"[..], b"{}", br#"["shop",{"file":"x"}]"#, b"[\"shop\"]"] {
            assert_eq!(read(other, b"{}"), Ok(None));
        }
        for damaged in [&b"x"[..], b"{}", br#"{"_id":"{}"}"#, br#"{"_id":"x"}"#, br#"{"resume_token":"?"}"#] {
            assert!(read(ns, damaged).is_err(), "{}", damaged.escape_ascii());
        }
    }

    #[test]
    fn the_one_position_is_chosen_or_none() {
        let record = |partition: &str| {
            let key = format!(r#"["shop",{{"ns":"{partition}"}}]"#).into_bytes();
            (key, format!(r#"{{"_id":"{{\"_data\": \"82{partition}\"}}"}}"#).into_bytes())
        };
        let connector = |partition: Option<&str>| Connector {
            name: "shop".into(),
            partition: partition.map(str::to_owned),
            source: "shop".into(),
        };
        let one = BTreeMap::from([record("a")]);
        let two = BTreeMap::from([record("a"), record("b")]);
        assert_eq!(choose(&connector(Some("b")), "t", &one).ok(), Some(token("82a")));
        assert_eq!(choose(&connector(Some("b")), "t", &two).ok(), Some(token("82b")));
        for (wanted, records) in [(None, &two), (Some("c"), &two), (None, &BTreeMap::new())] {
            assert!(choose(&connector(wanted), "t", records).is_err(), "{wanted:?}");
        }
    }
}
