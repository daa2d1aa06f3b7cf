//! Which stream to open, and what the server filters in it. Pure.
//!
//! The narrowest stream that covers the patterns is opened, and the server filters it on `ns.coll` (and `ns.db`):
//! a filter on `ns` as a whole cannot be pushed down into the oplog scan and is many times slower. Events that are of
//! no collection (dropDatabase, invalidate) and renames into the watched set pass the filter too.

use bson::{Bson, Document, Regex, doc};

use crate::namespace::{Glob, Namespace, Pattern, Patterns};

/// What a change stream is opened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One collection.
    Collection(Namespace),
    /// One database.
    Database(String),
    /// Everything.
    Deployment,
}

/// The narrowest stream that covers `watch`.
pub fn scope(watch: &Patterns) -> Scope {
    let mut databases = watch.include.iter().map(|pattern| match pattern {
        Pattern::Glob { db, .. } => db.literal(),
        Pattern::Regex(_) => None,
    });
    let Some(Some(db)) = databases.next() else { return Scope::Deployment };
    if !databases.all(|other| other == Some(db)) {
        return Scope::Deployment;
    }
    match watch.include.as_slice() {
        [Pattern::Glob { coll, .. }] if coll.literal().is_some() => {
            let coll = coll.literal().expect("just tested").to_owned();
            Scope::Collection(Namespace { db: db.to_owned(), coll })
        }
        _ => Scope::Database(db.to_owned()),
    }
}

/// How the filter compares names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparing {
    /// By equality, where a pattern is a name.
    Plainly,
    /// By regular expressions alone: a collation changes what is equal, and leaves them as they are.
    DespiteCollation,
}

/// The server's filter; `None` where the stream has just what is watched.
pub(super) fn filter(watch: &Patterns, scope: &Scope, comparing: Comparing) -> Option<Document> {
    let within = matches!(scope, Scope::Database(_) | Scope::Collection(_));
    let any = |side: &str, patterns: &[Pattern]| -> Vec<Document> {
        patterns.iter().map(|pattern| condition(side, pattern, within, comparing)).collect()
    };
    let included = any("ns", &watch.include);
    let excluded = any("ns", &watch.exclude);
    let takes_all = matches!(scope, Scope::Collection(_)) || included.iter().any(Document::is_empty);
    if takes_all && excluded.is_empty() {
        return None;
    }
    let mut wanted = Document::new();
    if !takes_all {
        wanted.insert("$or", included);
    }
    if !excluded.is_empty() {
        wanted.insert("$nor", excluded);
    }
    let no_collection = if within {
        doc! { "ns.coll": { "$exists": false } }
    } else {
        // dropDatabase events of databases that are watched, and events without any namespace. What a regular
        // expression would make of a database alone cannot be told; the drops of its collections are matched.
        let mut databases = vec![doc! { "ns": { "$exists": false } }];
        databases.extend(watch.include.iter().filter_map(|pattern| match pattern {
            Pattern::Glob { db, .. } => Some(one_of("ns.db", db, comparing)),
            Pattern::Regex(_) => None,
        }));
        doc! { "ns.coll": { "$exists": false }, "$or": databases }
    };
    let mut either = vec![wanted, no_collection];
    if !takes_all {
        either.push(doc! { "operationType": "rename", "$or": any("to", &watch.include) });
    }
    Some(doc! { "$or": either })
}

/// The condition that the namespace in `side` matches `pattern`; empty where all do.
fn condition(side: &str, pattern: &Pattern, database_is_given: bool, comparing: Comparing) -> Document {
    match pattern {
        Pattern::Glob { db, coll } => {
            let mut condition = Document::new();
            if !database_is_given {
                condition.extend(one_of(&format!("{side}.db"), db, comparing));
            }
            condition.extend(one_of(&format!("{side}.coll"), coll, comparing));
            condition
        }
        Pattern::Regex(regex) => {
            let name = doc! { "$concat": [format!("${side}.db"), ".", format!("${side}.coll")] };
            doc! { "$expr": { "$regexMatch": { "input": name, "regex": regex.anchored() } } }
        }
    }
}

