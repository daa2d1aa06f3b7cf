//! One test's corner of the servers: a database, its copy, the topics between them, and daemons.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Result, bail, ensure};
use bson::RawDocumentBuf;
use mongodb::{Client, Collection};

use crate::{
    child,
    daemon::Daemon,
    load::{Load, Plan},
    pair::Pair,
    scratch::Scratch,
    servers::{Addresses, delete_topics, topic_names},
};

/// One test's corner of the servers.
#[derive(Debug)]
pub struct Scene {
    /// Used for the pipeline's name; different in every scene of every process.
    pub name: String,
    /// The database that is written to, and its copy.
    pub pair: Pair,
    /// The servers.
    pub addresses: Addresses,
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
        Ok(Self {
            pair: Pair::new(addresses, &client, &name).await?,
            directory: Scratch::new(&name)?,
            name,
            addresses: addresses.clone(),
            daemon_count: AtomicU32::new(0),
        })
    }

    /// A collection of the original.
    pub fn original(&self, name: &str) -> Collection<RawDocumentBuf> {
        self.pair.original(name)
    }

    /// Its copy.
    pub fn copied(&self, name: &str) -> Collection<RawDocumentBuf> {
        self.pair.copied(name)
    }

    /// A source over the database, from before anything was written, with more lines of its table.
    pub fn source(&self, lines: &str) -> String {
        let Pair { database, begun, .. } = &self.pair;
        let start = format!("{}:{}", begun.time, begun.increment);
        format!("[sources.shop]\nwatch = [\"{database}.*\"]\nstart = \"{start}\"\n{lines}\n")
    }

    /// A sink from the database's topics into the copy, with more lines of its table.
    pub fn sink(&self, lines: &str) -> String {
        let Pair { database, copy, .. } = &self.pair;
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
        let mut plan = Plan::small(&self.pair.database, 7);
        change(&mut plan);
        Load::start(&self.pair.client, &plan)
    }

    /// The usual end of a test: nothing is missing, order is as promised, the copy is identical and not empty.
    pub async fn complete(&self, kills: usize) -> Result<()> {
        let summary = self.pair.in_order(kills).await?;
        let equal_count = self.pair.identical().await?;
        ensure!(equal_count > 0, "there is nothing to compare");
        println!("{}: {summary:?}, {equal_count} documents identical", self.name);
        Ok(())
    }

    async fn remove(self) -> Result<()> {
        self.pair.remove().await?;
        let own = format!("millrace.{}.", self.name);
        let mut names = topic_names(&self.addresses.kafka).await?;
        names.retain(|name| name.starts_with(&own));
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
