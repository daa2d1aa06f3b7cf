//! Reads both sides range after range and hands on the documents in which they differ.
//!
//! A range is what the source has from one `_id` on, up to so many documents; the target is read between the same
//! borders. Where the target has more than so many there, the range is cut where the target's part was full, and the
//! source is read again up to there. So neither side is ever held with more documents than that, whatever the other has.

use std::{sync::Arc, time::Instant};

use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

use super::{
    Compared, Options, Progress,
    content::{self, Content},
    pairs::Pair,
    read::{Range, Side},
    suspect::Suspect,
};
use crate::{ranges::Id, retry::Failure};

/// Documents in a range, on either side. Replies of so many are large enough to be worth a request.
const RANGE: usize = 2_000;

/// Parts of a collection for each thread: enough for all to end at about the same time.
const PARTS_PER_THREAD: u64 = 4;

/// Both sides, and where differences go.
#[derive(Clone)]
pub(super) struct Scan {
    pub(super) source: Side,
    pub(super) target: Side,
    pub(super) compared: Arc<[Compared]>,
    pub(super) suspects: mpsc::Sender<Vec<Suspect>>,
    pub(super) progress: Arc<Progress>,
}

impl Scan {
    /// Reads all pairs, some parts at once.
    pub(super) async fn all(self, options: Options) -> Result<(), Failure> {
        let threads = Arc::new(Semaphore::new(options.threads));
        let mut tasks = JoinSet::new();
        for pair in 0..self.compared.len() {
            let compared = &self.compared[pair];
            let count = (compared.estimate / RANGE as u64).min(PARTS_PER_THREAD * options.threads as u64);
            let borders = self.source.borders(&compared.pair.source, count).await?;
            let ends: Vec<_> = borders.into_iter().map(Some).chain([None]).collect();
            let mut from = None;
            for until in ends {
                let permit = Arc::clone(&threads).acquire_owned().await.expect("nobody closes the semaphore");
                while let Some(outcome) = tasks.try_join_next() {
                    joined(outcome)?;
                }
                self.progress.now(&compared.pair.source);
                let (scan, from) = (self.clone(), std::mem::replace(&mut from, until.clone()));
                tasks.spawn(async move {
                    let outcome = scan.part(pair, from, until).await;
                    drop(permit);
                    outcome
                });
            }
        }
        while let Some(outcome) = tasks.join_next().await {
            joined(outcome)?;
        }
        Ok(())
    }

    /// Compares what lies between two `_id`s.
    async fn part(&self, pair: usize, mut from: Option<Id>, until: Option<Id>) -> Result<(), Failure> {
        let mut ahead = None;
        loop {
            if self.compared[pair].tally.is_cut_short() {
                return Ok(());
            }
            let both = self.both(pair, from.as_ref(), until.as_ref(), ahead.take()).await?;
            if !self.hand_on(pair, &both).await? {
                return Ok(());
            }
            let Both { next, ahead: read_ahead, .. } = both;
            match next {
                Some(next) => from = Some(next),
                None => return Ok(()),
            }
            ahead = read_ahead;
        }
    }

    /// Reads the next range of both sides. While the target is read, the source is read ahead.
    async fn both(
        &self,
        pair: usize,
        from: Option<&Id>,
        until: Option<&Id>,
        ahead: Option<Content>,
    ) -> Result<Both, Failure> {
        let Pair { source: of_source, target: of_target } = &self.compared[pair].pair;
        let range = |namespace| Range { namespace, from, until, limit: RANGE };
        let mut source = match ahead {
            Some(read) => read,
            None => self.source.content(range(of_source)).await?,
        };
        loop {
            let border = source.next.as_ref().or(until);
            let target = self.target.content(Range { until: border, ..range(of_target) });
            let ahead = async {
                match &source.next {
                    Some(next) => {
                        self.source.content(Range { from: Some(next), ..range(of_source) }).await.map(Some)
                    }
                    None => Ok(None),
                }
            };
            let (target, ahead) = tokio::try_join!(target, ahead)?;
            if target.next.is_none() {
                let next = source.next.clone();
                return Ok(Both { source, target, next, ahead });
            }
            source = self.source.content(Range { until: target.next.as_ref(), ..range(of_source) }).await?;
            if source.next.is_none() {
                let next = target.next.clone();
                return Ok(Both { source, target, next, ahead: None });
            }
            // The source has grown there meanwhile: its own border again.
        }
    }

    /// Notes what was read, and hands on what differs; `false` when nobody takes it any more.
    async fn hand_on(&self, pair: usize, both: &Both) -> Result<bool, Failure> {
        let Compared { pair: names, tally, .. } = &self.compared[pair];
        let (sources, targets) = (both.source.documents.len() as u64, both.target.documents.len() as u64);
        tally.add(sources, targets);
        self.progress.add(sources.max(targets));
        let found = content::differences(&both.source, &both.target)
            .map_err(|error| Failure::stop(format!("cannot compare {}: {error}", names.source)))?;
        if found.is_empty() {
            return Ok(true);
        }
        let now = Instant::now();
        let suspects = found.into_iter().map(|(id, state)| Suspect::new(pair, id, state, now)).collect();
        Ok(self.suspects.send(suspects).await.is_ok())
    }
}

/// A range of both sides.
struct Both {
    source: Content,
    target: Content,
    /// Where the next range begins; `None` when the part is over.
    next: Option<Id>,
    /// The next range of the source, if it was read already.
    ahead: Option<Content>,
}

fn joined(outcome: Result<Result<(), Failure>, tokio::task::JoinError>) -> Result<(), Failure> {
    outcome.unwrap_or_else(|error| Err(Failure::stop(format!("a defect in millrace: {error}"))))
}
