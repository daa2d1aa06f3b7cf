//! What there is to copy, and where a collection is cut.

use std::sync::Arc;

use bson::Document;
use mongodb::Client;

use super::plan::{Id, Waiting};
use crate::{
    collections, config, mongo,
    namespace::{Namespace, Pattern},
    ranges,
    retry::Failure,
};

/// Parts of a collection for each range that is read at once: enough for all readers to end at about the same time.
const PARTS_PER_THREAD: u64 = 4;

/// Whether a snapshot of `source` copies `db.coll`.
pub fn is_copied(source: &config::Source, db: &str, coll: &str) -> bool {
    source.watch.matches(db, coll)
        && source.snapshot.namespaces.iter().any(|pattern| pattern.matches(db, coll))
}

/// The collections to be copied out of those that there are. One that is watched by its name is copied even where it is not
/// there (yet).
pub fn select<'a>(
    source: &config::Source,
    there: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Vec<Namespace> {
    let named = source.watch.include.iter().filter_map(Pattern::literal);
    let there = there.into_iter().map(|(db, coll)| Namespace { db: db.to_owned(), coll: coll.to_owned() });
    let mut selected: Vec<Namespace> =
        named.chain(there).filter(|namespace| is_copied(source, &namespace.db, &namespace.coll)).collect();
    selected.sort();
    selected.dedup();
    selected
}

/// What a snapshot of everything that is watched has to copy.
///
/// # Errors
/// When the deployment does not answer, may not be asked, or is too old.
pub async fn everything(client: &Client, source: &config::Source) -> Result<Vec<Waiting>, Failure> {
    let there = collections::in_databases_of(client, &source.watch).await?;
    let names = there.iter().map(|namespace| (namespace.db.as_str(), namespace.coll.as_str()));
    estimated(client, select(source, names)).await
}

/// These collections with about how many documents they have.
///
/// # Errors
/// When the deployment does not answer, or is too old.
pub async fn estimated(client: &Client, namespaces: Vec<Namespace>) -> Result<Vec<Waiting>, Failure> {
    check_version(client).await?;
    let mut waiting = Vec::new();
    for namespace in namespaces {
        let collection = client.database(&namespace.db).collection::<Document>(&namespace.coll);
        let estimate = collection
            .estimated_document_count()
            .await
            .map_err(|error| mongo::failure(&format!("cannot count {namespace}"), &error))?;
        waiting.push(Waiting { namespace: Arc::new(namespace), estimate });
    }
    Ok(waiting)
}

/// Reads at a cluster time outside of transactions came with 5.0:
/// <https://www.mongodb.com/docs/manual/reference/read-concern-snapshot/>.
async fn check_version(client: &Client) -> Result<(), Failure> {
    const WIRE_VERSION_5_0: i32 = 13;
    let hello = mongo::hello(client).await?;
    if hello.get_i32("maxWireVersion").is_ok_and(|version| version >= WIRE_VERSION_5_0) {
        return Ok(());
    }
    Err(Failure::stop(
        "snapshots need MongoDB 5.0 or later (reads at a cluster time); copy with mongodump and mongorestore, and start \
         the source at the time before",
    ))
}

/// The `_id`s at which the collection is cut, so that several ranges can be read at once.
pub(super) async fn borders(
    client: &Client,
    source: &config::Source,
    collection: &Waiting,
) -> Result<Vec<Id>, Failure> {
    let snapshot = &source.snapshot;
    let most = PARTS_PER_THREAD * snapshot.threads as u64;
    let count = (collection.estimate / u64::from(snapshot.range_size).max(1)).min(most);
    ranges::borders(client, &collection.namespace, count).await
}
