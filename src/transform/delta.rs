//! The walk over what names fields by paths: an update's description and the document's key.
//!
//! Whoever applies the transformed update to the transformed document before it must get the transformed document
//! after it. So an update says nothing of what is left out or set to a constant; a masked value that changed in part
//! is written whole, masked; and paths have the new names.

use std::collections::HashSet;

use super::{
    mask::{Mask, write_redacted},
    program::{Action, Program},
    walk::{Reach, Renamer, begin, copy, end, head},
};
use crate::raw::{Document, Element, Error, kind};

/// The parts of an `updateDescription`; an absent one is empty.
struct Delta<'a> {
    updated: Document<'a>,
    removed: Document<'a>,
    truncated: Document<'a>,
}

/// What an update does at a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Written,
    Removed,
}

/// Paths of masked values that were written already.
type Seen<'a> = HashSet<&'a [u8]>;

impl Program {
    /// Appends a `documentKey`. Its names may be paths: those of a shard key.
    pub(super) fn document_key(&self, key: Document<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        let whole = Delta { updated: key, removed: Document::EMPTY, truncated: Document::EMPTY };
        let mut seen = Seen::new();
        let start = begin(out);
        for element in key.elements() {
            let element = element?;
            match self.constant(element.name) {
                Some(index) if !element.name.contains(&b'.') => self.write_constant(index, out),
                _ => self.entry(&whole, element, &mut seen, out)?,
            }
        }
        end(start, out)
    }

    /// Appends an `updateDescription`.
    pub(super) fn update_description(
        &self,
        description: Document<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let delta = Delta::of(description)?;
        let start = begin(out);
        for element in description.elements() {
            let element = element?;
            let Some(member) = element.as_document() else {
                copy(element, out);
                continue;
            };
            match (element.name, element.kind) {
                (b"updatedFields", kind::DOCUMENT) => {
                    head(element.kind, element.name, out);
                    self.updated_fields(&delta, out)?;
                }
                (b"removedFields", kind::ARRAY) => {
                    head(element.kind, element.name, out);
                    self.removed_fields(&delta, out)?;
                }
                (b"truncatedArrays", kind::ARRAY) => {
                    head(element.kind, element.name, out);
                    self.truncated_arrays(&delta, out)?;
                }
                (b"disambiguatedPaths", kind::DOCUMENT) => {
                    head(element.kind, element.name, out);
                    self.disambiguated_paths(&delta, member, out)?;
                }
                _ => copy(element, out),
            }
        }
        end(start, out)
    }

    fn updated_fields(&self, delta: &Delta<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut seen = Seen::new();
        let start = begin(out);
        for element in delta.updated.elements() {
            let element = element?;
            if self.constant(element.name).is_none() {
                self.entry(delta, element, &mut seen, out)?;
            }
        }
        if self.has_hashes {
            self.stale_hashes(delta, &mut seen, out)?;
        }
        end(start, out)
    }

