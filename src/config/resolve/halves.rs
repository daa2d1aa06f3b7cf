//! Sources and sinks, and what must not hold between them.

use super::{
    super::{Invalid, Sink, Source, Template, problem::KeyPath},
    Shared, check_name,
    reading::{Reader, Section},
    sink::sink,
    source::source,
};
use crate::namespace::{Glob, Pattern, Patterns};

/// The sources that are sound, in the order of the file.
pub(super) fn sources(
    reader: &mut Reader<'_>,
    root: &Section<'_>,
    pipeline: &str,
    shared: &Shared<'_>,
) -> Vec<Source> {
    let names = names(reader, &root.section("sources"));
    names.into_iter().filter_map(|(name, section)| source(reader, name, &section, pipeline, shared)).collect()
}

/// The sinks that are sound, in the order of the file.
pub(super) fn sinks(reader: &mut Reader<'_>, root: &Section<'_>, shared: &Shared<'_>) -> Vec<Sink> {
    let names = names(reader, &root.section("sinks"));
    names.into_iter().filter_map(|(name, section)| sink(reader, name, &section, shared)).collect()
}

/// The tables of `section` by name; those that only variables know come last.
fn names<'a>(reader: &mut Reader<'_>, section: &Section<'a>) -> Vec<(String, Section<'a>)> {
    let mut halves: Vec<(String, Section<'a>)> =
        section.keys().map(|name| (name.clone(), section.section(name))).collect();
    halves.sort_by_key(|(_, half)| {
        reader.start_of(&half.path).map_or((true, None), |start| (false, Some(start)))
    });
    for (name, half) in &halves {
        if let Err(invalid) = check_name(name) {
            reader.report(&half.path, invalid.to_string());
        }
    }
    halves
}

pub(super) fn with_allowed(invalid: &Invalid, allowed: &str) -> Invalid {
    Invalid(format!("{invalid}; allowed: {allowed}"))
}

/// Refuses sinks that are certain to write where a source of the same deployment reads: a change would go round for
/// ever. What is only possible is left to the sink, which checks each target.
pub(super) fn refuse_loops(reader: &mut Reader<'_>, sources: &[Source], sinks: &[Sink]) {
    for sink in sinks {
        let reads_target = |source: &&Source| {
            source.mongodb == sink.mongodb && is_watched(&sink.handling.namespace, &source.watch)
        };
        if let Some(source) = sources.iter().find(reads_target) {
            let path = KeyPath::from(["sinks", &sink.name, "namespace"]);
            let message = format!(
                "the target lies in what sources.{} watches on the same deployment, so changes would go round for ever; \
                 write elsewhere, or exclude the target there",
                source.name
            );
            reader.report(&path, message);
        }
    }
}

/// Whether every namespace that `target` can make is certain to be watched.
fn is_watched(target: &Template, watch: &Patterns) -> bool {
    if let Some(text) = target.literal() {
        return text.split_once('.').is_some_and(|(db, coll)| watch.matches(db, coll));
    }
    let glob = target.glob();
    let (db, coll) = glob.split_once('.').unwrap_or(("*", "*"));
    let target = Pattern::Glob { db: Glob { text: db.into() }, coll: Glob { text: coll.into() } };
    watch.exclude.is_empty() && watch.include.iter().any(|pattern| pattern.covers(&target))
}
