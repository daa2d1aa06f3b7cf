//! Scalars as the official connector's DefaultJson has them: the driver's legacy strict mode.
//!
//! One deviation, on purpose: where the connector prints a bare NaN or Infinity, which is not JSON, we print the
//! wrapper that both read.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    decimal::write_decimal,
    double::write_double,
    text::{write_hex, write_string},
};
use crate::raw::{self, Element, kind};

/// Appends any value but documents, arrays and code with scope.
pub(super) fn write_scalar(element: Element<'_>, out: &mut Vec<u8>) -> Result<(), raw::Error> {
    let value = element.value;
    match element.kind {
        kind::STRING => write_string(text(value), out),
        kind::INT32 => write_integer(i32::from_le_bytes(fixed(value)), out),
        kind::INT64 => {
            out.extend_from_slice(b"{\"$numberLong\": \"");
            write_integer(i64::from_le_bytes(fixed(value)), out);
            out.extend_from_slice(b"\"}");
        }
        kind::DOUBLE => write_any_double(f64::from_le_bytes(fixed(value)), out),
        kind::BOOLEAN => out.extend_from_slice(if value == [0] { b"false" } else { b"true" }),
        kind::NULL => out.extend_from_slice(b"null"),
        kind::OBJECT_ID => write_object_id(value, out),
        kind::DATE_TIME => {
            out.extend_from_slice(b"{\"$date\": ");
            write_integer(i64::from_le_bytes(fixed(value)), out);
            out.push(b'}');
        }
        kind::DECIMAL128 => {
            out.extend_from_slice(b"{\"$numberDecimal\": \"");
            write_decimal(fixed(value), out);
            out.extend_from_slice(b"\"}");
        }
        kind::TIMESTAMP => write_timestamp(u64::from_le_bytes(fixed(value)), out),
        kind::BINARY => write_binary(value, out)?,
        kind::REGEX => write_regex(value, out),
        kind::SYMBOL => write_wrapped_text(b"{\"$symbol\": ", text(value), out),
        kind::CODE => write_wrapped_text(b"{\"$code\": ", text(value), out),
        kind::DB_POINTER => {
            let (namespace, id) = value.split_at(value.len() - 12);
            out.extend_from_slice(b"{\"$ref\": ");
            write_string(text(namespace), out);
            out.extend_from_slice(b", \"$id\": ");
            write_object_id(id, out);
            out.push(b'}');
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

fn write_integer(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn write_any_double(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        write_double(value, out);
    } else if value.is_nan() {
        out.extend_from_slice(b"{\"$numberDouble\": \"NaN\"}");
    } else if value > 0.0 {
        out.extend_from_slice(b"{\"$numberDouble\": \"Infinity\"}");
    } else {
        out.extend_from_slice(b"{\"$numberDouble\": \"-Infinity\"}");
    }
}

fn write_object_id(id: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"$oid\": \"");
    write_hex(id, out);
    out.extend_from_slice(b"\"}");
}

fn write_timestamp(bits: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"$timestamp\": {\"t\": ");
    write_integer(bits >> 32, out);
    out.extend_from_slice(b", \"i\": ");
    write_integer(bits & 0xffff_ffff, out);
    out.extend_from_slice(b"}}");
}

fn write_wrapped_text(opening: &[u8], text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(opening);
    write_string(text, out);
    out.push(b'}');
}

/// The options stand as they are stored; the connector would sort them, but they are sorted in all sound BSON.
fn write_regex(value: &[u8], out: &mut Vec<u8>) {
    let mut parts = value.split(|byte| *byte == 0);
    let mut next_part = || parts.next().expect("a raw regex has two terminators");
    out.extend_from_slice(b"{\"$regex\": ");
    write_string(next_part(), out);
    out.extend_from_slice(b", \"$options\": ");
    write_string(next_part(), out);
    out.push(b'}');
}

fn write_binary(value: &[u8], out: &mut Vec<u8>) -> Result<(), raw::Error> {
    let (subtype, data) = (value[4], payload(&value[4..])?);
    out.extend_from_slice(b"{\"$binary\": \"");
    let start = out.len();
    let length = base64::encoded_len(data.len(), true).expect("BSON is too short to overflow");
    out.resize(start + length, 0);
    STANDARD.encode_slice(data, &mut out[start..]).expect("the room was measured");
    out.extend_from_slice(b"\", \"$type\": \"");
    write_hex(&[subtype], out);
    out.extend_from_slice(b"\"}");
    Ok(())
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
