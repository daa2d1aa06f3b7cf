//! The text of a path → its steps. Pure.
//!
//! The text is ambiguous: `a.0` may go through an array or an object with a field `0`, `a.b` may be one name. Where the
//! server is asked for expanded events, `disambiguatedPaths` has the steps of each path with a field whose name is a
//! number or has a dot; elsewhere a number means "whatever the value turns out to be".
//!
//! Two paths of one event may have the same text: `a.b` as a field of `a`, and as a name. The server writes its paths
//! in the order of one walk through the document, in which what changes in an object itself comes before what changes
//! further down in it, and at most one path of one spelling needs no entry. That tells them apart, but for two cases: one
//! is removed or cut and the other written, or all of them go through objects below which something changed. Then the
//! event does not say enough, and is refused.

use std::{borrow::Cow, collections::HashMap, mem};

use super::{Action, Component, Position};
use crate::{
    raw::{Document, Element, kind},
    sink::delta::Error,
};

/// No array within a document of 16 MB has more elements; a greater number is a field's name.
const MAX_INDEX: i32 = 2_000_000;

type Steps<'a> = Vec<Component<'a>>;

/// The paths of one text.
#[derive(Default)]
struct Spelling<'a> {
    /// From `disambiguatedPaths`, in order.
    listed: Vec<Steps<'a>>,
    count: usize,
    /// What kind of thing happened to the first.
    action: Option<mem::Discriminant<Action<'a>>>,
}

/// The steps of each of the `named` paths, in the same order.
pub(super) fn steps<'a>(
    named: &[(&'a [u8], Action<'a>)],
    disambiguated: Document<'a>,
) -> Result<Vec<Steps<'a>>, Error> {
    if disambiguated.elements().next().is_none() {
        return Ok(named.iter().map(|(text, _)| plain(text)).collect());
    }
    // By text, because an event may have thousands of them.
    let mut spellings: HashMap<&[u8], Spelling<'_>> = HashMap::new();
    for element in disambiguated.elements() {
        let element = element?;
        spellings.entry(element.name).or_default().listed.push(listed(element)?);
    }
    for (text, action) in named {
        let Some(spelling) = spellings.get_mut(text) else { continue };
        spelling.count += 1;
        let kind = mem::discriminant(action);
        if *spelling.action.get_or_insert(kind) != kind {
            return Err(UNCLEAR);
        }
    }
    for (text, spelling) in &mut spellings {
        spelling.complete(text)?;
    }
    let mut remaining: HashMap<_, _> =
        spellings.into_iter().map(|(text, spelling)| (text, spelling.listed.into_iter())).collect();
    let next = |(text, _): &(&'a [u8], _)| match remaining.get_mut(text) {
        Some(listed) => listed.next().ok_or(UNCLEAR),
        None => Ok(plain(text)),
    };
    named.iter().map(next).collect()
}

const UNCLEAR: Error = Error::Shape(
    "two paths look alike, and nothing says which is which; full_document = \"updateLookup\" on the source avoids that",
);

impl<'a> Spelling<'a> {
    /// Adds the path that needs no entry, if there is one: it is the last, where all others end in the object in which
    /// they leave it.
    fn complete(&mut self, text: &'a [u8]) -> Result<(), Error> {
        if self.count <= self.listed.len() {
            return Ok(());
        }
        let plain = plain(text);
        let ends_where_it_leaves = |listed: &Steps<'_>| {
            let common = listed.iter().zip(&plain).take_while(|(a, b)| a.name == b.name).count();
            common + 1 == listed.len()
        };
        if self.count > self.listed.len() + 1 || !self.listed.iter().all(ends_where_it_leaves) {
            return Err(UNCLEAR);
        }
        self.listed.push(plain);
        Ok(())
    }
}

/// Without help: dots part the steps.
fn plain(text: &[u8]) -> Steps<'_> {
    let component = |(depth, name)| {
        // The document itself is no array.
        let index = if depth == 0 { None } else { index_of(name) };
        let position = index.map_or(Position::Field, Position::Either);
        Component { name: Cow::Borrowed(name), position }
    };
    text.split(|byte| *byte == b'.').enumerate().map(component).collect()
}

