//! `millrace run`: the daemon.

use std::{path::Path, process::ExitCode, time::Duration};

use super::{BAD_CONFIGURATION, complain};
use crate::{
    app::{self, Exit},
    config::{self, Settings},
    memory,
    retry::Failure,
    shutdown, telemetry,
};

/// Worker threads. The work is a few loops that mostly wait; librdkafka brings its own threads.
const WORKER_THREADS: usize = 4;

pub(super) fn main(config: &Path, exit_when_idle: Option<Duration>) -> ExitCode {
    let settings = match config::load(config, config::environment()) {
        Ok(settings) => settings,
        Err(problems) => {
            complain(problems);
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    if let Err(failure) = telemetry::start(&settings.log) {
        complain(failure);
        return ExitCode::from(BAD_CONFIGURATION);
    }
    memory::keep_room_for_blocks();
    match run(settings, exit_when_idle) {
        Ok(Exit::Drained) => ExitCode::SUCCESS,
        Ok(Exit::Interrupted | Exit::Failed) => ExitCode::FAILURE,
        Err(failure) => {
            tracing::error!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(settings: Settings, exit_when_idle: Option<Duration>) -> Result<Exit, Failure> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(WORKER_THREADS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|error| Failure::stop(format!("cannot start the runtime: {error}")))?;
    let exit = runtime.block_on(async {
        let stop = shutdown::on_signal()
            .map_err(|error| Failure::stop(format!("cannot install signal handlers: {error}")))?;
        tracing::info!(name = settings.name, version = env!("CARGO_PKG_VERSION"), "starting");
        app::run(settings, stop, exit_when_idle).await
    });
    // Clients of a half that did not drain may still wait for their servers.
    runtime.shutdown_timeout(Duration::from_millis(500));
    exit
}
