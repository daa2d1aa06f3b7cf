//! JSON with Kafka Connect's schema beside it → BSON. Pure.
//!
//! The schema decides what each value is; what the schema does not name is not there. A null takes the schema's default.
//! Of the names that a schema may have only Connect's own mean something: a date by Debezium stays the number that it is.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{Error, check, extended};
use crate::{
    json,
    raw::{Document, Element, Writer, kind},
};

const MILLIS_PER_DAY: i64 = 86_400_000;

/// A value that is not what its schema says.
#[derive(Debug)]
struct Misfit {
    path: Vec<String>,
    expected: &'static str,
}

impl Misfit {
    fn new(expected: &'static str) -> Self {
        Self { path: Vec::new(), expected }
    }

    fn below(mut self, name: &[u8]) -> Self {
        self.path.push(String::from_utf8_lossy(name).into_owned());
        self
    }
}

impl From<Misfit> for Error {
    fn from(mut misfit: Misfit) -> Self {
        misfit.path.reverse();
        let place = if misfit.path.is_empty() { "payload".to_owned() } else { misfit.path.join(".") };
        Self::ValueJson(format!("{place}: expected {}", misfit.expected))
    }
}

/// The document of an envelope; none where its payload is null.
pub(super) fn read(text: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    if text.trim_ascii() == b"null" {
        return Ok(None);
    }
    let mut envelope = Vec::with_capacity(text.len() * 2);
    json::read_plain(text, &mut envelope).map_err(|error| Error::ValueJson(error.to_string()))?;
    let envelope = Document::new(&envelope).expect("the reader wrote this document");
    let member = |name| envelope.get(name).expect("the reader wrote this document");
    let (Some(schema), Some(payload)) = (member("schema"), member("payload")) else {
        return Err(Misfit::new("an object with schema and payload").into());
    };
    if envelope.elements().count() > 2 {
        return Err(Misfit::new("schema and payload, and nothing beside them").into());
    }
    if payload.kind == kind::NULL {
        return Ok(None);
    }
    match schema.kind {
        kind::NULL if payload.kind == kind::DOCUMENT => Ok(Some(payload.value.to_vec())),
        kind::NULL if payload.kind == kind::STRING => {
            extended(payload.as_text().unwrap_or_default(), Vec::new()).map(Some)
        }
        kind::DOCUMENT => top(&Schema::read(schema)?, payload).map(Some),
        _ => Err(Misfit::new("a schema, and a payload that is a document").into()),
    }
}

fn top(schema: &Schema<'_>, payload: Element<'_>) -> Result<Vec<u8>, Error> {
    match schema.kind {
        b"struct" | b"map" => {
            let mut writer = Writer::new(Vec::with_capacity(payload.value.len()));
            writer.begin();
            schema.members(&mut writer, payload)?;
            writer.end();
            Ok(writer.into_bytes())
        }
        // A text is what a text always is to a sink, and so are bytes.
        b"string" => extended(string(payload)?, Vec::new()),
        b"bytes" if schema.name.is_none() => {
            let bytes = bytes(payload)?;
            check(&bytes).map_err(Error::ValueBson)?;
            Ok(bytes)
        }
        _ => Err(Misfit::new("a struct or a map; a bare value is no document").into()),
    }
}

struct Schema<'a> {
    document: Document<'a>,
    kind: &'a [u8],
    name: Option<&'a [u8]>,
    is_optional: bool,
    default: Option<Element<'a>>,
}

impl<'a> Schema<'a> {
    fn read(element: Element<'a>) -> Result<Self, Misfit> {
        let document = element
            .as_document()
            .filter(|_| element.kind == kind::DOCUMENT)
            .ok_or(Misfit::new("an object as schema"))?;
        let text = |name| member(document, name).and_then(Element::as_text);
        Ok(Self {
            document,
            kind: text("type").ok_or(Misfit::new("a type in the schema"))?,
            name: text("name"),
            is_optional: member(document, "optional").and_then(Element::as_bool).unwrap_or(false),
            default: member(document, "default"),
        })
    }

