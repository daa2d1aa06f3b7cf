//! From when an insert is due to when its record has arrived at a consumer, at a steady rate.
//!
//! An insert that is sent late, because the one before took long, counts from when it was due: whoever holds up the load
//! does not make its figures better.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bson::RawDocumentBuf;
use integration_tests::servers::{create_topic, delete_topics};
use millrace::raw::Writer;
use mongodb::{
    Client, Collection,
    options::{ClientOptions, WriteConcern},
};
use rdkafka::{Message, consumer::BaseConsumer};
use tokio::{sync::watch, task::JoinSet};

use super::{Rounds, stream::place};
use crate::{
    consuming,
    figure::{Figure, Round, Run, Side},
    job::{Capture, Job, Source},
    load::{self, Change, Operation},
    measure::Usage,
    site::{RUN_DEADLINE, Site},
    tool::Tool,
};

const DB: &str = "bench_latency";
/// What the load does before it is measured, from the first record on.
const WARM_UP: Duration = Duration::from_secs(3);
/// Insert commands in a second, at most.
const MAX_COMMANDS: u32 = 1_000;
/// So many that no insert waits for one.
const CONNECTIONS: u32 = 64;
/// The field that says when the insert was due, in microseconds since the run began.
const DUE: &str = "dueMicros";

/// When an insert was due and when its record had arrived, since the run began.
type Arrival = (Duration, Duration);

pub(super) async fn run(site: &Site, rate: u32, seconds: u32, rounds: Rounds) -> Result<Vec<Round>> {
    rounds.run(async |side| one(site, side, rate, seconds).await).await
}

async fn one(site: &Site, side: Side, rate: u32, seconds: u32) -> Result<Run> {
    if side == Side::Limit {
        return limit(site, rate, seconds).await;
    }
    let coll = site.unique("c");
    let capture = Capture::of(DB, &coll, place(site).await?);
    let source = Source { capture, topic_prefix: site.unique("bench"), is_prompt: true };
    let topic = source.topic(&coll);
    create_topic(&site.kafka(), &topic, 1).await?;
    let job = Job { source: Some(source), sink: None };
    let begun = Instant::now();

    let consumer = consuming::open(&site.kafka(), &topic)?;
    let (first, mut has_first) = watch::channel(false);
    let wanted = Arc::new(AtomicU64::new(u64::MAX));
    let until = wanted.clone();
    let consuming = tokio::task::spawn_blocking(move || consume(&consumer, begun, &first, &until));
    let (stop, stopped) = watch::channel(false);
    let load = tokio::spawn(insert(writer(site).await?.database(DB).collection(&coll), rate, begun, stopped));

    let measured = async {
        let mut tool = Tool::start(site, side, &job).await?;
        let measured = async {
            tokio::time::timeout(RUN_DEADLINE, has_first.wait_for(|is_there| *is_there)).await??;
            tokio::time::sleep(WARM_UP).await;
            let (meter, earlier) = (site.meter().await?, tool.usage()?);
            let from = begun.elapsed();
            tokio::time::sleep(Duration::from_secs(seconds.into())).await;
            let usage = tool.usage()?.since(earlier);
            let run = meter.run(u64::from(rate) * u64::from(seconds), usage)?;
            anyhow::Ok((run, from..begun.elapsed()))
        };
        let measured = measured.await.with_context(|| tool.tail());
        anyhow::Ok((measured?, tool))
    };
    let measured = measured.await;
    stop.send_replace(true);
    let written = load.await??.documents;
    wanted.store(if measured.is_ok() { written } else { 0 }, Ordering::Relaxed);
    let arrivals = consuming.await??;
    let ((run, window), tool) = measured?;
    tool.stop().await?;
    site.collection(DB, &coll).drop().await?;
    delete_topics(&site.kafka(), &[topic]).await?;
    with_percentiles(run, &arrivals, &window)
}

/// From when an insert is due to when the server says that a majority has it, while nobody reads: before that no change
/// stream shows it.
async fn limit(site: &Site, rate: u32, seconds: u32) -> Result<Run> {
    let coll = site.unique("c");
    let begun = Instant::now();
    let (stop, stopped) = watch::channel(false);
    let load = tokio::spawn(insert(writer(site).await?.database(DB).collection(&coll), rate, begun, stopped));
    tokio::time::sleep(WARM_UP).await;
    let (meter, from) = (site.meter().await?, begun.elapsed());
    tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    let run = meter.run(u64::from(rate) * u64::from(seconds), Usage::default())?;
    let window = from..begun.elapsed();
    stop.send_replace(true);
    let inserted = load.await??;
    site.collection(DB, &coll).drop().await?;
    with_percentiles(run, &inserted.acknowledged, &window)
}

/// A client with as many connections as inserts may need.
async fn writer(site: &Site) -> Result<Client> {
    let mut options = ClientOptions::parse(site.mongodb()).await?;
    options.max_pool_size = Some(CONNECTIONS);
    Ok(Client::with_options(options)?)
}

/// What the load has done.
#[derive(Default)]
struct Inserted {
    documents: u64,
    /// Each command.
    acknowledged: Vec<Arrival>,
}

