//! The pure stages between a decoded change and what is sent: route and encode, made from the settings once.

use super::{
    decode::Change,
    encode::{self, Buffers, Encoded, Encoder},
    route,
};
use crate::config;

/// The stages of one source.
#[derive(Debug)]
pub struct Stages {
    encoder: Encoder,
    topics: config::Topics,
}

/// What all changes of a namespace have in common.
#[derive(Debug)]
pub struct Plan {
    /// Their topic.
    pub topic: String,
}

impl Stages {
    /// The stages as the settings have them.
    pub fn new(settings: &config::Source) -> Self {
        Self { encoder: Encoder::new(&settings.record), topics: settings.topics.clone() }
    }

    /// What changes of this namespace have in common; made once for each.
    ///
    /// # Errors
    /// When the topic's name is not one.
    pub fn plan(&self, db: &str, coll: Option<&str>) -> Result<Plan, route::Error> {
        Ok(Plan { topic: route::topic(&self.topics, db, coll)? })
    }

    /// Writes the record of `change`, whose namespace has this plan, into `buffers`.
    ///
    /// # Errors
    /// When the format cannot hold the change.
    pub fn encode<'a>(
        &self,
        change: &Change<'a>,
        _plan: &Plan,
        buffers: &mut Buffers,
    ) -> Result<Encoded<'a>, encode::Error> {
        self.encoder.encode(change, buffers)
    }
}
