//! One test's corner of the servers: a database, its copy, the topics between them, and daemons.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use bson::{RawDocumentBuf, Timestamp};
use mongodb::{Client, Collection};

use crate::{
    child, compare,
    daemon::Daemon,
    ledger::{self, Event},
    load::{Load, Plan},
    order,
    scratch::Scratch,
    servers::{Addresses, delete_topics, topic_names},
    topic, wait,
};

/// Longest that everything may take to arrive after the load has ended.
pub const ARRIVAL_DEADLINE: Duration = Duration::from_secs(120);

/// One test's corner of the servers.
#[derive(Debug)]
pub struct Scene {
    /// Used for the pipeline's name; different in every scene of every process.
    pub name: String,
    /// The database that is written to; its topics are `DATABASE.*`.
    pub database: String,
    /// The database that the sink writes to.
    pub copy: String,
    /// A client for both.
    pub client: Client,
    /// The servers.
    pub addresses: Addresses,
    /// The cluster time before anything was written.
    pub begun: Timestamp,
    directory: Scratch,
    daemon_count: AtomicU32,
}

impl Scene {
    /// Runs `body` in a scene of its own. If it fails, the logs of its daemons are shown; else all is removed.
    pub async fn play(
        addresses: &Addresses,
        name: &str,
        body: impl AsyncFnOnce(&Self) -> Result<()>,
    ) -> Result<()> {
        let scene = Self::new(addresses, name).await?;
        match body(&scene).await {
            Ok(()) => scene.remove().await,
            Err(error) => {
                eprintln!("{}", scene.logs());
                Err(error)
            }
        }
    }

    async fn new(addresses: &Addresses, name: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Servers of the user's own keep the names of earlier runs; process ids come again, nanoseconds do not.
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let unique = since_epoch.subsec_nanos() ^ NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}_{:x}_{unique:x}", std::process::id());
        let client = Client::with_uri_str(&addresses.mongodb_uri).await?;
        let begun = ledger::now(&client).await?;
        Ok(Self {
            database: name.clone(),
            copy: format!("{name}_copy"),
            directory: Scratch::new(&name)?,
            name,
            client,
            addresses: addresses.clone(),
            begun,
            daemon_count: AtomicU32::new(0),
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

    /// A source over the database, from before anything was written, with more lines of its table.
    pub fn source(&self, lines: &str) -> String {
        let (database, begun) = (&self.database, self.begun);
        let start = format!("{}:{}", begun.time, begun.increment);
        format!("[sources.shop]\nwatch = [\"{database}.*\"]\nstart = \"{start}\"\n{lines}\n")
    }

    /// A sink from the database's topics into the copy, with more lines of its table.
    pub fn sink(&self, lines: &str) -> String {
        let (database, copy) = (&self.database, &self.copy);
        format!("[sinks.copy]\ntopics = [\"{database}.*\"]\nnamespace = \"{copy}.{{coll}}\"\n{lines}\n")
    }

    /// Name and servers, then `tables`.
    pub fn config(&self, tables: &str) -> String {
        let Addresses { mongodb_uri, kafka } = &self.addresses;
        format!(
            "name = \"{}\"\n[mongodb]\nuri = \"{mongodb_uri}\"\n[kafka]\nbootstrap_servers = \"{kafka}\"\n{tables}",
            self.name
        )
    }

    /// A daemon with this configuration, not started.
    pub fn daemon(&self, config: &str) -> Result<Daemon> {
        let number = self.daemon_count.fetch_add(1, Ordering::Relaxed);
        Daemon::new(&self.path(&format!("daemon-{number}")), config)
    }

    /// A daemon with both halves: whole events by default.
    pub fn pipeline(&self, source: &str, sink: &str) -> Result<Daemon> {
        self.daemon(&self.config(&(self.source(source) + &self.sink(sink))))
    }

    /// A path in the scene's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts a load on the database.
    pub fn load(&self, change: impl FnOnce(&mut Plan)) -> Load {
        let mut plan = Plan::small(&self.database, 7);
        change(&mut plan);
        Load::start(&self.client, &plan)
    }

    /// The database's topics.
    pub async fn topics(&self) -> Result<Vec<String>> {
        let prefix = format!("{}.", self.database);
        let names = topic_names(&self.addresses.kafka).await?;
        Ok(names.into_iter().filter(|name| name.starts_with(&prefix)).collect())
    }

    /// All records of the database's topics.
    pub async fn records(&self) -> Result<Vec<topic::Record>> {
        let topics = self.topics().await?;
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        topic::read(&self.addresses.kafka, &topics).await
    }

    /// All events of the database since the scene began.
    pub async fn events(&self) -> Result<Vec<Event>> {
        ledger::read(&self.client, &self.database, self.begun).await
    }

    /// Waits until the copy is the original; an error with the first difference if it does not become so.
    pub async fn identical(&self) -> Result<u64> {
        let mut last = None;
        let reached = wait::until("the copy to become identical", ARRIVAL_DEADLINE, async || {
            let found = compare::databases(&self.client, &self.database, &self.copy).await?;
            let identical = found.is_identical().then_some(found.equal_count);
            last = found.difference;
            Ok(identical)
        });
        let outcome = reached.await;
        outcome.map_err(|error| error.context(last.unwrap_or_default()))
    }

    /// Waits until the database's topics hold every event, and judges their order.
    pub async fn in_order(&self, kills: usize) -> Result<order::Summary> {
        let events = self.events().await?;
        ensure!(!events.is_empty(), "nothing was written");
        wait::until("all events to be in the topics", ARRIVAL_DEADLINE, async || {
            let topics = self.topics().await?;
            let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
            let count = topic::count(&self.addresses.kafka, &topics).await?;
            ensure!(count >= events.len() as u64, "{count} records of {} events", events.len());
            order::check(&events, &self.records().await?, usize::MAX).map(Some)
        })
        .await?;
        order::check(&events, &self.records().await?, kills)
    }

    /// The usual end of a test: nothing is missing, order is as promised, the copy is identical and not empty.
    pub async fn complete(&self, kills: usize) -> Result<()> {
        let summary = self.in_order(kills).await?;
        let equal_count = self.identical().await?;
        ensure!(equal_count > 0, "there is nothing to compare");
        println!("{}: {summary:?}, {equal_count} documents identical", self.name);
        Ok(())
    }

    async fn remove(self) -> Result<()> {
        for database in [&self.database, &self.copy] {
            self.client.database(database).drop().await?;
        }
        let own = format!("millrace.{}.", self.name);
        let names = topic_names(&self.addresses.kafka).await.context("cannot list what is to be removed")?;
        let ours =
            |name: &&String| name.starts_with(&own) || name.starts_with(&format!("{}.", self.database));
        let names: Vec<&str> = names.iter().filter(ours).map(String::as_str).collect();
        if names.is_empty() {
            return Ok(());
        }
        delete_topics(&self.addresses.kafka, &names).await
    }

    fn logs(&self) -> String {
        let numbers = 0..self.daemon_count.load(Ordering::Relaxed);
        let logs = numbers.map(|number| {
            let log = self.path(&format!("daemon-{number}/log"));
            child::tail(&log).unwrap_or_else(|error| format!("{}: {error}", log.display()))
        });
        logs.collect::<Vec<_>>().join("\n")
    }
}

/// Fails unless `text` holds all of `words`.
pub fn says(text: &str, words: &[&str]) -> Result<()> {
    match words.iter().find(|word| !text.contains(**word)) {
        None => Ok(()),
        Some(word) => bail!("{word:?} is not in: {text}"),
    }
}
