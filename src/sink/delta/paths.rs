//! The paths of an `updateDescription`, taken apart, and sorted so that those below one field stand together. Pure.
//!
//! A path's text is ambiguous: `a.0` may go through an array or an object with a field `0`, `a.b` may be one name.
//! The server says which in `disambiguatedPaths` where it is asked for expanded events; elsewhere a number means
//! "whatever the value turns out to be".

use std::{borrow::Cow, collections::HashMap};

use super::Error;
use crate::raw::{Document, Element, kind};

/// No array within a document of 16 MB has more elements; a greater number is a field's name.
const MAX_INDEX: i32 = 2_000_000;

/// A path and what happened to what stands there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Path<'a> {
    pub(super) components: Vec<Component<'a>>,
    pub(super) action: Action<'a>,
    /// Where the event has it.
    order: usize,
}

/// What happened at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Action<'a> {
    Set(Element<'a>),
    Unset,
    /// The array was cut to this length.
    Truncate(i32),
}

/// A step on a path.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Component<'a> {
    /// The field's name, or the index in decimal.
    pub(super) name: Cow<'a, [u8]>,
    pub(super) position: Position,
}

/// What kind of step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// Into a field.
    Field,
    /// Into an array's element.
    Index(i32),
    /// One of both.
    Either(i32),
}

/// The paths that share a step.
pub(super) struct Child<'p, 'a> {
    pub(super) component: &'p Component<'a>,
    pub(super) paths: &'p [Path<'a>],
}

impl Component<'_> {
    /// Whether a stage takes this for the name of a field and for nothing else.
    pub(super) fn is_plain(&self) -> bool {
        self.position == Position::Field
            && !self.name.is_empty()
            && self.name[0] != b'$'
            && !self.name.contains(&b'.')
    }
}

impl Path<'_> {
    pub(super) fn is_plain(&self) -> bool {
        self.components.iter().all(Component::is_plain)
    }

    pub(super) fn dotted(&self) -> Vec<u8> {
        self.components.iter().map(|component| &*component.name).collect::<Vec<_>>().join(&b'.')
    }

    fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.components.iter().map(|component| &*component.name)
    }

    fn starts_with(&self, other: &Self) -> bool {
        self.components.len() >= other.components.len()
            && self.names().zip(other.names()).all(|(a, b)| a == b)
    }
}

/// The groups of `paths` (sorted, longer than `depth`) by their step at `depth`, in the event's order.
pub(super) fn group<'p, 'a>(paths: &'p [Path<'a>], depth: usize) -> Vec<Child<'p, 'a>> {
    let mut children: Vec<_> = paths
        .chunk_by(|a, b| a.components[depth].name == b.components[depth].name)
        .map(|paths| Child { component: &paths[0].components[depth], paths })
        .collect();
    children.sort_by_key(|child| child.paths.iter().map(|path| path.order).min());
    children
}

/// All paths of the description, sorted by their steps.
pub(super) fn read(description: Document<'_>) -> Result<Vec<Path<'_>>, Error> {
    let members = Members::read(description)?;
    let mut paths = Vec::new();
    let mut push = |text, action| {
        let order = paths.len();
        paths.push(Path { components: members.components(text)?, action, order });
        Ok::<_, Error>(())
    };
    for element in members.updated.elements() {
        let element = element?;
        push(element.name, Action::Set(element))?;
    }
    for element in members.removed.elements() {
        let path = element?.as_text().ok_or(Error::Shape("removedFields holds something else than text"))?;
        push(path, Action::Unset)?;
    }
    for element in members.truncated.elements() {
        let (path, length) = truncation(element?)?;
        push(path, Action::Truncate(length))?;
    }
    paths.sort_by(|a, b| a.names().cmp(b.names()).then(a.order.cmp(&b.order)));
    check(&paths)?;
    Ok(paths)
}

/// The description's members. Each but the first two may be missing.
struct Members<'a> {
    updated: Document<'a>,
    removed: Document<'a>,
    truncated: Document<'a>,
    /// By path, because an event may have thousands of them.
    disambiguated: HashMap<&'a [u8], Element<'a>>,
}

impl<'a> Members<'a> {
    fn read(description: Document<'a>) -> Result<Self, Error> {
        let (mut updated, mut removed) = (None, None);
        let (mut truncated, mut disambiguated) = (Document::EMPTY, Document::EMPTY);
        for element in description.elements() {
            let element = element?;
            let typed = |kind, wrong| {
                element.as_document().filter(|_| element.kind == kind).ok_or(Error::Shape(wrong))
            };
            match element.name {
                b"updatedFields" => updated = Some(typed(kind::DOCUMENT, "updatedFields is no document")?),
                b"removedFields" => removed = Some(typed(kind::ARRAY, "removedFields is no array")?),
                b"truncatedArrays" if element.kind == kind::NULL => {}
                b"truncatedArrays" => truncated = typed(kind::ARRAY, "truncatedArrays is no array")?,
                b"disambiguatedPaths" if element.kind == kind::NULL => {}
                b"disambiguatedPaths" => {
                    disambiguated = typed(kind::DOCUMENT, "disambiguatedPaths is no document")?;
                }
                // To leave out what a newer server says was changed would be to change the document silently.
                _ => return Err(Error::Shape("an unknown member; a newer version of millrace may know it")),
            }
        }
        Ok(Self {
            updated: updated.ok_or(Error::Shape("no updatedFields"))?,
            removed: removed.ok_or(Error::Shape("no removedFields"))?,
            truncated,
            disambiguated: disambiguated
                .elements()
                .map(|element| element.map(|element| (element.name, element)))
                .collect::<Result<_, _>>()?,
        })
    }

