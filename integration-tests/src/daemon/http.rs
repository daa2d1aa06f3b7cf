//! The few lines of HTTP that asking the daemon takes.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// GET from this machine: code and body.
pub(super) async fn get(port: u16, path: &str) -> Result<(u16, String)> {
    let exchange = tokio::time::timeout(ANSWER_DEADLINE, exchange(port, path));
    exchange.await.with_context(|| format!("no answer to GET {path} within {ANSWER_DEADLINE:?}"))?
}

async fn exchange(port: u16, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    // HTTP/1.0: the body ends with the connection and is never chunked.
    let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no end of its head")?;
    let code = head.split(' ').nth(1).context("the answer has no status")?.parse()?;
    Ok((code, body.to_owned()))
}
