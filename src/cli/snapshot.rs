//! `millrace snapshot`: asks a running daemon to copy collections, or to stop copying.

use std::{path::Path, process::ExitCode};

use serde_json::json;

use super::ask::{self, Request};

/// Copies `namespaces`, or cancels where there is none.
pub(super) fn main(config: &Path, source: &str, namespaces: &[String]) -> ExitCode {
    let path = format!("/sources/{source}/snapshot");
    if namespaces.is_empty() {
        return ask::main(config, &Request { method: "DELETE", path: &path, body: "" });
    }
    let body = json!({ "namespaces": namespaces }).to_string();
    ask::main(config, &Request { method: "POST", path: &path, body: &body })
}
