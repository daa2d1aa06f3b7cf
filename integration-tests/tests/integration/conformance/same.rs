//! Whether a document is the one that a case expects: types matter, and placeholders stand for any value of a kind.

use std::collections::BTreeMap;

use bson::{Bson, Document, spec::BinarySubtype};

/// The values that placeholders of one name stand for, within a case.
pub(super) type Binds = BTreeMap<String, Bson>;

/// Whether `own` is as `expected`; without `is_ordered` in any order of fields.
pub(super) fn documents(expected: &Document, own: &Document, is_ordered: bool, binds: &mut Binds) -> bool {
    let has_names = expected.len() == own.len() && expected.keys().all(|name| own.contains_key(name));
    has_names
        && (!is_ordered || is_entry(expected) || expected.keys().eq(own.keys()))
        && expected
            .iter()
            .all(|(name, expected)| own.get(name).is_some_and(|own| values(expected, own, is_ordered, binds)))
}

/// Whether both have the same documents, in any order, also of fields.
pub(super) fn collections(expected: &[Bson], own: &[Document]) -> bool {
    let mut left: Vec<&Document> = own.iter().collect();
    let is_there = expected.iter().filter_map(Bson::as_document).all(|expected| {
        let found = left.iter().position(|own| documents(expected, own, false, &mut Binds::new()));
        found.map(|index| left.remove(index)).is_some()
    });
    is_there && left.is_empty()
}

/// A whole number of any type.
pub(super) fn whole(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        _ => None,
    }
}

/// As relaxed Extended JSON.
pub(super) fn text(document: &Document) -> String {
    let bytes = document.to_vec().expect("a document");
    let document = millrace::raw::Document::new(&bytes).expect("a document");
    let mut text = Vec::new();
    let written = millrace::json::write_document(document, millrace::json::Style::Relaxed, &mut text);
    written.map_or_else(|error| error.to_string(), |()| String::from_utf8_lossy(&text).into_owned())
}

/// The members of a result are no document of anybody's.
fn is_entry(document: &Document) -> bool {
    document.contains_key("op") && document.len() > 1
}

fn values(expected: &Bson, own: &Bson, is_ordered: bool, binds: &mut Binds) -> bool {
    match (expected, own) {
        (Bson::Document(expected), own) if expected.contains_key("$any") => {
            is_any(expected.get_str("$any").unwrap_or_default(), own) && is_bound(expected, own, binds)
        }
        (Bson::Document(expected), Bson::Document(own)) => documents(expected, own, is_ordered, binds),
        (Bson::Array(expected), Bson::Array(own)) => {
            expected.len() == own.len()
                && expected.iter().zip(own).all(|(expected, own)| values(expected, own, is_ordered, binds))
        }
        (Bson::Double(expected), Bson::Double(own)) => {
            expected.to_bits() == own.to_bits() || (expected.is_nan() && own.is_nan())
        }
        (expected, own) => expected == own,
    }
}

fn is_any(kind: &str, own: &Bson) -> bool {
    match (kind, own) {
        ("objectId", Bson::ObjectId(_)) | ("dateTime" | "dateTimeOrString", Bson::DateTime(_)) => true,
        ("dateTimeOrString", Bson::String(_)) => true,
        ("uuidBinary", Bson::Binary(binary)) => {
            binary.subtype == BinarySubtype::Uuid && binary.bytes.len() == 16
        }
        ("uuidString", Bson::String(text)) => {
            let parts: Vec<&str> = text.split('-').collect();
            let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
            parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
                && parts.iter().all(|part| part.chars().all(is_hex))
        }
        _ => false,
    }
}

fn is_bound(expected: &Document, own: &Bson, binds: &mut Binds) -> bool {
    let Ok(name) = expected.get_str("bind") else { return true };
    binds.entry(name.to_owned()).or_insert_with(|| own.clone()) == own
}
