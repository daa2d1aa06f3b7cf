//! JSON strings, written: quotes, escapes and bulk copies of what needs none.
//!
//! BSON text is usually UTF-8 but nobody guarantees it: what is not becomes U+FFFD, as JSON cannot carry it.

use super::escape_table;

/// Appends `text` as a JSON string with its quotes, escaped as the driver's JSON writer does.
pub(super) fn write_string(text: &[u8], out: &mut Vec<u8>) {
    write_literal(text, write_escaped, out);
}

/// Appends `text` as a JSON string with its quotes, escaped as Kafka's JsonConverter (Jackson) does: for text that a
/// Debezium envelope embeds.
pub fn write_quoted(text: &[u8], out: &mut Vec<u8>) {
    write_literal(text, write_escaped_by_jackson, out);
}

fn write_literal(text: &[u8], write_escaped: fn(&str, &mut Vec<u8>), out: &mut Vec<u8>) {
    out.push(b'"');
    let clean = clean_length(text, unprintable, is_printable);
    out.extend_from_slice(&text[..clean]);
    let rest = &text[clean..];
    if !rest.is_empty() {
        match std::str::from_utf8(rest) {
            Ok(rest) => write_escaped(rest, out),
            Err(_) => write_lossy(rest, write_escaped, out),
        }
    }
    out.push(b'"');
}

#[cold]
fn write_lossy(text: &[u8], write_escaped: fn(&str, &mut Vec<u8>), out: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        write_escaped(chunk.valid(), out);
        if !chunk.invalid().is_empty() {
            write_escaped("\u{fffd}", out);
        }
    }
}

fn write_escaped(mut text: &str, out: &mut Vec<u8>) {
    while !text.is_empty() {
        let clean = clean_length(text.as_bytes(), unprintable, is_printable);
        let (run, rest) = text.split_at(clean);
        out.extend_from_slice(run.as_bytes());
        text = write_marked(rest, out);
    }
}

/// Appends the characters up to the next one that a bulk copy can begin with; returns what is left.
fn write_marked<'a>(text: &'a str, out: &mut Vec<u8>) -> &'a str {
    for (at, character) in text.char_indices() {
        if character.is_ascii() && is_printable(character as u8) {
            return &text[at..];
        }
        match short_escape(character) {
            Some(escape) => out.extend_from_slice(escape),
            None => write_by_category(character, &text[at..], out),
        }
    }
    ""
}

/// `tail` begins with `character`.
fn write_by_category(character: char, tail: &str, out: &mut Vec<u8>) {
    let mut units = [0; 2];
    match character.encode_utf16(&mut units) {
        [unit] if escape_table::is_raw(*unit) => {
            out.extend_from_slice(&tail.as_bytes()[..character.len_utf8()]);
        }
        units => units.iter().for_each(|unit| write_unit(*unit, write_hex, out)),
    }
}

/// Jackson escapes what JSON demands, and halves of surrogate pairs; its hex digits are upper-case.
fn write_escaped_by_jackson(mut text: &str, out: &mut Vec<u8>) {
    const FIRST_BYTE_OF_FOUR: u8 = 0xf0;
    loop {
        let run = run_length(text.as_bytes());
        let clean = text.as_bytes()[..run].iter().take_while(|byte| **byte < FIRST_BYTE_OF_FOUR).count();
        let (clean, rest) = text.split_at(clean);
        out.extend_from_slice(clean.as_bytes());
        let mut characters = rest.chars();
        let Some(character) = characters.next() else { return };
        match short_escape(character) {
            Some(escape) => out.extend_from_slice(escape),
            None => {
                let mut units = [0; 2];
                let units = character.encode_utf16(&mut units);
                units.iter().for_each(|unit| write_unit(*unit, write_upper_hex, out));
            }
        }
        text = characters.as_str();
    }
}

fn short_escape(character: char) -> Option<&'static [u8]> {
    Some(match character {
        '"' => b"\\\"",
        '\\' => b"\\\\",
        '\u{8}' => b"\\b",
        '\u{c}' => b"\\f",
        '\n' => b"\\n",
        '\r' => b"\\r",
        '\t' => b"\\t",
        _ => return None,
    })
}

fn write_unit(unit: u16, write_hex: fn(&[u8], &mut Vec<u8>), out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\u");
    write_hex(&unit.to_be_bytes(), out);
}

/// Appends two lower-case hex digits for each byte.
pub(super) fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    write_digits(bytes, b"0123456789abcdef", out);
}

/// Appends two upper-case hex digits for each byte.
pub(super) fn write_upper_hex(bytes: &[u8], out: &mut Vec<u8>) {
    write_digits(bytes, b"0123456789ABCDEF", out);
}

fn write_digits(bytes: &[u8], digits: &[u8; 16], out: &mut Vec<u8>) {
    for byte in bytes {
        out.push(digits[usize::from(byte >> 4)]);
        out.push(digits[usize::from(byte & 15)]);
    }
}

/// ASCII that stands in a JSON string as itself.
fn is_printable(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\'
}

