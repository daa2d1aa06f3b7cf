//! One rule of a source's transformations.

use super::{
    super::{Invalid, Secret},
    reading::{Reader, Section},
    source::optional,
};
use crate::{
    namespace::{Pattern, Patterns},
    transform::{Constants, Hash, Path, Predicate, Rename, Rule},
};

/// The rule, if it is sound.
pub(super) fn rule(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Rule> {
    let include = reader.required_list(section, "namespaces", "[\"*\"]", Pattern::parse);
    let drop = optional(reader, section, "drop", Predicate::parse);
    let set = optional(reader, section, "set", Constants::parse);
    Some(Rule {
        namespaces: Patterns { include, exclude: Vec::new() },
        include: reader.list(section, "include", Path::parse),
        exclude: reader.list(section, "exclude", Path::parse_exclusion),
        redact: reader.list(section, "redact", Path::parse),
        hash: hash(reader, section),
        rename: rename(reader, &section.section("rename")),
        drop: drop?,
        set: set?,
    })
}

/// `None` also where nothing is hashed.
fn hash(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Hash> {
    let key = reader.parse_unshown(section, "hash_key", |text| {
        if text.is_empty() { Err(Invalid("is empty".into())) } else { Ok(Secret::new(text)) }
    });
    let paths = reader.list(section, "hash", Path::parse);
    if paths.is_empty() {
        return None;
    }
    if !section.has("hash_key") {
        let message = "needs hash_key; write a reference to a secret, like \"${env:HASH_KEY}\"";
        reader.report(&section.path("hash"), message.into());
    }
    Some(Hash { key: key?, paths })
}

fn rename(reader: &mut Reader<'_>, section: &Section<'_>) -> Vec<Rename> {
    let paths = section.keys();
    paths.filter_map(|path| reader.parse(section, path, |name| Rename::parse(path, name))).collect()
}
