//! Random updates with every operator come back through deltas alone: the copy is only ever in states that the original
//! was in, ends equal to the byte, and to read a part of the topic again changes nothing but the order of fields.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bson::{Document, RawDocument, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use integration_tests::{
    compare,
    daemon::Daemon,
    load::updates::{KINDS, Updates},
    pair::ARRIVAL_DEADLINE,
    scene::Scene,
    servers, topic, wait,
};
use mongodb::options::ReturnDocument;

const SOON: Duration = Duration::from_secs(60);
const COLLECTION: &str = "updated";
const FILLER_BYTES: usize = 4_000;

#[tokio::test(flavor = "multi_thread")]
async fn random_updates_arrive_through_deltas_alone() -> Result<()> {
    arrive(11, Size { documents: 12, updates: 1_500, suffixes: 3 }, "").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "some minutes; run with: cargo test --package integration-tests very_many_random_updates -- --ignored"]
async fn very_many_random_updates_arrive_through_deltas_alone() -> Result<()> {
    for seed in 0..6 {
        let format = if seed % 2 == 0 { "format = \"bson\"" } else { "" };
        let size = Size { documents: 40, updates: 10_000, suffixes: 12 };
        arrive(100 + seed, size, format).await.with_context(|| format!("seed {seed}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_contradicts_itself_is_refused_and_not_guessed() -> Result<()> {
    Scene::play(servers::shared().await?, "alike", async |scene| {
        let collection = scene.original(COLLECTION);
        let filler = "x".repeat(FILLER_BYTES);
        let document = doc! { "_id": 1, "filler": filler, "a": 1, "a.b": 2 };
        collection.insert_one(RawDocumentBuf::try_from(&document)?).await?;
        let name = doc! { "field": { "$literal": "a.b" }, "input": "$$ROOT", "value": 4 };
        let update = vec![doc! { "$set": { "a": 3 } }, doc! { "$replaceWith": { "$setField": name } }];
        collection.update_one(doc! { "_id": 1 }, update).await?;
        let mut daemon = scene.pipeline("show_expanded_events = true", "")?;
        daemon.start_ready().await?;
        // Without disambiguatedPaths, `a.b` would be a field of `a`, which is written as well.
        daemon.logged(&["ERROR", "updateDescription: "], SOON).await?;
        daemon.terminate().await.ok();
        Ok(())
    })
    .await
}

#[derive(Clone, Copy)]
struct Size {
    documents: i32,
    updates: u32,
    /// How often a part of the topic is read again.
    suffixes: u64,
}

async fn arrive(seed: u64, size: Size, format: &str) -> Result<()> {
    Scene::play(servers::shared().await?, "updates", async |scene| {
        let source = format!("show_expanded_events = true\n{format}");
        let mut daemon = scene.pipeline(&source, format)?;
        daemon.start_ready().await?;
        let is_over = AtomicBool::new(false);
        let write = async {
            let versions = write(scene, seed, size).await;
            let equal = match &versions {
                Ok(_) => complete(scene, &daemon).await,
                Err(_) => Ok(0),
            };
            is_over.store(true, Ordering::Relaxed);
            Ok::<_, anyhow::Error>((versions?, equal?))
        };
        let ((versions, equal_count), samples) = tokio::try_join!(write, sample(scene, size, &is_over))?;
        ensure!(equal_count == u64::try_from(size.documents)?, "{equal_count} documents");
        for (id, sample) in &samples {
            let is_version = versions.get(id).is_some_and(|known| known.contains(sample));
            ensure!(is_version, "the original never was {}", shown(RawDocument::from_bytes(sample)?));
        }
        println!("seed {seed}: {} samples", samples.len());
        covers_all_members(scene).await?;
        daemon.terminate().await?;
        for number in 0..size.suffixes {
            read_again(scene, format, number, size.suffixes).await?;
        }
        Ok(())
    })
    .await
}

/// All states of each document, by `_id`.
type Versions = HashMap<i32, HashSet<Vec<u8>>>;

/// The only writer: it knows each state, because the server gives back what every update led to.
async fn write(scene: &Scene, seed: u64, size: Size) -> Result<Versions> {
    let collection = scene.original(COLLECTION);
    let mut updates = Updates::new(seed);
    let mut versions = Versions::new();
    for id in 0..size.documents {
        let document = RawDocumentBuf::try_from(&updates.document(id))?;
        collection.insert_one(&document).await?;
        versions.entry(id).or_default().insert(document.into_bytes());
    }
    let mut taken: BTreeMap<&str, u32> = BTreeMap::new();
    let mut refused_count = 0;
    for _ in 0..size.updates {
        let id = i32::try_from(updates.below(usize::try_from(size.documents)?))?;
        let update = updates.draw();
        let mut action = collection
            .find_one_and_update(doc! { "_id": id }, update.modification.clone())
            .return_document(ReturnDocument::After);
        if !update.array_filters.is_empty() {
            action = action.array_filters(update.array_filters.clone());
        }
        match action.await {
            Ok(document) => {
                let document = document.with_context(|| format!("document {id} is gone"))?;
                versions.entry(id).or_default().insert(document.into_bytes());
                update.kinds.iter().for_each(|kind| *taken.entry(*kind).or_default() += 1);
            }
            Err(error) if is_refusal(&error) => refused_count += 1,
            Err(error) => return Err(error).with_context(|| format!("{update:?}")),
        }
    }
    println!("seed {seed}: {refused_count} of {} refused; taken: {taken:?}", size.updates);
    let never: Vec<_> = KINDS.iter().filter(|kind| !taken.contains_key(**kind)).collect();
    ensure!(never.is_empty(), "never taken: {never:?}");
    ensure!(refused_count * 2 < size.updates, "{refused_count} of {} updates were refused", size.updates);
    Ok(versions)
}

/// Whether the server found that the update does not fit the document.
fn is_refusal(error: &mongodb::error::Error) -> bool {
    matches!(*error.kind, mongodb::error::ErrorKind::Command(_))
}

/// Looks at documents of the copy, one after the other, until the copy is complete.
async fn sample(scene: &Scene, size: Size, is_over: &AtomicBool) -> Result<HashSet<(i32, Vec<u8>)>> {
    let copied = scene.copied(COLLECTION);
    let mut samples = HashSet::new();
    for id in (0..size.documents).cycle() {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let found = copied.find_one(doc! { "_id": id }).await?;
        samples.extend(found.map(|document| (id, document.into_bytes())));
    }
    Ok(samples)
}

/// The events must have been deltas, with every member that a delta can have.
async fn covers_all_members(scene: &Scene) -> Result<()> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for record in scene.pair.records().await? {
        let value = record.value.context("a tombstone")?;
        let event = event(&value)?;
        *counts.entry(event.get_str("operationType")?.to_owned()).or_default() += 1;
        let Ok(description) = event.get_document("updateDescription") else { continue };
        for (name, member) in description {
            let is_empty = match member {
                bson::Bson::Document(member) => member.is_empty(),
                bson::Bson::Array(member) => member.is_empty(),
                _ => true,
            };
            *counts.entry(name.clone()).or_default() += usize::from(!is_empty);
        }
        ensure!(!event.contains_key("fullDocument"), "an update with the full document");
    }
    println!("{counts:?}");
    let count = |name: &str| counts.get(name).copied().unwrap_or_default();
    for name in ["updatedFields", "removedFields", "truncatedArrays"] {
        ensure!(count(name) > 10, "{} events with {name}", count(name));
    }
    ensure!(count("replace") * 10 < count("update"), "{} of the updates came as replaces", count("replace"));
    Ok(())
}

/// An event that is JSON or raw BSON; of names that are there twice, the last.
fn event(value: &[u8]) -> Result<Document> {
    if value.first() == Some(&b'{') && value.last() == Some(&b'}') {
        let event: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(value)?;
        return Ok(bson::serialize_to_document(&event)?);
    }
    Ok(Document::from_reader(value)?)
}

/// Another pipeline reads the topic from some place on and writes it over the final state.
async fn read_again(scene: &Scene, format: &str, number: u64, count: u64) -> Result<()> {
    let kafka = &scene.addresses.kafka;
    let name = format!("{}_again{number}", scene.name);
    let mut next_offsets = topic::settled_ends(kafka, scene.pair.topics().await?).await?;
    for next_offset in next_offsets.values_mut() {
        // Never the whole: what begins with the inserts is a copy and no replay.
        *next_offset = *next_offset * i64::try_from(number + 1)? / i64::try_from(count + 1)?;
    }
    topic::commit(kafka, &format!("millrace.{name}.copy"), next_offsets).await?;
    let config = scene
        .config(&scene.sink(format))
        .replace(&format!("name = \"{}\"", scene.name), &format!("name = \"{name}\""));
    let mut daemon = scene.daemon(&config)?;
    daemon.start_with(&["--exit-when-idle", "1s"])?;
    ensure!(daemon.exit(SOON).await?.success(), "{}", daemon.tail());
    // To these documents, the order of their fields does not count.
    let compared =
        compare(scene, |original, copy| Ok(Document::try_from(original)? == Document::try_from(copy)?));
    compared.await.with_context(|| format!("after part {number} was read again")).map(drop)
}

/// Waits until the copy is equal to the byte, for as long as the daemon works.
async fn complete(scene: &Scene, daemon: &Daemon) -> Result<u64> {
    let what = "the copy to become identical";
    let equal = wait::until(what, ARRIVAL_DEADLINE, async || {
        if let Some(error) = daemon.errors()?.pop() {
            return Ok(Some(Err(anyhow::Error::msg(error))));
        }
        compare(scene, |original, copy| Ok(original.as_bytes() == copy.as_bytes()))
            .await
            .map(|count| Some(Ok(count)))
    });
    equal.await?
}

/// How many documents there are, or the first that is not equal to its copy.
async fn compare(
    scene: &Scene,
    is_equal: impl Fn(&RawDocument, &RawDocument) -> Result<bool>,
) -> Result<u64> {
    let mut documents = scene.original(COLLECTION).find(doc! {}).await?;
    let mut count = 0;
    while let Some(original) = documents.try_next().await? {
        let filter = doc! { "_id": original.get_i32("_id")? };
        let copy = scene.copied(COLLECTION).find_one(filter).await?;
        let copy = copy.with_context(|| format!("there is no copy of {}", shown(&original)))?;
        let is_equal = is_equal(&original, &copy)?;
        ensure!(is_equal, "{}\n  in the copy: {}", shown(&original), shown(&copy));
        count += 1;
    }
    Ok(count)
}

/// Without what only makes it long.
fn shown(document: &RawDocument) -> String {
    let mut short = RawDocumentBuf::new();
    for (name, value) in
        document.iter_elements().flatten().filter_map(|element| Some((element.key(), element.value().ok()?)))
    {
        if name.as_str() != "filler" {
            short.append(name, value);
        }
    }
    compare::shown(&short)
}
