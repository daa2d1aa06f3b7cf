//! Connect's converters: what they make of a value on its way to Kafka, or of a record on its way from there.

use super::reader::{Reader, simple_class};

/// What a converter writes and reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Converter {
    /// Text as it is.
    Text,
    /// Bytes as they are.
    Bytes,
    /// JSON; with its schema or without.
    Json { schemas: bool },
    /// Something that needs schemas.
    Other,
    /// Neither the connector nor the worker says.
    Unknown,
}

/// The converter behind `key.converter` or `value.converter`; the worker's where the connector has none.
pub(super) fn converter(reader: &mut Reader<'_>, key: &str) -> Converter {
    let options = format!("{key}.");
    let (class, schemas) = match reader.given(key) {
        Some(class) => {
            let options = reader.below(&options);
            (class, options.iter().find(|(name, _)| *name == "schemas.enable").map(|(_, value)| *value))
        }
        None => match reader.worker(key) {
            Some(class) => (class, reader.worker(&format!("{options}schemas.enable"))),
            None => return Converter::Unknown,
        },
    };
    match simple_class(class) {
        "StringConverter" => Converter::Text,
        "ByteArrayConverter" => Converter::Bytes,
        "JsonConverter" => Converter::Json {
            schemas: !schemas.is_some_and(|value| value.trim().eq_ignore_ascii_case("false")),
        },
        _ => Converter::Other,
    }
}

/// Says where the converter behind `key` does not write `format` ("json" or "bson") as it is.
pub(super) fn expect_plain(reader: &mut Reader<'_>, key: &str, format: &str) {
    match (converter(reader, key), format) {
        (Converter::Text, "json") | (Converter::Bytes, "bson") => {}
        (Converter::Unknown, _) => {
            let usual = if format == "json" { "StringConverter" } else { "ByteArrayConverter" };
            reader.note(key, format!("is not known (see --worker); taken for {usual}"));
        }
        (Converter::Json { .. }, "json") => {
            reader.lack(
                key,
                "JsonConverter puts the JSON into quotes once more; records are written without them",
            );
        }
        (Converter::Json { .. }, _) => {
            reader.lack(key, "JsonConverter writes bytes as base64 in quotes; records are written as bytes");
        }
        (Converter::Other, _) => {
            reader.lack(key, "converters that need schemas come with the schema formats");
        }
        (Converter::Text | Converter::Bytes, _) => {
            reader
                .lack(key, format!("cannot write what output.format makes; records are written as {format}"));
        }
    }
}
