//! Where the changes of a namespace go: its plan, the topic's handle, and what the topic takes.

use std::{collections::HashMap, sync::Arc};

use crate::{
    config,
    retry::Failure,
    source::{
        dead_letter::Most,
        publish::{Publisher, Record, Sizes, Topic, compresses},
        stages::Plan,
    },
};

/// A topic's limit is asked for when the first record comes that is larger than this. No sensible topic takes less, and
/// asking costs a client of its own; where one does take less, its first refusal tells.
const ASK_FROM_BYTES: usize = 64 << 10;

/// Where the changes of a namespace, or dead letters, go.
pub(super) struct Destination {
    pub(super) plan: Plan,
    pub(super) topic: Topic,
    pub(super) partition: Option<i32>,
    pub(super) most: Most,
    asked: bool,
}

/// Looks destinations up, and finds them out.
pub(super) struct Finder {
    publisher: Arc<Publisher>,
    sizes: Arc<Sizes>,
    creation: Option<config::TopicCreation>,
    /// Whether only brokers know how large a record is for them.
    compresses: bool,
}

impl Finder {
    pub(super) fn new(settings: &config::Source, publisher: &Arc<Publisher>, sizes: &Arc<Sizes>) -> Self {
        Self {
            publisher: Arc::clone(publisher),
            sizes: Arc::clone(sizes),
            creation: settings.topics.creation.clone(),
            compresses: compresses(&settings.kafka),
        }
    }

    /// The destination of `plan`, whose topic is created if it is not there.
    pub(super) async fn find(&self, plan: Plan) -> Result<Destination, Failure> {
        self.find_as(plan, self.creation.as_ref()).await
    }

    /// The destination of what is no change: dead letters, heartbeats. Properties of other topics are not theirs:
    /// compaction would keep one of each key.
    pub(super) async fn find_own(&self, topic: &str) -> Result<Destination, Failure> {
        let creation = self.creation.as_ref().map(|creation| config::TopicCreation {
            config: std::collections::BTreeMap::new(),
            ..creation.clone()
        });
        let mut destination = self.find_as(Plan::of_topic(topic), creation.as_ref()).await?;
        self.ask(&mut destination).await?;
        Ok(destination)
    }

    async fn find_as(
        &self,
        plan: Plan,
        creation: Option<&config::TopicCreation>,
    ) -> Result<Destination, Failure> {
        // What was sent need not wait for as long as the cluster takes to answer.
        self.publisher.hurry();
        let place = self.publisher.place(&plan.topic, creation).await?;
        let partition = plan.partition_hash.and_then(|hash| place.partition(hash));
        let known = self.sizes.known(&plan.topic);
        let most = Most { batch: None, refused: known.refused_bytes };
        let mut destination = Destination { plan, topic: place.topic, partition, most, asked: false };
        if known.is_suspect {
            self.ask(&mut destination).await?;
        }
        Ok(destination)
    }

    /// Whether the limit of `destination` has to be known before `record` is sent there.
    pub(super) fn has_to_ask(&self, destination: &Destination, record: &Record<'_>) -> bool {
        !destination.asked && !self.compresses && record.bytes() > ASK_FROM_BYTES
    }

    /// Finds out what the topic takes.
    ///
    /// # Errors
    /// When it takes less than a batch may have: the source starts again with smaller ones.
    pub(super) async fn ask(&self, destination: &mut Destination) -> Result<(), Failure> {
        destination.asked = true;
        let topic = &destination.plan.topic;
        let Some(limit) = self.publisher.limit(topic).await? else { return Ok(()) };
        let batch_bytes = self.publisher.batch_bytes();
        if limit < batch_bytes && self.sizes.limit_batches(limit) {
            return Err(Failure::retry(format!(
                "topic {topic} takes batches of at most {limit} bytes, and they may have {batch_bytes} now; starting \
                 again with smaller ones"
            )));
        }
        if !self.compresses {
            destination.most.batch = Some(limit);
        }
        Ok(())
    }
}

/// Destinations by namespace. The changes of one namespace often come in runs.
#[derive(Default)]
pub(super) struct Destinations {
    all: Vec<Destination>,
    by_namespace: HashMap<String, usize>,
    /// The one that was looked up last.
    last: usize,
    /// Scratch space for looking up `by_namespace`.
    namespace: String,
}

impl Destinations {
    /// The number of the namespace's destination.
    pub(super) fn find(&mut self, db: &str, coll: Option<&str>) -> Option<usize> {
        if self.all.get(self.last).is_some_and(|last| is_namespace(&last.plan.namespace, db, coll)) {
            return Some(self.last);
        }
        self.namespace.clear();
        self.namespace.push_str(db);
        if let Some(coll) = coll {
            self.namespace.push('.');
            self.namespace.push_str(coll);
        }
        self.last = *self.by_namespace.get(&self.namespace)?;
        Some(self.last)
    }

    /// Keeps one under its namespace; gives its number.
    pub(super) fn add(&mut self, destination: Destination) -> usize {
        self.last = self.all.len();
        self.by_namespace.insert(destination.plan.namespace.clone(), self.last);
        self.all.push(destination);
        self.last
    }

    pub(super) fn get(&self, number: usize) -> &Destination {
        &self.all[number]
    }

    pub(super) fn get_mut(&mut self, number: usize) -> &mut Destination {
        &mut self.all[number]
    }
}

/// Whether `namespace` is `db.coll`, or `db`. Names of databases have no dots.
fn is_namespace(namespace: &str, db: &str, coll: Option<&str>) -> bool {
    match (namespace.strip_prefix(db), coll) {
        (Some(rest), Some(coll)) => rest.strip_prefix('.') == Some(coll),
        (Some(rest), None) => rest.is_empty(),
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_told_from_others_that_begin_like_it() {
        for (namespace, db, coll, expected) in [
            ("shop.orders", "shop", Some("orders"), true),
            ("shop.orders.eu", "shop", Some("orders.eu"), true),
            ("shop.orders.eu", "shop", Some("orders"), false),
            ("shop.orders", "shop", None, false),
            ("shop", "shop", None, true),
            ("shop2", "shop", None, false),
            ("shop", "shop", Some(""), false),
        ] {
            assert_eq!(is_namespace(namespace, db, coll), expected, "{namespace} {db} {coll:?}");
        }
    }
}
