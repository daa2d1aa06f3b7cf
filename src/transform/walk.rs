//! The walk over documents, and what it shares with the walk over an update's parts.

use super::{
    mask::{Mask, write_redacted},
    program::{Action, Program, State, Target},
};
use crate::raw::{Document, Element, Error, kind};

/// As deep as the rest of the program goes; servers allow less.
const MOST_LEVELS: usize = 200;

/// Where a name leads. Names in documents, too, are taken apart at their dots: a field that is itself called `a.b` is
/// meant by the same rules as the field `b` in `a`, because in an update the two look alike.
pub(super) enum Reach<'p> {
    /// To nothing that a rule names: the value stays as it is.
    Untouched,
    /// To something that goes.
    Dropped,
    /// To a value that this state says about.
    At(&'p State),
    /// Into a masked value, whose own path is this long.
    Below(Mask, usize),
}

/// Gives the names on one path their new form, one after the other.
pub(super) struct Renamer<'p> {
    program: &'p Program,
    state: Option<&'p State>,
    is_first: bool,
}

impl<'p> Renamer<'p> {
    pub(super) fn new(program: &'p Program, state: &'p State) -> Self {
        Self { program, state: Some(state), is_first: true }
    }

    pub(super) fn next<'n>(&mut self, name: &'n [u8]) -> &'n [u8]
    where
        'p: 'n,
    {
        let Some(state) = self.state else { return name };
        let step = if self.is_first {
            self.program.step_by_name(state, name)
        } else {
            self.program.step_by_any(state, name)
        };
        self.is_first = false;
        self.state = step.state;
        step.rename.unwrap_or(name)
    }

    /// Appends `path`, which may be some names with dots between them.
    pub(super) fn write(&mut self, path: &[u8], out: &mut Vec<u8>) {
        for (index, name) in path.split(|byte| *byte == b'.').enumerate() {
            if index > 0 {
                out.push(b'.');
            }
            out.extend_from_slice(self.next(name));
        }
    }
}

impl Program {
    /// Appends a document of the namespace.
    pub(super) fn image(&self, document: Document<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        if self.constants.is_empty() {
            return self.fields(self.root(), document, 1, out);
        }
        let start = begin(out);
        for element in document.elements() {
            let element = element?;
            let reach = self.reach(self.root(), element.name);
            if matches!(reach, Reach::Dropped) || self.is_overruled(self.root(), element.name, document)? {
                continue;
            }
            match self.constant(element.name) {
                None => self.field(self.root(), &reach, element, 1, out)?,
                Some(index) if !element.name.contains(&b'.') => self.write_constant(index, out),
                Some(_) => {}
            }
        }
        for index in 0..self.constants.len() {
            if !self.has_place(index, document)? {
                self.write_constant(index, out);
            }
        }
        end(start, out)
    }

