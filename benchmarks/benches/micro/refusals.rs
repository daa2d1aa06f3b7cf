//! Texts of 1 MB that the reader has to refuse: how long it takes to say so.

use criterion::{Criterion, Throughput};
use millrace::json;

const BYTES: usize = 1_000_000;

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("refuse");
    for (name, before, unit, after) in [
        ("number", r#"{"a": "#, "1", "}"),
        ("string without an end", r#"{"a": ""#, "x", ""),
        ("escapes without an end", r#"{"a": ""#, r"\u00e4", ""),
        ("surrogates without an end", r#"{"a": ""#, r"\ud83d", ""),
        ("not UTF-8 at the end", r#"{"a": ""#, "x", "\u{0}"),
        ("arrays without an end", r#"{"a": "#, "[", ""),
        ("documents without an end", "", r#"{"a":"#, ""),
        ("fields without an end", "{", r#""a":1,"#, ""),
        ("lines without an end", r#"{"a": ["#, "1,\n", ""),
        ("$numberLong", r#"{"a": {"$numberLong": ""#, "1", r#""}}"#),
        ("$numberDouble", r#"{"a": {"$numberDouble": ""#, "1", r#"x"}}"#),
        ("$numberDecimal", r#"{"a": {"$numberDecimal": ""#, "1", r#""}}"#),
        ("$date", r#"{"a": {"$date": ""#, "1", r#""}}"#),
        ("$binary", r#"{"a": {"$binary": {"subType": "00", "base64": ""#, "A", r#"*"}}}"#),
        ("$oid", r#"{"a": {"$oid": ""#, "1", r#""}}"#),
    ] {
        let mut text = [before, &unit.repeat(BYTES / unit.len()), after].concat().into_bytes();
        if name.starts_with("not UTF-8") {
            text.push(0xff);
        }
        let mut out = Vec::new();
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("{name}/millrace"), |bencher| {
            bencher.iter(|| json::read_document(&text, &mut out).expect_err("nothing that can be read"));
        });
        // To it, wrappers are documents like others.
        if serde_json::from_slice::<serde_json::Value>(&text).is_err() {
            group.bench_function(format!("{name}/serde_json"), |bencher| {
                bencher.iter(|| {
                    serde_json::from_slice::<serde_json::Value>(&text).expect_err("the same each time")
                });
            });
        }
    }
    group.finish();
}
