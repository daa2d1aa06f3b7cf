//! Micro-benchmarks of the pure stages: what a document costs without servers. `docs/micro-benchmarks.md` has the
//! groups and what they have shown.

mod documents;
mod encode;
mod folding;
mod parser;
mod refusals;
mod styles;
mod walker;

use std::time::Duration;

use criterion::Criterion;

fn main() {
    // Short, because there are many: one figure is good for a few per cent, which tells a slow path from a fast one.
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(200))
        .nresamples(1_000)
        .without_plots()
        .configure_from_args();
    let documents = documents::all();
    walker::measure(&mut criterion, &documents);
    styles::measure(&mut criterion, &documents);
    parser::measure(&mut criterion, &documents);
    refusals::measure(&mut criterion);
    encode::measure(&mut criterion, &documents);
    folding::measure(&mut criterion);
    criterion.final_summary();
}
