//! Stored positions: what a source reads when it starts and writes as it goes.
//!
//! A checkpoint says who wrote it: two processes that store for one source are detected, by the store, when one finds
//! the other's checkpoint where its own should be. They are not fenced.

mod file;
mod kafka;
mod keeper;
mod mongodb;
mod stored;

pub use self::{
    file::FileStore,
    kafka::KafkaStore,
    keeper::{Identity, Keeper},
    mongodb::MongodbStore,
};
use crate::{
    config::{self, CheckpointStore},
    position::Position,
    retry::Failure,
    source::publish::Publisher,
};

/// The name of a source's checkpoint: of the topic, of the document, of the file.
pub fn name(pipeline: &str, source: &str) -> String {
    format!("millrace.{pipeline}.{source}.checkpoint")
}

/// A position with what tells whether it may be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The position.
    pub position: Position,
    /// The deployment's id, where it could be read.
    pub deployment: Option<String>,
    /// The process that stored it.
    pub owner: String,
    /// One more than that of the checkpoint which the process found when it started: who has the higher one is newer.
    pub epoch: u64,
}

/// Where the checkpoint of one source is kept.
pub enum Store {
    /// In a compacted topic.
    Kafka(KafkaStore),
    /// In a collection.
    Mongodb(MongodbStore),
    /// In a file.
    File(FileStore),
}

impl Store {
    /// The store that `settings` name, for the checkpoint called `name`.
    ///
    /// # Errors
    /// When it cannot be used.
    pub async fn open(
        settings: &config::Checkpoint,
        kafka: &config::Kafka,
        name: String,
    ) -> Result<Self, Failure> {
        Ok(match &settings.store {
            CheckpointStore::Kafka => Self::Kafka(KafkaStore::new(kafka.clone(), name)),
            CheckpointStore::Mongodb { mongodb, namespace } => {
                Self::Mongodb(MongodbStore::new(mongodb, namespace, name).await?)
            }
            CheckpointStore::File { directory } => Self::File(FileStore::new(directory, &name)?),
        })
    }

    /// The stored checkpoint, if there is one. From here on a store by somebody else is noticed.
    ///
    /// # Errors
    /// When the store cannot be read, or what it holds is no checkpoint.
    pub async fn load(&mut self, publisher: &Publisher) -> Result<Option<Checkpoint>, Failure> {
        match self {
            Self::Kafka(store) => store.load(publisher).await,
            Self::Mongodb(store) => store.load().await,
            Self::File(store) => store.load(),
        }
    }

    /// Makes `checkpoint` durable.
    ///
    /// # Errors
    /// When that failed, or when somebody else has stored since.
    pub async fn store(&mut self, publisher: &Publisher, checkpoint: &Checkpoint) -> Result<(), Failure> {
        match self {
            Self::Kafka(store) => store.store(publisher, checkpoint).await,
            Self::Mongodb(store) => store.store(checkpoint).await,
            Self::File(store) => store.store(checkpoint),
        }
    }

    /// Where the checkpoint is, for messages.
    pub fn place(&self) -> String {
        match self {
            Self::Kafka(store) => store.place(),
            Self::Mongodb(store) => store.place(),
            Self::File(store) => store.place(),
        }
    }
}

/// Somebody else has stored for this source: the newer process wins and this one stays down.
fn taken(place: &str, owner: &str) -> Failure {
    Failure::stop(format!(
        "another process ({owner}) now stores the checkpoint in {place}; run each source once, or give the pipelines \
         different names"
    ))
}
