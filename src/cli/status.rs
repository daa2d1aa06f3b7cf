//! `millrace status`: asks a running daemon's `/readyz`. What a container's health check runs.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use super::{BAD_CONFIGURATION, complain};
use crate::config;

const TIMEOUT: Duration = Duration::from_secs(3);

#[expect(clippy::print_stdout, reason = "printing is what this command is for")]
pub(super) fn main(config: &Path) -> ExitCode {
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
    let address = admin.listen;
    match ask(address) {
        Ok((is_ready, body)) => {
            print!("{body}");
            if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            complain(format!("no daemon answers on {address}: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn ask(mut address: SocketAddr) -> std::io::Result<(bool, String)> {
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(stream, "GET /readyz HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer.as_str(), ""));
    let is_ready = head.lines().next().is_some_and(|status| status.split(' ').nth(1) == Some("200"));
    Ok((is_ready, body.to_owned()))
}
