//! Cursors that share a collection.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bson::{Bson, Document, doc, oid::ObjectId};
use futures_util::StreamExt;
use mongodb::{
    Client,
    options::{FindOptions, ReadConcern},
};
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, task::JoinSet};

use super::{Progress, batch};
use crate::{load, measure::Pace};

/// Cursors at once: the default of a snapshot's `threads`.
const CURSORS: u32 = 2;
const BATCH_SIZE: u32 = 5_000;

/// All documents of a collection of inserts.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Find {
    pub(crate) db: String,
    pub(crate) coll: String,
    pub(crate) count: u32,
}

impl Find {
    /// Reads them and gives each to `visit`.
    pub(super) async fn run(
        self,
        client: &Client,
        begun: Instant,
        mut visit: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<Pace> {
        let Self { db, coll, count } = self;
        let collection = client.database(&db).collection::<Document>(&coll);
        let (sender, mut replies) = mpsc::channel(1);
        let mut cursors = JoinSet::new();
        for cursor in 0..CURSORS {
            let edge = |number: u32| {
                let key = u64::from(count) * u64::from(number) / u64::from(CURSORS);
                u32::try_from(key).map(|key| Bson::ObjectId(ObjectId::from_bytes(load::id(key))))
            };
            let range = doc! { "_id": { "$gte": edge(cursor)?, "$lt": edge(cursor + 1)? } };
            let options =
                FindOptions::builder().read_concern(ReadConcern::majority()).batch_size(BATCH_SIZE).build();
            let (collection, sender) = (collection.clone(), sender.clone());
            cursors.spawn(async move {
                let mut replies = collection.find(range).with_options(options).batch().await?;
                while let Some(reply) = replies.next().await {
                    sender.send(reply?).await?;
                }
                anyhow::Ok(())
            });
        }
        drop(sender);
        let mut progress = Progress::new(begun);
        while let Some(reply) = replies.recv().await {
            progress.add(batch(reply.as_raw_document().as_bytes(), &mut visit)?);
        }
        while let Some(ended) = cursors.join_next().await {
            ended.context("a cursor panicked")??;
        }
        ensure!(progress.done == u64::from(count), "{} documents instead of {count}", progress.done);
        progress.end()
    }
}
