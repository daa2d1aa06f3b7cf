//! Walking BSON: all elements of a document, and one field at the end of a path.

use criterion::{Criterion, Throughput};
use millrace::raw::{Document, Error, kind};

use crate::documents::Sample;

pub(crate) fn measure(criterion: &mut Criterion, documents: &[Sample]) {
    let mut group = criterion.benchmark_group("walk");
    for sample in documents {
        let document = sample.document();
        group.throughput(Throughput::Bytes(sample.len()));
        group.bench_function(format!("{}/millrace", sample.name), |bencher| {
            bencher.iter(|| elements(document).expect("sound"));
        });
        let peer = bson::RawDocument::from_bytes(document.as_bytes()).expect("sound");
        group.bench_function(format!("{}/bson", sample.name), |bencher| {
            bencher.iter(|| elements_with_bson(peer).expect("sound"));
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("find");
    let deep_path = ["a"; 40].join(".");
    for (name, path) in [
        ("event", "updateDescription.updatedFields.status"),
        ("order", "address.city"),
        ("short keys", "not.there"),
        ("deep", &deep_path),
    ] {
        let sample = documents.iter().find(|sample| sample.name == name).expect("it is one of them");
        group.throughput(Throughput::Bytes(sample.len()));
        group.bench_function(name, |bencher| {
            bencher.iter(|| sample.document().find(std::hint::black_box(path)).expect("sound"));
        });
    }
    group.finish();
}

/// How many there are, in documents and arrays inside as well.
fn elements(document: Document<'_>) -> Result<usize, Error> {
    let mut count = 0;
    for element in document.elements() {
        let element = element?;
        count += 1;
        if matches!(element.kind, kind::DOCUMENT | kind::ARRAY)
            && let Some(inner) = element.as_document()
        {
            count += elements(inner)?;
        }
    }
    Ok(count)
}

fn elements_with_bson(document: &bson::RawDocument) -> bson::error::Result<usize> {
    let mut count = 0;
    for element in document.iter_elements() {
        let element = element?;
        count += 1;
        if matches!(
            element.element_type(),
            bson::spec::ElementType::EmbeddedDocument | bson::spec::ElementType::Array
        ) {
            count += match element.value()? {
                bson::RawBsonRef::Document(inner) => elements_with_bson(inner)?,
                bson::RawBsonRef::Array(inner) => {
                    elements_with_bson(bson::RawDocument::from_bytes(inner.as_bytes())?)?
                }
                _ => 0,
            };
        }
    }
    Ok(count)
}
