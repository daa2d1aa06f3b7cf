//! What one range of a collection holds, and in which documents two such ranges differ. Pure.
//!
//! Documents are paired by what the server takes for their `_id`: 1, 1.0 and a long 1 are one `_id`, so a document that
//! has another type of it on the other side is there, and different. Nothing here relies on the order of `_id`s, which
//! collations change.

use std::collections::HashMap;

use super::fingerprint::Fingerprint;
use crate::{ranges::Id, raw, sink::identify, transform::equals};

/// The documents of a range.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// In the order of the index.
    pub(super) documents: Vec<(Id, Fingerprint)>,
    /// The first `_id` that was not read; `None` when the range was read to its end.
    pub(super) next: Option<Id>,
}

/// What each side has of one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// The source's document; `None` where it has none.
    pub(super) source: Option<Fingerprint>,
    /// The target's document; `None` where it has none.
    pub(super) target: Option<Fingerprint>,
}

impl State {
    /// Whether both sides have the same.
    pub(super) fn is_equal(self) -> bool {
        self.source == self.target
    }
}

/// The documents in which the two sides differ; nothing for most ranges, which is noticed without pairing anything.
///
/// # Errors
/// When an `_id` is not sound BSON.
pub(super) fn differences(source: &Content, target: &Content) -> Result<Vec<(Id, State)>, raw::Error> {
    let prints = |content: &Content| content.documents.iter().map(|(_, print)| *print).collect::<Vec<_>>();
    if prints(source) == prints(target) {
        return Ok(Vec::new());
    }
    let mut targets = ById::default();
    for (id, print) in &target.documents {
        targets.insert(id, *print)?;
    }
    let mut found = Vec::new();
    for (id, print) in &source.documents {
        let state = State { source: Some(*print), target: targets.take(id)? };
        if !state.is_equal() {
            found.push((id.clone(), state));
        }
    }
    found.extend(targets.rest().map(|(id, print)| (id, State { source: None, target: Some(print) })));
    Ok(found)
}

/// The documents of one side in which `other`, which has what the other side has of them, differs. Read from the target,
/// those that the source has too are left out: they were found when the source was read.
///
/// # Errors
/// When an `_id` is not sound BSON.
pub(super) fn looked_up(
    read: &Content,
    mut other: ById<Fingerprint>,
    is_source: bool,
) -> Result<Vec<(Id, State)>, raw::Error> {
    let mut found = Vec::new();
    for (id, print) in &read.documents {
        let other = other.take(id)?;
        let state = if is_source {
            State { source: Some(*print), target: other }
        } else {
            State { source: other, target: Some(*print) }
        };
        if !state.is_equal() && (is_source || state.source.is_none()) {
            found.push((id.clone(), state));
        }
    }
    Ok(found)
}

/// Values by what the server takes for an `_id`.
#[derive(Debug)]
pub(super) struct ById<V> {
    /// By what equal `_id`s have in common; a few that are not equal may share it.
    known: HashMap<Vec<u8>, Vec<(Id, V)>>,
}

impl<V> Default for ById<V> {
    fn default() -> Self {
        Self { known: HashMap::new() }
    }
}

impl<V> ById<V> {
    /// Adds a value.
    pub(super) fn insert(&mut self, id: &Id, value: V) -> Result<(), raw::Error> {
        self.known.entry(key(id)?).or_default().push((id.clone(), value));
        Ok(())
    }

    /// Takes the value of an `_id` that is equal to `id`.
    pub(super) fn take(&mut self, id: &Id) -> Result<Option<V>, raw::Error> {
        let Some(candidates) = self.known.get_mut(&key(id)?) else { return Ok(None) };
        for (at, (candidate, _)) in candidates.iter().enumerate() {
            if equals(candidate.element(), id.element())? {
                return Ok(Some(candidates.swap_remove(at).1));
            }
        }
        Ok(None)
    }

    /// What nobody took.
    fn rest(self) -> impl Iterator<Item = (Id, V)> {
        self.known.into_values().flatten()
    }
}

