//! The paths of an `updateDescription`, taken apart, and sorted so that those below one field stand together. Pure.
//!
//! A path's text is ambiguous; [`spelling`] says which steps it stands for.

mod spelling;

use std::borrow::Cow;

use super::Error;
use crate::raw::{Document, Element, kind};

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
    let mut named = Vec::new();
    for element in members.updated.elements() {
        let element = element?;
        named.push((element.name, Action::Set(element)));
    }
    for element in members.removed.elements() {
        let path = element?.as_text().ok_or(Error::Shape("removedFields holds something else than text"))?;
        named.push((path, Action::Unset));
    }
    for element in members.truncated.elements() {
        let (path, length) = truncation(element?)?;
        named.push((path, Action::Truncate(length)));
    }
    let steps = spelling::steps(&named, members.disambiguated)?;
    let path = |(order, ((_, action), components))| Path { components, action, order };
    let mut paths: Vec<_> = named.into_iter().zip(steps).enumerate().map(path).collect();
    paths.sort_by(|a, b| a.names().cmp(b.names()).then(a.order.cmp(&b.order)));
    check(&paths)?;
    Ok(paths)
}

/// The description's members. Each but the first two may be missing.
struct Members<'a> {
    updated: Document<'a>,
    removed: Document<'a>,
    truncated: Document<'a>,
    disambiguated: Document<'a>,
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
            disambiguated,
        })
    }
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
