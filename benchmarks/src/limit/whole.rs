//! A change stream through a topic into a collection: each event's bytes are produced as they are, and its document is
//! inserted as it is.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use millrace::raw::{Document, Element, Writer, kind};
use mongodb::Client;
use rdkafka::{Message, consumer::BaseConsumer};
use serde::{Deserialize, Serialize};

use super::{
    Topic,
    drain::drain,
    outlet::Outlet,
    write::{self, LANES, Lanes, Statements},
};
use crate::{consuming, job::Capture, measure::Pace};

const GLANCE: Duration = Duration::from_millis(100);
/// Longest time without a record.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// Inserts into one collection, through a topic with one partition, into another.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Whole {
    pub(crate) capture: Capture,
    pub(crate) count: u64,
    pub(crate) through: Topic,
    pub(crate) db: String,
    pub(crate) coll: String,
}

impl Whole {
    /// Moves all; the pace is that of the inserts.
    pub(super) async fn run(self, client: &Client, begun: Instant) -> Result<Pace> {
        let Self { capture, count, through, db, coll } = self;
        let consumer = consuming::open(&through.bootstrap, &through.name)?;
        let lanes = Lanes::open(&client.database(&db), begun);
        let inserting = tokio::task::spawn_blocking(move || insert(&consumer, count, &coll, lanes));
        let outlet = Outlet::open(Some(through))?;
        let read = drain(client, &capture, count, begun, |event| outlet.pass(event)).await?;
        outlet.end(read, begun)?;
        inserting.await??.end().await
    }
}

/// Hands the documents of `count` records to the lanes, in commands that are as large as may be.
fn insert(consumer: &BaseConsumer, count: u64, coll: &str, lanes: Lanes) -> Result<Lanes> {
    let (mut heard, mut done) = (Instant::now(), 0);
    let (mut lane, statements) = (0, write::statements()?);
    while done < count {
        let size = usize::try_from(count - done)?.min(statements);
        let mut command = write::begin(coll, Statements::Inserts);
        for index in 0..size {
            let message = loop {
                ensure!(heard.elapsed() < SILENCE_LIMIT, "{done} records, and then no more");
                if let Some(message) = consumer.poll(GLANCE) {
                    break message?;
                }
            };
            heard = Instant::now();
            add(message.payload().context("a record without a value")?, index, &mut command)?;
        }
        lanes.send_blocking(lane, (write::end(command), size));
        lane = (lane + 1) % LANES;
        done += size as u64;
    }
    Ok(lanes)
}

fn add(event: &[u8], index: usize, command: &mut Writer) -> Result<()> {
    let document = Document::new(event)?.get("fullDocument")?.and_then(Element::as_document);
    let document = document.context("an event without its document")?;
    command.value(index.to_string().as_bytes(), kind::DOCUMENT, document.as_bytes());
    Ok(())
}
