//! Text → BSON, of every style's text. Bytes are those of the text.

use criterion::{Criterion, Throughput};
use millrace::json::{self, Style};

use crate::{
    documents::Sample,
    styles::{STYLES, text},
};

pub(crate) fn measure(criterion: &mut Criterion, documents: &[Sample]) {
    let mut group = criterion.benchmark_group("read");
    for sample in documents {
        let mut out = Vec::new();
        for (name, style) in STYLES {
            let text = text(sample, style);
            group.throughput(Throughput::Bytes(text.len() as u64));
            group.bench_function(format!("{}/{name}", sample.name), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    json::read_document(&text, &mut out).expect("just written");
                });
            });
        }
        let text = text(sample, Style::Canonical);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("{}/serde_json", sample.name), |bencher| {
            bencher.iter(|| serde_json::from_slice::<serde_json::Value>(&text).expect("just written"));
        });
        // What it cannot read (deep documents, some wrappers) it is not measured with.
        if serde_json::from_slice::<bson::Document>(&text).is_ok() {
            group.bench_function(format!("{}/bson", sample.name), |bencher| {
                bencher
                    .iter(|| serde_json::from_slice::<bson::Document>(&text).expect("it has read it before"));
            });
        }
    }
    group.finish();
}