fn one_of(field: &str, glob: &Glob, comparing: Comparing) -> Document {
    let value: Bson = match glob.literal() {
        Some(name) if comparing == Comparing::Plainly => name.into(),
        _ if glob.is_any() => return Document::new(),
        _ => {
            let pattern = glob.regex().try_into().expect("names have no NUL: the configuration refuses it");
            Bson::RegularExpression(Regex { pattern, options: bson::cstr!("").to_owned() })
        }
    };
    doc! { field: value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(text: &str) -> Pattern {
        let (db, coll) = text.split_once('.').expect("a dot");
        Pattern::Glob { db: Glob { text: db.into() }, coll: Glob { text: coll.into() } }
    }

    fn watch(include: &[&str], exclude: &[&str]) -> Patterns {
        let all = |patterns: &[&str]| patterns.iter().map(|text| glob(text)).collect();
        Patterns { include: all(include), exclude: all(exclude) }
    }

    #[test]
    fn the_narrowest_stream_is_chosen() {
        let collection = Scope::Collection(Namespace { db: "a".into(), coll: "b.c".into() });
        for (include, expected) in [
            (vec!["a.b.c"], collection),
            (vec!["a.b", "a.c"], Scope::Database("a".into())),
            (vec!["a.*"], Scope::Database("a".into())),
            (vec!["a.b", "c.b"], Scope::Deployment),
            (vec!["a*.b"], Scope::Deployment),
            (vec!["*.*"], Scope::Deployment),
        ] {
            assert_eq!(scope(&watch(&include, &[])), expected, "{include:?}");
        }
    }

    #[test]
    fn a_whole_database_needs_no_filter() {
        let watch = watch(&["a.*"], &[]);
        assert_eq!(filter(&watch, &scope(&watch), Comparing::Plainly), None);
    }

    #[test]
    fn a_filter_lets_through_events_of_no_collection_and_renames_into_the_watched_set() {
        let watch = watch(&["a.b", "a.c*"], &["a.cx"]);
        let wanted = doc! {
            "$or": [{ "ns.coll": "b" }, { "ns.coll": Regex { pattern: bson::cstr!("^c.*$").to_owned(), options: bson::cstr!("").to_owned() } }],
            "$nor": [{ "ns.coll": "cx" }],
        };
        let filter = filter(&watch, &scope(&watch), Comparing::Plainly).expect("a filter");
        let either = filter.get_array("$or").expect("alternatives");
        assert_eq!(either[0], Bson::Document(wanted));
        assert_eq!(either[1], Bson::Document(doc! { "ns.coll": { "$exists": false } }));
        assert_eq!(either[2].as_document().and_then(|d| d.get_str("operationType").ok()), Some("rename"));
    }

    #[test]
    fn exclusions_alone_are_filtered_in_a_wide_stream() {
        let watch = watch(&["a.*"], &["a.log"]);
        let filter = filter(&watch, &scope(&watch), Comparing::Plainly).expect("a filter");
        let either = filter.get_array("$or").expect("alternatives");
        assert_eq!(either[0], Bson::Document(doc! { "$nor": [{ "ns.coll": "log" }] }));
    }

    #[test]
    fn a_collation_does_not_change_which_names_match() {
        let watch = watch(&["a.b"], &["a.c"]);
        let filter =
            filter(&watch, &Scope::Database("a".into()), Comparing::DespiteCollation).expect("a filter");
        let either = filter.get_array("$or").expect("alternatives");
        let is = |name: &str| {
            let pattern = format!("^{name}$").try_into().expect("no NUL");
            doc! { "ns.coll": Regex { pattern, options: bson::cstr!("").to_owned() } }
        };
        assert_eq!(either[0], Bson::Document(doc! { "$or": [is("b")], "$nor": [is("c")] }));
    }
}
