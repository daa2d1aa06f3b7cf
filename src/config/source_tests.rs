//! Sources: how records are written, and what is changed on the way.

use super::tests::{MINIMAL, load_with, printed, problem_with_extra, problems, settings};
use crate::{
    json::{self, Style},
    raw::Document,
    transform::{Transform, Verdict},
};

#[test]
fn every_json_style_has_its_word() {
    for (word, style) in [
        ("strict", Style::Strict),
        ("canonical", Style::Canonical),
        ("relaxed", Style::Relaxed),
        ("simplified", Style::Simplified),
    ] {
        let settings = settings(&format!("{MINIMAL}json_style = \"{word}\"\n"));
        assert_eq!(settings.sources[0].record.json_style, style);
    }
    let problem = problem_with_extra("json_style = \"extended\"\n");
    assert!(
        problem.ends_with("is not one of \"strict\", \"canonical\", \"relaxed\", \"simplified\""),
        "{problem}"
    );
}

#[test]
fn debezium_has_the_pipelines_name_unless_it_has_its_own() {
    for (lines, name, schemas) in [
        ("", "shop", false),
        ("debezium_name = \"inventory.eu\"\ndebezium_schemas = true\n", "inventory.eu", true),
    ] {
        let record = &settings(&format!("{MINIMAL}value = \"debezium\"\n{lines}")).sources[0].record;
        assert_eq!((record.debezium_name.as_str(), record.debezium_schemas), (name, schemas));
    }
}

const RULES: &str = r#"
[[sources.shop.transform]]
namespaces = ["shop.orders"]
drop = '{"operationType": "delete"}'
exclude = ["card.number"]
redact = ["name"]
hash = ["mail"]
hash_key = "${env:HASH_KEY}"
rename = {"address.zip" = "postcode", address.zip.code = "c", "a$" = "b"}
[[sources.shop.transform]]
include = ["card", "name", "mail", "address", "a$"]
set = '{"origin": "shop"}'
"#;

#[test]
fn rules_reach_the_events_in_their_namespaces() {
    let text = format!("{MINIMAL}{RULES}");
    let settings = load_with(&text, &[("HASH_KEY", "k")]).unwrap_or_else(|problems| panic!("{problems}"));
    let transform = Transform::compile(settings.sources[0].transform.clone());
    let event = bson::rawdoc! { "operationType": "insert", "fullDocument": {
        "_id": 1, "name": "Jim", "mail": "j", "x": 2, "card": {"number": 3, "year": 4},
        "address": {"zip": 5}, "a$": 6,
    }};
    for (coll, expected) in [
        (
            "orders",
            r#"{"_id": 1, "name": "[redacted]", "mail": "…", "card": {"year": 4}, "address": {"postcode": 5}, "b": 6, "origin": "shop"}"#,
        ),
        (
            "carts",
            r#"{"_id": 1, "name": "Jim", "mail": "j", "card": {"number": 3, "year": 4}, "address": {"zip": 5}, "a$": 6, "origin": "shop"}"#,
        ),
    ] {
        let compiled = transform.for_namespace("shop", coll).expect("a rule applies");
        let mut out = Vec::new();
        let event = Document::new(event.as_bytes()).expect("a document");
        assert_eq!(compiled.event(event, &mut out), Ok(Verdict::Keep));
        let document = Document::new(&out).expect("a document").get("fullDocument").expect("sound");
        let mut text = Vec::new();
        json::write_value(document.expect("there"), Style::Relaxed, &mut text).expect("JSON holds it");
        let text = String::from_utf8(text).expect("UTF-8");
        let hash = text.split('"').find(|part| part.len() == 64).unwrap_or("…");
        assert_eq!(text.replace(hash, "…"), expected);
    }
}

#[test]
fn what_is_wrong_in_a_rule_is_reported_with_its_place() {
    let rule = "[[sources.shop.transform]]\n";
    for (lines, at, part) in [
        ("namespaces = []", "10:14", "namespaces: is empty"),
        ("drop = '{\"$where\": 1}'", "10:8", "drop: "),
        ("include = [\"a..b\"]", "10:12", "include[0]: \"a..b\" has an empty name"),
        ("exclude = [\"a\", \"_id\"]", "10:17", "exclude[1]: \"_id\" is the document's identity"),
        ("redact = [\"$a\"]", "10:11", "redact[0]: \"$a\" has a name that starts with $"),
        ("hash = [\"a\"]", "10:8", "hash: needs hash_key"),
        ("hash = [\"a\"]\nhash_key = \"\"", "11:12", "hash_key: is empty"),
        ("set = '[]'", "10:7", "set: \"[]\" is no JSON document"),
        ("rename = {_id = \"x\"}", "10:17", "rename._id: \"x\" is to be the name of the document's identity"),
        ("rename = {a = \"b.c\"}", "10:15", "rename.a: \"b.c\" is a path"),
        ("renam = {a = \"b\"}", "10:1", "renam: is not a key; did you mean \"rename\"?"),
    ] {
        let problem = problem_with_extra(&format!("{rule}{lines}\n"));
        let start = format!("m.toml:{at}: sources.shop.transform[0].");
        assert!(problem.starts_with(&start) && problem.contains(part), "{lines}: {problem}");
    }
    // The second rule's problems are the second rule's.
    let two = problems(&format!("{MINIMAL}{rule}include = [\"\"]\n{rule}hash = [\"a\"]\n"));
    assert!(
        two[0].contains("transform[0].include[0]")
            && two[1].contains("12:8: sources.shop.transform[1].hash: needs")
    );
}

#[test]
fn rules_are_printed_so_that_they_load_again_and_their_key_is_not() {
    let printed_once = printed(&format!("{MINIMAL}{RULES}"), &[("HASH_KEY", "hunter2")]);
    for part in [
        "[[sources.shop.transform]]\nnamespaces = [\"shop.orders\"]\n",
        "hash_key = \"${env:HASH_KEY}\"\n",
        "rename.\"address.zip\" = \"postcode\"\n",
        "rename.\"address.zip.code\" = \"c\"\n",
        "rename.\"a$\" = \"b\"\n",
        "include = [\"card\", \"name\", \"mail\", \"address\", \"a$\"]\n",
    ] {
        assert!(printed_once.contains(part), "{part} is not in\n{printed_once}");
    }
    assert!(!printed_once.contains("hunter2"));
    assert_eq!(printed(&printed_once, &[("HASH_KEY", "x")]), printed_once);
}

#[test]
fn secrets_that_are_no_uris_are_not_printed() {
    let text = format!("{MINIMAL}{RULES}[admin]\ntoken = \"hunter3\"\n");
    let printed = printed(&text.replace("${env:HASH_KEY}", "hunter2"), &[]);
    assert!(!printed.contains("hunter"), "{printed}");
    assert!(printed.contains("hash_key = \"[redacted]\"") && printed.contains("token = \"[redacted]\""));
}
