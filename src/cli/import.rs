//! `millrace import`: the configuration of Kafka Connect's connectors as a pipeline's.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use super::{BAD_CONFIGURATION, complain};
use crate::{
    config,
    import::{self, Connector, Imported, Properties},
    takeover::{self, Taken, TakenOffsets, Wanted, Worker},
};

/// Whether and how to take positions over.
#[derive(Clone, Copy, Debug)]
pub(super) struct TakeOver {
    /// Whether the user says that the connectors are stopped.
    pub(super) connector_stopped: bool,
}

#[expect(clippy::print_stdout, reason = "printing is what this command is for")]
pub(super) fn main(
    worker: Option<&Path>,
    name: Option<&str>,
    files: &[PathBuf],
    take_over: Option<TakeOver>,
) -> ExitCode {
    let given = match Given::read(worker, files) {
        Ok(given) => given,
        Err(message) => {
            complain(message);
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let imported = import::import(&given.connectors, given.worker.as_ref(), name);
    for remark in &imported.remarks {
        complain(remark);
    }
    let Some(text) = &imported.toml else { return ExitCode::from(BAD_CONFIGURATION) };
    print!("{text}");
    if !imported.can_run() {
        return ExitCode::FAILURE;
    }
    match take_over {
        Some(take_over) => given.take_over(&imported, text, take_over),
        None => ExitCode::SUCCESS,
    }
}

/// What the files say.
struct Given {
    worker: Option<Properties>,
    connectors: Vec<Connector>,
}

impl Given {
    fn read(worker: Option<&Path>, files: &[PathBuf]) -> Result<Self, String> {
        let worker = match worker {
            Some(path) => Some(import::read_properties(&text(path)?)),
            None => None,
        };
        let connectors = files.iter().map(|file| connector(file)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { worker, connectors })
    }

    /// Stores the positions of these connectors as those of the pipeline in `toml`.
    fn take_over(&self, imported: &Imported, toml: &str, take_over: TakeOver) -> ExitCode {
        let settings =
            match config::load_text(Path::new("the imported configuration"), toml, config::environment()) {
                Ok(settings) => settings,
                Err(problems) => {
                    complain(problems);
                    return ExitCode::from(BAD_CONFIGURATION);
                }
            };
        let outcome = self.wanted(imported, take_over).and_then(|wanted| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            let runtime = runtime.map_err(|error| format!("cannot start the runtime: {error}"))?;
            let taking = takeover::take_over(&settings, &wanted);
            let taken = runtime.block_on(taking).map_err(|failure| failure.message);
            runtime.shutdown_timeout(Duration::from_millis(500));
            taken
        });
        match outcome {
            Ok((sources, sinks)) => {
                for Taken { connector, position, place } in sources {
                    complain(format!("{connector}: taken over: {position}, stored in {place}"));
                }
                for TakenOffsets { connector, from, to, offsets } in sinks {
                    complain(format!("{connector}: taken over from group {from} to group {to}: {offsets}"));
                }
                ExitCode::SUCCESS
            }
            Err(message) => {
                complain(format!("not taken over: {message}"));
                ExitCode::FAILURE
            }
        }
    }

    /// Where to look, and what for.
    fn wanted(&self, imported: &Imported, take_over: TakeOver) -> Result<Wanted, String> {
        let property = |key: &str| {
            let value = self.worker.as_ref().and_then(|worker| worker.get(key));
            value.cloned().ok_or_else(|| format!("the worker's file has no {key}"))
        };
        let worker = match imported.sources.is_empty() {
            true => None,
            false => Some(Worker {
                offsets_topic: property("offset.storage.topic")?,
                group: property("group.id")?,
            }),
        };
        let sources = imported.sources.iter().map(|(number, source)| {
            let connector = &self.connectors[*number];
            takeover::Connector {
                name: connector.name.clone().unwrap_or_default(),
                partition: import::offset_partition(connector),
                source: source.clone(),
            }
        });
        let sinks = imported.sinks.iter().map(|(number, sink)| {
            let connector = &self.connectors[*number];
            let name = connector.name.clone().unwrap_or_default();
            let own = connector.config.get("consumer.override.group.id").cloned();
            let group = own.unwrap_or_else(|| format!("connect-{name}"));
            takeover::SinkConnector { name, group, sink: sink.clone() }
        });
        let is_stopped = take_over.connector_stopped;
        Ok(Wanted { worker, sources: sources.collect(), sinks: sinks.collect(), is_stopped })
    }
}

fn connector(path: &Path) -> Result<Connector, String> {
    let mut connector =
        import::read_connector(&text(path)?).map_err(|invalid| format!("{} {invalid}", path.display()))?;
    if connector.name.is_none() {
        connector.name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    }
    Ok(connector)
}

fn text(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
}
