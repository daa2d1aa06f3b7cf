//! Judges topics that hold a snapshot, by documents that count their own changes.
//!
//! Each document has a number `n`: 0 when it is inserted, one more with every update. So every record tells by itself
//! which state of its document it carries. Per document and run of the daemon, a row has to carry just the state that the
//! last event before it led to, and an event the state after that; a later run may step back, to no further than just
//! after the highest state that is there. The records' order keys must say the same as the numbers. What the records
//! lead to has to be what is in the collection.
//!
//! Records have to be raw BSON with the default key, and the stream has to start before the first update.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use bson::{Document, RawDocument, RawDocumentBuf};
use futures_util::TryStreamExt;
use mongodb::Collection;

use crate::{
    compare,
    topic::{self, Ends, Record, Visitor},
};

/// What a topic held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Documents that are there in the end.
    pub document_count: usize,
    /// Rows of snapshots.
    pub row_count: usize,
    /// Rows of documents that had a row already.
    pub repeated_row_count: usize,
    /// Events of the stream.
    pub event_count: usize,
    /// Runs that had a row.
    pub run_count: usize,
}

/// Follows the records of one collection.
#[derive(Debug, Default)]
pub struct Replay {
    /// Where each run but the last ended.
    ends: Vec<Ends>,
    documents: HashMap<Vec<u8>, Seen>,
    summary: Summary,
    runs_with_rows: Vec<bool>,
}

/// What the records of one document have said so far.
#[derive(Debug)]
struct Seen {
    partition: i32,
    run: usize,
    /// The state and the order key of the last record of this run.
    last: Option<(State, String)>,
    highest: Option<State>,
    has_row: bool,
    /// What the records have led to.
    document: Option<RawDocumentBuf>,
}

/// A state of a document: its number, or deleted, which is higher than all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Number(i64),
    Deleted,
}

/// What a record says.
struct Step<'a> {
    state: State,
    is_row: bool,
    is_insert: bool,
    order: String,
    event: &'a RawDocument,
}

impl Replay {
    /// For runs that ended where `ends` say, and one more.
    pub fn new(ends: Vec<Ends>) -> Self {
        Self { runs_with_rows: vec![false; ends.len() + 1], ends, ..Self::default() }
    }

    /// Reads `topic` and compares what it leads to with `collection`.
    pub async fn judge(
        self,
        bootstrap: &str,
        topic: &str,
        collection: &Collection<RawDocumentBuf>,
    ) -> Result<Summary> {
        let replay = topic::visit(bootstrap, vec![topic.to_owned()], self).await?;
        replay.compare(collection).await
    }

    async fn compare(mut self, collection: &Collection<RawDocumentBuf>) -> Result<Summary> {
        let mut documents = collection.find(bson::doc! {}).await?;
        let mut document_count = 0;
        while let Some(document) = documents.try_next().await? {
            let seen = self.documents.remove(&compare::id_bytes(&document)?);
            let led_to = seen.and_then(|seen| seen.document);
            let led_to = led_to.with_context(|| format!("no record of {}", compare::shown(&document)))?;
            ensure!(
                led_to == document,
                "the records lead to {}\n  and there is {}",
                compare::shown(&led_to),
                compare::shown(&document)
            );
            document_count += 1;
        }
        if let Some(left) = self.documents.values().find_map(|seen| seen.document.as_ref()) {
            bail!("the records lead to a document that is not there: {}", compare::shown(left));
        }
        let run_count = self.runs_with_rows.iter().filter(|has_rows| **has_rows).count();
        Ok(Summary { document_count, run_count, ..self.summary })
    }

    fn step(&mut self, record: &Record) -> Result<()> {
        let key = record.key.as_deref().context("no key")?.to_vec();
        let step = Step::read(record)?;
        let place = (record.topic.clone(), record.partition);
        let is_over = |ends: &&Ends| ends.get(&place).copied().unwrap_or_default() <= record.offset;
        let run = self.ends.iter().filter(is_over).count();
        let new = || Seen {
            partition: record.partition,
            run,
            last: None,
            highest: None,
            has_row: false,
            document: None,
        };
        let seen = self.documents.entry(key).or_insert_with(new);
        ensure!(seen.partition == record.partition, "another partition than the document's other records");
        if step.is_row {
            self.summary.row_count += 1;
            self.summary.repeated_row_count += usize::from(seen.has_row);
            self.runs_with_rows[run] = true;
        } else {
            self.summary.event_count += 1;
        }
        seen.take(&step, run)
    }
}

