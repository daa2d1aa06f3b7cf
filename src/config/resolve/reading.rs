//! Reading one value at a time: the tree's sections, and the reader that reports what is wrong with a value.

use std::{ops::RangeInclusive, time::Duration};

use figment::value::{Dict, Value};

use crate::config::{
    Invalid, Place, Problem,
    choice::{Choice, words},
    layers::{Expanded, Places},
    problem::{KeyPath, shown},
    schema::{nearest, one_of},
    units::{parse_duration, parse_size},
};

/// A table of the tree; empty where something else stands in its place.
pub(super) struct Section<'a> {
    pub(super) path: KeyPath,
    dict: Option<&'a Dict>,
}

impl<'a> Section<'a> {
    pub(super) fn root(tree: &'a Dict) -> Self {
        Self { path: KeyPath::default(), dict: Some(tree) }
    }

    pub(super) fn path(&self, key: &str) -> KeyPath {
        self.path.child(key)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Whether there is nothing at `key`, or a table with nothing in it.
    pub(super) fn lacks_tables(&self, key: &str) -> bool {
        self.get(key).is_none_or(|value| value.as_dict().is_some_and(Dict::is_empty))
    }

    pub(super) fn section(&self, key: &str) -> Self {
        Self { path: self.path(key), dict: self.get(key).and_then(Value::as_dict) }
    }

    /// The tables of a list.
    pub(super) fn sections(&self, key: &str) -> Vec<Self> {
        let path = self.path(key);
        let tables = self.get(key).and_then(Value::as_array).unwrap_or_default();
        let section =
            |(index, table): (usize, &'a Value)| Self { path: path.element(index), dict: table.as_dict() };
        tables.iter().enumerate().map(section).collect()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &'a String> + use<'a> {
        self.dict.into_iter().flat_map(Dict::keys)
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.dict.and_then(|dict| dict.get(key))
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.get(key).and_then(Value::as_str)
    }

    /// The texts of a list with their indices; `None` where there is no list.
    fn texts(&self, key: &str) -> Option<Vec<(usize, &'a str)>> {
        let elements = self.get(key)?.as_array()?;
        Some(
            elements
                .iter()
                .enumerate()
                .filter_map(|(index, element)| Some((index, element.as_str()?)))
                .collect(),
        )
    }
}

/// Parses values and collects what is wrong with them.
pub(super) struct Reader<'a> {
    expanded: &'a Expanded,
    places: &'a Places,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(expanded: &'a Expanded, places: &'a Places, problems: &'a mut Vec<Problem>) -> Self {
        Self { expanded, places, problems }
    }

    /// The text at `key`, parsed; `None` also where there is none.
    pub(super) fn parse<T>(
        &mut self,
        section: &Section<'_>,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Option<T> {
        let text = section.text(key)?;
        let parsed = parse(text);
        self.unless_invalid(parsed, &section.path(key), text)
    }

    /// As [`Reader::parse`], for a value that is not shown in a problem.
    pub(super) fn parse_unshown<T>(
        &mut self,
        section: &Section<'_>,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Option<T> {
        let parsed = parse(section.text(key)?);
        parsed.map_err(|invalid| self.report(&section.path(key), invalid.to_string())).ok()
    }

    /// As [`Reader::parse`], for a key without which there are no settings.
    pub(super) fn required<T>(
        &mut self,
        section: &Section<'_>,
        key: &str,
        reason: &str,
        parse: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Option<T> {
        if section.text(key).is_none() {
            self.missing(&section.path(key), &section.path, &format!("is required: {reason}"));
        }
        self.parse(section, key, parse)
    }

    pub(super) fn choice<T: Choice>(&mut self, section: &Section<'_>, key: &str) -> Option<T> {
        self.parse(section, key, |text| {
            let found = T::WORDS.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
            found.ok_or_else(|| {
                let words = words::<T>();
                let meant =
                    nearest(text, &words).map(|word| format!("; did you mean {word:?}?")).unwrap_or_default();
                Invalid(format!("is not {}{meant}", one_of(&words)))
            })
        })
    }

    pub(super) fn flag(&mut self, section: &Section<'_>, key: &str) -> Option<bool> {
        // A stand-in for a wrong value is a boolean too; then a problem has been reported, and the settings are void.
        section.get(key)?.to_bool()
    }

    pub(super) fn integer(
        &mut self,
        section: &Section<'_>,
        key: &str,
        allowed: RangeInclusive<u32>,
    ) -> Option<u32> {
        let number = section.get(key)?.to_i128()?;
        let fitting = u32::try_from(number).ok().filter(|number| allowed.contains(number));
        if fitting.is_none() {
            let message =
                format!("{number} is out of range; allowed: {} to {}", allowed.start(), allowed.end());
            self.report(&section.path(key), message);
        }
        fitting
    }

    pub(super) fn size(&mut self, section: &Section<'_>, key: &str) -> Option<usize> {
        self.parse(section, key, |text| match parse_size(text)? {
            0 => Err(Invalid("is nothing; write a size above zero".into())),
            bytes => Ok(bytes),
        })
    }

    pub(super) fn positive_duration(&mut self, section: &Section<'_>, key: &str) -> Option<Duration> {
        self.parse(section, key, |text| match parse_duration(text)? {
            Duration::ZERO => Err(Invalid("is no time at all; write a duration above zero".into())),
            duration => Ok(duration),
        })
    }

    /// A list of texts, each parsed. What is wrong is reported and left out.
    pub(super) fn list<T>(
        &mut self,
        section: &Section<'_>,
        key: &str,
        parse: impl Fn(&str) -> Result<T, Invalid>,
    ) -> Vec<T> {
        let texts = section.texts(key).unwrap_or_default();
        let path = section.path(key);
        texts
            .iter()
            .filter_map(|(index, text)| self.unless_invalid(parse(text), &path.element(*index), text))
            .collect()
    }

    /// As [`Reader::list`]; there must be one, and it must not be empty.
    pub(super) fn required_list<T>(
        &mut self,
        section: &Section<'_>,
        key: &str,
        example: &str,
        parse: impl Fn(&str) -> Result<T, Invalid>,
    ) -> Vec<T> {
        let list = self.list(section, key, parse);
        if list.is_empty() {
            let path = section.path(key);
            let (state, near) =
                if section.has(key) { ("is empty", &path) } else { ("is required", &section.path) };
            self.missing(&path, near, &format!("{state}; write a list like {example}"));
        }
        list
    }

    /// Reports that `path` is missing, at the place of `near`; not where something is wrong with either already.
    pub(super) fn missing(&mut self, path: &KeyPath, near: &KeyPath, message: &str) {
        let related = |problem: &Problem| problem.path.starts_with(path) || path.starts_with(&problem.path);
        if !self.problems.iter().any(related) {
            let place = match self.places.of(path) {
                Place::Whole => self.places.of(near),
                place => place,
            };
            self.problems.push(Problem { place, path: path.clone(), message: message.into() });
        }
    }

    pub(super) fn report(&mut self, path: &KeyPath, message: String) {
        self.problems.push(Problem { place: self.places.of(path), path: path.clone(), message });
    }

    /// Where the table at `path` starts, for putting the halves into the order of the file; `None` where only
    /// variables know it.
    pub(super) fn start_of(&self, path: &KeyPath) -> Option<&'a Place> {
        self.places.exactly(path)
    }

    fn unless_invalid<T>(&mut self, parsed: Result<T, Invalid>, path: &KeyPath, text: &str) -> Option<T> {
        let invalid = match parsed {
            Ok(value) => return Some(value),
            Err(invalid) => invalid,
        };
        let is_uri = path.segments().last().is_some_and(|key| key == "uri");
        let message = if self.expanded.hidden.contains(path) && !is_uri {
            "is not valid here (not shown, because it comes from a ${…})".into()
        } else if is_uri {
            invalid.to_string()
        } else {
            format!("{} {invalid}", shown(text))
        };
        self.report(path, message);
        None
    }
}
