//! What is moved: documents, changes of them, and the records that stand for changes. Pure.
//!
//! Everything follows from the number of the change, so that each side of a comparison makes the same for itself.

use integration_tests::load::Random;
use millrace::{
    json::{self, Style},
    raw::{Document, Writer, kind},
};
use serde::{Deserialize, Serialize};

/// Keys that take most of the changes of a mixed load.
const HOT_KEYS: u32 = 1_000;
/// New documents at the end of a mixed load, so many that some go to each lane of a sink: a lane sends its inserts last, so
/// when all of these are there, everything is.
pub(crate) const LAST_INSERTS: u32 = 64;
const SEED: u64 = 7;
/// Seconds since the epoch of the first change.
const EPOCH: u32 = 1_795_398_199;
const CHANGES_PER_SECOND: u32 = 10_000;
/// What long texts are made of: prose, with what JSON has to escape now and then.
const TEXT: &str = "The mill stands where the brook meets the road to \"Bradford\".\nIts wheel turns day and night, and what \
    it grinds is carried off before noon; nobody remembers when it stood still the last time. ";

/// A change of one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Its place among all changes.
    pub(crate) number: u32,
    /// Which document.
    pub(crate) key: u32,
    /// What happens to it.
    pub(crate) operation: Operation,
}

/// What happens to a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Insert,
    Update,
    Replace,
    Delete,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Replace => "replace",
            Self::Delete => "delete",
        }
    }
}

/// All changes of a workload.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) mix: Mix,
    pub(crate) count: u32,
    /// What each document has beside its small fields, which take about 500 bytes.
    pub(crate) text_bytes: usize,
}

/// Which changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mix {
    /// Each inserts a new document.
    Inserts,
    /// One in five inserts a new document; of the others four in five meet a hot key and the rest any. A document that
    /// is not there is inserted; of those that are there 80 % are updated, 15 % replaced, 5 % deleted.
    Mixed,
}

impl Load {
    /// In order.
    pub(crate) fn changes(&self) -> Box<dyn Iterator<Item = Change> + Send> {
        match self.mix {
            Mix::Inserts => {
                let insert = |number| Change { number, key: number, operation: Operation::Insert };
                Box::new((0..self.count).map(insert))
            }
            Mix::Mixed => Box::new(mixed(self.count)),
        }
    }

    /// What a collection holds after them.
    pub(crate) fn end(&self, applies_deletes: bool) -> End {
        End::of(self.changes(), applies_deletes)
    }
}

fn mixed(count: u32) -> impl Iterator<Item = Change> {
    let mut random = Random::new(SEED, 0);
    let mut is_there = vec![false; HOT_KEYS as usize];
    (0..count).map(move |number| {
        let known = is_there.len();
        let is_last = count - number <= LAST_INSERTS;
        let key = match random.below(100) {
            _ if is_last => known,
            0..20 => known,
            20..84 => random.below(HOT_KEYS as usize),
            _ => random.below(known),
        };
        if key == known {
            is_there.push(false);
        }
        let operation = match random.below(100) {
            _ if !is_there[key] => Operation::Insert,
            0..80 => Operation::Update,
            80..95 => Operation::Replace,
            _ => Operation::Delete,
        };
        is_there[key] = operation != Operation::Delete;
        Change { number, key: u32::try_from(key).expect("not more keys than changes"), operation }
    })
}

/// What a collection has to hold at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Documents.
    pub(crate) count: u64,
    /// The sum of their field `number`, which is the number of the last change of each.
    pub(crate) sum: u64,
}

impl End {
    /// After `changes`. Where deletes are not applied, they are written like other changes.
    fn of(changes: impl Iterator<Item = Change>, applies_deletes: bool) -> Self {
        let mut last: Vec<Option<u32>> = Vec::new();
        for Change { number, key, operation } in changes {
            let key = key as usize;
            if last.len() <= key {
                last.resize(key + 1, None);
            }
            last[key] = (operation != Operation::Delete || !applies_deletes).then_some(number);
        }
        let there = last.into_iter().flatten();
        there.fold(Self { count: 0, sum: 0 }, |end, number| Self {
            count: end.count + 1,
            sum: end.sum + u64::from(number),
        })
    }
}

