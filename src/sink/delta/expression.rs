//! Nested changes as aggregation expressions that no value can make fail. Pure.
//!
//! A container with changes below it becomes two nested `$let`s: `$$v` is what stands there, made into a container
//! of the right kind, `$$n0`, `$$n1`, … are the new values of its children, and the body puts them in. Flat forms
//! (`$mergeObjects`, `$concatArrays`) keep the depth at six levels of BSON for each step of a path; the server
//! takes 200.

use super::paths::{Action, Child, Path, Position, group};
use crate::raw::{Document, Writer};

/// Where an expression finds the value that it changes. Always short, so it may be written more than once.
pub(super) enum Place<'a> {
    /// The document itself.
    Root,
    /// A top-level field with a plain name.
    Top(&'a [u8]),
    /// A field of the object `$$v`.
    Field(&'a [u8]),
    /// An element of the array `$$v`.
    Element(i32),
    /// An element of `$$v` if that is an array, else a field of it.
    Either(&'a [u8], i32),
    /// `$$v` itself.
    Variable,
}

/// What a value with changes below it has to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Object,
    Array,
    /// An array if it is one, else an object.
    Either,
}

/// Writes the new value of `place`; `paths` are the changes at and below it, whose first `depth` steps lead to it.
pub(super) fn write_value(
    writer: &mut Writer,
    name: &[u8],
    paths: &[Path<'_>],
    depth: usize,
    place: &Place<'_>,
) {
    let at_end = paths[0].components.len() == depth;
    match paths[0].action {
        Action::Set(element) if at_end => operator(writer, name, |writer| {
            writer.value(b"$literal", element.kind, element.value);
        }),
        // Of an array's element nothing else than a null can remain. Removed fields are left out by their object.
        Action::Unset if at_end => operator(writer, name, |writer| writer.null(b"$literal")),
        Action::Truncate(length) if at_end && paths.len() == 1 => condition(
            writer,
            name,
            |writer, name| is_shape(writer, name, Shape::Array, place),
            |writer, name| first_elements(writer, name, length, |writer, name| place.write(writer, name)),
            |writer, name| place.write(writer, name),
        ),
        Action::Truncate(length) if at_end => {
            write_container(writer, name, &paths[1..], depth, place, Some(length));
        }
        _ => write_container(writer, name, paths, depth, place, None),
    }
}

/// Writes an object at `place` with the changes below it.
pub(super) fn write_object(
    writer: &mut Writer,
    name: &[u8],
    paths: &[Path<'_>],
    depth: usize,
    place: &Place<'_>,
) {
    let children = group(paths, depth);
    write_changed(writer, name, &Container { shape: Shape::Object, cut: None, children, depth }, place);
}

struct Container<'p, 'a> {
    shape: Shape,
    /// The length to which the array is cut first.
    cut: Option<i32>,
    children: Vec<Child<'p, 'a>>,
    depth: usize,
}

fn write_container(
    writer: &mut Writer,
    name: &[u8],
    paths: &[Path<'_>],
    depth: usize,
    place: &Place<'_>,
    cut: Option<i32>,
) {
    let children = group(paths, depth);
    let mut shape = Shape::Array;
    for child in &children {
        shape = match child.component.position {
            Position::Field => Shape::Object,
            // What was cut was an array, whatever else the numbers could mean.
            Position::Either(_) if shape == Shape::Array && cut.is_none() => Shape::Either,
            _ => shape,
        };
        if shape == Shape::Object {
            break;
        }
    }
    let container = Container { shape, cut, children, depth };
    if paths.iter().any(|path| matches!(path.action, Action::Set(_))) {
        return write_changed(writer, name, &container, place);
    }
    // Where something is only taken away, nothing has to come into being.
    condition(
        writer,
        name,
        |writer, name| is_shape(writer, name, shape, place),
        |writer, name| write_changed(writer, name, &container, place),
        |writer, name| place.write(writer, name),
    );
}

fn write_changed(writer: &mut Writer, name: &[u8], container: &Container<'_, '_>, place: &Place<'_>) {
    let value = |writer: &mut Writer, name: &[u8]| match container.shape {
        Shape::Object => object_or_empty(writer, name, place),
        Shape::Array => container.write_padded(writer, name, place),
        Shape::Either => condition(
            writer,
            name,
            |writer, name| is_shape(writer, name, Shape::Array, place),
            |writer, name| container.write_padded(writer, name, place),
            |writer, name| object_or_empty(writer, name, place),
        ),
    };
    with_variables(
        writer,
        name,
        |writer| value(writer, b"v"),
        |writer, name| {
            with_variables(
                writer,
                name,
                |writer| container.write_children(writer),
                |writer, name| container.write_body(writer, name),
            );
        },
    );
}

impl Container<'_, '_> {
    fn write_children(&self, writer: &mut Writer) {
        for (number, child) in self.children.iter().enumerate() {
            let name = &child.component.name;
            let place = match (self.shape, child.component.position) {
                (Shape::Object, _) | (_, Position::Field) => Place::Field(name),
                (Shape::Array, Position::Index(index) | Position::Either(index)) => Place::Element(index),
                (Shape::Either, Position::Index(index) | Position::Either(index)) => {
                    Place::Either(name, index)
                }
            };
            if self.shape == Shape::Object && self.is_removed(child) {
                continue;
            }
            write_value(writer, variable(number).as_bytes(), child.paths, self.depth + 1, &place);
        }
    }

    fn write_body(&self, writer: &mut Writer, name: &[u8]) {
        match self.shape {
            Shape::Object => self.write_fields(writer, name),
            Shape::Array => self.write_elements(writer, name),
            Shape::Either => condition(
                writer,
                name,
                |writer, name| is_shape(writer, name, Shape::Array, &Place::Variable),
                |writer, name| self.write_elements(writer, name),
                |writer, name| self.write_fields(writer, name),
            ),
        }
    }

    /// Whether the field itself is removed.
    fn is_removed(&self, child: &Child<'_, '_>) -> bool {
        child.paths[0].components.len() == self.depth + 1 && child.paths[0].action == Action::Unset
    }

    /// The object `$$v` with the new values.
    fn write_fields(&self, writer: &mut Writer, name: &[u8]) {
        let numbered = || self.children.iter().enumerate().filter(|(_, child)| !self.is_removed(child));
        match numbered().count() {
            0 => self.write_without_removed(writer, name),
            1 => {
                let (number, child) = numbered().next().expect("there is one");
                operator(writer, name, |writer| {
                    writer.begin_document(b"$setField");
                    literal_name(writer, b"field", &child.component.name);
                    self.write_settled(writer, b"input");
                    reference(writer, b"value", number);
                    writer.end();
                });
            }
            _ => operator(writer, name, |writer| {
                writer.begin_array(b"$mergeObjects");
                self.write_without_removed(writer, b"0");
                operator(writer, b"1", |writer| {
                    writer.begin_document(b"$arrayToObject");
                    write_present_pairs(writer, |writer| {
                        for (at, (number, child)) in numbered().enumerate() {
                            writer.begin_document(itoa::Buffer::new().format(at).as_bytes());
                            literal_name(writer, b"k", &child.component.name);
                            reference(writer, b"v", number);
                            writer.end();
                        }
                    });
                    writer.end();
                });
                writer.end();
            }),
        }
    }

    /// As [`Self::write_without_removed`], and the fields that an earlier stage took away are forgotten: `$setField`
    /// would put one that comes back into its old place. `$mergeObjects` never does.
    fn write_settled(&self, writer: &mut Writer, name: &[u8]) {
        operator(writer, name, |writer| {
            writer.begin_array(b"$mergeObjects");
            self.write_without_removed(writer, b"0");
            writer.end();
        });
    }

    fn write_without_removed(&self, writer: &mut Writer, name: &[u8]) {
        let removed: Vec<_> = self.children.iter().filter(|child| self.is_removed(child)).collect();
        if removed.is_empty() {
            return Place::Variable.write(writer, name);
        }
        operator(writer, name, |writer| {
            writer.begin_document(b"$arrayToObject");
            writer.begin_document(b"$filter");
            operator(writer, b"input", |writer| writer.string(b"$objectToArray", b"$$v"));
            writer.begin_document(b"cond");
            writer.begin_array(b"$not");
            writer.begin_document(b"0");
            writer.begin_array(b"$in");
            writer.string(b"0", b"$$this.k");
            writer.begin_document(b"1");
            writer.begin_array(b"$literal");
            for (at, child) in removed.iter().enumerate() {
                writer.string(itoa::Buffer::new().format(at).as_bytes(), &child.component.name);
            }
            for _ in 0..7 {
                writer.end();
            }
            writer.end();
        });
    }

    /// The array `$$v` with the new values; it is long enough.
    fn write_elements(&self, writer: &mut Writer, name: &[u8]) {
        operator(writer, name, |writer| {
            writer.begin_array(b"$concatArrays");
            let mut parts = Parts { writer, count: 0 };
            let mut next = 0;
            let mut numbered: Vec<_> = self.children.iter().enumerate().collect();
            numbered.sort_by_key(|(_, child)| index(child));
            for (number, child) in numbered {
                let index = index(child);
                parts.between(next, index);
                parts.one(number);
                next = index + 1;
            }
            parts.rest(next);
            writer.end();
        });
    }

    /// The array at `place`, cut, and long enough for all children.
    fn write_padded(&self, writer: &mut Writer, name: &[u8], place: &Place<'_>) {
        let whole = |writer: &mut Writer, name: &[u8]| {
            if self.shape == Shape::Either {
                return place.write(writer, name);
            }
            condition(
                writer,
                name,
                |writer, name| is_shape(writer, name, Shape::Array, place),
                |writer, name| place.write(writer, name),
                empty_array,
            );
        };
        let cut = |writer: &mut Writer, name: &[u8]| match self.cut {
            Some(length) => first_elements(writer, name, length, whole),
            None => whole(writer, name),
        };
        let needed = self.children.iter().map(|child| index(child) + 1).max().unwrap_or(0);
        operator(writer, name, |writer| {
            writer.begin_array(b"$concatArrays");
            cut(writer, b"0");
            writer.begin_document(b"1");
            writer.begin_document(b"$map");
            writer.begin_document(b"input");
            writer.begin_array(b"$range");
            operator(writer, b"0", |writer| cut(writer, b"$size"));
            writer.int32(b"1", needed);
            writer.end();
            writer.end();
            operator(writer, b"in", |writer| writer.null(b"$literal"));
            writer.end();
            writer.end();
            writer.end();
        });
    }
}

/// The parts of an array that is put together again.
struct Parts<'w> {
    writer: &'w mut Writer,
    count: usize,
}

impl Parts<'_> {
    fn part(&mut self, build: impl FnOnce(&mut Writer, &[u8])) {
        build(self.writer, itoa::Buffer::new().format(self.count).as_bytes());
        self.count += 1;
    }

    /// The elements of `$$v` from `start` up to `end`. `$slice` refuses to take none.
    fn between(&mut self, start: i32, end: i32) {
        if start < end {
            self.part(|writer, name| {
                slice(writer, name, start, |writer, name| writer.int32(name, end - start));
            });
        }
    }

    fn rest(&mut self, start: i32) {
        self.part(|writer, name| {
            slice(writer, name, start, |writer, name| {
                operator(writer, name, |writer| {
                    writer.begin_array(b"$max");
                    writer.int32(b"0", 1);
                    operator(writer, b"1", |writer| writer.string(b"$size", b"$$v"));
                    writer.end();
                });
            });
        });
    }

    fn one(&mut self, number: usize) {
        self.part(|writer, name| {
            writer.begin_array(name);
            reference(writer, b"0", number);
            writer.end();
        });
    }
}

impl Place<'_> {
    fn write(&self, writer: &mut Writer, name: &[u8]) {
        match self {
            Self::Root => writer.string(name, b"$$ROOT"),
            Self::Top(field) => writer.string(name, &[b"$", *field].concat()),
            Self::Field(field) => get_field(writer, name, field),
            Self::Element(index) => element_at(writer, name, *index),
            Self::Either(field, index) => condition(
                writer,
                name,
                |writer, name| is_shape(writer, name, Shape::Array, &Place::Variable),
                |writer, name| element_at(writer, name, *index),
                |writer, name| get_field(writer, name, field),
            ),
            Self::Variable => writer.string(name, b"$$v"),
        }
    }
}

fn index(child: &Child<'_, '_>) -> i32 {
    match child.component.position {
        Position::Index(index) | Position::Either(index) => index,
        Position::Field => 0,
    }
}

fn variable(number: usize) -> String {
    format!("n{number}")
}

fn reference(writer: &mut Writer, name: &[u8], number: usize) {
    writer.string(name, format!("$$n{number}").as_bytes());
}

fn operator(writer: &mut Writer, name: &[u8], build: impl FnOnce(&mut Writer)) {
    writer.begin_document(name);
    build(writer);
    writer.end();
}

fn with_variables(
    writer: &mut Writer,
    name: &[u8],
    variables: impl FnOnce(&mut Writer),
    body: impl FnOnce(&mut Writer, &[u8]),
) {
    operator(writer, name, |writer| {
        writer.begin_document(b"$let");
        writer.begin_document(b"vars");
        variables(writer);
        writer.end();
        body(writer, b"in");
        writer.end();
    });
}

fn condition(
    writer: &mut Writer,
    name: &[u8],
    test: impl FnOnce(&mut Writer, &[u8]),
    yes: impl FnOnce(&mut Writer, &[u8]),
    no: impl FnOnce(&mut Writer, &[u8]),
) {
    operator(writer, name, |writer| {
        writer.begin_array(b"$cond");
        test(writer, b"0");
        yes(writer, b"1");
        no(writer, b"2");
        writer.end();
    });
}

fn is_shape(writer: &mut Writer, name: &[u8], shape: Shape, place: &Place<'_>) {
    operator(writer, name, |writer| match shape {
        Shape::Array | Shape::Object => {
            writer.begin_array(b"$eq");
            operator(writer, b"0", |writer| place.write(writer, b"$type"));
            writer.string(b"1", if shape == Shape::Array { b"array" } else { b"object" });
            writer.end();
        }
        Shape::Either => {
            writer.begin_array(b"$or");
            is_shape(writer, b"0", Shape::Array, place);
            is_shape(writer, b"1", Shape::Object, place);
            writer.end();
        }
    });
}

fn object_or_empty(writer: &mut Writer, name: &[u8], place: &Place<'_>) {
    condition(
        writer,
        name,
        |writer, name| is_shape(writer, name, Shape::Object, place),
        |writer, name| place.write(writer, name),
        |writer, name| operator(writer, name, |writer| writer.document(b"$literal", Document::EMPTY)),
    );
}

fn empty_array(writer: &mut Writer, name: &[u8]) {
    writer.begin_array(name);
    writer.end();
}

/// A name as a name and not as a path or a variable.
fn literal_name(writer: &mut Writer, name: &[u8], field: &[u8]) {
    operator(writer, name, |writer| writer.string(b"$literal", field));
}

fn get_field(writer: &mut Writer, name: &[u8], field: &[u8]) {
    operator(writer, name, |writer| {
        writer.begin_document(b"$getField");
        literal_name(writer, b"field", field);
        writer.string(b"input", b"$$v");
        writer.end();
    });
}

fn element_at(writer: &mut Writer, name: &[u8], index: i32) {
    operator(writer, name, |writer| {
        writer.begin_array(b"$arrayElemAt");
        writer.string(b"0", b"$$v");
        writer.int32(b"1", index);
        writer.end();
    });
}

/// The first `length` elements of an array, or all if it is shorter.
fn first_elements(writer: &mut Writer, name: &[u8], length: i32, array: impl FnOnce(&mut Writer, &[u8])) {
    if length == 0 {
        return empty_array(writer, name);
    }
    operator(writer, name, |writer| {
        writer.begin_array(b"$slice");
        array(writer, b"0");
        writer.int32(b"1", length);
        writer.end();
    });
}

/// Elements of `$$v` from `start` on.
fn slice(writer: &mut Writer, name: &[u8], start: i32, count: impl FnOnce(&mut Writer, &[u8])) {
    operator(writer, name, |writer| {
        writer.begin_array(b"$slice");
        writer.string(b"0", b"$$v");
        writer.int32(b"1", start);
        count(writer, b"2");
        writer.end();
    });
}

/// Pairs whose value is not missing: a child from which something is only taken away may not be there.
fn write_present_pairs(writer: &mut Writer, pairs: impl FnOnce(&mut Writer)) {
    writer.begin_document(b"$filter");
    writer.begin_array(b"input");
    pairs(writer);
    writer.end();
    writer.begin_document(b"cond");
    writer.begin_array(b"$ne");
    operator(writer, b"0", |writer| writer.string(b"$type", b"$$this.v"));
    writer.string(b"1", b"missing");
    writer.end();
    writer.end();
    writer.end();
}
