//! Documents that count their own changes, for [`crate::replay`]: some are updated all the time, a few are deleted, and
//! new ones come.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bson::{Document, RawDocumentBuf, doc, rawdoc};
use mongodb::{Collection, options::WriteConcern};
use tokio::task::JoinSet;

/// Documents of one bulk insert.
const BULK: u32 = 5_000;
const WRITERS: u32 = 4;
/// Among so many writes one is a delete and one an insert.
const ROUND: u64 = 50;
const PACE: Duration = Duration::from_millis(5);

/// A document as it is inserted.
pub fn document(id: u32) -> RawDocumentBuf {
    let filler = "x".repeat(100 + id as usize % 50);
    rawdoc! { "_id": id.cast_signed(), "n": 0_i64, "filler": filler }
}

/// Inserts the documents 0 to `count`.
pub async fn insert(collection: &Collection<RawDocumentBuf>, count: u32) -> Result<()> {
    for first in (0..count).step_by(BULK as usize) {
        let documents: Vec<_> = (first..count.min(first + BULK)).map(document).collect();
        collection.insert_many(documents).ordered(false).await?;
    }
    Ok(())
}

/// What is written, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Documents that were inserted before.
    pub documents: u32,
    /// Of these so many are updated, equally far from each other.
    pub hot: u32,
    /// Writes a second at most.
    pub rate: u32,
}

/// Writers at work. Dropping them ends them.
#[derive(Debug)]
pub struct Changes {
    writers: JoinSet<Result<()>>,
    enough: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
}

impl Changes {
    /// Starts to write.
    pub fn start(collection: &Collection<RawDocumentBuf>, plan: Plan) -> Self {
        let (enough, count) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let (enough, count) = (enough.clone(), count.clone());
            writers.spawn(run(collection.clone_with_type(), plan, number, enough, count));
        }
        Self { writers, enough, count }
    }

    /// Writes so far.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Ends the writers after their current write; yields how many there were.
    pub async fn stop(mut self) -> Result<u64> {
        self.enough.store(true, Ordering::Relaxed);
        while let Some(ended) = self.writers.join_next().await {
            ended.context("a writer panicked")??;
        }
        Ok(self.count())
    }
}

async fn run(
    collection: Collection<Document>,
    plan: Plan,
    writer: u32,
    enough: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
) -> Result<()> {
    let begun = Instant::now();
    let rate = f64::from(plan.rate) / f64::from(WRITERS);
    let distance = plan.documents / plan.hot;
    // Waiting for the journal would make the writes few.
    let concern = WriteConcern::nodes(1);
    let mut pace = tokio::time::interval(PACE);
    for written in 0_u64.. {
        while written as f64 > begun.elapsed().as_secs_f64() * rate && !enough.load(Ordering::Relaxed) {
            pace.tick().await;
        }
        if enough.load(Ordering::Relaxed) {
            break;
        }
        let round = u32::try_from(written / ROUND)? * WRITERS + writer;
        // Each writer has every fourth hot document, and those beside the hot ones are deleted once each.
        let hot = u32::try_from(written * u64::from(WRITERS) % u64::from(plan.hot))? + writer;
        match written % ROUND {
            0 if round < plan.hot => {
                collection
                    .delete_one(doc! { "_id": (round * distance + 1).cast_signed() })
                    .write_concern(concern.clone())
                    .await?;
            }
            1 => {
                let new = Document::try_from(document(plan.documents + round).as_ref())?;
                collection.insert_one(new).write_concern(concern.clone()).await?;
            }
            _ => {
                let filter = doc! { "_id": (hot % plan.hot * distance).cast_signed() };
                collection
                    .update_one(filter, doc! { "$inc": { "n": 1_i64 } })
                    .write_concern(concern.clone())
                    .await?;
            }
        }
        count.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