    fn part(&self, name: &str) -> Result<Schema<'a>, Misfit> {
        Self::read(
            member(self.document, name).ok_or(Misfit::new("a schema of what is inside of array or map"))?,
        )
    }

    /// What logical type Connect gives the value.
    fn logical(&self) -> Option<&'a [u8]> {
        self.name?.strip_prefix(b"org.apache.kafka.connect.data.")
    }

    /// Writes `value` as the field `name`.
    fn write(&self, writer: &mut Writer, name: &[u8], value: Option<Element<'_>>) -> Result<(), Misfit> {
        let value = match value.filter(|value| value.kind != kind::NULL) {
            Some(value) => value,
            None => match self.default {
                Some(default) => default,
                None if self.is_optional => {
                    writer.null(name);
                    return Ok(());
                }
                None => return Err(Misfit::new("a value, since it is not optional")),
            },
        };
        match (self.kind, self.logical()) {
            (b"int32", Some(b"Date")) => {
                let days = i32::try_from(whole(value)?).map_err(|_| Misfit::new("days since 1970"))?;
                date(writer, name, i64::from(days) * MILLIS_PER_DAY);
            }
            (b"int32", Some(b"Time")) | (b"int64", Some(b"Timestamp")) => date(writer, name, whole(value)?),
            (b"bytes", Some(b"Decimal")) => {
                writer.value(name, kind::DECIMAL128, &self.decimal(value)?);
            }
            (b"int8" | b"int16" | b"int32", _) => {
                let number =
                    i32::try_from(whole(value)?).map_err(|_| Misfit::new("a 32-bit whole number"))?;
                writer.int32(name, number);
            }
            (b"int64", _) => writer.int64(name, whole(value)?),
            // The nearest float first, since that is what the producer had.
            (b"float" | b"float32", _) => writer.double(name, f64::from(double(value)? as f32)),
            (b"double" | b"float64", _) => writer.double(name, double(value)?),
            (b"boolean", _) => {
                let is = value.as_bool().ok_or(Misfit::new("true or false"))?;
                writer.boolean(name, is);
            }
            (b"string", _) => writer.string(name, string(value)?),
            (b"bytes", _) => binary(writer, name, &bytes(value)?),
            (b"array", _) => {
                writer.begin_array(name);
                self.items(writer, value)?;
                writer.end();
            }
            (b"struct" | b"map", _) => {
                writer.begin_document(name);
                self.members(writer, value)?;
                writer.end();
            }
            _ => return Err(Misfit::new("a type that Connect has")),
        }
        Ok(())
    }

    fn items(&self, writer: &mut Writer, value: Element<'_>) -> Result<(), Misfit> {
        let items = self.part("items")?;
        let array =
            value.as_document().filter(|_| value.kind == kind::ARRAY).ok_or(Misfit::new("an array"))?;
        for item in array.elements() {
            let item = item.expect("the reader wrote this array");
            items.write(writer, item.name, Some(item)).map_err(|misfit| misfit.below(item.name))?;
        }
        Ok(())
    }

    /// The fields of a struct, or what a map has.
    fn members(&self, writer: &mut Writer, value: Element<'_>) -> Result<(), Misfit> {
        let document = value
            .as_document()
            .filter(|_| value.kind == kind::DOCUMENT)
            .ok_or(Misfit::new("an object; the keys of a map have to be text"))?;
        if self.kind == b"map" {
            let values = self.part("values")?;
            for member in document.elements() {
                let member = member.expect("the reader wrote this document");
                values
                    .write(writer, member.name, Some(member))
                    .map_err(|misfit| misfit.below(member.name))?;
            }
            return Ok(());
        }
        let fields = member(self.document, "fields").and_then(Element::as_document);
        for field in fields.unwrap_or(Document::EMPTY).elements() {
            let field = Self::read(field.expect("the reader wrote this schema"))?;
            let name = member(field.document, "field").and_then(Element::as_str);
            let name = name.ok_or(Misfit::new("a name for every field in the schema"))?;
            field
                .write(writer, name.as_bytes(), member(document, name))
                .map_err(|misfit| misfit.below(name.as_bytes()))?;
        }
        Ok(())
    }

    /// A whole number, big-endian, and how many of its digits are behind the point.
    fn decimal(&self, value: Element<'_>) -> Result<[u8; 16], Misfit> {
        const TOO_LONG: Misfit = Misfit { path: Vec::new(), expected: "a decimal of at most 34 digits" };
        let text = match value.kind {
            kind::STRING => {
                let parameters = member(self.document, "parameters").and_then(Element::as_document);
                let scale = parameters.and_then(|parameters| member(parameters, "scale"));
                let scale: i32 = scale
                    .and_then(|scale| scale.as_str()?.parse().ok())
                    .ok_or(Misfit::new("a scale among the schema's parameters"))?;
                let unscaled = unscaled(&bytes(value)?).ok_or(TOO_LONG)?;
                format!("{unscaled}E{}", -i64::from(scale))
            }
            _ => double(value)?.to_string(),
        };
        let mut bytes = Vec::with_capacity(16);
        json::value_of_text("$numberDecimal", text.as_bytes(), &mut bytes).map_err(|_| TOO_LONG)?;
        bytes.try_into().map_err(|_| TOO_LONG)
    }
}

