//! `millrace status`: asks a running daemon's `/readyz`. What a container's health check runs.

use std::{path::Path, process::ExitCode};

use super::ask::{self, Request};

pub(super) fn main(config: &Path) -> ExitCode {
    ask::main(config, &Request { method: "GET", path: "/readyz", body: "" })
}
