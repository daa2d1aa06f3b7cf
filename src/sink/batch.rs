//! Writes → batches with at most one statement per document. Pure.
//!
//! Assumes that writes come in the order of their partitions. Promises that a closed batch does to each document what
//! its writes would have done one after the other, so that within a batch no order matters: lanes may run at once, and
//! a lane may group statements as it likes. Batches must be written one after the other.

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    decode::Body,
    delta::Stages,
    identify::{FoldKey, Id},
    plan::{Kind, Write},
    progress::Place,
};
use crate::namespace::Namespace;

/// Most stages that the server takes in a pipeline.
const MAX_STAGES: usize = 1000;
/// Most bytes of one statement that was folded from several. The server takes 16 MB with everything around them.
const MAX_STATEMENT_BYTES: usize = 12_000_000;
/// Fewer statements are not split: a lane has the cost of a round trip.
const MIN_LANE_STATEMENTS: usize = 64;

/// When a batch is full.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Records, also those that write nothing.
    pub max_records: usize,
    /// Bytes of what is written.
    pub max_bytes: usize,
    /// Age of the oldest record.
    pub max_age: Duration,
}

/// Writes that wait to be written together.
#[derive(Debug)]
pub struct Batch {
    limits: Limits,
    items: Vec<Item>,
    /// Where in `items` a document's statement is.
    known: HashMap<Arc<Namespace>, HashMap<Vec<u8>, Known>>,
    records: usize,
    bytes: usize,
    opened: Option<Instant>,
}

#[derive(Debug)]
struct Known {
    index: usize,
    is_exact: bool,
}

/// The statement for one document.
#[derive(Debug)]
pub struct Item {
    /// The collection.
    pub namespace: Arc<Namespace>,
    /// The document.
    pub id: Id,
    /// What is done to it.
    pub statement: Statement,
    /// The last record that had a part in it.
    pub place: Place,
    /// Whether the document was deleted because it was there under another spelling of its `_id`.
    pub is_recreated: bool,
    /// Which lane it takes.
    lane_hash: u64,
}

/// What is done to a document.
#[derive(Debug)]
pub enum Statement {
    /// Insert it.
    Insert(Body),
    /// Replace it, or insert it.
    Replace(Body),
    /// Run these stages over it; with a state to begin with, insert it if it is not there.
    Pipeline {
        /// The state to begin with.
        full: Option<Body>,
        /// What changes it.
        stages: Stages,
    },
    /// Delete it.
    Delete,
}

/// Whether a write became part of a batch.
#[derive(Debug)]
pub enum Added {
    /// It did.
    Yes,
    /// The batch has to be closed and written first.
    CloseFirst(Write),
}

impl Batch {
    /// An empty batch.
    pub fn new(limits: Limits) -> Self {
        Self { limits, items: Vec::new(), known: HashMap::new(), records: 0, bytes: 0, opened: None }
    }

    /// Counts a record that writes nothing: its offset moves with the batch.
    pub fn skip(&mut self, now: Instant) {
        self.records += 1;
        self.opened.get_or_insert(now);
    }

