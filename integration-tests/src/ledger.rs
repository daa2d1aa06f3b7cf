//! What happened, told by the server itself: every event of a database between two cluster times.
//!
//! Read afterwards from the oplog through a change stream of our own, so that it is complete whatever the load's writers
//! saw of their answers.

use anyhow::{Context, Result, ensure};
use bson::{RawDocumentBuf, Timestamp, doc};
use mongodb::Client;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The resume token's `_data`: sorts as the events happened.
    pub token: String,
    /// What happened: `insert`, `update`, …
    pub operation: String,
    /// Where.
    pub collection: String,
    /// The document's key as raw BSON; empty where the event is not about a document.
    pub key: Vec<u8>,
}

/// The deployment's time after everything that has been written.
pub async fn now(client: &Client) -> Result<Timestamp> {
    let reply = client.database("admin").run_command(doc! { "ping": 1 }).await?;
    Ok(reply.get_timestamp("operationTime")?)
}

/// All events of `database` from `from` until now.
pub async fn read(client: &Client, database: &str, from: Timestamp) -> Result<Vec<Event>> {
    let end = now(client).await?;
    let database = client.database(database);
    let watch = database.watch().start_at_operation_time(from);
    let mut stream = watch.await?.with_type::<RawDocumentBuf>();
    let mut events = Vec::new();
    loop {
        match stream.next_if_any().await? {
            Some(event) => events.push(parse(&event)?),
            None => {
                let token = stream.resume_token().context("an empty batch has no token")?;
                let token = bson::serialize_to_document(&token)?;
                // The stream is past `end` only when its position is: an event *at* `end` may still come.
                if token_time(token.get_str("_data")?)? >= end {
                    return Ok(events);
                }
            }
        }
    }
}

fn parse(event: &RawDocumentBuf) -> Result<Event> {
    let collection = match event.get_document("ns") {
        Ok(namespace) => namespace.get_str("coll").unwrap_or_default().to_owned(),
        Err(_) => String::new(),
    };
    let key = event.get_document("documentKey").map(|key| key.as_bytes().to_vec()).unwrap_or_default();
    Ok(Event {
        token: event.get_document("_id")?.get_str("_data")?.to_owned(),
        operation: event.get_str("operationType")?.to_owned(),
        collection,
        key,
    })
}

/// The cluster time with which every token begins, after one type byte.
fn token_time(token: &str) -> Result<Timestamp> {
    ensure!(token.len() >= 18 && token.is_ascii(), "a token is too short");
    let number = |range: std::ops::Range<usize>| u32::from_str_radix(&token[range], 16);
    Ok(Timestamp { time: number(2..10)?, increment: number(10..18)? })
}
