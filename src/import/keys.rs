//! Every key of the connectors: default, what it takes, and what becomes of it. docs/migration.md has the same tables.

use super::{reader::simple_class, shell};

mod connect;
mod debezium;
mod sink;
mod source;

pub use self::{connect::CONNECT, debezium::DEBEZIUM, sink::OFFICIAL_SINK, source::OFFICIAL_SOURCE};

/// One key of a connector.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The key.
    pub key: &'static str,
    /// What holds where it is not given.
    pub(super) default: &'static str,
    /// What it takes.
    pub(super) check: Check,
    /// What becomes of it: a key of ours, or the reason why there is none.
    pub becomes: &'static str,
}

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Any,
    /// Any, and it must be given.
    Required,
    NotEmpty,
    Flag,
    /// A whole number, not less than this, that fits into as many bits.
    Integer {
        least: i64,
        bits: u32,
    },
    /// One of these words, or nothing.
    Words(&'static [&'static str]),
    /// As `Words`, in any letter case.
    AnyCase(&'static [&'static str]),
    Uri,
    /// A JSON array, or nothing.
    Array,
    /// A JSON object, or nothing.
    Document,
    /// One of the connector's own classes, or nothing.
    Class(&'static [&'static str]),
    /// Several of them.
    Classes(&'static [&'static str]),
}

const INT: u32 = 32;
const LONG: u32 = 64;

const fn spec(key: &'static str, default: &'static str, check: Check, becomes: &'static str) -> Spec {
    Spec { key, default, check, becomes }
}

impl Check {
    /// Whether only some texts are taken, so that nothing can be said about one that comes by reference.
    pub(super) fn is_typed(self) -> bool {
        !matches!(self, Self::Any | Self::Required | Self::NotEmpty | Self::Uri)
    }

    /// What is wrong with `value`, as far as that can be seen without the others. Never quotes what may be secret.
    pub(super) fn check(self, value: &str) -> Result<(), String> {
        let value = value.trim();
        match self {
            Self::Any | Self::Required => Ok(()),
            Self::NotEmpty if value.is_empty() => Err("is empty".into()),
            Self::NotEmpty => Ok(()),
            Self::Flag => one_of(&["true", "false"], &value.to_ascii_lowercase()),
            Self::Integer { least, bits } => integer(value, least, bits),
            Self::Words(words) if !value.is_empty() => one_of(words, value),
            Self::AnyCase(words) if !value.is_empty() => one_of(words, &value.to_lowercase()),
            Self::Uri => crate::config::check_uri(value).map(|_| ()).map_err(|invalid| invalid.to_string()),
            Self::Array if !value.is_empty() => shell::array(value).map(|_| ()),
            Self::Document if !value.is_empty() => shell::document(value).map(|_| ()),
            Self::Class(classes) if !value.is_empty() => class(classes, value),
            Self::Classes(classes) => value
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .try_for_each(|name| class(classes, name)),
            _ => Ok(()),
        }
    }
}

fn one_of(words: &[&str], value: &str) -> Result<(), String> {
    if words.contains(&value) {
        Ok(())
    } else {
        Err(format!("{value:?} is not allowed; allowed: {}", words.join(", ")))
    }
}

fn integer(value: &str, least: i64, bits: u32) -> Result<(), String> {
    let most = if bits == INT { i64::from(i32::MAX) } else { i64::MAX };
    match value.parse::<i64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(()),
        Ok(_) => Err(format!("{value} is out of range; allowed: {least} to {most}")),
        Err(_) => Err(format!("{value:?} is no whole number")),
    }
}

fn class(classes: &[&str], value: &str) -> Result<(), String> {
    if classes.contains(&simple_class(value)) {
        return Ok(());
    }
    Err(format!(
        "{value:?} is no class of the connector, and no other can be loaded; known: {}",
        classes.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_documentation_has_the_same_tables() {
        let documentation = include_str!("../../docs/migration.md");
        let mut rows: BTreeSet<String> = documentation
            .lines()
            .filter(|line| line.starts_with("| `") && line.contains("` | "))
            .map(str::to_owned)
            .collect();
        rows.retain(|row| !row.starts_with("| `connector: "));
        let tables = [CONNECT, OFFICIAL_SOURCE, OFFICIAL_SINK, DEBEZIUM].concat();
        let expected: BTreeSet<String> =
            tables.iter().map(|spec| format!("| `{}` | {} |", spec.key, spec.becomes)).collect();
        let missing: Vec<_> = expected.difference(&rows).collect();
        let surplus: Vec<_> = rows.difference(&expected).collect();
        assert!(missing.is_empty() && surplus.is_empty(), "missing: {missing:#?}, surplus: {surplus:#?}");
    }

    #[test]
    fn no_key_is_there_twice_and_each_default_is_one_that_its_check_takes() {
        for table in [CONNECT, OFFICIAL_SOURCE, OFFICIAL_SINK, DEBEZIUM] {
            let keys: BTreeSet<&str> = table.iter().map(|spec| spec.key).collect();
            assert_eq!(keys.len(), table.len());
            for spec in table.iter().filter(|spec| !spec.default.is_empty()) {
                assert_eq!(spec.check.check(spec.default), Ok(()), "{}", spec.key);
            }
        }
    }
}
