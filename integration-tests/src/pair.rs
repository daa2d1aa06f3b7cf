//! An original database, its copy and the topics between them: what a pipeline has to have done, asked of the servers.

use std::time::Duration;

use anyhow::{Result, ensure};
use bson::{RawDocumentBuf, Timestamp};
use mongodb::{Client, Collection};

use crate::{
    compare::{self, Comparison},
    ledger::{self, Event},
    order::{self, Summary},
    servers::{Addresses, delete_topics, topic_names},
    topic, wait,
};

/// Longest that everything may take to arrive after the load has ended.
pub const ARRIVAL_DEADLINE: Duration = Duration::from_secs(120);

/// An original and its copy in one deployment.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The database that is written to; its topics are `DATABASE.*`.
    pub database: String,
    /// The database that the sink writes to.
    pub copy: String,
    /// A client for both.
    pub client: Client,
    /// The cluster's `host:port`.
    pub kafka: String,
    /// The cluster time before anything was written.
    pub begun: Timestamp,
}

impl Pair {
    /// `database` and `DATABASE_copy`, from now on.
    pub async fn new(addresses: &Addresses, client: &Client, database: &str) -> Result<Self> {
        Ok(Self {
            database: database.to_owned(),
            copy: format!("{database}_copy"),
            client: client.clone(),
            kafka: addresses.kafka.clone(),
            begun: ledger::now(client).await?,
        })
    }

    /// A collection of the original.
    pub fn original(&self, name: &str) -> Collection<RawDocumentBuf> {
        self.client.database(&self.database).collection(name)
    }

    /// Its copy.
    pub fn copied(&self, name: &str) -> Collection<RawDocumentBuf> {
        self.client.database(&self.copy).collection(name)
    }

    /// The database's topics: one per collection, and the one of events about the whole database.
    pub async fn topics(&self) -> Result<Vec<String>> {
        let prefix = format!("{}.", self.database);
        let names = topic_names(&self.kafka).await?;
        Ok(names.into_iter().filter(|name| name.starts_with(&prefix) || *name == self.database).collect())
    }

    /// How many records lie in the database's topics.
    pub async fn record_count(&self) -> Result<u64> {
        topic::count(&self.kafka, self.topics().await?).await
    }

    /// All records of the database's topics.
    pub async fn records(&self) -> Result<Vec<topic::Record>> {
        topic::read(&self.kafka, self.topics().await?).await
    }

    /// All events of the database since the pair began.
    pub async fn events(&self) -> Result<Vec<Event>> {
        ledger::read(&self.client, &self.database, self.begun).await
    }

    /// Compares the copy with the original as they are now.
    pub async fn compare(&self) -> Result<Comparison> {
        compare::databases(&self.client, &self.database, &self.copy).await
    }

    /// Waits until the copy is the original; an error with the first difference if it does not become so. Yields how
    /// many documents are equal.
    pub async fn identical(&self) -> Result<u64> {
        wait::until("the copy to become identical", ARRIVAL_DEADLINE, async || {
            let found = self.compare().await?;
            match found.difference {
                None => Ok(Some(found.equal_count)),
                Some(difference) => Err(anyhow::anyhow!(difference)),
            }
        })
        .await
    }

    /// Waits until the database's topics hold every event, and judges their order.
    pub async fn in_order(&self, kills: usize) -> Result<Summary> {
        let events = self.events().await?;
        ensure!(!events.is_empty(), "nothing was written");
        wait::until("all events to be in the topics", ARRIVAL_DEADLINE, async || {
            let count = self.record_count().await?;
            ensure!(count >= events.len() as u64, "{count} records of {} events", events.len());
            // Order is judged once everything is there; here it only matters that nothing is missing.
            order::check(&events, &self.records().await?, usize::MAX).map(Some)
        })
        .await?;
        order::check(&events, &self.records().await?, kills)
    }

    /// Drops both databases and deletes the topics.
    pub async fn remove(&self) -> Result<()> {
        for database in [&self.database, &self.copy] {
            self.client.database(database).drop().await?;
        }
        delete_topics(&self.kafka, &self.topics().await?).await
    }
}
