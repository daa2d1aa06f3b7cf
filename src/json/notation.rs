//! How scalars are written: what the styles share, and where they may differ.
//!
//! A style is a [`Notation`]: a type without values, so that the walk is compiled once for each style and a scalar
//! costs one match on its kind. What most styles have in common is given here; a style says what is its own.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    decimal::write_decimal,
    double::write_double,
    text::{write_hex, write_string, write_upper_hex},
};
use crate::raw::{self, Element, kind};

/// What a style decides.
pub(super) trait Notation {
    /// Stands between members and between items, in wrappers too.
    const COMMA: &'static [u8];

    fn int64(value: i64, out: &mut Vec<u8>);

    fn date_time(millis: i64, out: &mut Vec<u8>);

    fn int32(value: i32, out: &mut Vec<u8>) {
        write_integer(value, out);
    }

    fn double(value: f64, out: &mut Vec<u8>) {
        if value.is_finite() { write_double(value, out) } else { write_wrapped_double(value, out) }
    }

    fn decimal(bytes: [u8; 16], out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"$numberDecimal\": \"");
        write_decimal(bytes, out);
        out.extend_from_slice(b"\"}");
    }

    fn object_id(id: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"$oid\": \"");
        write_hex(id, out);
        out.extend_from_slice(b"\"}");
    }

    fn symbol(text: &[u8], out: &mut Vec<u8>) {
        write_wrapped_text(b"{\"$symbol\": ", text, out);
    }

    fn binary(subtype: u8, data: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"$binary\": {\"base64\": ");
        write_base64(data, out);
        out.extend_from_slice(Self::COMMA);
        out.extend_from_slice(b"\"subType\": \"");
        write_upper_hex(&[subtype], out);
        out.extend_from_slice(b"\"}}");
    }

    fn regex(pattern: &[u8], options: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"$regularExpression\": {\"pattern\": ");
        write_string(pattern, out);
        out.extend_from_slice(Self::COMMA);
        out.extend_from_slice(b"\"options\": ");
        write_string(options, out);
        out.extend_from_slice(b"}}");
    }

    fn db_pointer(namespace: &[u8], id: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"$ref\": ");
        write_string(namespace, out);
        out.extend_from_slice(Self::COMMA);
        out.extend_from_slice(b"\"$id\": ");
        Self::object_id(id, out);
        out.push(b'}');
    }
}

/// Appends any value but documents, arrays and code with scope.
pub(super) fn write_scalar<N: Notation>(element: Element<'_>, out: &mut Vec<u8>) -> Result<(), raw::Error> {
    let value = element.value;
    match element.kind {
        kind::STRING => write_string(text(value), out),
        kind::INT32 => N::int32(i32::from_le_bytes(fixed(value)), out),
        kind::INT64 => N::int64(i64::from_le_bytes(fixed(value)), out),
        kind::DOUBLE => N::double(f64::from_le_bytes(fixed(value)), out),
        kind::BOOLEAN => out.extend_from_slice(if value == [0] { b"false" } else { b"true" }),
        kind::NULL => out.extend_from_slice(b"null"),
        kind::OBJECT_ID => N::object_id(value, out),
        kind::DATE_TIME => N::date_time(i64::from_le_bytes(fixed(value)), out),
        kind::DECIMAL128 => N::decimal(fixed(value), out),
        kind::TIMESTAMP => write_timestamp::<N>(u64::from_le_bytes(fixed(value)), out),
        kind::BINARY => N::binary(value[4], payload(&value[4..])?, out),
        kind::REGEX => {
            // The options stand as they are stored; the connector would sort them, but they are sorted in all
            // sound BSON.
            let mut parts = value.split(|byte| *byte == 0);
            let mut next_part = || parts.next().expect("a raw regex has two terminators");
            N::regex(next_part(), next_part(), out);
        }
        kind::SYMBOL => N::symbol(text(value), out),
        kind::CODE => write_wrapped_text(b"{\"$code\": ", text(value), out),
        kind::DB_POINTER => {
            let (namespace, id) = value.split_at(value.len() - 12);
            N::db_pointer(text(namespace), id, out);
        }
        kind::UNDEFINED => out.extend_from_slice(b"{\"$undefined\": true}"),
        kind::MIN_KEY => out.extend_from_slice(b"{\"$minKey\": 1}"),
        kind::MAX_KEY => out.extend_from_slice(b"{\"$maxKey\": 1}"),
        _ => return Err(raw::Error { at: 0, what: "no scalar of a known type" }),
    }
    Ok(())
}

fn fixed<const LENGTH: usize>(value: &[u8]) -> [u8; LENGTH] {
    value.try_into().expect("raw elements are as long as their type says")
}

/// The text of a value that is a length, text and a terminator.
fn text(value: &[u8]) -> &[u8] {
    &value[4..value.len() - 1]
}

pub(super) fn write_integer(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

pub(super) fn write_wrapped_long(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"$numberLong\": \"");
    write_integer(value, out);
    out.extend_from_slice(b"\"}");
}

pub(super) fn write_wrapped_double(value: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"$numberDouble\": \"");
    if value.is_finite() {
        write_double(value, out);
    } else if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else {
        out.extend_from_slice(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
    }
    out.extend_from_slice(b"\"}");
}

/// The date of canonical style, and of relaxed style outside of the years 1970 to 9999.
pub(super) fn write_wrapped_millis(millis: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"$date\": ");
    write_wrapped_long(millis, out);
    out.push(b'}');
}

/// Base64 in quotes.
pub(super) fn write_base64(data: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    let length = base64::encoded_len(data.len(), true).expect("BSON is too short to overflow");
    out.resize(start + length, 0);
    STANDARD.encode_slice(data, &mut out[start..]).expect("the room was measured");
    out.push(b'"');
}

fn write_timestamp<N: Notation>(bits: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"$timestamp\": {\"t\": ");
    write_integer(bits >> 32, out);
    out.extend_from_slice(N::COMMA);
    out.extend_from_slice(b"\"i\": ");
    write_integer(bits & 0xffff_ffff, out);
    out.extend_from_slice(b"}}");
}

fn write_wrapped_text(opening: &[u8], text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(opening);
    write_string(text, out);
    out.push(b'}');
}

/// The data after the subtype's byte. The old subtype has a second length before it, which text does not show.
fn payload(subtype_and_data: &[u8]) -> Result<&[u8], raw::Error> {
    let data = &subtype_and_data[1..];
    if subtype_and_data[0] != OLD_BINARY {
        return Ok(data);
    }
    match data.split_first_chunk() {
        Some((length, inner)) if i32::from_le_bytes(*length) as usize == inner.len() => Ok(inner),
        _ => Err(raw::Error { at: 5, what: "an old binary's second length does not fit" }),
    }
}

/// The binary subtype 2, in which the data has a length of its own.
pub(super) const OLD_BINARY: u8 = 2;
