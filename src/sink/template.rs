//! Documents with placeholders: what a step sets, what finds a document, and what is done to it. Pure.
//!
//! A template is Extended JSON. A string that is exactly one placeholder becomes what it stands for, with its type:
//! `{value.a.b}`, `{key.a}`, `{value}`, `{key}`, `{topic}`, `{partition}`, `{offset}`, `{timestamp}`, `{timestamp_type}`,
//! `{headers.NAME}`. With a `?` before the brace a missing one leaves the member out; without, it refuses the record.
//! `"{{x}}"` is the text `{x}`.
//!
//! What comes from a record is data and never becomes a condition, an operator or an expression: each place in a
//! template says how a value is written there, and places in which no way of writing it is safe are refused when the
//! settings are read.

mod parse;

#[cfg(test)]
mod tests;

use super::{decode, shape::Parts};
use crate::raw::{Document, Element, Error as RawError, Writer, kind};

/// A document, or a pipeline's array, with placeholders.
#[derive(Clone, Debug)]
pub struct Template {
    root: Node,
}

/// What a template is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It finds a document.
    Filter,
    /// It changes one: operators, or a pipeline.
    Update,
    /// Its fields are set in a document.
    Set,
}

#[derive(Clone, Debug)]
enum Node {
    /// As it stands in BSON.
    Fixed(u8, Vec<u8>),
    Document(Vec<(Vec<u8>, Node)>),
    Array(Vec<Node>),
    Filled(Placeholder),
}

#[derive(Clone, Debug)]
struct Placeholder {
    what: What,
    is_optional: bool,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// All of it, or what is at a path.
    Key(Option<String>),
    Value(Option<String>),
    Topic,
    Partition,
    Offset,
    Timestamp,
    TimestampType,
    Header(String),
}

/// How a value is written where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// As it is: the server takes it for data.
    Plain,
    /// As it is, but it must be a document whose members are the fields.
    Fields,
    /// A field's condition: documents and regular expressions are compared.
    Condition,
    /// A list of values that are compared, or one of them: neither regular expressions nor operators.
    Listed,
    /// A value that is added to an array: no modifiers.
    Added,
    /// In an expression.
    Expression,
}

