//! Sink, inserts into an empty collection: raw inserts with as many commands in flight as a sink has by default, against
//! the daemon, which reads them as change events from one partition.

use anyhow::Result;
use integration_tests::servers::delete_topics;

use super::{fill_topic, rounds};
use crate::{
    load::{self, End},
    report::Round,
    site::Site,
};

const DB: &str = "bench_sink";
const COLL: &str = "inserts";
const TOPIC: &str = "bench-sink-inserts";

pub(super) async fn run(site: &Site, events: u32, count: u32) -> Result<Vec<Round>> {
    fill_topic(site, TOPIC, load::inserts(events)).await?;
    let collection = site.collection(DB, COLL);
    let end = End::of(load::inserts(events), true);
    let insert = async || {
        collection.drop().await?;
        let run = site.limit("insert", [DB, COLL], events, &[]).await?;
        site.holds(DB, COLL, end).await?;
        Ok(run)
    };
    let millrace = async || {
        collection.drop().await?;
        let table = format!("[sinks.bench]\ntopics = [\"{TOPIC}\"]\nnamespace = \"{DB}.{COLL}\"\n");
        let written = async || Ok(collection.estimated_document_count().await?);
        let run = site.millrace(&table, events, written).await?;
        site.holds(DB, COLL, end).await?;
        Ok(run)
    };
    let rounds = rounds(count, insert, millrace).await?;
    collection.drop().await?;
    delete_topics(&site.kafka(), &[TOPIC.to_owned()]).await?;
    Ok(rounds)
}
