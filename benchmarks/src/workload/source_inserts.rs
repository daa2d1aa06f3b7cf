//! Source, small inserts: a raw drain of the change stream against the daemon, which writes them to a topic in strict
//! JSON. Both read the same part of the oplog.

use std::time::Instant;

use anyhow::Result;
use integration_tests::{
    ledger,
    servers::{create_topic, delete_topics},
};
use mongodb::Namespace;

use super::rounds;
use crate::{
    limit::{self, Form},
    load,
    report::Round,
    site::Site,
};

const DB: &str = "bench_source";
const COLL: &str = "inserts";

pub(super) async fn run(site: &Site, events: u32, count: u32) -> Result<Vec<Round>> {
    let start = ledger::now(&site.client).await?;
    let namespace = Namespace::new(DB, COLL);
    limit::write(&site.client, &namespace, Form::Insert, load::inserts(events), Instant::now()).await?;
    let (seconds, increment) = (start.time.to_string(), start.increment.to_string());
    let drain = async || site.limit("drain", [DB, COLL], events, &[seconds.clone(), increment.clone()]).await;
    let millrace = async || {
        let topic = site.unique(DB);
        create_topic(&site.kafka(), &topic, 1).await?;
        let table = format!(
            "[sources.bench]\nwatch = [\"{DB}.{COLL}\"]\nstart = \"{seconds}:{increment}\"\ntopic = \"{topic}\"\n"
        );
        let run = site.millrace(&table, events, async || site.record_count(&topic).await).await?;
        delete_topics(&site.kafka(), &[topic]).await?;
        Ok(run)
    };
    rounds(count, drain, millrace).await
}
