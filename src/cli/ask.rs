//! Asks the daemon that runs with a configuration something over its HTTP interface, and prints the answer.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use super::{BAD_CONFIGURATION, complain};
use crate::config::{self, Secret};

/// A little longer than the daemon may take.
const TIMEOUT: Duration = Duration::from_secs(12);

/// What is asked.
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// JSON, or nothing.
    pub(super) body: &'a str,
}

/// Asks; exit code 0 when the daemon does as asked, else 1.
#[expect(clippy::print_stdout, reason = "the answer is what the command is for")]
pub(super) fn main(config: &Path, request: &Request<'_>) -> ExitCode {
    let settings = match config::load(config, config::environment()) {
        Ok(settings) => settings,
        Err(problems) => {
            complain(problems);
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let Some(admin) = settings.admin else {
        complain("admin.enabled is false: there is nothing to ask");
        return ExitCode::FAILURE;
    };
    match ask(admin.listen, admin.token.as_ref(), request) {
        Ok((is_done, body)) => {
            print!("{body}");
            if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            complain(format!("no daemon answers on {}: {error}", admin.listen));
            ExitCode::FAILURE
        }
    }
}

/// The daemon's answer, and whether its status is one of success.
fn ask(
    mut address: SocketAddr,
    token: Option<&Secret>,
    request: &Request<'_>,
) -> std::io::Result<(bool, String)> {
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let Request { method, path, body } = request;
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: {address}\r\n")?;
    if let Some(token) = token {
        write!(stream, "Authorization: Bearer {}\r\n", token.expose())?;
    }
    if !body.is_empty() {
        write!(stream, "Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())?;
    }
    write!(stream, "\r\n{body}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer.as_str(), ""));
    let status = head.lines().next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let end = if body.ends_with('\n') { "" } else { "\n" };
    Ok((status.starts_with('2'), format!("{body}{end}")))
}
