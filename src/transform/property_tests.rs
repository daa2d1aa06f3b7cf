//! Random documents and rules: what is hidden shows nowhere, what is not named stays as it is, and updates and
//! documents agree.

use bson::{Bson, Document as Tree, doc};

use super::{
    Rule,
    tests::{event, rule},
};

/// A small generator of our own (xorshift), so that a failure can be run again by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

const NAMES: [&str; 4] = ["a", "b", "c", "0"];

fn value(random: &mut Random, depth: usize) -> Bson {
    match random.below(if depth > 3 { 4 } else { 9 }) {
        0 => Bson::Null,
        1 => Bson::Int32(random.below(9) as i32),
        2 => Bson::String("text".into()),
        3 => Bson::Double(0.5),
        4..=6 => tree(random, depth + 1).into(),
        _ => Bson::Array((0..random.below(4)).map(|_| value(random, depth + 1)).collect()),
    }
}

fn tree(random: &mut Random, depth: usize) -> Tree {
    (0..random.below(5)).map(|_| (random.one(&NAMES).to_owned(), value(random, depth))).collect()
}

fn path(random: &mut Random, names: &[&str]) -> String {
    // The document itself is no array; a name at its top is never an index.
    let steps: Vec<_> = (0..=random.below(3)).map(|_| random.one(names)).collect();
    steps.join(".")
}

fn bytes(tree: &Tree) -> Vec<u8> {
    tree.to_vec().expect("writable")
}

fn transformed(rules: Vec<Rule>, tree: &Tree) -> Tree {
    let out = event(rules, &bytes(tree)).expect("the event stays");
    Tree::from_reader(&out[..]).expect("well formed")
}

/// Puts `secret` wherever the path leads, as the server would find it; whether anywhere.
fn plant(value: &mut Bson, steps: &[&str], secret: &Bson) -> bool {
    match (value, steps) {
        (value, []) => {
            *value = secret.clone();
            true
        }
        (Bson::Document(inner), [step, rest @ ..]) => {
            inner.get_mut(step).is_some_and(|inner| plant(inner, rest, secret))
        }
        (Bson::Array(items), steps) => {
            let mut found = false;
            for item in items.iter_mut().filter(|item| matches!(item, Bson::Document(_) | Bson::Array(_))) {
                found |= plant(item, steps, secret);
            }
            found
        }
        _ => false,
    }
}

/// All dotted paths into a document, indexes included, with their values.
fn paths(value: &Bson, at: &str, found: &mut Vec<(String, Bson)>) {
    let mut below = |name: &str, inner: &Bson| {
        let path = if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
        found.push((path.clone(), inner.clone()));
        paths(inner, &path, found);
    };
    match value {
        Bson::Document(inner) => inner.iter().for_each(|(name, inner)| below(name, inner)),
        Bson::Array(items) => items.iter().enumerate().for_each(|(n, item)| below(&n.to_string(), item)),
        _ => {}
    }
}

