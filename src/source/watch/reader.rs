//! The loop that keeps one change stream open, and what it does when a cursor ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bson::{Document, doc};
use futures_util::StreamExt;
use mongodb::{
    Client,
    error::Error,
    raw_batch_cursor::{RawBatch, RawBatchCursor},
};
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};

use super::{
    Batch, Content, Scope, Start,
    judge::{Ending, judge},
    opening::{Extent, Opening, can_split},
    parse, scope,
    size::ReplySize,
    split::{self, Joiner},
};
use crate::{
    config, mongo,
    position::{Position, ResumeToken},
    raw,
    retry::{Backoff, Failure},
    source::{Metrics, history::Losses, oplog},
};

/// What is added to the server's own waiting time before a silent connection counts as dead. The driver has no
/// socket timeout, and a stopped server keeps its connections open.
const SILENCE: Duration = Duration::from_secs(15);

/// Where events come in a steady trickle, the server is asked no more often than this. At 5,000 a second that saves a third
/// of what the daemon and Kafka need (docs/performance.md).
const GATHER: Duration = Duration::from_millis(2);

/// A reply of fewer bytes with more than one event is of a trickle.
const TRICKLE_BYTES: usize = 64 << 10;

pub(super) struct Reader {
    pub(super) client: Client,
    pub(super) settings: Arc<config::Source>,
    pub(super) scope: Scope,
    pub(super) position: Position,
    pub(super) metrics: Arc<Metrics>,
    same_deployment: bool,
    losses: Arc<Losses>,
    room: Arc<Semaphore>,
    waits_for_room: Arc<AtomicBool>,
    read_ahead_bytes: usize,
    pace: Pace,
    size: ReplySize,
    /// Set when the server has refused to split, whatever its version says.
    splits_refused: bool,
}

/// How many events are asked for at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// As many as make a reply of a good size.
    Full,
    /// One, for so many replies: an event among them does not fit, and it has to be found out which.
    Steps(u32),
}

/// What to do after a cursor has ended.
enum Next {
    OpenAtOnce,
    OpenAfterPause,
}

/// A cursor that ended without an error.
enum End {
    /// The server closed it: an invalidate event was its last.
    Closed,
    /// The event that did not fit was not met again.
    Stepped,
    /// Replies of another size are asked for from now on. The driver fixes it for a cursor.
    Resized,
    /// Nobody waits for events any more.
    Unwanted,
}

impl Reader {
    pub(super) fn new(start: Start) -> Self {
        let Start { client, settings, position, same_deployment, read_ahead_bytes, metrics, losses } = start;
        let size = ReplySize::new(settings.stream.batch_size);
        Self {
            client,
            scope: scope(&settings.streamed()),
            settings,
            position,
            metrics,
            same_deployment,
            losses,
            room: Arc::new(Semaphore::new(read_ahead_bytes)),
            waits_for_room: Arc::default(),
            read_ahead_bytes,
            pace: Pace::Full,
            size,
            splits_refused: false,
        }
    }

