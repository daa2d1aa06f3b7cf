//! `millrace config print`.

use std::{path::Path, process::ExitCode};

use super::{BAD_CONFIGURATION, complain};
use crate::config;

#[expect(clippy::print_stdout, reason = "printing is what this command is for")]
pub(super) fn print(config: &Path) -> ExitCode {
    match config::print(config, config::environment()) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(problems) => {
            complain(problems);
            ExitCode::from(BAD_CONFIGURATION)
        }
    }
}
