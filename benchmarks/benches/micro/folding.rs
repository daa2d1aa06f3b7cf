//! A sink's part: writes → a batch with one statement for each document.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{BatchSize, Criterion, Throughput};
use integration_tests::load::Random;
use millrace::{
    config::MissingDocument,
    namespace::Namespace,
    raw::{Document, kind},
    sink::{
        batch::{Added, Batch, Limits},
        body::Body,
        delta,
        identify::{Filter, Id},
        plan::{Kind, Write},
        progress::{Partition, Place},
        record::{Record, Timestamp},
    },
};

use crate::documents;

const WRITES: u32 = 2_000;
const LANES: usize = 4;

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fold");
    group.throughput(Throughput::Elements(u64::from(WRITES)));
    let mut random = Random::new(7, 0);
    let any: Vec<_> = (0..WRITES).map(|_| u32::try_from(random.below(200)).expect("small")).collect();
    let cases: [(&str, &dyn Fn(u32) -> Write); 6] = [
        ("inserts of new documents", &|number| write(object_id(number), Kind::Insert(body(number)))),
        ("replaces of 200 documents", &|number| {
            write(object_id(any[number as usize]), Kind::Replace(body(number)))
        }),
        ("deltas of 200 documents", &|number| write(object_id(any[number as usize]), delta(number))),
        ("replaces of one document", &|number| write(object_id(0), Kind::Replace(body(number)))),
        ("ids of 1 KB", &|number| write(long_id(number), Kind::Insert(body(number)))),
        ("deletes of decimals", &|number| write(decimal_id(number), Kind::Delete)),
    ];
    for (name, write) in cases {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || (0..WRITES).map(|number| (write(number), record(number))).collect::<Vec<_>>(),
                |writes| fold(writes, Instant::now()),
                BatchSize::LargeInput,
            );
        });
    }
    // A pipeline takes fewer stages than a batch takes records.
    let deltas = 900;
    group.throughput(Throughput::Elements(u64::from(deltas)));
    group.bench_function("deltas of one document", |bencher| {
        bencher.iter_batched(
            || {
                (0..deltas)
                    .map(|number| (write(object_id(0), delta(number)), record(number)))
                    .collect::<Vec<_>>()
            },
            |writes| fold(writes, Instant::now()),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// The statements, in their lanes. What the batch gives back is dropped by the caller, outside of what is measured.
fn fold(writes: Vec<(Write, Record)>, now: Instant) -> millrace::sink::batch::Closed {
    let limits =
        Limits { max_records: writes.len(), max_bytes: usize::MAX, max_age: Duration::from_millis(100) };
    let mut batch = Batch::new(limits, LANES);
    for (write, record) in writes {
        assert!(matches!(batch.add(write, record, now), Added::Yes), "all of these fold");
    }
    batch.close()
}

fn write(id: Id, kind: Kind) -> Write {
    let filter = Filter::Id(id);
    let key = filter.fold_key().expect("sound");
    let namespace = Arc::new(Namespace { db: "shop".to_owned(), coll: "orders".to_owned() });
    Write { namespace, filter, key, kind }
}

fn object_id(key: u32) -> Id {
    Id { kind: kind::OBJECT_ID, value: documents::id(key).as_slice().into() }
}

/// A document of 100 numbers, of which the last tells it from others.
fn long_id(key: u32) -> Id {
    let value = documents::made(|writer| {
        for field in 0..100 {
            writer.int32(format!("f{field:03}").as_bytes(), field);
        }
        writer.int32(b"key", key.cast_signed());
    });
    Id { kind: kind::DOCUMENT, value: value.into() }
}

/// Decimals may be equal and have other bytes, so they are compared.
fn decimal_id(key: u32) -> Id {
    Id { kind: kind::DECIMAL128, value: documents::decimal(u64::from(key), 0).into() }
}

fn body(number: u32) -> Body {
    Body::whole(documents::made(|writer| documents::small(number, writer)))
}

fn delta(number: u32) -> Kind {
    let description = documents::made(|writer| documents::changed_fields(number, writer));
    let stages = Document::new(&description).map(delta::compile).expect("sound").expect("an update");
    Kind::Delta { stages, missing: MissingDocument::Skip }
}

fn record(number: u32) -> Record {
    let partition = Partition { topic: "shop.orders".into(), number: 0 };
    let place = Place { partition, offset: i64::from(number) };
    Record { place, timestamp: Timestamp::None, key: None, value: None, headers: Vec::new() }
}
