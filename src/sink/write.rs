//! Closed batches → MongoDB.
//!
//! Assumes that a batch holds one statement per document and that batches come one after the other. Promises that
//! `Ok` means that all of it is written by a majority of the members. What passes by itself is tried again here; what
//! does not is a [`Failure`] that names record, namespace and the server's code, never a document.
//!
//! Lanes run at once, each with one command in flight. Statements that meet another document's unique value wait until
//! all lanes are done and are then tried one by one in the order of their records: their holder may have given it up.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use mongodb::{Client, bson::RawDocumentBuf, error::ErrorKind};
use tokio_util::sync::CancellationToken;

use super::{
    Metrics,
    batch::{Item, Statement},
    command::{self, Command, Verb},
    progress::Place,
    verdict,
};
use crate::{
    mongo,
    namespace::Namespace,
    retry::{Backoff, Failure, Verdict},
};

/// How long one command is tried again before the half starts anew, and shows that it is in trouble.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same while the daemon stops.
const PATIENCE_WHILE_STOPPING: Duration = Duration::from_secs(3);
/// Batches for which inserts go as replaces once most of them met a document that was there: a replay.
const REPLAY_BATCHES: u32 = 20;
/// Fewer inserts say nothing about the rest.
const MIN_INSERTS: usize = 10;

/// Where a sink writes.
pub struct Target {
    client: Client,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    /// Collections in which inserts meet what is there, and for how many more batches to expect that.
    replayed: HashMap<Arc<Namespace>, u32>,
}

/// What a lane could not bring to an end by itself.
#[derive(Default)]
struct Left {
    conflicts: Vec<(Item, i32)>,
    failure: Option<(Place, Failure)>,
    /// Inserts sent and inserts that met a document, by collection.
    inserts: HashMap<Arc<Namespace>, (usize, usize)>,
}

impl Target {
    /// A target; `stop` shortens its patience.
    pub fn new(client: Client, metrics: Arc<Metrics>, stop: CancellationToken) -> Self {
        Self { client, metrics, stop, replayed: HashMap::new() }
    }

    /// Writes a whole batch.
    ///
    /// # Errors
    /// When some of it cannot be written. The rest is, as far as possible.
    pub async fn write(&mut self, mut lanes: Vec<Vec<Item>>) -> Result<(), Failure> {
        let documents: usize = lanes.iter().map(Vec::len).sum();
        lanes.iter_mut().flatten().for_each(|item| self.expect_replay(item));
        let outcomes = join_all(lanes.into_iter().map(|lane| self.write_lane(lane))).await;
        let mut conflicts = Vec::new();
        let mut failures = Vec::new();
        let mut inserts: HashMap<Arc<Namespace>, (usize, usize)> = HashMap::new();
        for left in outcomes {
            let left = left?;
            conflicts.extend(left.conflicts);
            failures.extend(left.failure);
            for (namespace, (sent, met)) in left.inserts {
                let counts = inserts.entry(namespace).or_default();
                *counts = (counts.0 + sent, counts.1 + met);
            }
        }
        self.learn(inserts);
        // Of several, the one that the operator meets first in the topic.
        if let Some((_, failure)) = failures.into_iter().min_by(|(a, _), (b, _)| a.cmp(b)) {
            return Err(failure);
        }
        self.settle(conflicts).await?;
        self.metrics.documents.fetch_add(documents as u64, Relaxed);
        Ok(())
    }

    /// An insert into a collection that is being replayed costs less as a replace at once.
    fn expect_replay(&self, item: &mut Item) {
        if matches!(item.statement, Statement::Insert(_)) && self.replayed.contains_key(&item.namespace) {
            item.statement.insert_to_replace();
        }
    }

    fn learn(&mut self, inserts: HashMap<Arc<Namespace>, (usize, usize)>) {
        self.replayed.retain(|_, batches| {
            *batches -= 1;
            *batches > 0
        });
        for (namespace, (sent, met)) in inserts {
            if sent >= MIN_INSERTS && met * 2 > sent {
                self.replayed.insert(namespace, REPLAY_BATCHES);
            }
        }
    }

