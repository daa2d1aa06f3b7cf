//! Taking over from Kafka Connect: a source's position is read once from Connect's offsets topic, and stored as the
//! source's checkpoint; a sink's offsets are those of the connector's consumer group.
//!
//! A source connector has to be stopped: while its workers' group has members it may still store, and send. After a clean stop
//! there is no gap and no repeat; after any other, what the connector sent since it last stored (every
//! `offset.flush.interval.ms`) is sent again. A copy that the connector had not finished is made anew, as a snapshot.

mod groups;
mod offsets;

use std::collections::BTreeMap;

use mongodb::Client;
use rdkafka::Message;

pub use self::{
    groups::{SinkConnector, TakenOffsets},
    offsets::{Offset, Stored, read},
};
use crate::{
    app::owner,
    checkpoint::{self, Identity, Store},
    config::{self, Settings},
    kafka, mongo,
    position::Position,
    retry::Failure,
    source::{self, publish::Publisher},
};

/// Bytes in flight of a producer that sends one checkpoint.
const PRODUCER_BYTES: usize = 1 << 20;

/// Where the workers keep positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// `offset.storage.topic`.
    pub offsets_topic: String,
    /// `group.id`.
    pub group: String,
}

/// A connector whose position is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connector {
    /// Its name.
    pub name: String,
    /// What it calls the deployment in its offsets, where that can be told.
    pub partition: Option<String>,
    /// The source that goes on in its place.
    pub source: String,
}

/// What is to be taken over.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where the workers keep positions; needed where there are sources.
    pub worker: Option<Worker>,
    /// Source connectors.
    pub sources: Vec<Connector>,
    /// Sink connectors.
    pub sinks: Vec<SinkConnector>,
    /// Whether the user knows that the source connectors are stopped, though the workers go on.
    pub is_stopped: bool,
}

/// What was taken over for a source.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The connector's name.
    pub connector: String,
    /// The source's position.
    pub position: Position,
    /// Where it is stored.
    pub place: String,
}

/// Stores the positions of what is wanted as checkpoints of the sources in `settings`, and commits the offsets for its sinks.
///
/// # Errors
/// When a group has members, a position is missing or ambiguous, or a server does not answer. Then nothing is stored,
/// unless it is the storing itself that fails.
pub async fn take_over(
    settings: &Settings,
    wanted: &Wanted,
) -> Result<(Vec<Taken>, Vec<TakenOffsets>), Failure> {
    let mut found = Vec::new();
    for connector in &wanted.sources {
        let source = settings.sources.iter().find(|source| source.name == connector.source);
        let source = source
            .ok_or_else(|| Failure::stop(format!("there is no source for connector {}", connector.name)))?;
        let worker = wanted.worker.as_ref();
        let worker =
            worker.ok_or_else(|| Failure::stop("it is not known where the workers keep positions"))?;
        let offsets = look(&source.kafka, worker, wanted.is_stopped).await?;
        found.push((source, offsets::choose(connector, &worker.offsets_topic, &offsets)?));
    }
    let groups = groups::look(settings, &wanted.sinks).await?;
    let mut taken = Vec::new();
    for ((source, stored), connector) in found.into_iter().zip(&wanted.sources) {
        let (position, place) = store(settings, source, stored).await?;
        taken.push(Taken { connector: connector.name.clone(), position, place });
    }
    Ok((taken, groups::store(groups).await?))
}

/// The last value of each key of the offsets topic, once the connectors are stopped.
async fn look(
    settings: &config::Kafka,
    worker: &Worker,
    is_stopped: bool,
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Failure> {
    let (settings, Worker { offsets_topic, group }) = (settings.clone(), worker.clone());
    let looking = tokio::task::spawn_blocking(move || {
        let context = kafka::Context::new("import");
        let mut reader = kafka::Reader::open(&settings, &context, &offsets_topic)?;
        let members = if is_stopped { 0 } else { reader.group_members(&group)? };
        if members > 0 {
            return Err(Failure::stop(format!(
                "the workers' group {group} has {members} members: the connectors may still be running. Stop the \
                 workers; or stop the connectors (PUT /connectors/NAME/stop) and say --connector-stopped"
            )));
        }
        if reader.partitions()?.is_empty() {
            return Err(Failure::stop(format!(
                "there is no topic {offsets_topic} in this cluster (offset.storage.topic of the worker)"
            )));
        }
        reader.assign_all()?;
        let mut last = BTreeMap::new();
        while let Some(message) = reader.read()? {
            let Some(key) = message.key().map(<[u8]>::to_vec) else { continue };
            match message.payload() {
                Some(value) => last.insert(key, value.to_vec()),
                None => last.remove(&key),
            };
        }
        reader.close();
        Ok(last)
    });
    looking.await.map_err(|error| Failure::retry(format!("reading the offsets topic: {error}")))?
}

/// Makes the position durable, over whatever is stored for the source.
async fn store(
    settings: &Settings,
    source: &config::Source,
    stored: Stored,
) -> Result<(Position, String), Failure> {
    let client: Client = mongo::client(&source.mongodb).await?;
    let deployment = mongo::deployment_id(&client).await?;
    let publisher =
        Publisher::open("import", &source.kafka, &source::publish::Sizes::default(), PRODUCER_BYTES)?;
    let name = checkpoint::name(&settings.name, &source.name);
    let mut store = Store::open(&settings.checkpoint, &source.kafka, name).await?;
    let before = store.load(&publisher).await?;
    let generation = before.as_ref().map_or(0, |before| before.position.generation + 1);
    let position = match stored {
        Stored::Token(token) => Position::at_time(generation, config::ClusterTime::default()).after(token),
        Stored::Copying => {
            source::with_everything(&client, source, &source::now(&client, generation).await?).await?
        }
    };
    let epoch = before.map_or(0, |before| before.epoch) + 1;
    let identity = Identity { deployment, owner: owner(), epoch };
    store.store(&publisher, &identity.checkpoint(position.clone())).await?;
    let place = store.place();
    kafka::drop_aside(publisher);
    Ok((position, place))
}
