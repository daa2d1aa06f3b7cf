//! Makes the oplog forget: writes filler that nobody watches, all at once or steadily beside a test.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bson::{Document, Timestamp, doc};
use mongodb::Client;
use tokio::task::JoinHandle;

use crate::wait;

/// Where the filler goes, and its size in bytes.
const FILLER: (&str, &str) = ("filler", "filler");
const FILLER_BYTES: usize = 64 << 10;
const ROLL_DEADLINE: Duration = Duration::from_secs(120);
const PACE: Duration = Duration::from_millis(20);

/// The time of the oldest entry.
pub async fn oldest(client: &Client) -> Result<Timestamp> {
    let oplog = client.database("local").collection::<Document>("oplog.rs");
    let oldest = oplog.find_one(doc! {}).sort(doc! { "$natural": 1 }).await?;
    Ok(oldest.context("the oplog is empty")?.get_timestamp("ts")?)
}

/// Writes until the oldest entry is younger than `time`.
pub async fn roll_over(client: &Client, time: Timestamp) -> Result<()> {
    let filler = filler(client);
    let documents: Vec<_> = (0..16).map(|_| doc! { "filler": "x".repeat(1 << 20) }).collect();
    wait::until("the oplog to roll over", ROLL_DEADLINE, async || {
        filler.insert_many(&documents).await?;
        Ok((oldest(client).await? > time).then_some(()))
    })
    .await
}

/// Waits until the oldest entry is younger than `time`, while somebody else writes.
pub async fn has_rolled_over(client: &Client, time: Timestamp) -> Result<()> {
    wait::until("the oplog to have rolled over", ROLL_DEADLINE, async || {
        Ok((oldest(client).await? > time).then_some(()))
    })
    .await
}

/// Writes filler steadily, so that the oplog's window stays about as long as its size divided by the rate. Dropping it
/// ends it.
#[derive(Debug)]
pub struct Roller {
    task: JoinHandle<Result<()>>,
    enough: Arc<AtomicBool>,
}

impl Roller {
    /// Starts to write so many bytes a second.
    pub fn start(client: &Client, bytes_per_second: u32) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let (filler, end) = (filler(client), enough.clone());
        let task = tokio::spawn(async move {
            let (begun, mut written) = (Instant::now(), 0.0);
            let mut pace = tokio::time::interval(PACE);
            // Inserted and deleted again and again: the oplog grows and the disk does not.
            let document = doc! { "_id": 0, "filler": "x".repeat(FILLER_BYTES) };
            filler.delete_one(doc! { "_id": 0 }).await?;
            while !end.load(Ordering::Relaxed) {
                while written < begun.elapsed().as_secs_f64() * f64::from(bytes_per_second) {
                    filler.insert_one(&document).await?;
                    filler.delete_one(doc! { "_id": 0 }).await?;
                    written += FILLER_BYTES as f64;
                }
                pace.tick().await;
            }
            Ok(())
        });
        Self { task, enough }
    }

    /// Ends it; an error if a write failed.
    pub async fn stop(mut self) -> Result<()> {
        self.enough.store(true, Ordering::Relaxed);
        (&mut self.task).await.context("the filler's writer panicked")?
    }
}

impl Drop for Roller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn filler(client: &Client) -> mongodb::Collection<Document> {
    client.database(FILLER.0).collection(FILLER.1)
}
