//! Each step by itself, and the `_id`s.

#![expect(clippy::needless_pass_by_value, reason = "tests hand over what they make on the spot")]

use bson::{Bson, bson, doc};

use super::{
    super::{
        example,
        progress::{Partition, Place},
        record::Timestamp,
        template::{Purpose, Template},
    },
    project::{Pattern, Projection},
    rename::{Renaming, Rule, parse_path_regex, parse_regex},
    *,
};
use crate::config::{Id, IdStrategy, UuidFormat};

fn record(key: Option<&bson::Document>, value: &bson::Document) -> Record {
    let bytes = |document: &bson::Document| document.to_vec().expect("writable");
    let place =
        Place { partition: Partition { topic: "orders.v1".into(), number: 3 }, offset: 4_294_967_301 };
    Record {
        place,
        timestamp: Timestamp::Create(7),
        key: key.map(bytes).map(Into::into),
        value: Some(bytes(value).into()),
        headers: Vec::new(),
    }
}

/// Key and value after these steps.
fn shaped(
    actions: Vec<(Side, StepAction)>,
    id: &Id,
    key: Option<bson::Document>,
    value: bson::Document,
) -> Result<(Option<bson::Document>, bson::Document), Error> {
    let record = record(key.as_ref(), &value);
    let mut input = decode::decode(&record, &example::handling(), Vec::new())?;
    let value = input.value.take();
    let mut parts = Parts::new(&input, value);
    let steps: Vec<_> = actions.into_iter().map(|(on, action)| Step { on, action }).collect();
    parts.take(&steps, id)?;
    let read = |document: Document<'_>| bson::Document::from_reader(document.as_bytes()).expect("sound");
    Ok((parts.key()?.map(read), parts.value().map(read).expect("there is one")))
}

fn value_after(action: StepAction, value: bson::Document) -> Result<bson::Document, Error> {
    shaped(vec![(Side::Value, action)], &example::handling().id, None, value).map(|(_, value)| value)
}

fn patterns(list: &str) -> Vec<Pattern> {
    list.split_whitespace().map(|text| Pattern::parse(text).expect("sound")).collect()
}

fn person() -> bson::Document {
    doc! {
        "_id": 1, "name": "n", "nick": "k", "age": 3,
        "home": { "street": "s", "zip": "z", "geo": { "lat": 1, "lon": 2 } },
        "jobs": [{ "t": "a", "y": 1 }, 5, [{ "t": "b" }]],
    }
}

#[test]
fn allowed_fields_stay_with_the_documents_on_their_way() {
    let home = doc! { "street": "s", "zip": "z", "geo": { "lat": 1, "lon": 2 } };
    for (list, expected) in [
        ("_id name", doc! { "_id": 1, "name": "n" }),
        ("name", doc! { "name": "n" }),
        ("home", doc! { "home": {} }),
        ("home.zip none", doc! { "home": { "zip": "z" } }),
        ("home.*", doc! { "home": { "street": "s", "zip": "z", "geo": {} } }),
        ("home.**", doc! { "home": home.clone() }),
        ("home.*.lat", doc! { "home": { "street": "s", "zip": "z", "geo": { "lat": 1 } } }),
        ("h*", doc! { "home": home }),
        ("home.s*", doc! { "home": { "street": "s" } }),
        ("jobs.t", doc! { "jobs": [{ "t": "a" }, 5, [{ "t": "b" }]] }),
        ("**", person()),
        ("", doc! {}),
    ] {
        let action = StepAction::Project(Projection::allow(patterns(list)));
        assert_eq!(value_after(action, person()), Ok(expected), "{list}");
    }
    let dotted =
        value_after(StepAction::Project(Projection::allow(patterns("a.b"))), doc! { "a.b": 1, "a.c": 2 });
    assert_eq!(dotted, Ok(doc! { "a.b": 1 }), "a name may have the dots itself");
}

