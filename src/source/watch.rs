//! Opens, reads and reopens the change stream; yields the server's replies whole.
//!
//! The reader runs in a task of its own, ahead of encoding, through a channel bounded in bytes: it asks for the next
//! reply when the last one has found room, so what waits exceeds the bound by one reply at most. Empty replies are
//! passed on too, because their token is where an idle stream stands.
//!
//! Whatever may pass by itself is retried here for as long as it takes: the stream is opened again after the last
//! token that was read. What cannot pass ends the reader with the reason.

mod pipeline;

use std::{sync::Arc, time::Duration};

use bson::{Document, doc};
use futures_util::StreamExt;
use mongodb::{
    Client,
    error::Error,
    options::{AggregateOptions, ReadConcern},
    raw_batch_cursor::{RawBatch, RawBatchCursor},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
};

pub use self::pipeline::{Scope, scope};
use crate::{
    config,
    mongo::{self, codes},
    position::{Position, ResumeToken},
    raw,
    retry::{Backoff, Failure, Verdict},
    source::Metrics,
};

/// What is added to the server's own waiting time before a silent connection counts as dead. The driver has no
/// socket timeout, and a stopped server keeps its connections open.
const SILENCE: Duration = Duration::from_secs(15);

/// Replies that wait at most; the bound in bytes is what counts.
const CHANNEL_REPLIES: usize = 64;

/// A reply of the server, holding its place in the byte budget.
pub struct Batch {
    reply: RawBatch,
    /// Where the stream stands after this reply.
    pub after: Position,
    _room: OwnedSemaphorePermit,
}

impl Batch {
    /// The events in order.
    ///
    /// # Errors
    /// When the reply is not what a cursor's reply looks like.
    pub fn events(&self) -> Result<raw::Document<'_>, raw::Error> {
        Ok(parse(&self.reply)?.events)
    }

    /// Whether there is no event in it.
    pub fn is_empty(&self) -> bool {
        self.events().is_ok_and(raw::Document::is_empty)
    }
}

/// Reads a change stream in a task of its own.
pub struct Watcher {
    batches: mpsc::Receiver<Batch>,
    task: JoinHandle<Result<(), Failure>>,
}

