//! `config.toml.example` against the schema: it loads, it is complete, and its defaults are the defaults.

#![expect(clippy::result_large_err, reason = "the jail's error is figment's, and large")]

use std::path::Path;

use figment::value::{Dict, Value};

use super::{
    layers,
    problem::KeyPath,
    schema::{self, Key, Kind, ROOT},
};

const EXAMPLE: &str = include_str!("../../config.toml.example");

/// The example with every commented key in force.
fn uncommented() -> String {
    let lines = EXAMPLE.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| !c.is_whitespace()) => rest,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn variables() -> [(String, String); 2] {
    [("KAFKA_PASSWORD".into(), "x".into()), ("HASH_KEY".into(), "y".into())]
}

/// The tree of `text`, after `load` has accepted it.
fn tree(text: &str) -> Dict {
    let mut tree = None;
    figment::Jail::expect_with(|jail| {
        jail.create_file("config.toml", text)?;
        let path = Path::new("config.toml");
        super::load(path, variables()).map_err(|problems| problems.to_string())?;
        let read = super::file::text(path).and_then(|text| layers::read(path, &text, &variables().into()));
        tree = Some(read.map_err(|problems| problems.to_string())?.tree);
        Ok(())
    });
    tree.expect("the jail ran")
}

/// Calls `visit` with every key of the schema that is no table, halves under the names of the example.
fn each_key(keys: &'static [Key], path: &KeyPath, visit: &mut dyn FnMut(&KeyPath, &'static Key)) {
    for key in keys {
        let path = path.child(key.name);
        match key.kind {
            Kind::Table(inner) => each_key(inner, &path, visit),
            // What an override may have is explained with the sink.
            Kind::GivenTable(_) => {}
            Kind::Tables(_)
                if path.segments().iter().any(|part| part == "override") && key.name != "override" => {}
            Kind::Named(inner) => {
                let name = if key.name == "sources" { "shop" } else { "copy" };
                each_key(inner, &path.child(name), visit);
            }
            Kind::Tables(inner) => each_key(inner, &path.element(0), visit),
            _ => visit(&path, key),
        }
    }
}

/// What stands at `path`; in a list of tables, in the first that has it.
fn at<'a>(tree: &'a Dict, path: &KeyPath) -> Option<&'a Value> {
    fn inner<'a>(table: &'a Dict, path: &[String]) -> Option<&'a Value> {
        let (key, rest) = path.split_first()?;
        match (table.get(key)?, rest) {
            (value, []) => Some(value),
            (Value::Array(_, tables), [_, rest @ ..]) => {
                tables.iter().find_map(|table| inner(table.as_dict()?, rest))
            }
            (value, rest) => inner(value.as_dict()?, rest),
        }
    }
    inner(tree, path.segments())
}

fn parsed(text: &str) -> Dict {
    let mut places = layers::Places::default();
    let mut problems = Vec::new();
    let dict = super::file::walk(text, &mut places, &mut problems).expect("the example is TOML");
    assert!(problems.is_empty(), "{problems:?}");
    dict
}

#[test]
fn the_example_loads_as_it_is() {
    assert!(at(&tree(EXAMPLE), &["sources", "shop", "watch"].into()).is_some());
}

#[test]
fn the_example_loads_with_every_comment_removed() {
    assert!(at(&tree(&uncommented()), &["limits", "memory"].into()).is_some());
}

#[test]
fn every_key_of_the_schema_is_in_the_example() {
    let written = parsed(&uncommented());
    each_key(ROOT, &KeyPath::default(), &mut |path, _| {
        assert!(at(&written, path).is_some(), "{path} is not in config.toml.example");
    });
}

#[test]
fn every_commented_default_is_the_builtin_one() {
    let (active, written) = (parsed(EXAMPLE), parsed(&uncommented()));
    let builtin = schema::defaults(ROOT, &active);
    let mut compared = 0;
    each_key(ROOT, &KeyPath::default(), &mut |path, _| {
        let Some(default) = at(&builtin, path).filter(|_| at(&active, path).is_none()) else { return };
        // The examples of properties are not defaults.
        if default.as_dict().is_none() {
            assert_eq!(at(&written, path), Some(default), "{path}");
            compared += 1;
        }
    });
    assert!(compared > 25, "only {compared} defaults were compared");
}
