//! What documents are compared by: a hash of their bytes. Pure.

use sha2::{Digest, Sha256};

use crate::raw::{self, Document, kind};

/// Documents may be nested this deep; the server's own limit is lower.
const MOST_LEVELS: usize = 250;

/// A document's hash. Equal for equal documents, and for no others that anybody could find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 32]);

/// Whether the order of fields counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldOrder {
    /// Documents are equal when their bytes are.
    Counts,
    /// Documents are equal when they have the same fields with the same values, at every level. The order of an array's
    /// elements counts all the same.
    Ignored,
}

/// Takes a document's hash. `scratch` is room for it to work in, kept for its memory.
///
/// # Errors
/// When the bytes are not BSON; they are only looked at where the order of fields is ignored.
pub(super) fn of(
    document: Document<'_>,
    order: FieldOrder,
    scratch: &mut Vec<u8>,
) -> Result<Fingerprint, raw::Error> {
    let bytes = match order {
        FieldOrder::Counts => document.as_bytes(),
        FieldOrder::Ignored => {
            scratch.clear();
            write_sorted(document, kind::DOCUMENT, 0, scratch)?;
            scratch
        }
    };
    Ok(Fingerprint(Sha256::digest(bytes).into()))
}

/// Appends the document's fields in the order of their names; each ends where its type says, so no two documents look
/// alike.
fn write_sorted(
    document: Document<'_>,
    document_kind: u8,
    level: usize,
    out: &mut Vec<u8>,
) -> Result<(), raw::Error> {
    if level > MOST_LEVELS {
        return Err(raw::Error { at: 0, what: "nested too deeply" });
    }
    let mut elements = document.elements().collect::<Result<Vec<_>, _>>()?;
    if document_kind == kind::DOCUMENT {
        elements.sort_by_key(|element| element.name);
    }
    for element in elements {
        out.push(element.kind);
        out.extend_from_slice(element.name);
        out.push(0);
        match element.as_document() {
            Some(inner) => write_sorted(inner, element.kind, level + 1, out)?,
            None => out.extend_from_slice(element.value),
        }
    }
    out.push(0);
    Ok(())
}

/// The names of the fields, of those at the top, in which two documents differ; at most `most` of them. None where it is
/// their order alone.
///
/// # Errors
/// When the bytes are not BSON.
pub(super) fn differing_fields(
    a: Document<'_>,
    b: Document<'_>,
    order: FieldOrder,
    most: usize,
) -> Result<Vec<String>, raw::Error> {
    let mut names = Vec::new();
    let mut scratch = Vec::new();
    for (one, other) in [(a, b), (b, a)] {
        for element in one.elements() {
            let element = element?;
            let name = String::from_utf8_lossy(element.name).into_owned();
            let counterpart = other.elements().find_map(|found| {
                found.map_or_else(
                    |error| Some(Err(error)),
                    |found| (found.name == element.name).then_some(Ok(found)),
                )
            });
            let is_equal = match counterpart.transpose()? {
                None => false,
                Some(found) if found.kind != element.kind => false,
                Some(found) => match (element.as_document(), found.as_document()) {
                    (Some(x), Some(y)) => of(x, order, &mut scratch)? == of(y, order, &mut scratch)?,
                    _ => found.value == element.value,
                },
            };
            if !is_equal && !names.contains(&name) && names.len() < most {
                names.push(name);
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use bson::{Bson, Document as Tree, doc};

    use super::*;

    fn print(tree: &Tree, order: FieldOrder) -> Fingerprint {
        let bytes = tree.to_vec().expect("writable");
        of(Document::new(&bytes).expect("sound"), order, &mut Vec::new()).expect("sound")
    }

    #[test]
    fn documents_are_equal_by_their_bytes_or_by_their_fields() {
        for (a, b, by_bytes, by_fields) in [
            (doc! { "a": 1, "b": 2 }, doc! { "a": 1, "b": 2 }, true, true),
            (doc! { "a": 1, "b": 2 }, doc! { "b": 2, "a": 1 }, false, true),
            (doc! { "x": { "a": 1, "b": 2 } }, doc! { "x": { "b": 2, "a": 1 } }, false, true),
            (doc! { "x": [{ "a": 1, "b": 2 }] }, doc! { "x": [{ "b": 2, "a": 1 }] }, false, true),
            (doc! { "x": [1, 2] }, doc! { "x": [2, 1] }, false, false),
            (doc! { "a": 1 }, doc! { "a": 1.0 }, false, false),
            (doc! { "a": 1 }, doc! { "a": 1_i64 }, false, false),
            (doc! { "a": { "b": 1 } }, doc! { "a": {}, "b": 1 }, false, false),
            (doc! { "a": [] }, doc! { "a": {} }, false, false),
            (doc! { "a": Bson::Null }, doc! {}, false, false),
        ] {
            let equal = |order| print(&a, order) == print(&b, order);
            assert_eq!(equal(FieldOrder::Counts), by_bytes, "{a} {b} by bytes");
            assert_eq!(equal(FieldOrder::Ignored), by_fields, "{a} {b} by fields");
        }
    }

    #[test]
    fn fields_that_differ_are_named() {
        for (a, b, expected) in [
            (doc! { "_id": 1, "a": 1, "b": 2 }, doc! { "_id": 1, "a": 1, "b": 3, "c": 4 }, vec!["b", "c"]),
            (doc! { "a": 1, "b": 2 }, doc! { "b": 2, "a": 1 }, vec![]),
            (doc! { "a": 1 }, doc! { "a": 1.0 }, vec!["a"]),
            (doc! { "a": { "x": 1, "y": 2 } }, doc! { "a": { "y": 2, "x": 1 } }, vec!["a"]),
            (doc! { "a": 1, "b": 1, "c": 1 }, doc! {}, vec!["a", "b"]),
        ] {
            let (x, y) = (a.to_vec().expect("writable"), b.to_vec().expect("writable"));
            let (x, y) = (Document::new(&x).expect("sound"), Document::new(&y).expect("sound"));
            assert_eq!(differing_fields(x, y, FieldOrder::Counts, 2).expect("sound"), expected, "{a} {b}");
        }
    }
}