    /// Appends one field named by its path, if it stays.
    fn entry<'a>(
        &self,
        delta: &Delta<'_>,
        element: Element<'a>,
        seen: &mut Seen<'a>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let reach = self.reach(self.root(), element.name);
        let is_known = match reach {
            Reach::Dropped => true,
            Reach::Below(_, length) => !seen.insert(&element.name[..length]),
            Reach::Untouched | Reach::At(_) => false,
        };
        if is_known || self.is_overruled_in(delta, element.name, Change::Written)? {
            return Ok(());
        }
        self.field(self.root(), &reach, element, 1, out)
    }

    /// A hashed value of which something was removed or cut off has another hash now, which cannot be told from this.
    fn stale_hashes<'a>(
        &self,
        delta: &Delta<'a>,
        seen: &mut Seen<'a>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        for path in delta.removed_paths() {
            let path = path?;
            if let Reach::Below(Mask::Hash(_), length) = self.reach(self.root(), path) {
                self.stale_hash(&path[..length], seen, out);
            }
        }
        for path in delta.truncated_paths() {
            let path = path?;
            match self.reach(self.root(), path) {
                Reach::Below(Mask::Hash(_), length) => self.stale_hash(&path[..length], seen, out),
                Reach::At(state) if matches!(state.action, Action::Mask(Mask::Hash(_))) => {
                    self.stale_hash(path, seen, out);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn stale_hash<'a>(&self, path: &'a [u8], seen: &mut Seen<'a>, out: &mut Vec<u8>) {
        if !seen.insert(path) || self.constant(path).is_some() {
            return;
        }
        out.push(kind::STRING);
        self.write_name(self.root(), path, out);
        out.push(0);
        write_redacted(out);
    }

    fn removed_fields(&self, delta: &Delta<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut list = List::begin(out);
        for element in delta.removed.elements() {
            let element = element?;
            let Some(path) = element.as_text() else {
                list.head(element, out);
                out.extend_from_slice(element.value);
                continue;
            };
            if self.stays(delta, path, Change::Removed)? {
                list.head(element, out);
                self.write_path(path, out);
            } else {
                list.skip();
            }
        }
        list.end(out)
    }

    fn truncated_arrays(&self, delta: &Delta<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut list = List::begin(out);
        for element in delta.truncated.elements() {
            let element = element?;
            let member = element.as_document();
            let Some((member, path)) = member.zip(truncated_path(element)?) else {
                list.head(element, out);
                out.extend_from_slice(element.value);
                continue;
            };
            let is_masked = matches!(self.reach(self.root(), path),
                Reach::At(state) if state.action != Action::Walk);
            if is_masked || !self.stays(delta, path, Change::Written)? {
                list.skip();
                continue;
            }
            list.head(element, out);
            let start = begin(out);
            for part in member.elements() {
                let part = part?;
                if part.name == b"field" {
                    head(part.kind, part.name, out);
                    self.write_path(path, out);
                } else {
                    copy(part, out);
                }
            }
            end(start, out)?;
        }
        list.end(out)
    }

    fn disambiguated_paths(
        &self,
        delta: &Delta<'_>,
        paths: Document<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let mut seen = Seen::new();
        let start = begin(out);
        for element in paths.elements() {
            let element = element?;
            let path = element.name;
            let change = if delta.removes(path)? { Change::Removed } else { Change::Written };
            let reach = self.reach(self.root(), path);
            let length = match reach {
                Reach::Below(_, length) => length,
                _ => path.len(),
            };
            let is_known = matches!(reach, Reach::Below(..)) && !seen.insert(&path[..length]);
            if matches!(reach, Reach::Dropped)
                || is_known
                || self.constant(path).is_some()
                || self.is_overruled_in(delta, path, change)?
            {
                continue;
            }
            let Some(steps) = element.as_document() else {
                copy(element, out);
                continue;
            };
            out.push(element.kind);
            self.write_name(self.root(), &path[..length], out);
            out.push(0);
            self.steps(steps, length, out)?;
        }
        end(start, out)
    }

    /// Appends the steps of a path whose dotted form has this length, with their new names.
    fn steps(&self, steps: Document<'_>, length: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut renamer = Renamer::new(self, self.root());
        let mut covered = 0;
        let start = begin(out);
        for step in steps.elements() {
            let step = step?;
            if covered > length {
                break;
            }
            head(step.kind, step.name, out);
            if let Some(name) = step.as_text() {
                let text_start = out.len();
                out.extend_from_slice(&[0; 4]);
                renamer.write(name, out);
                end_text(text_start, out)?;
                covered += name.len() + 1;
            } else {
                let mut digits = itoa::Buffer::new();
                let index = digits.format(step.as_i64().unwrap_or_default());
                renamer.next(index.as_bytes());
                covered += index.len() + 1;
                out.extend_from_slice(step.value);
            }
        }
        end(start, out)
    }

    /// Whether an update still says of this path that it was removed, or its array cut.
    fn stays(&self, delta: &Delta<'_>, path: &[u8], change: Change) -> Result<bool, Error> {
        let is_shown = matches!(self.reach(self.root(), path), Reach::Untouched | Reach::At(_));
        Ok(is_shown && self.constant(path).is_none() && !self.is_overruled_in(delta, path, change)?)
    }

    /// Appends a path as a BSON string value.
    fn write_path(&self, path: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        self.write_name(self.root(), path, out);
        end_text(start, out).expect("a path is shorter than 2 GB");
    }

    /// Whether the update says more of another field that gets the same name as one on this path. Only what the update
    /// itself tells counts: of a field that it does not name nothing is known.
    fn is_overruled_in(&self, delta: &Delta<'_>, path: &[u8], change: Change) -> Result<bool, Error> {
        if !self.has_renames {
            return Ok(false);
        }
        let mut state = self.root();
        let mut start = 0;
        for name in path.split(|byte| *byte == b'.') {
            let before = &path[..start];
            for rival in state.rivals(name) {
                if delta.writes(before, &rival.source)?
                    || change == Change::Removed && delta.removes_in(before, &rival.source)?
                {
                    return Ok(true);
                }
            }
            let step =
                if start == 0 { self.step_by_name(state, name) } else { self.step_by_any(state, name) };
            let is_last = start + name.len() == path.len();
            if let Some(new_name) = step.rename.filter(|_| change == Change::Removed && is_last) {
                // What another field wrote under this name would be removed.
                let mut others = state.targets.iter().filter(|target| *target.name == *new_name);
                let is_written = delta.writes(before, new_name)?
                    || others.try_fold(false, |found, other| {
                        Ok::<_, Error>(
                            found || *other.source != *name && delta.writes(before, &other.source)?,
                        )
                    })?;
                if is_written {
                    return Ok(true);
                }
            }
            let Some(next) = step.state else { break };
            state = next;
            start += name.len() + 1;
        }
        Ok(false)
    }
}

impl<'a> Delta<'a> {
    fn of(description: Document<'a>) -> Result<Self, Error> {
        let mut delta =
            Self { updated: Document::EMPTY, removed: Document::EMPTY, truncated: Document::EMPTY };
        for element in description.elements() {
            let element = element?;
            let Some(member) = element.as_document() else { continue };
            match (element.name, element.kind) {
                (b"updatedFields", kind::DOCUMENT) => delta.updated = member,
                (b"removedFields", kind::ARRAY) => delta.removed = member,
                (b"truncatedArrays", kind::ARRAY) => delta.truncated = member,
                _ => {}
            }
        }
        Ok(delta)
    }

    fn removed_paths(&self) -> impl Iterator<Item = Result<&'a [u8], Error>> + use<'a> {
        self.removed.elements().filter_map(|element| element.map(Element::as_text).transpose())
    }

    fn truncated_paths(&self) -> impl Iterator<Item = Result<&'a [u8], Error>> + use<'a> {
        self.truncated.elements().filter_map(|element| element.and_then(truncated_path).transpose())
    }

    /// Whether a value at or below this field of the document at `before` was written or cut.
    fn writes(&self, before: &[u8], name: &[u8]) -> Result<bool, Error> {
        let written = self.updated.elements().map(|element| Ok(element?.name));
        any(written.chain(self.truncated_paths()), |path| is_in(path, before, name))
    }

    fn removes_in(&self, before: &[u8], name: &[u8]) -> Result<bool, Error> {
        any(self.removed_paths(), |path| is_in(path, before, name))
    }

    fn removes(&self, path: &[u8]) -> Result<bool, Error> {
        any(self.removed_paths(), |removed| removed == path)
    }
}

fn any<'a>(
    mut paths: impl Iterator<Item = Result<&'a [u8], Error>>,
    matches: impl Fn(&[u8]) -> bool,
) -> Result<bool, Error> {
    paths.try_fold(false, |found, path| Ok(found || matches(path?)))
}

