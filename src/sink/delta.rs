//! An event's `updateDescription` → update pipeline stages. Pure.
//!
//! Events are replayed after a crash, so a delta meets states that are later than the one it was made for. It must
//! apply to any of them without an error, and replaying all that followed must lead to the same end. Hence pipelines
//! and not `$set`/`$unset` operators, which refuse a path with a scalar in its way: here whatever is in the way is
//! replaced, short arrays are padded, cutting a shorter array does nothing. That is safe because a path can change
//! its shape only through a later event that writes the whole of it, and this event is replayed as well. (Only the
//! order of fields may differ then: one that was removed and came back before another is now behind it.)
//!
//! Needs server 5.0 (`$setField`). There are at most two stages: `$unset` for removed fields outside of arrays, and
//! `$set` for the rest, top-level names in the event's order, which is the order in which new fields appear. Where a
//! top-level name would be taken for something else (`$a`, `a.b`, the empty name), `$replaceWith` stands for `$set`.

mod expression;
mod paths;

use self::{
    expression::{Place, write_object, write_value},
    paths::{Action, group},
};
use crate::raw::{Document, Error as RawError, Writer};

/// Pipeline stages, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    bytes: Vec<u8>,
    count: usize,
    /// Whether fields were removed since the document was last put together anew.
    leaves_gaps: bool,
}

/// Why an `updateDescription` cannot be applied. Never quotes contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A member is missing or of the wrong type.
    #[error("updateDescription: {0}")]
    Shape(&'static str),
    /// Damaged bytes.
    #[error("updateDescription is unreadable: {0}")]
    Malformed(RawError),
}

impl From<RawError> for Error {
    fn from(error: RawError) -> Self {
        Self::Malformed(error)
    }
}

impl Stages {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Their size.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds stages that come after these.
    ///
    /// Within one pipeline the server remembers where a removed field was, and puts it there when it comes back;
    /// for the original, these were two updates, and the field came to the end. So what was removed is made
    /// forgotten in between.
    pub fn append(&mut self, later: &Self) {
        if self.leaves_gaps && !later.is_empty() {
            self.push(|writer| {
                writer.begin_document(b"$replaceWith");
                writer.begin_array(b"$mergeObjects");
                writer.string(b"0", b"$$ROOT");
                writer.end();
                writer.end();
            });
        }
        self.bytes.extend_from_slice(&later.bytes);
        self.count += later.count;
        self.leaves_gaps = later.leaves_gaps;
    }

    /// The stages in order.
    pub fn iter(&self) -> impl Iterator<Item = Document<'_>> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let length = i32::from_le_bytes(rest.get(..4)?.try_into().ok()?);
            let (stage, after) = rest.split_at(usize::try_from(length).ok()?);
            rest = after;
            Document::new(stage).ok()
        })
    }

    fn push(&mut self, build: impl FnOnce(&mut Writer)) {
        let mut writer = Writer::new(std::mem::take(&mut self.bytes));
        writer.begin();
        build(&mut writer);
        writer.end();
        self.bytes = writer.into_bytes();
        self.count += 1;
    }
}

/// The stages that do to a document what the event says was done to it. None, if that is nothing.
///
/// # Errors
/// When the description is not one that a server writes.
pub fn compile(description: Document<'_>) -> Result<Stages, Error> {
    let paths = paths::read(description)?;
    let mut stages = Stages::default();
    let (removed, written): (Vec<_>, Vec<_>) =
        paths.into_iter().partition(|path| path.action == Action::Unset && path.is_plain());
    if !removed.is_empty() {
        stages.push(|writer| {
            writer.begin_array(b"$unset");
            for (index, path) in removed.iter().enumerate() {
                writer.string(itoa::Buffer::new().format(index).as_bytes(), &path.dotted());
            }
            writer.end();
        });
        stages.leaves_gaps = true;
    }
    if !written.iter().all(|path| path.components[0].is_plain()) {
        stages.push(|writer| write_object(writer, b"$replaceWith", &written, 0, &Place::Root));
    } else if !written.is_empty() {
        stages.push(|writer| {
            writer.begin_document(b"$set");
            for child in &group(&written, 0) {
                let place = Place::Top(&child.component.name);
                write_value(writer, &child.component.name, child.paths, 1, &place);
            }
            writer.end();
        });
    }
    Ok(stages)
}

#[cfg(test)]
mod tests {
    use bson::{Bson, bson, doc};

