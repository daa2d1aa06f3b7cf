//! `millrace import`: the configuration of Kafka Connect's connectors as a pipeline's.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{BAD_CONFIGURATION, complain};
use crate::import::{self, Connector, Imported, Properties};

#[expect(clippy::print_stdout, reason = "printing is what this command is for")]
pub(super) fn main(worker: Option<&Path>, name: Option<&str>, files: &[PathBuf]) -> ExitCode {
    let imported = match imported(worker, name, files) {
        Ok(imported) => imported,
        Err(message) => {
            complain(message);
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    for remark in &imported.remarks {
        complain(remark);
    }
    if let Some(text) = &imported.toml {
        print!("{text}");
    }
    match (&imported.toml, imported.can_run()) {
        (Some(_), true) => ExitCode::SUCCESS,
        (Some(_), false) => ExitCode::FAILURE,
        (None, _) => ExitCode::from(BAD_CONFIGURATION),
    }
}

fn imported(worker: Option<&Path>, name: Option<&str>, files: &[PathBuf]) -> Result<Imported, String> {
    let worker: Option<Properties> = match worker {
        Some(path) => Some(import::read_properties(&text(path)?)),
        None => None,
    };
    let connectors = files.iter().map(|file| connector(file)).collect::<Result<Vec<_>, _>>()?;
    Ok(import::import(&connectors, worker.as_ref(), name))
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