    /// Adds a record's write.
    pub fn add(&mut self, write: Write, place: Place, now: Instant) -> Added {
        let documents = match self.known.get_mut(&write.namespace) {
            Some(documents) => documents,
            None => self.known.entry(Arc::clone(&write.namespace)).or_default(),
        };
        let size = write.kind.len() + write.id.value.len();
        if let Some(known) = documents.get(&write.key.bytes) {
            let item = &mut self.items[known.index];
            let is_same = (known.is_exact && write.key.is_exact) || item.id == write.id;
            if !is_same || !item.statement.takes(&write.kind) {
                return Added::CloseFirst(write);
            }
            if !matches!(write.kind, Kind::Delta(_)) {
                // The newest spelling of an `_id` (1 or 1.0) is the one that stays.
                item.id = write.id;
            }
            item.statement.fold(write.kind);
            item.place = place;
        } else {
            let lane_hash = lane_hash(&write.namespace, &write.key);
            let known = Known { index: self.items.len(), is_exact: write.key.is_exact };
            documents.insert(write.key.bytes, known);
            let statement = Statement::from(write.kind);
            self.items.push(Item {
                namespace: write.namespace,
                id: write.id,
                statement,
                place,
                is_recreated: false,
                lane_hash,
            });
        }
        self.bytes += size;
        self.skip(now);
        Added::Yes
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Records, also those that write nothing.
    pub fn records(&self) -> usize {
        self.records
    }

    /// Whether a limit other than the age is reached.
    pub fn is_full(&self) -> bool {
        self.records >= self.limits.max_records || self.bytes >= self.limits.max_bytes
    }

    /// When the age is reached.
    pub fn deadline(&self) -> Option<Instant> {
        Some(self.opened? + self.limits.max_age)
    }

    /// Takes all statements, split into at most `lanes`, and leaves the batch empty.
    pub fn close(&mut self, lanes: usize) -> Vec<Vec<Item>> {
        let items = std::mem::replace(self, Self::new(self.limits)).items;
        let lanes = if items.len() < MIN_LANE_STATEMENTS { 1 } else { lanes.max(1) };
        let mut split: Vec<Vec<Item>> =
            (0..lanes).map(|_| Vec::with_capacity(items.len() / lanes + 1)).collect();
        for item in items {
            let lane = (item.lane_hash % lanes as u64) as usize;
            split[lane].push(item);
        }
        split.retain(|lane| !lane.is_empty());
        split
    }
}

fn lane_hash(namespace: &Namespace, key: &FoldKey) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one((namespace, &key.bytes))
}

impl Kind {
    fn len(&self) -> usize {
        match self {
            Self::Insert(body) | Self::Replace(body) | Self::Literal(body) => {
                body.document().as_bytes().len()
            }
            Self::Delta(stages) => stages.len(),
            Self::Delete => 0,
        }
    }
}

impl From<Kind> for Statement {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Insert(body) => Self::Insert(body),
            Kind::Replace(body) => Self::Replace(body),
            Kind::Literal(body) => Self::Pipeline { full: Some(body), stages: Stages::default() },
            Kind::Delta(stages) => Self::Pipeline { full: None, stages },
            Kind::Delete => Self::Delete,
        }
    }
}

impl Statement {
    /// The document turned out to be there.
    pub fn insert_to_replace(&mut self) {
        *self = match std::mem::replace(self, Self::Delete) {
            Self::Insert(body) => Self::Replace(body),
            other => other,
        };
    }

    /// Whether what follows still fits into one statement.
    fn takes(&self, next: &Kind) -> bool {
        let Kind::Delta(next) = next else { return true };
        let (bytes, count) = match self {
            Self::Insert(body) | Self::Replace(body) => (body.document().as_bytes().len(), 0),
            Self::Pipeline { full, stages } => {
                let full_bytes = full.as_ref().map_or(0, |body| body.document().as_bytes().len());
                (full_bytes + stages.len(), stages.count())
            }
            Self::Delete => return true,
        };
        // One stage more for the state to begin with.
        count + next.count() < MAX_STAGES && bytes + next.len() <= MAX_STATEMENT_BYTES
    }

