//! The demo's command line.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// What `--help` prints.
pub(super) const HELP: &str = "\
cargo demo [--seconds N] [--rate N] [--keep]

Starts a real MongoDB replica set and a real Kafka, runs millrace between them under a live load, kills it once in the
middle, and compares the copy with the original byte for byte. Exit code 0: identical.

  --seconds N   how long to write (default 20)
  --rate N      write operations a second (default 1000)
  --keep        leave all running at the end and say how to look around

MILLRACE_TEST_MONGODB_URI and MILLRACE_TEST_KAFKA name servers of your own to use instead.";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arguments {
    /// How long to write.
    pub(super) load_time: Duration,
    /// Write operations a second.
    pub(super) rate: u32,
    /// Whether to leave all running.
    pub(super) keep: bool,
}

impl Arguments {
    /// `None` if help was asked for.
    pub(super) fn parse(words: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let mut parsed = Self { load_time: Duration::from_secs(20), rate: 1_000, keep: false };
        let mut words = words;
        while let Some(word) = words.next() {
            match word.as_str() {
                "--seconds" => parsed.load_time = Duration::from_secs(number(&word, words.next())?.into()),
                "--rate" => parsed.rate = number(&word, words.next())?,
                "--keep" => parsed.keep = true,
                "--help" | "-h" => return Ok(None),
                _ => bail!("unknown argument `{word}`"),
            }
        }
        Ok(Some(parsed))
    }
}

fn number(name: &str, value: Option<String>) -> Result<u32> {
    let value = value.with_context(|| format!("{name} needs a number"))?;
    let number = value.parse().with_context(|| format!("{name}: `{value}` is not a whole number"))?;
    ensure!(number > 0, "{name}: must be at least 1");
    Ok(number)
}
