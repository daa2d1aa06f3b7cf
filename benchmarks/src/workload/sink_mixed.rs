//! Sink, mixed changes with hot keys: each change as a raw replace with upsert (deletes too, so that commands stay
//! large), against the daemon, which folds them.

use anyhow::{Context, Result};
use bson::{Bson, Document, doc, oid::ObjectId};
use integration_tests::servers::delete_topics;
use mongodb::Collection;

use super::{fill_topic, rounds};
use crate::{
    load::{self, End, LAST_INSERTS},
    report::Round,
    site::{Site, whole},
};

const DB: &str = "bench_sink";
const COLL: &str = "mixed";
const TOPIC: &str = "bench-sink-mixed";

pub(super) async fn run(site: &Site, events: u32, count: u32) -> Result<Vec<Round>> {
    fill_topic(site, TOPIC, load::mixed(events)).await?;
    let collection = site.client.database(DB).collection::<Document>(COLL);
    let first_of_last =
        load::mixed(events).nth((events - LAST_INSERTS) as usize).context("too few events")?;
    let last_ids = Bson::ObjectId(ObjectId::from_bytes(load::id(first_of_last.key)));
    let (upserted, applied) = (End::of(load::mixed(events), false), End::of(load::mixed(events), true));
    let upsert = async || {
        collection.drop().await?;
        let run = site.limit("upsert", [DB, COLL], events, &[]).await?;
        site.holds(DB, COLL, upserted).await?;
        Ok(run)
    };
    let millrace = async || {
        collection.drop().await?;
        let table = format!("[sinks.bench]\ntopics = [\"{TOPIC}\"]\nnamespace = \"{DB}.{COLL}\"\n");
        let mut begun = 0;
        let run = site.millrace(&table, events, async || {
            if begun == 0 {
                begun = last_number(&collection).await?;
            }
            let there = collection.count_documents(doc! { "_id": { "$gte": last_ids.clone() } }).await?;
            Ok(if there == u64::from(LAST_INSERTS) { events.into() } else { begun })
        });
        let run = run.await?;
        site.holds(DB, COLL, applied).await?;
        Ok(run)
    };
    let rounds = rounds(count, upsert, millrace).await?;
    collection.drop().await?;
    delete_topics(&site.kafka(), &[TOPIC.to_owned()]).await?;
    Ok(rounds)
}

/// Up to which change, at least, a collection that was empty a moment ago has been written; 0 while it is empty.
async fn last_number(collection: &Collection<Document>) -> Result<u64> {
    let last = collection.find_one(doc! {}).sort(doc! { "number": -1 }).await?;
    let Some(last) = last else { return Ok(0) };
    Ok(last.get("number").and_then(whole).context("a document without a number")? + 1)
}
