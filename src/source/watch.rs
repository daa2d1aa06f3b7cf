//! Opens, reads and reopens the change stream; yields the server's replies whole.
//!
//! The reader runs in a task of its own, ahead of encoding, through a channel bounded in bytes: it asks for the next
//! reply when the last one has found room, so what waits exceeds the bound by one reply at most. Empty replies are
//! passed on too, because their token is where an idle stream stands.
//!
//! Whatever may pass by itself is retried here for as long as it takes: the stream is opened again after the last
//! token that was read. What cannot pass ends the reader with the reason.
//!
//! ```text
//! pipeline ▶ opening ▶ reader ▶ split          an event is whole again before it is handed on
//!                      reader ▶ judge ▶ large  what the server cannot send whole is sent in part, or named
//! ```

mod pipeline;

mod opening;

mod reader;

mod size;
mod split;

mod judge;
mod large;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use mongodb::{Client, raw_batch_cursor::RawBatch};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    task::JoinHandle,
};

use self::reader::Reader;
pub(super) use self::reader::accepts;
pub use self::{
    judge::{Ending, judge},
    opening::{Extent, Opening, Reduction},
    pipeline::{Scope, scope},
};
use super::{Metrics, history::Losses};
use crate::{config, position::Position, raw, retry::Failure};

/// Replies that wait at most; the bound in bytes is what counts.
const CHANNEL_REPLIES: usize = 64;

/// A reply of the server, holding its place in the byte budget.
pub struct Batch {
    content: Content,
    /// Where the stream stands after this reply.
    pub after: Position,
    /// Why the server could not send the event: then it is the only one, and there is no more of it than what it was.
    pub too_large: Option<String>,
    _room: OwnedSemaphorePermit,
}

enum Content {
    /// As the server sent it.
    Reply(RawBatch),
    /// An array of events.
    Events(Vec<u8>),
}

impl Batch {
    /// The events in order.
    ///
    /// # Errors
    /// When the reply is not what a cursor's reply looks like.
    pub fn events(&self) -> Result<raw::Document<'_>, raw::Error> {
        match &self.content {
            Content::Reply(reply) => Ok(parse(reply)?.events),
            Content::Events(events) => raw::Document::new(events),
        }
    }

    /// Whether there is no event in it.
    pub fn is_empty(&self) -> bool {
        self.events().is_ok_and(raw::Document::is_empty)
    }
}

/// What a reader needs.
pub(super) struct Start {
    pub(super) client: Client,
    pub(super) settings: Arc<config::Source>,
    pub(super) position: Position,
    /// Whether the position is known to be of this deployment.
    pub(super) same_deployment: bool,
    pub(super) read_ahead_bytes: usize,
    pub(super) metrics: Arc<Metrics>,
    pub(super) losses: Arc<Losses>,
}

/// Reads a change stream in a task of its own.
pub struct Watcher {
    batches: mpsc::Receiver<Batch>,
    waits_for_room: Arc<AtomicBool>,
    task: JoinHandle<Result<(), Failure>>,
}

impl Watcher {
    /// Starts reading as `start` says.
    pub(super) fn start(start: Start) -> Self {
        let (sender, batches) = mpsc::channel(CHANNEL_REPLIES);
        let reader = Reader::new(start);
        let waits_for_room = reader.waits_for_room();
        Self { batches, waits_for_room, task: tokio::spawn(reader.run(sender)) }
    }

    /// Whether a reply has come that was not taken yet.
    pub fn has_more(&self) -> bool {
        !self.batches.is_empty() || self.waits_for_room.load(Ordering::Relaxed)
    }

    /// The next reply. Safe to drop while waiting.
    ///
    /// # Errors
    /// When the stream cannot go on.
    pub async fn next(&mut self) -> Result<Batch, Failure> {
        if let Some(batch) = self.batches.recv().await {
            return Ok(batch);
        }
        match (&mut self.task).await {
            Ok(Ok(())) => Err(Failure::retry("the change stream's reader ended early")),
            Ok(Err(failure)) => Err(failure),
            Err(error) => Err(Failure::retry(format!("the change stream's reader: {error}"))),
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What matters of a cursor's reply.
pub(crate) struct Reply<'a> {
    pub(crate) events: raw::Document<'a>,
    /// `postBatchResumeToken`: where the stream stands after the reply.
    pub(super) token: Option<raw::Document<'a>>,
}

pub(crate) fn parse(reply: &RawBatch) -> Result<Reply<'_>, raw::Error> {
    let reply = raw::Document::new(reply.as_raw_document().as_bytes())?;
    let cursor = reply.get("cursor")?.and_then(raw::Element::as_document);
    let mut parsed = Reply { events: raw::Document::EMPTY, token: None };
    for element in cursor.ok_or(raw::Error { at: 4, what: "a reply without a cursor" })?.elements() {
        let element = element?;
        match element.name {
            b"firstBatch" | b"nextBatch" => {
                parsed.events = element.as_document().unwrap_or(raw::Document::EMPTY);
            }
            b"postBatchResumeToken" => parsed.token = element.as_document(),
            _ => {}
        }
    }
    Ok(parsed)
}
