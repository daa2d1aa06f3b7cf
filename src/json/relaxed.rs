//! Relaxed extended JSON, version 2: numbers are numbers and dates can be read by people, at the price of the numbers'
//! types. The official connector writes it into dead letters; in Debezium's spacing it is the text of its keys.

use super::{
    date::{LAST_MILLIS_OF_9999, write_iso_millis},
    notation::{Notation, write_integer, write_wrapped_millis},
};

pub(super) struct Relaxed<const IS_COMPACT: bool>;

impl<const IS_COMPACT: bool> Notation for Relaxed<IS_COMPACT> {
    const COMMA: &'static [u8] = if IS_COMPACT { b"," } else { b", " };

    fn int64(value: i64, out: &mut Vec<u8>) {
        write_integer(value, out);
    }

    fn date_time(millis: i64, out: &mut Vec<u8>) {
        if !(0..=LAST_MILLIS_OF_9999).contains(&millis) {
            return write_wrapped_millis(millis, out);
        }
        out.extend_from_slice(b"{\"$date\": \"");
        write_iso_millis(millis, out);
        out.extend_from_slice(b"\"}");
    }
}
