//! What cannot be sent, as a record of the dead letter topic. Pure.
//!
//! The value is as much of the event as can be written and fits: the whole as relaxed JSON, the whole as raw BSON,
//! without its images, without what an update changed. Headers say why it is here and where it was going, in our own
//! names and in Kafka Connect's, which existing tools read.

use std::ffi::CStr;

use super::{
    decode::Change,
    encode::{self, Buffers, NAMESPACE},
    publish::{Record, batch_bytes_of},
    stages::without_members,
};
use crate::{
    config::{ErrorPolicy, Errors, LargeEvent},
    json,
    raw::Document,
};

const REASON: &CStr = c"millrace.error.reason";
const MESSAGE: &CStr = c"millrace.error.message";
/// How the event is written, and how much of it: one of [`FORMS`].
const FORM: &CStr = c"millrace.error.value";
const CONNECT_TOPIC: &CStr = c"__connect.errors.topic";
const CONNECT_MESSAGE: &CStr = c"__connect.errors.exception.message";
const CONNECT_CLASS: &CStr = c"__connect.errors.exception.class.name";

/// Why an event could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The format cannot hold it.
    Encoding,
    /// Its record is over the topic's limit.
    RecordTooLarge,
    /// It lacks an image that it must have.
    MissingImage,
    /// The server could not send it whole.
    EventTooLarge,
}

impl Reason {
    /// All, in the order of [`Reason::index`].
    pub const ALL: [Self; 4] =
        [Self::Encoding, Self::RecordTooLarge, Self::MissingImage, Self::EventTooLarge];

    /// As headers, metrics and log lines have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Encoding => "encoding",
            Self::RecordTooLarge => "record_too_large",
            Self::MissingImage => "missing_image",
            Self::EventTooLarge => "event_too_large",
        }
    }

    /// Its place in [`Reason::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// What the settings say to do.
    pub fn policy(self, errors: &Errors) -> ErrorPolicy {
        match self {
            Self::Encoding => errors.encoding,
            Self::RecordTooLarge => errors.record_too_large,
            Self::MissingImage => errors.missing_image,
            // What can be reduced does not come here.
            Self::EventTooLarge => match errors.event_too_large {
                LargeEvent::Fail | LargeEvent::Reduce => ErrorPolicy::Fail,
                LargeEvent::DeadLetter => ErrorPolicy::DeadLetter,
                LargeEvent::Skip => ErrorPolicy::Skip,
            },
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Encoding => "millrace.EncodingError",
            Self::RecordTooLarge => "millrace.RecordTooLargeError",
            Self::MissingImage => "millrace.MissingImageError",
            Self::EventTooLarge => "millrace.EventTooLargeError",
        }
    }
}

/// What a dead letter says besides the event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Letter<'a> {
    pub(super) reason: Reason,
    pub(super) message: &'a str,
    pub(super) namespace: &'a str,
    /// Where the event was going.
    pub(super) topic: &'a str,
    /// What the dead letter topic takes.
    pub(super) most: Most,
}

/// What a topic takes of a single record.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Most {
    /// Bytes of a batch, where records are not compressed.
    pub(super) batch: Option<usize>,
    /// A record with this many bytes of key and value was refused.
    pub(super) refused: Option<usize>,
}

impl Most {
    /// Whether `record` may be taken.
    pub(super) fn takes(self, record: &Record<'_>) -> bool {
        self.batch.is_none_or(|most| batch_bytes_of(record) <= most)
            && self.refused.is_none_or(|refused| record.bytes() < refused)
    }
}

/// How much of an event a dead letter has, and how it is written.
const FORMS: &[(&str, bool, &[&[u8]])] = &[
    ("json", true, &[]),
    ("bson", false, &[]),
    ("json without images", true, IMAGES),
    ("bson without images", false, IMAGES),
    ("json without images and update", true, IMAGES_AND_UPDATE),
    ("bson without images and update", false, IMAGES_AND_UPDATE),
];
const IMAGES: &[&[u8]] = &[b"fullDocument", b"fullDocumentBeforeChange"];
const IMAGES_AND_UPDATE: &[&[u8]] = &[b"fullDocument", b"fullDocumentBeforeChange", b"updateDescription"];

/// Writes the dead letter of `change` into `buffers`.
///
/// # Errors
/// When nothing of it fits: its key alone is too large.
pub(super) fn write(
    change: &Change<'_>,
    letter: &Letter<'_>,
    buffers: &mut Buffers,
) -> Result<(), encode::Error> {
    write_key(change, &mut buffers.key)?;
    buffers.timestamp = change.time.map(|time| i64::from(time.seconds) * 1000);
    for (form, is_json, without) in FORMS {
        write_headers(change, letter, form, buffers);
        buffers.value.clear();
        // What is not sound can only be kept as it is.
        let Ok(event) = without_members(change.event, without, &mut buffers.event) else { continue };
        if !is_json {
            buffers.value.extend_from_slice(event.as_bytes());
        } else if write_relaxed(event, &mut buffers.value).is_err() {
            continue;
        }
        if letter.most.takes(&buffers.record(Some(&buffers.value), None)) {
            return Ok(());
        }
    }
    Err(encode::Error::TooLarge)
}

