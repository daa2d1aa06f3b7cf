//! Log setup.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    config::{Log, LogFormat},
    retry::Failure,
};

/// Sends log lines to standard error, as `log` says. Standard output belongs to what a command prints.
///
/// # Errors
/// When the level is no filter, or logging was set up before.
pub fn start(log: &Log) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&log.level)
        .map_err(|error| Failure::stop(format!("log.level: `{}` is no log filter: {error}", log.level)))?;
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Human => false,
        LogFormat::Auto => !io::stderr().is_terminal(),
    };
    let registry = tracing_subscriber::registry().with(filter);
    let outcome = if json {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(io::stderr)).try_init()
    } else {
        let layer =
            fmt::layer().with_ansi(io::stderr().is_terminal()).with_target(false).with_writer(io::stderr);
        registry.with(layer).try_init()
    };
    outcome.map_err(|error| Failure::stop(format!("logging: {error}")))
}