/// Why a template cannot be filled in. Never quotes contents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not there.
    #[error("the record has no {0}, which a template needs")]
    Missing(String),
    /// It is not what can stand there.
    #[error("{0} is {1}, which cannot stand where the template has it")]
    Unfit(String, &'static str),
    /// The key cannot be read.
    #[error(transparent)]
    Decode(#[from] decode::Error),
    /// Damaged bytes.
    #[error("the document is unreadable: {0}")]
    Malformed(#[from] RawError),
}

impl Template {
    /// Whether it is the array of a pipeline's stages.
    pub fn is_pipeline(&self) -> bool {
        matches!(self.root, Node::Array(_))
    }

    /// The names of its members, where no record decides about them.
    pub fn names(&self) -> Option<Vec<&[u8]>> {
        match &self.root {
            Node::Document(members) => Some(members.iter().map(|(name, _)| &name[..]).collect()),
            Node::Fixed(..) | Node::Array(_) | Node::Filled(_) => None,
        }
    }

    /// The document, or the array, for a record.
    ///
    /// # Errors
    /// When something is missing, or is not what can stand there.
    pub fn render(&self, parts: &Parts<'_>) -> Result<Vec<u8>, Error> {
        let mut writer = Writer::default();
        writer.begin();
        self.root.write_members(parts, &mut writer)?;
        writer.end();
        Ok(writer.into_bytes())
    }
}

impl Node {
    fn write_members(&self, parts: &Parts<'_>, writer: &mut Writer) -> Result<(), Error> {
        match self {
            Self::Document(members) => {
                members.iter().try_for_each(|(name, node)| node.write(name, parts, writer).map(|_| ()))
            }
            Self::Array(items) => {
                let mut at = 0_usize;
                for item in items {
                    let name = itoa::Buffer::new().format(at).to_owned();
                    at += usize::from(item.write(name.as_bytes(), parts, writer)?);
                }
                Ok(())
            }
            Self::Fixed(..) | Self::Filled(_) => Ok(()),
        }
    }

    /// Whether there is something to write.
    fn write(&self, name: &[u8], parts: &Parts<'_>, writer: &mut Writer) -> Result<bool, Error> {
        match self {
            Self::Fixed(kind, value) => writer.value(name, *kind, value),
            Self::Filled(placeholder) => return placeholder.write(name, parts, writer),
            Self::Document(_) => {
                writer.begin_document(name);
                self.write_members(parts, writer)?;
                writer.end();
            }
            Self::Array(_) => {
                writer.begin_array(name);
                self.write_members(parts, writer)?;
                writer.end();
            }
        }
        Ok(true)
    }
}

/// What a placeholder stands for.
enum Found<'a> {
    Nothing,
    Element(u8, &'a [u8]),
    Text(&'a [u8]),
    Made(u8, Vec<u8>),
}

impl Placeholder {
    fn write(&self, name: &[u8], parts: &Parts<'_>, writer: &mut Writer) -> Result<bool, Error> {
        match self.what.look_up(parts)? {
            Found::Nothing if self.is_optional => return Ok(false),
            Found::Nothing => return Err(Error::Missing(self.what.name())),
            Found::Element(kind, value) => self.place.write(name, kind, value, writer),
            Found::Made(kind, value) => self.place.write(name, kind, &value, writer),
            Found::Text(text) => {
                let mut value = (text.len() as i32 + 1).to_le_bytes().to_vec();
                value.extend_from_slice(text);
                value.push(0);
                self.place.write(name, kind::STRING, &value, writer)
            }
        }
        .map_err(|unfit| Error::Unfit(self.what.name(), unfit))?;
        Ok(true)
    }
}

impl What {
    fn look_up<'a>(&self, parts: &'a Parts<'_>) -> Result<Found<'a>, Error> {
        let record = parts.record();
        Ok(match self {
            Self::Key(path) => in_document(parts.key()?, path.as_deref())?,
            Self::Value(path) => in_document(parts.value(), path.as_deref())?,
            Self::Topic => Found::Text(record.place.partition.topic.as_bytes()),
            Self::Partition => Found::Made(kind::INT32, record.place.partition.number.to_le_bytes().to_vec()),
            Self::Offset => Found::Made(kind::INT64, record.place.offset.to_le_bytes().to_vec()),
            Self::Timestamp => match record.timestamp.millis() {
                None => Found::Nothing,
                Some(millis) => Found::Made(kind::DATE_TIME, millis.to_le_bytes().to_vec()),
            },
            Self::TimestampType => Found::Text(record.timestamp.name().as_bytes()),
            Self::Header(name) => match record.headers.iter().rev().find(|header| header.name == *name) {
                None => Found::Nothing,
                Some(header) => match header.value.as_deref() {
                    None => Found::Made(kind::NULL, Vec::new()),
                    Some(bytes) if std::str::from_utf8(bytes).is_ok() => Found::Text(bytes),
                    Some(bytes) => Found::Made(kind::BINARY, binary(bytes)),
                },
            },
        })
    }

    fn name(&self) -> String {
        let with = |root: &str, path: &Option<String>| match path {
            None => root.to_owned(),
            Some(path) => format!("{root}.{path}"),
        };
        match self {
            Self::Key(path) => with("key", path),
            Self::Value(path) => with("value", path),
            Self::Topic => "topic".into(),
            Self::Partition => "partition".into(),
            Self::Offset => "offset".into(),
            Self::Timestamp => "timestamp".into(),
            Self::TimestampType => "timestamp_type".into(),
            Self::Header(name) => format!("headers.{name}"),
        }
    }
}

fn in_document<'a>(document: Option<Document<'a>>, path: Option<&str>) -> Result<Found<'a>, RawError> {
    let Some(document) = document else { return Ok(Found::Nothing) };
    let Some(path) = path else { return Ok(Found::Element(kind::DOCUMENT, document.as_bytes())) };
    Ok(document.find(path)?.map_or(Found::Nothing, |found| Found::Element(found.kind, found.value)))
}

fn binary(bytes: &[u8]) -> Vec<u8> {
    let mut value = (bytes.len() as i32).to_le_bytes().to_vec();
    value.push(0);
    value.extend_from_slice(bytes);
    value
}

impl Place {
    /// Writes a value, or says what it is that cannot stand here.
    fn write(self, name: &[u8], kind: u8, value: &[u8], writer: &mut Writer) -> Result<(), &'static str> {
        match self {
            Self::Condition => {
                writer.equal(name, kind, value);
                return Ok(());
            }
            Self::Expression => {
                writer.begin_document(name);
                writer.value(b"$literal", kind, value);
                writer.end();
                return Ok(());
            }
            Self::Fields if kind != kind::DOCUMENT => return Err("no document"),
            Self::Listed => refuse_listed(Element { kind, name, value }, true)?,
            Self::Added if (Element { kind, name, value }).looks_like_operators() => {
                return Err("a document with the name of an operator in front");
            }
            Self::Plain | Self::Fields | Self::Added => {}
        }
        writer.value(name, kind, value);
        Ok(())
    }
}

fn refuse_listed(element: Element<'_>, may_be_list: bool) -> Result<(), &'static str> {
    match element.kind {
        kind::REGEX => Err("a regular expression, or has one"),
        kind::DOCUMENT if element.looks_like_operators() => {
            Err("a document with the name of an operator in front, or has one")
        }
        kind::ARRAY if may_be_list => {
            let items = element.as_document().unwrap_or(Document::EMPTY).elements().flatten();
            items.into_iter().try_for_each(|item| refuse_listed(item, false))
        }
        _ => Ok(()),
    }
}
