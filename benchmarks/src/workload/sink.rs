//! Sink: records of one partition into an empty collection.

use anyhow::{Context, Result, bail};
use bson::{Bson, Document, doc, oid::ObjectId};
use integration_tests::servers::delete_topics;
use mongodb::Collection;

use super::{Rounds, share, topic};
use crate::{
    figure::{Round, Run, Side},
    job::{self, Job},
    limit::{Form, Task, Write},
    load::{self, LAST_INSERTS, Load, Mix, Value},
    site::{Site, whole},
};

const DB: &str = "bench_sink";
const COLL: &str = "c";

/// Which records.
#[derive(Debug)]
pub(super) struct Sink {
    pub(super) mix: Mix,
    pub(super) value: Value,
}

impl Sink {
    pub(super) async fn run(&self, site: &Site, events: u32, rounds: Rounds) -> Result<Vec<Round>> {
        let load = Load { mix: self.mix, count: events, text_bytes: 0 };
        let topic = site.unique("bench-sink");
        topic::fill(site, &topic, load, self.value).await?;
        let job = Job {
            sink: Some(job::Sink {
                topic: topic.clone(),
                db: DB.to_owned(),
                coll: COLL.to_owned(),
                value: self.value,
                is_unordered: self.mix == Mix::Inserts,
            }),
            source: None,
        };
        let rounds = rounds.run(async |side| self.side(site, side, &job, load).await).await?;
        delete_topics(&site.kafka(), &[topic]).await?;
        Ok(rounds)
    }

    async fn side(&self, site: &Site, side: Side, job: &Job, load: Load) -> Result<Run> {
        let collection = site.client.database(DB).collection::<Document>(COLL);
        collection.drop().await?;
        let run = match side {
            Side::Limit | Side::Relay => {
                // Of a plain document nobody knows whether it is new.
                let is_insert = (self.mix, self.value) == (Mix::Inserts, Value::Event);
                let form = if is_insert { Form::Insert } else { Form::Upsert };
                let (db, coll) = (DB.to_owned(), COLL.to_owned());
                site.limit(&Task::Write(Write { load, form, db, coll, coll_count: 1 })).await?
            }
            Side::Millrace | Side::Other | Side::Official | Side::Debezium => match self.mix {
                Mix::Inserts => {
                    let count = async || Ok(collection.estimated_document_count().await?);
                    site.tool(side, job, share(side, load.count), count).await?
                }
                Mix::Mixed => {
                    let mut done = Done::new(&collection, load)?;
                    site.tool(side, job, load.count.into(), async || done.count().await).await?
                }
            },
        };
        if !side.is_peer() || self.mix == Mix::Mixed {
            let applies_deletes = side != Side::Limit;
            site.holds(DB, COLL, load.end(applies_deletes)).await?;
        }
        collection.drop().await?;
        Ok(run)
    }
}

/// How far a collection is of which documents change and go.
struct Done<'a> {
    collection: &'a Collection<Document>,
    load: Load,
    /// The first of the documents that are inserted at the end, by all lanes.
    last_ids: Bson,
    begun: u64,
}

impl<'a> Done<'a> {
    fn new(collection: &'a Collection<Document>, load: Load) -> Result<Self> {
        let Some(first) = load.count.checked_sub(LAST_INSERTS) else { bail!("too few events") };
        let first = load.changes().nth(first as usize).context("too few events")?;
        let last_ids = Bson::ObjectId(ObjectId::from_bytes(load::id(first.key)));
        Ok(Self { collection, load, last_ids, begun: 0 })
    }

    /// Events that are done: those at the first look until all are.
    async fn count(&mut self) -> Result<u64> {
        if self.begun == 0 {
            let last = self.collection.find_one(doc! {}).sort(doc! { "number": -1 }).await?;
            let Some(last) = last else { return Ok(0) };
            self.begun = last.get("number").and_then(whole).context("a document without a number")? + 1;
        }
        let last = doc! { "_id": { "$gte": self.last_ids.clone() } };
        let there = self.collection.count_documents(last).await?;
        Ok(if there == u64::from(LAST_INSERTS) { self.load.count.into() } else { self.begun })
    }
}