/// Two's complement, if 128 bits hold it.
fn unscaled(bytes: &[u8]) -> Option<i128> {
    let fill = if bytes.first()? & 0x80 == 0 { 0 } else { 0xff };
    let (front, back) = bytes.split_at(bytes.len().saturating_sub(16));
    let is_extension = front.iter().all(|byte| *byte == fill);
    let mut number = [fill; 16];
    number[16 - back.len()..].copy_from_slice(back);
    let number = i128::from_be_bytes(number);
    (is_extension && (number < 0) == (fill == 0xff)).then_some(number)
}

fn member<'a>(document: Document<'a>, name: &str) -> Option<Element<'a>> {
    let found = document.get(name).expect("the reader wrote this document");
    found.filter(|element| element.kind != kind::NULL)
}

fn whole(value: Element<'_>) -> Result<i64, Misfit> {
    match value.as_f64().filter(|_| value.kind == kind::DOUBLE) {
        Some(number) if number.fract() == 0.0 && number.abs() < 9e15 => Ok(number as i64),
        Some(_) => Err(Misfit::new("a whole number")),
        None => value.as_i64().ok_or(Misfit::new("a whole number")),
    }
}

fn double(value: Element<'_>) -> Result<f64, Misfit> {
    match value.kind {
        kind::DOUBLE => Ok(value.as_f64().unwrap_or_default()),
        kind::INT64 => Ok(value.as_i64().unwrap_or_default() as f64),
        // So are they written, since JSON has no notation for them.
        kind::STRING => match value.as_str() {
            Some("NaN") => Ok(f64::NAN),
            Some("Infinity") => Ok(f64::INFINITY),
            Some("-Infinity") => Ok(f64::NEG_INFINITY),
            _ => Err(Misfit::new("a number")),
        },
        _ => Err(Misfit::new("a number")),
    }
}

fn string(value: Element<'_>) -> Result<&[u8], Misfit> {
    value.as_text().ok_or(Misfit::new("a text"))
}

fn bytes(value: Element<'_>) -> Result<Vec<u8>, Misfit> {
    STANDARD.decode(string(value)?).map_err(|_| Misfit::new("base64"))
}

fn date(writer: &mut Writer, name: &[u8], millis: i64) {
    writer.value(name, kind::DATE_TIME, &millis.to_le_bytes());
}

fn binary(writer: &mut Writer, name: &[u8], data: &[u8]) {
    let mut value = Vec::with_capacity(data.len() + 5);
    value.extend_from_slice(&(data.len() as i32).to_le_bytes());
    value.push(0);
    value.extend_from_slice(data);
    writer.value(name, kind::BINARY, &value);
}

#[cfg(test)]
mod tests {
    use bson::{Bson, doc};

    use super::*;

    fn one(schema: &str, value: &str) -> Result<Bson, Error> {
        let text = format!(
            r#"{{"schema": {{"type": "struct", "fields": [{{"field": "v", {schema}}}]}}, "payload": {{"v": {value}, "extra": 1}}}}"#
        );
        let bytes = read(text.as_bytes())?.expect("a document");
        let mut document = bson::Document::from_reader(&bytes[..]).expect("sound");
        let value = document.remove("v").expect("the field");
        assert!(document.is_empty(), "what the schema does not name is not there");
        Ok(value)
    }