/// The `_id` of a document: an ObjectId.
pub(crate) fn id(key: u32) -> [u8; 12] {
    let mut id = [0x65; 12];
    id[8..].copy_from_slice(&key.to_be_bytes());
    id
}

/// Writes a document's `_id` and fields as they are after `change`, with a text of `text_bytes` at their end.
pub(crate) fn write_fields(change: Change, text_bytes: usize, writer: &mut Writer) {
    let Change { number, key, .. } = change;
    writer.value(b"_id", kind::OBJECT_ID, &id(key));
    writer.int32(b"number", number.cast_signed());
    let customer = key % 50_000;
    writer.string(b"customer", format!("customer-{customer:08}").as_bytes());
    writer.string(b"status", status(number));
    writer.double(b"amount", f64::from(number % 100_000) / 100.0);
    writer.value(b"created", kind::DATE_TIME, &wall_time(number).to_le_bytes());
    writer.begin_document(b"address");
    writer.string(b"name", format!("Maria Example {customer}").as_bytes());
    writer.string(b"street", format!("{} Long Mill Lane", number % 300).as_bytes());
    writer.string(b"city", b"Bradford-on-Avon");
    writer.string(b"country", b"GB");
    writer.end();
    writer.begin_array(b"lines");
    for line in 0..2 {
        writer.begin_document(if line == 0 { b"0" } else { b"1" });
        writer.string(b"article", format!("article-{:06}", (number + line) % 20_000).as_bytes());
        writer.int32(b"quantity", (number % 7 + line).cast_signed());
        writer.double(b"price", f64::from(number % 5_000) / 100.0);
        writer.int64(b"stock", i64::from(number % 1_000) + 10_000_000_000);
        writer.end();
    }
    writer.end();
    writer.boolean(b"gift", number % 5 == 0);
    writer.string(b"note", b"left at the door of the neighbours, who were told to expect it before noon");
    if text_bytes > 0 {
        let text = TEXT.bytes().cycle().skip(number as usize % TEXT.len()).take(text_bytes);
        writer.string(b"text", &text.collect::<Vec<_>>());
    }
}

/// What a record's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// The change event.
    Event,
    /// The document alone; a tombstone for a delete.
    Document,
}

/// A record's key and value in strict JSON, as a source writes them by default.
pub(crate) fn record(change: Change, text_bytes: usize, value: Value) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut key = Writer::default();
    key.begin();
    key.value(b"_id", kind::OBJECT_ID, &id(change.key));
    key.end();
    let value = match value {
        Value::Event => Some(event(change, text_bytes)),
        Value::Document if change.operation == Operation::Delete => None,
        Value::Document => {
            let mut document = Writer::default();
            document.begin();
            write_fields(change, text_bytes, &mut document);
            document.end();
            Some(document.into_bytes())
        }
    };
    (json(&key.into_bytes()), value.map(|value| json(&value)))
}

fn json(bson: &[u8]) -> Vec<u8> {
    let document = Document::new(bson).expect("just written");
    let mut text = Vec::new();
    json::write_document(document, Style::Strict, &mut text).expect("plain values");
    text
}