fn key(id: &Id) -> Result<Vec<u8>, raw::Error> {
    let element = id.element();
    let id = identify::Id { kind: element.kind, value: element.value.into() };
    match id.fold_key() {
        Ok(key) => Ok(key.bytes.into_vec()),
        Err(identify::Error::Malformed(error)) => Err(error),
        Err(_) => Err(raw::Error { at: 0, what: "an _id that no document can have" }),
    }
}

#[cfg(test)]
mod tests {
    use bson::{Bson, doc};

    use super::*;
    use crate::{
        raw::Document,
        verify::fingerprint::{self, FieldOrder},
    };

    fn id(value: impl Into<Bson>) -> Id {
        let bytes = doc! { "_id": value.into() }.to_vec().expect("writable");
        Id::from_bytes(bytes).expect("an _id")
    }

    /// A document is its `_id` and a number.
    fn content(documents: &[(Bson, i32)]) -> Content {
        let documents = documents.iter().map(|(value, number)| {
            let bytes = doc! { "_id": value, "n": number }.to_vec().expect("writable");
            let document = Document::new(&bytes).expect("sound");
            let print = fingerprint::of(document, FieldOrder::Counts, &mut Vec::new()).expect("sound");
            (id(value.clone()), print)
        });
        Content { documents: documents.collect(), next: None }
    }

    /// `_id`, and whether source and target have it.
    fn found(source: &[(Bson, i32)], target: &[(Bson, i32)]) -> Vec<(Id, (bool, bool))> {
        let found = differences(&content(source), &content(target)).expect("sound");
        found.into_iter().map(|(id, state)| (id, (state.source.is_some(), state.target.is_some()))).collect()
    }

    #[test]
    fn missing_extra_and_different_documents_are_found() {
        let source = [(1.into(), 1), ("b".into(), 2), (Bson::Null, 3), (4.into(), 4)];
        assert_eq!(found(&source, &source), []);
        let target = [(1.into(), 1), ("b".into(), 9), (4.into(), 4), ("e".into(), 5)];
        let expected = [(id("b"), (true, true)), (id(Bson::Null), (true, false)), (id("e"), (false, true))];
        assert_eq!(found(&source, &target), expected);
        assert_eq!(found(&[], &[(1.into(), 1)]), [(id(1), (false, true))]);
    }

    #[test]
    fn documents_that_are_looked_up_are_found_once() {
        let source = content(&[(1.into(), 1), (2.into(), 2), (3.into(), 3)]);
        let target = content(&[(2.into(), 9), (3.into(), 3), (4.into(), 4)]);
        let found = |read: &Content, other: &Content, is_source| {
            let mut known = ById::default();
            for (id, print) in &other.documents {
                known.insert(id, *print).expect("sound");
            }
            let found = looked_up(read, known, is_source).expect("sound");
            found.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
        };
        assert_eq!(found(&source, &target, true), [id(1), id(2)]);
        assert_eq!(found(&target, &source, false), [id(4)]);
    }

    #[test]
    fn the_same_documents_in_another_order_do_not_differ() {
        let (a, b) = ((Bson::from("a"), 1), (Bson::from("B"), 2));
        assert_eq!(found(&[a.clone(), b.clone()], &[b, a]), []);
    }

    #[test]
    fn numbers_that_the_server_takes_for_equal_are_one_id_and_others_are_not() {
        let decimal = |text: &str| Bson::Decimal128(text.parse().expect("a decimal"));
        let big = 1_i64 << 53;
        for (a, b, is_one) in [
            (Bson::from(1), Bson::from(1.0), true),
            (Bson::from(1), Bson::from(1_i64), true),
            (Bson::from(1), decimal("1.00"), true),
            (Bson::from(0.5), decimal("0.5"), true),
            (Bson::from(0.1), decimal("0.1"), false),
            (Bson::from(big), Bson::from(big + 1), false),
            (Bson::from(doc! { "a": 1 }), Bson::from(doc! { "a": 1.0 }), true),
            (Bson::from("1"), Bson::from(1), false),
        ] {
            let expected = if is_one {
                vec![(id(a.clone()), (true, true))]
            } else {
                vec![(id(a.clone()), (true, false)), (id(b.clone()), (false, true))]
            };
            assert_eq!(found(&[(a.clone(), 1)], &[(b.clone(), 1)]), expected, "{a} {b}");
        }
    }
}