    #[test]
    fn the_schema_says_what_a_value_is() {
        let logical =
            |name: &str, rest: &str| format!(r#""name": "org.apache.kafka.connect.data.{name}", {rest}"#);
        let decimal = |text: &str| Bson::Decimal128(text.parse().expect("a decimal"));
        let date = |millis| Bson::DateTime(bson::DateTime::from_millis(millis));
        for (schema, value, expected) in [
            (r#""type": "int8""#.to_owned(), "-3", Bson::Int32(-3)),
            (r#""type": "int16""#.to_owned(), "300", Bson::Int32(300)),
            (r#""type": "int32""#.to_owned(), "7", Bson::Int32(7)),
            (r#""type": "int64""#.to_owned(), "7", Bson::Int64(7)),
            (r#""type": "int64", "name": "io.debezium.time.Timestamp""#.to_owned(), "7", Bson::Int64(7)),
            (r#""type": "int32", "name": "io.debezium.time.Date""#.to_owned(), "7", Bson::Int32(7)),
            (r#""type": "float""#.to_owned(), "0.1", Bson::Double(f64::from(0.1_f32))),
            (r#""type": "double""#.to_owned(), "3", Bson::Double(3.0)),
            (r#""type": "double""#.to_owned(), "\"-Infinity\"", Bson::Double(f64::NEG_INFINITY)),
            (r#""type": "boolean""#.to_owned(), "false", Bson::Boolean(false)),
            (r#""type": "string""#.to_owned(), "\"{}\"", Bson::String("{}".into())),
            (logical("Date", r#""type": "int32""#), "-1", date(-86_400_000)),
            (logical("Time", r#""type": "int32""#), "61000", date(61_000)),
            (logical("Timestamp", r#""type": "int64""#), "12345678901", date(12_345_678_901)),
            (logical("Decimal", r#""type": "bytes", "parameters": {"scale": "2"}"#), "\"/zk=\"", decimal("-1.99")),
            (logical("Decimal", r#""type": "bytes", "parameters": {"scale": "0"}"#), "\"AAAAAAAAAAAAAAAAAAAAAAAAAAU=\"", decimal("5")),
            (logical("Decimal", r#""type": "bytes", "parameters": {"scale": "-1"}"#), "\"BQ==\"", decimal("5E+1")),
            (r#""type": "string", "optional": true"#.to_owned(), "null", Bson::Null),
            (r#""type": "int32", "optional": true, "default": 4"#.to_owned(), "null", Bson::Int32(4)),
            (r#""type": "array", "items": {"type": "int32", "optional": true}"#.to_owned(), "[1, null]", Bson::Array(vec![Bson::Int32(1), Bson::Null])),
            (r#""type": "map", "keys": {"type": "string"}, "values": {"type": "int32"}"#.to_owned(), r#"{"k": 1, "a": 2}"#, doc! { "k": 1, "a": 2 }.into()),
            (r#""type": "struct", "optional": true, "fields": [{"field": "y", "type": "int32"}, {"field": "x", "type": "string", "default": "d"}]"#.to_owned(), r#"{"y": 1}"#, doc! { "y": 1, "x": "d" }.into()),
        ] {
            assert_eq!(one(&schema, value), Ok(expected), "{schema} {value}");
        }
    }

    #[test]
    fn values_that_do_not_fit_are_errors_that_name_the_field() {
        for (schema, value) in [
            (r#""type": "int32""#, "null"),
            (r#""type": "int32""#, "5000000000"),
            (r#""type": "int32""#, "\"7\""),
            (r#""type": "int64""#, "1.5"),
            (r#""type": "boolean""#, "1"),
            (r#""type": "bytes""#, "\"%\""),
            (r#""type": "struct", "fields": []"#, "3"),
            (r#""type": "map", "keys": {"type": "int32"}, "values": {"type": "int32"}"#, "[[1, 2]]"),
            (r#""type": "money""#, "3"),
            (r#""type": "bytes", "name": "org.apache.kafka.connect.data.Decimal""#, "\"BQ==\""),
            (
                r#""type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": "0"}"#,
                "\"f////////////////////w==\"",
            ),
        ] {
            let Err(Error::ValueJson(reason)) = one(schema, value) else { panic!("{schema} {value}") };
            assert!(reason.starts_with("v: expected "), "{schema} {value}: {reason}");
        }
    }

    #[test]
    fn the_whole_value_is_a_document_or_text_of_one_or_nothing() {
        let document = Some(doc! { "a": 1 }.to_vec().expect("writable"));
        for (text, expected) in [
            (r#"{"schema": {"type": "string"}, "payload": "{\"a\": 1}"}"#, Some(document.clone())),
            (r#"{"schema": {"type": "bytes"}, "payload": "DAAAABBhAAEAAAAA"}"#, Some(document)),
            (r#"{"schema": null, "payload": {}}"#, Some(Some(vec![5, 0, 0, 0, 0]))),
            (
                r#"{"schema": {"type": "struct", "fields": [], "optional": true}, "payload": null}"#,
                Some(None),
            ),
            ("null", Some(None)),
            (r#"{"schema": {"type": "int32"}, "payload": 1}"#, None),
            (r#"{"payload": {"a": 1}}"#, None),
            (r#"{"schema": null, "payload": {}, "more": 1}"#, None),
            (r#"{"schema": 7, "payload": {}}"#, None),
        ] {
            assert_eq!(read(text.as_bytes()).ok(), expected, "{text}");
        }
    }
}