/// The change event. Updates and replaces carry the whole document.
fn event(change: Change, text_bytes: usize) -> Vec<u8> {
    let Change { number, key, operation } = change;
    let (seconds, increment) = (EPOCH + number / CHANGES_PER_SECOND, number % CHANGES_PER_SECOND + 1);
    let key_hex = id(key).map(|byte| format!("{byte:02X}")).concat();
    let token = format!(
        "82{seconds:08X}{increment:08X}2B022C0100296E5A10047AA4DC54B4DF4E95A237D5FEC046271146645F69640064{key_hex}0004"
    );
    let mut event = Writer::default();
    event.begin();
    event.begin_document(b"_id");
    event.string(b"_data", token.as_bytes());
    event.end();
    event.string(b"operationType", operation.name().as_bytes());
    let time = [increment.to_le_bytes(), seconds.to_le_bytes()].concat();
    event.value(b"clusterTime", kind::TIMESTAMP, &time);
    event.value(b"wallTime", kind::DATE_TIME, &wall_time(number).to_le_bytes());
    if operation != Operation::Delete {
        event.begin_document(b"fullDocument");
        write_fields(change, text_bytes, &mut event);
        event.end();
    }
    event.begin_document(b"ns");
    event.string(b"db", b"shop");
    event.string(b"coll", b"orders");
    event.end();
    event.begin_document(b"documentKey");
    event.value(b"_id", kind::OBJECT_ID, &id(key));
    event.end();
    if operation == Operation::Update {
        event.begin_document(b"updateDescription");
        event.begin_document(b"updatedFields");
        write_updated(change, &mut event);
        event.end();
        for name in [b"removedFields".as_slice(), b"truncatedArrays"] {
            event.begin_array(name);
            event.end();
        }
        event.end();
    }
    event.end();
    event.into_bytes()
}

/// Writes the fields that an update changes.
pub(crate) fn write_updated(change: Change, writer: &mut Writer) {
    writer.int32(b"number", change.number.cast_signed());
    writer.string(b"status", status(change.number));
}

fn status(number: u32) -> &'static [u8] {
    const ALL: [&[u8]; 4] = [b"new", b"paid", b"packed", b"delivered"];
    ALL[number as usize % ALL.len()]
}

fn wall_time(number: u32) -> i64 {
    (i64::from(EPOCH) * 1_000) + i64::from(number / (CHANGES_PER_SECOND / 1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_about_500_bytes() {
        for number in [0, 7, 999_999] {
            let mut writer = Writer::default();
            writer.begin();
            let change = Change { number, key: number, operation: Operation::Insert };
            write_fields(change, 0, &mut writer);
            writer.end();
            let length = writer.len();
            assert!((470..=530).contains(&length), "{length}");
        }
    }

    #[test]
    fn a_mixed_load_is_the_same_each_time_and_ends_with_new_documents() {
        let changes: Vec<_> = mixed(50_000).collect();
        assert!(mixed(50_000).eq(changes.iter().copied()));
        let greatest = changes[..50_000 - LAST_INSERTS as usize].iter().map(|change| change.key).max();
        let last = &changes[50_000 - LAST_INSERTS as usize..];
        assert!(
            last.iter().all(|change| Some(change.key) > greatest && change.operation == Operation::Insert)
        );
    }

    #[test]
    fn a_mixed_load_never_changes_what_is_not_there() {
        let mut there = std::collections::BTreeSet::new();
        for Change { key, operation, number } in mixed(50_000) {
            match operation {
                Operation::Insert => assert!(there.insert(key), "{number} inserts {key} again"),
                Operation::Update | Operation::Replace => assert!(there.contains(&key), "{number}: no {key}"),
                Operation::Delete => assert!(there.remove(&key), "{number} deletes {key} again"),
            }
        }
        assert_eq!(there.len() as u64, End::of(mixed(50_000), true).count);
    }

    #[test]
    fn the_end_holds_the_last_change_of_each_document() {
        let change = |number, key, operation| Change { number, key, operation };
        let changes = [
            change(0, 3, Operation::Insert),
            change(1, 5, Operation::Insert),
            change(2, 3, Operation::Update),
            change(3, 5, Operation::Delete),
        ];
        assert_eq!(End::of(changes.into_iter(), true), End { count: 1, sum: 2 });
        assert_eq!(End::of(changes.into_iter(), false), End { count: 2, sum: 5 });
    }
}
