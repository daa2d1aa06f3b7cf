//! Writes → batches with at most one statement per document. Pure.
//!
//! Assumes that writes come in the order of their partitions. Promises that a closed batch does to each document what
//! its writes would have done one after the other, so that within a batch no order matters: lanes may run at once, and
//! a lane may group statements as it likes. A document is in the same lane of all batches that are split alike. So of
//! two such batches each lane must be written after the same one of the batch before; of others, each batch after the
//! other.
//!
//! What cannot be folded (updates in the server's own terms that may touch anything) takes one ordered lane for each
//! collection instead. The records stay with their batch: a statement that the server refuses is taken apart into them.

mod statement;

use std::{
    collections::hash_map::Entry,
    sync::Arc,
    time::{Duration, Instant},
};

use foldhash::{HashMap, HashMapExt};

pub use self::statement::Statement;
use super::{
    identify::Filter,
    plan::{Kind, Write},
    progress::Place,
    record::Record,
};
use crate::namespace::Namespace;

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
    /// Statements of documents, each in the lane that its document has.
    lanes: Vec<Vec<Item>>,
    collections: Vec<Collection>,
    /// Where each collection stands.
    known: HashMap<Arc<Namespace>, usize>,
    records: Vec<Record>,
    bytes: usize,
    opened: Option<Instant>,
    /// Statements of the batch before, which this one may well have too.
    expected: usize,
}

/// The writes of one collection.
#[derive(Debug)]
struct Collection {
    namespace: Arc<Namespace>,
    documents: Documents,
}

#[derive(Debug)]
enum Documents {
    /// One statement for each document; where it stands in its lane, by the hash of what it folds by.
    Folded(HashMap<u64, Known>),
    /// In the order of their records.
    Ordered(Vec<Item>),
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
    /// What finds the document.
    pub filter: Filter,
    /// What is done to it.
    pub statement: Statement,
    /// The last record that had a part in it.
    pub place: Place,
    /// Which of the batch's records had a part in it, in order.
    pub records: Parts,
    /// Whether the document was deleted because it was there under another spelling of its `_id`.
    pub is_recreated: bool,
    /// Finds what has to be deleted first: the same `_id` under another shard key.
    pub stale: Option<Box<Filter>>,
    /// The hash of what it folds by.
    pub key_hash: u64,
}

/// Some of a batch's records, by their index; seldom more than one.
#[derive(Debug)]
pub struct Parts {
    first: u32,
    more: Vec<u32>,
}

impl Parts {
    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        std::iter::once(&self.first).chain(&self.more).map(|index| *index as usize)
    }
}

/// A batch that is ready to be written.
#[derive(Debug)]
pub struct Closed {
    /// The statements.
    pub lanes: Vec<Lane>,
    /// What they were made of.
    pub records: Vec<Record>,
    /// As [`Batch::split`] said.
    pub split: Option<usize>,
}

/// Statements that go one command after the other.
#[derive(Debug)]
pub struct Lane {
    /// In the order of their records.
    pub items: Vec<Item>,
    /// Which one it is of those that documents are split into; none for one in which the order matters.
    pub number: Option<usize>,
}

impl Lane {
    /// Whether the order of its statements matters.
    pub fn is_ordered(&self) -> bool {
        self.number.is_none()
    }
}

/// Whether a write became part of a batch.
#[derive(Debug)]
pub enum Added {
    /// It did.
    Yes,
    /// The batch has to be closed and written first.
    CloseFirst(Box<(Write, Record)>),
}

impl Batch {
    /// An empty batch whose documents are split into at most `lanes`.
    pub fn new(limits: Limits, lanes: usize) -> Self {
        Self {
            limits,
            lanes: (0..lanes.max(1)).map(|_| Vec::new()).collect(),
            collections: Vec::new(),
            known: HashMap::new(),
            records: Vec::new(),
            bytes: 0,
            opened: None,
            expected: 0,
        }
    }

