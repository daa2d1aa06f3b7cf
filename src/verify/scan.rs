//! Reads both sides range after range and hands on the documents in which they differ.
//!
//! A range is what the source has from one `_id` on, up to so many documents; the target is read between the same
//! borders. Where the target has more than so many there, the range is cut where the target's part was full, and the
//! source is read again up to there. So neither side is ever held with more documents than that, whatever the other has.
//!
//! Where the collections have different collations, borders of one mean nothing to the other. Then each is read on its
//! own, and its documents are looked up in the other.

use std::{sync::Arc, time::Instant};

use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

use super::{
    Compared, Options, Progress,
    content::{self, Content, State},
    pairs::Pair,
    read::{Range, Side},
    suspect::Suspect,
};
use crate::{ranges::Id, raw, retry::Failure};

/// Documents in a range, on either side. Replies of so many are large enough to be worth a request.
const RANGE: usize = 2_000;

/// Documents that are looked up in the other side at once.
const LOOKED_UP: usize = 500;

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
            self.progress.now(&compared.pair.source);
            if !compared.has_one_order {
                self.each_on_its_own(pair).await?;
                continue;
            }
            let count = (compared.estimate / RANGE as u64).min(PARTS_PER_THREAD * options.threads as u64);
            let borders = self.source.borders(&compared.pair.source, count).await?;
            let ends: Vec<_> = borders.into_iter().map(Some).chain([None]).collect();
            let mut from = None;
            for until in ends {
                let permit = Arc::clone(&threads).acquire_owned().await.expect("nobody closes the semaphore");
                while let Some(outcome) = tasks.try_join_next() {
                    joined(outcome)?;
                }
                if compared.tally.is_cut_short() {
                    break;
                }
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
            let both = self.both(pair, from.as_ref(), until.as_ref(), ahead.take()).await?;
            let found = content::differences(&both.source, &both.target);
            let (sources, targets) = (both.source.documents.len() as u64, both.target.documents.len() as u64);
            if !self.hand_on(pair, sources, targets, found).await? {
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

    /// Compares two collections that have different orders.
    async fn each_on_its_own(&self, pair: usize) -> Result<(), Failure> {
        let Pair { source: of_source, target: of_target } = &self.compared[pair].pair;
        let sides = [(&self.source, of_source), (&self.target, of_target)];
        for (is_source, [(here, name), (there, other_name)]) in [(true, sides), (false, [sides[1], sides[0]])]
        {
            let mut from = None;
            loop {
                let range = Range { namespace: name, from: from.as_ref(), until: None, limit: LOOKED_UP };
                let read = here.content(range).await?;
                let ids: Vec<Id> = read.documents.iter().map(|(id, _)| id.clone()).collect();
                let there = there.prints(other_name, &ids).await?;
                let found = content::looked_up(&read, there, is_source);
                let count = read.documents.len() as u64;
                let (sources, targets) = if is_source { (count, 0) } else { (0, count) };
                if !self.hand_on(pair, sources, targets, found).await? {
                    return Ok(());
                }
                let Some(next) = read.next else { break };
                from = Some(next);
            }
        }
        Ok(())
    }

    /// Notes what was read, and hands on what differs; `false` when enough is known.
    async fn hand_on(
        &self,
        pair: usize,
        sources: u64,
        targets: u64,
        found: Result<Vec<(Id, State)>, raw::Error>,
    ) -> Result<bool, Failure> {
        let Compared { pair: names, tally, .. } = &self.compared[pair];
        tally.add(sources, targets);
        self.progress.add(sources.max(targets));
        let found =
            found.map_err(|error| Failure::stop(format!("cannot compare {}: {error}", names.source)))?;
        if !found.is_empty() {
            let now = Instant::now();
            let suspects = found.into_iter().map(|(id, state)| Suspect::new(pair, id, state, now)).collect();
            // An error says that the judge has ended, and why is for it to say.
            if self.suspects.send(suspects).await.is_err() {
                return Ok(false);
            }
        }
        Ok(!tally.is_cut_short())
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
