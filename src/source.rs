//! MongoDB → Kafka: one loop over the stages below.
//!
//! ```text
//! watch ▶ decode ▶ encode ▶ route ▶ publish ▶ progress ▶ checkpoint
//! ```
//!
//! `watch` reads ahead in a task of its own. Everything between a reply and librdkafka's queue happens in the loop, on
//! the reply's own bytes. Positions move only over what Kafka has acknowledged, and `checkpoint` stores them beside the
//! loop. The first record that cannot be sent ends the source; it starts again from its checkpoint.

pub mod decode;
pub mod encode;
mod metrics;
pub mod progress;
pub mod publish;
pub mod route;
pub mod watch;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mongodb::Client;
use rdkafka::error::RDKafkaErrorCode;
use tokio_util::sync::CancellationToken;

pub use self::metrics::Metrics;
use self::{
    decode::Change,
    encode::{Buffers, Encoded, Encoder},
    progress::Progress,
    publish::{MAX_GROUPS, Publisher, Record, Topic},
    watch::{Batch, Watcher},
};
use crate::{
    checkpoint::{self, Checkpoint, Identity, Keeper, Store},
    config::{self, CheckpointStore, ClusterTime, Start},
    kafka, mongo,
    position::{Position, ResumeToken},
    raw,
    retry::{Failure, Verdict},
};

/// A group closes at this many records…
const GROUP_RECORDS: usize = 512;
/// …or this many bytes of records, whichever comes first.
const GROUP_BYTES: usize = 256 << 10;

/// How long a source that has failed may take to store its last position.
const LAST_STORE: Duration = Duration::from_secs(3);

/// Times that a starting source tries to sign its checkpoint while somebody else stores.
const CLAIM_ATTEMPTS: u32 = 3;

/// What a source needs to run, over all of its restarts.
#[derive(Clone)]
pub struct Context {
    /// The half's settings.
    pub settings: Arc<config::Source>,
    /// The pipeline's name.
    pub pipeline: String,
    /// This process, as it signs checkpoints.
    pub owner: String,
    /// Whether whole resume tokens may be logged.
    pub identifiers: bool,
    /// Where and how often positions are stored.
    pub checkpoint: config::Checkpoint,
    /// This half's share of the byte budget: half of it for replies that wait, half for records on their way.
    pub memory_bytes: usize,
    /// Counters and gauges.
    pub metrics: Arc<Metrics>,
    /// Cancelled when the source has to drain and return.
    pub stop: CancellationToken,
    /// Set while the source is connected and reading.
    pub ready: Arc<AtomicBool>,
}

/// Runs the source on the deployment behind `client` until it is told to stop (then all that was sent is acknowledged and
/// the position stored) or fails.
///
/// # Errors
/// What ended it, with the verdict on starting it again.
pub async fn run(client: Client, context: Context) -> Result<(), Failure> {
    let half = format!("source {}", context.settings.name);
    let in_flight_bytes = context.memory_bytes / 2;
    let publisher = Arc::new(Publisher::open(&half, &context.settings.kafka, in_flight_bytes)?);
    let outcome = run_with(&client, &context, &publisher, in_flight_bytes).await;
    context.ready.store(false, Ordering::Relaxed);
    kafka::drop_aside(publisher);
    outcome
}

