//! Looks at a copy again and again while it is written, and judges its order by documents that count their own changes
//! ([`crate::load::counted`]).
//!
//! A number that goes down and a deleted document that is there again are steps back. Only a replay may make one: at
//! most one per document and restart. What was seen last must be the highest that was ever seen.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bson::{RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::Collection;
use tokio::task::JoinHandle;

/// Between two looks: seldom enough to leave the server to the writers.
const INTERVAL: Duration = Duration::from_millis(50);
/// The state of a document that is gone: higher than all numbers, because nothing comes after it.
const DELETED: i64 = i64::MAX;

/// What the looks at one collection have shown.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    documents: BTreeMap<i32, Seen>,
    look_count: usize,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    last: i64,
    highest: i64,
    back_count: usize,
}

impl Steps {
    /// Takes in the numbers of all documents, as they were at one look.
    pub fn look(&mut self, numbers: &HashMap<i32, i64>) {
        self.look_count += 1;
        for &id in numbers.keys() {
            self.documents.entry(id).or_insert(Seen { last: 0, highest: 0, back_count: 0 });
        }
        for (id, seen) in &mut self.documents {
            let state = numbers.get(id).copied().unwrap_or(DELETED);
            seen.back_count += usize::from(state < seen.last);
            seen.last = state;
            seen.highest = seen.highest.max(state);
        }
    }

    /// How many looks there were.
    pub fn look_count(&self) -> usize {
        self.look_count
    }

    /// The most steps back that any document made.
    pub fn most_backs(&self) -> usize {
        self.documents.values().map(|seen| seen.back_count).max().unwrap_or_default()
    }

    /// Judges, after what may have made `restarts` replays.
    pub fn check(&self, restarts: usize) -> Result<()> {
        ensure!(!self.documents.is_empty(), "no document was seen");
        for (id, Seen { last, highest, back_count }) in &self.documents {
            ensure!(
                *back_count <= restarts,
                "document {id} went back {back_count} times, after {restarts} restarts"
            );
            ensure!(last == highest, "document {id} ended at {last}, and {highest} had been there");
        }
        Ok(())
    }
}

/// A task that looks. Dropping it leaves the task to end by itself.
#[derive(Debug)]
pub struct Observer {
    enough: Arc<AtomicBool>,
    task: JoinHandle<Result<Vec<Steps>>>,
}

impl Observer {
    /// Begins to look at these collections.
    pub fn start(collections: Vec<Collection<RawDocumentBuf>>) -> Self {
        let enough = Arc::<AtomicBool>::default();
        let task = tokio::spawn(run(collections, enough.clone()));
        Self { enough, task }
    }

    /// Looks for a last time; yields what was seen, by collection.
    pub async fn stop(self) -> Result<Vec<Steps>> {
        self.enough.store(true, Ordering::Relaxed);
        self.task.await.context("the observer panicked")?
    }
}

async fn run(collections: Vec<Collection<RawDocumentBuf>>, enough: Arc<AtomicBool>) -> Result<Vec<Steps>> {
    let mut all = vec![Steps::default(); collections.len()];
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let is_last = enough.load(Ordering::Relaxed);
        for (collection, steps) in collections.iter().zip(&mut all) {
            steps.look(&numbers(collection).await?);
        }
        if is_last {
            return Ok(all);
        }
    }
}

/// The number of each document now.
async fn numbers(collection: &Collection<RawDocumentBuf>) -> Result<HashMap<i32, i64>> {
    let found = collection.find(doc! {}).projection(doc! { "n": 1 }).batch_size(10_000);
    let mut documents = found.await?;
    let mut numbers = HashMap::new();
    while let Some(document) = documents.try_next().await? {
        numbers.insert(document.get_i32("_id")?, document.get_i64("n")?);
    }
    Ok(numbers)
}
