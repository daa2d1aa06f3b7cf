//! Tables: each operation in each place.

use super::*;
use crate::json;

/// The rule that a TOML table with the keys of the configuration says. It applies everywhere.
pub(super) fn rule(toml: &str) -> Rule {
    let document: toml_edit::ImDocument<String> = toml.parse().expect("the table is TOML");
    rule_of(document.as_table())
}

pub(super) fn rule_of(table: &toml_edit::Table) -> Rule {
    let texts = |key: &str| -> Vec<String> {
        let list = table.get(key).and_then(toml_edit::Item::as_array);
        let text = |value: &toml_edit::Value| value.as_str().expect("texts").to_owned();
        list.into_iter().flat_map(|list| list.iter().map(text)).collect()
    };
    let paths = |key| texts(key).iter().map(|text| Path::parse(text).expect("a path")).collect();
    let text = |key: &str| table.get(key).and_then(toml_edit::Item::as_str);
    let renames = table.get("rename").and_then(toml_edit::Item::as_table_like);
    let rename = |(path, name): (&str, &toml_edit::Item)| {
        Rename::parse(path, name.as_str().expect("a text")).expect("a rename")
    };
    let mut namespaces = texts("namespaces");
    if namespaces.is_empty() {
        namespaces.push("*".into());
    }
    Rule {
        namespaces: Patterns::parse(&namespaces, &[]).expect("patterns"),
        drop: text("drop").map(|text| Predicate::parse(text).expect("a predicate")),
        include: paths("include"),
        exclude: texts("exclude").iter().map(|text| Path::parse_exclusion(text).expect("a path")).collect(),
        redact: paths("redact"),
        hash: text("hash_key").map(|key| Hash { key: Secret::new(key), paths: paths("hash") }),
        rename: renames.into_iter().flat_map(|renames| renames.iter().map(rename)).collect(),
        set: text("set").map(|text| Constants::parse(text).expect("constants")),
    }
}

pub(super) fn bson(json: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    json::read_document(json.as_bytes(), &mut bytes).unwrap_or_else(|err| panic!("{json}: {err}"));
    bytes
}

pub(super) fn text(bson: &[u8]) -> String {
    let mut out = Vec::new();
    let document = Document::new(bson).expect("a document");
    json::write_document(document, json::Style::Strict, &mut out).expect("JSON holds it");
    String::from_utf8(out).expect("JSON is UTF-8")
}

pub(super) fn compiled(rules: Vec<Rule>) -> Compiled {
    Transform::compile(rules).for_namespace("shop", "orders").expect("a rule applies")
}

/// What the rules make of a whole event; `None` where it is dropped.
pub(super) fn event(rules: Vec<Rule>, input: &[u8]) -> Option<Vec<u8>> {
    let mut out = b"before".to_vec();
    let input = Document::new(input).expect("a document");
    let verdict = compiled(rules).event(input, &mut out).expect("well formed");
    assert!(out.starts_with(b"before"), "the buffer is appended to");
    assert_eq!(verdict == Verdict::Drop, out.len() == 6, "an event that is dropped writes nothing");
    (verdict == Verdict::Keep).then(|| out.split_off(6))
}

fn document(rules: Vec<Rule>, input: &str) -> String {
    let mut out = Vec::new();
    let input = bson(input);
    let verdict = compiled(rules).document(Document::new(&input).expect("sound"), &mut out);
    assert_eq!(verdict, Ok(Verdict::Keep));
    text(&out)
}

