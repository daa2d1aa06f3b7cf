//! The limits: what the servers give to a tool that does nothing but ask. Each runs in a process of its own, which is
//! this program with the words `limit TASK`, the task being JSON. It prints one line of JSON, an [`Outcome`].

mod drain;
mod find;
mod outlet;
mod whole;
mod write;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use millrace::raw;
use mongodb::{Client, options::ClientOptions};
use serde::{Deserialize, Serialize};

use self::outlet::Outlet;
pub(crate) use self::{
    find::Find,
    whole::Whole,
    write::{Form, Write},
};
use crate::{
    job::Capture,
    measure::{Pace, Usage},
};

/// The word that chooses a limit instead of a comparison.
pub(crate) const VERB: &str = "limit";

/// What is to be done.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    /// A change stream is read.
    Drain { capture: Capture, count: u64, to: Option<Topic> },
    /// Cursors that share a collection are read.
    Find { find: Find, to: Option<Topic> },
    /// Changes are made up and written.
    Write(Write),
    /// A change stream goes through a topic into a collection.
    Whole(Whole),
}

/// Where what is read is produced to as it is; else it is counted and thrown away.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Topic {
    pub(crate) bootstrap: String,
    pub(crate) name: String,
}

/// What a limit measured of itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) pace: Pace,
    pub(crate) usage: Usage,
}

/// Runs one.
pub(crate) async fn main(uri: &str, task: &str) -> Result<()> {
    let begun = Instant::now();
    let task: Task = serde_json::from_str(task).context("limit: the task is not as expected")?;
    let client = Client::with_options(ClientOptions::parse(uri).await?)?;
    let pace = match task {
        Task::Drain { capture, count, to } => {
            let outlet = Outlet::open(to)?;
            let pace = drain::drain(&client, &capture, count, begun, |event| outlet.pass(event)).await?;
            outlet.end(pace, begun)?
        }
        Task::Find { find, to } => {
            let outlet = Outlet::open(to)?;
            let pace = find.run(&client, begun, |document| outlet.pass(document)).await?;
            outlet.end(pace, begun)?
        }
        Task::Write(write) => write.run(&client, begun).await?,
        Task::Whole(whole) => whole.run(&client, begun).await?,
    };
    let outcome = Outcome { pace, usage: Usage::of(std::process::id())? };
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

/// Counts what is done, for a [`Pace`].
struct Progress {
    begun: Instant,
    done: u64,
    first: Option<(Duration, u64)>,
}

impl Progress {
    fn new(begun: Instant) -> Self {
        Self { begun, done: 0, first: None }
    }

    fn add(&mut self, count: u64) {
        self.done += count;
        if self.done > 0 {
            self.first.get_or_insert_with(|| (self.begun.elapsed(), self.done));
        }
    }

    /// All is done.
    fn end(self) -> Result<Pace> {
        let (first, first_count) = self.first.context("nothing was done")?;
        Ok(Pace { first, first_count, all: self.begun.elapsed(), count: self.done })
    }
}

/// Calls `visit` for each document of a cursor's reply, and counts them.
fn batch(reply: &[u8], visit: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<u64> {
    let reply = raw::Document::new(reply)?;
    let cursor = reply.get("cursor")?.and_then(raw::Element::as_document).context("no cursor")?;
    let batch = match cursor.get("nextBatch")? {
        Some(batch) => batch,
        None => cursor.get("firstBatch")?.context("a reply without a batch")?,
    };
    let mut count = 0;
    for document in batch.as_document().context("a batch that is no array")?.elements() {
        visit(document?.as_document().context("a batch of what is no document")?.as_bytes())?;
        count += 1;
    }
    Ok(count)
}