/// Inserts at `rate` until told to stop.
async fn insert(
    collection: Collection<RawDocumentBuf>,
    rate: u32,
    begun: Instant,
    stopped: watch::Receiver<bool>,
) -> Result<Inserted> {
    let commands = rate.min(MAX_COMMANDS);
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / commands);
    let (mut number, mut running, mut inserted) = (0, JoinSet::new(), Inserted::default());
    while !*stopped.borrow() {
        let due = ticks.tick().await.into_std().saturating_duration_since(begun);
        let documents: Vec<_> =
            (number..number + rate / commands).map(|number| document(number, due)).collect::<Result<_>>()?;
        number += rate / commands;
        let collection = collection.clone();
        running.spawn(async move {
            // Only a majority's write is in the change stream, and the server hurries for one only if it is asked for.
            let inserting = collection.insert_many(documents).write_concern(WriteConcern::majority());
            inserting.await.map(|_| (due, begun.elapsed()))
        });
        while let Some(ended) = running.try_join_next() {
            inserted.acknowledged.push(ended.context("an insert panicked")??);
        }
    }
    while let Some(ended) = running.join_next().await {
        inserted.acknowledged.push(ended.context("an insert panicked")??);
    }
    inserted.documents = number.into();
    Ok(inserted)
}

fn document(number: u32, due: Duration) -> Result<RawDocumentBuf> {
    let mut writer = Writer::default();
    writer.begin();
    load::write_fields(Change { number, key: number, operation: Operation::Insert }, 0, &mut writer);
    writer.int64(DUE.as_bytes(), i64::try_from(due.as_micros())?);
    writer.end();
    Ok(RawDocumentBuf::from_bytes(writer.into_bytes())?)
}

/// Takes records until there are as many as `wanted` says by then. `first` is told when one is there.
fn consume(
    consumer: &BaseConsumer,
    begun: Instant,
    first: &watch::Sender<bool>,
    wanted: &AtomicU64,
) -> Result<Vec<Arrival>> {
    const GLANCE: Duration = Duration::from_millis(100);
    let mut arrivals = Vec::new();
    let mut last_heard = Instant::now();
    while (arrivals.len() as u64) < wanted.load(Ordering::Relaxed) {
        ensure!(last_heard.elapsed() < RUN_DEADLINE, "{} records, and then no more", arrivals.len());
        let Some(message) = consumer.poll(GLANCE) else { continue };
        let message = message?;
        let there = begun.elapsed();
        last_heard = Instant::now();
        let due = message.payload().and_then(due).context("a record that does not say when it was due")?;
        arrivals.push((due, there));
        first.send_replace(true);
    }
    Ok(arrivals)
}

/// The number behind the field's name, in whatever notation.
fn due(value: &[u8]) -> Option<Duration> {
    let name = value.windows(DUE.len()).position(|window| window == DUE.as_bytes())?;
    let digits = value[name + DUE.len()..].iter().skip_while(|byte| !byte.is_ascii_digit());
    let micros = digits
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |number: u64, digit| number * 10 + u64::from(digit - b'0'));
    Some(Duration::from_micros(micros))
}

fn with_percentiles(run: Run, arrivals: &[Arrival], window: &Range<Duration>) -> Result<Run> {
    let inside = arrivals.iter().filter(|(due, _)| window.contains(due));
    let mut latencies: Vec<f64> =
        inside.map(|(due, there)| there.saturating_sub(*due).as_secs_f64()).collect();
    latencies.sort_by(f64::total_cmp);
    ensure!(!latencies.is_empty(), "no record in time");
    let percentile = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    Ok(run
        .with(Figure::LatencyP50Seconds, percentile(50))
        .with(Figure::LatencyP95Seconds, percentile(95))
        .with(Figure::LatencyP99Seconds, percentile(99))
        .with(Figure::LatencyMaxSeconds, percentile(100)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_found_in_any_notation() {
        for value in [
            r#"{"fullDocument": {"dueMicros": {"$numberLong": "1234"}}}"#,
            r#"{"after":"{\"dueMicros\": {\"$numberLong\": \"1234\"}}"}"#,
            r#"{"dueMicros":1234}"#,
        ] {
            assert_eq!(due(value.as_bytes()), Some(Duration::from_micros(1234)), "{value}");
        }
        assert_eq!(due(b"{}"), None);
    }

    #[test]
    fn percentiles_are_of_what_was_due_in_the_window() -> Result<()> {
        let millis = Duration::from_millis;
        let arrivals: Vec<Arrival> = (0..=100)
            .map(|number| (millis(10), millis(10 + number)))
            .chain([(millis(99), millis(9_999))])
            .collect();
        let run = with_percentiles(Run::default(), &arrivals, &(millis(0)..millis(50)))?;
        for (figure, wanted) in [
            (Figure::LatencyP50Seconds, 0.050),
            (Figure::LatencyP99Seconds, 0.099),
            (Figure::LatencyMaxSeconds, 0.100),
        ] {
            assert!((run.get(figure).context("it is there")? - wanted).abs() < 1e-9, "{figure:?}");
        }
        Ok(())
    }
}
