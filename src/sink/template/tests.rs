//! What templates make of records, and which are none.

use bson::{Bson, doc};

use super::{
    super::{
        decode::decode,
        example,
        progress::{Partition, Place},
        record::{Header, Record, Timestamp},
    },
    *,
};

fn rendered(purpose: Purpose, text: &str, value: &bson::Document) -> Result<bson::Document, Error> {
    let template = Template::parse(text, purpose).unwrap_or_else(|invalid| panic!("{text}: {invalid}"));
    let place = Place { partition: Partition { topic: "t".into(), number: 2 }, offset: 9 };
    let header =
        |name: &str, value: Option<&[u8]>| Header { name: name.into(), value: value.map(<[u8]>::to_vec) };
    let record = Record {
        place,
        timestamp: Timestamp::LogAppend(5),
        key: Some(doc! { "k": { "n": 1 } }.to_vec().expect("writable").into()),
        value: Some(value.to_vec().expect("writable").into()),
        headers: vec![
            header("h", Some(b"old")),
            header("h", Some(b"new")),
            header("b", Some(&[0xff])),
            header("n", None),
        ],
    };
    let mut input = decode(&record, &example::handling(), Vec::new()).expect("readable");
    let value = input.value.take();
    let bytes = template.render(&Parts::new(&input, value))?;
    Ok(bson::Document::from_reader(&bytes[..]).expect("sound"))
}

fn regex() -> Bson {
    let part = |text: &str| text.try_into().expect("no NUL");
    Bson::RegularExpression(bson::Regex { pattern: part(".*"), options: part("") })
}

#[test]
fn placeholders_become_what_they_stand_for_with_its_type() {
    let value = doc! { "a": { "b": 5_i64 }, "l": [1, 2], "x.y": "dotted", "x": { "y": "inner" } };
    let text = r#"{
        "whole": "{value}", "path": "{value.a.b}", "list": "{value.l}", "dots": "{value.x.y}", "key": "{key.k.n}",
        "topic": "{topic}", "partition": "{partition}", "offset": "{offset}", "at": "{timestamp}", "kind": "{timestamp_type}",
        "header": "{headers.h}", "bytes": "{headers.b}", "null": "{headers.n}",
        "none": "{value.none?}", "some": ["{value.none?}", "{offset}"], "text": "{{value}}", "plain": "a {1} b"
    }"#;
    let expected = doc! {
        "whole": value.clone(), "path": 5_i64, "list": [1, 2], "dots": "dotted", "key": 1,
        "topic": "t", "partition": 2, "offset": 9_i64, "at": bson::DateTime::from_millis(5), "kind": "LOG_APPEND_TIME",
        "header": "new",
        "bytes": bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![0xff] },
        "null": Bson::Null, "some": [9_i64], "text": "{value}", "plain": "a {1} b",
    };
    assert_eq!(rendered(Purpose::Set, text, &value), Ok(expected));
    let missing = rendered(Purpose::Set, r#"{"a": "{value.none}"}"#, &doc! {});
    assert_eq!(missing, Err(Error::Missing("value.none".into())));
}