    /// Whether a reply has come for which there is no room yet.
    pub(super) fn waits_for_room(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.waits_for_room)
    }

    pub(super) async fn run(mut self, sender: mpsc::Sender<Batch>) -> Result<(), Failure> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        loop {
            let opened = self.position.clone();
            let outcome = self.read(&sender).await;
            if sender.is_closed() {
                return Ok(());
            }
            let has_moved = self.position != opened;
            if has_moved {
                backoff.reset();
            }
            let next = match outcome {
                Ok(End::Unwanted) => return Ok(()),
                Ok(End::Stepped) => {
                    self.pace = Pace::Full;
                    Next::OpenAtOnce
                }
                Ok(End::Resized) => Next::OpenAtOnce,
                Ok(End::Closed) if has_moved => Next::OpenAtOnce,
                Ok(End::Closed) => {
                    tracing::warn!(
                        source = self.settings.name,
                        "the server closed the change stream at once"
                    );
                    Next::OpenAfterPause
                }
                Err(error) => Box::pin(self.ended(error, &sender)).await?,
            };
            let pause = match next {
                Next::OpenAtOnce => Duration::ZERO,
                Next::OpenAfterPause => {
                    self.metrics.reopened();
                    backoff.next_pause()
                }
            };
            tracing::info!(source = self.settings.name, ?pause, position = %self.position, "reopening the change stream");
            tokio::time::sleep(pause).await;
        }
    }

    /// Reads one cursor to its end.
    async fn read(&mut self, sender: &mpsc::Sender<Batch>) -> Result<End, ReadError> {
        let extent = match self.pace {
            Pace::Full => Extent::Whole(self.size.events()),
            Pace::Steps(_) => Extent::OneByOne,
        };
        let (mut cursor, splits) = self.open(extent).await?;
        let mut joiner = splits.then(Joiner::default);
        loop {
            let asked = Instant::now();
            let Some(reply) = self.next(&mut cursor).await? else { return Ok(End::Closed) };
            let bytes = reply.as_raw_document().as_bytes().len();
            let parsed = parse(&reply)?;
            let is_trickle = bytes < TRICKLE_BYTES && parsed.events.elements().nth(1).is_some();
            let is_empty = parsed.events.is_empty();
            let token = parsed.token.map(ResumeToken::new).transpose()?;
            let joined = match &mut joiner {
                Some(joiner) => joiner.take(parsed.events)?,
                None => None,
            };
            self.metrics.read(bytes);
            // From inside of an event that comes in parts it would have to be read again.
            let is_inside_event = joined.as_ref().is_some_and(|joined| joined.waits);
            let is_resized = self.pace == Pace::Full
                && !is_inside_event
                && self.size.learn(bytes, || parsed.events.elements().count());
            let (content, token) = match joined {
                None => (Content::Reply(reply), token),
                // Between fragments the server's own token stands inside the event.
                Some(joined) => {
                    (Content::Events(joined.events), if joined.waits { joined.last } else { token })
                }
            };
            if let Some(token) = token {
                self.position = self.position.after(token);
            }
            if !self.hand_on(sender, content, bytes, None).await {
                return Ok(End::Unwanted);
            }
            if is_trickle {
                tokio::time::sleep_until(asked + GATHER).await;
            }
            match self.pace {
                Pace::Full if is_resized => return Ok(End::Resized),
                Pace::Full => {}
                Pace::Steps(left) if is_empty || left == 0 => return Ok(End::Stepped),
                Pace::Steps(left) => self.pace = Pace::Steps(left - 1),
            }
        }
    }

    /// Waits for room and hands a reply of this size on; whether somebody took it.
    pub(super) async fn hand_on(
        &self,
        sender: &mpsc::Sender<Batch>,
        content: Content,
        bytes: usize,
        too_large: Option<String>,
    ) -> bool {
        let bytes = match &content {
            Content::Reply(_) => bytes,
            Content::Events(events) => events.len(),
        };
        let permits = u32::try_from(bytes.min(self.read_ahead_bytes)).unwrap_or(u32::MAX);
        self.waits_for_room.store(true, Ordering::Relaxed);
        let room = Arc::clone(&self.room).acquire_many_owned(permits).await;
        let room = room.expect("nobody closes the semaphore");
        let batch = Batch { content, after: self.position.clone(), too_large, _room: room };
        // Not after it is sent: whoever takes it would still see it as one that follows.
        self.waits_for_room.store(false, Ordering::Relaxed);
        sender.send(batch).await.is_ok()
    }

    /// Opens the stream at the position; says too whether it splits large events.
    pub(super) async fn open(&self, extent: Extent) -> Result<(RawBatchCursor, bool), ReadError> {
        let splits = !self.splits_refused && splits(&self.client, &self.settings).await?;
        let opening = Opening::new(&self.settings, &self.scope, &self.position, splits, extent);
        match within(&self.settings, open(&self.client, &self.scope, &opening)).await {
            Ok(cursor) => Ok((cursor, splits)),
            Err(ReadError::Driver(error)) => Err(ReadError::Opening { error, splits }),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn next(&self, cursor: &mut RawBatchCursor) -> Result<Option<RawBatch>, ReadError> {
        within(&self.settings, async { cursor.next().await.transpose() }).await
    }

    /// Does what the end of a cursor calls for.
    async fn ended(&mut self, error: ReadError, sender: &mpsc::Sender<Batch>) -> Result<Next, Failure> {
        let mut asked_to_split = false;
        let ending = match &error {
            ReadError::Driver(error) => judge(&self.settings, &self.position, error),
            ReadError::Opening { error, splits } => {
                asked_to_split = *splits;
                judge(&self.settings, &self.position, error)
            }
            ReadError::Silent(patience) => {
                Ending::Passes(Failure::retry(format!("the MongoDB server has been silent for {patience:?}")))
            }
            ReadError::Malformed(error) => {
                Ending::Passes(Failure::retry(format!("after {}: unusable reply: {error}", self.position)))
            }
            ReadError::Split(error) => self.not_joined(error),
        };
        let name = &self.settings.name;
        match ending {
            Ending::Passes(failure) => {
                tracing::warn!(source = name, error = %failure, "the change stream broke off");
                Ok(Next::OpenAfterPause)
            }
            Ending::TokenRefused(reason) => self.resume_by_time(&reason).await,
            Ending::HistoryLost(reason) => Err(self.history_lost(&reason).await),
            Ending::TooLarge(reason) => self.too_large(&reason, sender).await,
            // A server that does not have the stage, or deployments that only look like MongoDB.
            Ending::Stops(failure) if asked_to_split => {
                tracing::info!(source = name, refused = %failure, "opening the stream without splitting large events");
                self.splits_refused = true;
                Ok(Next::OpenAtOnce)
            }
            Ending::Stops(failure) => Err(failure),
        }
    }

    fn not_joined(&self, error: &split::Error) -> Ending {
        match error {
            split::Error::BeganInside => Ending::TokenRefused(error.to_string()),
            split::Error::Missing | split::Error::Malformed(_) => {
                Ending::Passes(Failure::retry(format!("after {}: {error}", self.position)))
            }
            split::Error::TooLarge => Ending::Stops(Failure::stop(format!(
                "source {}: after {}: {error}, which is more than this program joins; set errors.event_too_large and \
                 split_large_events = \"off\"",
                self.settings.name, self.position
            ))),
        }
    }

    /// The first such error shows that one of the next events does not fit, the second, when they are read one by one,
    /// that it is the next one.
    async fn too_large(&mut self, reason: &str, sender: &mpsc::Sender<Batch>) -> Result<Next, Failure> {
        if self.pace == Pace::Full {
            tracing::info!(
                source = self.settings.name,
                position = %self.position,
                "an event does not fit into a reply; looking for it one by one ({reason})"
            );
            self.pace = Pace::Steps(self.settings.stream.batch_size);
            return Ok(Next::OpenAtOnce);
        }
        match self.pass_over(reason, sender).await? {
            Ok(()) => {
                self.pace = Pace::Full;
                Ok(Next::OpenAtOnce)
            }
            Err(error) => {
                tracing::warn!(
                    source = self.settings.name,
                    ?error,
                    "the event that does not fit was not read"
                );
                Ok(Next::OpenAfterPause)
            }
        }
    }

    /// Goes on with the time that a refused token stands for, where the position is of this deployment.
    async fn resume_by_time(&mut self, reason: &str) -> Result<Next, Failure> {
        if self.position.token.is_none() || !self.same_deployment {
            return Err(self.history_lost(reason).await);
        }
        let position = Position::at_time(self.position.generation, self.position.time);
        tracing::warn!(
            source = self.settings.name,
            position = %self.position,
            "the server refuses the resume token ({reason}); going on by its time, so that the changes of that moment \
             come again"
        );
        self.position = position;
        Ok(Next::OpenAtOnce)
    }

    async fn history_lost(&self, reason: &str) -> Failure {
        let oldest = oplog::oldest(&self.client, &self.settings).await;
        self.losses.note(&self.settings, &self.metrics, &self.position, oldest, reason)
    }
}

/// Whether the server at the other end has, and is to use, the stage that splits large events.
async fn splits(client: &Client, settings: &config::Source) -> Result<bool, ReadError> {
    if !settings.stream.split_large_events {
        return Ok(false);
    }
    let request = async { client.database("admin").run_command(doc! { "buildInfo": 1 }).await };
    let reply = within(settings, request).await?;
    let version = reply
        .get_array("versionArray")
        .map(|version| version.iter().filter_map(bson::Bson::as_i32).collect::<Vec<_>>());
    Ok(can_split(&version.unwrap_or_default()))
}

async fn open(client: &Client, scope: &Scope, opening: &Opening) -> Result<RawBatchCursor, Error> {
    let (stages, options) = (opening.stages.clone(), opening.options());
    match scope {
        Scope::Collection(namespace) => {
            let collection = client.database(&namespace.db).collection::<Document>(&namespace.coll);
            collection.aggregate(stages).with_options(options).batch().await
        }
        Scope::Database(db) => client.database(db).aggregate(stages).with_options(options).batch().await,
        Scope::Deployment => client.database("admin").aggregate(stages).with_options(options).batch().await,
    }
}

/// Whether the deployment takes the token of `position`, so far as its first reply tells.
///
/// # Errors
/// When it does not, or cannot be asked.
pub(in crate::source) async fn accepts(
    client: &Client,
    settings: &config::Source,
    position: &Position,
) -> Result<(), Failure> {
    let scope = scope(&settings.streamed());
    let asked = async {
        let splits = splits(client, settings).await?;
        let opening = Opening::new(settings, &scope, position, splits, Extent::OneByOne);
        let mut cursor = within(settings, open(client, &scope, &opening)).await?;
        within(settings, async { cursor.next().await.transpose() }).await
    };
    let error = match asked.await {
        Ok(_) => return Ok(()),
        Err(ReadError::Driver(error)) => error,
        Err(error) => return Err(Failure::retry(format!("source {}: {error}", settings.name))),
    };
    match judge(settings, position, &error) {
        Ending::TooLarge(_) => Ok(()),
        Ending::Passes(failure) | Ending::Stops(failure) => Err(failure),
        Ending::TokenRefused(reason) | Ending::HistoryLost(reason) => Err(Failure::stop(format!(
            "source {}: this deployment does not know the resume token in `start` ({reason}); nothing was stored. \
             Start with a token of this deployment, or with a time",
            settings.name
        ))),
    }
}

/// Why a cursor ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("{}", mongo::describe(.0))]
    Driver(Error),
    /// It was not even opened.
    #[error("{}", mongo::describe(error))]
    Opening { error: Error, splits: bool },
    #[error("the MongoDB server has been silent for {0:?}")]
    Silent(Duration),
    #[error("unusable reply: {0}")]
    Malformed(#[from] raw::Error),
    #[error(transparent)]
    Split(#[from] split::Error),
}

/// Gives up on a server that does not answer.
async fn within<T>(
    settings: &config::Source,
    request: impl Future<Output = Result<T, Error>>,
) -> Result<T, ReadError> {
    let patience = settings.stream.max_await + SILENCE;
    match tokio::time::timeout(patience, request).await {
        Ok(outcome) => outcome.map_err(ReadError::Driver),
        Err(_) => Err(ReadError::Silent(patience)),
    }
}
