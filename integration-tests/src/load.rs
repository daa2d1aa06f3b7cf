//! A deterministic mixed load: what a [`Plan`] writes depends on its seed alone.
//!
//! Each writer owns its documents and draws from its own generator, so that writers can run at once without changing
//! what each of them does. A write that fails is tried again until the server takes it: servers may be stopped,
//! restarted and re-elected underneath. [`documents`] says what is written, `writer` how it changes.

pub mod counted;
pub mod documents;
mod random;
pub mod updates;
mod values;
mod writer;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use mongodb::Client;
use tokio::task::JoinSet;

pub use self::{documents::Types, random::Random};

/// What to write.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides everything that follows.
    pub seed: u64,
    /// Where to.
    pub database: String,
    /// The collections; each document lives in one of them.
    pub collections: Vec<String>,
    /// Which BSON types.
    pub types: Types,
    /// Writers at once.
    pub writers: u32,
    /// Operations of all writers together; a transaction or a bulk insert is one.
    pub operations: u64,
    /// Operations a second of all writers together; as fast as they are taken, if `None`.
    pub rate: Option<u32>,
}

impl Plan {
    /// A small load on the collections `one` and `two`.
    pub fn small(database: &str, seed: u64) -> Self {
        Self {
            seed,
            database: database.to_owned(),
            collections: vec!["one".to_owned(), "two".to_owned()],
            types: Types::Strict,
            writers: 2,
            operations: 600,
            rate: None,
        }
    }
}

/// What has been written so far, in documents touched.
#[derive(Debug, Default)]
pub struct Counters {
    /// Documents inserted.
    pub inserts: AtomicU64,
    /// Documents changed in place.
    pub updates: AtomicU64,
    /// Documents replaced.
    pub replaces: AtomicU64,
    /// Documents deleted.
    pub deletes: AtomicU64,
    /// Transactions committed; what they wrote is counted above.
    pub transactions: AtomicU64,
}

impl Counters {
    /// Documents touched: about as many events follow.
    pub fn writes(&self) -> u64 {
        [&self.inserts, &self.updates, &self.replaces, &self.deletes]
            .iter()
            .map(|n| n.load(Ordering::Relaxed))
            .sum()
    }

    fn count(counter: &AtomicU64, documents: usize) {
        counter.fetch_add(documents as u64, Ordering::Relaxed);
    }
}

/// A load that is running. Dropping it ends it without finishing the current writes.
#[derive(Debug)]
pub struct Load {
    counters: Arc<Counters>,
    enough: Arc<AtomicBool>,
    writers: JoinSet<Result<()>>,
}

impl Load {
    /// Starts writing.
    pub fn start(client: &Client, plan: &Plan) -> Self {
        let counters = Arc::new(Counters::default());
        let enough = Arc::new(AtomicBool::new(false));
        let mut writers = JoinSet::new();
        for number in 0..plan.writers {
            let writer = writer::Writer::new(client, plan, number, counters.clone());
            writers.spawn(writer.run(plan.clone(), enough.clone()));
        }
        Self { counters, enough, writers }
    }

    /// What has been written so far.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Waits until at least `count` documents were written, or all were.
    pub async fn reach(&mut self, count: u64) -> Result<()> {
        crate::wait::until(&format!("{count} writes"), Duration::from_secs(120), async || {
            while let Some(ended) = self.writers.try_join_next() {
                ended.context("a writer panicked")??;
            }
            Ok((self.counters.writes() >= count || self.writers.is_empty()).then_some(()))
        })
        .await
    }

    /// Lets the current writes finish and no more begin.
    pub async fn stop(self) -> Result<Arc<Counters>> {
        self.enough.store(true, Ordering::Relaxed);
        self.finish().await
    }

    /// Waits until everything is written.
    pub async fn finish(mut self) -> Result<Arc<Counters>> {
        while let Some(ended) = self.writers.join_next().await {
            ended.context("a writer panicked")??;
        }
        Ok(self.counters)
    }
}