    /// Takes a record that writes nothing: its offset moves with the batch.
    pub fn skip(&mut self, record: Record, now: Instant) {
        self.records.push(record);
        self.opened.get_or_insert(now);
    }

    /// Takes a record and its write.
    pub fn add(&mut self, write: Write, record: Record, now: Instant) -> Added {
        let size = write.kind.len() + write.filter.len();
        let index = u32::try_from(self.records.len()).expect("a batch has fewer records than that");
        let collection = self.collection(&write);
        match &mut self.collections[collection].documents {
            Documents::Ordered(items) => items.push(Item::new(write, &record, index)),
            Documents::Folded(_) if write.kind.is_ordered() => {
                return Added::CloseFirst(Box::new((write, record)));
            }
            Documents::Folded(known) => {
                let key_hash = write.key.hash();
                let lane = lane_of(key_hash, &mut self.lanes);
                match known.entry(key_hash) {
                    Entry::Occupied(known) => {
                        let known = known.get();
                        let item = &mut lane[known.index];
                        if !known.is_same(item, &write) || !item.statement.takes(&write.kind) {
                            return Added::CloseFirst(Box::new((write, record)));
                        }
                        item.fold(write, &record, index);
                    }
                    Entry::Vacant(place) => {
                        place.insert(Known { index: lane.len(), is_exact: write.key.is_exact });
                        lane.push(Item::new(write, &record, index));
                    }
                }
            }
        }
        self.bytes += size;
        self.skip(record, now);
        Added::Yes
    }

    /// Where the collection of `write` stands. Most writes are to the same as the one before.
    fn collection(&mut self, write: &Write) -> usize {
        if let Some(last) = self.collections.last()
            && Arc::ptr_eq(&last.namespace, &write.namespace)
        {
            return self.collections.len() - 1;
        }
        if let Some(index) = self.known.get(&write.namespace) {
            return *index;
        }
        // It may well be as the batch before.
        let expected = if self.collections.is_empty() { self.expected } else { 0 };
        if expected > 0 {
            self.records.reserve(expected);
            let lanes = self.lanes.len();
            self.lanes.iter_mut().for_each(|lane| lane.reserve(expected / lanes + expected / 32));
        }
        let documents = match write.kind.is_ordered() {
            true => Documents::Ordered(Vec::new()),
            false => Documents::Folded(HashMap::with_capacity(expected)),
        };
        let index = self.collections.len();
        self.known.insert(Arc::clone(&write.namespace), index);
        self.collections.push(Collection { namespace: Arc::clone(&write.namespace), documents });
        index
    }