/// `before` ends with a dot, or is empty.
fn is_in(path: &[u8], before: &[u8], name: &[u8]) -> bool {
    let rest = path.strip_prefix(before).and_then(|rest| rest.strip_prefix(name));
    rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'.')
}

fn truncated_path(element: Element<'_>) -> Result<Option<&[u8]>, Error> {
    let Some(member) = element.as_document() else { return Ok(None) };
    Ok(member.get("field")?.and_then(Element::as_text))
}

/// Fills in the length of a string value that begins at `start`, and ends it.
fn end_text(start: usize, out: &mut Vec<u8>) -> Result<(), Error> {
    out.push(0);
    let length = i32::try_from(out.len() - start - 4)
        .map_err(|_| Error { at: 0, what: "more than 2 GB in a transformed path" })?;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// An array that is being written; once an item was skipped, those after it are counted anew.
struct List {
    start: usize,
    count: usize,
    has_gap: bool,
}

impl List {
    fn begin(out: &mut Vec<u8>) -> Self {
        Self { start: begin(out), count: 0, has_gap: false }
    }

    fn head(&mut self, element: Element<'_>, out: &mut Vec<u8>) {
        if self.has_gap {
            head(element.kind, itoa::Buffer::new().format(self.count).as_bytes(), out);
        } else {
            head(element.kind, element.name, out);
        }
        self.count += 1;
    }

    fn skip(&mut self) {
        self.has_gap = true;
    }

    fn end(self, out: &mut Vec<u8>) -> Result<(), Error> {
        end(self.start, out)
    }
}
