//! The quick ways of the reader against the ways that they shorten.

use super::*;
use crate::raw::Document;

fn outcome(text: &str) -> Result<Vec<u8>, ReadError> {
    let mut out = Vec::new();
    read_document(text.as_bytes(), &mut out).map(|()| out)
}

fn element_of(bytes: &[u8]) -> crate::raw::Element<'_> {
    let mut elements = Document::new(bytes).expect("a document").elements();
    let element = elements.next().expect("one element").expect("sound");
    assert!(elements.next().is_none());
    element
}

#[test]
fn a_string_and_a_name_are_read_whatever_stands_at_whichever_place() {
    for special in ["", "\"", "\\", "\n", "\u{1}", "/", "~\u{7f}", "é", "漢", "😀", "\u{80}"] {
        for length in 0..=44 {
            for at in 0..=length {
                let content = format!("{}{special}{}", "a".repeat(at), "b".repeat(length - at));
                let quoted = serde_json::to_string(&content).expect("JSON");
                let bytes = outcome(&format!("{{{quoted}:{quoted}}}")).expect("readable");
                let element = element_of(&bytes);
                assert_eq!((element.name, element.as_str()), (content.as_bytes(), Some(&*content)));
            }
        }
    }
}

#[test]
fn what_must_not_stand_in_a_string_is_found_at_whichever_place() {
    for length in 0..=44 {
        let content = "x".repeat(length);
        for (end, offset, expected) in [
            ("\n\"}", length, "an escape in place of a control character"),
            ("\u{1f}", length, "an escape in place of a control character"),
            ("\\x\"}", length, "an escape that JSON knows"),
            ("", length, "a closing quote"),
        ] {
            let error = outcome(&format!("{{\"v\": \"{content}{end}")).expect_err("not a string");
            assert_eq!((error.offset, error.expected), (offset + 7, expected), "{length}");
            let error = outcome(&format!("{{\"{content}{end}")).expect_err("not a name");
            assert_eq!((error.offset, error.expected), (offset + 2, expected), "{length}");
        }
    }
}

#[test]
fn whole_numbers_take_the_first_type_that_holds_them_up_to_every_limit() {
    let limits = [0, i64::from(i32::MAX), i64::from(u32::MAX), i64::MAX, 999_999_999_999_999_999];
    let around = |limit: i64| (-2..=2).map(move |step| i128::from(limit) + step);
    let numbers = limits.into_iter().flat_map(around).chain([i128::from(u64::MAX), 10_i128.pow(19)]);
    for number in numbers.flat_map(|number| [number, -number]) {
        let bytes = outcome(&format!("{{\"v\":{number}}}")).expect("a number");
        let element = element_of(&bytes);
        match (i32::try_from(number), i64::try_from(number)) {
            (Ok(_), _) => assert_eq!((element.kind, element.as_i64()), (kind::INT32, Some(number as i64))),
            (_, Ok(value)) => assert_eq!((element.kind, element.as_i64()), (kind::INT64, Some(value))),
            _ => assert_eq!(element.as_f64(), Some(number as f64)),
        }
        let mut plain = Vec::new();
        read_plain(format!("{{\"v\":{number}}}").as_bytes(), &mut plain).expect("a number");
        let is_whole = element_of(&plain).kind == kind::INT64;
        assert_eq!(is_whole, i64::try_from(number).is_ok(), "{number}");
    }
}

/// With an escape in its name a wrapper takes the long way.
#[test]
fn a_wrapper_is_the_same_by_the_quick_way_and_by_the_long_one() {
    let texts = [
        "\"\"",
        "\"5\"",
        "\"-9223372036854775808\"",
        "\"9223372036854775808\"",
        "\"+5\"",
        "\"1.5\"",
        "\"NaN\"",
        "\"0123456789abcdefABCDEF01\"",
        "\"0123456789abcdefABCDEF0\"",
        "\"0123456789abcdefABCDEF0g\"",
        "\"0123456789abcdefABCDEF0\u{e9}\"",
        "\"2020-01-01T00:00:00.123Z\"",
        "\"6d01622d-b3d5-466d-ae48-e414901af8f2\"",
        "\"f\\u0028)\"",
        "\"a\nb\"",
        "\"open",
        "0",
        "-0",
        "-1",
        "01",
        "-",
        "1795398199000",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "99999999999999999999",
        "1.5",
        "1e3",
        "true",
        "null",
        "[]",
        "{}",
        "{\"$numberLong\": \"5\"}",
        "{\"t\": 1, \"i\": 2}",
        "{\"i\":1,\"t\":2}",
        "{ \"t\" : 4294967295 , \"i\" : 0 }",
        "{\"t\": 4294967296, \"i\": 0}",
        "{\"t\": -1, \"i\": 0}",
        "{\"t\": 1, \"i\": 2, \"x\": 3}",
        "{\"t\": 1}",
        "{\"t\": 01, \"i\": 2}",
        "{\"t\": 1.0, \"i\": 2}",
        "{\"t\": 1, \"i\": \"2\"}",
        "",
    ];
    let names = [
        "oid",
        "numberInt",
        "numberLong",
        "numberDouble",
        "numberDecimal",
        "date",
        "uuid",
        "symbol",
        "code",
        "timestamp",
        "binary",
        "regex",
        "minKey",
        "undefined",
        "scope",
        "",
        "x",
    ];
    let ends = [
        "}",
        " }",
        ", \"x\": 1}",
        ", \"$scope\": {}}",
        ", \"$type\": \"00\"}",
        ", \"$options\": \"\"}",
        ",}",
        "]",
    ];
    let mut known = 0;
    for (name, text) in names.iter().flat_map(|name| texts.map(|text| (name, text))) {
        for end in ends {
            for colon in [":", " :\t\r\n "] {
                let of =
                    |dollar: &str| outcome(&format!("{{\"v\": {{\"{dollar}{name}\"{colon}{text}{end}}}"));
                match (of("$"), of("\\u0024")) {
                    (Ok(quick), Ok(long)) => {
                        known += usize::from(element_of(&quick).kind != kind::DOCUMENT);
                        assert_eq!(quick, long, "{name} {text}{end}");
                    }
                    (Err(quick), Err(long)) => {
                        assert_eq!(quick.expected, long.expected, "{name} {text}{end}");
                        let is_within = quick.offset > 8;
                        assert_eq!(
                            quick.offset + if is_within { 5 } else { 0 },
                            long.offset,
                            "{name} {text}{end}"
                        );
                    }
                    (quick, long) => panic!("{name} {text}{end}: {quick:?} {long:?}"),
                }
            }
        }
    }
    assert!(known > 50, "{known}");
}
