//! BSON → text, in every style. Bytes are those of the BSON, so that the rates of one document can be compared.

use criterion::{Criterion, Throughput};
use millrace::json::{self, Style};

use crate::documents::Sample;

/// All, with their names.
pub(crate) const STYLES: [(&str, Style); 6] = [
    ("strict", Style::Strict),
    ("canonical", Style::Canonical),
    ("relaxed", Style::Relaxed),
    ("simplified", Style::Simplified),
    ("debezium", Style::Debezium),
    ("debezium-key", Style::DebeziumKey),
];

pub(crate) fn measure(criterion: &mut Criterion, documents: &[Sample]) {
    let mut group = criterion.benchmark_group("write");
    for sample in documents {
        let document = sample.document();
        group.throughput(Throughput::Bytes(sample.len()));
        let mut out = Vec::new();
        for (name, style) in STYLES {
            group.bench_function(format!("{}/{name}", sample.name), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    json::write_document(document, style, &mut out).expect("sound");
                });
            });
        }
        let value = value(sample);
        group.bench_function(format!("{}/serde_json", sample.name), |bencher| {
            bencher.iter(|| {
                out.clear();
                serde_json::to_writer(&mut out, &value).expect("a tree of JSON");
            });
        });
        let raw = bson::RawDocument::from_bytes(document.as_bytes()).expect("sound");
        group.bench_function(format!("{}/bson", sample.name), |bencher| {
            bencher.iter(|| {
                out.clear();
                serde_json::to_writer(&mut out, &raw).expect("sound");
            });
        });
    }
    group.finish();
}

/// The text of a document.
pub(crate) fn text(sample: &Sample, style: Style) -> Vec<u8> {
    let mut text = Vec::new();
    json::write_document(sample.document(), style, &mut text).expect("sound");
    text
}

/// The tree of the canonical text.
fn value(sample: &Sample) -> serde_json::Value {
    serde_json::from_slice(&text(sample, Style::Canonical)).expect("JSON that any reader takes")
}