fn write_relaxed(document: Document<'_>, out: &mut Vec<u8>) -> Result<(), json::WriteError> {
    json::write_document(document, json::Style::Relaxed, out)
}

/// The document's key, or else the token.
fn write_key(change: &Change<'_>, out: &mut Vec<u8>) -> Result<(), encode::Error> {
    out.clear();
    if let Some(key) = change.document_key {
        if write_relaxed(key, out).is_err() {
            out.extend_from_slice(key.as_bytes());
        }
        return Ok(());
    }
    out.extend_from_slice(b"{\"_id\": ");
    write_relaxed(change.token, out)?;
    out.push(b'}');
    Ok(())
}

fn write_headers(change: &Change<'_>, letter: &Letter<'_>, form: &str, buffers: &mut Buffers) {
    let headers = &mut buffers.headers;
    headers.clear();
    for (name, value) in [
        (REASON, letter.reason.name()),
        (MESSAGE, letter.message),
        (FORM, form),
        (NAMESPACE, letter.namespace),
        (CONNECT_TOPIC, letter.topic),
        (CONNECT_MESSAGE, letter.message),
        (CONNECT_CLASS, letter.reason.class()),
    ] {
        headers.add(name, |out| out.extend_from_slice(value.as_bytes()));
    }
    encode::add_time(change, headers);
    // A token that is not sound is in the value.
    let _no_order_then = encode::add_order(change, headers);
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, doc};

    use super::*;
    use crate::source::decode;

    fn letter(most: Option<usize>) -> Letter<'static> {
        Letter {
            reason: Reason::RecordTooLarge,
            message: "too large",
            namespace: "d.c",
            topic: "d.c",
            most: Most { batch: most, refused: None },
        }
    }

    fn event() -> Vec<u8> {
        let event = doc! {
            "_id": {"_data": "82A0"}, "operationType": "update", "clusterTime": bson::Timestamp { time: 7, increment: 2 },
            "ns": {"db": "d", "coll": "c"}, "documentKey": {"_id": 5_i64},
            "updateDescription": {"updatedFields": {"a": "u".repeat(1_000)}},
            "fullDocument": {"_id": 5_i64, "a": "f".repeat(10_000), "n": (vec![1_i64; 100])},
        };
        RawDocumentBuf::try_from(&event).expect("encodes").into_bytes()
    }

    #[test]
    fn as_much_of_an_event_is_kept_as_fits() {
        let bytes = event();
        let change = decode::decode(Document::new(&bytes).expect("a document")).expect("an event");
        for (most, expected) in [
            (None, "json"),
            (Some(20_000), "json"),
            (Some(11_900), "json without images"),
            (Some(1_500), "json without images and update"),
        ] {
            let mut buffers = Buffers::default();
            write(&change, &letter(most), &mut buffers).expect("fits");
            let form = buffers.headers.iter().find(|(name, _)| *name == FORM).map(|(_, form)| form.to_vec());
            assert_eq!(form.as_deref(), Some(expected.as_bytes()), "{most:?}");
            assert_eq!(buffers.key, br#"{"_id": 5}"#);
        }
        assert!(write(&change, &letter(Some(100)), &mut Buffers::default()).is_err());
    }

    #[test]
    fn headers_say_why_and_where_in_both_vocabularies() {
        let bytes = event();
        let change = decode::decode(Document::new(&bytes).expect("a document")).expect("an event");
        let mut buffers = Buffers::default();
        write(&change, &letter(None), &mut buffers).expect("fits");
        let headers: Vec<String> = buffers
            .headers
            .iter()
            .map(|(name, value)| format!("{}={}", name.to_string_lossy(), String::from_utf8_lossy(value)))
            .collect();
        assert_eq!(
            headers,
            [
                "millrace.error.reason=record_too_large",
                "millrace.error.message=too large",
                "millrace.error.value=json",
                "millrace.namespace=d.c",
                "__connect.errors.topic=d.c",
                "__connect.errors.exception.message=too large",
                "__connect.errors.exception.class.name=millrace.RecordTooLargeError",
                "millrace.cluster_time=7:2",
                "millrace.order=82A0",
            ]
        );
    }

    #[test]
    fn reasons_have_their_place() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
        }
    }
}
