//! New names for fields, by path or by regular expression. Pure.
//!
//! A renamed field goes to the end of its document. Paths are dotted, lead through documents but not into arrays, and
//! name a parent as it is called after its own renaming. Where two fields of a document would end up with one name, the
//! document is refused: no value is ever lost.

use std::collections::BTreeMap;

use regex::bytes::Regex;

use super::{Error, rewritten};
use crate::{
    config::Invalid,
    raw::{Document, Element, Writer, kind},
};

/// One pass of renaming.
#[derive(Clone, Debug)]
pub enum Renaming {
    /// Path → name.
    Mapping(BTreeMap<Vec<u8>, Vec<u8>>),
    /// Each in turn; all look at the path as it was.
    Rules(Vec<Rule>),
}

/// What is done to the names of fields whose whole path matches.
#[derive(Clone, Debug)]
pub struct Rule {
    path: Regex,
    pattern: Regex,
    replacement: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Group(usize),
}

/// Checks the path and the new name of a mapping. The messages go on after the new name.
///
/// # Errors
/// When either is none.
pub fn check_mapping(path: &str, name: &str) -> Result<(), Invalid> {
    let problem = if path.split('.').any(str::is_empty) {
        "is to be the name of a field whose path has an empty name"
    } else if name.is_empty() {
        "is empty; write the new last name"
    } else if name.contains('.') {
        "is a path; write the new last name alone: a field stays in its document"
    } else if name.contains('\0') {
        "has NUL in it"
    } else {
        return Ok(());
    };
    Err(Invalid(problem.into()))
}

/// A regular expression.
///
/// # Errors
/// When it is none.
pub fn parse_regex(text: &str) -> Result<Regex, Invalid> {
    Regex::new(text).map_err(|error| {
        // The lines before draw the place; a problem is one line.
        let error = error.to_string();
        let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
        Invalid(format!("is no regular expression: {reason}"))
    })
}

/// A regular expression for a whole path.
///
/// # Errors
/// When it is none.
pub fn parse_path_regex(text: &str) -> Result<Regex, Invalid> {
    // Judged as it was written: around it, a stray parenthesis would find a partner.
    parse_regex(text)?;
    parse_regex(&format!("^(?:{text})$"))
}

impl Rule {
    /// `replace` may have `$1` or `${name}` for what a group matched; a backslash takes a sign as it is.
    ///
    /// # Errors
    /// When `replace` names a group that `pattern` does not have. The message goes on after `replace`.
    pub fn new(path: Regex, pattern: Regex, replace: &str) -> Result<Self, Invalid> {
        let replacement = pieces(&pattern, replace)?;
        Ok(Self { path, pattern, replacement })
    }

    fn renamed(&self, name: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(name.len());
        let mut at = 0;
        for found in self.pattern.captures_iter(name) {
            let whole = found.get(0).expect("the whole match is always there");
            out.extend_from_slice(&name[at..whole.start()]);
            for piece in &self.replacement {
                match piece {
                    Piece::Text(text) => out.extend_from_slice(text),
                    Piece::Group(number) => {
                        out.extend_from_slice(found.get(*number).map_or(&[], |group| group.as_bytes()));
                    }
                }
            }
            at = whole.end();
        }
        out.extend_from_slice(&name[at..]);
        out
    }
}

fn pieces(pattern: &Regex, replace: &str) -> Result<Vec<Piece>, Invalid> {
    let mut pieces = Vec::new();
    let mut text = Vec::new();
    let mut rest = replace;
    while let Some(at) = rest.find(['$', '\\']) {
        text.extend_from_slice(&rest.as_bytes()[..at]);
        let (sign, tail) = rest[at..].split_at(1);
        if sign == "\\" {
            let taken = tail.chars().next().ok_or_else(|| Invalid("ends in a backslash".into()))?;
            text.extend_from_slice(taken.encode_utf8(&mut [0; 4]).as_bytes());
            rest = &tail[taken.len_utf8()..];
            continue;
        }
        let (group, after) = group(pattern, tail)?;
        pieces.extend((!text.is_empty()).then(|| Piece::Text(std::mem::take(&mut text))));
        pieces.push(Piece::Group(group));
        rest = after;
    }
    text.extend_from_slice(rest.as_bytes());
    pieces.extend((!text.is_empty()).then_some(Piece::Text(text)));
    match replace.contains('\0') {
        true => Err(Invalid("has NUL in it".into())),
        false => Ok(pieces),
    }
}

