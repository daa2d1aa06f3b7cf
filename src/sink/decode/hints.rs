//! Fields that lost their type on the way through JSON get it back. Pure.
//!
//! A path goes through arrays: it means the field in each of their documents, and each item of an array at its end. What
//! is null or not there stays so; what has the type already, too.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::Error;
use crate::{
    config::TypeHint,
    json,
    raw::{Document, Element, Writer, kind},
};

/// `document` with the types of `hints`. With `parts`, the paths begin in these fields and not in the document itself.
pub(super) fn apply(
    hints: &BTreeMap<String, TypeHint>,
    document: Document<'_>,
    parts: &[&str],
) -> Result<Vec<u8>, Error> {
    let hints: Vec<_> = hints.iter().map(|(path, hint)| (path.as_str(), *hint)).collect();
    let mut walk =
        Walk { writer: Writer::new(Vec::with_capacity(document.as_bytes().len())), path: Vec::new() };
    walk.writer.begin();
    if parts.is_empty() {
        walk.members(document, &hints)?;
    } else {
        for element in document.elements().map(sound) {
            let is_part = parts.iter().any(|part| part.as_bytes() == element.name);
            match element.as_document().filter(|_| is_part && element.kind == kind::DOCUMENT) {
                Some(inner) => {
                    walk.writer.begin_document(element.name);
                    walk.members(inner, &hints)?;
                    walk.writer.end();
                }
                None => walk.writer.value(element.name, element.kind, element.value),
            }
        }
    }
    walk.writer.end();
    Ok(walk.writer.into_bytes())
}

fn sound<E: std::fmt::Debug>(element: Result<Element<'_>, E>) -> Element<'_> {
    element.expect("it was checked when it was read")
}

struct Walk<'a> {
    writer: Writer,
    path: Vec<&'a [u8]>,
}

impl<'a> Walk<'a> {
    fn members(&mut self, document: Document<'a>, hints: &[(&str, TypeHint)]) -> Result<(), Error> {
        for element in document.elements().map(sound) {
            let mut own = None;
            let mut deeper = Vec::new();
            for (path, hint) in hints {
                match path.split_once('.') {
                    None if path.as_bytes() == element.name => own = Some(*hint),
                    Some((first, rest)) if first.as_bytes() == element.name => deeper.push((rest, *hint)),
                    _ => {}
                }
            }
            self.path.push(element.name);
            self.value(element, own, &deeper)?;
            self.path.pop();
        }
        Ok(())
    }

    fn value(
        &mut self,
        element: Element<'a>,
        own: Option<TypeHint>,
        deeper: &[(&str, TypeHint)],
    ) -> Result<(), Error> {
        let inner = element.as_document();
        match (element.kind, inner) {
            (kind::ARRAY, Some(array)) if own.is_some() || !deeper.is_empty() => {
                self.writer.begin_array(element.name);
                for item in array.elements().map(sound) {
                    self.value(item, own, deeper)?;
                }
                self.writer.end();
            }
            (kind::DOCUMENT, Some(document)) if !deeper.is_empty() => {
                self.writer.begin_document(element.name);
                self.members(document, deeper)?;
                self.writer.end();
            }
            _ => match own {
                Some(hint) if element.kind != kind::NULL => self.typed(element, hint)?,
                _ => self.writer.value(element.name, element.kind, element.value),
            },
        }
        Ok(())
    }

    fn typed(&mut self, element: Element<'_>, hint: TypeHint) -> Result<(), Error> {
        let mut value = Vec::with_capacity(24);
        match typed(element, hint, &mut value) {
            Some(kind) => self.writer.value(element.name, kind, &value),
            None => {
                let names: Vec<_> = self.path.iter().map(|name| String::from_utf8_lossy(name)).collect();
                return Err(Error::Type { path: names.join("."), expected: hint.word() });
            }
        }
        Ok(())
    }
}

