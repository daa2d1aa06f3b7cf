//! `millrace dlq replay`: dead letters back through their sink.

use std::{
    path::Path,
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

use tokio_util::sync::CancellationToken;

use super::{BAD_CONFIGURATION, complain};
use crate::{
    app,
    config::{self, Settings},
    retry::Failure,
    sink,
};

/// Replays; exit code 0 when every letter could be written, else 1.
#[expect(clippy::print_stdout, reason = "the report is what the command is for")]
pub(super) fn replay(config: &Path, name: &str) -> ExitCode {
    let settings = match config::load(config, config::environment()) {
        Ok(settings) => settings,
        Err(problems) => {
            complain(problems);
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    match run(&settings, name) {
        Ok(sink::replay::Report { letters, records, refused }) => {
            println!(
                "{letters} dead letters: {records} records went through the sink, {refused} were refused again"
            );
            if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(failure) => {
            complain(failure);
            ExitCode::FAILURE
        }
    }
}

fn run(settings: &Settings, name: &str) -> Result<sink::replay::Report, Failure> {
    let Some(sink) = settings.sinks.iter().find(|sink| sink.name == name) else {
        return Err(Failure::stop(format!("there is no [sinks.{name}]")));
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::stop(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(async {
        let client = crate::mongo::client(&sink.mongodb).await?;
        let watched = settings.sources.iter().map(|source| (source.mongodb.clone(), source.watch.clone()));
        let context = sink::Context {
            settings: Arc::new(sink.clone()),
            group: app::sink_group(&settings.name, &sink.name),
            memory_bytes: settings.memory_bytes,
            watched: watched.collect(),
            metrics: Arc::default(),
            stop: CancellationToken::new(),
            pause: Arc::default(),
            ready: Arc::new(AtomicBool::new(false)),
        };
        sink::replay::replay(client, context).await
    })
}
