//! What a sink knows of the collections that it writes to: how they are sharded, and which are being replayed.

use std::{collections::HashMap, sync::Arc};

use mongodb::Client;

use super::{
    super::{
        batch::{Item, Statement},
        catalog,
        shards::ShardKey,
    },
    Inserts,
};
use crate::{config, namespace::Namespace, retry::Failure};

/// Batches for which inserts go as replaces once most of them met a document that was there: a replay.
const REPLAY_BATCHES: u32 = 20;
/// Collections whose shard keys are remembered.
const MAX_REMEMBERED: usize = 10_000;
/// Fewer inserts say nothing about the rest.
const MIN_INSERTS: usize = 10;

/// What is known of each collection.
#[derive(Default)]
pub(super) struct Collections {
    /// How those are sharded that were written to.
    shard_keys: HashMap<Arc<Namespace>, ShardKey>,
    /// Those in which inserts meet what is there, and for how many more batches to expect that.
    replayed: HashMap<Arc<Namespace>, u32>,
}

impl Collections {
    /// Makes statements ready for their collections.
    ///
    /// # Errors
    /// When a collection cannot be looked at, or a statement cannot name its shard key.
    pub(super) async fn prepare(
        &mut self,
        items: impl Iterator<Item = &mut Item>,
        client: &Client,
        settings: &config::Sink,
    ) -> Result<(), Failure> {
        // Neighbours mostly share their collection.
        let mut last: Option<(Arc<Namespace>, ShardKey)> = None;
        for item in items {
            self.expect_replay(item);
            let key = match &last {
                Some((namespace, key)) if Arc::ptr_eq(namespace, &item.namespace) => key,
                _ => {
                    let key = self.shard_key(item, client, settings).await?;
                    &last.insert((Arc::clone(&item.namespace), key)).1
                }
            };
            if !key.is_empty() {
                key.complete(item)?;
            }
        }
        Ok(())
    }

    /// How an item's collection is sharded. One that is written to for the first time is looked at, and created if it is to
    /// be a time series.
    async fn shard_key(
        &mut self,
        item: &Item,
        client: &Client,
        settings: &config::Sink,
    ) -> Result<ShardKey, Failure> {
        let namespace = &item.namespace;
        if let Some(key) = self.shard_keys.get(namespace) {
            return Ok(key.clone());
        }
        let handling = settings.handling(&item.place.partition.topic);
        if let Some(time_series) = &handling.time_series {
            catalog::create_time_series(client, namespace, time_series).await?;
        }
        let key = look_up(client, namespace).await?;
        if !key.is_empty() {
            tracing::info!(sink = settings.name, %namespace, ?key, "the target is sharded");
        }
        if self.shard_keys.len() >= MAX_REMEMBERED {
            self.shard_keys.clear();
        }
        self.shard_keys.insert(Arc::clone(namespace), key.clone());
        Ok(key)
    }

    /// An insert into a collection that is being replayed costs less as a replace at once.
    fn expect_replay(&self, item: &mut Item) {
        if matches!(item.statement, Statement::Insert(_)) && self.replayed.contains_key(&item.namespace) {
            item.statement.insert_to_replace();
        }
    }

    /// Takes in how the inserts of a batch went.
    pub(super) fn learn(&mut self, inserts: Inserts) {
        self.replayed.retain(|_, batches| {
            *batches -= 1;
            *batches > 0
        });
        for (namespace, (sent, met)) in inserts {
            if sent >= MIN_INSERTS && met * 2 > sent {
                self.replayed.insert(namespace, REPLAY_BATCHES);
            }
        }
    }
}

/// How a collection is sharded.
///
/// # Errors
/// When it cannot be looked at.
pub(super) async fn look_up(client: &Client, namespace: &Namespace) -> Result<ShardKey, Failure> {
    Ok(match catalog::shard_key(client, namespace).await? {
        catalog::ShardKey::Fields(paths) => ShardKey::new(&paths),
        catalog::ShardKey::None | catalog::ShardKey::Unknown => ShardKey::default(),
    })
}
