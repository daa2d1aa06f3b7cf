//! A position that is no longer in the oplog: what was lost is said and counted, and the settings say what then.
//!
//! The source ends when its reader finds this. Unless it is to stay down it starts again, and [`lost_history`] makes the
//! position from which it goes on: like every position from which a source starts, that one is stored before anything
//! is sent.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use mongodb::Client;

use super::{Metrics, start::with_everything};
use crate::{
    config::{self, ClusterTime, HistoryLost},
    mongo,
    position::Position,
    retry::Failure,
};

/// So many losses…
const MOST_LOSSES: usize = 3;
/// …within this time, and the source stays down: its oplog is too short for it.
const LOSSES_WITHIN: Duration = Duration::from_secs(15 * 60);

/// What is known of losses, over all restarts of a source.
#[derive(Debug, Default)]
pub struct Losses {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Found by the reader, not yet acted on.
    pending: Option<Loss>,
    recent: Vec<Instant>,
}

/// What was lost.
#[derive(Clone, Debug)]
pub(super) struct Loss {
    /// Where the stream stood.
    pub(super) position: Position,
    /// The oldest entry of the oplog then, where it could be read.
    pub(super) oldest: Option<ClusterTime>,
}

impl Losses {
    /// Notes that `position` cannot be continued; gives what the source ends with.
    pub(super) fn note(
        &self,
        settings: &config::Source,
        metrics: &Metrics,
        position: &Position,
        oldest: Option<ClusterTime>,
        reason: &str,
    ) -> Failure {
        metrics.history_lost();
        let oldest_text = oldest.map_or_else(
            || "the start of the oplog, which this user may not read".to_owned(),
            |oldest| oldest.to_string(),
        );
        let what = format!(
            "source {}: the stored position ({position}) is no longer in the oplog: changes between it and \
             {oldest_text} are lost ({reason})",
            settings.name
        );
        let follow = match settings.on_history_lost {
            HistoryLost::Fail => {
                return Failure::stop(format!(
                    "{what}. Nothing was skipped. To go on without them set on_history_lost to \"snapshot\" or \
                     \"latest\", or remove the checkpoint; a longer oplog (replSetResizeOplog) prevents this"
                ));
            }
            HistoryLost::Snapshot => "copying what is watched again",
            HistoryLost::Latest => "going on with the next change",
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.admits(Instant::now()) {
            return Failure::stop(format!(
                "{what}. This was loss {MOST_LOSSES} within {} minutes: the oplog is too short for this source; make it \
                 longer (replSetResizeOplog), then start again",
                LOSSES_WITHIN.as_secs() / 60
            ));
        }
        state.pending = Some(Loss { position: position.clone(), oldest });
        Failure::retry(format!("{what}; {follow}, as on_history_lost says"))
    }

    /// What was lost, to be acted on now.
    pub(super) fn take(&self) -> Option<Loss> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).pending.take()
    }
}

impl State {
    /// Counts a loss; whether to go on after it.
    fn admits(&mut self, now: Instant) -> bool {
        self.recent.retain(|earlier| now.duration_since(*earlier) < LOSSES_WITHIN);
        self.recent.push(now);
        self.recent.len() < MOST_LOSSES
    }
}

/// Where a source goes on that was to go on after `stored`, but whose history is lost: with the next change, in a new
/// generation, which remembers what was lost. What a snapshot had left to copy it still has.
///
/// # Errors
/// When the deployment does not answer.
pub(super) async fn lost_history(
    client: &Client,
    settings: &config::Source,
    stored: &Position,
    loss: &Loss,
) -> Result<Position, Failure> {
    let skipped = stored.skip_to(mongo::next_operation_time(client).await?);
    let position = match (settings.on_history_lost, &stored.snapshot) {
        (HistoryLost::Snapshot, _) => with_sweeps(&with_everything(client, settings, &skipped).await?),
        (HistoryLost::Fail | HistoryLost::Latest, Some(plan)) => skipped.with_snapshot(plan),
        (HistoryLost::Fail | HistoryLost::Latest, None) => skipped,
    };
    tracing::warn!(
        source = settings.name,
        policy = ?settings.on_history_lost,
        lost_after = %loss.position,
        oldest = loss.oldest.map(tracing::field::display),
        %position,
        "history was lost: changes between the old position and the new one are not sent as changes"
    );
    Ok(position)
}

/// `position` with all that is to be copied compared with its topics too: deletes are among what was lost.
fn with_sweeps(position: &Position) -> Position {
    let mut plan = position.snapshot.as_deref().cloned().unwrap_or_default();
    let copied = plan.namespaces();
    plan.sweep(copied.into_iter().map(Arc::new));
    position.with_snapshot(&plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_loses_its_history_again_and_again_stays_down() {
        let mut state = State::default();
        let start = Instant::now();
        assert!(state.admits(start));
        assert!(state.admits(start + Duration::from_secs(60)));
        assert!(!state.admits(start + Duration::from_secs(120)), "the third");
        assert!(state.admits(start + LOSSES_WITHIN * 3), "the others were long ago");
    }
}
