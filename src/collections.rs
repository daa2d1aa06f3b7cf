//! Which collections a deployment has.

use bson::doc;
use futures_util::TryStreamExt;
use mongodb::Client;

use crate::{
    mongo,
    namespace::{Namespace, Pattern, Patterns, is_system},
    retry::Failure,
};

/// All collections of the databases in which the patterns may match something; neither views nor time series, which
/// have no change streams.
///
/// # Errors
/// When the deployment does not answer, or may not be asked.
pub async fn in_databases_of(client: &Client, patterns: &Patterns) -> Result<Vec<Namespace>, Failure> {
    let mut there = Vec::new();
    for db in databases(client, patterns).await? {
        let filter = doc! { "type": "collection" };
        let mut listed = client.database(&db).list_collections().filter(filter).await;
        let collections = match &mut listed {
            Ok(cursor) => cursor.try_collect::<Vec<_>>().await,
            Err(error) => Err(error.clone()),
        };
        let collections = collections
            .map_err(|error| mongo::failure(&format!("cannot list the collections of {db}"), &error))?;
        there.extend(
            collections.into_iter().map(|collection| Namespace { db: db.clone(), coll: collection.name }),
        );
    }
    Ok(there)
}

/// The databases in which something may match; the server is asked only where the patterns leave it open.
async fn databases(client: &Client, patterns: &Patterns) -> Result<Vec<String>, Failure> {
    let literal = |pattern: &Pattern| match pattern {
        Pattern::Glob { db, .. } => db.literal().map(str::to_owned),
        Pattern::Regex(_) => None,
    };
    let named: Option<Vec<String>> = patterns.include.iter().map(literal).collect();
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