/// An event of the document, with some or all of its paths in an update's parts.
fn whole_event(random: &mut Random, image: &Tree) -> Tree {
    let mut all = Vec::new();
    paths(&Bson::Document(image.clone()), "", &mut all);
    let updated: Tree = all.iter().filter(|_| random.below(3) > 0).cloned().collect();
    doc! {
        "_id": { "_data": "82" }, "operationType": "update", "fullDocument": image.clone(),
        "fullDocumentBeforeChange": image.clone(), "documentKey": { "_id": 1 },
        "updateDescription": { "updatedFields": updated, "removedFields": [], "truncatedArrays": [] },
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn what_is_left_out_or_masked_shows_nowhere_in_the_event() {
    let mut planted = 0;
    for seed in 1..4000_u64 {
        let random = &mut Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut image = Bson::Document(tree(random, 0));
        let hidden = path(random, &NAMES);
        let steps: Vec<_> = hidden.split('.').collect();
        let secret: Bson = [
            Bson::String("SECRET".into()),
            doc! { "x": [{ "y": "SECRET" }] }.into(),
            Bson::Array(vec!["SECRET".into()]),
        ][random.below(3)]
        .clone();
        if !plant(&mut image, &steps, &secret) {
            continue;
        }
        planted += 1;
        let Bson::Document(image) = image else { unreachable!("it was a document") };
        let event_tree = whole_event(random, &image);
        let rename = format!(r#"rename = {{"{}" = "renamed"}}"#, path(random, &NAMES));
        let other = path(random, &NAMES);
        for rules in [
            vec![format!("exclude = [\"{hidden}\"]\n{rename}")],
            vec![format!("redact = [\"{hidden}\"]\n{rename}")],
            vec![format!("hash = [\"{hidden}\"]\nhash_key = \"k\"\n{rename}")],
            vec![format!("redact = [\"{hidden}\", \"{other}\"]"), format!("exclude = [\"{other}.c\"]")],
            vec![format!("exclude = [\"{hidden}\"]"), format!("include = [\"{other}\", \"{hidden}\"]")],
        ] {
            let compiled = rules.iter().map(|toml| rule(toml)).collect();
            let out = event(compiled, &bytes(&event_tree)).expect("it stays");
            assert!(!contains(&out, b"SECRET"), "seed {seed}: {rules:?} {event_tree}");
        }
    }
    assert!(planted > 500, "{planted}");
}

#[test]
fn what_no_rule_names_stays_to_the_byte() {
    for seed in 1..2000_u64 {
        let random = &mut Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let image = tree(random, 0);
        let input = bytes(&whole_event(random, &image));
        // One step of the path exists nowhere.
        let unknown = format!("{}.zz", path(random, &NAMES));
        for toml in [
            format!("exclude = [\"{unknown}\"]"),
            format!("redact = [\"{unknown}\"]"),
            format!("rename = {{\"{unknown}\" = \"x\"}}"),
            format!("hash = [\"{unknown}\"]\nhash_key = \"k\""),
            "include = [\"a\", \"b\", \"c\", \"0\"]".into(),
        ] {
            assert_eq!(event(vec![rule(&toml)], &input).as_ref(), Some(&input), "seed {seed}: {toml}");
        }
    }
}

#[test]
fn redacting_twice_changes_nothing_more() {
    for seed in 1..2000_u64 {
        let random = &mut Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let image = tree(random, 0);
        let toml = format!("redact = [\"{}\", \"{}\"]", path(random, &NAMES), path(random, &NAMES));
        let once = transformed(vec![rule(&toml)], &whole_event(random, &image));
        assert_eq!(transformed(vec![rule(&toml)], &once), once, "seed {seed}: {toml}");
    }
}

/// What the server would say of the way from one document to another.
fn difference(before: &Tree, after: &Tree, at: &str, updated: &mut Tree, removed: &mut Vec<Bson>) {
    for name in before.keys().filter(|name| !after.contains_key(name.as_str())) {
        removed.push(format!("{at}{name}").into());
    }
    for (name, new) in after {
        let path = format!("{at}{name}");
        match (before.get(name), new) {
            (Some(old), new) if old == new => {}
            (Some(Bson::Document(old)), Bson::Document(new)) => {
                difference(old, new, &format!("{path}."), updated, removed);
            }
            (Some(Bson::Array(old)), Bson::Array(new)) if old.len() <= new.len() => {
                for (index, item) in new.iter().enumerate() {
                    match (old.get(index), item) {
                        (Some(old), new) if old == new => {}
                        (Some(Bson::Document(old)), Bson::Document(new)) => {
                            difference(old, new, &format!("{path}.{index}."), updated, removed);
                        }
                        _ => {
                            updated.insert(format!("{path}.{index}"), item.clone());
                        }
                    }
                }
            }
            _ => {
                updated.insert(path, new.clone());
            }
        }
    }
}

fn place<'v>(mut value: &'v mut Bson, steps: &[&str]) -> Option<&'v mut Bson> {
    for step in steps {
        value = match value {
            Bson::Document(inner) => inner.get_mut(step)?,
            Bson::Array(items) => items.get_mut(step.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(value)
}

fn apply(document: &Tree, updated: &Tree, removed: &[Bson]) -> Tree {
    let mut root = Bson::Document(document.clone());
    for path in removed {
        let steps: Vec<_> = path.as_str().expect("a path").split('.').collect();
        let (last, parents) = steps.split_last().expect("a path is not empty");
        if let Some(Bson::Document(parent)) = place(&mut root, parents) {
            parent.remove(last);
        }
    }
    for (path, value) in updated {
        let steps: Vec<_> = path.split('.').collect();
        let (last, parents) = steps.split_last().expect("a path is not empty");
        match place(&mut root, parents) {
            Some(Bson::Document(parent)) => {
                parent.insert(*last, value.clone());
            }
            Some(Bson::Array(items)) => {
                let index: usize = last.parse().expect("an index");
                if index == items.len() { items.push(value.clone()) } else { items[index] = value.clone() }
            }
            other => panic!("no place for {path}: {other:?}"),
        }
    }
    match root {
        Bson::Document(document) => document,
        other => panic!("{other:?}"),
    }
}

/// Names in order, as a set has them: an update may put a field elsewhere than a replacement does.
fn sorted(value: &Bson) -> Bson {
    match value {
        Bson::Document(inner) => {
            let mut fields: Vec<_> =
                inner.iter().map(|(name, inner)| (name.clone(), sorted(inner))).collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Bson::Document(fields.into_iter().collect())
        }
        Bson::Array(items) => Bson::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

#[test]
fn a_transformed_update_leads_from_one_transformed_document_to_the_next() {
    // A number is always an index here: that is what the events of older servers cannot tell.
    const NAMES: [&str; 3] = ["a", "b", "c"];
    let named = |random: &mut Random| path(random, &NAMES);
    for seed in 1..6000_u64 {
        let random = &mut Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let without_numbers = |tree: Tree| -> Tree {
            let text = tree.to_string().replace("\"0\":", "\"c\":");
            serde_json::from_str(&text).expect("JSON")
        };
        let (before, after) = (without_numbers(tree(random, 0)), without_numbers(tree(random, 0)));
        let (mut updated, mut removed) = (Tree::new(), Vec::new());
        difference(&before, &after, "", &mut updated, &mut removed);
        let toml = match random.below(5) {
            0 => format!("exclude = [\"{}\", \"{}\"]", named(random), named(random)),
            1 => format!("include = [\"{}\", \"{}\"]", named(random), named(random)),
            2 => format!("redact = [\"{}\", \"{}\"]", named(random), named(random)),
            3 => format!("rename = {{\"{}\" = \"x\"}}\nset = '{{\"b\": 7}}'", named(random)),
            _ => format!(
                "include = [\"{}\", \"{}\"]\nredact = [\"{}\"]\nexclude = [\"{}\"]\nrename = {{\"{}\" = \"x\"}}",
                named(random),
                named(random),
                named(random),
                named(random),
                named(random)
            ),
        };
        let input = doc! {
            "fullDocumentBeforeChange": before, "fullDocument": after,
            "updateDescription": { "updatedFields": updated, "removedFields": removed },
        };
        let output = transformed(vec![rule(&toml)], &input);
        let part = |name: &str| output.get_document(name).expect("there");
        let change = part("updateDescription");
        let found = apply(
            part("fullDocumentBeforeChange"),
            change.get_document("updatedFields").expect("there"),
            change.get_array("removedFields").expect("there"),
        );
        let expected = Bson::Document(part("fullDocument").clone());
        assert_eq!(sorted(&found.into()), sorted(&expected), "seed {seed}: {toml}\n{input}\n{output}");
    }
}