#[test]
fn fields_of_documents() {
    for (toml, input, expected) in [
        (r#"exclude = ["a.b"]"#, r#"{"a": {"b": 1, "c": 2}, "b": 3}"#, r#"{"a": {"c": 2}, "b": 3}"#),
        (r#"exclude = ["a", "a.b"]"#, r#"{"a": {"b": 1}, "b": 3}"#, r#"{"b": 3}"#),
        (r#"exclude = ["a.b"]"#, r#"{"a": [{"b": 1}, 2, [{"b": 3}]]}"#, r#"{"a": [{}, 2, [{}]]}"#),
        (r#"exclude = ["a.b"]"#, r#"{"a": 5, "a.b": 6, "a.bc": 7}"#, r#"{"a": 5, "a.bc": 7}"#),
        (r#"exclude = ["a.0"]"#, r#"{"a": {"0": 1, "1": 2}}"#, r#"{"a": {"1": 2}}"#),
        (r#"exclude = ["a.0"]"#, r#"{"a": [7, 8]}"#, r#"{"a": [7, 8]}"#),
        (
            r#"include = ["a.b"]"#,
            r#"{"_id": 1, "a": {"b": 1, "c": 2}, "d": 3}"#,
            r#"{"_id": 1, "a": {"b": 1}}"#,
        ),
        (r#"include = ["a.b"]"#, r#"{"a": [{"b": 1, "c": 2}, 5, []]}"#, r#"{"a": [{"b": 1}, null, []]}"#),
        (r#"include = ["a.b"]"#, r#"{"a": "secret"}"#, r#"{"a": null}"#),
        (r#"include = ["a", "a.b"]"#, r#"{"a": {"c": 1}, "d": 2}"#, r#"{"a": {"c": 1}}"#),
        ("include = [\"a\"]\nexclude = [\"a.b\"]", r#"{"a": {"b": 1, "c": 2}}"#, r#"{"a": {"c": 2}}"#),
        ("include = [\"a\"]\nexclude = [\"b.c\"]", r#"{"a": 1, "b": {"d": 2}}"#, r#"{"a": 1}"#),
        (r#"redact = ["a"]"#, r#"{"a": {"b": 1}}"#, r#"{"a": "[redacted]"}"#),
        (
            r#"redact = ["a.b"]"#,
            r#"{"a": [{"b": null}, {"b": [1]}]}"#,
            r#"{"a": [{"b": "[redacted]"}, {"b": "[redacted]"}]}"#,
        ),
        (r#"redact = ["a"]"#, r#"{"a.b": 1}"#, r#"{"a": "[redacted]"}"#),
        (
            r#"redact = ["_id.ssn"]"#,
            r#"{"_id": {"ssn": 1, "n": 2}}"#,
            r#"{"_id": {"ssn": "[redacted]", "n": 2}}"#,
        ),
        ("exclude = [\"a\"]\nredact = [\"a\"]", r#"{"a": 1}"#, "{}"),
        (
            r#"rename = {"a.b" = "c"}"#,
            r#"{"a": {"x": 0, "b": 1}, "b": 2}"#,
            r#"{"a": {"x": 0, "c": 1}, "b": 2}"#,
        ),
        (
            r#"rename = {"a" = "c", "a.b" = "d"}"#,
            r#"{"a": [{"b": 1}], "a.b": 2}"#,
            r#"{"c": [{"d": 1}], "c.d": 2}"#,
        ),
        (r#"rename = {"a" = "b"}"#, r#"{"b": 1, "a": 2}"#, r#"{"b": 2}"#),
        (r#"rename = {"a" = "b"}"#, r#"{"b": 1}"#, r#"{"b": 1}"#),
        (r#"rename = {"a" = "b", "b" = "a"}"#, r#"{"a": 1, "b": 2}"#, r#"{"b": 1, "a": 2}"#),
        (r#"rename = {"a" = "x", "b" = "x"}"#, r#"{"b": 2, "x": 0, "a": 1}"#, r#"{"x": 2}"#),
        ("rename = {\"a\" = \"b\"}\nexclude = [\"a\"]", r#"{"a": 1, "b": 2}"#, r#"{"b": 2}"#),
        ("rename = {\"a\" = \"b\"}\nredact = [\"a\"]", r#"{"a": 1}"#, r#"{"b": "[redacted]"}"#),
        ("rename = {\"a\" = \"b\"}\nredact = [\"b\"]", r#"{"a": 1}"#, r#"{"b": 1}"#),
        (r#"set = '{"t": 1, "u": {"v": 2}}'"#, r#"{"t": "x", "a": 1}"#, r#"{"t": 1, "a": 1, "u": {"v": 2}}"#),
        (
            "set = '{\"t\": 1}'\nrename = {\"a\" = \"t\"}",
            r#"{"t": 0, "a": 5, "b": 6}"#,
            r#"{"t": 1, "b": 6}"#,
        ),
        (
            "set = '{\"t\": 1}'\nexclude = [\"t\"]\ninclude = [\"a\"]",
            r#"{"t": 0, "a": 5}"#,
            r#"{"a": 5, "t": 1}"#,
        ),
        ("set = '{\"t\": 1}'\nredact = [\"t\"]", r#"{"t.x": 0, "t": 9}"#, r#"{"t": 1}"#),
    ] {
        assert_eq!(document(vec![rule(toml)], input), expected, "{toml}");
    }
}

#[test]
fn several_rules_are_merged() {
    for (tomls, input, expected) in [
        (
            [r#"include = ["a.b", "c"]"#, r#"include = ["a", "d"]"#],
            r#"{"a": {"b": 1, "x": 2}, "c": 3, "d": 4}"#,
            r#"{"a": {"b": 1}}"#,
        ),
        ([r#"include = ["a"]"#, r#"include = ["b"]"#], r#"{"_id": 0, "a": 1, "b": 2}"#, r#"{"_id": 0}"#),
        ([r#"rename = {"a" = "b"}"#, r#"exclude = ["a"]"#], r#"{"a": 1}"#, "{}"),
        ([r#"rename = {"a" = "b"}"#, r#"rename = {"a" = "c"}"#], r#"{"a": 1}"#, r#"{"c": 1}"#),
        (["hash = [\"a\"]\nhash_key = \"k\"", r#"redact = ["a"]"#], r#"{"a": 1}"#, r#"{"a": "[redacted]"}"#),
        (
            [r#"set = '{"a": 1, "b": 1}'"#, r#"set = '{"a": 2}'"#],
            r#"{"c": 0}"#,
            r#"{"c": 0, "b": 1, "a": 2}"#,
        ),
    ] {
        assert_eq!(document(tomls.map(rule).into(), input), expected, "{tomls:?}");
    }
}

#[test]
fn parts_of_an_update_say_what_the_documents_say() {
    for (toml, input, expected) in [
        (
            r#"exclude = ["a.b"]"#,
            r#"{"updatedFields": {"a": {"b": 1, "c": 2}, "a.b": 3, "a.b.x": 4, "a.0.b": 5, "a.0.c": 6, "a.bc": 7},
               "removedFields": ["a.b.c", "x", "a.1.b", "a"], "truncatedArrays": [{"field": "a.b", "newSize": 1}, {"field": "a", "newSize": 2}],
               "disambiguatedPaths": {"a.0.b": ["a", 0, "b"], "a.0.c": ["a", 0, "c"]}}"#,
            r#"{"updatedFields": {"a": {"c": 2}, "a.0.c": 6, "a.bc": 7}, "removedFields": ["x", "a"],
               "truncatedArrays": [{"field": "a", "newSize": 2}], "disambiguatedPaths": {"a.0.c": ["a", 0, "c"]}}"#,
        ),
        (
            r#"exclude = ["a"]"#,
            r#"{"updatedFields": {"a.b": 1, "ab": 2}, "removedFields": ["a"], "truncatedArrays": null}"#,
            r#"{"updatedFields": {"ab": 2}, "removedFields": [], "truncatedArrays": null}"#,
        ),
        (
            r#"exclude = ["a.0.b"]"#,
            r#"{"updatedFields": {"a.0.b": 1, "a.1.0.b": 2, "a.0.0.b": 3, "a.0.c": 4, "a.0": {"b": 5, "0": {"b": 6}}}, "removedFields": []}"#,
            r#"{"updatedFields": {"a.0.c": 4, "a.0": {"0": {}}}, "removedFields": []}"#,
        ),
        (
            r#"include = ["a.b"]"#,
            r#"{"updatedFields": {"a": {"b": 1, "c": 2}, "a.c": 3, "a.0": 4, "a.1": {"c": 1}, "c": 5, "a.b.c": 6}, "removedFields": ["c", "a.c", "a.b", "a"]}"#,
            r#"{"updatedFields": {"a": {"b": 1}, "a.0": null, "a.1": {}, "a.b.c": 6}, "removedFields": ["a.b", "a"]}"#,
        ),
        (
            r#"redact = ["a.b"]"#,
            r#"{"updatedFields": {"a.b.x": 1, "a.b.y": 2, "a.0.b": 3, "a.1": {"b": 4}, "a.2.b.z": 5},
               "removedFields": ["a.b", "a.b.q"], "truncatedArrays": [{"field": "a.b", "newSize": 1}, {"field": "a.b.c", "newSize": 1}],
               "disambiguatedPaths": {"a.2.b.z": ["a", 2, "b", "z"]}}"#,
            r#"{"updatedFields": {"a.b": "[redacted]", "a.0.b": "[redacted]", "a.1": {"b": "[redacted]"}, "a.2.b": "[redacted]"},
               "removedFields": ["a.b"], "truncatedArrays": [], "disambiguatedPaths": {"a.2.b": ["a", 2, "b"]}}"#,
        ),
        (
            "hash = [\"a\", \"b\", \"c\"]\nhash_key = \"k\"",
            r#"{"updatedFields": {"a.x": 1, "d": 2}, "removedFields": ["b.x", "b.y"], "truncatedArrays": [{"field": "c", "newSize": 1}]}"#,
            r#"{"updatedFields": {"a": "[redacted]", "d": 2, "b": "[redacted]", "c": "[redacted]"}, "removedFields": [], "truncatedArrays": []}"#,
        ),
        (
            r#"rename = {"a" = "x", "a.b" = "y", "a.7" = "seven"}"#,
            r#"{"updatedFields": {"a": {"b": 1}, "a.b": 2, "a.0.b": 3, "b": 4, "a.7": 5}, "removedFields": ["a.b.c"],
               "truncatedArrays": [{"field": "a.b", "newSize": 1}], "disambiguatedPaths": {"a.0.b": ["a", 0, "b"], "q.a": ["q.a"], "a.7": ["a", "7"]}}"#,
            r#"{"updatedFields": {"x": {"y": 1}, "x.y": 2, "x.0.y": 3, "b": 4, "x.seven": 5}, "removedFields": ["x.y.c"],
               "truncatedArrays": [{"field": "x.y", "newSize": 1}], "disambiguatedPaths": {"x.0.y": ["x", 0, "y"], "q.a": ["q.a"], "x.seven": ["x", "seven"]}}"#,
        ),
        (
            r#"rename = {"a" = "b"}"#,
            r#"{"updatedFields": {"b": 1}, "removedFields": ["a"]}"#,
            r#"{"updatedFields": {"b": 1}, "removedFields": []}"#,
        ),
        (
            r#"rename = {"a" = "b"}"#,
            r#"{"updatedFields": {"a": 1}, "removedFields": ["b"]}"#,
            r#"{"updatedFields": {"b": 1}, "removedFields": []}"#,
        ),
        (
            r#"rename = {"d.a" = "b"}"#,
            r#"{"updatedFields": {"d.b.x": 1, "d.a.x": 2, "b": 3}, "removedFields": ["e"]}"#,
            r#"{"updatedFields": {"d.b.x": 2, "b": 3}, "removedFields": ["e"]}"#,
        ),
        (
            r#"rename = {"a" = "b"}"#,
            r#"{"updatedFields": {}, "removedFields": ["b", "a", "c"]}"#,
            r#"{"updatedFields": {}, "removedFields": ["b", "c"]}"#,
        ),
        (
            r#"set = '{"t": 1}'"#,
            r#"{"updatedFields": {"t": 5, "t.x": 6, "u": 7}, "removedFields": ["t", "u.t"]}"#,
            r#"{"updatedFields": {"u": 7}, "removedFields": ["u.t"]}"#,
        ),
    ] {
        let input = bson(&format!(r#"{{"operationType": "update", "updateDescription": {input}}}"#));
        let expected = bson(&format!(r#"{{"operationType": "update", "updateDescription": {expected}}}"#));
        let found = event(vec![rule(toml)], &input).expect("the event stays");
        assert_eq!(text(&found), text(&expected), "{toml}");
        assert_eq!(found, expected, "{toml}");
    }
}

#[test]
fn images_and_keys_agree_and_the_rest_of_an_event_is_untouched() {
    let input = r#"{"_id": {"_data": "82", "a": 1}, "operationType": "replace", "a": 1, "ns": {"db": "a", "coll": "a"},
        "to": {"a": 1}, "documentKey": {"a": 1, "_id": 2}, "operationDescription": {"a": 1}, "lsid": {"a": 1},
        "fullDocument": {"_id": 2, "a": 1}, "fullDocumentBeforeChange": null, "splitEvent": {"fragment": 1, "of": 1}}"#;
    for (toml, key, image) in [
        (r#"exclude = ["a"]"#, r#"{"_id": 2}"#, r#"{"_id": 2}"#),
        (r#"include = ["b"]"#, r#"{"_id": 2}"#, r#"{"_id": 2}"#),
        (r#"redact = ["a"]"#, r#"{"a": "[redacted]", "_id": 2}"#, r#"{"_id": 2, "a": "[redacted]"}"#),
        (r#"redact = ["_id"]"#, r#"{"a": 1, "_id": "[redacted]"}"#, r#"{"_id": "[redacted]", "a": 1}"#),
        (r#"rename = {"a" = "b"}"#, r#"{"b": 1, "_id": 2}"#, r#"{"_id": 2, "b": 1}"#),
        (r#"set = '{"a": 5, "c": 6}'"#, r#"{"a": 5, "_id": 2}"#, r#"{"_id": 2, "a": 5, "c": 6}"#),
    ] {
        let found = event(vec![rule(toml)], &bson(input)).expect("the event stays");
        let expected = input
            .replace(r#""documentKey": {"a": 1, "_id": 2}"#, &format!(r#""documentKey": {key}"#))
            .replace(r#""fullDocument": {"_id": 2, "a": 1}"#, &format!(r#""fullDocument": {image}"#));
        assert_eq!(text(&found), text(&bson(&expected)), "{toml}");
    }
    let hashed = event(vec![rule("hash = [\"_id\"]\nhash_key = \"k\"")], &bson(input)).expect("it stays");
    let hashed = Document::new(&hashed).expect("sound");
    let id = |member| {
        let inner =
            hashed.get(member).expect("sound").and_then(raw::Element::as_document).expect("a document");
        inner.get("_id").expect("sound").and_then(raw::Element::as_str).expect("a text")
    };
    assert_eq!(id("documentKey"), id("fullDocument"));
    assert_eq!(id("documentKey").len(), 64);
}

#[test]
fn the_parts_of_a_dotted_shard_key_are_changed_as_the_fields_are() {
    let input = bson(r#"{"documentKey": {"a.b": 1, "_id": 2}, "fullDocument": {"_id": 2, "a": {"b": 1}}}"#);
    let found = event(vec![rule(r#"redact = ["a"]"#)], &input).expect("the event stays");
    assert_eq!(
        text(&found),
        r#"{"documentKey": {"a": "[redacted]", "_id": 2}, "fullDocument": {"_id": 2, "a": "[redacted]"}}"#
    );
}

#[test]
fn events_are_dropped_by_what_they_were() {
    let rules = || {
        vec![
            rule(
                "exclude = [\"test\"]\ndrop = '{\"operationType\": \"insert\", \"fullDocument.test\": true}'",
            ),
            rule("drop = '{\"operationType\": \"drop\"}'"),
        ]
    };
    for (input, stays) in [
        (r#"{"operationType": "insert", "fullDocument": {"test": true}}"#, false),
        (r#"{"operationType": "update", "fullDocument": {"test": true}}"#, true),
        (r#"{"operationType": "drop"}"#, false),
    ] {
        assert_eq!(event(rules(), &bson(input)).is_some(), stays, "{input}");
    }
}

#[test]
fn rules_apply_where_their_patterns_match_and_cost_nothing_elsewhere() {
    let transform = Transform::compile(vec![
        rule("namespaces = [\"shop.*\"]\nredact = [\"a\"]"),
        rule("namespaces = [\"crm.*\"]"),
    ]);
    assert!(!transform.is_empty());
    assert!(transform.for_namespace("shop", "orders").is_some());
    assert!(transform.for_namespace("crm", "orders").is_none(), "an empty rule is none");
    assert!(transform.for_namespace("shop2", "orders").is_none());
    assert!(Transform::compile(vec![rule("")]).is_empty());
}

#[test]
fn equal_values_of_one_type_have_equal_hashes_under_one_key() {
    let hash = |key: &str, value: &str| {
        let rule = rule(&format!("hash = [\"a.b\"]\nhash_key = \"{key}\""));
        document(vec![rule], &format!(r#"{{"a": [{{"b": {value}}}]}}"#))
    };
    assert_eq!(hash("k", "1"), hash("k", "1"));
    for (key, value) in
        [("k", "2"), ("k", "1.0"), ("k", "\"1\""), ("k", r#"{"$numberLong": "1"}"#), ("l", "1")]
    {
        assert_ne!(hash("k", "1"), hash(key, value), "{key} {value}");
    }
}

#[test]
fn names_and_text_that_are_not_utf8_pass_as_they_are() {
    let mut input = bson(r#"{"fullDocument": {"aXb": "cXd", "b": 1, "e": {"q": 1}}}"#);
    let at: Vec<_> = (0..input.len()).filter(|at| input[*at] == b'X').collect();
    for at in at {
        input[at] = 0xff;
    }
    let found = event(vec![rule(r#"redact = ["e.p"]"#)], &input).expect("the event stays");
    assert_eq!(found, input);
}

#[test]
fn too_deep_and_malformed_documents_are_errors_and_leave_the_buffer_alone() {
    let mut deep = raw::Writer::default();
    deep.begin();
    deep.begin_array(b"a");
    for _ in 0..300 {
        deep.begin_array(b"0");
    }
    for _ in 0..302 {
        deep.end();
    }
    let deep = deep.into_bytes();
    let compiled = compiled(vec![rule(
        "redact = [\"a.b\"]\nrename = {\"c\" = \"d\"}\nset = '{\"e\": 1}'\ndrop = '{\"fullDocument.a.b\": 9}'",
    )]);
    let mut out = b"before".to_vec();
    assert!(compiled.document(Document::new(&deep).expect("sound"), &mut out).is_err());
    let sound = bson(
        r#"{"documentKey": {"_id": 1}, "fullDocument": {"a": [{"b": 1}], "c": 2}, "updateDescription": {
           "updatedFields": {"a.0.b": 1}, "removedFields": ["c"], "truncatedArrays": [{"field": "a", "newSize": 1}],
           "disambiguatedPaths": {"a.0.b": ["a", 0, "b"]}}}"#,
    );
    for at in 0..sound.len() {
        for value in [0, 1, 2, 3, 4, 5, 0x0f, 0x10, 0x7f, 0x80, 0xff] {
            let mut bytes = sound.clone();
            bytes[at] = value;
            let Ok(document) = Document::new(&bytes) else { continue };
            let outcome = compiled.event(document, &mut out);
            if outcome == Ok(Verdict::Keep) {
                assert!(Document::new(&out[6..]).is_ok());
                out.truncate(6);
            }
            assert_eq!(out, b"before");
        }
    }
}
