//! Conditions in the form of MongoDB's query language, evaluated on raw BSON as the server would. Pure.
//!
//! A path reaches into arrays: a condition holds where it holds for any element, and of an array at the path's end also
//! where it holds for the array as a whole; `$ne`, `$nin`, `$not` and `$nor` are the opposite of the whole. A number in
//! a path is a field's name or an array's index. A missing field equals null. Strings compare by their bytes, as they
//! do without a collation.
//!
//! Known difference: `$regex` takes the syntax of the `regex` crate, which has no look-around and no back-references;
//! such expressions are refused when they are read.

mod compare;
mod parse;

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use self::compare::compare;
pub(crate) use self::compare::equals;
use crate::{
    config::Invalid,
    raw::{Document, Element, Error, kind},
};

/// A condition on a document. Clones share it.
#[derive(Clone)]
pub struct Predicate {
    condition: Arc<Condition>,
}

impl fmt::Debug for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its values may be a user's data.
        f.write_str("Predicate")
    }
}

impl Predicate {
    /// Reads a query document in Extended JSON.
    ///
    /// # Errors
    /// When it is none, is empty, or uses what is not known here.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        parse::parse(text).map(|condition| Self { condition: Arc::new(condition) })
    }

    /// Whether the document meets it.
    ///
    /// # Errors
    /// When what was looked at is not BSON.
    pub fn matches(&self, document: Document<'_>) -> Result<bool, Error> {
        self.condition.holds(document)
    }
}

enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Field(Vec<Box<str>>, Test),
}

/// A test of a value, or of its absence.
enum Test {
    Equal(Value),
    Order(Order, Value),
    /// One of these holds.
    In(Vec<Test>),
    Exists,
    /// The value has one of these types.
    Type(Vec<u8>),
    Regex(regex::bytes::Regex),
}

#[derive(Clone, Copy)]
enum Order {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// A value of the query.
struct Value {
    kind: u8,
    bytes: Box<[u8]>,
}

impl Value {
    fn of(element: Element<'_>) -> Self {
        Self { kind: element.kind, bytes: element.value.into() }
    }

    fn element(&self) -> Element<'_> {
        Element { kind: self.kind, name: b"", value: &self.bytes }
    }
}

impl Condition {
    fn holds(&self, document: Document<'_>) -> Result<bool, Error> {
        match self {
            Self::All(conditions) => all(conditions, document),
            Self::Any(conditions) => {
                for condition in conditions {
                    if condition.holds(document)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Not(condition) => Ok(!condition.holds(document)?),
            Self::Field(path, test) => reach(document, path, test),
        }
    }
}

fn all(conditions: &[Condition], document: Document<'_>) -> Result<bool, Error> {
    for condition in conditions {
        if !condition.holds(document)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the test holds for anything at `path` in the document. The path is not empty, and bounds the recursion.
fn reach(document: Document<'_>, path: &[Box<str>], test: &Test) -> Result<bool, Error> {
    let Some((name, rest)) = path.split_first() else { return Ok(false) };
    match document.get(name)? {
        None => test.holds(None),
        Some(element) if rest.is_empty() => at_end(element, test),
        Some(element) => below(element, rest, test),
    }
}

fn below(element: Element<'_>, path: &[Box<str>], test: &Test) -> Result<bool, Error> {
    let Some(inner) = element.as_document() else { return test.holds(None) };
    if element.kind == kind::DOCUMENT {
        return reach(inner, path, test);
    }
    for item in inner.elements() {
        let item = item?;
        if let Some(document) = item.as_document().filter(|_| item.kind == kind::DOCUMENT)
            && reach(document, path, test)?
        {
            return Ok(true);
        }
    }
    let (index, rest) = (&path[0], &path[1..]);
    match inner.get(index)?.filter(|_| index.bytes().all(|byte| byte.is_ascii_digit())) {
        None => Ok(false),
        Some(item) if rest.is_empty() => at_end(item, test),
        Some(item) => below(item, rest, test),
    }
}

fn at_end(element: Element<'_>, test: &Test) -> Result<bool, Error> {
    if test.holds(Some(element))? {
        return Ok(true);
    }
    if element.kind == kind::ARRAY {
        for item in element.as_document().unwrap_or(Document::EMPTY).elements() {
            if test.holds(Some(item?))? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

impl Test {
    fn holds(&self, found: Option<Element<'_>>) -> Result<bool, Error> {
        match self {
            Self::In(tests) => {
                for test in tests {
                    if test.holds(found)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Equal(value) if value.kind == kind::NULL => Ok(is_nothing(found)),
            Self::Equal(value) => found.map_or(Ok(false), |found| equals(found, value.element())),
            Self::Order(order, value) if value.kind == kind::NULL => {
                Ok(matches!(order, Order::GreaterOrEqual | Order::LessOrEqual) && is_nothing(found))
            }
            Self::Order(order, value) => {
                let Some(found) = found else { return Ok(false) };
                let ordering = compare(found, value.element())?;
                Ok(ordering.is_some_and(|ordering| match order {
                    Order::Greater => ordering.is_gt(),
                    Order::GreaterOrEqual => ordering.is_ge(),
                    Order::Less => ordering.is_lt(),
                    Order::LessOrEqual => ordering.is_le(),
                }))
            }
            Self::Exists => Ok(found.is_some()),
            Self::Type(kinds) => Ok(found.is_some_and(|found| kinds.contains(&found.kind))),
            Self::Regex(regex) => Ok(found
                .filter(|found| matches!(found.kind, kind::STRING | kind::SYMBOL))
                .and_then(Element::as_text)
                .is_some_and(|text| regex.is_match(text))),
        }
    }
}

fn is_nothing(found: Option<Element<'_>>) -> bool {
    found.is_none_or(|found| matches!(found.kind, kind::NULL | kind::UNDEFINED))
}
