//! Where a source starts: from its checkpoint, or where the configuration says.

use mongodb::Client;

use super::{Context, history, publish::Publisher, snapshot, watch};
use crate::{
    checkpoint::{self, Checkpoint, Identity, Store},
    config::{self, ClusterTime, SnapshotMode, Start},
    mongo,
    position::{Position, ResumeToken},
    retry::{Failure, Verdict},
};

/// Times that a starting source tries to sign its checkpoint while somebody else stores.
const CLAIM_ATTEMPTS: u32 = 3;

/// Loads the checkpoint, or makes the first one, and signs it.
///
/// The position from which a source starts is durable before the first record is sent: a crash right after the start
/// must not start at a later "latest".
pub(super) async fn position(
    client: &Client,
    context: &Context,
    mut identity: Identity,
    publisher: &Publisher,
) -> Result<(Store, Identity, Position), Failure> {
    let name = checkpoint::name(&context.pipeline, &context.settings.name);
    let mut store = Store::open(&context.checkpoint, &context.settings.kafka, name).await?;
    let mut attempts_left = CLAIM_ATTEMPTS;
    loop {
        let found = store.load(publisher).await?;
        identity.epoch = found.as_ref().map_or(0, |found| found.epoch) + 1;
        let position = stored_or_first(client, context, &identity, &store.place(), found).await?;
        attempts_left -= 1;
        match store.store(publisher, &identity.checkpoint(position.clone())).await {
            Ok(()) => return Ok((store, identity, position)),
            // What the last process sent before it died may have arrived just now.
            Err(failure) if failure.verdict == Verdict::Stop && attempts_left > 0 => {
                tracing::warn!(source = context.settings.name, "reading the checkpoint again: {failure}");
            }
            Err(failure) => return Err(failure),
        }
    }
}

async fn stored_or_first(
    client: &Client,
    context: &Context,
    identity: &Identity,
    place: &str,
    found: Option<Checkpoint>,
) -> Result<Position, Failure> {
    let source = &context.settings.name;
    if let Some(found) = found {
        check_deployment(place, found.deployment.as_deref(), identity.deployment.as_deref())?;
        if let Some(loss) = context.losses.take() {
            return history::lost_history(client, &context.settings, &found.position, &loss).await;
        }
        let token = found.position.token.as_ref().filter(|_| context.identifiers).map(ResumeToken::data);
        tracing::info!(source, position = %found.position, token, from = place, "resuming");
        if context.settings.snapshot.mode == SnapshotMode::Only && found.position.snapshot.is_none() {
            tracing::info!(source, place, "the copy is complete; remove the checkpoint to make another");
        }
        return Ok(found.position);
    }
    let start = match &context.settings.start {
        Start::At(time) => Position::at_time(0, *time),
        Start::Latest => now(client, 0).await?,
        Start::After(data) => {
            let position = Position::at_time(0, ClusterTime::default()).after(ResumeToken::from_data(data));
            watch::accepts(client, &context.settings, &position).await?;
            position
        }
    };
    // What is created from here on comes with the stream.
    let position = match context.settings.snapshot.mode {
        SnapshotMode::Off => start,
        SnapshotMode::Initial | SnapshotMode::Only => {
            with_everything(client, &context.settings, &start).await?
        }
    };
    tracing::warn!(source, %position, place, "no checkpoint; starting where the configuration says");
    Ok(position)
}

/// The position before the next change.
///
/// # Errors
/// When the deployment does not answer.
pub async fn now(client: &Client, generation: u64) -> Result<Position, Failure> {
    Ok(Position::at_time(generation, mongo::next_operation_time(client).await?))
}

/// `position` with everything left to copy.
///
/// # Errors
/// When the deployment does not answer, or is too old for snapshots.
pub async fn with_everything(
    client: &Client,
    settings: &config::Source,
    position: &Position,
) -> Result<Position, Failure> {
    let waiting = snapshot::everything(client, settings).await?;
    let documents: u64 = waiting.iter().map(|waiting| waiting.estimate).sum();
    let (source, collections) = (&settings.name, waiting.len());
    tracing::info!(source, collections, documents, "everything that is watched will be copied");
    Ok(position.with_snapshot(&snapshot::Plan::new(waiting)))
}

fn check_deployment(place: &str, stored: Option<&str>, current: Option<&str>) -> Result<(), Failure> {
    match (stored, current) {
        (Some(stored), Some(current)) if stored != current => Err(Failure::stop(format!(
            "the checkpoint in {place} belongs to another MongoDB deployment (replica set id {stored}, connected to \
             {current}); check the uri, or remove the checkpoint to start anew"
        ))),
        (_, None) => {
            tracing::warn!(
                place,
                "may not read the deployment's id; a checkpoint of another deployment would not be noticed (grant \
                 clusterMonitor)"
            );
            Ok(())
        }
        _ => Ok(()),
    }
}