    /// Where the last of its records stands.
    pub fn last_place(&self) -> Option<&Place> {
        self.records.last().map(|record| &record.place)
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Records, also those that write nothing.
    pub fn records(&self) -> usize {
        self.records.len()
    }

    /// Whether a limit other than the age is reached.
    pub fn is_full(&self) -> bool {
        self.records.len() >= self.limits.max_records || self.bytes >= self.limits.max_bytes
    }

    /// When the age is reached.
    pub fn deadline(&self) -> Option<Instant> {
        Some(self.opened? + self.limits.max_age)
    }

    /// Into how many lanes its documents are split when it is closed now; none if some of its writes are ordered.
    pub fn split(&self) -> Option<usize> {
        let is_ordered = |collection: &Collection| matches!(collection.documents, Documents::Ordered(_));
        if self.collections.iter().any(is_ordered) {
            return None;
        }
        let is_small = self.statements() < MIN_LANE_STATEMENTS;
        Some(if is_small { 1 } else { self.lanes.len() })
    }

    /// Statements of documents.
    fn statements(&self) -> usize {
        self.lanes.iter().map(Vec::len).sum()
    }

    /// Takes all, split into lanes by document and one for each collection whose writes are ordered, and leaves the batch
    /// empty.
    pub fn close(&mut self) -> Closed {
        let (split, expected) = (self.split(), self.statements());
        let empty = Self { expected, ..Self::new(self.limits, self.lanes.len()) };
        let Self { mut lanes, collections, records, .. } = std::mem::replace(self, empty);
        if expected < MIN_LANE_STATEMENTS {
            lanes = vec![lanes.into_iter().flatten().collect()];
        }
        let of_documents =
            lanes.into_iter().enumerate().map(|(number, items)| Lane { items, number: Some(number) });
        let ordered = collections.into_iter().filter_map(|collection| match collection.documents {
            Documents::Ordered(items) => Some(Lane { items, number: None }),
            Documents::Folded(_) => None,
        });
        let lanes = of_documents.chain(ordered).filter(|lane| !lane.items.is_empty()).collect();
        Closed { lanes, records, split }
    }
}

/// The lane that the documents of this hash have.
fn lane_of(key_hash: u64, lanes: &mut [Vec<Item>]) -> &mut Vec<Item> {
    let count = lanes.len() as u64;
    &mut lanes[(key_hash % count) as usize]
}

impl Known {
    /// Whether `write`, whose key has the same hash as that of `item`, is about its document. That two keys share a hash
    /// without being equal is as good as impossible, and then only closes a batch early.
    fn is_same(&self, item: &Item, write: &Write) -> bool {
        let have_equal_keys = || item.filter.fold_key().is_ok_and(|key| key.bytes == write.key.bytes);
        item.filter == write.filter || (self.is_exact && write.key.is_exact && have_equal_keys())
    }
}

impl Item {
    /// The statement of one record.
    fn new(write: Write, record: &Record, index: u32) -> Self {
        let Write { namespace, filter, key, kind } = write;
        Self {
            namespace,
            filter,
            statement: Statement::from(kind),
            place: record.place.clone(),
            records: Parts { first: index, more: Vec::new() },
            is_recreated: false,
            stale: None,
            key_hash: key.hash(),
        }
    }

    fn fold(&mut self, write: Write, record: &Record, index: u32) {
        if !matches!(write.kind, Kind::Delta { .. }) {
            // The newest spelling of an `_id` (1 or 1.0) is the one that stays.
            self.filter = write.filter;
        }
        self.statement.fold(write.kind);
        self.place = record.place.clone();
        self.records.more.push(index);
    }
}

impl Kind {
    fn len(&self) -> usize {
        match self {
            Self::Insert(body) | Self::Replace(body) | Self::Literal(body) | Self::InsertOnly(body) => {
                body.len()
            }
            Self::Delta { stages, .. } => stages.len(),
            Self::Update(update) => update.update.len(),
            Self::Delete => 0,
        }
    }

    /// Whether it may touch anything, so that all writes to its collection keep their order.
    fn is_ordered(&self) -> bool {
        matches!(self, Self::Update(update) if update.is_ordered)
    }
}

#[cfg(test)]
mod tests {
    use bson::{Bson, doc};

    use super::{
        super::{body::Body, identify::Id, plan::Update, progress::Partition, record::Timestamp},
        statement::MAX_STAGES,
        *,
    };
    use crate::{config::MissingDocument, raw::Document};

    const LIMITS: Limits =
        Limits { max_records: 1000, max_bytes: 1 << 20, max_age: Duration::from_millis(50) };

    fn body(text: &str) -> Body {
        Body::whole(doc! { "v": text }.to_vec().expect("writable"))
    }

    fn delta(field: &str) -> Kind {
        let description =
            doc! { "updatedFields": { field: 1 }, "removedFields": [] }.to_vec().expect("writable");
        let stages =
            super::super::delta::compile(Document::new(&description).expect("sound")).expect("sound");
        Kind::Delta { stages, missing: MissingDocument::Skip }
    }

    fn write(id: impl Into<Bson>, kind: Kind) -> Write {
        write_to("c", id, kind)
    }