async fn run_with(
    client: &Client,
    context: &Context,
    publisher: &Arc<Publisher>,
    in_flight_bytes: usize,
) -> Result<(), Failure> {
    // A checkpoint in Kafka is looked for next, which shows whether the cluster is there.
    let reached = async {
        match context.checkpoint.store {
            CheckpointStore::Kafka => Ok(()),
            _ => publisher.reach().await,
        }
    };
    let (deployment, ()) = tokio::try_join!(mongo::deployment_id(client), reached)?;
    let identity = Identity { deployment, owner: context.owner.clone(), epoch: 0 };
    let (store, identity, position) = start_position(client, context, identity, publisher).await?;
    let metrics = &context.metrics;
    metrics.started(&position);
    let keeper = Keeper::start(
        store,
        Arc::clone(publisher),
        identity,
        context.checkpoint.interval,
        Arc::clone(metrics),
    );
    let watcher = Watcher::start(
        client.clone(),
        Arc::clone(&context.settings),
        position.clone(),
        context.memory_bytes - in_flight_bytes,
        Arc::clone(metrics),
    );
    let mut flow = Flow {
        settings: &context.settings,
        metrics,
        publisher,
        keeper,
        encoder: Encoder { format: context.settings.format, value: context.settings.value },
        buffers: Buffers::default(),
        topics: HashMap::new(),
        namespace: String::new(),
        progress: Progress::default(),
        read: position,
        records_sent: 0,
        in_flight_bytes,
    };
    let outcome = flow.run(watcher, &context.stop, &context.ready).await;
    let stored = flow.keeper.finish();
    match outcome {
        Ok(()) => stored.await,
        // What is acknowledged need not be sent again, if it can be noted now.
        Err(failure) => {
            if !matches!(tokio::time::timeout(LAST_STORE, stored).await, Ok(Ok(()))) {
                tracing::debug!(source = context.settings.name, "the last position was not stored");
            }
            Err(failure)
        }
    }
}

/// Loads the checkpoint, or makes the first one, and signs it.
///
/// The position from which a source starts is durable before the first record is sent: a crash right after the start
/// must not start at a later "latest".
async fn start_position(
    client: &Client,
    context: &Context,
    mut identity: Identity,
    publisher: &Publisher,
) -> Result<(Store, Identity, Position), Failure> {
    let name = checkpoint::name(&context.pipeline, &context.settings.name);
    let mut store = match &context.checkpoint.store {
        CheckpointStore::Kafka => {
            Store::Kafka(checkpoint::KafkaStore::new(context.settings.kafka.clone(), name))
        }
        CheckpointStore::Mongodb { mongodb, namespace } => {
            Store::Mongodb(checkpoint::MongodbStore::new(mongodb, namespace, name).await?)
        }
        CheckpointStore::File { directory } => Store::File(checkpoint::FileStore::new(directory, &name)?),
    };
    let mut attempts_left = CLAIM_ATTEMPTS;
    loop {
        let found = store.load(publisher).await?;
        identity.epoch = found.as_ref().map_or(0, |found| found.epoch) + 1;
        let position = stored_or_first(client, context, &identity, &store.place(), found).await?;
        attempts_left -= 1;
        match store.store(publisher, &identity.checkpoint(position.clone())).await {
            Ok(()) => return Ok((store, identity, position)),
            // What the last process sent before it died may have arrived just now.
            Err(failure) if failure.verdict == Verdict::Stop && attempts_left > 0 => {
                tracing::warn!(source = context.settings.name, "reading the checkpoint again: {failure}");
            }
            Err(failure) => return Err(failure),
        }
    }
}

async fn stored_or_first(
    client: &Client,
    context: &Context,
    identity: &Identity,
    place: &str,
    found: Option<Checkpoint>,
) -> Result<Position, Failure> {
    let source = &context.settings.name;
    if let Some(found) = found {
        check_deployment(place, found.deployment.as_deref(), identity.deployment.as_deref())?;
        let token = found.position.token.as_ref().filter(|_| context.identifiers).map(ResumeToken::data);
        tracing::info!(source, position = %found.position, token, from = place, "resuming");
        return Ok(found.position);
    }
    let time = match context.settings.start {
        Start::At(time) => time,
        Start::Latest => {
            let ClusterTime { seconds, increment } = mongo::operation_time(client).await?;
            ClusterTime { seconds, increment: increment + 1 }
        }
    };
    tracing::warn!(source, %time, place, "no checkpoint; starting where the configuration says");
    Ok(Position::at_time(0, time))
}

