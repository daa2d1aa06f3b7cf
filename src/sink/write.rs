//! Closed batches → MongoDB.
//!
//! Assumes that batches come one after the other, or in turn. Promises that `Ok` means that all of a batch is written as
//! the write concern says, but for what it returns: the statements that the server refuses and the sink tolerates, and those that
//! met another document's unique value. What passes by itself is tried again here; what does not, and is not tolerated,
//! is a [`Failure`] that names record, namespace and the server's code, never a document.
//!
//! Lanes run at once, each with one command in flight. The next batch may be written behind this one, lane by lane: one
//! of its lanes begins when the same lane of this batch is written, and is given back if that cannot be. Statements that
//! meet another document's unique value wait until all lanes are done and are then tried one by one in the order of their
//! records: their holder may have given it up.

mod collections;

use std::{
    cmp::Ordering,
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use mongodb::{Client, bson::RawDocumentBuf, error::ErrorKind};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use self::collections::Collections;
use super::{
    Metrics,
    batch::{Item, Lane, Statement},
    command::{self, Manner, Verb},
    progress::Place,
    turn::Turn,
    verdict::{self, Reason},
};
use crate::{
    config::{self, MissingDocument},
    mongo,
    namespace::Namespace,
    retry::{Backoff, Failure, Verdict},
};

/// How long one command is tried again before the half starts anew, and shows that it is in trouble.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same while the daemon stops.
const PATIENCE_WHILE_STOPPING: Duration = Duration::from_secs(3);
/// Deletes of one command that look for a document under another shard key: each asks every shard.
const MAX_STALE: usize = 500;

/// Where a sink writes.
pub struct Target {
    client: Client,
    settings: Arc<config::Sink>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    collections: Mutex<Collections>,
}

/// Inserts sent and inserts that met a document, by collection.
type Inserts = HashMap<Arc<Namespace>, (usize, usize)>;

/// What of a batch is not written.
#[derive(Debug, Default)]
pub struct Unwritten {
    /// What the server refuses, and the sink tolerates.
    pub refused: Vec<(Item, Reason)>,
    /// What met another document's unique value, and still does when tried again in the order of the records.
    pub conflicts: Vec<(Item, Reason)>,
    /// Lanes that were not begun, because something of the same lane of the batch before is not written.
    pub given_back: Vec<Lane>,
}

impl Unwritten {
    /// Whether all is written.
    pub fn is_empty(&self) -> bool {
        self.refused.is_empty() && self.conflicts.is_empty() && self.given_back.is_empty()
    }

    /// Adds what is left of others.
    pub fn extend(&mut self, others: Self) {
        self.refused.extend(others.refused);
        self.conflicts.extend(others.conflicts);
        self.given_back.extend(others.given_back);
    }
}

/// How a lane ended.
enum Ended {
    /// Written but for this, and how many statements it had.
    Written(Left, usize),
    /// Not begun.
    GivenBack(Lane),
}

/// What a lane could not bring to an end by itself.
#[derive(Default)]
struct Left {
    refused: Vec<(Item, Reason)>,
    conflicts: Vec<(Item, Reason)>,
    failure: Option<(Place, Failure)>,
    inserts: Inserts,
}

impl Left {
    /// Whether all of the lane is written.
    fn is_empty(&self) -> bool {
        self.refused.is_empty() && self.conflicts.is_empty() && self.failure.is_none()
    }
}

impl Target {
    /// A target; `stop` shortens its patience.
    pub fn new(
        client: Client,
        settings: Arc<config::Sink>,
        metrics: Arc<Metrics>,
        stop: &CancellationToken,
    ) -> Self {
        Self { client, settings, metrics, stop: stop.child_token(), collections: Mutex::default() }
    }

    /// The deployment.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Looks at the collections that are known before any record comes.
    ///
    /// # Errors
    /// When one is sharded by what no write of its records can name, or cannot be looked at.
    pub async fn check(&self) -> Result<(), Failure> {
        let overridden = self.settings.overrides.iter().map(|over| &over.handling);
        for handling in std::iter::once(&self.settings.handling).chain(overridden) {
            let Some(Ok(namespace)) = handling.namespace.literal().map(Namespace::parse) else { continue };
            collections::look_up(&self.client, &namespace).await?.check_settings(handling, &namespace)?;
        }
        Ok(())
    }

    /// Loses its patience early from now on, as when the daemon stops.
    pub fn hurry(&self) {
        self.stop.cancel();
    }

    /// Writes a whole batch, while no other is on its way.
    ///
    /// # Errors
    /// When some of it cannot be written, and that is not tolerated. The rest is, as far as possible.
    pub async fn write(&self, lanes: Vec<Lane>) -> Result<Unwritten, Failure> {
        self.write_in_turn(lanes.into_iter().map(|lane| (lane, Turn::default())).collect()).await
    }

    /// Writes a batch, each lane when its turn comes.
    ///
    /// # Errors
    /// As for [`Self::write`].
    pub async fn write_in_turn(&self, mut lanes: Vec<(Lane, Turn)>) -> Result<Unwritten, Failure> {
        let items = lanes.iter_mut().flat_map(|(lane, _)| &mut lane.items);
        self.collections.lock().await.prepare(items, &self.client, &self.settings).await?;
        self.write_prepared(lanes).await
    }

    /// Writes lanes that were given back. Their statements are prepared already, and must not be a second time.
    ///
    /// # Errors
    /// As for [`Self::write`].
    pub async fn write_given_back(&self, lanes: Vec<Lane>) -> Result<Unwritten, Failure> {
        self.write_prepared(lanes.into_iter().map(|lane| (lane, Turn::default())).collect()).await
    }

    async fn write_prepared(&self, lanes: Vec<(Lane, Turn)>) -> Result<Unwritten, Failure> {
        let mut unwritten = Unwritten::default();
        let mut conflicts = Vec::new();
        let mut failures = Vec::new();
        let mut inserts = Inserts::new();
        let mut written = 0;
        for lane in join_all(lanes.into_iter().map(|(lane, turn)| self.write_next(lane, turn))).await {
            let (left, count) = match lane? {
                Ended::Written(left, count) => (left, count),
                Ended::GivenBack(lane) => {
                    unwritten.given_back.push(lane);
                    continue;
                }
            };
            written += count;
            unwritten.refused.extend(left.refused);
            conflicts.extend(left.conflicts);
            failures.extend(left.failure);
            for (namespace, (sent, met)) in left.inserts {
                let counts = inserts.entry(namespace).or_default();
                *counts = (counts.0 + sent, counts.1 + met);
            }
        }
        self.collections.lock().await.learn(inserts);
        // Of several, the one that the operator meets first in the topic.
        if let Some((_, failure)) = failures.into_iter().min_by(|(a, _), (b, _)| a.cmp(b)) {
            return Err(failure);
        }
        self.settle(conflicts, &mut unwritten).await?;
        written -= unwritten.refused.len() + unwritten.conflicts.len();
        self.metrics.documents.fetch_add(written as u64, Relaxed);
        Ok(unwritten)
    }

    /// Writes a lane when its turn comes, and lets the one behind it begin if all of it is written.
    async fn write_next(&self, lane: Lane, mut turn: Turn) -> Result<Ended, Failure> {
        if !turn.comes().await {
            return Ok(Ended::GivenBack(lane));
        }
        let count = lane.items.len();
        let left = self.write_lane(lane).await?;
        if left.is_empty() {
            turn.pass_on();
        }
        Ok(Ended::Written(left, count))
    }

    async fn write_lane(&self, lane: Lane) -> Result<Left, Failure> {
        let is_ordered = lane.is_ordered();
        let mut items = lane.items;
        let mut left = Left::default();
        let mut backoff = new_backoff();
        let began = Instant::now();
        self.delete_stale(&items).await?;
        loop {
            if !is_ordered {
                // Stable, so that the statements of one collection and verb stand together.
                items.sort_by(by_namespace_and_verb);
            }
            let Round { again, passed_by_itself } = self.write_round(items, is_ordered, &mut left).await?;
            // What comes after a failure in an ordered lane would be done again, and need not be the same then.
            if again.is_empty() || (is_ordered && left.failure.is_some()) {
                return Ok(left);
            }
            items = again;
            if passed_by_itself {
                self.pause(
                    &mut backoff,
                    began,
                    &items[0].namespace,
                    "statements were refused for the moment",
                )
                .await?;
            }
        }
    }

    /// Deletes what has an item's `_id` under another shard key.
    async fn delete_stale(&self, items: &[Item]) -> Result<(), Failure> {
        let stale: Vec<_> = items.iter().filter(|item| item.stale.is_some()).collect();
        for of_one in stale.chunk_by(|a, b| a.namespace == b.namespace) {
            for items in of_one.chunks(MAX_STALE) {
                let (namespace, place) = (&items[0].namespace, &items[0].place);
                let filters = || items.iter().filter_map(|item| item.stale.as_deref());
                let command = || command::build_deletes(namespace, filters(), self.manner(false));
                self.send(namespace, place, command).await?;
            }
        }
        Ok(())
    }

    /// Sends each item once; in an ordered lane, up to the first that is refused.
    async fn write_round(
        &self,
        items: Vec<Item>,
        is_ordered: bool,
        left: &mut Left,
    ) -> Result<Round, Failure> {
        let answers = self.send_all(&items, is_ordered, left).await?;
        let mut round = Round::default();
        for (mut item, answer) in items.into_iter().zip(answers) {
            let (verdict, reason) = match answer {
                Answer::Done => continue,
                Answer::NotSent => {
                    round.again.push(item);
                    continue;
                }
                Answer::Refused(verdict, reason) => (verdict, *reason),
            };
            match verdict {
                verdict::Item::Again => round.passed_by_itself = true,
                verdict::Item::Replace => {
                    self.metrics.duplicates.fetch_add(1, Relaxed);
                    item.statement.insert_to_replace();
                }
                verdict::Item::Compare => {
                    if !self.is_there_already(&item).await? {
                        self.refuse(item, reason, left);
                    }
                    continue;
                }
                verdict::Item::Recreate if !item.is_recreated => {
                    item.is_recreated = true;
                    let filters = || std::iter::once(&item.filter);
                    let command = || command::build_deletes(&item.namespace, filters(), self.manner(false));
                    self.send(&item.namespace, &item.place, command).await?;
                }
                verdict::Item::Conflict => {
                    left.conflicts.push((item, reason));
                    continue;
                }
                verdict::Item::Recreate | verdict::Item::Stop => {
                    self.refuse(item, reason, left);
                    continue;
                }
            }
            round.again.push(item);
        }
        Ok(round)
    }

    /// Sends each item once; what the server says to each.
    async fn send_all(
        &self,
        items: &[Item],
        is_ordered: bool,
        left: &mut Left,
    ) -> Result<Vec<Answer>, Failure> {
        let mut answers = Vec::with_capacity(items.len());
        let mut rest = items;
        while let Some(first) = rest.first() {
            let verb = Verb::of(&first.statement);
            // Neighbours, because an ordered lane is not sorted.
            let same = rest.iter().take_while(|item| by_namespace_and_verb(first, item).is_eq()).count();
            let start = answers.len();
            let (count, bytes) = command::fitting(&rest[..same]);
            let sent;
            (sent, rest) = rest.split_at(count);
            let command = || command::build(verb, &first.namespace, sent, bytes, self.manner(is_ordered));
            let reply = match self.send(&first.namespace, &first.place, command).await {
                Ok(reply) => reply,
                // It may be about one of many statements: ask for each.
                Err(failure) if failure.verdict == Verdict::Stop && sent.len() > 1 => {
                    self.send_alone(sent, verb, is_ordered, &mut answers).await?;
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            self.read_answers(sent, &reply, &mut answers).await?;
            let met = answers[start..].iter().filter(|answer| answer.is_replay()).count();
            if verb == Verb::Insert {
                let counts = left.inserts.entry(Arc::clone(&first.namespace)).or_default();
                *counts = (counts.0 + sent.len(), counts.1 + met);
            }
            if is_ordered && !reply.refused.is_empty() {
                break;
            }
        }
        answers.resize_with(items.len(), || Answer::NotSent);
        Ok(answers)
    }

    /// Sends the items of a command that was refused as a whole each by itself.
    async fn send_alone(
        &self,
        items: &[Item],
        verb: Verb,
        is_ordered: bool,
        answers: &mut Vec<Answer>,
    ) -> Result<(), Failure> {
        for item in items {
            let alone = std::slice::from_ref(item);
            let (_, bytes) = command::fitting(alone);
            let command = || command::build(verb, &item.namespace, alone, bytes, self.manner(is_ordered));
            let reply = self.send(&item.namespace, &item.place, command).await?;
            self.read_answers(alone, &reply, answers).await?;
            if is_ordered && !reply.refused.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What the server says to each of the items of one command.
    async fn read_answers(
        &self,
        sent: &[Item],
        reply: &command::Reply,
        answers: &mut Vec<Answer>,
    ) -> Result<(), Failure> {
        let start = answers.len();
        answers.resize_with(start + sent.len(), || Answer::Done);
        for refused in &reply.refused {
            let Some(item) = sent.get(refused.index) else { continue };
            let verdict = verdict::of_item(refused.code, &item.statement, refused.is_on_id);
            answers[start + refused.index] = Answer::Refused(verdict, Box::new(Reason::from(refused)));
        }
        let missed = sent.len().saturating_sub(reply.refused.len() + reply.touched);
        if missed == 0 || sent.first().is_none_or(|item| Verb::of(&item.statement) != Verb::Update) {
            return Ok(());
        }
        self.metrics.missing_documents.fetch_add(missed as u64, Relaxed);
        for (item, answer) in sent.iter().zip(&mut answers[start..]) {
            let must_exist = item.statement.missing() == Some(MissingDocument::Fail);
            if must_exist && matches!(answer, Answer::Done) && self.find(item).await?.is_none() {
                *answer = Answer::Refused(verdict::Item::Stop, Box::new(Reason::missing()));
            }
        }
        Ok(())
    }

    /// Whether the document of an insert that met its `_id` is there as it is: the record was delivered again.
    async fn is_there_already(&self, item: &Item) -> Result<bool, Failure> {
        let Statement::InsertOnly(body) = &item.statement else { return Ok(false) };
        let found = self.find(item).await?;
        Ok(found.is_some_and(|found| found.as_bytes() == body.document().as_bytes()))
    }

    /// The document that the item's filter finds.
    async fn find(&self, item: &Item) -> Result<Option<RawDocumentBuf>, Failure> {
        let bytes = command::build_find(&item.namespace, &item.filter);
        let command = RawDocumentBuf::from_bytes(bytes).expect("the writer ends its documents");
        let what = || format!("cannot read from {}", item.namespace);
        let mut cursor = self
            .client
            .database(&item.namespace.db)
            .run_raw_cursor_command(command)
            .await
            .map_err(|error| mongo::failure(&what(), &error))?;
        if !cursor.advance().await.map_err(|error| mongo::failure(&what(), &error))? {
            return Ok(None);
        }
        Ok(Some(cursor.current().to_owned()))
    }

    fn manner(&self, is_ordered: bool) -> Manner {
        Manner { write_concern: self.settings.write_concern, is_ordered }
    }

    /// Keeps an item that the server refuses, or the reason to stop.
    fn refuse(&self, item: Item, reason: Reason, left: &mut Left) {
        if reason.is_tolerated(self.settings.errors.tolerance) {
            left.refused.push((item, reason));
        } else if left.failure.as_ref().is_none_or(|(place, _)| item.place < *place) {
            left.failure = Some((item.place.clone(), refusal(&item, &reason)));
        }
    }

    /// Tries what met another document's unique value in the order of the records, as long as that helps.
    async fn settle(
        &self,
        mut conflicts: Vec<(Item, Reason)>,
        unwritten: &mut Unwritten,
    ) -> Result<(), Failure> {
        while !conflicts.is_empty() {
            let before = conflicts.len();
            conflicts.sort_by(|(a, _), (b, _)| a.place.cmp(&b.place));
            let mut still = Vec::new();
            for (item, _) in conflicts {
                let lane = Lane { items: vec![item], number: Some(0) };
                let left = Box::pin(self.write_lane(lane)).await?;
                if let Some((_, failure)) = left.failure {
                    return Err(failure);
                }
                unwritten.refused.extend(left.refused);
                still.extend(left.conflicts);
            }
            if still.len() == before {
                unwritten.conflicts = still;
                return Ok(());
            }
            conflicts = still;
        }
        Ok(())
    }

    /// Sends a command until the server has taken it. It is built anew for each attempt: a copy for one that is seldom
    /// needed would cost more.
    async fn send(
        &self,
        namespace: &Namespace,
        place: &Place,
        command: impl Fn() -> Vec<u8>,
    ) -> Result<command::Reply, Failure> {
        let mut backoff = new_backoff();
        let began = Instant::now();
        loop {
            self.metrics.commands.fetch_add(1, Relaxed);
            let command = RawDocumentBuf::from_bytes(command()).expect("the writer ends its documents");
            let outcome = self.client.database(&namespace.db).run_raw_command(command).await;
            let reason = match outcome {
                Ok(reply) => match command::read_reply(&reply) {
                    Some(command::Reply { concern: Some(code), .. }) => {
                        judge_command(namespace, place, code, &[])?
                    }
                    Some(reply) => return Ok(reply),
                    None => "the reply is unreadable".to_owned(),
                },
                Err(error) => match error.kind.as_ref() {
                    ErrorKind::Command(inner) => {
                        let labels: Vec<_> = error.labels().iter().map(String::as_str).collect();
                        judge_command(namespace, place, inner.code, &labels)?
                    }
                    _ => {
                        let failure = mongo::failure(&format!("cannot write to {namespace}"), &error);
                        if failure.verdict == Verdict::Stop {
                            return Err(failure);
                        }
                        failure.message
                    }
                },
            };
            self.pause(&mut backoff, began, namespace, &reason).await?;
        }
    }

    /// Waits before the next attempt, or gives up.
    async fn pause(
        &self,
        backoff: &mut Backoff,
        began: Instant,
        namespace: &Namespace,
        reason: &str,
    ) -> Result<(), Failure> {
        let patience = if self.stop.is_cancelled() { PATIENCE_WHILE_STOPPING } else { PATIENCE };
        if began.elapsed() > patience {
            return Err(Failure::retry(format!("gave up writing to {namespace} for now: {reason}")));
        }
        self.metrics.retries.fetch_add(1, Relaxed);
        let pause = backoff.next_pause();
        tracing::warn!(%namespace, pause_ms = pause.as_millis() as u64, "write is tried again: {reason}");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// What the server says to an item. Small, because there is one for each.
enum Answer {
    /// It is written.
    Done,
    /// Not now.
    Refused(verdict::Item, Box<Reason>),
    /// It was not asked.
    NotSent,
}

impl Answer {
    fn is_replay(&self) -> bool {
        matches!(self, Self::Refused(verdict::Item::Replace, _))
    }
}

/// What is left after each item was sent once.
#[derive(Default)]
struct Round {
    again: Vec<Item>,
    /// Whether some of it was refused for a reason that takes time to pass.
    passed_by_itself: bool,
}

fn new_backoff() -> Backoff {
    Backoff::new(Duration::from_millis(50), Duration::from_secs(5))
}

fn by_namespace_and_verb(a: &Item, b: &Item) -> Ordering {
    // Most items share their namespace, and it need not be read for that.
    let is_shared = Arc::ptr_eq(&a.namespace, &b.namespace);
    let namespaces = if is_shared { Ordering::Equal } else { a.namespace.cmp(&b.namespace) };
    namespaces.then_with(|| Verb::of(&a.statement).cmp(&Verb::of(&b.statement)))
}

/// Why the server does not take this item's statement.
pub fn refusal(item: &Item, reason: &Reason) -> Failure {
    Failure::stop(format!("{}: {}", item.place, reason.explain(&item.namespace)))
}

/// Why a whole command failed, if it may be sent again.
fn judge_command(
    namespace: &Namespace,
    place: &Place,
    code: i32,
    labels: &[&str],
) -> Result<String, Failure> {
    match verdict::of_command(code, labels.iter().copied()) {
        verdict::Command::Again => Ok(format!("code {code}, {}", verdict::explain(code).0)),
        // It is one of those in the command; often it is all of them.
        verdict::Command::Stop => {
            let reason = Reason::of_code(code).explain(namespace);
            Err(Failure::stop(format!("at or after {place}: {reason}")))
        }
    }
}
