//! The target: database and collection, or fields of the record that name them.

use super::super::reader::{Reader, escaped};

const MAPPER: &str = "namespace.mapper";

/// The template, and whether it looks at the key. `None` where there is none, and a remark says why.
pub(super) fn template(reader: &mut Reader<'_>, value: &str) -> Option<(String, bool)> {
    let (database, collection) = (reader.plain("database"), reader.plain("collection"));
    if database.trim().is_empty() {
        return reader.refuse("database", "is required");
    }
    let topic = || "{topic}".to_owned();
    let whole = [fixed(&database), if collection.is_empty() { topic() } else { fixed(&collection) }];
    let fields = ["database", "collection"].map(|part| {
        ["key", "value"].map(|side| {
            let key = format!("{MAPPER}.{side}.{part}.field");
            let path = reader.text(&key).trim();
            (key, path)
        })
    });
    let is_invalid_an_error = reader.flag("namespace.mapper.error.if.invalid");
    if reader.class(MAPPER) != "FieldPathNamespaceMapper" {
        return Some((whole.join("."), false));
    }
    if fields.iter().flatten().all(|(_, path)| path.is_empty()) {
        return reader.refuse(MAPPER, "needs a field for the database or the collection");
    }
    let fallbacks = [Some(database), Some(collection).filter(|name| !name.is_empty())];
    let own = [("ns.db", "{db}"), ("ns.coll", "{coll}")];
    let mut reads_key = false;
    let mut parts = whole;
    for (index, [key, in_value]) in fields.iter().enumerate() {
        let (side, (name, path)) = match (key.1.is_empty(), in_value.1.is_empty()) {
            (true, true) => continue,
            (false, false) => {
                reader.refuse::<()>(&key.0, format!("and {} cannot both be given", in_value.0));
                continue;
            }
            (false, true) => ("key", key),
            (true, false) => ("value", in_value),
        };
        reads_key |= side == "key";
        let (of_event, placeholder) = own[index];
        if side == "value" && value == "event" && *path == of_event {
            placeholder.clone_into(&mut parts[index]);
            continue;
        }
        let fallback = (!is_invalid_an_error).then(|| fallback(fallbacks[index].as_deref()));
        match field(side, path, fallback) {
            Some(part) => parts[index] = part,
            None => reader.lack(name, "a name with a quote, a bar or a brace cannot stand in a template"),
        }
    }
    Some((parts.join("."), reads_key))
}

/// A name as a template has it: braces are doubled, but for those of a reference, which is filled in before.
fn fixed(name: &str) -> String {
    let doubled = |text: &str| text.replace('{', "{{").replace('}', "}}");
    let mut out = String::new();
    let mut rest = name;
    while let Some((before, reference)) = rest.split_once("${") {
        let reference = reference.split_once('}').filter(|_| !before.ends_with('$'));
        let Some((inner, after)) = reference else { break };
        out.push_str(&format!("{}${{{inner}}}", doubled(before)));
        rest = after;
    }
    out + &doubled(rest)
}

/// What takes the place of a field that is missing or no text.
fn fallback(name: Option<&str>) -> Option<String> {
    match name {
        None => Some("topic".into()),
        Some(name) => is_plain(name).then(|| format!("'{name}'")),
    }
}

/// The placeholder of a field.
fn field(side: &str, path: &str, fallback: Option<Option<String>>) -> Option<String> {
    let path = Some(escaped(path)).filter(|path| is_plain(path))?;
    match fallback {
        None => Some(format!("{{{side}.{path}}}")),
        Some(fallback) => Some(format!("{{{side}.{path}|{}}}", fallback?)),
    }
}

fn is_plain(name: &str) -> bool {
    !name.contains(['\'', '|', '{', '}'])
}
