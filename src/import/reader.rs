//! A connector's keys, read one by one; collects what there is to say about them.

use std::{cell::RefCell, collections::BTreeSet};

use super::{
    Properties, Remark, Weight,
    keys::{CONNECT, Check, Spec},
};

/// The keys of one connector.
pub(super) struct Reader<'a> {
    pub(super) name: &'a str,
    config: &'a Properties,
    worker: Option<&'a Properties>,
    specs: &'static [Spec],
    /// The keys that something asked for.
    asked: RefCell<BTreeSet<String>>,
    remarks: Vec<Remark>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(name: &'a str, config: &'a Properties, worker: Option<&'a Properties>) -> Self {
        Self { name, config, worker, specs: &[], asked: RefCell::default(), remarks: Vec::new() }
    }

    /// Checks every given key of these, which [`Reader::text`] and its like may be asked for from now on.
    pub(super) fn check(&mut self, specs: &'static [Spec]) {
        self.specs = specs;
        for spec in specs {
            let Some(value) = self.config.get(spec.key) else {
                if spec.check == Check::Required {
                    self.refuse::<()>(spec.key, "is required");
                }
                continue;
            };
            if is_reference(value) {
                if spec.check.is_typed() {
                    self.lack(spec.key, "is a reference, but only texts can be; write the value itself");
                }
                continue;
            }
            if let Err(message) = spec.check.check(value) {
                self.refuse::<()>(spec.key, message);
            }
        }
    }

    /// Notes that nothing more is to be said of this key.
    pub(super) fn pass_over(&self, key: &str) {
        self.asked.borrow_mut().insert(key.into());
    }

    /// The value as it was given.
    pub(super) fn given(&self, key: &str) -> Option<&'a str> {
        self.pass_over(key);
        self.config.get(key).map(String::as_str)
    }

    /// The given value of a key that need not be in the connector's own table, where it says more than the default.
    pub(super) fn unusual_of(&self, spec: &Spec) -> Option<&'a str> {
        self.given(spec.key).filter(|value| value.trim() != spec.default)
    }

    /// The value as the daemon's own text: references that both know are kept, others cannot be carried over.
    pub(super) fn plain(&mut self, key: &str) -> String {
        let text = self.text(key);
        self.translated(key, text)
    }

    /// `text`, the value of `key`, with the references of both in our own words.
    pub(super) fn translated(&mut self, key: &str, text: &str) -> String {
        if !has_only_known_references(text) {
            self.lack(key, "has a reference that the daemon does not know; write ${env:NAME} or ${file:/path} in its place");
        }
        escaped(text)
    }

    /// The value, or the default.
    pub(super) fn text(&self, key: &str) -> &'a str {
        self.given(key).unwrap_or_else(|| self.spec(key).map_or("", |spec| spec.default))
    }

    /// A truth value; the default where it is refused.
    pub(super) fn flag(&self, key: &str) -> bool {
        let default = self.spec(key).map_or("", |spec| spec.default);
        match self.text(key).trim().to_ascii_lowercase().as_str() {
            "true" => true,
            "false" => false,
            _ => default == "true",
        }
    }

    /// A whole number; the default where it is refused.
    pub(super) fn number(&self, key: &str) -> i64 {
        let default = self.spec(key).and_then(|spec| spec.default.parse().ok()).unwrap_or_default();
        self.text(key).trim().parse().unwrap_or(default)
    }

    /// One of a few words, in small letters.
    pub(super) fn word(&self, key: &str) -> String {
        self.text(key).trim().to_lowercase()
    }

    /// A list with commas.
    pub(super) fn list(&self, key: &str) -> Vec<String> {
        let parts = self.text(key).split(',').map(str::trim);
        parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    /// The last part of a class's name.
    pub(super) fn class(&self, key: &str) -> &'a str {
        simple_class(self.text(key))
    }

    /// The given keys that start with `prefix`, without it.
    pub(super) fn below(&self, prefix: &str) -> Vec<(&'a str, &'a str)> {
        let below = |(key, value): (&'a String, &'a String)| {
            let rest = key.strip_prefix(prefix)?;
            self.asked.borrow_mut().insert(key.clone());
            Some((rest, value.as_str()))
        };
        self.config.iter().filter_map(below).collect()
    }

    /// All given keys.
    pub(super) fn config(&self) -> &'a Properties {
        self.config
    }

    /// A key of the worker.
    pub(super) fn worker(&self, key: &str) -> Option<&'a str> {
        self.worker?.get(key).map(String::as_str)
    }

    /// All keys of the worker.
    pub(super) fn worker_keys(&self) -> Option<&'a Properties> {
        self.worker
    }

    fn spec(&self, key: &str) -> Option<&'static Spec> {
        self.specs.iter().find(|spec| spec.key == key)
    }

    /// Whether the same has been said already.
    pub(super) fn has_said(&self, remark: &Remark) -> bool {
        self.remarks.contains(remark)
    }

    /// Says what another reader has found out.
    pub(super) fn adopt(&mut self, remark: Remark) {
        self.pass_over(&remark.key);
        self.remarks.push(remark);
    }

    /// Says what is worth knowing.
    pub(super) fn note(&mut self, key: &str, message: impl Into<String>) {
        self.remark(Weight::Note, key, message.into());
    }

    /// Says what is missing.
    pub(super) fn lack(&mut self, key: &str, message: impl Into<String>) {
        self.remark(Weight::Missing, key, message.into());
    }

    /// Says what is wrong. Gives `None` of whatever the caller was to make.
    pub(super) fn refuse<T>(&mut self, key: &str, message: impl Into<String>) -> Option<T> {
        self.remark(Weight::Refused, key, message.into());
        None
    }

    fn remark(&mut self, weight: Weight, key: &str, message: String) {
        self.asked.borrow_mut().insert(key.into());
        self.remarks.push(Remark { connector: self.name.into(), key: key.into(), weight, message });
    }

    /// Names the keys that nothing has asked for, with the reason why there is nothing that they could become.
    pub(super) fn name_rest(&mut self) {
        let is_open = |key: &&String| !self.asked.borrow().contains(*key);
        let rest: Vec<&'a String> = self.config.keys().filter(is_open).collect();
        for key in rest {
            let Some(spec) = self.spec(key).or_else(|| spec_of_connect(key)) else {
                self.note(key, "is no key that the connector has; not carried over");
                continue;
            };
            if self.config[key].trim() == spec.default {
                continue;
            }
            match spec.becomes.split_once(": ") {
                Some(("nothing", reason)) => self.note(key, format!("not carried over: {reason}")),
                Some(("missing" | "nothing yet", reason)) => self.lack(key, reason),
                _ => {}
            }
        }
    }

    pub(super) fn into_remarks(self) -> Vec<Remark> {
        self.remarks
    }
}