impl Watcher {
    /// Starts reading after `position`.
    pub fn start(
        client: Client,
        settings: Arc<config::Source>,
        position: Position,
        read_ahead_bytes: usize,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (sender, batches) = mpsc::channel(CHANNEL_REPLIES);
        let reader = Reader {
            client,
            scope: scope(&settings.streamed()),
            settings,
            position,
            room: Arc::new(Semaphore::new(read_ahead_bytes)),
            read_ahead_bytes,
            metrics,
        };
        Self { batches, task: tokio::spawn(reader.run(sender)) }
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

struct Reader {
    client: Client,
    settings: Arc<config::Source>,
    scope: Scope,
    position: Position,
    room: Arc<Semaphore>,
    read_ahead_bytes: usize,
    metrics: Arc<Metrics>,
}

impl Reader {
    async fn run(mut self, sender: mpsc::Sender<Batch>) -> Result<(), Failure> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        loop {
            let opened = self.position.clone();
            let outcome = self.read(&sender).await;
            if sender.is_closed() {
                return Ok(());
            }
            if self.position != opened {
                backoff.reset();
            }
            match outcome {
                // The cursor was closed: an invalidate event was its last.
                Ok(()) if self.position != opened => {
                    tracing::info!(source = self.settings.name, position = %self.position, "reopening the change stream");
                    continue;
                }
                Ok(()) => {
                    tracing::warn!(
                        source = self.settings.name,
                        "the server closed the change stream at once"
                    );
                }
                Err(error) => {
                    let failure = self.judge(&error).await;
                    if failure.verdict == Verdict::Stop {
                        return Err(failure);
                    }
                    tracing::warn!(source = self.settings.name, error = %failure, "the change stream broke off");
                }
            }
            let pause = backoff.next_pause();
            self.metrics.reopened();
            tracing::info!(source = self.settings.name, ?pause, position = %self.position, "reopening the change stream");
            tokio::time::sleep(pause).await;
        }
    }

    /// Reads one cursor to its end.
    async fn read(&mut self, sender: &mpsc::Sender<Batch>) -> Result<(), ReadError> {
        let patience = self.settings.stream.max_await + SILENCE;
        let mut cursor = within(patience, self.open()).await?;
        loop {
            let next = within(patience, async { cursor.next().await.transpose() });
            let Some(reply) = next.await? else { return Ok(()) };
            let parsed = parse(&reply)?;
            if let Some(token) = parsed.token {
                self.position = self.position.after(ResumeToken::new(token)?);
            }
            let bytes = reply.as_raw_document().as_bytes().len();
            self.metrics.read(bytes);
            let permits = u32::try_from(bytes.min(self.read_ahead_bytes)).unwrap_or(u32::MAX);
            let room = Arc::clone(&self.room).acquire_many_owned(permits).await;
            let room = room.expect("nobody closes the semaphore");
            if sender.send(Batch { reply, after: self.position.clone(), _room: room }).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn open(&self) -> Result<RawBatchCursor, Error> {
        let stages = pipeline::stages(&self.settings, &self.scope, &self.position);
        let options = AggregateOptions::builder()
            .read_concern(ReadConcern::majority())
            .max_await_time(self.settings.stream.max_await)
            .batch_size(self.settings.stream.batch_size)
            .comment(bson::Bson::String(self.settings.stream.comment.clone()))
            .build();
        match &self.scope {
            Scope::Collection(namespace) => {
                let collection = self.client.database(&namespace.db).collection::<Document>(&namespace.coll);
                collection.aggregate(stages).with_options(options).batch().await
            }
            Scope::Database(db) => {
                self.client.database(db).aggregate(stages).with_options(options).batch().await
            }
            Scope::Deployment => {
                self.client.database("admin").aggregate(stages).with_options(options).batch().await
            }
        }
    }

    /// What the end of a cursor means.
    async fn judge(&self, error: &ReadError) -> Failure {
        let name = &self.settings.name;
        let error = match error {
            ReadError::Driver(error) => error,
            ReadError::Silent(patience) => {
                return Failure::retry(format!("the MongoDB server has been silent for {patience:?}"));
            }
            ReadError::Malformed(error) => {
                return Failure::retry(format!("after {}: unusable reply: {error}", self.position));
            }
        };
        match mongo::code(error) {
            Some(
                codes::CHANGE_STREAM_HISTORY_LOST
                | codes::CHANGE_STREAM_FATAL_ERROR
                | codes::INVALID_RESUME_TOKEN
                | codes::CAPPED_POSITION_LOST,
            ) => self.history_lost(error).await,
            Some(codes::BSON_OBJECT_TOO_LARGE) => Failure::stop(format!(
                "source {name}: the change after {} does not fit into 16 MB ({}); set full_document = \"default\" or \
                 exclude its collection",
                self.position,
                mongo::describe(error)
            )),
            Some(codes::CHANGE_STREAM_NEEDS_REPLICA_SET) => Failure::stop(format!(
                "source {name}: change streams need a replica set or a sharded cluster ({})",
                mongo::describe(error)
            )),
            _ => mongo::failure(&format!("change stream of source {name}"), error),
        }
    }

    /// The position is no longer in the oplog: says between which times changes are lost, and what can be done.
    async fn history_lost(&self, error: &Error) -> Failure {
        let oldest = self
            .client
            .database("local")
            .collection::<Document>("oplog.rs")
            .find_one(doc! {})
            .sort(doc! { "$natural": 1 })
            .projection(doc! { "ts": 1 })
            .await;
        let oldest = match oldest.ok().flatten().and_then(|entry| entry.get_timestamp("ts").ok()) {
            Some(time) => format!("{}:{}", time.time, time.increment),
            None => "the start of the oplog, which this user may not read".to_owned(),
        };
        Failure::stop(format!(
            "source {}: the stored position ({}) is no longer in the oplog: changes between it and {oldest} are lost \
             ({}). Nothing was skipped. To go on without them remove the checkpoint and set `start` to a time, or to \
             \"latest\"; a longer oplog (replSetResizeOplog) prevents this",
            self.settings.name,
            self.position,
            mongo::describe(error)
        ))
    }
}

/// Why a cursor ended.
#[derive(Debug)]
enum ReadError {
    Driver(Error),
    Silent(Duration),
    Malformed(raw::Error),
}

impl From<raw::Error> for ReadError {
    fn from(error: raw::Error) -> Self {
        Self::Malformed(error)
    }
}

async fn within<T>(
    patience: Duration,
    request: impl Future<Output = Result<T, Error>>,
) -> Result<T, ReadError> {
    match tokio::time::timeout(patience, request).await {
        Ok(outcome) => outcome.map_err(ReadError::Driver),
        Err(_) => Err(ReadError::Silent(patience)),
    }
}

/// What matters of a cursor's reply.
pub(super) struct Reply<'a> {
    pub(super) events: raw::Document<'a>,
    /// `postBatchResumeToken`: where the stream stands after the reply.
    pub(super) token: Option<raw::Document<'a>>,
}

pub(super) fn parse(reply: &RawBatch) -> Result<Reply<'_>, raw::Error> {
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
