//! What the halves count, as OpenMetrics text and as JSON.
//!
//! Halves keep plain atomics; this is the one place that knows how they are called outside.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use serde_json::{Value, json};

use crate::{
    sink,
    source::{self, dead_letter::Reason},
    status::{Half, Metrics, Status},
};

/// All metrics as OpenMetrics text.
pub(super) fn render(status: &Arc<Status>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("millrace");
    registry.register_collector(Box::new(StatusCollector(Arc::clone(status))));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

struct Metric<M: 'static> {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    value: fn(&M) -> u64,
}

const fn counter<M>(name: &'static str, help: &'static str, value: fn(&M) -> u64) -> Metric<M> {
    Metric { name, help, kind: MetricType::Counter, value }
}

const fn gauge<M>(name: &'static str, help: &'static str, value: fn(&M) -> u64) -> Metric<M> {
    Metric { name, help, kind: MetricType::Gauge, value }
}

const HALF: &[Metric<Half>] = &[
    gauge("half_ready", "1 while the half is connected and working", |half| {
        u64::from(half.not_ready().is_none())
    }),
    counter("half_restarts", "Times that the half was started again after a failure", |half| {
        half.restarts.load(Relaxed)
    }),
];

const SOURCE: &[Metric<source::Metrics>] = &[
    counter("source_events", "Change events read", |m| m.events.load(Relaxed)),
    counter("source_read_bytes", "Bytes of the server's replies", |m| m.read_bytes.load(Relaxed)),
    counter("source_records", "Records handed to Kafka", |m| m.records.load(Relaxed)),
    counter("source_record_bytes", "Bytes of keys and values handed to Kafka", |m| {
        m.record_bytes.load(Relaxed)
    }),
    counter("source_dropped_events", "Events that a transformation dropped", |m| m.dropped.load(Relaxed)),
    counter("source_reopens", "Times that the change stream was opened again", |m| m.reopens.load(Relaxed)),
    counter("source_history_losses", "Times that changes were lost, the oplog no longer having them", |m| {
        m.history_losses.load(Relaxed)
    }),
    counter("source_reduced_events", "Events over 16 MB that were sent in part", |m| m.reduced.load(Relaxed)),
    counter("source_heartbeats", "Heartbeat records sent", |m| m.heartbeats.load(Relaxed)),
    counter("source_checkpoints", "Checkpoints stored", |m| m.checkpoints.load(Relaxed)),
    counter("source_snapshot_documents", "Documents copied by snapshots", |m| {
        m.snapshot_documents.load(Relaxed)
    }),
    gauge("source_snapshot_collections_left", "Collections not yet copied", |m| {
        m.snapshot_collections_left.load(Relaxed)
    }),
    gauge("source_snapshot_documents_left", "About how many documents are not yet copied", |m| {
        m.snapshot_documents_left.load(Relaxed)
    }),
    gauge("source_snapshot_eta_seconds", "How long the rest takes at the speed so far", |m| {
        m.snapshot_eta_seconds.load(Relaxed)
    }),
    gauge("source_in_flight_bytes", "Bytes sent and not yet acknowledged", |m| {
        m.in_flight_bytes.load(Relaxed)
    }),
    gauge("source_lag_seconds", "Age of the time up to which all is acknowledged", |m| {
        lag(m.acknowledged_time().seconds)
    }),
    gauge("source_checkpoint_age_seconds", "Age of the time that the stored checkpoint stands for", |m| {
        lag(m.stored_time().seconds)
    }),
];

type CountByReason = fn(&source::Metrics, Reason) -> u64;

/// Counters of a source by the reason for which a change could not be sent.
const SOURCE_BY_REASON: &[(&str, &str, CountByReason)] = &[
    (
        "source_skipped_changes",
        "Changes that could not be sent and were skipped",
        source::Metrics::skipped_count,
    ),
    ("source_dead_letters", "Changes that went to the dead letter topic", source::Metrics::dead_letter_count),
];

/// Seconds from a time in seconds since the epoch until now; 0 where there is none yet.
fn lag(seconds: u32) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    if seconds == 0 { 0 } else { now.saturating_sub(u64::from(seconds)) }
}

struct StatusCollector(Arc<Status>);

impl fmt::Debug for StatusCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StatusCollector")
    }
}

impl Collector for StatusCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let halves = || self.0.halves.iter();
        encode_all(&mut encoder, HALF, &halves().map(|half| (&**half, &**half)))?;
        let sources = halves().filter_map(|half| match &half.metrics {
            Metrics::Source(metrics) => Some((&**half, &**metrics)),
            Metrics::Sink(_) => None,
        });
        encode_all(&mut encoder, SOURCE, &sources)?;
        encode_by_reason(&mut encoder, &sources)?;
        encode_oplog_window(&mut encoder, &sources)?;
        let sinks = halves().filter_map(|half| match &half.metrics {
            Metrics::Sink(metrics) => Some((&**half, &**metrics)),
            Metrics::Source(_) => None,
        });
        encode_all(&mut encoder, SINK, &sinks)
    }
}

