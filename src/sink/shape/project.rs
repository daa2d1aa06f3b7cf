//! Which fields of a document stay: lists that allow or block. Pure.
//!
//! A pattern is a dotted path that reaches through arrays into the documents in them (not into arrays of arrays). `*` is
//! any name, `**` at the end everything from there on, `abc*` at the end every name that begins so, with all below it.
//! Allowing a path allows the documents on its way, and of the last document only what is allowed in it.
//! In a list that blocks, `*` takes whatever is no document, and goes on into the documents.

use super::{each_document, rewritten};
use crate::{
    config::Invalid,
    raw::{Document, Error as RawError, Writer, kind},
};

/// A list of fields that stay, or go.
#[derive(Clone, Debug)]
pub struct Projection {
    is_allow: bool,
    patterns: Vec<Pattern>,
}

/// A path with wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Name(Box<[u8]>),
    /// `*`
    Any,
    /// `abc*`, always last.
    Prefix(Box<[u8]>),
    /// `**`, always last.
    Everything,
}

impl Pattern {
    /// Reads `home.zip`, `home.*`, `home.**` or `ho*`.
    ///
    /// # Errors
    /// When a name is empty or a wildcard stands where it means nothing.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let names: Vec<&str> = text.split('.').collect();
        let last = names.len() - 1;
        let part = |(index, name): (usize, &&str)| match *name {
            "" => Err("has an empty name; write names with one dot between them, like \"address.city\""),
            name if name.contains('\0') => Err("has a name with NUL in it"),
            "*" => Ok(Part::Any),
            "**" if index == last => Ok(Part::Everything),
            "**" => Err("goes on after **, which is everything from there on already"),
            name => match name.strip_suffix('*') {
                Some(prefix) if index == last && !prefix.ends_with('*') => {
                    Ok(Part::Prefix(prefix.as_bytes().into()))
                }
                Some(_) => Err("has a * inside of a path's name; it may only end the last one"),
                None => Ok(Part::Name(name.as_bytes().into())),
            },
        };
        let parts = names.iter().enumerate().map(part).collect::<Result<_, _>>();
        Ok(Self { parts: parts.map_err(|problem: &str| Invalid(problem.into()))? })
    }

    /// What an allowed path makes of what is at `path`.
    fn judge(&self, path: &[u8]) -> Stay {
        let mut parts = self.parts.iter();
        for name in path.split(|byte| *byte == b'.') {
            match parts.next() {
                Some(Part::Any) => {}
                Some(Part::Name(own)) if **own == *name => {}
                None | Some(Part::Name(_)) => return Stay::Gone,
                Some(Part::Prefix(prefix)) if name.starts_with(prefix) => return Stay::Whole,
                Some(Part::Prefix(_)) => return Stay::Gone,
                Some(Part::Everything) => return Stay::Whole,
            }
        }
        if parts.next() == Some(&Part::Everything) { Stay::Whole } else { Stay::Walked }
    }
}

/// What stays of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stay {
    /// Nothing.
    Gone,
    /// The field; of the documents in it, what is allowed there.
    Walked,
    /// All of it.
    Whole,
}

impl Projection {
    /// Only what these find stays.
    pub fn allow(patterns: Vec<Pattern>) -> Self {
        Self { is_allow: true, patterns }
    }

    /// What these find goes.
    pub fn block(patterns: Vec<Pattern>) -> Self {
        Self { is_allow: false, patterns }
    }

    /// What stays of `document`.
    ///
    /// # Errors
    /// When its bytes are damaged.
    pub fn apply(&self, document: Document<'_>) -> Result<Vec<u8>, RawError> {
        if !self.is_allow {
            let active: Vec<&[Part]> = self.patterns.iter().map(|pattern| &pattern.parts[..]).collect();
            return rewritten(document, |writer| block(&active, document, writer));
        }
        rewritten(document, |writer| self.allowed(document, &mut Vec::new(), writer))
    }

    fn allowed(
        &self,
        document: Document<'_>,
        path: &mut Vec<u8>,
        writer: &mut Writer,
    ) -> Result<(), RawError> {
        let length = path.len();
        for element in document.elements() {
            let element = element?;
            if length > 0 {
                path.push(b'.');
            }
            path.extend_from_slice(element.name);
            let stay = self.patterns.iter().map(|pattern| pattern.judge(path)).max().unwrap_or(Stay::Gone);
            match stay {
                Stay::Gone => {}
                Stay::Whole => writer.value(element.name, element.kind, element.value),
                Stay::Walked => {
                    each_document(element, writer, &mut |inner, writer| self.allowed(inner, path, writer))?;
                }
            }
            path.truncate(length);
        }
        Ok(())
    }
}

/// `active`: what is left of the patterns that lead here.
fn block(active: &[&[Part]], document: Document<'_>, writer: &mut Writer) -> Result<(), RawError> {
    for element in document.elements() {
        let element = element?;
        let mut goes = false;
        let mut inner = Vec::new();
        for (part, rest) in active.iter().filter_map(|parts| parts.split_first()) {
            match part {
                Part::Everything => goes = true,
                Part::Prefix(prefix) => goes |= element.name.starts_with(prefix),
                Part::Any if element.kind != kind::DOCUMENT => goes = true,
                Part::Name(name) if **name != *element.name => {}
                Part::Name(_) if rest.is_empty() => goes = true,
                Part::Any | Part::Name(_) => inner.extend((!rest.is_empty()).then_some(rest)),
            }
        }
        if goes {
            continue;
        }
        if inner.is_empty() {
            writer.value(element.name, element.kind, element.value);
        } else {
            each_document(element, writer, &mut |document, writer| block(&inner, document, writer))?;
        }
    }
    Ok(())
}
