//! A case's configuration through import, and what is expected of a source.

use std::{
    collections::BTreeSet,
    fs,
    sync::atomic::{AtomicUsize, Ordering},
};

use bson::{Bson, Document};
use millrace::{
    config::{self, Settings},
    import::{self, Imported, Weight},
    namespace::is_topic_byte,
    source::{route, snapshot},
};

use super::{Mismatch, cases::Case, opens, records};

/// Runs a case to its first expectation that is not met.
pub(super) fn run(case: &Case) -> Result<(), Mismatch> {
    let connector = case.connector();
    let imported = import::import(std::slice::from_ref(&connector), None, None);
    if let Some(key) = case.refused_key() {
        return refused(&imported, key);
    }
    if let Ok(partition) = case.expect.get_document("sourcePartition") {
        let own = import::offset_partition(&connector);
        return equal("sourcePartition", &own.as_deref(), &partition.get_str("ns").ok());
    }
    let settings = settings(case, &imported)?;
    let source = settings.sources.first().ok_or_else(|| Mismatch::plain("there is no source"))?;
    if let Ok(topics) = case.expect.get_array("topics") {
        return self::topics(case, source, topics);
    }
    if let Ok(namespaces) = case.expect.get_array("namespaces") {
        return selected(case, source, namespaces);
    }
    let run = opens::drive(case, source)?;
    if let Ok(polls) = case.expect.get_array("polls") {
        let partition = import::offset_partition(&connector).unwrap_or_default();
        records::compare(&run, polls, &partition)?;
    }
    opens::compare(case, &run)
}

pub(super) fn equal<T: PartialEq + std::fmt::Debug>(
    what: &str,
    own: &T,
    expected: &T,
) -> Result<(), Mismatch> {
    if own == expected {
        Ok(())
    } else {
        Err(Mismatch::plain(format!("{what}: {own:?} instead of {expected:?}")))
    }
}

pub(super) fn refused(imported: &Imported, key: &str) -> Result<(), Mismatch> {
    let mut refusals = imported.remarks.iter().filter(|remark| remark.weight == Weight::Refused);
    if imported.toml.is_none() && refusals.any(|remark| remark.to_string().contains(key)) {
        return Ok(());
    }
    Err(Mismatch::plain(format!("{key} is not refused: {:?}", imported.remarks)))
}

/// The settings, as the daemon loads them.
pub(super) fn settings(case: &Case, imported: &Imported) -> Result<Settings, Mismatch> {
    static FILES: AtomicUsize = AtomicUsize::new(0);
    if !imported.can_run() {
        let remarks: Vec<String> = imported.remarks.iter().map(ToString::to_string).collect();
        let message = format!("cannot be carried over: {}", remarks.join("; "));
        let texts = || case.expect.get_array("topics").into_iter().flatten().filter_map(Bson::as_str);
        let are_all_about = |prefix: &str| {
            let mut missing = imported.remarks.iter().filter(|remark| remark.weight != Weight::Note);
            missing.all(|remark| remark.key.starts_with(prefix))
        };
        if are_all_about("topic.") && texts().any(|topic| !topic.bytes().all(is_topic_byte)) {
            return Err(Mismatch::explained("topic_not_legal", message));
        }
        let is_copy = case.input.contains_key("copyPipelineFor") || case.input.contains_key("collections");
        if are_all_about("pipeline") && is_copy {
            return Err(Mismatch::explained("copy_pipeline", message));
        }
        return Err(Mismatch::plain(message));
    }
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let path =
        std::env::temp_dir().join(format!("millrace-conformance-{}-{number}.toml", std::process::id()));
    let text = imported.toml.as_deref().unwrap_or_default();
    let loaded = fs::write(&path, text).map(|()| config::load(&path, []));
    let removed = fs::remove_file(&path);
    match (loaded, removed) {
        (Ok(Ok(settings)), Ok(())) => Ok(settings),
        (Ok(Err(problems)), _) => {
            Err(Mismatch::plain(format!("the daemon refuses what import made: {problems}")))
        }
        (Err(error), _) | (_, Err(error)) => Err(Mismatch::plain(format!("{}: {error}", path.display()))),
    }
}

fn topics(case: &Case, source: &config::Source, expected: &[Bson]) -> Result<(), Mismatch> {
    let mut own = Vec::new();
    for entry in case.documents("namespaces") {
        let Ok(namespace) = entry.get_document("ns") else {
            own.push(String::new());
            continue;
        };
        let (db, coll) = (namespace.get_str("db").ok(), namespace.get_str("coll").ok());
        own.push(db.map_or_else(String::new, |db| route::name(&source.topics, db, coll)));
    }
    let expected: Vec<String> = expected.iter().filter_map(Bson::as_str).map(str::to_owned).collect();
    equal("topics", &own, &expected)
}

/// The collections that a copy takes.
fn selected(case: &Case, source: &config::Source, expected: &[Bson]) -> Result<(), Mismatch> {
    let empty = Document::new();
    let databases = case.input.get_document("databases").unwrap_or(&empty);
    let there = databases.iter().flat_map(|(db, collections)| {
        let collections = collections.as_array().into_iter().flatten().filter_map(Bson::as_str);
        collections.map(move |coll| (db.as_str(), coll))
    });
    let own: BTreeSet<String> = snapshot::select(source, there).iter().map(ToString::to_string).collect();
    let expected: BTreeSet<String> = expected.iter().filter_map(Bson::as_str).map(str::to_owned).collect();
    let begins_like_a_system_database =
        |namespace: &&String| ["admin", "config", "local"].iter().any(|system| namespace.starts_with(system));
    if own.is_superset(&expected)
        && own != expected
        && own.difference(&expected).all(|ns| begins_like_a_system_database(&ns))
    {
        return Err(Mismatch::explained("whole_database_names", format!("{own:?}")));
    }
    equal("namespaces", &own, &expected)
}
