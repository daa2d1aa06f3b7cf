//! Real servers: mongod as a replica set of one and Kafka as a cluster of one, each a child of this process.
//!
//! Tests that only read and write share one of each ([`shared`]); a test that stops, kills or restricts a server
//! starts its own, under [`alone`], so that two cores never carry more than two such sets at a time.
//! Servers of one's own take the place of the shared ones: `MILLRACE_TEST_MONGODB_URI` and `MILLRACE_TEST_KAFKA`.

mod certificates;
mod connect;
mod fetch;
mod kafka;
mod mongod;

use anyhow::{Result, bail};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

pub use self::{
    certificates::Certificates,
    connect::Connect,
    kafka::{Kafka, KafkaOptions, create_topic, delete_topics, topic_names, topic_property},
    mongod::{Mongod, MongodOptions, Version},
};

/// Where a MongoDB deployment and a Kafka cluster are.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// The deployment's connection string.
    pub mongodb_uri: String,
    /// The cluster's `host:port`.
    pub kafka: String,
}

/// One mongod and one Kafka, at most one of each; `None` where the user named one of their own.
#[derive(Debug)]
pub struct Servers {
    /// Ours, when there is none of the user's.
    pub mongod: Option<Mongod>,
    /// Ours, when there is none of the user's.
    pub kafka: Option<Kafka>,
    addresses: Addresses,
}

impl Servers {
    /// The user's servers where they are named, else new ones.
    pub async fn start() -> Result<Self> {
        let (named_uri, named_kafka) = (named("MILLRACE_TEST_MONGODB_URI"), named("MILLRACE_TEST_KAFKA"));
        // All that is missing in one line, before anything is fetched; both fetched before anything starts.
        let version = Version::default();
        fetch::check_prerequisites(named_uri.is_none().then_some(version), named_kafka.is_none())?;
        if named_uri.is_none() {
            fetch::mongod(version)?;
        }
        if named_kafka.is_none() {
            fetch::kafka_jars()?;
        }
        let mongod = async {
            if named_uri.is_some() {
                Ok(None)
            } else {
                Mongod::start(MongodOptions::default()).await.map(Some)
            }
        };
        let kafka = async {
            if named_kafka.is_some() {
                Ok(None)
            } else {
                Kafka::start(KafkaOptions::default()).await.map(Some)
            }
        };
        let (mongod, kafka) = tokio::try_join!(mongod, kafka)?;
        let mongodb_uri = named_uri.or_else(|| mongod.as_ref().map(Mongod::uri));
        let bootstrap = named_kafka.or_else(|| kafka.as_ref().map(Kafka::bootstrap));
        let (Some(mongodb_uri), Some(kafka_bootstrap)) = (mongodb_uri, bootstrap) else {
            bail!("a server is neither named nor started");
        };
        Ok(Self { mongod, kafka, addresses: Addresses { mongodb_uri, kafka: kafka_bootstrap } })
    }

    /// Whether both were started by us.
    pub fn are_all_ours(&self) -> bool {
        self.mongod.is_some() && self.kafka.is_some()
    }

    /// In words.
    pub fn describe(&self) -> String {
        // A connection string of the user's own may hold a password.
        let mongodb = match &self.mongod {
            Some(mongod) => mongod.uri(),
            None => "as named by MILLRACE_TEST_MONGODB_URI".to_owned(),
        };
        format!("MongoDB {mongodb}, Kafka {}", self.addresses.kafka)
    }

    /// Where they are.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }
}

/// The servers that benign tests share: started by the first that asks, killed when this process ends.
pub async fn shared() -> Result<&'static Addresses> {
    static SHARED: OnceCell<Servers> = OnceCell::const_new();
    Ok(SHARED.get_or_try_init(Servers::start).await?.addresses())
}

/// Held by a test while it runs servers of its own: one such test at a time.
pub async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}

fn named(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}