fn check_deployment(place: &str, stored: Option<&str>, current: Option<&str>) -> Result<(), Failure> {
    match (stored, current) {
        (Some(stored), Some(current)) if stored != current => Err(Failure::stop(format!(
            "the checkpoint in {place} belongs to another MongoDB deployment (replica set id {stored}, connected to \
             {current}); check the uri, or remove the checkpoint to start anew"
        ))),
        (_, None) => {
            tracing::warn!(
                place,
                "may not read the deployment's id; a checkpoint of another deployment would not be noticed (grant \
                 clusterMonitor)"
            );
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The loop's state.
struct Flow<'a> {
    settings: &'a config::Source,
    metrics: &'a Metrics,
    publisher: &'a Publisher,
    keeper: Keeper,
    encoder: Encoder,
    buffers: Buffers,
    /// Topic handles by namespace (`db.coll`, or `db`).
    topics: HashMap<String, Topic>,
    /// Scratch space for looking up `topics`.
    namespace: String,
    progress: Progress,
    /// Where the stream stands after the last event that was handed on.
    read: Position,
    records_sent: u64,
    in_flight_bytes: usize,
}

/// A group that is being filled.
#[derive(Default)]
struct Group {
    number: u64,
    records: usize,
    bytes: usize,
}

impl Flow<'_> {
    async fn run(
        &mut self,
        mut watcher: Watcher,
        stop: &CancellationToken,
        ready: &AtomicBool,
    ) -> Result<(), Failure> {
        loop {
            tokio::select! {
                batch = watcher.next() => {
                    let batch = batch?;
                    ready.store(true, Ordering::Relaxed);
                    self.publish(&batch).await?;
                }
                () = self.publisher.reports().changed() => self.account()?,
                failure = self.keeper.failed() => return Err(failure),
                () = stop.cancelled() => break,
            }
        }
        // What was read ahead is dropped; what was sent is waited for.
        drop(watcher);
        while !self.progress.is_empty() {
            self.wait_for_room().await?;
        }
        Ok(())
    }

    /// Hands all events of a reply to Kafka, in groups.
    async fn publish(&mut self, batch: &Batch) -> Result<(), Failure> {
        let mut group = self.begin_group();
        for element in self.malformed(batch.events())?.elements() {
            let event = self.malformed(element)?.as_document();
            let event = self.malformed(event.ok_or(raw::Error { at: 0, what: "an event is no document" }))?;
            let change = decode::decode(event).map_err(|error| {
                Failure::stop(format!("source {}: after {}: {error}", self.settings.name, self.read))
            })?;
            self.publish_change(&change, &mut group).await?;
            if group.records >= GROUP_RECORDS || group.bytes >= GROUP_BYTES {
                self.read = self.read.after(self.malformed(ResumeToken::new(change.token))?);
                self.end_group(&group, self.read.clone()).await?;
                group = self.begin_group();
            }
        }
        self.read = batch.after.clone();
        self.end_group(&group, self.read.clone()).await?;
        self.account()
    }

    async fn publish_change(&mut self, change: &Change<'_>, group: &mut Group) -> Result<(), Failure> {
        let Some(db) = change.db else {
            tracing::info!(
                source = self.settings.name,
                operation = change.operation,
                "event without a namespace"
            );
            return Ok(());
        };
        self.metrics.event(change.time);
        let encoded = self.encoder.encode(change, &mut self.buffers).map_err(|error| {
            let place = self.place(change);
            Failure::stop(format!(
                "{place}: cannot be written as {:?}: {error}; use format = \"bson\", or exclude the collection",
                self.encoder.format
            ))
        })?;
        let order = match encoded {
            Encoded::Nothing => return Ok(()),
            Encoded::Record { order } | Encoded::Tombstone { order } => order,
        };
        let is_tombstone = matches!(encoded, Encoded::Tombstone { .. });
        self.find_topic(db, change.coll).await?;
        let bytes = self.buffers.key.len() + if is_tombstone { 0 } else { self.buffers.value.len() };
        loop {
            let topic = self.topics.get(&self.namespace).expect("found above");
            let value = (!is_tombstone).then_some(self.buffers.value.as_slice());
            let record = Record { key: &self.buffers.key, value, order };
            match self.publisher.send(topic, record, group.number) {
                Ok(()) => break,
                Err(RDKafkaErrorCode::QueueFull) => self.wait_for_room().await?,
                Err(code) => {
                    let place = self.place(change);
                    return Err(kafka::failure(&format!("{place}: a record of {bytes} bytes"), code));
                }
            }
        }
        group.records += 1;
        group.bytes += bytes;
        self.metrics.sent(bytes);
        Ok(())
    }

    /// Puts the change's namespace into `self.namespace` and its topic's handle into `self.topics`.
    async fn find_topic(&mut self, db: &str, coll: Option<&str>) -> Result<(), Failure> {
        self.namespace.clear();
        self.namespace.push_str(db);
        if let Some(coll) = coll {
            self.namespace.push('.');
            self.namespace.push_str(coll);
        }
        if !self.topics.contains_key(&self.namespace) {
            let name = route::topic(&self.settings.topic, db, coll)
                .map_err(|error| Failure::stop(format!("source {}: {error}", self.settings.name)))?;
            let topic = self.publisher.topic(&name).await?;
            self.topics.insert(self.namespace.clone(), topic);
        }
        Ok(())
    }

    fn begin_group(&self) -> Group {
        let number = self.progress.next_number();
        self.publisher.begin_group(number);
        Group { number, ..Group::default() }
    }

    /// Closes the group, whose last event is at `after`, and waits until there is room for the next one.
    async fn end_group(&mut self, group: &Group, after: Position) -> Result<(), Failure> {
        self.publisher.end_group(group.number);
        self.progress.push(after, group.bytes);
        self.records_sent += group.records as u64;
        while self.progress.bytes() > self.in_flight_bytes || self.progress.len() >= MAX_GROUPS - 1 {
            self.wait_for_room().await?;
        }
        Ok(())
    }

    /// Waits for an acknowledgement, a failure, or a moment.
    async fn wait_for_room(&mut self) -> Result<(), Failure> {
        tokio::select! {
            () = self.publisher.reports().changed() => {}
            () = tokio::time::sleep(publish::QUEUE_FULL_PAUSE) => {}
            failure = self.keeper.failed() => return Err(failure),
        }
        self.account()
    }

    /// Moves the safe position over what is acknowledged; fails with the first record that was not delivered.
    fn account(&mut self) -> Result<(), Failure> {
        let reports = self.publisher.reports();
        if let Some(position) = self.progress.advance(|number| reports.is_done(number)) {
            self.metrics.acknowledged(&position);
            self.keeper.offer(position, self.records_sent);
        }
        self.metrics.in_flight(self.progress.bytes());
        let Some(undelivered) = reports.undelivered() else { return Ok(()) };
        let group = self.progress.numbers().find(|number| undelivered.is_in_group(*number));
        let place = group.and_then(|number| self.progress.after(number)).unwrap_or(&self.read);
        let what = format!(
            "source {}: a record of {} bytes for topic {}, at or before {place}",
            self.settings.name, undelivered.bytes, undelivered.topic
        );
        Err(reports.context().failure(&what, undelivered.code))
    }

    /// Where a change is, for messages.
    fn place(&self, change: &Change<'_>) -> String {
        let time = change.time.unwrap_or_default();
        let coll = change.coll.map_or_else(String::new, |coll| format!(".{coll}"));
        format!("source {}: {}{coll} at cluster time {time}", self.settings.name, change.db.unwrap_or("?"))
    }

    fn malformed<T>(&self, outcome: Result<T, raw::Error>) -> Result<T, Failure> {
        outcome.map_err(|error| {
            Failure::stop(format!("source {}: after {}: {error}", self.settings.name, self.read))
        })
    }
}
