//! What a tool is asked to do, in no tool's words: each side has it from here. Pure.

use bson::Timestamp;
use serde::{Deserialize, Serialize};

use crate::load::Value;

/// Changes of a database to topics, records of a topic to a collection, or both.
#[derive(Clone, Debug, Default)]
pub(crate) struct Job {
    pub(crate) source: Option<Source>,
    pub(crate) sink: Option<Sink>,
}

/// Changes → one topic for each collection, called `PREFIX.DB.COLL`.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) capture: Capture,
    pub(crate) topic_prefix: String,
    /// Whether records are to be sent at once, where a tool is otherwise told to gather more of them.
    pub(crate) is_prompt: bool,
}

/// What is read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Capture {
    pub(crate) db: String,
    /// One collection; without, all of the database.
    pub(crate) coll: Option<String>,
    pub(crate) begin: Begin,
    /// Whether updates carry the document as it is when they are read.
    pub(crate) has_lookup: bool,
    /// Whether updates, replaces and deletes carry the document as it was before.
    pub(crate) has_before: bool,
}

/// Where a tool begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Begin {
    /// With the changes from a place of the oplog on.
    At {
        /// Its time.
        time: Timestamp,
        /// A resume token of that place, as a document in base64.
        token: String,
    },
    /// With a copy of what is there.
    Copy,
}

/// Records of a topic with one partition → one collection.
#[derive(Clone, Debug)]
pub(crate) struct Sink {
    pub(crate) topic: String,
    pub(crate) db: String,
    pub(crate) coll: String,
    pub(crate) value: Value,
    /// Whether all records have keys of their own, so that their order says nothing.
    pub(crate) is_unordered: bool,
}

impl Job {
    /// A source's collection through its topic into the same collection of another database.
    pub(crate) fn copy(source: Source, coll: &str, db: &str) -> Self {
        let sink = Sink {
            topic: source.topic(coll),
            db: db.to_owned(),
            coll: coll.to_owned(),
            value: Value::Event,
            is_unordered: true,
        };
        Self { source: Some(source), sink: Some(sink) }
    }
}

impl Capture {
    /// All that changes in a collection, with nothing added.
    pub(crate) fn of(db: &str, coll: &str, begin: Begin) -> Self {
        let (db, coll) = (db.to_owned(), Some(coll.to_owned()));
        Self { db, coll, begin, has_lookup: false, has_before: false }
    }
}

impl Source {
    /// The topic of a collection.
    pub(crate) fn topic(&self, coll: &str) -> String {
        format!("{}.{}.{coll}", self.topic_prefix, self.capture.db)
    }
}