    /// Whether a field of the document gave its place to this constant.
    fn has_place(&self, index: usize, document: Document<'_>) -> Result<bool, Error> {
        for element in document.elements() {
            let name = element?.name;
            if self.constant(name) == Some(index)
                && !name.contains(&b'.')
                && !matches!(self.reach(self.root(), name), Reach::Dropped)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The constant that stands where the field with this name, or path, would.
    pub(super) fn constant(&self, name: &[u8]) -> Option<usize> {
        if self.constants.is_empty() {
            return None;
        }
        let first = name.split(|byte| *byte == b'.').next().unwrap_or_default();
        let new_name = Renamer::new(self, self.root()).next(first);
        self.constants.iter().position(|constant| *constant.name == *new_name)
    }

    pub(super) fn write_constant(&self, index: usize, out: &mut Vec<u8>) {
        let constant = &self.constants[index];
        copy(Element { kind: constant.kind, name: &constant.name, value: &constant.value }, out);
    }

    fn fields(
        &self,
        state: &State,
        document: Document<'_>,
        level: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        check_level(level)?;
        let start = begin(out);
        for element in document.elements() {
            let element = element?;
            let reach = self.reach(state, element.name);
            if matches!(reach, Reach::Dropped) || self.is_overruled(state, element.name, document)? {
                continue;
            }
            self.field(state, &reach, element, level, out)?;
        }
        end(start, out)
    }

    /// Appends an element that stays: callers leave out what is dropped. `state` is that of the document around it.
    pub(super) fn field(
        &self,
        state: &State,
        reach: &Reach<'_>,
        element: Element<'_>,
        level: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let kind_at = out.len();
        out.push(element.kind);
        match reach {
            Reach::Below(_, length) => self.write_name(state, &element.name[..*length], out),
            _ => self.write_name(state, element.name, out),
        }
        out.push(0);
        out[kind_at] = match reach {
            Reach::Untouched | Reach::Dropped => {
                out.extend_from_slice(element.value);
                element.kind
            }
            // The hash of the whole value cannot be told from a part.
            Reach::Below(..) => {
                write_redacted(out);
                kind::STRING
            }
            Reach::At(state) => self.value(state, element, level, out)?,
        };
        Ok(())
    }

    /// Appends the element's value as `state` has it; the kind that it has now.
    fn value(
        &self,
        state: &State,
        element: Element<'_>,
        level: usize,
        out: &mut Vec<u8>,
    ) -> Result<u8, Error> {
        match (state.action, element.as_document()) {
            (Action::Mask(Mask::Redact), _) => {
                write_redacted(out);
                return Ok(kind::STRING);
            }
            (Action::Mask(Mask::Hash(index)), _) => {
                self.hashers[index].write(element, out);
                return Ok(kind::STRING);
            }
            (Action::Walk, Some(inner)) if !state.is_untouched() => {
                if element.kind == kind::ARRAY {
                    self.items(state, inner, level + 1, out)?;
                } else {
                    self.fields(state, inner, level + 1, out)?;
                }
            }
            // Something in here was asked for, but this is no document. It must not pass; null keeps its place.
            (Action::Walk, None) if !state.keeps_others => return Ok(kind::NULL),
            (Action::Walk | Action::Drop, _) => out.extend_from_slice(element.value),
        }
        Ok(element.kind)
    }

    fn items(
        &self,
        state: &State,
        array: Document<'_>,
        level: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        check_level(level)?;
        let start = begin(out);
        for item in array.elements() {
            let item = item?;
            let kind_at = out.len();
            head(item.kind, item.name, out);
            out[kind_at] = self.value(state, item, level, out)?;
        }
        end(start, out)
    }

    /// Follows a name, or a path of names with dots between them, from a document at `state`.
    pub(super) fn reach<'p>(&'p self, state: &'p State, path: &[u8]) -> Reach<'p> {
        if let Some(edge) = state.edge(path) {
            return reached(self.target(edge));
        }
        let mut state = state;
        let mut length = 0;
        for name in path.split(|byte| *byte == b'.') {
            let step = if length == 0 {
                self.step_by_name(state, name)
            } else {
                match state.action {
                    Action::Walk => self.step_by_any(state, name),
                    Action::Drop => return Reach::Dropped,
                    Action::Mask(mask) => return Reach::Below(mask, length - 1),
                }
            };
            match step.state {
                Some(next) => state = next,
                None if state.keeps_others => return Reach::Untouched,
                None => return Reach::Dropped,
            }
            length += name.len() + 1;
        }
        reached(state)
    }

    pub(super) fn write_name(&self, state: &State, name: &[u8], out: &mut Vec<u8>) {
        if self.has_renames {
            Renamer::new(self, state).write(name, out);
        } else {
            out.extend_from_slice(name);
        }
    }

    /// Whether another field of the document gets this one's name and counts more: a renamed field counts more than
    /// one that had the name before, and a later rename more than an earlier one.
    fn is_overruled(&self, state: &State, name: &[u8], document: Document<'_>) -> Result<bool, Error> {
        for target in state.rivals(name) {
            for element in document.elements() {
                if element?.name == &*target.source {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

impl State {
    /// The renames that take the name that this field has afterwards, and count more.
    pub(super) fn rivals<'s>(&'s self, name: &'s [u8]) -> impl Iterator<Item = &'s Target> {
        let own = self.targets.iter().position(|target| *target.source == *name);
        let new_name = own.map_or(name, |index| &*self.targets[index].name);
        let stronger = &self.targets[own.map_or(0, |index| index + 1)..];
        stronger.iter().filter(move |target| *target.name == *new_name)
    }
}

fn reached(state: &State) -> Reach<'_> {
    if state.action == Action::Drop { Reach::Dropped } else { Reach::At(state) }
}

fn check_level(level: usize) -> Result<(), Error> {
    if level > MOST_LEVELS {
        return Err(Error { at: 0, what: "nested more than 200 levels deep" });
    }
    Ok(())
}

/// Begins a document or array: where it begins.
pub(super) fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    start
}

/// Ends the document or array that begins at `start`.
pub(super) fn end(start: usize, out: &mut Vec<u8>) -> Result<(), Error> {
    out.push(0);
    let length = i32::try_from(out.len() - start)
        .map_err(|_| Error { at: 0, what: "more than 2 GB in a transformed document" })?;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// Appends an element's type and name.
pub(super) fn head(kind: u8, name: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(name);
    out.push(0);
}

/// Appends an element as it is.
pub(super) fn copy(element: Element<'_>, out: &mut Vec<u8>) {
    head(element.kind, element.name, out);
    out.extend_from_slice(element.value);
}
