//! The examples of `docs/transformations.md`, run: a block of TOML, then pairs of JSON blocks, before and after.

use super::tests::{bson, event, rule_of, text};

const DOC: &str = include_str!("../../docs/transformations.md");

/// The fenced blocks: language and content.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let mut parts = DOC.split("```");
    let mut found = Vec::new();
    while let (Some(_text), Some(block)) = (parts.next(), parts.next()) {
        found.push(block.split_once('\n').expect("a block begins with its language"));
    }
    found
}

#[test]
fn the_documents_examples_come_true() {
    let blocks = blocks();
    let mut rest = &blocks[..];
    let mut count = 0;
    while let [(language, toml), after @ ..] = rest {
        assert_eq!(*language, "toml", "an example begins with its rules: {toml}");
        let document: toml_edit::ImDocument<String> =
            toml.parse().unwrap_or_else(|err| panic!("{toml}: {err}"));
        let tables = document["sources"]["shop"]["transform"].as_array_of_tables().expect("rules");
        rest = after;
        while let [("json", input), (language, expected), after @ ..] = rest {
            let found = event(tables.iter().map(rule_of).collect(), &bson(input));
            match *language {
                "json" => assert_eq!(found.map(|found| text(&found)), Some(text(&bson(expected))), "{toml}"),
                "text" => assert_eq!((found, expected.trim()), (None, "dropped"), "{toml}"),
                other => panic!("{other}: {expected}"),
            }
            count += 1;
            rest = after;
        }
    }
    assert!(count >= 8, "{count} examples");
}
