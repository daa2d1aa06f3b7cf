//! `millrace pause` and `millrace resume`: asks a running daemon to let a sink rest, or to go on with it.

use std::{path::Path, process::ExitCode};

use super::ask::{self, Request};

pub(super) fn main(config: &Path, sink: &str, paused: bool) -> ExitCode {
    let verb = if paused { "pause" } else { "resume" };
    let path = format!("/sinks/{sink}/{verb}");
    ask::main(config, &Request { method: "POST", path: &path, body: "{}" })
}
