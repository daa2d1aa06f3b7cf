//! JSON strings, written: quotes, escapes and bulk copies of what needs none.
//!
//! BSON text is usually UTF-8 but nobody guarantees it: what is not becomes U+FFFD, as JSON cannot carry it. A run of
//! characters that are sound and need no escape is measured, whatever their widths, and copied at once.

use super::escape_table;

/// Appends `text` as a JSON string with its quotes, escaped as the driver's JSON writer does.
pub(super) fn write_string(text: &[u8], out: &mut Vec<u8>) {
    write_literal::<false>(text, out);
}

/// Appends `text` as a JSON string with its quotes, escaped as Kafka's JsonConverter (Jackson) does: for text that a
/// Debezium envelope embeds.
pub fn write_quoted(text: &[u8], out: &mut Vec<u8>) {
    write_literal::<true>(text, out);
}

fn write_literal<const BY_JACKSON: bool>(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let clean = printable_length(text);
    out.extend_from_slice(&text[..clean]);
    let rest = &text[clean..];
    if !rest.is_empty() {
        write_escaped::<BY_JACKSON>(rest, out);
    }
    out.push(b'"');
}

/// How many bytes at the front are printable ASCII.
fn printable_length(text: &[u8]) -> usize {
    let whole = clean_blocks(text, is_printable);
    whole + clean_length(&text[whole..], unprintable, is_printable)
}

/// How many bytes the whole blocks at the front have in which all are clean. A block is looked through without branches,
/// by the processor's wide registers.
#[inline]
fn clean_blocks(text: &[u8], is_clean: impl Fn(u8) -> bool) -> usize {
    const BLOCK: usize = 32;
    let (blocks, _) = text.as_chunks::<BLOCK>();
    let is_clean = |block: &&[u8; BLOCK]| block.iter().fold(true, |clean, byte| clean & is_clean(*byte));
    blocks.iter().take_while(is_clean).count() * BLOCK
}

fn write_escaped<const BY_JACKSON: bool>(mut text: &[u8], out: &mut Vec<u8>) {
    while !text.is_empty() {
        let (raw, rest) = text.split_at(raw_length::<BY_JACKSON>(text));
        out.extend_from_slice(raw);
        text = write_marked::<BY_JACKSON>(rest, out);
    }
}

/// How many bytes are written as they stand: those of characters that are sound UTF-8 and not escaped.
fn raw_length<const BY_JACKSON: bool>(text: &[u8]) -> usize {
    let mut rest = text;
    loop {
        rest = match *rest {
            [a @ 0xc2..=0xdf, b, ref after @ ..] if is_raw::<BY_JACKSON>(two_bytes(a, b)) => after,
            [a @ 0xe0..=0xef, b, c, ref after @ ..] if is_raw::<BY_JACKSON>(three_bytes(a, b, c)) => after,
            [byte @ ..0x80, ..] if is_printable(byte) => {
                &rest[clean_length(rest, unprintable, is_printable)..]
            }
            _ => return text.len() - rest.len(),
        }
    }
}

/// Of the code points that are not ASCII; no surrogate is raw.
fn is_raw<const BY_JACKSON: bool>(code: u16) -> bool {
    if BY_JACKSON { matches!(code, 0x80..0xd800 | 0xe000..) } else { escape_table::is_raw(code) }
}

/// The code point, or 0 if the bytes are not UTF-8. The first is one that begins characters of two.
fn two_bytes(a: u8, b: u8) -> u16 {
    if follows(b) { u16::from(a & 0x1f) << 6 | low_bits(b) } else { 0 }
}

/// The same for three; it may be a surrogate.
fn three_bytes(a: u8, b: u8, c: u8) -> u16 {
    let code = u16::from(a) << 12 | low_bits(b) << 6 | low_bits(c);
    if follows(b) && follows(c) && code >= 0x800 { code } else { 0 }
}

fn follows(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// The bits of a character that a byte of its UTF-8 behind the first holds.
fn low_bits(byte: u8) -> u16 {
    u16::from(byte & 0x3f)
}

/// Appends what the characters up to the next raw one are written as, or bytes that are none. Returns what is left.
fn write_marked<'a, const BY_JACKSON: bool>(mut text: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let digits = if BY_JACKSON { UPPER_DIGITS } else { LOWER_DIGITS };
    loop {
        let width = match *text {
            [] => return text,
            [byte @ ..0x80, ..] => {
                match ESCAPES[usize::from(byte)] {
                    0 => return text,
                    b'u' if BY_JACKSON && byte == 0x7f => out.push(byte),
                    b'u' => write_unit(u16::from(byte), digits, out),
                    letter => out.extend_from_slice(&[b'\\', letter]),
                }
                text = &text[1..];
                continue;
            }
            [..0xe0, ..] => 2,
            [..0xf0, ..] => 3,
            _ => 4,
        };
        let character = text.get(..width).and_then(|bytes| std::str::from_utf8(bytes).ok()?.chars().next());
        let Some(character) = character else { return write_invalid(text, out) };
        if u16::try_from(character).is_ok_and(is_raw::<BY_JACKSON>) {
            return text;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            write_unit(*unit, digits, out);
        }
        text = &text[width..];
    }
}

#[cold]
fn write_invalid<'a>(text: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let invalid = text.utf8_chunks().next().map_or(text, |chunk| chunk.invalid());
    out.extend_from_slice("\u{fffd}".as_bytes());
    &text[invalid.len()..]
}

