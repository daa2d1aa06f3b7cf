//! The official connector's DefaultJson: the driver's legacy strict mode. In Debezium's spacing it is the text of its
//! documents.
//!
//! One deviation, on purpose: where the connectors print a bare NaN or Infinity, which is not JSON, we print the
//! wrapper that both read.

use super::{
    notation::{Notation, write_base64, write_integer, write_wrapped_long},
    text::{write_string, write_upper_hex},
};

pub(super) struct Strict<const IS_COMPACT: bool>;

impl<const IS_COMPACT: bool> Notation for Strict<IS_COMPACT> {
    const COMMA: &'static [u8] = if IS_COMPACT { b"," } else { b", " };

    fn int64(value: i64, out: &mut Vec<u8>) {
        write_wrapped_long(value, out);
    }

    fn date_time(millis: i64, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"$date\": ");
        write_integer(millis, out);
        out.push(b'}');
    }

    fn binary(subtype: u8, data: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"$binary\": ");
        write_base64(data, out);
        out.extend_from_slice(Self::COMMA);
        out.extend_from_slice(b"\"$type\": \"");
        write_upper_hex(&[subtype], out);
        out.extend_from_slice(b"\"}");
    }

    fn regex(pattern: &[u8], options: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"$regex\": ");
        write_string(pattern, out);
        out.extend_from_slice(Self::COMMA);
        out.extend_from_slice(b"\"$options\": ");
        write_string(options, out);
        out.push(b'}');
    }
}
