//! Looks at suspected documents again until it is certain of each.
//!
//! It runs beside the reading of ranges. Both hand-over and what it follows are bounded: while many documents are open,
//! ranges wait.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use tokio::sync::mpsc;

use super::{
    Compared, Options, Progress, Tally,
    content::State,
    fingerprint,
    read::Side,
    report::{Difference, Findings, Kind},
    suspect::{Outlook, Suspect},
};
use crate::{ranges::Id, raw, retry::Failure};

/// Documents that are followed at once. Where so many differ, that is what is worth knowing; ranges wait.
const MOST_FOLLOWED: usize = 10_000;

/// Documents that are read again in one request…
const CHUNK: usize = 200;
/// …or fewer, where their `_id`s are large: a request has a limit.
const CHUNK_BYTES: usize = 1 << 20;

/// Names of fields that are given for a document.
const MOST_FIELDS: usize = 10;

pub(super) struct Judge {
    source: Side,
    target: Side,
    compared: Arc<[Compared]>,
    options: Options,
    progress: Arc<Progress>,
    open: Vec<Suspect>,
    findings: Vec<Findings>,
}

impl Judge {
    pub(super) fn new(
        source: Side,
        target: Side,
        compared: &Arc<[Compared]>,
        options: Options,
        progress: &Arc<Progress>,
    ) -> Self {
        let findings = compared.iter().map(|_| Findings::default()).collect();
        let (compared, progress) = (Arc::clone(compared), Arc::clone(progress));
        Self { source, target, compared, options, progress, open: Vec::new(), findings }
    }

    /// Follows what is suspected until nobody suspects anything any more. Yields what was found for each pair.
    pub(super) async fn run(
        mut self,
        mut suspected: mpsc::Receiver<Vec<Suspect>>,
    ) -> Result<Vec<Findings>, Failure> {
        let mut is_reading = true;
        while is_reading || !self.open.is_empty() {
            let next_look = self.open.iter().map(|suspect| suspect.next_look).min();
            tokio::select! {
                more = suspected.recv(), if is_reading && self.open.len() < MOST_FOLLOWED => match more {
                    Some(suspects) => self.open.extend(suspects),
                    None => is_reading = false,
                },
                () = until(next_look) => self.look().await?,
            }
            self.progress.open.store(self.open.len() as u64, Relaxed);
        }
        Ok(self.findings)
    }

    /// Looks at all whose time has come.
    async fn look(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        let compared = Arc::clone(&self.compared);
        self.open.retain(|suspect| !compared[suspect.pair].tally.is_cut_short());
        let (mut due, waiting): (Vec<_>, Vec<_>) =
            self.open.drain(..).partition(|suspect| suspect.next_look <= now);
        self.open = waiting;
        due.sort_by_key(|suspect| suspect.pair);
        let mut due = due.into_iter().peekable();
        while let Some(first) = due.next() {
            let pair = first.pair;
            let mut bytes = first.id.as_bytes().len();
            let mut chunk = vec![first];
            while chunk.len() < CHUNK && bytes < CHUNK_BYTES {
                let Some(next) = due.next_if(|next| next.pair == pair) else { break };
                bytes += next.id.as_bytes().len();
                chunk.push(next);
            }
            self.look_at(pair, chunk).await?;
        }
        Ok(())
    }

    async fn look_at(&mut self, pair: usize, chunk: Vec<Suspect>) -> Result<(), Failure> {
        if self.tally(pair).is_cut_short() {
            return Ok(());
        }
        let names = &self.compared[pair].pair;
        let ids: Vec<Id> = chunk.iter().map(|suspect| suspect.id.clone()).collect();
        let begun = Instant::now();
        // The source first: a copy that is up to date when it is read then cannot look as if it were ahead.
        let mut sources = self.source.prints(&names.source, &ids).await?;
        let mut targets = self.target.prints(&names.target, &ids).await?;
        let done = Instant::now();
        for mut suspect in chunk {
            let seen = State {
                source: sources.take(&suspect.id).map_err(malformed)?,
                target: targets.take(&suspect.id).map_err(malformed)?,
            };
            match suspect.look(seen, begun, done, self.options.settle) {
                Outlook::Equal => {}
                Outlook::Open => self.open.push(suspect),
                Outlook::Unsettled => {
                    self.findings[pair].add_unsettled(suspect.id, self.options.max_differences);
                }
                Outlook::Different(state) => self.report(pair, suspect.id, state).await?,
            }
        }
        Ok(())
    }

    async fn report(&mut self, pair: usize, id: Id, state: State) -> Result<(), Failure> {
        let most = self.options.max_differences;
        if self.findings[pair].differences.len() >= most || self.findings[pair].has(&id).map_err(malformed)? {
            return Ok(());
        }
        let kind = Kind::of(state);
        let fields = match kind {
            Kind::Different => self.differing_fields(pair, &id).await?,
            Kind::Missing | Kind::Extra => Vec::new(),
        };
        let differences = &mut self.findings[pair].differences;
        differences.push(Difference { kind, id, fields });
        if differences.len() >= most {
            self.tally(pair).cut_short();
        }
        Ok(())
    }

    /// Says more about a difference; nothing where it is one no longer.
    async fn differing_fields(&self, pair: usize, id: &Id) -> Result<Vec<String>, Failure> {
        let names = &self.compared[pair].pair;
        let source = self.source.document(&names.source, id).await?;
        let target = self.target.document(&names.target, id).await?;
        let (Some(source), Some(target)) = (source, target) else { return Ok(Vec::new()) };
        raw::Document::new(&source)
            .and_then(|source| {
                let target = raw::Document::new(&target)?;
                fingerprint::differing_fields(source, target, self.options.order, MOST_FIELDS)
            })
            .map_err(malformed)
    }

    fn tally(&self, pair: usize) -> &Tally {
        &self.compared[pair].tally
    }
}

fn malformed(error: raw::Error) -> Failure {
    Failure::stop(format!("a document that was read again: {error}"))
}

/// Waits for ever where there is nothing to wait for.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending::<()>().await,
    }
}
