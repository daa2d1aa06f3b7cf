//! What is measured: a file per workload, each a limit and millrace in turn on the same data.

mod sink_inserts;
mod sink_mixed;
mod source_inserts;

use anyhow::{Context, Result, ensure};
use integration_tests::servers::create_topic;
use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, Producer},
};

use crate::{
    arguments::Arguments,
    load::{self, Change},
    report::{Round, Run},
    site::Site,
};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    SourceInserts,
    SinkInserts,
    SinkMixed,
}

impl Workload {
    /// In the order in which they run.
    pub(crate) const ALL: [Self; 3] = [Self::SourceInserts, Self::SinkInserts, Self::SinkMixed];

    /// As the command line calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SourceInserts => "source-inserts",
            Self::SinkInserts => "sink-inserts",
            Self::SinkMixed => "sink-mixed",
        }
    }

    /// Which part of the limit's events a second millrace is to reach.
    pub(crate) fn bar(self) -> f64 {
        match self {
            Self::SourceInserts => 0.85,
            Self::SinkInserts => 0.8,
            Self::SinkMixed => 1.0,
        }
    }

    /// Measures it.
    pub(crate) async fn run(self, site: &Site, arguments: &Arguments) -> Result<Vec<Round>> {
        let &Arguments { events, rounds, .. } = arguments;
        let outcome = match self {
            Self::SourceInserts => source_inserts::run(site, events, rounds).await,
            Self::SinkInserts => sink_inserts::run(site, events, rounds).await,
            Self::SinkMixed => sink_mixed::run(site, events, rounds).await,
        };
        outcome.with_context(|| self.name())
    }
}

/// Runs both sides `count` times, the first of a round being the second of the next, after a round that does not count:
/// caches fill, and the broker's JVM compiles what it runs often.
async fn rounds(
    count: u32,
    limit: impl AsyncFn() -> Result<Run>,
    millrace: impl AsyncFn() -> Result<Run>,
) -> Result<Vec<Round>> {
    let mut rounds = Vec::new();
    for number in 0..=count {
        let round = if number % 2 == 0 {
            let limit = limit().await?;
            Round { limit, millrace: millrace().await? }
        } else {
            let millrace = millrace().await?;
            Round { limit: limit().await?, millrace }
        };
        if number > 0 {
            rounds.push(round);
        }
    }
    Ok(rounds)
}

/// Creates a topic with one partition that holds the records of `changes`.
async fn fill_topic(
    site: &Site,
    topic: &str,
    changes: impl Iterator<Item = Change> + Send + 'static,
) -> Result<()> {
    let bootstrap = site.kafka();
    create_topic(&bootstrap, topic, 1).await?;
    let name = topic.to_owned();
    let filling = tokio::task::spawn_blocking(move || produce(&bootstrap, &name, changes));
    let count = filling.await??;
    let found = site.record_count(topic).await?;
    ensure!(found == count, "{topic} has {found} records instead of {count}");
    Ok(())
}

fn produce(bootstrap: &str, topic: &str, changes: impl Iterator<Item = Change>) -> Result<u64> {
    const WAIT: std::time::Duration = std::time::Duration::from_millis(20);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("enable.idempotence", "true").set("linger.ms", "20");
    let producer: BaseProducer = config.create()?;
    let mut count = 0;
    for change in changes {
        let (key, value) = load::record(change);
        let mut record = BaseRecord::to(topic).key(&key).payload(&value);
        while let Err((error, same)) = producer.send(record) {
            let is_full = matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
            ensure!(is_full, "cannot fill {topic}: {error}");
            producer.poll(WAIT);
            record = same;
        }
        count += 1;
    }
    producer.flush(std::time::Duration::from_secs(120))?;
    Ok(count)
}