    use super::*;

    fn compiled(description: &bson::Document) -> Result<Stages, Error> {
        let bytes = description.to_vec().expect("writable");
        compile(Document::new(&bytes).expect("sound"))
    }

    fn stages(description: &bson::Document) -> Vec<bson::Document> {
        let stages = compiled(description).expect("a sound description");
        let documents: Vec<_> = stages
            .iter()
            .map(|stage| bson::Document::from_reader(stage.as_bytes()).expect("well-formed stages"))
            .collect();
        assert_eq!(documents.len(), stages.count());
        documents
    }

    fn literal(value: impl Into<Bson>) -> Bson {
        bson!({ "$literal": value.into() })
    }

    #[test]
    fn top_level_fields_are_set_in_the_events_order_and_as_they_are() {
        let found = stages(&doc! {
            "updatedFields": { "z": "$notAPath", "a": { "$add": [1, 2] }, "m": 1 }, "removedFields": ["gone", "b.c"],
        });
        let expected = [
            doc! { "$unset": ["b.c", "gone"] },
            doc! { "$set": { "z": literal("$notAPath"), "a": literal(doc! { "$add": [1, 2] }), "m": literal(1) } },
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn nothing_changed_is_no_stage() {
        assert_eq!(stages(&doc! { "updatedFields": {}, "removedFields": [] }), []);
    }

    #[test]
    fn paths_into_fields_are_expressions_over_the_field() {
        let found = stages(&doc! { "updatedFields": { "a.b": 1, "x": 2, "a.c": 3 }, "removedFields": [] });
        assert_eq!(found.len(), 1);
        let set = found[0].get_document("$set").expect("a $set stage");
        assert_eq!(set.keys().collect::<Vec<_>>(), ["a", "x"]);
        assert!(set.get_document("a").expect("an expression").contains_key("$let"));
    }

    #[test]
    fn names_that_a_pipeline_would_misread_go_through_the_root() {
        let found = stages(&doc! {
            "updatedFields": { "$cash": 1, "a.b": 2, "": 3, "c": 4 }, "removedFields": ["$x"],
            "disambiguatedPaths": { "a.b": ["a.b"] },
        });
        assert_eq!(found.len(), 1);
        assert!(found[0].contains_key("$replaceWith"));
    }

    #[test]
    fn descriptions_that_no_server_writes_are_errors() {
        for wrong in [
            doc! {},
            doc! { "updatedFields": { "a": 1 } },
            doc! { "removedFields": [] },
            doc! { "updatedFields": 1, "removedFields": [] },
            doc! { "updatedFields": {}, "removedFields": [1] },
            doc! { "updatedFields": {}, "removedFields": [], "somethingNew": 1 },
            doc! { "updatedFields": { "a": 1, "a.b": 2 }, "removedFields": [] },
            doc! { "updatedFields": { "a-b": 0, "a.b.c": 1, "a": 1 }, "removedFields": [] },
            doc! { "updatedFields": { "a": 1 }, "removedFields": ["a"] },
            doc! { "updatedFields": { "a": 1, "a": 2 }, "removedFields": [], "truncatedArrays": [{ "field": "a", "newSize": 1 }] },
            doc! { "updatedFields": {}, "removedFields": [], "truncatedArrays": [{ "field": "a" }] },
            doc! { "updatedFields": {}, "removedFields": [], "truncatedArrays": [{ "field": "a", "newSize": -1 }] },
            doc! { "updatedFields": { "a.b": 1 }, "removedFields": [], "disambiguatedPaths": { "a.b": [1.5] } },
            doc! { "updatedFields": { "a.b": 1 }, "removedFields": [], "disambiguatedPaths": { "a.b": [] } },
            doc! { "updatedFields": { "_id": 1 }, "removedFields": [] },
        ] {
            assert!(compiled(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn stages_are_joined_in_order() {
        let mut joined =
            compiled(&doc! { "updatedFields": { "a": 1 }, "removedFields": ["b"] }).expect("sound");
        joined.append(&compiled(&doc! { "updatedFields": { "c": 1 }, "removedFields": [] }).expect("sound"));
        let names: Vec<_> = joined
            .iter()
            .map(|stage| stage.elements().next().expect("a member").expect("sound").name.to_vec())
            .collect();
        let expected: [&[u8]; 4] = [b"$unset", b"$set", b"$replaceWith", b"$set"];
        assert_eq!(names, expected);
    }
}