fn encode_all<'a, M>(
    encoder: &mut DescriptorEncoder<'_>,
    metrics: &[Metric<M>],
    halves: &(impl Iterator<Item = (&'a Half, &'a M)> + Clone),
) -> fmt::Result {
    for metric in metrics {
        if halves.clone().next().is_none() {
            continue;
        }
        let mut family = encoder.encode_descriptor(metric.name, metric.help, None, metric.kind)?;
        for (half, values) in halves.clone() {
            let labels = [("kind", half.kind()), ("name", half.name.as_str())];
            let value = (metric.value)(values);
            let encoder = family.encode_family(&labels)?;
            match metric.kind {
                MetricType::Counter => ConstCounter::new(value).encode(encoder)?,
                _ => ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(encoder)?,
            }
        }
    }
    Ok(())
}

fn encode_by_reason<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    sources: &(impl Iterator<Item = (&'a Half, &'a source::Metrics)> + Clone),
) -> fmt::Result {
    if sources.clone().next().is_none() {
        return Ok(());
    }
    for (name, help, value) in SOURCE_BY_REASON {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (half, metrics) in sources.clone() {
            for reason in Reason::ALL {
                let labels = [("name", half.name.as_str()), ("reason", reason.name())];
                let encoder = family.encode_family(&labels)?;
                ConstCounter::new(value(metrics, reason)).encode(encoder)?;
            }
        }
    }
    Ok(())
}

/// Only of sources that may read the oplog: no sample is better than a wrong one.
fn encode_oplog_window<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    sources: &(impl Iterator<Item = (&'a Half, &'a source::Metrics)> + Clone),
) -> fmt::Result {
    let known =
        || sources.clone().filter_map(|(half, metrics)| Some((half, metrics.oplog_window_seconds()?)));
    if known().next().is_none() {
        return Ok(());
    }
    let help = "Seconds between the stored checkpoint and the oldest entry of the oplog";
    let mut family =
        encoder.encode_descriptor("source_oplog_window_seconds", help, None, MetricType::Gauge)?;
    for (half, seconds) in known() {
        let labels = [("kind", half.kind()), ("name", half.name.as_str())];
        let encoder = family.encode_family(&labels)?;
        ConstGauge::new(i64::try_from(seconds).unwrap_or(i64::MAX)).encode(encoder)?;
    }
    Ok(())
}

/// How far a source's snapshot is, for `/status`.
pub(super) fn snapshot_report(metrics: &source::Metrics) -> Value {
    json!({
        "documentsCopied": metrics.snapshot_documents.load(Relaxed),
        "documentsLeft": metrics.snapshot_documents_left.load(Relaxed),
        "collectionsLeft": metrics.snapshot_collections_left.load(Relaxed),
        "etaSeconds": metrics.snapshot_eta_seconds.load(Relaxed),
    })
}

/// Changes that could not be sent, for `/status`: by what became of them and why.
pub(super) fn unsent_report(metrics: &source::Metrics) -> Value {
    let by_reason = |value: CountByReason| {
        let counts = Reason::ALL.map(|reason| (reason.name().to_owned(), json!(value(metrics, reason))));
        Value::Object(counts.into_iter().collect())
    };
    json!({
        "skippedChanges": by_reason(source::Metrics::skipped_count),
        "deadLetters": by_reason(source::Metrics::dead_letter_count),
    })
}

const SINK: &[Metric<sink::Metrics>] = &[
    counter("sink_records", "Records read", |m| m.records.load(Relaxed)),
    counter("sink_record_bytes", "Bytes of their keys and values", |m| m.bytes.load(Relaxed)),
    counter("sink_skipped_records", "Records that write nothing", |m| m.skipped.load(Relaxed)),
    counter("sink_documents", "Statements written, after folding", |m| m.documents.load(Relaxed)),
    counter("sink_batches", "Batches written", |m| m.batches.load(Relaxed)),
    counter("sink_commands", "Commands sent to MongoDB", |m| m.commands.load(Relaxed)),
    counter("sink_retries", "Pauses before something was tried again", |m| m.retries.load(Relaxed)),
    counter("sink_duplicates", "Inserts that met a document and became replaces", |m| {
        m.duplicates.load(Relaxed)
    }),
    counter("sink_missing_documents", "Updates whose document was not there", |m| {
        m.missing_documents.load(Relaxed)
    }),
    counter("sink_dead_letters", "Records that could not be written and were passed over", |m| {
        m.dead_letters.load(Relaxed)
    }),
    gauge("sink_held_records", "Records that wait for a unique value", |m| m.held_records.load(Relaxed)),
    counter("sink_commits", "Commits of offsets", |m| m.commits.load(Relaxed)),
    gauge("sink_lag_records", "Records between committed offsets and the ends of the partitions", |m| {
        m.lag_records.load(Relaxed)
    }),
];

/// The numbers of a sink for `/status`.
pub(super) fn sink_report(metrics: &sink::Metrics) -> Value {
    json!({
        "records": metrics.records.load(Relaxed),
        "skippedRecords": metrics.skipped.load(Relaxed),
        "documents": metrics.documents.load(Relaxed),
        "batches": metrics.batches.load(Relaxed),
        "retries": metrics.retries.load(Relaxed),
        "duplicates": metrics.duplicates.load(Relaxed),
        "missingDocuments": metrics.missing_documents.load(Relaxed),
        "deadLetters": metrics.dead_letters.load(Relaxed),
        "heldRecords": metrics.held_records.load(Relaxed),
        "lagRecords": metrics.lag_records.load(Relaxed),
    })
}