/// The group's number after a `$`, and what comes after it.
fn group<'a>(pattern: &Regex, tail: &'a str) -> Result<(usize, &'a str), Invalid> {
    let none = |name: &str| Invalid(format!("names the group {name:?}, which the pattern does not have"));
    if let Some((name, after)) = tail.strip_prefix('{').and_then(|tail| tail.split_once('}')) {
        let by_name = pattern.capture_names().position(|own| own == Some(name));
        let number = by_name.or_else(|| name.parse().ok()).filter(|number| *number < pattern.captures_len());
        return Ok((number.ok_or_else(|| none(name))?, after));
    }
    let digits = tail.bytes().take_while(u8::is_ascii_digit).count();
    // As many digits as there is a group for: "$12" may be the first group and a 2.
    let found = (1..=digits.min(4)).rev().find_map(|length| {
        let number: usize = tail[..length].parse().ok()?;
        (number < pattern.captures_len()).then_some((number, &tail[length..]))
    });
    match digits {
        0 => Err(Invalid("has a $ that names no group; write \\$ for the sign itself".into())),
        _ => found.ok_or_else(|| none(&tail[..digits])),
    }
}

impl Renaming {
    /// `document` with the new names.
    ///
    /// # Errors
    /// When two fields would have one name, or its bytes are damaged.
    pub fn apply(&self, document: Document<'_>) -> Result<Vec<u8>, Error> {
        rewritten(document, |writer| self.walk(document, &mut Vec::new(), writer))
    }

    fn walk(&self, document: Document<'_>, path: &mut Vec<u8>, writer: &mut Writer) -> Result<(), Error> {
        let length = path.len();
        let mut kept: Vec<&[u8]> = Vec::new();
        let mut moved: Vec<(Vec<u8>, Element<'_>)> = Vec::new();
        for element in document.elements() {
            let element = element?;
            extend(path, element.name);
            let name = self.renamed(path, element.name);
            path.truncate(length);
            match name {
                Some(name) => moved.push((name, element)),
                None => {
                    kept.push(element.name);
                    self.write(element.name, element, path, writer)?;
                }
            }
        }
        for (index, (name, element)) in moved.iter().enumerate() {
            if kept.contains(&&name[..]) || moved[..index].iter().any(|(other, _)| other == name) {
                return Err(Error::Clash);
            }
            self.write(name, *element, path, writer)?;
        }
        Ok(())
    }

    fn write(
        &self,
        name: &[u8],
        element: Element<'_>,
        path: &mut Vec<u8>,
        writer: &mut Writer,
    ) -> Result<(), Error> {
        let Some(inner) = element.as_document().filter(|_| element.kind == kind::DOCUMENT) else {
            writer.value(name, element.kind, element.value);
            return Ok(());
        };
        let length = path.len();
        extend(path, name);
        writer.begin_document(name);
        self.walk(inner, path, writer)?;
        writer.end();
        path.truncate(length);
        Ok(())
    }

    /// The new name of the field at `path`, if it gets another one.
    fn renamed(&self, path: &[u8], name: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Mapping(names) => names.get(path).filter(|new| **new != *name).cloned(),
            Self::Rules(rules) => {
                let mut new = None;
                for rule in rules.iter().filter(|rule| rule.path.is_match(path)) {
                    new = Some(rule.renamed(new.as_deref().unwrap_or(name)));
                }
                new.filter(|new| **new != *name)
            }
        }
    }
}

fn extend(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'.');
    }
    path.extend_from_slice(name);
}
