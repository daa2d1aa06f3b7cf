//! The official connector's ExtendedJson: canonical extended JSON, version 2. All types survive and every reader of
//! JSON sees the same numbers.

use super::{
    notation::{Notation, write_integer, write_wrapped_double, write_wrapped_long, write_wrapped_millis},
    relaxed::Relaxed,
};

pub(super) struct Canonical;

impl Notation for Canonical {
    const COMMA: &'static [u8] = b", ";

    fn int64(value: i64, out: &mut Vec<u8>) {
        write_wrapped_long(value, out);
    }

    fn date_time(millis: i64, out: &mut Vec<u8>) {
        write_wrapped_millis(millis, out);
    }

    fn int32(value: i32, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"$numberInt\": \"");
        write_integer(value, out);
        out.extend_from_slice(b"\"}");
    }

    fn double(value: f64, out: &mut Vec<u8>) {
        write_wrapped_double(value, out);
    }

    /// The only style in which it is more than a reference.
    fn db_pointer(namespace: &[u8], id: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"$dbPointer\": ");
        Relaxed::<false>::db_pointer(namespace, id, out);
        out.push(b'}');
    }
}
