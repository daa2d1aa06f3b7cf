//! The demo's configuration: `config.toml.example` with the demo's names and servers in it, and a second pipeline.

use anyhow::{Context, Result};

use crate::{pair::Pair, scratch::workspace, servers::Addresses};

/// The configuration's text.
pub(super) fn derive(name: &str, addresses: &Addresses, pairs: &[Pair; 2]) -> Result<String> {
    let path = workspace().join("config.toml.example");
    let example =
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let [shop, exotic] = pairs;
    let (patterns, target) =
        (format!("[\"{}.*\"]", shop.database), quoted(&format!("{}.{{coll}}", shop.copy)));
    let mut text = example;
    for (table, key, value) in [
        ("", "name", quoted(name)),
        ("mongodb", "uri", quoted(&addresses.mongodb_uri)),
        ("kafka", "bootstrap_servers", quoted(&addresses.kafka)),
        ("sources.shop", "watch", patterns.clone()),
        ("sources.shop", "full_document", quoted("updateLookup")),
        ("sinks.copy", "topics", patterns),
        ("sinks.copy", "namespace", target),
    ] {
        text = set(&text, table, key, &value);
    }
    let Pair { database, copy, .. } = exotic;
    Ok(text
        + &format!(
            "
# What strict JSON does not carry goes as raw BSON.
[sources.exotic]
watch = [\"{database}.*\"]
format = \"bson\"
full_document = \"updateLookup\"

[sinks.exotic]
topics = [\"{database}.*\"]
format = \"bson\"
namespace = \"{copy}.{{coll}}\"
"
        ))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// `text` with `key = value` in `[table]` (`""` is the top): in place of a line that sets it, else as the table's first
/// line; a table that is not there is added.
fn set(text: &str, table: &str, key: &str, value: &str) -> String {
    let line = format!("{key} = {value}");
    let mut lines: Vec<&str> = text.lines().collect();
    let header = format!("[{table}]");
    let first = match lines
        .iter()
        .position(|line| line.split('#').next().is_some_and(|code| code.trim() == header))
    {
        _ if table.is_empty() => 0,
        Some(at) => at + 1,
        None => {
            lines.push(&header);
            lines.len()
        }
    };
    let end =
        lines[first..].iter().position(|line| line.starts_with('[')).map_or(lines.len(), |at| first + at);
    let sets = |line: &&str| line.split_once('=').is_some_and(|(name, _)| name.trim() == key);
    match lines[first..end].iter().position(sets) {
        Some(at) => lines[first + at] = &line,
        None => lines.insert(first, &line),
    }
    lines.join("\n") + "\n"
}