    async fn write_lane(&self, mut items: Vec<Item>) -> Result<Left, Failure> {
        let mut left = Left::default();
        let mut backoff = new_backoff();
        let began = Instant::now();
        loop {
            // Stable, so that the statements of one collection and verb stand together.
            items.sort_by(|a, b| order(a).cmp(&order(b)));
            let Round { again, passed_by_itself } = self.write_round(items, &mut left).await?;
            if again.is_empty() {
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

    /// Sends each item once.
    async fn write_round(&self, items: Vec<Item>, left: &mut Left) -> Result<Round, Failure> {
        let verdicts = self.send_all(&items, left).await?;
        let mut round = Round::default();
        for (mut item, verdict) in items.into_iter().zip(verdicts) {
            let Some((verdict, code)) = verdict else { continue };
            match verdict {
                verdict::Item::Again => round.passed_by_itself = true,
                verdict::Item::Replace => {
                    self.metrics.duplicates.fetch_add(1, Relaxed);
                    item.statement.insert_to_replace();
                }
                verdict::Item::Recreate if !item.is_recreated => {
                    item.is_recreated = true;
                    let command = command::build_deletes(&item.namespace, std::iter::once(&item.id));
                    self.send(&item.namespace, &item.place, command).await?;
                }
                verdict::Item::Conflict => {
                    left.conflicts.push((item, code));
                    continue;
                }
                verdict::Item::Recreate | verdict::Item::Stop => {
                    left.fail(&item, code);
                    continue;
                }
            }
            round.again.push(item);
        }
        Ok(round)
    }

    /// Sends each item once; what the server says to those that it refuses.
    async fn send_all(
        &self,
        items: &[Item],
        left: &mut Left,
    ) -> Result<Vec<Option<(verdict::Item, i32)>>, Failure> {
        let mut verdicts = Vec::with_capacity(items.len());
        let mut rest = items;
        while let Some(first) = rest.first() {
            let verb = Verb::of(&first.statement);
            let same = rest.partition_point(|item| order(item) == order(first));
            let command = command::build(verb, &first.namespace, &rest[..same]);
            let start = verdicts.len();
            let sent;
            (sent, rest) = rest.split_at(command.items);
            let reply = self.send(&first.namespace, &first.place, command).await?;
            verdicts.resize(start + sent.len(), None);
            let mut met = 0;
            for refused in &reply.refused {
                let judged = verdict::of_item(refused.code, verb == Verb::Insert, refused.is_on_id);
                met += usize::from(judged == verdict::Item::Replace);
                if let Some(slot) = verdicts[start..].get_mut(refused.index) {
                    *slot = Some((judged, refused.code));
                }
            }
            if verb == Verb::Insert {
                let counts = left.inserts.entry(Arc::clone(&first.namespace)).or_default();
                *counts = (counts.0 + sent.len(), counts.1 + met);
            }
        }
        Ok(verdicts)
    }

    /// Tries what met another document's unique value in the order of the records, as long as that helps.
    async fn settle(&self, mut conflicts: Vec<(Item, i32)>) -> Result<(), Failure> {
        while !conflicts.is_empty() {
            let before = conflicts.len();
            conflicts.sort_by(|(a, _), (b, _)| a.place.cmp(&b.place));
            let mut still = Vec::new();
            for (item, _) in conflicts {
                let left = Box::pin(self.write_lane(vec![item])).await?;
                if let Some((_, failure)) = left.failure {
                    return Err(failure);
                }
                still.extend(left.conflicts);
            }
            if still.len() == before {
                let (item, code) = &still[0];
                return Err(refusal(item, *code));
            }
            conflicts = still;
        }
        Ok(())
    }

    /// Sends a command until the server has taken it.
    async fn send(
        &self,
        namespace: &Namespace,
        place: &Place,
        command: Command,
    ) -> Result<command::Reply, Failure> {
        let Command { bytes, .. } = command;
        let command = RawDocumentBuf::from_bytes(bytes).expect("the writer ends its documents");
        let mut backoff = new_backoff();
        let began = Instant::now();
        loop {
            self.metrics.commands.fetch_add(1, Relaxed);
            let outcome = self.client.database(&namespace.db).run_raw_command(command.clone()).await;
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

/// What is left after each item was sent once.
#[derive(Default)]
struct Round {
    again: Vec<Item>,
    /// Whether some of it was refused for a reason that takes time to pass.
    passed_by_itself: bool,
}

impl Left {
    fn fail(&mut self, item: &Item, code: i32) {
        if self.failure.as_ref().is_none_or(|(place, _)| item.place < *place) {
            self.failure = Some((item.place.clone(), refusal(item, code)));
        }
    }
}

fn new_backoff() -> Backoff {
    Backoff::new(Duration::from_millis(50), Duration::from_secs(5))
}

fn order(item: &Item) -> (&Namespace, Verb) {
    (&item.namespace, Verb::of(&item.statement))
}

/// Why the server does not take this item's statement.
fn refusal(item: &Item, code: i32) -> Failure {
    refused(&item.namespace, &item.place.to_string(), code)
}

fn refused(namespace: &Namespace, place: &str, code: i32) -> Failure {
    let (name, remedy) = verdict::explain(code);
    Failure::stop(format!(
        "{place}: MongoDB refuses the write to {namespace} (code {code}, {name}); {remedy}"
    ))
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
        verdict::Command::Stop => Err(refused(namespace, &format!("at or after {place}"), code)),
    }
}
