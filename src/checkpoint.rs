//! Stored positions: what a source reads when it starts and writes as it goes.
//!
//! A checkpoint says who wrote it: two processes that store for one source are detected, by the store, when one finds
//! the other's checkpoint where its own should be. They are not fenced.

mod file;
mod kafka;
mod keeper;
mod mongodb;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};

pub use self::{
    file::FileStore,
    kafka::KafkaStore,
    keeper::{Identity, Keeper},
    mongodb::MongodbStore,
};
use crate::{
    config::ClusterTime,
    position::{Position, ResumeToken},
    raw::Document,
    retry::Failure,
    source::publish::Publisher,
};

/// The version of the stored form that this program writes, and the only one that it reads.
const VERSION: u32 = 1;

/// The name of a source's checkpoint: of the topic, of the document, of the file.
pub fn name(pipeline: &str, source: &str) -> String {
    format!("millrace.{pipeline}.{source}.checkpoint")
}

/// A position with what tells whether it may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// The stored form: JSON, the same in every store.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stored {
    version: u32,
    owner: String,
    epoch: u64,
    deployment: Option<String>,
    generation: u64,
    /// Seconds and increment.
    cluster_time: (u32, u32),
    /// BSON of the resume token in base64.
    token: Option<String>,
}

impl Checkpoint {
    /// The stored form.
    pub fn to_json(&self) -> String {
        let Position { generation, time, token } = &self.position;
        let stored = Stored {
            version: VERSION,
            owner: self.owner.clone(),
            epoch: self.epoch,
            deployment: self.deployment.clone(),
            generation: *generation,
            cluster_time: (time.seconds, time.increment),
            token: token.as_ref().map(|token| BASE64.encode(token.as_bytes())),
        };
        serde_json::to_string(&stored).expect("plain data always serialises")
    }

    /// Reads the stored form; `place` names it in errors.
    ///
    /// # Errors
    /// When it is not a checkpoint of this version.
    pub fn from_json(place: &str, text: &[u8]) -> Result<Self, Failure> {
        let damaged = |reason: String| {
            Failure::stop(format!(
                "the checkpoint in {place} cannot be read ({reason}); nothing was changed. Restore it, or remove it to \
                 start without one"
            ))
        };
        let stored: Stored = serde_json::from_slice(text).map_err(|error| damaged(error.to_string()))?;
        if stored.version != VERSION {
            return Err(damaged(format!("version {}, this program reads version {VERSION}", stored.version)));
        }
        let token = stored
            .token
            .map(|token| {
                let bytes = BASE64.decode(token).map_err(|error| damaged(error.to_string()))?;
                let document = Document::new(&bytes).map_err(|error| damaged(error.to_string()))?;
                ResumeToken::new(document).map_err(|error| damaged(error.to_string()))
            })
            .transpose()?;
        let (seconds, increment) = stored.cluster_time;
        let time = ClusterTime { seconds, increment };
        Ok(Self {
            position: Position { generation: stored.generation, time, token },
            deployment: stored.deployment,
            owner: stored.owner,
            epoch: stored.epoch,
        })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let start = Position::at_time(3, ClusterTime { seconds: 7, increment: 2 });
        let token = crate::position::tests::token("826B039A370000001F2B02");
        Checkpoint {
            position: start.after(token),
            deployment: Some("ab".into()),
            owner: "me".into(),
            epoch: 4,
        }
    }

    #[test]
    fn what_is_stored_is_read_back() {
        let with_token = checkpoint();
        let mut without = with_token.clone();
        without.position.token = None;
        without.deployment = None;
        for checkpoint in [with_token, without] {
            let read = Checkpoint::from_json("x", checkpoint.to_json().as_bytes()).expect("reads");
            assert_eq!(read, checkpoint);
        }
    }

    #[test]
    fn what_is_no_checkpoint_stops_the_source() {
        let future = checkpoint().to_json().replace("\"version\":1", "\"version\":2");
        for text in
            ["", "{}", "[]", &future, &checkpoint().to_json().replace("\"token\":\"", "\"token\":\"A")]
        {
            let failure = Checkpoint::from_json("topic t", text.as_bytes()).expect_err("refused");
            assert_eq!(failure.verdict, crate::retry::Verdict::Stop);
            assert!(failure.message.contains("topic t"), "{failure}");
        }
    }
}