/// Appends the value in its type; its kind.
fn typed(element: Element<'_>, hint: TypeHint, value: &mut Vec<u8>) -> Option<u8> {
    let (target, wrapper) = match hint {
        TypeHint::Date => (kind::DATE_TIME, "$date"),
        TypeHint::ObjectId => (kind::OBJECT_ID, "$oid"),
        TypeHint::Decimal => (kind::DECIMAL128, "$numberDecimal"),
        TypeHint::Long => (kind::INT64, "$numberLong"),
        TypeHint::Int => (kind::INT32, "$numberInt"),
        TypeHint::Double => (kind::DOUBLE, "$numberDouble"),
        TypeHint::Uuid => (kind::BINARY, "$uuid"),
        TypeHint::Binary => (kind::BINARY, ""),
        TypeHint::Timestamp => (kind::TIMESTAMP, ""),
    };
    if element.kind == target {
        value.extend_from_slice(element.value);
        return Some(target);
    }
    match hint {
        TypeHint::Timestamp => timestamp(element, value),
        TypeHint::Binary => base64(element, 0, value),
        TypeHint::Uuid => of_text(element, wrapper, value).or_else(|| {
            value.clear();
            base64(element, 4, value).filter(|_| value.len() == 5 + 16)
        }),
        TypeHint::Date if element.kind != kind::STRING => {
            value.extend_from_slice(&whole(element)?.to_le_bytes());
            Some(target)
        }
        // A number's text is what the wrapper's would be.
        _ => match element.kind {
            kind::STRING => of_text(element, wrapper, value),
            kind::INT32 | kind::INT64 => json_number(wrapper, &element.as_i64()?.to_string(), value),
            kind::DOUBLE if matches!(hint, TypeHint::Int | TypeHint::Long) => {
                json_number(wrapper, &whole(element)?.to_string(), value)
            }
            kind::DOUBLE => json_number(wrapper, &element.as_f64()?.to_string(), value),
            _ => None,
        },
    }
}

fn of_text(element: Element<'_>, wrapper: &str, value: &mut Vec<u8>) -> Option<u8> {
    let text = element.as_text().filter(|_| element.kind == kind::STRING)?;
    json::value_of_text(wrapper, text, value).ok().flatten()
}

fn json_number(wrapper: &str, text: &str, value: &mut Vec<u8>) -> Option<u8> {
    if !wrapper.starts_with("$number") {
        return None;
    }
    json::value_of_text(wrapper, text.as_bytes(), value).ok().flatten()
}

fn base64(element: Element<'_>, subtype: u8, value: &mut Vec<u8>) -> Option<u8> {
    let text = element.as_text().filter(|_| element.kind == kind::STRING)?;
    let data = STANDARD.decode(text).ok()?;
    value.extend_from_slice(&i32::try_from(data.len()).ok()?.to_le_bytes());
    value.push(subtype);
    value.extend_from_slice(&data);
    Some(kind::BINARY)
}

fn timestamp(element: Element<'_>, value: &mut Vec<u8>) -> Option<u8> {
    let (seconds, increment) = match element.as_document().filter(|_| element.kind == kind::DOCUMENT) {
        None => (whole(element)?, 0),
        Some(document) => {
            let inner = document.get("$timestamp").ok()?.and_then(Element::as_document).unwrap_or(document);
            (whole(inner.get("t").ok()??)?, whole(inner.get("i").ok()??)?)
        }
    };
    value.extend_from_slice(&u32::try_from(increment).ok()?.to_le_bytes());
    value.extend_from_slice(&u32::try_from(seconds).ok()?.to_le_bytes());
    Some(kind::TIMESTAMP)
}

