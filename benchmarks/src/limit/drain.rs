//! A change stream that is read.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bson::{Bson, Document, doc};
use futures_util::StreamExt;
use mongodb::{
    Client,
    options::{AggregateOptions, ReadConcern},
};

use super::{Progress, batch};
use crate::{
    job::{Begin, Capture},
    measure::Pace,
};

/// What the daemon asks for by default.
const BATCH_SIZE: u32 = 5_000;
const MAX_AWAIT: Duration = Duration::from_secs(1);

/// Reads `count` events and gives each to `visit`.
pub(super) async fn drain(
    client: &Client,
    capture: &Capture,
    count: u64,
    begun: Instant,
    mut visit: impl FnMut(&[u8]) -> Result<()>,
) -> Result<Pace> {
    let options = AggregateOptions::builder()
        .read_concern(ReadConcern::majority())
        .batch_size(BATCH_SIZE)
        .max_await_time(MAX_AWAIT)
        .build();
    let database = client.database(&capture.db);
    let stage = [stage(capture)?];
    let mut replies = match &capture.coll {
        Some(coll) => {
            database.collection::<Document>(coll).aggregate(stage).with_options(options).batch().await?
        }
        None => database.aggregate(stage).with_options(options).batch().await?,
    };
    let mut progress = Progress::new(begun);
    while progress.done < count {
        let reply = replies.next().await.context("the server closed the change stream")??;
        progress.add(batch(reply.as_raw_document().as_bytes(), &mut visit)?);
    }
    ensure!(progress.done == count, "{} events instead of {count}", progress.done);
    progress.end()
}

fn stage(capture: &Capture) -> Result<Document> {
    let Begin::At { time, .. } = capture.begin else { bail!("a change stream begins at a time") };
    let mut stream = doc! { "startAtOperationTime": Bson::Timestamp(time) };
    if capture.has_lookup {
        stream.insert("fullDocument", "updateLookup");
    }
    if capture.has_before {
        stream.insert("fullDocumentBeforeChange", "whenAvailable");
    }
    Ok(doc! { "$changeStream": stream })
}