/// The same for eight bytes at once: marks those that are not.
fn unprintable(word: u64) -> u64 {
    // Bytes from 0x80 on have their top bit set; adding one carries 0x7f there too, and no carry leaves a byte
    // whose top bit was clear.
    (ends_run(word) | word | (word & !TOP_BITS).wrapping_add(EACH_BYTE)) & TOP_BITS
}

/// How many bytes a reader of JSON strings may copy as they stand: up to a quote, backslash or control character.
#[inline]
pub(super) fn run_length(text: &[u8]) -> usize {
    clean_length(text, ends_run, |byte| byte >= 0x20 && byte != b'"' && byte != b'\\')
}

const EACH_BYTE: u64 = 0x0101_0101_0101_0101;
const TOP_BITS: u64 = 0x80 * EACH_BYTE;

/// Sets the top bit of a byte (and perhaps of bytes above it: a borrow) where a byte is a quote, a backslash or below
/// a space. No bit is set where there is none, and the lowest that is set is right: a borrow begins at a byte that is
/// marked itself.
fn ends_run(word: u64) -> u64 {
    let below = |word: u64, limit: u64| word.wrapping_sub(EACH_BYTE * limit) & !word;
    let is = |byte: u8| below(word ^ (EACH_BYTE * u64::from(byte)), 1);
    (below(word, 0x20) | is(b'"') | is(b'\\')) & TOP_BITS
}

#[inline]
fn clean_length(text: &[u8], marks: impl Fn(u64) -> u64, is_clean: impl Fn(u8) -> bool) -> usize {
    let (words, rest) = text.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let marks = marks(u64::from_le_bytes(*word));
        if marks != 0 {
            // In little-endian order the lowest is the first.
            return index * 8 + (marks.trailing_zeros() / 8) as usize;
        }
    }
    words.len() * 8 + rest.iter().take_while(|byte| is_clean(**byte)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &[u8]) -> String {
        let mut out = Vec::new();
        write_string(text, &mut out);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn each_class_of_character_is_written_as_the_official_connector_does() {
        for (text, expected) in [
            ("", r#""""#),
            ("plain text, longer than a word", r#""plain text, longer than a word""#),
            ("a\"b\\c/d", r#""a\"b\\c/d""#),
            (
                "tab\tnl\ncr\rbs\u{8}ff\u{c}bell\u{7}nul\0x\u{1f}",
                r#""tab\tnl\ncr\rbs\bff\fbell\u0007nul\u0000x\u001f""#,
            ),
            (
                "žluťoučký 漢字 😀 \u{2028}\u{2029}\u{7f}",
                r#""žluťoučký 漢字 \ud83d\ude00 \u2028\u2029\u007f""#,
            ),
            ("é中€—\u{a0}½Ⅷ", "\"é中€—\u{a0}½Ⅷ\""),
            (
                "e\u{301} ʰ \u{ad} \u{200b} \u{feff} \u{e000} \u{ffff}",
                r#""e\u0301 \u02b0 \u00ad \u200b \ufeff \ue000 \uffff""#,
            ),
        ] {
            assert_eq!(written(text.as_bytes()), expected);
        }
    }

    #[test]
    fn quoted_text_is_escaped_as_jackson_does() {
        for (text, expected) in [
            ("", r#""""#),
            ("{\"a\": \"x\\\\y\"}", r#""{\"a\": \"x\\\\y\"}""#),
            ("a/b\t\n\r\u{8}\u{c}\u{7}\0\u{1f}", r#""a/b\t\n\r\b\f\u0007\u0000\u001F""#),
            (
                "žluťoučký 漢字 😀😀 \u{2028}\u{2029}\u{7f}\u{feff}\u{ffff}",
                "\"žluťoučký 漢字 \\uD83D\\uDE00\\uD83D\\uDE00 \u{2028}\u{2029}\u{7f}\u{feff}\u{ffff}\"",
            ),
        ] {
            let mut out = Vec::new();
            write_quoted(text.as_bytes(), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
        let mut out = Vec::new();
        write_quoted(b"a\xffb\xf0\x9f", &mut out);
        assert_eq!(String::from_utf8_lossy(&out), "\"a\u{fffd}b\u{fffd}\"");
    }

    #[test]
    fn bytes_that_are_not_utf8_become_replacement_characters() {
        assert_eq!(written(b"ab\xffcd\xe2\x82"), "\"ab\u{fffd}cd\u{fffd}\"");
    }

    #[test]
    fn eight_bytes_at_once_and_one_at_a_time_agree_on_every_byte_at_every_place() {
        for byte in 0..=u8::MAX {
            for at in 0..29 {
                for filler in [b'a', b'~', b' ', b'!', b'#', b'['] {
                    let mut text = [filler; 29];
                    text[at] = byte;
                    let printable = text.iter().take_while(|b| is_printable(**b)).count();
                    assert_eq!(clean_length(&text, unprintable, is_printable), printable, "{byte} at {at}");
                    let run = text.iter().take_while(|b| !matches!(**b, 0..0x20 | b'"' | b'\\')).count();
                    assert_eq!(run_length(&text), run, "{byte} at {at}");
                }
            }
        }
    }
}