    /// This, and after it `next`, as one statement.
    fn fold(&mut self, next: Kind) {
        let before = std::mem::replace(self, Self::Delete);
        *self = match (before, next) {
            // Still an insert for the collection, whatever happened in between.
            (Self::Insert(_), Kind::Insert(body) | Kind::Replace(body)) => Self::Insert(body),
            (_, Kind::Insert(body) | Kind::Replace(body)) => Self::Replace(body),
            (_, next @ (Kind::Literal(_) | Kind::Delete)) => Self::from(next),
            // A delta never brings back what was deleted.
            (Self::Delete, Kind::Delta(_)) => Self::Delete,
            (Self::Insert(body) | Self::Replace(body), Kind::Delta(stages)) => {
                Self::Pipeline { full: Some(body), stages }
            }
            (Self::Pipeline { full, mut stages }, Kind::Delta(later)) => {
                stages.append(&later);
                Self::Pipeline { full, stages }
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use bson::{Bson, doc};

    use super::{super::progress::Partition, *};
    use crate::raw::Document;

    const LIMITS: Limits =
        Limits { max_records: 1000, max_bytes: 1 << 20, max_age: Duration::from_millis(50) };

    fn body(text: &str) -> Body {
        Body::whole(doc! { "v": text }.to_vec().expect("writable"))
    }

    fn delta(field: &str) -> Kind {
        let description =
            doc! { "updatedFields": { field: 1 }, "removedFields": [] }.to_vec().expect("writable");
        Kind::Delta(super::super::delta::compile(Document::new(&description).expect("sound")).expect("sound"))
    }

    fn write(id: impl Into<Bson>, kind: Kind) -> Write {
        write_to("c", id, kind)
    }

    fn write_to(coll: &str, id: impl Into<Bson>, kind: Kind) -> Write {
        let bytes = doc! { "_id": id.into() }.to_vec().expect("writable");
        let id = Id::of(Document::new(&bytes).expect("sound"), "test").expect("an _id");
        let namespace = Arc::new(Namespace { db: "d".into(), coll: coll.into() });
        Write { namespace, key: id.fold_key().expect("sound"), id, kind }
    }

    fn place(offset: i64) -> Place {
        Place { partition: Partition { topic: "t".into(), number: 0 }, offset }
    }

    fn is_added(batch: &mut Batch, write: Write) -> bool {
        matches!(batch.add(write, place(batch.records() as i64), Instant::now()), Added::Yes)
    }

    fn described(statement: &Statement) -> String {
        let text = |body: &Body| {
            body.document().get("v").expect("sound").expect("there").as_str().expect("text").to_owned()
        };
        match statement {
            Statement::Insert(document) => format!("insert {}", text(document)),
            Statement::Replace(document) => format!("replace {}", text(document)),
            Statement::Pipeline { full, stages } => {
                format!("{} then {} stages", full.as_ref().map_or("nothing".into(), text), stages.count())
            }
            Statement::Delete => "delete".into(),
        }
    }

    #[test]
    fn writes_to_one_document_fold_into_what_they_lead_to() {
        let insert = |text| Kind::Insert(body(text));
        let replace = |text| Kind::Replace(body(text));
        let literal = |text| Kind::Literal(body(text));
        let cases: Vec<(Vec<Kind>, &str)> = vec![
            (vec![insert("a")], "insert a"),
            (vec![insert("a"), insert("b")], "insert b"),
            (vec![insert("a"), replace("b")], "insert b"),
            (vec![insert("a"), Kind::Delete], "delete"),
            (vec![Kind::Delete, insert("a")], "replace a"),
            (vec![Kind::Delete, insert("a"), replace("b")], "replace b"),
            (vec![replace("a"), insert("b")], "replace b"),
            (vec![replace("a"), replace("b"), Kind::Delete], "delete"),
            (vec![delta("x")], "nothing then 1 stages"),
            (vec![delta("x"), delta("y")], "nothing then 2 stages"),
            (vec![delta("x"), insert("a")], "replace a"),
            (vec![delta("x"), Kind::Delete], "delete"),
            (vec![Kind::Delete, delta("x")], "delete"),
            (vec![insert("a"), delta("x"), delta("y")], "a then 2 stages"),
            (vec![replace("a"), delta("x"), replace("b")], "replace b"),
            (vec![literal("a")], "a then 0 stages"),
            (vec![literal("a"), delta("x")], "a then 1 stages"),
            (vec![insert("a"), literal("b")], "b then 0 stages"),
            (vec![literal("a"), replace("b")], "replace b"),
        ];
        for (kinds, expected) in cases {
            let name = format!("{kinds:?}");
            let mut batch = Batch::new(LIMITS);
            let count = kinds.len();
            for kind in kinds {
                assert!(is_added(&mut batch, write(7, kind)));
            }
            let lanes = batch.close(4);
            assert_eq!((lanes.len(), lanes[0].len()), (1, 1), "{name}");
            assert_eq!(described(&lanes[0][0].statement), expected, "{name}");
            assert_eq!(lanes[0][0].place.offset, count as i64 - 1, "the last record's place");
        }
    }

    #[test]
    fn different_documents_and_collections_stay_apart() {
        let mut batch = Batch::new(LIMITS);
        for (coll, id) in [("c", 1), ("c", 2), ("other", 1)] {
            assert!(is_added(&mut batch, write_to(coll, id, Kind::Delete)));
        }
        assert_eq!(batch.close(1)[0].len(), 3);
    }

    #[test]
    fn equal_numbers_fold_and_the_last_spelling_stays() {
        let mut batch = Batch::new(LIMITS);
        assert!(is_added(&mut batch, write(1, Kind::Insert(body("a")))));
        assert!(is_added(&mut batch, write(1.0, Kind::Replace(body("b")))));
        assert!(is_added(&mut batch, write(1_i64, delta("x"))));
        let lanes = batch.close(1);
        assert_eq!(lanes[0].len(), 1);
        assert_eq!(lanes[0][0].id.kind, crate::raw::kind::DOUBLE);
    }

    #[test]
    fn ids_that_only_may_be_equal_do_not_share_a_batch() {
        let big = 1_i64 << 53;
        let mut batch = Batch::new(LIMITS);
        assert!(is_added(&mut batch, write(big, Kind::Delete)));
        assert!(!is_added(&mut batch, write(big + 1, Kind::Delete)), "one double for both");
        assert!(is_added(&mut batch, write(big, Kind::Delete)));
        let decimal = Bson::Decimal128("0.1".parse().expect("a decimal"));
        assert!(is_added(&mut batch, write(decimal.clone(), Kind::Delete)));
        assert!(is_added(&mut batch, write(decimal, Kind::Delete)), "the same bytes are the same document");
        assert!(!is_added(&mut batch, write(0.1, Kind::Delete)));
    }

    #[test]
    fn pipelines_stay_within_the_servers_limit() {
        let mut batch = Batch::new(Limits { max_records: usize::MAX, ..LIMITS });
        let mut taken = 0;
        while is_added(&mut batch, write(1, delta("x"))) {
            taken += 1;
            assert!(taken < 2 * MAX_STAGES, "the limit never came");
        }
        assert_eq!(taken, MAX_STAGES - 1);
        assert!(is_added(&mut batch, write(1, Kind::Delete)), "what starts afresh always fits");
    }

    #[test]
    fn a_batch_is_full_by_records_or_bytes_and_due_by_age() {
        let start = Instant::now();
        let mut batch = Batch::new(Limits { max_records: 2, ..LIMITS });
        assert_eq!(batch.deadline(), None);
        batch.skip(start);
        batch.skip(start + Duration::from_millis(20));
        assert!(batch.is_full());
        assert_eq!(batch.deadline(), Some(start + Duration::from_millis(50)), "the oldest counts");
        assert_eq!(batch.close(2).len(), 0);
        assert!(batch.is_empty() && !batch.is_full() && batch.deadline().is_none());

        let mut batch = Batch::new(Limits { max_bytes: 100, ..LIMITS });
        assert!(is_added(&mut batch, write(1, Kind::Insert(body("short")))));
        assert!(!batch.is_full());
        assert!(is_added(&mut batch, write(1, Kind::Insert(body(&"long".repeat(30))))));
        assert!(batch.is_full());
    }

    #[test]
    fn many_statements_are_spread_over_all_lanes() {
        let mut batch = Batch::new(LIMITS);
        for id in 0..400 {
            assert!(is_added(&mut batch, write(id, Kind::Delete)));
        }
        let lanes = batch.close(4);
        assert_eq!(lanes.len(), 4);
        assert_eq!(lanes.iter().map(Vec::len).sum::<usize>(), 400);
    }
}
