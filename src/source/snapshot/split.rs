//! What there is to copy, and where a collection is cut.

use std::sync::Arc;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::Client;

use super::plan::{Id, Waiting};
use crate::{
    config,
    mongo::{self, codes},
    namespace::{Namespace, Pattern, is_system},
    raw,
    retry::Failure,
};

/// Parts of a collection for each range that is read at once: enough for all readers to end at about the same time.
const PARTS_PER_THREAD: u64 = 4;

/// `_id`s that are looked at for each border. The more, the more equal the parts.
const SAMPLES_PER_BORDER: u64 = 20;

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
    let named = source.watch.include.iter().filter_map(literal);
    let there = there.into_iter().map(|(db, coll)| Namespace { db: db.to_owned(), coll: coll.to_owned() });
    let mut selected: Vec<Namespace> =
        named.chain(there).filter(|namespace| is_copied(source, &namespace.db, &namespace.coll)).collect();
    selected.sort();
    selected.dedup();
    selected
}

fn literal(pattern: &Pattern) -> Option<Namespace> {
    match pattern {
        Pattern::Glob { db, coll } => {
            Some(Namespace { db: db.literal()?.to_owned(), coll: coll.literal()?.to_owned() })
        }
        Pattern::Regex(_) => None,
    }
}

/// What a snapshot of everything that is watched has to copy.
///
/// # Errors
/// When the deployment does not answer, may not be asked, or is too old.
pub async fn everything(client: &Client, source: &config::Source) -> Result<Vec<Waiting>, Failure> {
    let mut there = Vec::new();
    for db in databases(client, source).await? {
        // Views and time series have no change streams.
        let filter = doc! { "type": "collection" };
        let mut options = client.database(&db).list_collections().filter(filter).await;
        let collections = match &mut options {
            Ok(cursor) => cursor.try_collect::<Vec<_>>().await,
            Err(error) => Err(error.clone()),
        };
        let collections = collections
            .map_err(|error| mongo::failure(&format!("cannot list the collections of {db}"), &error))?;
        there.extend(collections.into_iter().map(|collection| (db.clone(), collection.name)));
    }
    let names = there.iter().map(|(db, coll)| (db.as_str(), coll.as_str()));
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

/// The databases in which something may be watched; the server is asked only where the patterns leave it open.
async fn databases(client: &Client, source: &config::Source) -> Result<Vec<String>, Failure> {
    let literal = |pattern: &Pattern| match pattern {
        Pattern::Glob { db, .. } => db.literal().map(str::to_owned),
        Pattern::Regex(_) => None,
    };
    let named: Option<Vec<String>> = source.watch.include.iter().map(literal).collect();
    let mut databases = match named {
        Some(named) => named,
        None => client
            .list_database_names()
            .await
            .map_err(|error| mongo::failure("cannot list the databases", &error))?,
    };
    databases.retain(|db| !is_system(db, ""));
    databases.sort();
    databases.dedup();
    Ok(databases)
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
    if count < 2 {
        return Ok(Vec::new());
    }
    let size = i64::try_from(count * SAMPLES_PER_BORDER).unwrap_or(i64::MAX);
    let Namespace { db, coll } = &*collection.namespace;
    let stages = [
        doc! { "$sample": { "size": size } },
        doc! { "$project": { "_id": 1 } },
        doc! { "$sort": { "_id": 1 } },
    ];
    let what = || format!("cannot look for the borders of ranges in {}", collection.namespace);
    let collection = client.database(db).collection::<Document>(coll);
    let sampled = match collection.aggregate(stages).with_type::<bson::RawDocumentBuf>().await {
        Ok(cursor) => cursor.try_collect::<Vec<_>>().await,
        Err(error) => Err(error),
    };
    let sampled = match sampled {
        Ok(sampled) => sampled,
        Err(error) if mongo::code(&error) == Some(codes::COMMAND_NOT_SUPPORTED_ON_VIEW) => Vec::new(),
        Err(error) => return Err(mongo::failure(&what(), &error)),
    };
    let mut borders = Vec::new();
    let step = (sampled.len() / usize::try_from(count).expect("at most some hundred")).max(1);
    for document in sampled.iter().skip(step).step_by(step) {
        let id = raw::Document::new(document.as_bytes())
            .and_then(|document| document.get("_id"))
            .map_err(|error| Failure::retry(format!("{}: {error}", what())))?;
        borders.extend(id.map(Id::of).filter(|id| borders.last() != Some(id)));
    }
    Ok(borders)
}