/// What becomes of a key that all connectors have.
fn spec_of_connect(key: &str) -> Option<&'static Spec> {
    CONNECT.iter().find(|spec| match spec.key.strip_suffix('*') {
        Some(prefix) => key.starts_with(prefix),
        None => key == spec.key || key.strip_prefix(spec.key).is_some_and(|rest| rest.starts_with('.')),
    })
}

/// The last part of a class's name, without what Kafka puts behind a dollar sign.
pub(super) fn simple_class(class: &str) -> &str {
    class.trim().rsplit('.').next().unwrap_or_default()
}

/// Whether Connect would put something else in the place of a part of `text`.
pub(super) fn is_reference(text: &str) -> bool {
    text.split("${").skip(1).any(|rest| rest.split_once('}').is_some_and(|(inner, _)| inner.contains(':')))
}

/// `${env:NAME}` means the same to both, and `${dir:/path:name}` is the file `/path/name`.
fn has_only_known_references(text: &str) -> bool {
    text.split("${").skip(1).filter_map(|rest| rest.split_once('}')).all(|(inner, _)| {
        match inner.split_once(':') {
            Some(("env", _)) | None => true,
            Some(("dir", path)) => path.contains(':'),
            Some(_) => false,
        }
    })
}

/// `text` so that the daemon reads it as it is; references that both know stay.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        out.push_str(&rest[..at]);
        let reference = rest[at..].split_inclusive('}').next().unwrap_or_default();
        rest = &rest[at + 2..];
        match reference.strip_prefix("${dir:").and_then(|inner| inner.strip_suffix('}')?.rsplit_once(':')) {
            Some((directory, file)) => {
                out.push_str(&format!("${{file:{directory}/{file}}}"));
                rest = &rest[reference.len() - 2..];
            }
            None => out.push_str(if is_reference(reference) { "${" } else { "$${" }),
        }
    }
    out.push_str(rest);
    out
}