    fn write_to(coll: &str, id: impl Into<Bson>, kind: Kind) -> Write {
        let bytes = doc! { "_id": id.into() }.to_vec().expect("writable");
        let filter = Filter::Id(Id::of(Document::new(&bytes).expect("sound"), "test").expect("an _id"));
        let namespace = Arc::new(Namespace { db: "d".into(), coll: coll.into() });
        Write { namespace, key: filter.fold_key().expect("sound"), filter, kind }
    }

    fn record(offset: i64) -> Record {
        let place = Place { partition: Partition { topic: "t".into(), number: 0 }, offset };
        Record { place, timestamp: Timestamp::None, key: None, value: None, headers: Vec::new() }
    }

    fn is_added(batch: &mut Batch, write: Write) -> bool {
        matches!(batch.add(write, record(batch.records() as i64), Instant::now()), Added::Yes)
    }

    fn described(statement: &Statement) -> String {
        let text = |body: &Body| {
            body.document().get("v").expect("sound").expect("there").as_str().expect("text").to_owned()
        };
        match statement {
            Statement::Insert(document) => format!("insert {}", text(document)),
            Statement::Replace(document) => format!("replace {}", text(document)),
            Statement::Pipeline { full, stages, .. } => {
                format!("{} then {} stages", full.as_ref().map_or("nothing".into(), text), stages.count())
            }
            Statement::Delete => "delete".into(),
            Statement::InsertOnly(document) => format!("insert only {}", text(document)),
            Statement::Update(_) => "update".into(),
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
            let mut batch = Batch::new(LIMITS, 4);
            let count = kinds.len();
            for kind in kinds {
                assert!(is_added(&mut batch, write(7, kind)));
            }
            let lanes = batch.close().lanes;
            assert_eq!((lanes.len(), lanes[0].items.len()), (1, 1), "{name}");
            assert_eq!(described(&lanes[0].items[0].statement), expected, "{name}");
            assert_eq!(lanes[0].items[0].place.offset, count as i64 - 1, "the last record's place");
        }
    }

    #[test]
    fn different_documents_and_collections_stay_apart() {
        let mut batch = Batch::new(LIMITS, 4);
        for (coll, id) in [("c", 1), ("c", 2), ("other", 1)] {
            assert!(is_added(&mut batch, write_to(coll, id, Kind::Delete)));
        }
        assert_eq!(batch.close().lanes[0].items.len(), 3);
    }

    #[test]
    fn equal_numbers_fold_and_the_last_spelling_stays() {
        let mut batch = Batch::new(LIMITS, 4);
        assert!(is_added(&mut batch, write(1, Kind::Insert(body("a")))));
        assert!(is_added(&mut batch, write(1.0, Kind::Replace(body("b")))));
        assert!(is_added(&mut batch, write(1_i64, delta("x"))));
        let lanes = batch.close().lanes;
        assert_eq!(lanes[0].items.len(), 1);
        let Filter::Id(id) = &lanes[0].items[0].filter else { panic!("{lanes:?}") };
        assert_eq!(id.kind, crate::raw::kind::DOUBLE);
    }

    #[test]
    fn ids_that_only_may_be_equal_do_not_share_a_batch() {
        let big = 1_i64 << 53;
        let mut batch = Batch::new(LIMITS, 4);
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
        let mut batch = Batch::new(Limits { max_records: usize::MAX, ..LIMITS }, 4);
        let mut taken = 0;
        while is_added(&mut batch, write(1, delta("x"))) {
            taken += 1;
            assert!(taken < 2 * MAX_STAGES, "the limit never came");
        }
        assert_eq!(taken, MAX_STAGES - 2);
        assert!(is_added(&mut batch, write(1, Kind::Delete)), "what starts afresh always fits");
    }

