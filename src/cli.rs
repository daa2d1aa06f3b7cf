//! The command line.

mod ask;
mod config;
mod dlq;
mod import;
mod pause;
mod run;
mod snapshot;
mod status;
mod verify;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

use self::import::TakeOver;

/// Exit code for a configuration that cannot be used.
const BAD_CONFIGURATION: u8 = 2;

/// MongoDB and Kafka change data capture, both ways.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Moves changes until it is told to stop.
    Run {
        /// The configuration file.
        #[arg(long, default_value = "config.toml")]
        config: PathBuf,
        /// Stop, with exit code 0, once nothing has been left to move for this long (`5s`).
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        exit_when_idle: Option<Duration>,
    },
    /// Shows the configuration as it is understood, secrets redacted.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Prints the configuration that does what connectors of Kafka Connect did. What is to be said about their keys goes
    /// to standard error. Exit code 0: it can be used as it is; 1: something is missing in it; 2: there is none.
    Import {
        /// The worker's properties file, which knows the Kafka cluster and the converters.
        #[arg(long, value_name = "FILE")]
        worker: Option<PathBuf>,
        /// The pipeline's name; by default that of the first connector.
        #[arg(long)]
        name: Option<String>,
        /// Go on where the connectors stand: store the positions of source connectors, read from the worker's offsets
        /// topic, as checkpoints of the pipeline, and the offsets of sink connectors' groups as those of its sinks. Stop
        /// the connectors first.
        #[arg(long, requires = "worker")]
        take_over: bool,
        /// The source connectors are stopped, though their workers go on.
        #[arg(long, requires = "take_over")]
        connector_stopped: bool,
        /// The connectors, as Connect's REST interface takes them; several make one pipeline.
        #[arg(required = true, value_name = "CONNECTOR.json")]
        connectors: Vec<PathBuf>,
    },
    /// Asks a running daemon to copy collections of a source while it goes on: `millrace snapshot shop shop.orders`.
    Snapshot {
        /// The configuration file of that daemon.
        #[arg(long, default_value = "config.toml")]
        config: PathBuf,
        /// The source's name in it.
        source: String,
        /// What to copy, as `db.coll`.
        #[arg(required_unless_present = "cancel", conflicts_with = "cancel")]
        namespaces: Vec<String>,
        /// Copy nothing more of what is left to copy.
        #[arg(long)]
        cancel: bool,
    },
    /// Works on what sinks could not write.
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Asks a running daemon to read nothing more for a sink: `millrace pause copy`. Its consumer group keeps the member,
    /// what was read already is written, and it goes on at `millrace resume copy` or when the daemon starts anew.
    Pause {
        /// The configuration file of that daemon.
        #[arg(long, default_value = "config.toml")]
        config: PathBuf,
        /// The sink's name in it.
        sink: String,
    },
    /// Asks a running daemon to go on with a sink that is paused.
    Resume {
        /// The configuration file of that daemon.
        #[arg(long, default_value = "config.toml")]
        config: PathBuf,
        /// The sink's name in it.
        sink: String,
    },
    /// Asks a running daemon whether it is ready: exit code 0 when all halves are working, else 1 and which are not.
    Status {
        /// The configuration file of that daemon.
        #[arg(long, default_value = "config.toml")]
        config: PathBuf,
    },
    /// Compares what a sink has written with its source, or any namespaces of two deployments: `millrace verify copy`.
    /// Exit code 0: equal; 1: different, or a deployment cannot be read; 2: what was asked for cannot be compared.
    Verify(verify::Arguments),
}

#[derive(Debug, Subcommand)]
enum DlqCommand {
    /// Sends the dead letters of a sink, and what came after them for the same keys, through the sink again. Stop the sink
    /// first, and mend the cause. Exit code 0: all were written; 1: some were refused again.
    Replay {
        /// The configuration file.
        #[arg(long, default_value = "config.toml")]
        config: PathBuf,
        /// The sink's name in it.
        sink: String,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Prints it; exit code 2 and a line per problem if it cannot be used.
    Print {
        /// The configuration file.
        #[arg(long, default_value = "config.toml")]
        config: PathBuf,
    },
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { config, exit_when_idle } => run::main(&config, exit_when_idle),
        Command::Config(ConfigCommand::Print { config }) => config::print(&config),
        Command::Import { worker, name, take_over, connector_stopped, connectors } => {
            let take_over = take_over.then_some(TakeOver { connector_stopped });
            import::main(worker.as_deref(), name.as_deref(), &connectors, take_over)
        }
        Command::Snapshot { config, source, namespaces, .. } => snapshot::main(&config, &source, &namespaces),
        Command::Dlq(DlqCommand::Replay { config, sink }) => dlq::replay(&config, &sink),
        Command::Pause { config, sink } => pause::main(&config, &sink, true),
        Command::Resume { config, sink } => pause::main(&config, &sink, false),
        Command::Status { config } => status::main(&config),
        Command::Verify(arguments) => verify::main(&arguments),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::config::parse_duration(text).map_err(|error| error.to_string())
}

/// One line for the operator on standard error, where there is no log yet or it is not the place.
#[expect(clippy::print_stderr, reason = "what a command has to say before the log is set up")]
fn complain(message: impl std::fmt::Display) {
    eprintln!("{message}");
}
