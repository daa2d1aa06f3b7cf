//! Tables of what the server's queries match.

use super::Predicate;
use crate::{raw::Document, transform::tests::bson};

fn matches(query: &str, document: &str) -> bool {
    let predicate = Predicate::parse(query).unwrap_or_else(|err| panic!("{query} {err}"));
    let document = bson(document);
    predicate.matches(Document::new(&document).expect("sound")).expect("sound")
}

#[test]
fn conditions_hold_as_on_the_server() {
    for (query, yes, no) in [
        (
            r#"{"a": 1}"#,
            vec![r#"{"a": 1}"#, r#"{"a": [0, 1]}"#, r#"{"a": 1.0}"#],
            vec!["{}", r#"{"a": "1"}"#, r#"{"a": [[1]]}"#, r#"{"a": {"b": 1}}"#],
        ),
        (r#"{"a": 1, "b": 2}"#, vec![r#"{"b": 2, "a": 1}"#], vec![r#"{"a": 1}"#]),
        (
            r#"{"a.b": 1}"#,
            vec![r#"{"a": {"b": 1}}"#, r#"{"a": [{"b": 0}, {"b": [1]}]}"#],
            vec![r#"{"a": [[{"b": 1}]]}"#, r#"{"a.b": 1}"#],
        ),
        (
            r#"{"a.0": 1}"#,
            vec![r#"{"a": [1, 2]}"#, r#"{"a": {"0": 1}}"#, r#"{"a": [{"0": 1}]}"#, r#"{"a": [[3, 1]]}"#],
            vec![r#"{"a": [2, 1]}"#],
        ),
        (
            r#"{"a.0.b": 1}"#,
            vec![r#"{"a": [{"b": 1}]}"#, r#"{"a": [[{"b": 1}]]}"#],
            vec![r#"{"a": [{"b": 2}, {"b": 1}]}"#],
        ),
        (
            r#"{"a": [1, 2]}"#,
            vec![r#"{"a": [1, 2]}"#, r#"{"a": [[1, 2]]}"#],
            vec![r#"{"a": [2, 1]}"#, r#"{"a": [1, 2, 3]}"#],
        ),
        (
            r#"{"a": {"b": 1, "c": 2}}"#,
            vec![r#"{"a": {"b": 1.0, "c": 2}}"#],
            vec![r#"{"a": {"c": 2, "b": 1}}"#],
        ),
        (
            r#"{"a": null}"#,
            vec!["{}", r#"{"a": null}"#, r#"{"a": [null]}"#, r#"{"a": {"$undefined": true}}"#],
            vec![r#"{"a": 0}"#, r#"{"a": []}"#],
        ),
        (
            r#"{"a.b": null}"#,
            vec!["{}", r#"{"a": 5}"#, r#"{"a": {}}"#, r#"{"a": [{"b": 1}, {}]}"#],
            vec![r#"{"a": [1]}"#, r#"{"a": [{"b": 1}]}"#],
        ),
        (r#"{"a": {"$ne": 1}}"#, vec!["{}", r#"{"a": 2}"#, r#"{"a": []}"#], vec![r#"{"a": [2, 1]}"#]),
        (
            r#"{"a": {"$gt": 1, "$lte": 3}}"#,
            vec![r#"{"a": 2}"#, r#"{"a": 3}"#, r#"{"a": [0, 4]}"#],
            vec![r#"{"a": 1}"#, r#"{"a": "2"}"#, "{}"],
        ),
        (r#"{"a": {"$gte": null}}"#, vec!["{}", r#"{"a": null}"#], vec![r#"{"a": 1}"#]),
        (
            r#"{"a": {"$lt": "b"}}"#,
            vec![r#"{"a": "a"}"#, r#"{"a": "B"}"#, r#"{"a": ""}"#],
            vec![r#"{"a": "b"}"#, r#"{"a": 1}"#],
        ),
        (
            r#"{"a": {"$lt": {"$date": 1000}}}"#,
            vec![r#"{"a": {"$date": -5}}"#],
            vec![r#"{"a": {"$date": 1000}}"#, r#"{"a": 1}"#],
        ),
        (
            r#"{"a": {"$gt": {"$minKey": 1}}}"#,
            vec![r#"{"a": 1}"#, r#"{"a": "x"}"#],
            vec![r#"{"a": {"$minKey": 1}}"#],
        ),
        (
            r#"{"a": {"$gt": {"b": 1}}}"#,
            vec![
                r#"{"a": {"b": 2}}"#,
                r#"{"a": {"c": 1}}"#,
                r#"{"a": {"b": 1, "c": 0}}"#,
                r#"{"a": {"a": "x"}}"#,
            ],
            vec![r#"{"a": {"b": 1}}"#, r#"{"a": {"a": 5}}"#],
        ),
        (
            r#"{"a": {"$in": [1, "x", null, {"$regularExpression": {"pattern": "^y", "options": ""}}]}}"#,
            vec![r#"{"a": 1}"#, r#"{"a": ["x"]}"#, "{}", r#"{"a": "yy"}"#],
            vec![r#"{"a": "zy"}"#],
        ),
        (r#"{"a": {"$nin": [1, null]}}"#, vec![r#"{"a": 2}"#], vec!["{}", r#"{"a": [1, 2]}"#]),
        (r#"{"a": {"$in": []}}"#, vec![], vec!["{}", r#"{"a": 2}"#]),
        (
            r#"{"a.b": {"$exists": true}}"#,
            vec![r#"{"a": {"b": null}}"#, r#"{"a": [{}, {"b": 1}]}"#],
            vec!["{}", r#"{"a": {}}"#],
        ),
        (r#"{"a": {"$exists": 0}}"#, vec!["{}"], vec![r#"{"a": null}"#]),
        (
            r#"{"a": {"$type": ["number", "array", 2]}}"#,
            vec![r#"{"a": 1.5}"#, r#"{"a": []}"#, r#"{"a": ["x"]}"#],
            vec!["{}", r#"{"a": true}"#],
        ),
        (r#"{"$or": [{"a": 1}, {"b": 1}]}"#, vec![r#"{"b": 1}"#], vec!["{}"]),
        (r#"{"$nor": [{"a": 1}, {"b": 1}]}"#, vec!["{}"], vec![r#"{"b": 1}"#]),
        (r#"{"$and": [{"a": 1}, {"a": 2}]}"#, vec![r#"{"a": [1, 2]}"#], vec![r#"{"a": 1}"#]),
        (
            r#"{"a": {"$not": {"$gt": 1}}}"#,
            vec!["{}", r#"{"a": 1}"#, r#"{"a": "x"}"#],
            vec![r#"{"a": [0, 2]}"#],
        ),
        (
            r#"{"a": {"$not": {"$regex": "x", "$options": "i"}}}"#,
            vec!["{}", r#"{"a": "y"}"#],
            vec![r#"{"a": "X"}"#],
        ),
        (
            r#"{"a": {"$regex": "^x.y$", "$options": "is"}}"#,
            vec![r#"{"a": "X\nY"}"#, r#"{"a": ["xxy"]}"#],
            vec![r#"{"a": "xy"}"#, r#"{"a": 1}"#],
        ),
        (
            r#"{"a": {"$regex": "^x", "$ne": "xy"}}"#,
            vec![r#"{"a": "xz"}"#],
            vec![r#"{"a": "xy"}"#, r#"{"a": "zx"}"#],
        ),
    ] {
        for document in yes {
            assert!(matches(query, document), "{query} matches {document}");
        }
        for document in no {
            assert!(!matches(query, document), "{query} does not match {document}");
        }
    }
}

#[test]
fn numbers_of_all_types_compare_by_value() {
    let ascending = [
        r#"{"$numberDecimal": "-Infinity"}"#,
        "-1e300",
        r#"{"$numberLong": "-9223372036854775808"}"#,
        r#"{"$numberLong": "-9223372036854775807"}"#,
        "-1.5",
        r#"{"$numberDecimal": "-1.25"}"#,
        "-1",
        r#"{"$numberDecimal": "-1E-6176"}"#,
        "0",
        "5e-324",
        r#"{"$numberDecimal": "0.1"}"#,
        // The double 0.1 is a little more.
        "0.1",
        "1",
        r#"{"$numberDecimal": "1.000000000000000000000000000000001"}"#,
        "1.0000000000000002",
        "10",
        "9007199254740992.0",
        r#"{"$numberLong": "9007199254740993"}"#,
        r#"{"$numberDecimal": "9007199254740993.5"}"#,
        r#"{"$numberLong": "9223372036854775807"}"#,
        "9223372036854775808.0",
        r#"{"$numberDecimal": "9223372036854775809"}"#,
        "1e300",
        r#"{"$numberDecimal": "1E6000"}"#,
        r#"{"$numberDouble": "Infinity"}"#,
    ];
    for (i, a) in ascending.iter().enumerate() {
        for (j, b) in ascending.iter().enumerate() {
            let holds = |operator| {
                matches(&format!(r#"{{"n": {{"{operator}": {b}}}}}"#), &format!(r#"{{"n": {a}}}"#))
            };
            let found = ["$lt", "$lte", "$eq", "$gte", "$gt"].map(holds);
            assert_eq!(found, [i < j, i <= j, i == j, i >= j, i > j], "{a} {b}");
        }
    }
    for (a, b) in [
        ("1", r#"{"$numberDecimal": "1.00"}"#),
        ("0", r#"{"$numberDecimal": "-0E+3"}"#),
        ("-0.0", "0"),
        ("0.5", r#"{"$numberDecimal": "0.5"}"#),
        (r#"{"$numberDecimal": "1E3"}"#, "1000"),
        ("Infinity", r#"{"$numberDecimal": "Infinity"}"#),
        ("NaN", r#"{"$numberDecimal": "NaN"}"#),
    ] {
        assert!(matches(&format!(r#"{{"n": {a}}}"#), &format!(r#"{{"n": {b}}}"#)), "{a} {b}");
        assert!(matches(&format!(r#"{{"n": {{"$gte": {b}}}}}"#), &format!(r#"{{"n": {a}}}"#)), "{a} {b}");
    }
    for operator in ["$lt", "$lte", "$gt", "$gte", "$eq"] {
        assert!(!matches(&format!(r#"{{"n": {{"{operator}": 1}}}}"#), r#"{"n": NaN}"#), "{operator}");
    }
}

#[test]
fn refusals_name_what_is_known() {
    for (text, part) in [
        ("", "no JSON document"),
        ("{}", "match every event"),
        (r#"{"$where": "1"}"#, "$and, $or, $nor"),
        (r#"{"$expr": {}}"#, "uses $expr"),
        (r#"{"a": {"$size": 1}}"#, "$exists, $type"),
        (r#"{"a": {"$gt": 1, "b": 2}}"#, "uses \"b\""),
        (r#"{"$or": []}"#, "no list of documents"),
        (r#"{"$and": [1]}"#, "no list of documents"),
        (r#"{"a": {"$in": 1}}"#, "no list"),
        (r#"{"a": {"$in": [{"$gt": 1}]}}"#, "operators in the list"),
        (r#"{"a": {"$not": 1}}"#, "without operators"),
        (r#"{"a": {"$regex": "(?=x)"}}"#, "cannot be used"),
        (r#"{"a": {"$regex": "x", "$options": "u"}}"#, "known are i, m, s, x"),
        (r#"{"a": {"$options": "i"}}"#, "without $regex"),
        (r#"{"a": {"$type": "text"}}"#, "known are number"),
        (r#"{"a..b": 1}"#, "no path"),
        (r#"{"a": {"$gt": {"$regularExpression": {"pattern": "x", "options": ""}}}}"#, "use $regex"),
    ] {
        let message = Predicate::parse(text).expect_err(text).to_string();
        assert!(message.contains(part), "{text}: {message}");
        assert!(!message.contains('\n'), "{text}: {message}");
    }
}
