//! A document's steps into shape. Pure.
//!
//! Raw BSON in, raw BSON out: each step walks what it can touch and copies the rest. Everything a step needs is made
//! when the settings are read. What a step cannot do without losing a value is an [`Error`], and never quotes contents.

pub mod date;
pub mod id;
pub mod project;
pub mod rename;

use super::{body::Body, decode, decode::Input, record::Record, template};
use crate::{
    config::{self, Side, Step, StepAction},
    raw::{Document, Element, Error as RawError, Writer, kind},
};

/// A record's key and value as the steps leave them.
#[derive(Debug)]
pub struct Parts<'a> {
    input: &'a Input<'a>,
    /// What became of the key, where a step changed it.
    key: Option<Vec<u8>>,
    /// The value; none is a tombstone.
    value: Option<Body>,
}

/// Why a document cannot be put into shape. Never quotes contents.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A rename would lose a value.
    #[error("a rename would give two fields of one document the same name, and one value would be lost")]
    Clash,
    /// The `_id` cannot be made.
    #[error(transparent)]
    Id(#[from] id::Error),
    /// A template cannot be filled in.
    #[error(transparent)]
    Template(#[from] template::Error),
    /// The key cannot be read.
    #[error(transparent)]
    Decode(#[from] decode::Error),
    /// Damaged bytes.
    #[error("the document is unreadable: {0}")]
    Malformed(#[from] RawError),
}

impl<'a> Parts<'a> {
    /// What a record has, before any step.
    pub fn new(input: &'a Input<'a>, value: Option<Body>) -> Self {
        Self { input, key: None, value }
    }

    /// The record itself.
    pub fn record(&self) -> &Record {
        self.input.record
    }

    /// The value's document.
    pub fn value(&self) -> Option<Document<'_>> {
        self.value.as_ref().map(Body::document)
    }

    /// The key's document, read only now.
    ///
    /// # Errors
    /// When the key is no document.
    pub fn key(&self) -> Result<Option<Document<'_>>, decode::Error> {
        match &self.key {
            Some(bytes) => Ok(Some(Document::new(bytes).expect("a step wrote this document"))),
            None => self.input.key(),
        }
    }

    /// The value.
    pub fn into_value(self) -> Option<Body> {
        self.value
    }

    /// Takes the steps in order. A side that is not there stays away.
    ///
    /// # Errors
    /// When a step cannot be taken.
    pub fn take(&mut self, steps: &[Step], id: &config::Id) -> Result<(), Error> {
        for step in steps {
            match step.on {
                Side::Value => {
                    let Some(value) = self.value() else { continue };
                    let shaped = self.step(&step.action, value, id)?;
                    self.value = shaped.map(Body::whole).or(self.value.take());
                }
                Side::Key => {
                    let Some(key) = self.key()? else { continue };
                    let shaped = self.step(&step.action, key, id)?;
                    self.key = shaped.or(self.key.take());
                }
            }
        }
        Ok(())
    }

    /// Sets the value's `_id`, unless it has one that stays.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn add_id(&mut self, id: &config::Id) -> Result<(), Error> {
        let Some(value) = self.value() else { return Ok(()) };
        let shaped = self.step(&StepAction::AddId, value, id)?;
        self.value = shaped.map(Body::whole).or(self.value.take());
        Ok(())
    }

    /// What becomes of `document`; `None` where it stays as it is.
    fn step(
        &self,
        action: &StepAction,
        document: Document<'_>,
        id: &config::Id,
    ) -> Result<Option<Vec<u8>>, Error> {
        Ok(match action {
            StepAction::Project(projection) => Some(projection.apply(document)?),
            StepAction::Rename(renaming) => Some(renaming.apply(document)?),
            StepAction::RemoveNulls => Some(without_nulls(document)?),
            StepAction::AddMetadata => {
                let members = metadata(self.record());
                Some(put(document, Document::new(&members).expect("just written"))?)
            }
            StepAction::AddId => id::add(document, id, self)?,
            StepAction::Set(template) => {
                let members = template.render(self)?;
                Some(put(document, Document::new(&members).expect("just written"))?)
            }
        })
    }
}

