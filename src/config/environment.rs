//! Environment variables as a layer: `MILLRACE_KAFKA__BOOTSTRAP_SERVERS` is `kafka.bootstrap_servers`.
//!
//! `MILLRACE__NAME` is `name`. Only `MILLRACE_…` with a double underscore is read, because Kubernetes injects variables like `MILLRACE_PORT` for a
//! service of that name. What is read is checked like the file.

use std::collections::BTreeMap;

use figment::value::{Dict, Value};
use toml_edit::{ImDocument, Value as Toml};

use super::{
    Place, Problem,
    layers::Places,
    problem::{KeyPath, shown},
    schema::{Key, Kind, ROOT, unknown_key},
};

/// The process's variables. One that is not Unicode cannot be referred to, and is left out.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The values that variables give, one tree each. `file` knows the names of sources and sinks as they are really written.
pub(super) fn walk(
    variables: &BTreeMap<String, String>,
    file: &Dict,
    places: &mut Places,
    problems: &mut Vec<Problem>,
) -> Vec<Dict> {
    let mut layers = Vec::new();
    for (variable, text) in variables {
        let Some(name) = key_part(variable) else { continue };
        let segments: Vec<String> = name.split("__").map(str::to_lowercase).collect();
        let target = resolve(&segments, ROOT, Some(file), KeyPath::default());
        let (path, read) = match target {
            Ok((path, kind)) => (path, value(text, kind)),
            Err((path, message)) => (path, Err(message)),
        };
        let place = Place::Variable(variable.clone());
        match read {
            Ok(value) => {
                places.set(&path, place);
                let nested = path
                    .segments()
                    .iter()
                    .rev()
                    .fold(value, |inner, key| Dict::from([(key.clone(), inner)]).into());
                layers.extend(nested.into_dict());
            }
            Err(message) => problems.push(Problem { place, path, message }),
        }
    }
    layers
}

/// The part of a variable's name that says which key it gives.
fn key_part(variable: &str) -> Option<&str> {
    let in_a_table = || variable.strip_prefix("MILLRACE_").filter(|key| key.contains("__"));
    variable.strip_prefix("MILLRACE__").or_else(in_a_table)
}

/// The path that lower-case `segments` mean, and the kind of what is there.
fn resolve(
    segments: &[String],
    keys: &'static [Key],
    file: Option<&Dict>,
    path: KeyPath,
) -> Result<(KeyPath, Kind), (KeyPath, String)> {
    let Some((first, rest)) = segments.split_first() else {
        return Err((path, "is a table; name one of its keys after another __".into()));
    };
    let path = path.child(first);
    let Some(key) = keys.iter().find(|key| key.name == first) else {
        return Err((path, unknown_key(first, keys)));
    };
    let file = file.and_then(|file| file.get(key.name)).and_then(Value::as_dict);
    match (key.kind, rest) {
        (Kind::Table(inner) | Kind::GivenTable(inner), _) => resolve(rest, inner, file, path),
        (Kind::Named(inner), [half, rest @ ..]) => {
            let name = name_of_half(half, file).map_err(|message| (path.child(half), message))?;
            let file = file.and_then(|file| file.get(&name)).and_then(Value::as_dict);
            resolve(rest, inner, file, path.child(name))
        }
        (Kind::Properties, [_, ..]) => Ok((path.child(rest.join(".")), Kind::Text)),
        (Kind::Named(_) | Kind::Properties, []) => resolve(&[], keys, None, path),
        (Kind::Tables(_), _) => Err((path, "is a list of tables, which only the file can hold".into())),
        (kind, []) => Ok((path, kind)),
        (_, [extra, ..]) => Err((path.child(extra), "is not a key: what is before it is not a table".into())),
    }
}

/// A name from the file that a variable can only spell in capitals and underscores; otherwise a new half of that name.
fn name_of_half(segment: &str, file: Option<&Dict>) -> Result<String, String> {
    let spelled = |name: &str| name.to_lowercase().replace(['-', '.'], "_");
    let known: Vec<&String> =
        file.into_iter().flat_map(Dict::keys).filter(|name| spelled(name) == segment).collect();
    match known.as_slice() {
        [] => Ok(segment.into()),
        [name] => Ok((*name).clone()),
        _ => Err("may mean several names in the file, which differ only in case, dots and dashes".into()),
    }
}

/// `text` as a value of `kind`.
fn value(text: &str, kind: Kind) -> Result<Value, String> {
    let wrong = |shown: String| format!("is {shown}; write {}", kind.expected());
    match kind {
        Kind::Boolean => text.parse::<bool>().map(Value::from).map_err(|_| wrong(shown(text))),
        Kind::Integer => text.parse::<i64>().map(Value::from).map_err(|_| wrong(shown(text))),
        Kind::List => list(text).ok_or_else(|| wrong(shown(text))),
        _ => Ok(text.into()),
    }
}

/// A list as in the file, or texts with commas between them.
fn list(text: &str) -> Option<Value> {
    let texts: Vec<String> = if text.trim_start().starts_with('[') {
        let document = ImDocument::parse(format!("list = {text}")).ok()?;
        let array = document.get("list").and_then(|item| item.as_array())?;
        array.iter().map(|element| Toml::as_str(element).map(String::from)).collect::<Option<_>>()?
    } else {
        text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
    };
    Some(texts.into())
}