#[test]
fn blocked_fields_go() {
    let without = |names: &[&str]| {
        let mut left = person();
        names.iter().for_each(|name| drop(left.remove(name)));
        left
    };
    for (list, expected) in [
        ("", person()),
        ("age nick none home.none age.x", without(&["age", "nick"])),
        ("n*", without(&["name", "nick"])),
        ("**", doc! {}),
        ("*", doc! { "home": person().get_document("home").expect("there").clone() }),
        ("*.zip", doc! { "home": { "street": "s", "geo": { "lat": 1, "lon": 2 } } }),
        ("*.**", doc! { "home": {} }),
        ("home.*.lat", {
            let mut left = person();
            left.insert("home", doc! { "geo": { "lon": 2 } });
            left
        }),
        ("jobs.t home.s*", {
            let mut left = person();
            left.insert("home", doc! { "zip": "z", "geo": { "lat": 1, "lon": 2 } });
            left.insert("jobs", bson!([{ "y": 1 }, 5, [{ "t": "b" }]]));
            left
        }),
    ] {
        let action = StepAction::Project(Projection::block(patterns(list)));
        assert_eq!(value_after(action, person()), Ok(expected), "{list}");
    }
}

#[test]
fn patterns_that_mean_nothing_are_refused() {
    for (text, part) in [
        ("", "empty name"),
        ("a..b", "empty name"),
        ("**.b", "goes on after **"),
        ("a.**.b", "goes on after **"),
        ("a*.b", "only end the last"),
        ("a***", "only end the last"),
    ] {
        let message = Pattern::parse(text).expect_err("it means nothing").to_string();
        assert!(message.contains(part), "{text}: {message}");
    }
}

#[test]
fn nulls_go_at_every_depth_but_not_from_arrays() {
    let value = doc! { "_id": 1, "a": Bson::Null, "s": { "b": Bson::Null, "c": [Bson::Null, { "d": Bson::Null, "e": 1 }] }, "l": [[{ "f": Bson::Null }]] };
    let expected = doc! { "_id": 1, "s": { "c": [Bson::Null, { "e": 1 }] }, "l": [[{ "f": Bson::Null }]] };
    assert_eq!(value_after(StepAction::RemoveNulls, value), Ok(expected));
}

#[test]
fn metadata_are_fields_in_their_place_or_at_the_end() {
    let found = value_after(StepAction::AddMetadata, doc! { "CREATE_TIME": "old", "a": 1 });
    let place = "orders.v1-3-4294967301";
    assert_eq!(found, Ok(doc! { "CREATE_TIME": 7_i64, "a": 1, "topic-partition-offset": place }));
}