/// Text steps are fields and whole numbers are indexes.
fn listed(steps: Element<'_>) -> Result<Steps<'_>, Error> {
    const WRONG: Error = Error::Shape("disambiguatedPaths holds something else than names and indexes");
    let steps = steps.as_document().filter(|_| steps.kind == kind::ARRAY).ok_or(WRONG)?;
    let mut components = Vec::new();
    for step in steps.elements() {
        let step = step?;
        components.push(match (step.as_text(), step.as_i64().and_then(|index| i32::try_from(index).ok())) {
            (Some(name), _) => Component { name: Cow::Borrowed(name), position: Position::Field },
            (None, Some(index)) if (0..=MAX_INDEX).contains(&index) => Component {
                name: Cow::Owned(index.to_string().into_bytes()),
                position: Position::Index(index),
            },
            _ => return Err(WRONG),
        });
    }
    match components.first() {
        Some(Component { position: Position::Field, .. }) => Ok(components),
        _ => Err(WRONG),
    }
}

/// An array's index as the server writes it: decimal without leading zeros.
fn index_of(name: &[u8]) -> Option<i32> {
    let is_decimal = name.iter().all(u8::is_ascii_digit) && (name.len() == 1 || name.first() != Some(&b'0'));
    let index = std::str::from_utf8(name).ok().filter(|_| is_decimal)?.parse().ok()?;
    (0..=MAX_INDEX).contains(&index).then_some(index)
}

#[cfg(test)]
mod tests {
    use bson::{Bson, RawBson, RawDocumentBuf, bson};

    /// A value, and the names of its path.
    type Found = (Option<i64>, Vec<String>);

    use super::{super::read, *};

    /// The event's changes in its order: value, if one was set, and steps.
    fn found(
        updated: &[(&str, i32)],
        removed: &[&str],
        listed: &[(&str, Bson)],
    ) -> Result<Vec<Found>, Error> {
        let updated: Vec<_> = updated.iter().map(|(name, value)| (*name, Bson::from(*value))).collect();
        let description = members(&[
            ("updatedFields", members(&updated)),
            ("removedFields", RawBson::try_from(Bson::from(removed)).expect("plain")),
            ("disambiguatedPaths", members(listed)),
        ]);
        let RawBson::Document(description) = description else { panic!("{description:?}") };
        let mut paths = read(Document::new(description.as_bytes()).expect("sound"))?;
        paths.sort_by_key(|path| path.order);
        let value = |action| if let Action::Set(element) = action { element.as_i64() } else { None };
        let name = |step: &Component<'_>| String::from_utf8_lossy(&step.name).into_owned();
        let steps = |path: &super::super::Path<'_>| path.components.iter().map(name).collect();
        Ok(paths.iter().map(|path| (value(path.action), steps(path))).collect())
    }

    /// A document that may have a name twice.
    fn members<T: Clone + TryInto<RawBson, Error: std::fmt::Debug>>(members: &[(&str, T)]) -> RawBson {
        let mut document = RawDocumentBuf::new();
        for (name, value) in members {
            let name = bson::raw::CString::try_from(*name).expect("no NUL");
            document.append(name, value.clone().try_into().expect("plain"));
        }
        RawBson::Document(document)
    }

    #[test]
    fn paths_that_look_alike_are_told_apart_by_the_order_of_the_walk() {
        let one = ("a.b", bson!(["a.b"]));
        let steps = |steps: &[&str]| steps.iter().map(|step| (*step).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            found(&[("a.b", 1), ("x", 2), ("a.b", 3)], &[], std::slice::from_ref(&one)),
            Ok(vec![(Some(1), steps(&["a.b"])), (Some(2), steps(&["x"])), (Some(3), steps(&["a", "b"]))]),
        );
        assert_eq!(
            found(&[], &["a.b", "a.b"], &[one]),
            Ok(vec![(None, steps(&["a.b"])), (None, steps(&["a", "b"]))]),
        );
        let three = [("a.b.c", bson!(["a.b.c"])), ("a.b.c", bson!(["a", "b.c"]))];
        assert_eq!(
            found(&[("a.b.c", 1), ("a.b.c", 2), ("a.b.c", 3)], &[], &three),
            Ok(vec![
                (Some(1), steps(&["a.b.c"])),
                (Some(2), steps(&["a", "b.c"])),
                (Some(3), steps(&["a", "b", "c"])),
            ]),
        );
    }

    #[test]
    fn what_the_event_does_not_tell_apart_is_refused() {
        let name = ("a.b", bson!(["a.b"]));
        for (updated, removed, listed) in [
            (vec![("a.b", 1)], vec!["a.b"], vec![name.clone()]),
            (vec![("a.b", 1), ("a.b", 2), ("a.b", 3)], vec![], vec![name]),
            (vec![("a.b.c", 1), ("a.b.c", 2)], vec![], vec![("a.b.c", bson!(["a.b", "c"]))]),
        ] {
            assert_eq!(
                found(&updated, &removed, &listed),
                Err(UNCLEAR),
                "{updated:?} {removed:?} {listed:?}"
            );
        }
        let twice = found(&[("a.b", 1), ("a.b", 2)], &[], &[]);
        assert!(matches!(twice, Err(Error::Shape(_))), "{twice:?}");
    }
}