/// Copies an element, and has `walk` write each document that it is or has in it as an array.
fn each_document(
    element: Element<'_>,
    writer: &mut Writer,
    walk: &mut dyn FnMut(Document<'_>, &mut Writer) -> Result<(), RawError>,
) -> Result<(), RawError> {
    let Some(inner) = element.as_document() else {
        writer.value(element.name, element.kind, element.value);
        return Ok(());
    };
    if element.kind == kind::DOCUMENT {
        writer.begin_document(element.name);
        walk(inner, writer)?;
        writer.end();
        return Ok(());
    }
    writer.begin_array(element.name);
    for item in inner.elements() {
        let item = item?;
        match item.as_document().filter(|_| item.kind == kind::DOCUMENT) {
            None => writer.value(item.name, item.kind, item.value),
            Some(document) => {
                writer.begin_document(item.name);
                walk(document, writer)?;
                writer.end();
            }
        }
    }
    writer.end();
    Ok(())
}

/// `document` rewritten by `walk`, which writes the elements.
fn rewritten<E>(
    document: Document<'_>,
    walk: impl FnOnce(&mut Writer) -> Result<(), E>,
) -> Result<Vec<u8>, E> {
    let mut writer = Writer::new(Vec::with_capacity(document.as_bytes().len() + 64));
    writer.begin();
    walk(&mut writer)?;
    writer.end();
    Ok(writer.into_bytes())
}

/// Without fields that are null, at every depth; nulls that are elements of arrays stay, since the others would move.
///
/// # Errors
/// When its bytes are damaged.
pub(super) fn without_nulls(document: Document<'_>) -> Result<Vec<u8>, RawError> {
    rewritten(document, |writer| write_without_nulls(document, writer))
}

/// Writes the members that [`without_nulls`] leaves.
///
/// # Errors
/// When the document's bytes are damaged.
pub(super) fn write_without_nulls(document: Document<'_>, writer: &mut Writer) -> Result<(), RawError> {
    for element in document.elements() {
        let element = element?;
        if element.kind != kind::NULL {
            each_document(element, writer, &mut write_without_nulls)?;
        }
    }
    Ok(())
}

/// `document` with these fields: in the place of those of the same name, or at the end.
///
/// # Errors
/// When its bytes are damaged.
pub fn put(document: Document<'_>, members: Document<'_>) -> Result<Vec<u8>, RawError> {
    let members: Vec<Element<'_>> = members.elements().collect::<Result<_, _>>()?;
    let mut written = vec![false; members.len()];
    rewritten(document, |writer| {
        for element in document.elements() {
            let element = element?;
            let found = members.iter().position(|member| member.name == element.name);
            let element = match found {
                None => element,
                // A second field of that name would come back as the first.
                Some(index) if written[index] => continue,
                Some(index) => {
                    written[index] = true;
                    members[index]
                }
            };
            writer.value(element.name, element.kind, element.value);
        }
        for (member, _) in members.iter().zip(&written).filter(|(_, written)| !**written) {
            writer.value(member.name, member.kind, member.value);
        }
        Ok(())
    })
}

/// The record's place, and its timestamp where there is one.
fn metadata(record: &Record) -> Vec<u8> {
    let place = &record.place;
    let text = format!("{}-{}-{}", place.partition.topic, place.partition.number, place.offset);
    let mut writer = Writer::default();
    writer.begin();
    writer.string(b"topic-partition-offset", text.as_bytes());
    if let Some(millis) = record.timestamp.millis() {
        writer.int64(record.timestamp.name().as_bytes(), millis);
    }
    writer.end();
    writer.into_bytes()
}

#[cfg(test)]
mod tests;
