//! Where a document's `_id` comes from: the strategies.
//!
//! Pure, but for new ObjectIds and UUIDs that are not to be the same at a replay.

use sha2::{Digest, Sha256};

use super::{Parts, put};
use crate::{
    config::{Id, IdStrategy, UuidFormat},
    raw::{Document, Element, Error as RawError, Writer, kind},
    sink::decode,
};

/// Why an `_id` cannot be made. Never quotes contents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no key to make it from.
    #[error("the record has no key, and the _id is made from it")]
    NoKey,
    /// There is no value to make it from.
    #[error("the record has no value, and the _id is made from it")]
    NoValue,
    /// Nothing else says what the `_id` is.
    #[error("no _id in the document, and no key")]
    Nowhere,
    /// It is to be there, and is not.
    #[error("no _id in the {0}, or a null")]
    Missing(&'static str),
    /// It is no UUID.
    #[error("the _id in the {0} is no UUID")]
    NoUuid(&'static str),
    /// The key cannot be read.
    #[error(transparent)]
    Decode(#[from] decode::Error),
    /// Damaged bytes.
    #[error("the document is unreadable: {0}")]
    Malformed(#[from] RawError),
}

/// `document` with its `_id`: appended, or in the place of the one that goes. `None` where it has the right one already.
pub(super) fn add(document: Document<'_>, id: &Id, parts: &Parts<'_>) -> Result<Option<Vec<u8>>, Error> {
    let own = document.get("_id")?;
    if own.is_some_and(|own| own.kind == kind::NULL) && id.strategy == IdStrategy::ProvidedInValue {
        return Err(Error::Missing("value"));
    }
    if own.is_some() && (!id.overwrite || id.strategy == IdStrategy::Auto) {
        return Ok(None);
    }
    let made = make(id, parts)?;
    if id.strategy == IdStrategy::Auto {
        let bytes = document.as_bytes();
        let mut writer = Writer::new(Vec::with_capacity(bytes.len() + made.len()));
        writer.begin();
        writer.bytes_mut().extend_from_slice(&made[4..made.len() - 1]);
        writer.bytes_mut().extend_from_slice(&bytes[4..bytes.len() - 1]);
        writer.end();
        return Ok(Some(writer.into_bytes()));
    }
    Ok(Some(put(document, Document::new(&made).expect("just written"))?))
}

/// A document with the `_id` alone.
///
/// # Errors
/// When the record does not have what it is made from.
pub fn make(id: &Id, parts: &Parts<'_>) -> Result<Vec<u8>, Error> {
    let key = || parts.key()?.ok_or(Error::NoKey);
    let value = || parts.value().ok_or(Error::NoValue);
    let mut writer = Writer::default();
    writer.begin();
    match id.strategy {
        IdStrategy::Auto => {
            let key = parts.key()?.ok_or(Error::Nowhere)?;
            let own = key.get("_id")?.ok_or(Error::Missing("document or the key"))?;
            writer.value(b"_id", own.kind, own.value);
        }
        IdStrategy::ObjectId => writer.value(b"_id", kind::OBJECT_ID, &object_id(id, parts)),
        IdStrategy::FullKey => writer.document(b"_id", key()?),
        IdStrategy::ProvidedInKey => provided(key()?, "key", &mut writer)?,
        IdStrategy::ProvidedInValue => provided(value()?, "value", &mut writer)?,
        IdStrategy::PartialKey => part(id, key()?, &mut writer)?,
        IdStrategy::PartialValue => part(id, value()?, &mut writer)?,
        IdStrategy::KafkaMetadata => {
            let place = &parts.record().place;
            let text = format!("{}#{}#{}", place.partition.topic, place.partition.number, place.offset);
            writer.string(b"_id", text.as_bytes());
        }
        IdStrategy::Uuid => {
            let uuid = uuid(id, parts);
            match id.uuid_format {
                UuidFormat::String => writer.string(b"_id", uuid.to_string().as_bytes()),
                UuidFormat::Binary => write_uuid(uuid, &mut writer),
            }
        }
        IdStrategy::UuidInKey => provided_uuid(key()?, "key", &mut writer)?,
        IdStrategy::UuidInValue => provided_uuid(value()?, "value", &mut writer)?,
    }
    writer.end();
    Ok(writer.into_bytes())
}

fn provided_id<'a>(document: Document<'a>, name: &'static str) -> Result<Element<'a>, Error> {
    document.get("_id")?.filter(|own| own.kind != kind::NULL).ok_or(Error::Missing(name))
}

fn provided(document: Document<'_>, name: &'static str, writer: &mut Writer) -> Result<(), Error> {
    let own = provided_id(document, name)?;
    writer.value(b"_id", own.kind, own.value);
    Ok(())
}

fn part(id: &Id, document: Document<'_>, writer: &mut Writer) -> Result<(), Error> {
    let projection = id.part.as_ref().expect("the settings give a part its list");
    let part = projection.apply(document)?;
    writer.document(b"_id", Document::new(&part).expect("just written"));
    Ok(())
}

fn provided_uuid(document: Document<'_>, name: &'static str, writer: &mut Writer) -> Result<(), Error> {
    let own = provided_id(document, name)?;
    // Its length, and the subtype of a UUID, of today or of old.
    if own.kind == kind::BINARY && matches!(own.value, [16, 0, 0, 0, 3 | 4, ..]) {
        writer.value(b"_id", own.kind, own.value);
        return Ok(());
    }
    let text = own.as_str().filter(|text| own.kind == kind::STRING && matches!(text.len(), 32 | 36));
    let uuid = text.and_then(|text| bson::Uuid::parse_str(text).ok()).ok_or(Error::NoUuid(name))?;
    write_uuid(uuid, writer);
    Ok(())
}

fn write_uuid(uuid: bson::Uuid, writer: &mut Writer) {
    let mut value = vec![16, 0, 0, 0, 4];
    value.extend_from_slice(&uuid.bytes());
    writer.value(b"_id", kind::BINARY, &value);
}

/// An ObjectId that is new, or the place's.
pub(in crate::sink) fn object_id(id: &Id, parts: &Parts<'_>) -> [u8; 12] {
    if !id.is_stable {
        return bson::oid::ObjectId::new().bytes();
    }
    let mut bytes = [0; 12];
    bytes.copy_from_slice(&digest(parts)[..12]);
    bytes
}

/// A UUID that is new (version 4), or the place's (version 8, which leaves its making to us).
fn uuid(id: &Id, parts: &Parts<'_>) -> bson::Uuid {
    if !id.is_stable {
        return bson::Uuid::new();
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest(parts)[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bson::Uuid::from_bytes(bytes)
}

/// A hash of topic, partition and offset. A topic has no NUL.
fn digest(parts: &Parts<'_>) -> [u8; 32] {
    let place = &parts.record().place;
    let mut hash = Sha256::new();
    hash.update(place.partition.topic.as_bytes());
    hash.update([0]);
    hash.update(place.partition.number.to_be_bytes());
    hash.update(place.offset.to_be_bytes());
    hash.finalize().into()
}
