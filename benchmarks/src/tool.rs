//! The tools that do a [`Job`]: the daemon, and connectors in a Kafka Connect worker.

mod connectors;
mod millrace;

use anyhow::{Result, bail};
use integration_tests::{daemon::Daemon, servers::Connect};

use crate::{figure::Side, job::Job, measure::Usage, site::Site};

/// A tool at work.
pub(crate) enum Tool<'a> {
    /// A process of its own.
    Daemon(Box<Daemon>),
    /// Connectors in a worker that runs already.
    Connectors {
        /// The worker.
        connect: &'a Connect,
        /// What it had used before.
        before: Usage,
        /// Their names.
        names: Vec<String>,
    },
}

impl Tool<'_> {
    /// Starts it.
    pub(crate) async fn start<'a>(site: &'a Site, side: Side, job: &Job) -> Result<Tool<'a>> {
        match side {
            Side::Millrace => millrace::start(site, job, None),
            Side::Other => millrace::start(site, job, Some(site.beside()?)),
            Side::Official | Side::Debezium => connectors::start(site, side, job).await,
            Side::Limit | Side::Relay => bail!("a limit is no tool"),
        }
    }

    /// Whether it still runs. A connector that has failed is seen by what does not come.
    pub(crate) fn is_running(&mut self) -> Result<bool> {
        match self {
            Self::Daemon(daemon) => daemon.is_running(),
            Self::Connectors { .. } => Ok(true),
        }
    }

    /// What it has used since it was started; of a worker, the whole of its memory.
    pub(crate) fn usage(&mut self) -> Result<Usage> {
        match self {
            Self::Daemon(daemon) => Usage::of(daemon.id()?),
            Self::Connectors { connect, before, .. } => Ok(Usage::of(connect.id())?.since(*before)),
        }
    }

    /// Ends it.
    pub(crate) async fn stop(self) -> Result<()> {
        match self {
            Self::Daemon(mut daemon) => daemon.terminate().await,
            Self::Connectors { connect, names, .. } => {
                for name in names {
                    connect.remove(&name).await?;
                }
                Ok(())
            }
        }
    }

    /// The end of its log.
    pub(crate) fn tail(&self) -> String {
        match self {
            Self::Daemon(daemon) => daemon.tail(),
            Self::Connectors { connect, .. } => connect.tail(),
        }
    }
}