#[test]
fn what_comes_from_a_record_is_never_a_condition() {
    let evil = doc! { "x": { "$gt": "" }, "r": regex(), "l": [regex()], "o": [{ "$elemMatch": { "a": 1 } }], "p": "plain" };
    for (text, expected) in [
        (r#"{"a": "{value.x}"}"#, doc! { "a": { "$eq": { "$gt": "" } } }),
        (r#"{"a": "{value.r}"}"#, doc! { "a": { "$eq": regex() } }),
        (r#"{"a": "{value.p}"}"#, doc! { "a": "plain" }),
        (r#"{"a": {"$gt": "{value.x}"}}"#, doc! { "a": { "$gt": { "$gt": "" } } }),
        (r#"{"a": {"$not": {"$eq": "{value.x}"}}}"#, doc! { "a": { "$not": { "$eq": { "$gt": "" } } } }),
        (
            r#"{"a": {"$elemMatch": {"b": "{value.x}"}}}"#,
            doc! { "a": { "$elemMatch": { "b": { "$eq": { "$gt": "" } } } } },
        ),
        (r#"{"$or": [{"a": "{value.x}"}]}"#, doc! { "$or": [{ "a": { "$eq": { "$gt": "" } } }] }),
        (
            r#"{"$expr": {"$eq": ["$a", "{value.x}"]}}"#,
            doc! { "$expr": { "$eq": ["$a", { "$literal": { "$gt": "" } }] } },
        ),
        (r#"{"a": {"$in": ["{value.p}"]}}"#, doc! { "a": { "$in": ["plain"] } }),
    ] {
        assert_eq!(rendered(Purpose::Filter, text, &evil), Ok(expected), "{text}");
    }
    for text in [
        r#"{"a": {"$in": ["{value.x}"]}}"#,
        r#"{"a": {"$in": "{value.l}"}}"#,
        r#"{"a": {"$nin": ["{value.r}"]}}"#,
        r#"{"a": {"$all": "{value.o}"}}"#,
    ] {
        let found = rendered(Purpose::Filter, text, &evil);
        assert!(matches!(found, Err(Error::Unfit(..))), "{text}: {found:?}");
    }
}

#[test]
fn what_comes_from_a_record_is_never_an_operator_or_an_expression() {
    let evil = doc! { "x": { "$each": [], "$slice": 0 }, "g": { "$gte": 0 }, "s": "$secret", "n": 3 };
    for (text, expected) in [
        (r#"{"$inc": {"n": "{value.n}"}}"#, doc! { "$inc": { "n": 3 } }),
        (r#"{"$set": {"a": "{value.x}"}}"#, doc! { "$set": { "a": { "$each": [], "$slice": 0 } } }),
        (r#"{"$set": "{value}"}"#, doc! { "$set": evil.clone() }),
        (r#"{"$push": {"a": {"$each": ["{value.n}"]}}}"#, doc! { "$push": { "a": { "$each": [3] } } }),
        (r#"{"$pull": {"a": "{value.g}"}}"#, doc! { "$pull": { "a": { "$eq": { "$gte": 0 } } } }),
        (
            r#"{"$pull": {"a": {"b": "{value.g}"}}}"#,
            doc! { "$pull": { "a": { "b": { "$eq": { "$gte": 0 } } } } },
        ),
        (
            r#"[{"$set": {"a": "{value.s}", "b": {"$add": ["$b", "{value.n}"]}, "c": {"$literal": "{value.s}"}}}]"#,
            doc! { "0": { "$set": {
                "a": { "$literal": "$secret" }, "b": { "$add": ["$b", { "$literal": 3 }] }, "c": { "$literal": "$secret" },
            } } },
        ),
        (r#"[{"$replaceWith": "{value}"}]"#, doc! { "0": { "$replaceWith": { "$literal": evil.clone() } } }),
    ] {
        assert_eq!(rendered(Purpose::Update, text, &evil), Ok(expected), "{text}");
    }
    for text in [
        r#"{"$push": {"a": "{value.x}"}}"#,
        r#"{"$addToSet": {"a": "{value.g}"}}"#,
        r#"{"$set": "{value.s}"}"#,
    ] {
        let found = rendered(Purpose::Update, text, &evil);
        assert!(matches!(found, Err(Error::Unfit(..))), "{text}: {found:?}");
    }
}

#[test]
fn templates_that_are_none_or_not_safe_are_refused_when_they_are_read() {
    use Purpose::{Filter, Set, Update};
    for (purpose, text, part) in [
        (Filter, "{", "no JSON"),
        (Filter, "{}", "whatever document"),
        (Filter, "[]", "is a list"),
        (Filter, r#"{"a": "{valu.x}"}"#, "unknown placeholder"),
        (Filter, r#"{"a": "{value.}"}"#, "unknown placeholder"),
        (Filter, r#"{"a": "x-{value.b}"}"#, "inside of the text"),
        (Filter, r#"{"{value.a}": 1}"#, "for a name"),
        (Filter, r#"{"$where": "sleep(1)"}"#, "runs code"),
        (Filter, r#"{"$expr": {"$function": {"body": "", "args": [], "lang": "js"}}}"#, "runs code"),
        (Filter, r#"{"$or": ["{value}"]}"#, "what is done"),
        (Filter, r#"{"$and": "{value.list}"}"#, "what is done"),
        (Filter, r#"{"a": {"$not": "{value.x}"}}"#, "what is done"),
        (Filter, r#"{"a": {"$elemMatch": "{value.x}"}}"#, "what is done"),
        (Filter, r#"{"$jsonSchema": "{value.x}"}"#, "what is done"),
        (Update, r#"{"a": 1}"#, "no update"),
        (Update, "{}", "no update"),
        (Update, r#"{"$rename": {"a": "{value.x}"}}"#, "what is done"),
        (Update, r#"{"$push": "{value}"}"#, "what is done"),
        (Update, r#"{"$pull": "{value}"}"#, "what is done"),
        (Update, "[]", "no pipeline"),
        (Update, r#"[{"$out": "x"}]"#, "writes elsewhere"),
        (Update, r#"[{"$match": {}}]"#, "no pipeline"),
        (Update, r#"[{"$set": {}, "$unset": "a"}]"#, "no pipeline"),
        (Update, r#"[{"$set": "{value}"}]"#, "what is done"),
        (Update, r#"[{"$unset": "{value.a}"}]"#, "what is done"),
        (Update, r#"[{"$set": {"a": {"$accumulator": {}}}}]"#, "runs code"),
        (Update, r#"[]}, {"x": [1]"#, "no JSON"),
        (Set, r#"{"a.b": 1}"#, "is no path"),
        (Set, r#"{"$a": 1}"#, "does not start"),
        (Set, "{}", "sets nothing"),
    ] {
        let message = Template::parse(text, purpose).expect_err(text).to_string();
        assert!(message.contains(part), "{text}: {message}");
    }
}