    fn components(&self, path: &'a [u8]) -> Result<Vec<Component<'a>>, Error> {
        if let Some(steps) = self.disambiguated.get(path) {
            return disambiguated(*steps);
        }
        let component = |(depth, name): (usize, &'a [u8])| {
            // The document itself is no array.
            let index = if depth == 0 { None } else { index_of(name) };
            let position = index.map_or(Position::Field, Position::Either);
            Component { name: Cow::Borrowed(name), position }
        };
        Ok(path.split(|byte| *byte == b'.').enumerate().map(component).collect())
    }
}

/// Text steps are fields and whole numbers are indexes.
fn disambiguated(steps: Element<'_>) -> Result<Vec<Component<'_>>, Error> {
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

fn truncation(element: Element<'_>) -> Result<(&[u8], i32), Error> {
    const WRONG: Error = Error::Shape("truncatedArrays holds something else than field and newSize");
    let member = element.as_document().ok_or(WRONG)?;
    let field = member.get("field")?.and_then(Element::as_text).ok_or(WRONG)?;
    let length =
        member.get("newSize")?.and_then(Element::as_i64).and_then(|length| i32::try_from(length).ok());
    Ok((field, length.filter(|length| *length >= 0).ok_or(WRONG)?))
}

/// A path at or below another that was written makes no sense, but for what is written into an array that was cut.
fn check(paths: &[Path<'_>]) -> Result<(), Error> {
    for pair in paths.windows(2) {
        let (upper, lower) = (&pair[0], &pair[1]);
        let is_into_cut_array =
            matches!(upper.action, Action::Truncate(_)) && lower.components.len() > upper.components.len();
        if lower.starts_with(upper) && !is_into_cut_array {
            return Err(Error::Shape("a path is named twice, or together with one below it"));
        }
    }
    if paths.iter().any(|path| *path.components[0].name == *b"_id") {
        return Err(Error::Shape("an _id never changes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    fn positions(description: &bson::Document) -> Vec<Vec<(String, Position)>> {
        let bytes = description.to_vec().expect("writable");
        let paths = read(Document::new(&bytes).expect("sound")).expect("a sound description");
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let steps = |path: &Path<'_>| path.components.iter().map(|c| (text(&c.name), c.position)).collect();
        paths.iter().map(steps).collect()
    }

    #[test]
    fn numbers_below_the_top_may_be_indexes() {
        let found = positions(
            &doc! { "updatedFields": { "0.1.x": 1, "a.01": 2, "a.99999999": 3 }, "removedFields": [] },
        );
        let field = |name: &str| (name.to_owned(), Position::Field);
        assert_eq!(
            found,
            [
                vec![field("0"), ("1".into(), Position::Either(1)), field("x")],
                vec![field("a"), field("01")],
                vec![field("a"), field("99999999")],
            ]
        );
    }

    #[test]
    fn the_server_says_what_an_ambiguous_path_means() {
        let found = positions(&doc! {
            "updatedFields": { "a.0": 1, "b.1": 2, "c.d.e": 3 }, "removedFields": [],
            "disambiguatedPaths": { "a.0": ["a", 0], "b.1": ["b", "1"], "c.d.e": ["c.d", "e"] },
        });
        let field = |name: &str| (name.to_owned(), Position::Field);
        assert_eq!(
            found,
            [
                vec![field("a"), ("0".into(), Position::Index(0))],
                vec![field("b"), field("1")],
                vec![field("c.d"), field("e")],
            ]
        );
    }

    #[test]
    fn groups_keep_the_events_order() {
        let description = doc! { "updatedFields": { "z.b": 1, "a": 2, "z.a": 3 }, "removedFields": [] };
        let bytes = description.to_vec().expect("writable");
        let paths = read(Document::new(&bytes).expect("sound")).expect("a sound description");
        let groups = group(&paths, 0);
        let names: Vec<_> =
            groups.iter().map(|child| (child.component.name.to_vec(), child.paths.len())).collect();
        assert_eq!(names, [(b"z".to_vec(), 2), (b"a".to_vec(), 1)]);
        let inner: Vec<_> =
            group(groups[0].paths, 1).iter().map(|child| child.component.name.to_vec()).collect();
        assert_eq!(inner, [b"b".to_vec(), b"a".to_vec()]);
    }

    #[test]
    fn writes_into_a_cut_array_are_no_conflict() {
        let found = positions(&doc! {
            "updatedFields": { "a.0": 1 }, "removedFields": [], "truncatedArrays": [{ "field": "a", "newSize": 1 }],
        });
        assert_eq!(found.len(), 2);
    }
}
