//! The chain of post processors as steps, in order.

use bson::Document;

use super::{
    super::{
        reader::{Reader, escaped, simple_class},
        shell,
        toml::{Table, Value},
    },
    regex::{self, Rest},
};

const CHAIN: &str = "post.processor.chain";
const MAPPING: &str = "field.renamer.mapping";
const REGEXP: &str = "field.renamer.regexp";

/// The steps; `reads_key` tells whether anything looks at the key after them.
pub(super) fn steps(reader: &mut Reader<'_>, reads_key: bool) -> Vec<Table> {
    let classes = reader.list(CHAIN);
    let mut classes: Vec<&str> = classes.iter().map(|class| simple_class(class)).collect();
    if !classes.contains(&"DocumentIdAdder") {
        classes.insert(0, "DocumentIdAdder");
    }
    let mut steps = Vec::new();
    for (place, class) in classes.iter().enumerate() {
        match *class {
            // The first step anyway.
            "DocumentIdAdder" if place == 0 => {}
            "DocumentIdAdder" => steps.push(flag("add_id")),
            "AllowListValueProjector" | "WhitelistValueProjector" => {
                steps.push(list(reader, "value", "allow"));
            }
            "BlockListValueProjector" | "BlacklistValueProjector" => {
                steps.push(list(reader, "value", "block"));
            }
            "AllowListKeyProjector" | "WhitelistKeyProjector" => steps.push(list(reader, "key", "allow")),
            "BlockListKeyProjector" | "BlacklistKeyProjector" => steps.push(list(reader, "key", "block")),
            "KafkaMetaAdder" => steps.push(flag("add_metadata")),
            "NullFieldValueRemover" => steps.push(flag("remove_nulls")),
            "RenameByMapping" => mapping(reader, &mut steps),
            "RenameByRegExp" => expressions(reader, reads_key, &mut steps),
            // The check of the key has named it.
            _ => {}
        }
    }
    steps
}

/// A step that does nothing beyond what is done without steps.
pub(super) fn nothing() -> Table {
    flag("add_id")
}

fn flag(action: &str) -> Table {
    Table::of([(action, true.into())])
}

/// A step; `on` is written where it is not the value.
fn step<const N: usize>(on: &str, entries: [(&str, Value); N]) -> Table {
    let mut step = Table::default();
    step.put_unless(&"value", "on", on);
    for (key, value) in entries {
        step.put(key, value);
    }
    step
}

fn list(reader: &mut Reader<'_>, side: &str, action: &str) -> Table {
    step(side, [(action, paths(reader, &format!("{side}.projection.list")).into())])
}

/// The paths of a list.
pub(super) fn paths(reader: &mut Reader<'_>, key: &str) -> Vec<String> {
    let paths = reader.list(key);
    if let Some(path) = paths.iter().find(|path| path.split('.').any(str::is_empty)) {
        reader.lack(key, format!("{path:?} has an empty name in it"));
    }
    paths.iter().map(|path| escaped(path)).collect()
}

/// The rules of `key`, each with these members, which are texts.
fn rules<const N: usize>(reader: &mut Reader<'_>, key: &str, members: [&str; N]) -> Vec<[String; N]> {
    let text = reader.text(key).trim();
    if text.is_empty() {
        return Vec::new();
    }
    // The check has named a text that is no array.
    let Ok(array) = shell::array(text) else { return Vec::new() };
    let Ok(document) = shell::parsed(&format!("{{\"rules\": {array}}}")) else { return Vec::new() };
    let member = |rule: &Document, name: &str| rule.get_str(name).ok().map(str::to_owned);
    let mut found = Vec::new();
    for rule in document.get_array("rules").map_or(&[][..], Vec::as_slice) {
        let rule = rule.as_document();
        let texts: Option<Vec<String>> =
            rule.and_then(|rule| members.iter().map(|name| member(rule, name)).collect());
        match texts.map(<[String; N]>::try_from) {
            Some(Ok(texts)) => found.push(texts),
            _ => {
                let message = format!("needs in each entry, as texts: {}", members.join(", "));
                reader.refuse::<()>(key, message);
            }
        }
    }
    found
}

fn mapping(reader: &mut Reader<'_>, steps: &mut Vec<Table>) {
    let rules = rules(reader, MAPPING, ["oldName", "newName"]);
    for (side, prefix) in [("value", "value."), ("key", "key.")] {
        let mut rename = Table::default();
        for [old, new] in &rules {
            let Some(path) = old.strip_prefix(prefix).filter(|path| !path.is_empty()) else { continue };
            if new.is_empty() || new.contains('.') {
                reader.lack(MAPPING, format!("{new:?} is no name that a field can get; see rename_regex"));
            } else if rename.get(path).is_some() {
                reader.refuse::<()>(MAPPING, format!("has {old:?} twice"));
            } else {
                rename.put(path, escaped(new));
            }
        }
        if !rename.is_empty() {
            steps.push(step(side, [("rename", rename.into())]));
        }
    }
    for [old, _] in rules.iter().filter(|[old, _]| !old.starts_with("value.") && !old.starts_with("key.")) {
        reader.note(MAPPING, format!("{old:?} begins with neither key. nor value., and names nothing"));
    }
}

fn expressions(reader: &mut Reader<'_>, reads_key: bool, steps: &mut Vec<Table>) {
    for [path, pattern, replace] in rules(reader, REGEXP, ["regexp", "pattern", "replace"]) {
        let own = regex::pattern(&pattern);
        let Some((own, replace)) =
            own.and_then(|own| regex::replacement(&own, &replace).map(|replace| (own, replace)))
        else {
            reader.lack(REGEXP, format!("{pattern:?} and {replace:?} cannot be written in our dialect"));
            continue;
        };
        for side in ["value", "key"] {
            if side == "key" && !reads_key {
                continue;
            }
            match regex::behind(side, &path) {
                Some(Rest::Never) => {}
                Some(Rest::Expression(rest)) => {
                    let entries = [
                        ("rename_regex", escaped(&rest).into()),
                        ("pattern", escaped(&own).into()),
                        ("replace", escaped(&replace).into()),
                    ];
                    steps.push(step(side, entries));
                }
                None => reader.lack(
                    REGEXP,
                    format!(
                        "what {path:?} matches behind {side}. cannot be told; write a step with rename_regex"
                    ),
                ),
            }
        }
    }
}