#[test]
fn templates_set_fields() {
    let template = Template::parse(r#"{"at": "{timestamp}", "a": {"was": "{value.a}"}}"#, Purpose::Set);
    let found = value_after(StepAction::Set(template.expect("sound")), doc! { "a": 1, "b": 2 });
    let at = bson::DateTime::from_millis(7);
    assert_eq!(found, Ok(doc! { "a": { "was": 1 }, "b": 2, "at": at }));
}

fn mapping(names: &[(&str, &str)]) -> StepAction {
    let names = names.iter().map(|(path, name)| (path.as_bytes().to_vec(), name.as_bytes().to_vec()));
    StepAction::Rename(Renaming::Mapping(names.collect()))
}

fn rules(rules: &[(&str, &str, &str)]) -> StepAction {
    let rule = |(path, pattern, replace): &(&str, &str, &str)| {
        let (path, pattern) = (parse_path_regex(path).expect("sound"), parse_regex(pattern).expect("sound"));
        Rule::new(path, pattern, replace).expect("sound")
    };
    StepAction::Rename(Renaming::Rules(rules.iter().map(rule).collect()))
}

#[test]
fn renamed_fields_go_to_the_end_of_their_document() {
    let value = || doc! { "_id": 1, "a": 1, "s": { "b": 2, "c": 3 }, "z": [{ "a": 1 }] };
    for (names, expected) in [
        (
            &[("a", "alpha"), ("s.b", "beta"), ("z.a", "no")][..],
            doc! { "_id": 1, "s": { "c": 3, "beta": 2 }, "z": [{ "a": 1 }], "alpha": 1 },
        ),
        (
            &[("s", "t"), ("t.b", "x"), ("s.c", "no")],
            doc! { "_id": 1, "a": 1, "z": [{ "a": 1 }], "t": { "c": 3, "x": 2 } },
        ),
        (&[("a", "z"), ("z", "a")], doc! { "_id": 1, "s": { "b": 2, "c": 3 }, "z": 1, "a": [{ "a": 1 }] }),
        (&[("a", "a")], value()),
    ] {
        assert_eq!(value_after(mapping(names), value()), Ok(expected), "{names:?}");
    }
}

#[test]
fn a_rename_that_would_lose_a_value_is_refused() {
    let value = doc! { "a": 1, "b": 2, "c": 3, "s": { "x-": 1, "x_": 2 } };
    assert_eq!(value_after(mapping(&[("a", "b")]), value.clone()), Err(Error::Clash));
    assert_eq!(value_after(mapping(&[("a", "d"), ("b", "d")]), value.clone()), Err(Error::Clash));
    assert_eq!(value_after(rules(&[(".*", "[-_]", "")]), value), Err(Error::Clash));
}

#[test]
fn rules_match_the_whole_path_and_change_the_name_in_order() {
    let value = doc! { "_id": 1, "my-a": 1, "b-c-d": 2, "s": { "my-x": 3 } };
    let found = value_after(rules(&[("my.*", "my", ""), (".*", "-", "_")]), value);
    assert_eq!(found, Ok(doc! { "_id": 1, "s": { "my_x": 3 }, "_a": 1, "b_c_d": 2 }));
    let found = value_after(rules(&[(".*", r"\.", "_")]), doc! { "_id": 1, "a.b": { "c.d": 1 } });
    assert_eq!(found, Ok(doc! { "_id": 1, "a_b": { "c_d": 1 } }));
    let found = value_after(rules(&[("x.*", "([0-9])(?<l>[a-z])", r"${l}$11\$")]), doc! { "x7q": 1 });
    assert_eq!(found, Ok(doc! { "xq71$": 1 }), "as many digits as there are groups");
}

#[test]
fn replacements_that_name_no_group_are_refused() {
    for (replace, part) in [("$2", "group"), ("${x}", "group"), ("$", "names no group"), ("\\", "backslash")]
    {
        let (path, pattern) = (parse_path_regex("a").expect("sound"), parse_regex("(a)").expect("sound"));
        let message = Rule::new(path, pattern, replace).expect_err("no group").to_string();
        assert!(message.contains(part), "{replace}: {message}");
    }
    assert!(parse_path_regex("a)(b").is_err() && parse_regex("(?=x)").is_err());
}

#[test]
fn steps_on_the_key_change_only_the_key() {
    let project = || StepAction::Project(Projection::allow(patterns("a")));
    let id = Id { strategy: IdStrategy::FullKey, ..example::handling().id };
    let steps = vec![(Side::Key, project()), (Side::Value, StepAction::AddId)];
    let found = shaped(steps, &id, Some(doc! { "a": 1, "b": 2 }), doc! { "a": 9, "b": 8 });
    assert_eq!(found, Ok((Some(doc! { "a": 1 }), doc! { "a": 9, "b": 8, "_id": { "a": 1 } })));
    let found = shaped(vec![(Side::Key, project())], &id, None, doc! { "a": 9 });
    assert_eq!(found, Ok((None, doc! { "a": 9 })));
}

fn with_id(id: &Id, key: Option<bson::Document>, value: bson::Document) -> Result<bson::Document, Error> {
    shaped(vec![(Side::Value, StepAction::AddId)], id, key, value).map(|(_, value)| value)
}

fn strategy(strategy: IdStrategy) -> Id {
    Id { strategy, ..example::handling().id }
}

#[test]
fn ids_are_made_as_their_strategy_says_and_stand_last() {
    const TEXT: &str = "6d01622d-b3d5-466d-ae48-e414901af8f2";
    let uuid = bson::Uuid::parse_str(TEXT).expect("sound");
    let key = || Some(doc! { "_id": TEXT, "k": 2 });
    let value = || doc! { "a": 1 };
    for (made_by, expected) in [
        (IdStrategy::FullKey, bson!({ "_id": TEXT, "k": 2 })),
        (IdStrategy::ProvidedInKey, bson!(TEXT)),
        (IdStrategy::UuidInKey, bson!(uuid)),
        (IdStrategy::KafkaMetadata, bson!("orders.v1#3#4294967301")),
    ] {
        let found = with_id(&strategy(made_by), key(), value());
        assert_eq!(found, Ok(doc! { "a": 1, "_id": expected }), "{made_by:?}");
    }
    assert_eq!(with_id(&strategy(IdStrategy::Auto), key(), value()), Ok(doc! { "_id": TEXT, "a": 1 }));
    let part = Some(Projection::block(patterns("n")));
    let partial = Id { part, ..strategy(IdStrategy::PartialValue) };
    let found = with_id(&partial, None, doc! { "u": "x", "n": 4 });
    assert_eq!(found, Ok(doc! { "u": "x", "n": 4, "_id": { "u": "x" } }));
    let short = TEXT.replace('-', "");
    let found = with_id(&strategy(IdStrategy::UuidInKey), Some(doc! { "_id": short }), value());
    assert_eq!(found, Ok(doc! { "a": 1, "_id": uuid }));
}

#[test]
fn an_id_that_is_there_stays_or_is_replaced_in_its_place() {
    let key = || Some(doc! { "k": 2 });
    let value = || doc! { "_id": "mine", "a": 1 };
    let keeps = strategy(IdStrategy::FullKey);
    assert_eq!(with_id(&keeps, key(), value()), Ok(value()));
    let overwrites = Id { overwrite: true, ..keeps };
    assert_eq!(with_id(&overwrites, key(), value()), Ok(doc! { "_id": { "k": 2 }, "a": 1 }));
    let found = with_id(&strategy(IdStrategy::UuidInValue), None, value());
    assert_eq!(found, Ok(value()), "nothing is read that stays");
}

#[test]
fn records_without_what_an_id_is_made_from_are_refused() {
    let text = |id: &Id, key: Option<bson::Document>, value| {
        with_id(id, key, value).expect_err("there is nothing to make it from").to_string()
    };
    let overwrite = |by| Id { overwrite: true, ..strategy(by) };
    let null = || doc! { "_id": Bson::Null };
    for (id, key, value, part) in [
        (strategy(IdStrategy::FullKey), None, doc! {}, "no key"),
        (strategy(IdStrategy::ProvidedInKey), None, doc! {}, "no key"),
        (strategy(IdStrategy::ProvidedInKey), Some(doc! { "id": 1 }), doc! {}, "no _id in the key"),
        (strategy(IdStrategy::ProvidedInKey), Some(null()), doc! {}, "no _id in the key, or a null"),
        (strategy(IdStrategy::ProvidedInValue), None, doc! {}, "no _id in the value"),
        (strategy(IdStrategy::ProvidedInValue), None, null(), "or a null"),
        (overwrite(IdStrategy::ProvidedInValue), None, null(), "or a null"),
        (strategy(IdStrategy::UuidInKey), Some(doc! { "_id": "17" }), doc! {}, "no UUID"),
        (strategy(IdStrategy::UuidInKey), Some(doc! { "_id": 17 }), doc! {}, "no UUID"),
        (overwrite(IdStrategy::UuidInValue), None, doc! { "_id": 1 }, "no UUID"),
        (strategy(IdStrategy::Auto), None, doc! {}, "no key"),
    ] {
        let message = text(&id, key, value);
        assert!(message.contains(part), "{:?}: {message}", id.strategy);
    }
}

#[test]
fn new_ids_are_new_and_stable_ones_the_places() {
    for (made_by, uuid_format) in [
        (IdStrategy::ObjectId, UuidFormat::String),
        (IdStrategy::Uuid, UuidFormat::String),
        (IdStrategy::Uuid, UuidFormat::Binary),
    ] {
        let fresh = Id { uuid_format, ..strategy(made_by) };
        let made = |id: &Id| with_id(id, None, doc! {}).expect("made").remove("_id").expect("there");
        assert_ne!(made(&fresh), made(&fresh), "{made_by:?}");
        let stable = Id { is_stable: true, ..fresh };
        assert_eq!(made(&stable), made(&stable), "{made_by:?}");
        match (made_by, made(&stable)) {
            (IdStrategy::ObjectId, Bson::ObjectId(_)) => {}
            (_, Bson::String(text)) => assert!(text.len() == 36 && text.as_bytes()[14] == b'8', "{text}"),
            (_, Bson::Binary(binary)) => assert_eq!(binary.bytes.len(), 16),
            (_, other) => panic!("{other}"),
        }
    }
}
