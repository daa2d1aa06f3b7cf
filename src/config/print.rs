//! The effective configuration as TOML, without a secret in it.

use figment::value::{Dict, Value};

use super::{
    connection::{REDACTED, is_sensitive_property, redact_uri},
    problem::KeyPath,
    reference,
    schema::{Key, Kind},
};

/// The tree in the schema's order. References are printed as they are written: what they refer to is not in the tree.
pub(super) fn toml(tree: &Dict, keys: &[Key]) -> String {
    let mut out = String::new();
    table(tree, keys, &KeyPath::default(), &mut out);
    out
}

fn table(dict: &Dict, keys: &[Key], path: &KeyPath, out: &mut String) {
    let mut inner = Vec::new();
    let mut lists = Vec::new();
    for key in keys {
        match (key.kind, dict.get(key.name)) {
            (_, None) => {}
            (Kind::Table(keys) | Kind::GivenTable(keys), Some(Value::Dict(_, dict))) => {
                inner.push((path.child(key.name), keys, dict));
            }
            (Kind::Named(keys), Some(Value::Dict(_, halves))) => {
                let dicts = halves.iter().filter_map(|(name, half)| Some((name, half.as_dict()?)));
                inner.extend(dicts.map(|(name, dict)| (path.child(key.name).child(name), keys, dict)));
            }
            (Kind::Tables(keys), Some(Value::Array(_, tables))) => {
                lists.extend(
                    tables.iter().filter_map(|table| Some((path.child(key.name), keys, table.as_dict()?))),
                );
            }
            (Kind::Properties, Some(Value::Dict(_, properties))) => {
                for (name, value) in properties {
                    let quoted = property_name(name, properties);
                    line(&format!("{}.{quoted}", key.name), &property(name, value), out);
                }
            }
            (Kind::Uri, Some(Value::String(_, uri))) => line(key.name, &uri_text(uri), out),
            (Kind::Secret, Some(Value::String(_, secret))) => line(key.name, &secret_text(secret), out),
            (_, Some(value)) => line(key.name, &literal(value), out),
        }
    }
    for (path, keys, dict) in inner {
        // A table that only says what its absence says too is left out.
        if has_values(dict) {
            out.push_str(&format!("\n[{}]\n", header(&path)));
            table(dict, keys, &path, out);
        }
    }
    for (path, keys, dict) in lists {
        out.push_str(&format!("\n[[{}]]\n", header(&path)));
        table(dict, keys, &path, out);
    }
}

fn line(name: &str, value: &str, out: &mut String) {
    out.push_str(&format!("{name} = {value}\n"));
}

fn has_values(dict: &Dict) -> bool {
    dict.values().any(|value| value.as_dict().is_none_or(has_values))
}

/// The path with each segment quoted where TOML needs it.
fn header(path: &KeyPath) -> String {
    let quoted = path.segments().iter().map(|s| if is_bare(s) { s.clone() } else { text(s) });
    quoted.collect::<Vec<_>>().join(".")
}

/// Whether TOML takes it as a key without quotes.
fn is_bare(segment: &str) -> bool {
    !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// A name with dots in it as nested tables, unless it has to be quoted as a whole: because of its characters, or
/// because another name goes on where one ends.
fn property_name(name: &str, all: &Dict) -> String {
    let goes_on =
        |short: &str, long: &str| long.strip_prefix(short).is_some_and(|rest| rest.starts_with('.'));
    let is_plain =
        name.split('.').all(is_bare) && !all.keys().any(|other| goes_on(name, other) || goes_on(other, name));
    if is_plain { name.to_owned() } else { text(name) }
}

fn property(name: &str, value: &Value) -> String {
    match value.as_str() {
        Some(value) if is_sensitive_property(name) && !is_whole_reference(value) => text(REDACTED),
        _ => literal(value),
    }
}

fn uri_text(uri: &str) -> String {
    text(if is_whole_reference(uri) { uri.into() } else { redact_uri(uri) }.as_str())
}

fn secret_text(secret: &str) -> String {
    text(if is_whole_reference(secret) { secret } else { REDACTED })
}

/// Whether nothing but a reference is there, so that printing it shows no part of the secret.
fn is_whole_reference(text: &str) -> bool {
    reference::is_reference(text) && text.starts_with("${") && text.find('}') == Some(text.len() - 1)
}

fn literal(value: &Value) -> String {
    match value {
        Value::String(_, value) => text(value),
        Value::Array(_, elements) => {
            format!("[{}]", elements.iter().map(literal).collect::<Vec<_>>().join(", "))
        }
        Value::Bool(_, flag) => flag.to_string(),
        other => other.to_i128().map_or_else(|| text(REDACTED), |number| number.to_string()),
    }
}

/// A TOML basic string. JSON's escapes are a subset of TOML's.
fn text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
