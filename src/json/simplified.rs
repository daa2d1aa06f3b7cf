//! The official connector's SimplifiedJson: plain values wherever there is a plain way to say them, for consumers that
//! know nothing of MongoDB. The types cannot be told from the text.

use super::{
    date::write_iso_millis,
    decimal::write_decimal,
    notation::{Notation, write_base64, write_integer},
    text::{write_hex, write_string},
};

pub(super) struct Simplified;

impl Notation for Simplified {
    const COMMA: &'static [u8] = b", ";

    fn int64(value: i64, out: &mut Vec<u8>) {
        write_integer(value, out);
    }

    fn date_time(millis: i64, out: &mut Vec<u8>) {
        out.push(b'"');
        write_iso_millis(millis, out);
        out.push(b'"');
    }

    fn decimal(bytes: [u8; 16], out: &mut Vec<u8>) {
        out.push(b'"');
        write_decimal(bytes, out);
        out.push(b'"');
    }

    fn object_id(id: &[u8], out: &mut Vec<u8>) {
        out.push(b'"');
        write_hex(id, out);
        out.push(b'"');
    }

    fn symbol(text: &[u8], out: &mut Vec<u8>) {
        write_string(text, out);
    }

    /// UUIDs too.
    fn binary(_subtype: u8, data: &[u8], out: &mut Vec<u8>) {
        write_base64(data, out);
    }
}
