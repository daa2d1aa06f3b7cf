//! A change stream whose replies are counted and thrown away.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bson::{Document, RawDocument, Timestamp, doc};
use futures_util::StreamExt;
use millrace::raw;
use mongodb::{
    Client, Namespace,
    options::{AggregateOptions, ReadConcern},
};

use crate::measure::Pace;

/// What the daemon asks for by default.
const BATCH_SIZE: u32 = 5_000;
const MAX_AWAIT: Duration = Duration::from_secs(1);

/// Reads `count` events of a collection from `start` on.
pub(super) async fn drain(
    client: &Client,
    namespace: &Namespace,
    start: Timestamp,
    count: u32,
    begun: Instant,
) -> Result<Pace> {
    let collection = client.database(&namespace.db).collection::<Document>(&namespace.coll);
    let options = AggregateOptions::builder()
        .read_concern(ReadConcern::majority())
        .batch_size(BATCH_SIZE)
        .max_await_time(MAX_AWAIT)
        .build();
    let stream = doc! { "$changeStream": { "startAtOperationTime": start } };
    let mut replies = collection.aggregate([stream]).with_options(options).batch().await?;
    let (mut read, mut first) = (0, None);
    while read < u64::from(count) {
        let reply = replies.next().await.context("the server closed the change stream")??;
        read += event_count(reply.as_raw_document())?;
        if read > 0 {
            first.get_or_insert_with(|| (begun.elapsed(), read));
        }
    }
    ensure!(read == u64::from(count), "{read} events instead of {count}");
    let (first, first_count) = first.context("no event came")?;
    Ok(Pace { first, first_count, all: begun.elapsed() })
}

fn event_count(reply: &RawDocument) -> Result<u64> {
    let reply = raw::Document::new(reply.as_bytes())?;
    let cursor = reply.get("cursor")?.and_then(raw::Element::as_document).context("no cursor")?;
    let batch = match cursor.get("nextBatch")? {
        Some(batch) => batch,
        None => cursor.get("firstBatch")?.context("a reply without a batch")?,
    };
    let mut count = 0;
    for event in batch.as_document().context("a batch that is no array")?.elements() {
        event?;
        count += 1;
    }
    Ok(count)
}
