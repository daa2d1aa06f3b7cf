//! The few lines of HTTP that asking the daemon, or another server of this machine, takes.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Longer than the daemon lets a source think about a request, or a Connect worker looks at a configuration.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// A request from this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// Lines that end with CRLF.
    pub(crate) headers: &'a str,
    pub(crate) body: &'a str,
}

/// Code and body of the answer.
pub(crate) async fn ask(port: u16, request: Request<'_>) -> Result<(u16, String)> {
    let exchange = tokio::time::timeout(ANSWER_DEADLINE, exchange(port, request));
    let Request { method, path, .. } = request;
    exchange.await.with_context(|| format!("no answer to {method} {path} within {ANSWER_DEADLINE:?}"))?
}

async fn exchange(port: u16, request: Request<'_>) -> Result<(u16, String)> {
    let Request { method, path, headers, body } = request;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    // HTTP/1.0: the body ends with the connection and is never chunked.
    let request =
        format!("{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n{headers}{length}\r\n{body}");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no end of its head")?;
    let code = head.split(' ').nth(1).context("the answer has no status")?.parse()?;
    Ok((code, body.to_owned()))
}
