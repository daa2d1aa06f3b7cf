//! Compares namespaces of two deployments: what a pipeline has made of its source, or any two that are named.
//!
//! ```text
//! pairs ▶ scan ─┬─ read ▶ content (equal ranges end here)
//!               └─ suspects ▶ judge ─ read again ▶ suspect ▶ report
//! ```
//!
//! Both sides are read in ranges of `_id` and compared by the documents' hashes. Nothing is reported from that alone: a
//! document that differs is looked at again until it is equal, or until both sides have stayed different and as they are
//! for a settling time. So a copy that is being kept up compares as equal while changes are in flight, as long as it
//! lags by less than that time. What is promised of what changes meanwhile is in `docs/operations.md`.
//!
//! In memory are ranges of bounded size, one for each thread and side, and a bounded number of suspected documents.

mod pairs;
mod progress;

mod content;
mod fingerprint;
mod read;
mod scan;

mod judge;
mod report;
mod suspect;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::mpsc;

pub use self::{
    fingerprint::FieldOrder,
    pairs::{Named, Pair, Plan},
    progress::Progress,
    report::{Comparison, Difference, Findings, Kind, Report, json_error},
};
use self::{judge::Judge, read::Side, scan::Scan};
use crate::{
    collections,
    config::Mongodb,
    mongo,
    retry::Failure,
    sink::catalog::{self, Kind as CollectionKind},
};

/// How to compare.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Parts that are read at once.
    pub threads: usize,
    /// How long a document has to stay different, with neither side changing, until it is reported.
    pub settle: Duration,
    /// Differences after which a namespace is left.
    pub max_differences: usize,
    /// Whether the order of fields counts.
    pub order: FieldOrder,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was asked for cannot be compared.
    #[error("{0}")]
    Refused(String),
    /// A deployment cannot be read.
    #[error("{0}")]
    Failed(#[from] Failure),
}

/// Two namespaces that are being compared.
#[derive(Debug)]
struct Compared {
    pair: Pair,
    /// About how many documents the larger one has.
    estimate: u64,
    /// Whether `_id`s have the same order on both sides.
    has_one_order: bool,
    tally: Tally,
}

/// What has been read of a pair.
#[derive(Debug, Default)]
struct Tally {
    source: AtomicU64,
    target: AtomicU64,
    is_cut_short: AtomicBool,
}

impl Tally {
    fn add(&self, source: u64, target: u64) {
        self.source.fetch_add(source, Relaxed);
        self.target.fetch_add(target, Relaxed);
    }

    /// Enough differences are known.
    fn cut_short(&self) {
        self.is_cut_short.store(true, Relaxed);
    }

    fn is_cut_short(&self) -> bool {
        self.is_cut_short.load(Relaxed)
    }
}

/// Compares what `plan` says. `progress` says meanwhile how far it is.
///
/// # Errors
/// When it cannot be compared, or not to its end; then nothing is known of any namespace.
pub async fn verify(
    from: &Mongodb,
    to: &Mongodb,
    plan: &Plan,
    options: Options,
    progress: &Arc<Progress>,
) -> Result<Report, Error> {
    let (source, target) = (mongo::client(from).await?, mongo::client(to).await?);
    let members = source.selection_criteria().cloned();
    let source = Side { client: source, members, order: options.order };
    let target = Side { client: target, members: None, order: options.order };
    let pairs = pairs(&source, &target, plan).await?;
    if let Some(same) = pairs.iter().find(|pair| pair.source == pair.target).filter(|_| from == to) {
        return Err(Error::Refused(format!("{} would be compared with itself", same.source)));
    }
    let mut compared = Vec::new();
    for pair in pairs {
        compared.push(look(&source, &target, pair, matches!(plan, Plan::Named(_))).await?);
    }
    let compared: Arc<[Compared]> = compared.into();
    progress.total.store(compared.iter().map(|compared| compared.estimate).sum(), Relaxed);

    // When it is full, ranges wait until the judge is sure of some of what it follows.
    let (suspects, suspected) = mpsc::channel(1);
    let judge = Judge::new(source.clone(), target.clone(), &compared, options, progress);
    let judge = tokio::spawn(judge.run(suspected));
    let scan =
        Scan { source, target, compared: Arc::clone(&compared), suspects, progress: Arc::clone(progress) };
    if let Err(failure) = scan.all(options).await {
        judge.abort();
        return Err(failure.into());
    }
    let findings = judge.await.map_err(|error| Failure::stop(format!("a defect in millrace: {error}")))??;
    let namespaces = compared.iter().zip(findings).map(|(compared, findings)| Comparison {
        pair: compared.pair.clone(),
        source_documents: compared.tally.source.load(Relaxed),
        target_documents: compared.tally.target.load(Relaxed),
        is_cut_short: compared.tally.is_cut_short(),
        findings,
    });
    Ok(Report { namespaces: namespaces.collect() })
}

/// What there is to compare, looked up on both sides.
async fn pairs(source: &Side, target: &Side, plan: &Plan) -> Result<Vec<Pair>, Error> {
    let in_source = collections::in_databases_of(&source.client, &plan.in_source()).await?;
    let in_target = collections::in_databases_of(&target.client, &plan.in_target()).await?;
    plan.pairs(&in_source, &in_target).map_err(Error::Refused)
}

/// Looks at both collections of a pair.
async fn look(source: &Side, target: &Side, pair: Pair, is_named: bool) -> Result<Compared, Error> {
    let (of_source, source_collation) = catalog::kind_and_collation(&source.client, &pair.source).await?;
    let (of_target, target_collation) = catalog::kind_and_collation(&target.client, &pair.target).await?;
    for (kind, namespace, side) in
        [(&of_source, &pair.source, "source"), (&of_target, &pair.target, "target")]
    {
        let is = match kind {
            CollectionKind::Missing | CollectionKind::Ordinary => continue,
            CollectionKind::View => "a view",
            CollectionKind::TimeSeries { .. } => "a time-series collection",
        };
        return Err(Error::Refused(format!(
            "{namespace} of the {side} is {is}; only ordinary collections can be compared"
        )));
    }
    if is_named && of_source == CollectionKind::Missing && of_target == CollectionKind::Missing {
        let Pair { source, target } = pair;
        return Err(Error::Refused(format!(
            "there is neither {source} in the source nor {target} in the target"
        )));
    }
    let is_missing = of_source == CollectionKind::Missing || of_target == CollectionKind::Missing;
    Ok(Compared {
        estimate: source.estimate(&pair.source).await?.max(target.estimate(&pair.target).await?),
        has_one_order: is_missing || source_collation == target_collation,
        pair,
        tally: Tally::default(),
    })
}
