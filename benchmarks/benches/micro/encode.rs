//! A source's part: the event's bytes → key, value and headers of a record.

use criterion::{Criterion, Throughput};
use millrace::{
    config::{Format, Headers, Record, RecordKey, RecordValue, Timestamp},
    json::Style,
    raw::Document,
    source::{
        decode,
        encode::{Buffers, Encoder},
        stages::Plan,
    },
};

use crate::documents::{self, Sample};

pub(crate) fn measure(criterion: &mut Criterion, documents: &[Sample]) {
    let mut group = criterion.benchmark_group("encode");
    let mut plan = Plan::default();
    plan.namespace.push_str("shop.orders");
    let small = documents::made(|writer| documents::small(1, writer));
    let of = |name: &str| {
        let sample = documents.iter().find(|sample| sample.name == name).expect("it is one of them");
        sample.document().as_bytes()
    };
    for (name, document) in [
        ("small", small.as_slice()),
        ("order", of("order")),
        ("prose", of("prose")),
        ("escapes", of("escapes")),
    ] {
        let event = documents::event(1, document);
        group.throughput(Throughput::Bytes(event.len() as u64));
        for (mode, value, format) in [
            ("event", RecordValue::Event, Format::Json),
            ("event-bson", RecordValue::Event, Format::Bson),
            ("document", RecordValue::Document, Format::Json),
            ("debezium", RecordValue::Debezium, Format::Json),
        ] {
            let encoder = Encoder::new(&settings(value, format));
            let mut buffers = Buffers::default();
            group.bench_function(format!("{name}/{mode}"), |bencher| {
                bencher.iter(|| {
                    let change = Document::new(&event).map_err(decode::Error::from).and_then(decode::decode);
                    encoder.encode(&change.expect("an event"), &plan, &mut buffers).expect("sound")
                });
            });
        }
    }
    group.finish();
}

fn settings(value: RecordValue, format: Format) -> Record {
    Record {
        value,
        format,
        key_format: Format::Json,
        json_style: Style::Strict,
        key: RecordKey::DocumentKey,
        tombstones: true,
        headers: Headers::Auto,
        timestamp: Timestamp::ClusterTime,
        debezium_name: "shop".to_owned(),
        debezium_schemas: false,
    }
}