/// A whole number, also one that JSON has made a double.
fn whole(element: Element<'_>) -> Option<i64> {
    match element.kind {
        kind::INT32 | kind::INT64 => element.as_i64(),
        kind::DOUBLE => {
            element.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 9e15).map(|number| number as i64)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bson::{Bson, doc};

    use super::*;

    fn hinted(hints: &[(&str, TypeHint)], document: &bson::Document, parts: &[&str]) -> Result<Bson, Error> {
        let hints = hints.iter().map(|(path, hint)| ((*path).to_owned(), *hint)).collect();
        let bytes = document.to_vec().expect("writable");
        let found = apply(&hints, Document::new(&bytes).expect("sound"), parts)?;
        Ok(bson::Document::from_reader(&found[..]).expect("sound").into())
    }

    #[test]
    fn values_get_the_type_that_the_settings_promise() {
        let date = Bson::DateTime(bson::DateTime::from_millis(1500));
        let id = bson::oid::ObjectId::from_bytes([0xab; 12]);
        let decimal: bson::Decimal128 = "1.50".parse().expect("a decimal");
        let binary = |subtype, bytes| Bson::Binary(bson::Binary { subtype, bytes });
        let uuid = binary(bson::spec::BinarySubtype::Uuid, vec![0x11; 16]);
        for (hint, from, to) in [
            (TypeHint::Date, Bson::String("1970-01-01T00:00:01.5Z".into()), date.clone()),
            (TypeHint::Date, Bson::Int64(1500), date.clone()),
            (TypeHint::Date, Bson::Double(1500.0), date.clone()),
            (TypeHint::Date, date.clone(), date),
            (TypeHint::Date, Bson::Null, Bson::Null),
            (TypeHint::ObjectId, Bson::String("ab".repeat(12)), id.into()),
            (TypeHint::Decimal, Bson::String("1.50".into()), decimal.into()),
            (TypeHint::Long, Bson::Int32(5), Bson::Int64(5)),
            (TypeHint::Int, Bson::Int64(5), Bson::Int32(5)),
            (TypeHint::Int, Bson::Double(5.0), Bson::Int32(5)),
            (TypeHint::Double, Bson::Int64(5), Bson::Double(5.0)),
            (TypeHint::Double, Bson::String("2.5".into()), Bson::Double(2.5)),
            (
                TypeHint::Binary,
                Bson::String("AQI=".into()),
                binary(bson::spec::BinarySubtype::Generic, vec![1, 2]),
            ),
            (TypeHint::Uuid, Bson::String("11111111-1111-1111-1111-111111111111".into()), uuid.clone()),
            (TypeHint::Uuid, Bson::String("EREREREREREREREREREREQ==".into()), uuid),
            (
                TypeHint::Timestamp,
                doc! { "t": 7, "i": 2 }.into(),
                Bson::Timestamp(bson::Timestamp { time: 7, increment: 2 }),
            ),
            (
                TypeHint::Long,
                Bson::Array(vec![1.into(), Bson::Null]),
                Bson::Array(vec![Bson::Int64(1), Bson::Null]),
            ),
        ] {
            let found = hinted(&[("v", hint)], &doc! { "v": from.clone(), "w": 1 }, &[]);
            assert_eq!(found, Ok(doc! { "v": to, "w": 1 }.into()), "{hint:?} {from}");
        }
    }

    #[test]
    fn paths_go_through_arrays_and_stay_inside_of_an_events_parts() {
        let hints = [("lines.n", TypeHint::Long), ("n", TypeHint::Long)];
        let document = doc! { "lines": [{ "n": 1 }, 2, { "m": 3 }], "n": 4 };
        let typed = doc! { "lines": [{ "n": 1_i64 }, 2, { "m": 3 }], "n": 4_i64 };
        assert_eq!(hinted(&hints, &document, &[]), Ok(typed.clone().into()));
        let event = doc! { "n": 1, "fullDocument": document };
        let found = hinted(&hints, &event, &["fullDocument"]);
        assert_eq!(found, Ok(doc! { "n": 1, "fullDocument": typed }.into()));
    }

    #[test]
    fn what_does_not_fit_is_an_error_with_path_and_type() {
        for (hint, value) in [
            (TypeHint::Date, Bson::String("yesterday".into())),
            (TypeHint::Date, Bson::Double(1.5)),
            (TypeHint::ObjectId, Bson::Int32(3)),
            (TypeHint::ObjectId, Bson::String("ab".into())),
            (TypeHint::Int, Bson::Int64(1 << 40)),
            (TypeHint::Long, Bson::Double(0.5)),
            (TypeHint::Long, Bson::Boolean(true)),
            (TypeHint::Uuid, Bson::String("AQI=".into())),
            (TypeHint::Timestamp, Bson::Int32(-1)),
        ] {
            let found = hinted(&[("a.v", hint)], &doc! { "a": { "v": value.clone() } }, &[]);
            let expected = Error::Type { path: "a.v".into(), expected: hint.word() };
            assert_eq!(found, Err(expected), "{hint:?} {value}");
        }
    }
}
