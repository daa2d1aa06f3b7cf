//! What is changed in the stream on its way: fields left out, masked, renamed or set, events dropped. Pure.
//!
//! Raw BSON in, raw BSON out. The rules of one namespace are merged into one program when the namespace is first met;
//! after that an event costs one walk over the parts that a rule can reach, and is appended to the caller's buffer.
//! What no rule names keeps its bytes and its place. A whole change event is transformed as one: the images, the
//! parts of `updateDescription` and `documentKey` agree, and nothing that is masked or left out shows in any of them.
//!
//! `docs/transformations.md` says what each operation does to each part, with examples that are run as tests.
//! Malformed input is an error, never a panic.

mod delta;
mod mask;
mod path;
mod predicate;
mod program;
mod walk;

#[cfg(test)]
mod example_tests;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

pub(crate) use self::predicate::equals;
use self::{mask::Hasher, program::Program};
pub use self::{
    mask::REDACTED,
    path::{Constants, Path, Rename},
    predicate::Predicate,
};
use crate::{
    config::Secret,
    namespace::Patterns,
    raw::{self, Document, kind},
};

/// One rule as the configuration has it, resolved. Every path names a field as it is called before any renaming.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where it applies.
    pub namespaces: Patterns,
    /// Events that match are dropped.
    pub drop: Option<Predicate>,
    /// Only these fields (and `_id`) stay; empty for all.
    pub include: Vec<Path>,
    /// Fields that go; of [`Path::parse_exclusion`].
    pub exclude: Vec<Path>,
    /// Values that become [`REDACTED`].
    pub redact: Vec<Path>,
    /// Values that become keyed hashes.
    pub hash: Option<Hash>,
    /// Fields that get another last name.
    pub rename: Vec<Rename>,
    /// Fields with the same value in every document.
    pub set: Option<Constants>,
}

impl Rule {
    /// A rule that does nothing in these namespaces.
    pub fn new(namespaces: Patterns) -> Self {
        Self {
            namespaces,
            drop: None,
            include: Vec::new(),
            exclude: Vec::new(),
            redact: Vec::new(),
            hash: None,
            rename: Vec::new(),
            set: None,
        }
    }

    /// Whether documents keep their `_id` no longer as it was.
    pub fn masks_id(&self) -> bool {
        let hashed = self.hash.iter().flat_map(|hash| &hash.paths);
        self.redact.iter().chain(hashed).any(Path::is_in_id)
    }

    fn is_empty(&self) -> bool {
        self.drop.is_none()
            && self.include.is_empty()
            && self.exclude.is_empty()
            && self.redact.is_empty()
            && self.hash.as_ref().is_none_or(|hash| hash.paths.is_empty())
            && self.rename.is_empty()
            && self.set.is_none()
    }
}

/// Values that become `hex(HMAC-SHA-256(key, type byte + value bytes))`.
#[derive(Clone, Debug)]
pub struct Hash {
    /// The key.
    pub key: Secret,
    /// The values' places.
    pub paths: Vec<Path>,
}

/// Every rule of a source or sink.
#[derive(Clone, Debug)]
pub struct Transform {
    rules: Vec<Prepared>,
}

/// A rule and what is made of its key.
#[derive(Clone, Debug)]
struct Prepared {
    rule: Rule,
    hasher: Option<Hasher>,
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was appended to the buffer.
    Keep,
    /// It is to be dropped; the buffer is as it was.
    Drop,
}

impl Transform {
    /// Takes the rules in the configuration's order.
    pub fn compile(rules: Vec<Rule>) -> Self {
        let prepared = |rule: Rule| {
            let hasher = rule.hash.as_ref().map(|hash| Hasher::new(&hash.key));
            Prepared { rule, hasher }
        };
        Self { rules: rules.into_iter().filter(|rule| !rule.is_empty()).map(prepared).collect() }
    }

    /// Whether no event is ever changed.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules of one namespace, merged; `None` where none applies and events pass as they are. To be asked once
    /// per namespace and kept. An event of a whole database has the collection "".
    pub fn for_namespace(&self, db: &str, coll: &str) -> Option<Compiled> {
        let rules: Vec<_> =
            self.rules.iter().filter(|prepared| prepared.rule.namespaces.matches(db, coll)).collect();
        if rules.is_empty() {
            return None;
        }
        let drops = rules.iter().filter_map(|prepared| prepared.rule.drop.clone()).collect();
        Some(Compiled { parts: Arc::new(Parts { drops, program: Program::compile(&rules) }) })
    }
}

/// The rules of one namespace. Clones share them.
#[derive(Clone)]
pub struct Compiled {
    parts: Arc<Parts>,
}

struct Parts {
    /// An event is dropped where any matches.
    drops: Vec<Predicate>,
    /// `None` where nothing is changed in the events that stay.
    program: Option<Program>,
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled").field("drops", &self.parts.drops).finish_non_exhaustive()
    }
}

impl Compiled {
    /// Appends a whole change event to `out`, or says that it is to be dropped. The predicates see it as it came.
    ///
    /// # Errors
    /// When the event is malformed or nested too deep; `out` is then as it was.
    pub fn event(&self, event: Document<'_>, out: &mut Vec<u8>) -> Result<Verdict, raw::Error> {
        self.run(event, out, Program::event)
    }

    /// Appends a document that is not part of an event. The predicates see the document itself.
    ///
    /// # Errors
    /// When the document is malformed or nested too deep; `out` is then as it was.
    pub fn document(&self, document: Document<'_>, out: &mut Vec<u8>) -> Result<Verdict, raw::Error> {
        self.run(document, out, Program::image)
    }

    fn run(&self, input: Document<'_>, out: &mut Vec<u8>, write: Write) -> Result<Verdict, raw::Error> {
        for drop in &self.parts.drops {
            if drop.matches(input)? {
                return Ok(Verdict::Drop);
            }
        }
        let Some(program) = &self.parts.program else {
            out.extend_from_slice(input.as_bytes());
            return Ok(Verdict::Keep);
        };
        let start = out.len();
        match write(program, input, out) {
            Ok(()) => Ok(Verdict::Keep),
            Err(error) => {
                out.truncate(start);
                Err(error)
            }
        }
    }
}

type Write = fn(&Program, Document<'_>, &mut Vec<u8>) -> Result<(), raw::Error>;

impl Program {
    fn event(&self, event: Document<'_>, out: &mut Vec<u8>) -> Result<(), raw::Error> {
        let start = walk::begin(out);
        for element in event.elements() {
            let element = element?;
            let Some(member) = element.as_document().filter(|_| element.kind == kind::DOCUMENT) else {
                walk::copy(element, out);
                continue;
            };
            match element.name {
                b"fullDocument" | b"fullDocumentBeforeChange" => {
                    walk::head(kind::DOCUMENT, element.name, out);
                    self.image(member, out)?;
                }
                b"documentKey" => {
                    walk::head(kind::DOCUMENT, element.name, out);
                    self.document_key(member, out)?;
                }
                b"updateDescription" => {
                    walk::head(kind::DOCUMENT, element.name, out);
                    self.update_description(member, out)?;
                }
                _ => walk::copy(element, out),
            }
        }
        walk::end(start, out)
    }
}