fn write_unit(unit: u16, digits: &[u8; 16], out: &mut Vec<u8>) {
    let [a, b, c, d] = [12, 8, 4, 0].map(|shift| digits[usize::from(unit >> shift & 15)]);
    out.extend_from_slice(&[b'\\', b'u', a, b, c, d]);
}

/// What follows the backslash of each ASCII character's escape: `u` goes before its four digits; 0 for those that have
/// none.
const ESCAPES: [u8; 128] = {
    let mut escapes = [0; 128];
    let mut byte = 0;
    while byte < 0x20 {
        escapes[byte] = b'u';
        byte += 1;
    }
    escapes[0x8] = b'b';
    escapes[b'\t' as usize] = b't';
    escapes[b'\n' as usize] = b'n';
    escapes[0xc] = b'f';
    escapes[b'\r' as usize] = b'r';
    escapes[b'"' as usize] = b'"';
    escapes[b'\\' as usize] = b'\\';
    escapes[0x7f] = b'u';
    escapes
};

/// Appends two lower-case hex digits for each byte.
pub(super) fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    write_digits(bytes, LOWER_DIGITS, out);
}

/// Appends two upper-case hex digits for each byte.
pub(super) fn write_upper_hex(bytes: &[u8], out: &mut Vec<u8>) {
    write_digits(bytes, UPPER_DIGITS, out);
}

const LOWER_DIGITS: &[u8; 16] = b"0123456789abcdef";
const UPPER_DIGITS: &[u8; 16] = b"0123456789ABCDEF";

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
    clean_length(text, ends_run, is_in_run)
}

/// The same, for text in which runs are long.
pub(super) fn long_run_length(text: &[u8]) -> usize {
    let whole = clean_blocks(text, is_in_run);
    whole + run_length(&text[whole..])
}

fn is_in_run(byte: u8) -> bool {
    byte >= 0x20 && byte != b'"' && byte != b'\\'
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

    /// What one character is written as.
    fn by_the_rule(character: char, by_jackson: bool) -> String {
        let short = match character {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\u{8}' => "\\b",
            '\u{c}' => "\\f",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            _ => "",
        };
        let is_raw = match u16::try_from(character) {
            Ok(code) if by_jackson => code >= 0x20,
            Ok(code) => escape_table::is_raw(code),
            Err(_) => false,
        };
        if !short.is_empty() {
            short.to_owned()
        } else if is_raw {
            character.to_string()
        } else {
            let mut units = [0; 2];
            let units = character.encode_utf16(&mut units).iter();
            if by_jackson {
                units.map(|unit| format!("\\u{unit:04X}")).collect()
            } else {
                units.map(|unit| format!("\\u{unit:04x}")).collect()
            }
        }
    }

    type Write = fn(&[u8], &mut Vec<u8>);
    const WRITERS: [(Write, bool); 2] = [(write_string, false), (write_quoted, true)];

    fn assert_by_the_rule(text: &[u8]) {
        for (write, by_jackson) in WRITERS {
            let characters = String::from_utf8_lossy(text);
            let rule: String =
                characters.chars().map(|character| by_the_rule(character, by_jackson)).collect();
            let mut out = Vec::new();
            write(text, &mut out);
            assert_eq!(
                String::from_utf8_lossy(&out),
                format!("\"{rule}\""),
                "{text:x?}, Jackson: {by_jackson}"
            );
        }
    }

    #[test]
    fn every_character_alone_and_among_others_is_written_by_the_rule() {
        let mut out = Vec::new();
        for character in '\0'..=char::MAX {
            for (write, by_jackson) in WRITERS {
                let rule = by_the_rule(character, by_jackson);
                let mut bytes = [0; 4];
                let bytes = character.encode_utf8(&mut bytes).as_bytes();
                out.clear();
                write(bytes, &mut out);
                write(&[b"a", bytes, "é漢".as_bytes(), bytes, b"~"].concat(), &mut out);
                let expected = ["\"", &rule, "\"\"a", &rule, "é漢", &rule, "~\""].concat();
                assert!(out == expected.as_bytes(), "{}, not {expected}", out.escape_ascii());
            }
        }
    }

    #[test]
    fn bytes_that_begin_or_end_like_characters_are_written_by_the_rule() {
        const EDGES: [u8; 15] =
            [b'a', 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc1, 0xc2, 0xe0, 0xed, 0xf0, 0xf4, 0xf5];
        for a in EDGES {
            for b in EDGES {
                for c in EDGES {
                    for d in EDGES {
                        assert_by_the_rule(&[a, b, c, d]);
                    }
                    assert_by_the_rule(&[a, b, c]);
                }
                assert_by_the_rule(&[a, b]);
            }
            assert_by_the_rule(&[a]);
        }
    }

    #[test]
    fn a_byte_that_ends_a_run_does_so_at_every_place() {
        for byte in [0, b'\n', b'"', b'\\', 0x7f, 0xff] {
            for length in 1..80 {
                for at in 0..length {
                    let mut text = vec![b'~'; length];
                    text[at] = byte;
                    assert_by_the_rule(&text);
                }
            }
        }
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
                    let long = [[filler; 64].as_slice(), &text, &[b'"', filler]].concat();
                    let run = if run == text.len() { run } else { at };
                    assert_eq!(long_run_length(&long), 64 + run, "{byte} at {at} behind 64");
                }
            }
        }
    }
}
