//! The files that Connect's users have: a connector's JSON, and Java properties.

use serde_json::{Map, Value};

use super::{Connector, Properties};
use crate::config::Invalid;

/// Reads a connector: `{"name": …, "config": {…}}`, or the map of keys alone.
///
/// # Errors
/// When it is neither.
pub fn read_connector(text: &str) -> Result<Connector, Invalid> {
    let value: Value = serde_json::from_str(text).map_err(|err| Invalid(format!("is not JSON: {err}")))?;
    let Value::Object(mut map) = value else { return Err(Invalid("is no JSON object".into())) };
    let name = map.get("name").and_then(Value::as_str).map(str::to_owned);
    let config = match map.remove("config") {
        Some(Value::Object(config)) => config,
        Some(_) => return Err(Invalid("has a config that is no object".into())),
        None => map,
    };
    let config = keys(config)?;
    Ok(Connector { name: name.or_else(|| config.get("name").cloned()), config })
}

/// Connect takes numbers and truth values for their text, and leaves out nulls.
fn keys(config: Map<String, Value>) -> Result<Properties, Invalid> {
    let text = |(key, value): (String, Value)| match value {
        Value::Null => None,
        Value::String(text) => Some(Ok((key, text))),
        Value::Bool(_) | Value::Number(_) => Some(Ok((key, value.to_string()))),
        Value::Array(_) | Value::Object(_) => Some(Err(Invalid(format!(
            "has no text for {key}; write the JSON in quotes, as Connect takes it"
        )))),
    };
    config.into_iter().filter_map(text).collect()
}

/// Reads a Java properties file.
pub fn read_properties(text: &str) -> Properties {
    let mut properties = Properties::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut line = line.trim_start().to_owned();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        // An odd number of backslashes at the end: the line goes on in the next.
        while (line.len() - line.trim_end_matches('\\').len()) & 1 == 1 {
            line.pop();
            let Some(next) = lines.next() else { break };
            line.push_str(next.trim_start());
        }
        let (key, value) = split(&line);
        properties.insert(unescaped(key), unescaped(value));
    }
    properties
}

/// A key ends at the first `=`, `:` or white space that is not escaped.
fn split(line: &str) -> (&str, &str) {
    let mut is_escaped = false;
    let end = line.find(|c: char| {
        let ends = !is_escaped && (c == '=' || c == ':' || c.is_whitespace());
        is_escaped = c == '\\' && !is_escaped;
        ends
    });
    let Some(end) = end else { return (line, "") };
    let rest = line[end..].trim_start();
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (&line[..end], value.trim_start())
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok();
                out.push(code.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_of_a_connector_are_read() {
        let whole =
            read_connector(r#"{"name": "a", "config": {"tasks.max": 1, "copy.existing": true, "x": null}}"#);
        let bare = read_connector(r#"{"name": "a", "tasks.max": "1", "copy.existing": "true"}"#);
        let (whole, bare) = (whole.expect("sound"), bare.expect("sound"));
        assert_eq!(whole.name.as_deref(), Some("a"));
        assert_eq!(bare.name.as_deref(), Some("a"));
        for key in ["tasks.max", "copy.existing"] {
            assert_eq!(whole.config.get(key), bare.config.get(key), "{key}");
        }
        for text in ["[]", "{", r#"{"config": 1}"#, r#"{"pipeline": []}"#] {
            assert!(read_connector(text).is_err(), "{text}");
        }
    }

    #[test]
    fn properties_are_read_as_java_reads_them() {
        let text = "# c\n! c\na=1\n b : 2 \nc 3\nd\\=e=f\ng=x\\\n   y\nh=\\u0041\\tz\ni\nj=a=b\n";
        let expected = [
            ("a", "1"),
            ("b", "2 "),
            ("c", "3"),
            ("d=e", "f"),
            ("g", "xy"),
            ("h", "A\tz"),
            ("i", ""),
            ("j", "a=b"),
        ];
        let expected: Properties = expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        assert_eq!(read_properties(text), expected);
    }
}
