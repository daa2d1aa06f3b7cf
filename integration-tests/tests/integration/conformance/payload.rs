//! Keys and values of sink cases as the bytes that lie in a topic.

use bson::{Bson, Document};

use super::records::plain;

/// How a key or value was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Format {
    Text,
    Json,
    JsonWithSchema,
    Bson,
}

impl Format {
    /// The format of a payload; of none, any will do.
    pub(super) fn of(payload: Option<&Bson>) -> Self {
        let format = payload.and_then(Bson::as_document).and_then(|payload| payload.get_str("format").ok());
        match format {
            Some("json") => Self::Json,
            Some("json-schema") => Self::JsonWithSchema,
            Some("bson") => Self::Bson,
            _ => Self::Text,
        }
    }

    /// The class that reads it, and whether schemas are enabled.
    pub(super) fn converter(self) -> (&'static str, bool) {
        match self {
            Self::Text => ("org.apache.kafka.connect.storage.StringConverter", false),
            Self::Json => ("org.apache.kafka.connect.json.JsonConverter", false),
            Self::JsonWithSchema => ("org.apache.kafka.connect.json.JsonConverter", true),
            Self::Bson => ("org.apache.kafka.connect.converters.ByteArrayConverter", false),
        }
    }
}

/// The bytes; `None` for none.
pub(super) fn bytes(payload: Option<&Bson>) -> Result<Option<Vec<u8>>, String> {
    let Some(Bson::Document(payload)) = payload else { return Ok(None) };
    let bytes = match (payload.get("text"), payload.get("data"), payload.get("ejson")) {
        (Some(Bson::String(text)), ..) => text.clone().into_bytes(),
        (_, Some(data), _) => plain(data).to_string().into_bytes(),
        (.., Some(Bson::Document(ejson))) => Document::to_vec(ejson).map_err(|error| error.to_string())?,
        _ => return Err(format!("a payload of no known format: {payload}")),
    };
    Ok(Some(bytes))
}
