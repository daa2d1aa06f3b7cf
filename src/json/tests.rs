//! The writer and the reader against each other and against tables.

/// A small generator of pseudo-random numbers (xorshift), so that every run tests the same.
pub(super) struct Random {
    state: u64,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

use super::*;
use crate::raw::{self, Document, Writer, kind};

fn written(bytes: &[u8]) -> String {
    written_in(Style::Strict, bytes)
}

fn written_in(style: Style, bytes: &[u8]) -> String {
    let mut out = Vec::new();
    let document = Document::new(bytes).expect("well formed");
    write_document(document, style, &mut out).expect("it can be written");
    String::from_utf8(out).expect("JSON is UTF-8")
}

fn read(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    read_document(text.as_bytes(), &mut out).unwrap_or_else(|error| panic!("{text}: {error}"));
    out
}

fn refused(text: &[u8]) -> ReadError {
    let mut out = b"before".to_vec();
    let error = read_document(text, &mut out).expect_err("it has to be refused");
    assert_eq!(out, b"before", "an error leaves the buffer as it was");
    error
}

/// One document `{v: …}` for each kind of value and its odd cases.
fn value_of_each_kind() -> Vec<(u8, Vec<u8>, &'static str)> {
    let text = |text: &[u8]| [&(text.len() as i32 + 1).to_le_bytes(), text, b"\0"].concat();
    let scope = b"\x0c\0\0\0\x10y\0\x01\0\0\0\0";
    let code_with_scope = [&(4 + 6 + 12_i32).to_le_bytes()[..], &text(b"f"), scope].concat();
    let id: Vec<u8> = (0..12).collect();
    vec![
        (kind::DOUBLE, 1e7_f64.to_le_bytes().to_vec(), "1.0E7"),
        (kind::DOUBLE, (-0.0_f64).to_le_bytes().to_vec(), "-0.0"),
        (kind::DOUBLE, f64::NAN.to_le_bytes().to_vec(), r#"{"$numberDouble": "NaN"}"#),
        (kind::DOUBLE, f64::INFINITY.to_le_bytes().to_vec(), r#"{"$numberDouble": "Infinity"}"#),
        (kind::DOUBLE, f64::NEG_INFINITY.to_le_bytes().to_vec(), r#"{"$numberDouble": "-Infinity"}"#),
        (kind::STRING, text("q\"é\u{7}".as_bytes()), r#""q\"é\u0007""#),
        (kind::DOCUMENT, scope.to_vec(), r#"{"y": 1}"#),
        (kind::DOCUMENT, b"\x05\0\0\0\0".to_vec(), "{}"),
        (kind::ARRAY, b"\x05\0\0\0\0".to_vec(), "[]"),
        (kind::ARRAY, b"\x0f\0\0\0\x0a0\0\x101\0\x02\0\0\0\0".to_vec(), "[null, 2]"),
        (kind::BINARY, b"\x03\0\0\0\0\0\x01\x7f".to_vec(), r#"{"$binary": "AAF/", "$type": "00"}"#),
        (kind::BINARY, b"\0\0\0\0\x80".to_vec(), r#"{"$binary": "", "$type": "80"}"#),
        (kind::BINARY, b"\0\0\0\0\xfa".to_vec(), r#"{"$binary": "", "$type": "FA"}"#),
        (
            kind::BINARY,
            b"\x07\0\0\0\x02\x03\0\0\0\0\x01\x7f".to_vec(),
            r#"{"$binary": "AAF/", "$type": "02"}"#,
        ),
        (kind::UNDEFINED, vec![], r#"{"$undefined": true}"#),
        (kind::OBJECT_ID, id.clone(), r#"{"$oid": "000102030405060708090a0b"}"#),
        (kind::BOOLEAN, vec![1], "true"),
        (kind::BOOLEAN, vec![0], "false"),
        (kind::DATE_TIME, (-1_i64).to_le_bytes().to_vec(), r#"{"$date": -1}"#),
        (kind::DATE_TIME, i64::MIN.to_le_bytes().to_vec(), r#"{"$date": -9223372036854775808}"#),
        (kind::NULL, vec![], "null"),
        (kind::REGEX, b"^a/b\"c\0imx\0".to_vec(), r#"{"$regex": "^a/b\"c", "$options": "imx"}"#),
        (kind::REGEX, b"\0\0".to_vec(), r#"{"$regex": "", "$options": ""}"#),
        (kind::CODE, text(b"f()"), r#"{"$code": "f()"}"#),
        (kind::SYMBOL, text(b"sy"), r#"{"$symbol": "sy"}"#),
        (kind::CODE_WITH_SCOPE, code_with_scope, r#"{"$code": "f", "$scope": {"y": 1}}"#),
        (kind::INT32, i32::MIN.to_le_bytes().to_vec(), "-2147483648"),
        (
            kind::TIMESTAMP,
            [7_u32, u32::MAX].map(u32::to_le_bytes).concat(),
            r#"{"$timestamp": {"t": 4294967295, "i": 7}}"#,
        ),
        (kind::INT64, i64::MIN.to_le_bytes().to_vec(), r#"{"$numberLong": "-9223372036854775808"}"#),
        (
            kind::DECIMAL128,
            decimal::parse_decimal(b"-0.00").expect("a number").to_vec(),
            r#"{"$numberDecimal": "-0.00"}"#,
        ),
        (kind::MAX_KEY, vec![], r#"{"$maxKey": 1}"#),
        (kind::MIN_KEY, vec![], r#"{"$minKey": 1}"#),
    ]
}

/// Documents in documents, this many in all.
pub(super) fn nested(levels: usize) -> Vec<u8> {
    (1..levels).fold(Document::EMPTY.as_bytes().to_vec(), |inner, _| document_of(kind::DOCUMENT, &inner))
}

fn document_of(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.begin();
    writer.value(b"v", kind, value);
    writer.end();
    writer.into_bytes()
}

#[test]
fn each_kind_of_value_has_its_strict_text_and_comes_back_from_it() {
    for (kind, value, expected) in value_of_each_kind() {
        let bytes = document_of(kind, &value);
        let text = format!("{{\"v\": {expected}}}");
        assert_eq!(written(&bytes), text);
        assert_eq!(read(&text), bytes, "{text}");
    }
}

#[test]
fn a_value_is_written_without_its_name_and_an_error_leaves_the_buffer() {
    let cut_binary = document_of(kind::BINARY, b"\x02\0\0\0\x02\0\0");
    let bytes = document_of(kind::DOCUMENT, &cut_binary);
    let values = [
        (kind::INT64, 5_i64.to_le_bytes().to_vec(), Ok("key 5")),
        (kind::DATE_TIME, 0_i64.to_le_bytes().to_vec(), Ok("key {\"$date\": \"1970-01-01T00:00:00Z\"}")),
        (kind::ARRAY, Document::EMPTY.as_bytes().to_vec(), Ok("key []")),
        (kind::DOCUMENT, bytes, Err("v.v")),
    ];
    for (kind, value, expected) in values {
        let mut out = b"key ".to_vec();
        let written =
            write_value(raw::Element { kind, name: b"name", value: &value }, Style::Relaxed, &mut out);
        match expected {
            Ok(text) => assert_eq!((written, out.as_slice()), (Ok(()), text.as_bytes())),
            Err(path) => {
                assert_eq!(written.map_err(|error| error.path), Err(path.to_owned()));
                assert_eq!(out, b"key ");
            }
        }
    }
}

#[test]
fn a_db_pointer_is_written_as_a_reference_and_read_from_its_own_wrapper() {
    let bytes =
        document_of(kind::DB_POINTER, b"\x03\0\0\0ns\0\0\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b");
    assert_eq!(written(&bytes), r#"{"v": {"$ref": "ns", "$id": {"$oid": "000102030405060708090a0b"}}}"#);
    let id = r#""$id": {"$oid": "000102030405060708090a0b"}"#;
    assert_eq!(read(&format!(r#"{{"v": {{"$dbPointer": {{"$ref": "ns", {id}}}}}}}"#)), bytes);
    assert_eq!(read(&format!(r#"{{"v": {{"$dbPointer": {{{id}, "$ref": "ns"}}}}}}"#)), bytes);
}

#[test]
fn every_style_and_order_of_a_wrapper_is_read() {
    for (text, strict) in [
        ("5", "5"),
        ("-0", "0"),
        ("2147483648", r#"{"$numberLong": "2147483648"}"#),
        ("-2147483649", r#"{"$numberLong": "-2147483649"}"#),
        ("9223372036854775807", r#"{"$numberLong": "9223372036854775807"}"#),
        ("-9223372036854775808", r#"{"$numberLong": "-9223372036854775808"}"#),
        ("9223372036854775808", "9.223372036854776E18"),
        ("-9223372036854775809", "-9.223372036854776E18"),
        ("100000000000000000000000000000", "1.0E29"),
        ("1.0", "1.0"),
        ("-0.0", "-0.0"),
        ("1e2", "100.0"),
        ("1E-7", "1.0E-7"),
        ("12.5e+1", "125.0"),
        ("1e-400", "0.0"),
        ("NaN", r#"{"$numberDouble": "NaN"}"#),
        ("Infinity", r#"{"$numberDouble": "Infinity"}"#),
        ("-Infinity", r#"{"$numberDouble": "-Infinity"}"#),
        (r#"{"$numberInt": "7"}"#, "7"),
        (r#"{"$numberLong": "8"}"#, r#"{"$numberLong": "8"}"#),
        (r#"{"$numberDouble": "2"}"#, "2.0"),
        (r#"{"$numberDouble": "-1.5E10"}"#, "-1.5E10"),
        (r#"{"$numberDecimal": "1.20"}"#, r#"{"$numberDecimal": "1.20"}"#),
        (r#"{"$numberDecimal": "NaN"}"#, r#"{"$numberDecimal": "NaN"}"#),
        (r#"{"$date": "2020-01-01T00:00:00.123Z"}"#, r#"{"$date": 1577836800123}"#),
        (r#"{"$date": {"$numberLong": "5"}}"#, r#"{"$date": 5}"#),
        (r#"{"$binary": {"base64": "AQI=", "subType": "00"}}"#, r#"{"$binary": "AQI=", "$type": "00"}"#),
        (r#"{"$binary": {"subType": "4", "base64": "AQI="}}"#, r#"{"$binary": "AQI=", "$type": "04"}"#),
        (r#"{"$type": "5", "$binary": "AQI="}"#, r#"{"$binary": "AQI=", "$type": "05"}"#),
        (r#"{"$binary": "AQI=", "$type": 128}"#, r#"{"$binary": "AQI=", "$type": "80"}"#),
        (
            r#"{"$uuid": "6d01622d-b3d5-466d-ae48-e414901af8f2"}"#,
            r#"{"$binary": "bQFiLbPVRm2uSOQUkBr48g==", "$type": "04"}"#,
        ),
        (r#"{"$options": "i", "$regex": "a"}"#, r#"{"$regex": "a", "$options": "i"}"#),
        (
            r#"{"$regularExpression": {"options": "i", "pattern": "a"}}"#,
            r#"{"$regex": "a", "$options": "i"}"#,
        ),
        (r#"{"$timestamp": {"i": 6, "t": 4294967295}}"#, r#"{"$timestamp": {"t": 4294967295, "i": 6}}"#),
        (
            r#"{"$scope": {"a": {"$oid": "0123456789ABCDEF01234567"}}, "$code": "f"}"#,
            r#"{"$code": "f", "$scope": {"a": {"$oid": "0123456789abcdef01234567"}}}"#,
        ),
        (r#"{"\u0024oid": "0123456789abcdef01234567"}"#, r#"{"$oid": "0123456789abcdef01234567"}"#),
        (r#"[{"$oid":"0123456789abcdef01234567"},[]]"#, r#"[{"$oid": "0123456789abcdef01234567"}, []]"#),
    ] {
        assert_eq!(written(&read(&format!("{{\"v\":{text}}}"))), format!("{{\"v\": {strict}}}"), "{text}");
    }
}

#[test]
fn what_only_begins_like_a_wrapper_is_the_document_that_it_spells() {
    for text in [
        r#"{"$set": {"a": 1}}"#,
        r#"{"$ref": "c", "$id": {"$oid": "0123456789abcdef01234567"}, "$db": "d"}"#,
        r#"{"$type": 1}"#,
        r#"{"$oid": 5}"#,
        r#"{"$oid": "0123456789abcdef01234567", "x": 1}"#,
        r#"{"$oid": "x", "$oid": "y"}"#,
        r#"{"$date": true}"#,
        r#"{"$date": 1.5}"#,
        r#"{"$date": {"$date": 1}}"#,
        r#"{"$numberLong": 5}"#,
        r#"{"$binary": "AQI="}"#,
        r#"{"$binary": "AQI=", "$type": null}"#,
        r#"{"$binary": {"base64": "AQI="}}"#,
        r#"{"$binary": {"base64": 1, "subType": "00"}}"#,
        r#"{"$regex": "a"}"#,
        r#"{"$regex": {"$regex": "a", "$options": ""}, "$options": ""}"#,
        r#"{"$timestamp": {"t": -1, "i": 0}}"#,
        r#"{"$timestamp": {"t": 1}}"#,
        r#"{"$timestamp": {"t": 1.5, "i": 0}}"#,
        r#"{"$code": "f", "$scope": 1}"#,
        r#"{"$code": "f", "$scope": []}"#,
        r#"{"$code": {"$symbol": "f"}}"#,
        r#"{"$dbPointer": {"$ref": "ns", "$id": 1}}"#,
        r#"{"$minKey": 2}"#,
        r#"{"$undefined": false}"#,
        r#"{"$date": []}"#,
        r#"{"$": 1, "": 2, "$x": 3}"#,
        r#"{"x": 1, "$oid": "0123456789abcdef01234567"}"#,
    ] {
        let text = format!("{{\"v\": {text}}}");
        assert_eq!(written(&read(&text)), text);
    }
    let document = r#"{"$oid": "0123456789abcdef01234567"}"#;
    assert_eq!(written(&read(document)), document, "a whole document is never a wrapper");
}

#[test]
fn strings_are_unescaped_and_names_kept_even_if_repeated() {
    let bytes = read(
        " {\"a\\n\\\"\" : \"\\u00e9\\/\\ud83d\\ude00 \\ud83d \\ude00\\ud83d\\u0041\\u0000z\", \"a\\n\\\"\":1}\r\n\t",
    );
    let document = Document::new(&bytes).expect("well formed");
    let elements: Vec<_> = document.elements().map(|element| element.expect("sound")).collect();
    assert_eq!(elements[0].as_str(), Some("é/😀 \u{fffd} \u{fffd}\u{fffd}A\0z"));
    assert_eq!([elements[0].name, elements[1].name], [b"a\n\"", b"a\n\""]);
    assert_eq!(elements.len(), 2);
}

#[test]
fn an_error_says_where_it_is_and_what_was_expected() {
    for (text, offset, expected) in [
        ("", 0, "a document, which begins with `{`"),
        ("  [1]", 2, "a document, which begins with `{`"),
        ("null", 0, "a document, which begins with `{`"),
        ("{", 1, "a field name in quotes"),
        ("{a: 1}", 1, "a field name in quotes"),
        ("{\"a\" 1}", 5, "`:` after a field name"),
        ("{\"a\": }", 6, "a value"),
        ("{\"a\": tru}", 6, "a value"),
        ("{\"a\": 1 \"b\"", 8, "`,` or `}` after a field"),
        ("{\"a\": 1,}", 8, "a field name in quotes"),
        ("{\"a\": [1,]}", 9, "a value"),
        ("{\"a\": [1}", 8, "`,` or `]` after an array's element"),
        ("{\"a\": 01}", 6, "a number without leading zeros"),
        ("{\"a\": -}", 7, "a digit"),
        ("{\"a\": 1.}", 8, "a digit"),
        ("{\"a\": 1e}", 8, "a digit"),
        ("{\"a\": -1e400}", 6, "a number that a double can hold"),
        ("{\"a\": -Inf}", 7, "a value"),
        ("{\"a\": \"x", 8, "a closing quote"),
        ("{\"a\": \"x\n\"}", 8, "an escape in place of a control character"),
        ("{\"a\": \"\\x\"}", 7, "an escape that JSON knows"),
        ("{\"a\": \"\\u12g4\"}", 7, "four hex digits after `\\u`"),
        ("{\"a\": \"\\u12", 7, "four hex digits after `\\u`"),
        ("{\"a\\u0000b\": 1}", 2, "a field name without NUL"),
        ("{} {}", 3, "the end of the text"),
        ("{\"a\": {\"$oid\": \"12\"}}", 6, "24 hex digits in `$oid`"),
        ("{\"a\": {\"$numberInt\": \"2147483648\"}}", 6, "a 32-bit whole number in `$numberInt`"),
        ("{\"a\": {\"$numberLong\": \"1.5\"}}", 6, "a 64-bit whole number in `$numberLong`"),
        ("{\"a\": {\"$numberDouble\": \"1e999\"}}", 6, "a number, NaN or Infinity in `$numberDouble`"),
        ("{\"a\": {\"$numberDouble\": \"inf\"}}", 6, "a number, NaN or Infinity in `$numberDouble`"),
        (
            "{\"a\": {\"$numberDecimal\": \"1e9999\"}}",
            6,
            "a number that Decimal128 holds exactly in `$numberDecimal`",
        ),
        ("{\"a\": {\"$date\": \"now\"}}", 6, "a time such as 2020-01-01T00:00:00Z in `$date`"),
        ("{\"a\": {\"$uuid\": \"12\"}}", 6, "a UUID in `$uuid`"),
        ("{\"a\": {\"$binary\": \"?\", \"$type\": \"00\"}}", 6, "base64 with padding in `$binary`"),
        ("{\"a\": {\"$binary\": \"\", \"$type\": \"100\"}}", 6, "two hex digits or a byte in `$type`"),
        ("{\"a\": {\"$binary\": \"\", \"$type\": 256}}", 6, "two hex digits or a byte in `$type`"),
        ("{\"a\": {\"$binary\": {\"base64\": \"\", \"subType\": \"\"}}}", 6, "two hex digits in `subType`"),
        ("{\"a\": {\"$regex\": \"\\u0000\", \"$options\": \"\"}}", 6, "a regular expression without NUL"),
    ] {
        let error = refused(text.as_bytes());
        assert_eq!((error.offset, error.expected), (offset, expected), "{text}");
    }
    assert_eq!(refused(b"{\"a\": \"\xff\"}").expected, "UTF-8");
    let error = refused("{\"é\":\n  1, \"é\": ?}".as_bytes());
    assert_eq!(error.to_string(), "line 2, column 11 (byte 18): expected a value");
}

#[test]
fn nesting_ends_at_the_same_level_for_writer_and_reader() {
    for (opening, innermost, closing) in [
        ("{\"a\": ", r#"{"$timestamp": {"t": 1, "i": 2}}"#, "}"),
        ("{\"a\": ", r#"{"$code": "f"}"#, "}"),
        ("{\"a\": ", "{}", "}"),
        ("{\"a\": ", "[]", "}"),
        ("{\"a\": ", r#"{"$code": "f", "$scope": {}}"#, "}"),
    ] {
        let nested =
            |levels: usize| format!("{}{innermost}{}", opening.repeat(levels), closing.repeat(levels));
        let own_levels = match innermost {
            "{}" | "[]" => 1,
            text if text.contains("$scope") => 2,
            _ => 0,
        };
        let deepest = nested(MOST_LEVELS - own_levels);
        let bytes = read(&deepest);
        assert_eq!(written(&bytes), deepest);
        assert_eq!(
            refused(nested(MOST_LEVELS - own_levels + 1).as_bytes()).expected,
            "at most 200 nested levels"
        );

        let mut out = b"before".to_vec();
        let deeper = document_of(kind::DOCUMENT, &bytes);
        let written = write_document(Document::new(&deeper).expect("well formed"), Style::Strict, &mut out);
        let error = written.expect_err("too deep");
        assert_eq!(error.reason, Reason::TooDeep);
        assert!(error.path.starts_with("v.a.a"), "{}", error.path);
        assert_eq!(out, b"before", "an error leaves the buffer as it was");
    }
    for opening in ["[", "{\"a\":", "{\"$scope\":", "{\"$code\":\"\",\"$scope\":", "[{\"$date\":"] {
        let error = refused(format!("{{\"a\":{}", opening.repeat(100_000)).as_bytes());
        assert_eq!(error.expected, "at most 200 nested levels", "{opening}");
    }
}

#[test]
fn a_malformed_value_is_reported_with_its_path() {
    let cut_binary = document_of(kind::BINARY, b"\x02\0\0\0\x02\0\0");
    let array = document_of(kind::ARRAY, &document_of(kind::DOCUMENT, &cut_binary));
    let mut out = Vec::new();
    let error = write_document(Document::new(&array).expect("well formed"), Style::Strict, &mut out)
        .expect_err("the old binary has no second length");
    assert_eq!(error.path, "v.v.v");
    assert!(matches!(error.reason, Reason::Malformed(raw::Error { .. })), "{error}");
    let expected = "cannot write field v.v.v as JSON: malformed BSON at byte 5: an old binary's second length does not fit";
    assert_eq!(error.to_string(), expected);
    assert!(out.is_empty());
}

/// Appends random elements of every kind; text from characters of all escape classes.
fn append_random_elements(random: &mut Random, levels_left: u32, is_array: bool, writer: &mut Writer) {
    let values = value_of_each_kind();
    for index in 0..random.below(6) {
        let name =
            if is_array { index.to_string() } else { format!("f{}", random_text(random).replace('\0', "")) };
        match random.below(10) {
            0 if levels_left > 0 => {
                writer.begin_document(name.as_bytes());
                append_random_elements(random, levels_left - 1, false, writer);
                writer.end();
            }
            1 if levels_left > 0 => {
                writer.begin_array(name.as_bytes());
                append_random_elements(random, levels_left - 1, true, writer);
                writer.end();
            }
            2 => writer.string(name.as_bytes(), random_text(random).as_bytes()),
            3 => writer.int64(name.as_bytes(), random.next() as i64 >> random.below(64)),
            4 => {
                let value = f64::from_bits(random.next());
                writer.double(name.as_bytes(), if value.is_nan() { f64::NAN } else { value });
            }
            _ => {
                let (kind, value, _) = &values[random.below(values.len() as u64) as usize];
                writer.value(name.as_bytes(), *kind, value);
            }
        }
    }
}

fn random_text(random: &mut Random) -> String {
    let plane_ends = [0x80, 0x80, 0x80, 0x800, 0x10000, 0x11_0000];
    (0..random.below(20))
        .map(|_| {
            let end = plane_ends[random.below(6) as usize];
            char::from_u32(random.below(end) as u32).unwrap_or('"')
        })
        .collect()
}

fn random_document(random: &mut Random) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.begin();
    append_random_elements(random, 4, false, &mut writer);
    writer.end();
    writer.into_bytes()
}

#[test]
fn generated_documents_come_back_byte_for_byte_and_their_text_is_json() {
    let mut random = Random::new(0xb50);
    for _ in 0..4_000 {
        let bytes = random_document(&mut random);
        for style in [Style::Strict, Style::Canonical, Style::Debezium] {
            let text = written_in(style, &bytes);
            assert_eq!(read(&text), bytes, "{text}");
            assert!(serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok(), "{text}");
        }
        for style in [Style::Relaxed, Style::Simplified, Style::DebeziumKey] {
            let text = written_in(style, &bytes);
            assert_eq!(written_in(style, &read(&text)), text, "types go, the text stays");
            assert!(serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok(), "{text}");
        }
    }
}

#[test]
fn damaged_text_and_damaged_bson_never_panic_and_what_is_read_is_sound() {
    let mut random = Random::new(0xdead);
    let mut errors = 0;
    for _ in 0..1_000 {
        let bytes = random_document(&mut random);
        let text = written(&bytes).into_bytes();
        for _ in 0..20 {
            let mut damaged = text.clone();
            let at = random.below(damaged.len() as u64) as usize;
            match random.below(3) {
                0 => damaged[at] = b"{}[]\",:\\u$-0e\x00\xff"[random.below(15) as usize],
                1 => damaged.truncate(at),
                _ => drop(damaged.remove(at)),
            }
            let mut out = Vec::new();
            match read_document(&damaged, &mut out) {
                Ok(()) => assert_eq!(read(&written(&out)), out, "{}", String::from_utf8_lossy(&damaged)),
                Err(_) => errors += 1,
            }
            let mut damaged = bytes.clone();
            let at = random.below(damaged.len() as u64) as usize;
            damaged[at] = random.next() as u8;
            let mut out = Vec::new();
            if let Ok(document) = Document::new(&damaged)
                && write_document(document, Style::Strict, &mut out).is_err()
            {
                assert!(out.is_empty());
                errors += 1;
            }
        }
    }
    assert!(errors > 1_000, "the damage has to show: {errors}");
}
