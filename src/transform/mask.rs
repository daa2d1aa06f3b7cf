//! What stands in place of a masked value.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{config::Secret, raw::Element};

/// The value of a redacted field, whatever was there; a null too, because that something is absent can be the secret.
pub const REDACTED: &str = "[redacted]";

/// How a value is masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mask {
    /// It becomes [`REDACTED`].
    Redact,
    /// It becomes its hash, by the program's hasher of this number.
    Hash(usize),
}

/// HMAC-SHA-256 with its key taken in.
#[derive(Clone)]
pub(super) struct Hasher(Hmac<Sha256>);

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

impl Hasher {
    pub(super) fn new(key: &Secret) -> Self {
        Self(Hmac::new_from_slice(key.expose().as_bytes()).expect("HMAC takes keys of any length"))
    }

    /// Appends the value's hash as a BSON string value. The type counts: 1 and "1" differ, and so do an int and a long.
    pub(super) fn write(&self, element: Element<'_>, out: &mut Vec<u8>) {
        let mut mac = self.0.clone();
        mac.update(&[element.kind]);
        mac.update(element.value);
        let digest = mac.finalize().into_bytes();
        let length = digest.len() as i32 * 2 + 1;
        out.extend_from_slice(&length.to_le_bytes());
        for byte in digest {
            out.extend_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 15)]);
        }
        out.push(0);
    }
}

fn hex_digit(nibble: u8) -> u8 {
    b"0123456789abcdef"[usize::from(nibble)]
}

/// Appends [`REDACTED`] as a BSON string value.
pub(super) fn write_redacted(out: &mut Vec<u8>) {
    out.extend_from_slice(&(REDACTED.len() as i32 + 1).to_le_bytes());
    out.extend_from_slice(REDACTED.as_bytes());
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::kind;

    #[test]
    fn the_hash_is_that_of_type_and_value_in_hex() {
        // printf '\x02\x04\x00\x00\x00Jim\x00' | openssl dgst -sha256 -hmac key
        let element = Element { kind: kind::STRING, name: b"n", value: b"\x04\0\0\0Jim\0" };
        let mut out = Vec::new();
        Hasher::new(&Secret::new("key")).write(element, &mut out);
        let text = std::str::from_utf8(&out[4..out.len() - 1]).expect("hex is ASCII");
        assert_eq!(text, "a76d423cab1fa4035ebee0fe31460787627fa9acbda774cabbc9ba13e8806c3b");
        assert_eq!(out[..4], 65_i32.to_le_bytes());
    }
}