impl Visitor for Replay {
    fn visit(&mut self, record: &Record) -> Result<()> {
        let place = || format!("{}-{}@{}", record.topic, record.partition, record.offset);
        self.step(record).with_context(place)
    }
}

impl Seen {
    fn take(&mut self, step: &Step<'_>, run: usize) -> Result<()> {
        if run != self.run {
            (self.run, self.last) = (run, None);
        }
        match &self.last {
            Some((last, order)) => {
                ensure!(step.follows(*last), "{:?} follows {last:?} (row: {})", step.state, step.is_row);
                ensure!(*order <= step.order, "order key {} follows {order}", step.order);
            }
            None => {
                let may_be = step.may_begin_after(self.highest);
                ensure!(
                    may_be,
                    "{:?} begins a run after {:?} (row: {})",
                    step.state,
                    self.highest,
                    step.is_row
                );
            }
        }
        self.has_row |= step.is_row;
        self.last = Some((step.state, step.order.clone()));
        self.highest = self.highest.max(Some(step.state));
        self.document = step.apply(self.document.take())?;
        Ok(())
    }
}

impl<'a> Step<'a> {
    fn read(record: &'a Record) -> Result<Self> {
        let header = |name: &str| {
            let found = record.headers.iter().find(|(key, _)| key == name);
            found.and_then(|(_, value)| value.as_deref()).and_then(|value| std::str::from_utf8(value).ok())
        };
        let event = RawDocument::from_bytes(record.value.as_deref().context("a tombstone")?)?;
        let is_row = header("millrace.snapshot") == Some("true");
        let order = if is_row {
            header("millrace.order").context("a row without an order key")?
        } else {
            event.get_document("_id")?.get_str("_data")?
        };
        let operation = event.get_str("operationType")?;
        let state = match operation {
            "insert" => State::Number(number(event.get_document("fullDocument")?)?),
            "update" => {
                let updated = event.get_document("updateDescription")?.get_document("updatedFields")?;
                State::Number(number(updated)?)
            }
            "delete" => State::Deleted,
            other => bail!("an unexpected {other}"),
        };
        Ok(Self {
            state,
            is_row,
            is_insert: operation == "insert" && !is_row,
            order: order.to_owned(),
            event,
        })
    }

    /// Whether it may stand behind a record with the state `last` in one run.
    fn follows(&self, last: State) -> bool {
        match (last, self.state) {
            (State::Deleted, _) => false,
            (State::Number(last), State::Number(new)) if self.is_row => new == last,
            (State::Number(last), State::Number(new)) => new == last + 1,
            (State::Number(_), State::Deleted) => !self.is_row,
        }
    }

    /// Whether it may be a document's first in a run, where `highest` is there from earlier runs.
    fn may_begin_after(&self, highest: Option<State>) -> bool {
        match (highest, self.state) {
            // What an event led to has been there before the row.
            (None, new) if self.is_row || self.is_insert => new == State::Number(0),
            (None, new) => new == State::Number(1) || new == State::Deleted,
            (Some(highest), new) if self.is_row => new <= highest,
            (Some(State::Number(highest)), State::Number(new)) => new <= highest + 1,
            (Some(_), _) => true,
        }
    }

    /// What the document is after it.
    fn apply(&self, before: Option<RawDocumentBuf>) -> Result<Option<RawDocumentBuf>> {
        if self.state == State::Deleted {
            return Ok(None);
        }
        if self.is_row || self.is_insert {
            return Ok(Some(self.event.get_document("fullDocument")?.to_owned()));
        }
        let description = self.event.get_document("updateDescription")?;
        // An update before the row of its document: the row will have it.
        let Some(before) = before else { return Ok(None) };
        ensure!(description.get_array("removedFields")?.is_empty(), "fields were removed");
        let mut document = Document::try_from(before.as_ref())?;
        document.extend(Document::try_from(description.get_document("updatedFields")?)?);
        Ok(Some(RawDocumentBuf::try_from(&document)?))
    }
}

/// The number of a state; documents that never change need none.
fn number(document: &RawDocument) -> Result<i64> {
    match document.get("n")? {
        None => Ok(0),
        Some(n) => n.as_i64().context("n is no long"),
    }
}
