//! Judges a topic against the server's own record of events.
//!
//! Per key a topic is a sequence of runs, one per (re)start of the daemon. Each run is in source order without gaps and
//! starts no later than just after the highest event already there. So there is at most one step back per kill, and
//! nothing is missing.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use bson::RawDocument;

use crate::{ledger::Event, topic::Record};

/// What a topic held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Events, each counted once.
    pub event_count: usize,
    /// Records beyond one per event.
    pub repeat_count: usize,
    /// Most new runs that any key saw.
    pub most_restarts: usize,
}

/// Checks the records of all topics of one source against all events that it had to carry.
///
/// Records of one partition must come in the partition's order. `kills` bounds the new runs per key.
pub fn check(events: &[Event], records: &[Record], kills: usize) -> Result<Summary> {
    let mut keys = Keys::new(events);
    let mut key_of_document = HashMap::new();
    for record in records {
        let place = || format!("{}-{}@{}", record.topic, record.partition, record.offset);
        let value =
            record.value.as_deref().with_context(|| format!("{}: a tombstone in event mode", place()))?;
        let token = token(value).with_context(place)?;
        let (document, position) =
            keys.find(&token).with_context(|| format!("{}: token {token}", place()))?;
        let seen = keys.histories.get_mut(&document).expect("find yields what is there");
        seen.step(position, kills).with_context(|| format!("{}: token {token}", place()))?;
        // Kafka keeps order per partition, so all records of a document must share one.
        let home = (record.topic.as_str(), record.partition, record.key.as_deref());
        let first = key_of_document.entry(document).or_insert(home);
        ensure!(*first == home, "{}: records of one document have two keys or partitions", place());
    }
    keys.summary(records.len())
}

/// The `_id._data` of an event that is JSON or raw BSON.
pub fn token(value: &[u8]) -> Result<String> {
    if value.first() == Some(&b'{') && value.last() == Some(&b'}') {
        let value: serde_json::Value = serde_json::from_slice(value)?;
        let token = value.pointer("/_id/_data").and_then(serde_json::Value::as_str);
        return Ok(token.context("the value has no _id._data")?.to_owned());
    }
    let value = RawDocument::from_bytes(value)?;
    Ok(value.get_document("_id")?.get_str("_data")?.to_owned())
}

struct Keys<'a> {
    /// Document → what was seen of it.
    histories: HashMap<(&'a str, &'a [u8]), History<'a>>,
    places: HashMap<&'a str, ((&'a str, &'a [u8]), usize)>,
}

struct History<'a> {
    tokens: Vec<&'a str>,
    last: Option<usize>,
    highest: Option<usize>,
    restarts: usize,
}

impl<'a> Keys<'a> {
    fn new(events: &'a [Event]) -> Self {
        let mut sorted: Vec<&Event> = events.iter().collect();
        sorted.sort_by(|a, b| a.token.cmp(&b.token));
        let mut keys = Self { histories: HashMap::new(), places: HashMap::new() };
        for event in sorted {
            // An event that is not about a document has a Kafka key of its own, so it keeps no order with others.
            let key = if event.key.is_empty() { event.token.as_bytes() } else { event.key.as_slice() };
            let document = (event.collection.as_str(), key);
            let empty = History { tokens: Vec::new(), last: None, highest: None, restarts: 0 };
            let history = keys.histories.entry(document).or_insert(empty);
            keys.places.insert(&event.token, (document, history.tokens.len()));
            history.tokens.push(&event.token);
        }
        keys
    }

    fn find(&self, token: &str) -> Result<((&'a str, &'a [u8]), usize)> {
        self.places.get(token).copied().context("the server knows no such event")
    }

    fn summary(&self, record_count: usize) -> Result<Summary> {
        for ((collection, _), history) in &self.histories {
            let next = history.highest.map_or(0, |highest| highest + 1);
            if let Some(missing) = history.tokens.get(next) {
                bail!("{collection}: the event with token {missing} is missing");
            }
        }
        let event_count = self.places.len();
        let restarts = self.histories.values().map(|history| history.restarts);
        Ok(Summary {
            event_count,
            repeat_count: record_count - event_count,
            most_restarts: restarts.max().unwrap_or_default(),
        })
    }
}

impl History<'_> {
    fn step(&mut self, position: usize, kills: usize) -> Result<()> {
        let next_new = self.highest.map_or(0, |highest| highest + 1);
        ensure!(position <= next_new, "comes before {} which is not there yet", self.tokens[next_new]);
        let continues = self.last.map_or(position == 0, |last| position == last + 1);
        if !continues {
            // A new run. It may also begin ahead of the last one's end, where that was itself a replay.
            self.restarts += 1;
            ensure!(
                self.restarts <= kills,
                "a new run begins for the {}th time, after {kills} kills",
                self.restarts
            );
        }
        self.last = Some(position);
        self.highest = self.highest.max(Some(position));
        Ok(())
    }
}