    #[test]
    fn a_batch_is_full_by_records_or_bytes_and_due_by_age() {
        let start = Instant::now();
        let mut batch = Batch::new(Limits { max_records: 2, ..LIMITS }, 4);
        assert_eq!(batch.deadline(), None);
        batch.skip(record(0), start);
        batch.skip(record(1), start + Duration::from_millis(20));
        assert!(batch.is_full());
        assert_eq!(batch.deadline(), Some(start + Duration::from_millis(50)), "the oldest counts");
        assert_eq!(batch.close().lanes.len(), 0);
        assert!(batch.is_empty() && !batch.is_full() && batch.deadline().is_none());

        let mut batch = Batch::new(Limits { max_bytes: 100, ..LIMITS }, 4);
        assert!(is_added(&mut batch, write(1, Kind::Insert(body("short")))));
        assert!(!batch.is_full());
        assert!(is_added(&mut batch, write(1, Kind::Insert(body(&"long".repeat(30))))));
        assert!(batch.is_full());
    }

    #[test]
    fn many_statements_are_spread_over_all_lanes() {
        let mut batch = Batch::new(LIMITS, 4);
        for id in 0..400 {
            assert!(is_added(&mut batch, write(id, Kind::Delete)));
        }
        let lanes = batch.close().lanes;
        assert_eq!(lanes.len(), 4);
        assert_eq!(lanes.iter().map(|lane| lane.items.len()).sum::<usize>(), 400);
    }

    #[test]
    fn batches_that_are_split_alike_have_a_document_in_the_same_lane() {
        let mut batch = Batch::new(LIMITS, 4);
        let mut lanes_of = |ids: Vec<Bson>| {
            for id in ids {
                assert!(is_added(&mut batch, write(id, Kind::Delete)));
            }
            assert_eq!(batch.split(), Some(4));
            let mut lanes = std::collections::BTreeMap::new();
            for Lane { items, number, .. } in batch.close().lanes {
                for item in items {
                    lanes.insert(item.filter.fold_key().expect("sound").bytes, number.expect("by document"));
                }
            }
            lanes
        };
        let whole = lanes_of((0..400).map(Bson::from).collect());
        // In another order, in another spelling, among others.
        let doubles = lanes_of((0..800).rev().map(|id| Bson::from(f64::from(id))).collect());
        assert_eq!((whole.len(), doubles.len()), (400, 800));
        assert!(whole.iter().all(|(key, lane)| doubles[key] == *lane));

        assert!(is_added(&mut batch, write(1, Kind::Delete)));
        assert_eq!(batch.split(), Some(1), "few statements are not split");
        let update = Update {
            update: Vec::new(),
            is_pipeline: false,
            is_ordered: true,
            missing: MissingDocument::Skip,
        };
        assert!(is_added(&mut batch, write_to("other", 1, Kind::Update(update))));
        assert_eq!(batch.split(), None);
        let closed = batch.close();
        assert_eq!(closed.split, None);
        let numbers: Vec<_> = closed.lanes.iter().map(|lane| (lane.number, lane.is_ordered())).collect();
        assert_eq!(numbers, [(Some(0), false), (None, true)]);
    }

    #[test]
    fn documents_whose_keys_share_a_hash_are_told_apart() {
        let item = |id: Bson| Item::new(write(id, Kind::Delete), &record(0), 0);
        let big = (1_i64 << 53) + 1;
        for (first, is_exact, second, expected) in [
            (Bson::from(1), true, Bson::from(1), true),
            (1.into(), true, 1.0.into(), true),
            (1.into(), true, 2.into(), false),
            ("a".into(), true, "b".into(), false),
            (big.into(), false, big.into(), true),
            (big.into(), false, (big - 1).into(), false),
        ] {
            let known = Known { index: 0, is_exact };
            let found = known.is_same(&item(first.clone()), &write(second.clone(), Kind::Delete));
            assert_eq!(found, expected, "{first} {second}");
        }
    }
}
