//! Debezium's lists of fields that are left out or renamed, as transformations.
//!
//! An entry is `database.collection.field`, where the first two may contain `*` and the field may be a path. A new name
//! stands behind a colon and is the last name of the path.

use super::{
    reader::{Reader, escaped},
    toml::Table,
};
use crate::{
    namespace::Pattern,
    transform::{Path, Rename},
};

const EXCLUDE: &str = "field.exclude.list";
const RENAME: &str = "field.renames";

/// The rules, one per entry.
pub(super) fn transforms(reader: &mut Reader<'_>) -> Vec<Table> {
    let mut rules = Vec::new();
    for entry in reader.list(EXCLUDE) {
        match exclusion(&entry) {
            Ok(rule) => rules.push(rule),
            Err(problem) => reader.lack(EXCLUDE, format!("{entry:?} {problem}")),
        }
    }
    for entry in reader.list(RENAME) {
        match renaming(&entry) {
            Ok(rule) => rules.push(rule),
            Err(problem) => reader.lack(RENAME, format!("{entry:?} {problem}")),
        }
    }
    rules
}

fn exclusion(entry: &str) -> Result<Table, String> {
    let (namespace, path) = split(entry)?;
    Path::parse_exclusion(path).map_err(|invalid| invalid.to_string())?;
    Ok(Table::of([("namespaces", vec![escaped(&namespace)].into()), ("exclude", vec![escaped(path)].into())]))
}

fn renaming(entry: &str) -> Result<Table, String> {
    let (field, name) = entry.split_once(':').ok_or("has no colon before a new name")?;
    let (namespace, path) = split(field)?;
    Rename::parse(path, name).map_err(|invalid| invalid.to_string())?;
    let rename = Table::of([(path, escaped(name).into())]);
    Ok(Table::of([("namespaces", vec![escaped(&namespace)].into()), ("rename", rename.into())]))
}

/// The namespace's pattern, and the path of the field.
fn split(entry: &str) -> Result<(String, &str), String> {
    let mut parts = entry.trim().splitn(3, '.');
    let (Some(db), Some(coll), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("is not database.collection.field".into());
    };
    let namespace = format!("{db}.{coll}");
    Pattern::parse(&namespace).map_err(|invalid| invalid.to_string())?;
    Ok((namespace, path))
}
