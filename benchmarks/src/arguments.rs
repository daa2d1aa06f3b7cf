//! The command line.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::workload::Workload;

/// What `--help` prints.
pub(crate) fn help() -> String {
    let mut text = String::from(HELP);
    for workload in Workload::ALL {
        text += &format!("\n  {:<20}{}", workload.name, workload.about);
    }
    text
}

const HELP: &str = "\
cargo bench-millrace [--quick] [--without-peers] [--beside BINARY] [--json FILE] [--charts DIRECTORY] [--events N]
                     [--rounds N] [WORKLOAD...]

Measures millrace beside the official connector, Debezium and what the servers can do at most, in turn, on servers that
it fetches and starts itself.

  --quick             few events and rounds and no peers: seconds for each workload, for a first look
  --without-peers     neither the official connector nor Debezium
  --beside BINARY     another build of the daemon as a side of its own: what a change is worth, in one run
  --json FILE         write all figures of all rounds
  --charts DIRECTORY  write a chart (SVG) of each workload
  --events N          events of a run with small documents (default 1000000; 100000 with --quick)
  --rounds N          runs of each side that count (default 3; 1 with --quick)

Environment: BENCH_COMMAND_DOCUMENTS, the most documents in a command of the raw writes (default 1000); MILLRACE_* as of
the daemon.

Workloads (default: all):";

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Arguments {
    /// Whether figures are for a first look.
    pub(crate) quick: bool,
    /// Whether the tools that millrace replaces are measured too.
    pub(crate) peers: bool,
    /// Another build of the daemon that is measured too.
    pub(crate) beside: Option<PathBuf>,
    /// Events of each run with small documents.
    pub(crate) events: u32,
    /// Runs of each side.
    pub(crate) rounds: u32,
    /// Where all figures go.
    pub(crate) json: Option<PathBuf>,
    /// Where charts go.
    pub(crate) charts: Option<PathBuf>,
    /// What is measured, in this order.
    pub(crate) workloads: Vec<&'static Workload>,
}

impl Arguments {
    /// `None` if help was asked for.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let (mut quick, mut peers, mut events, mut rounds) = (false, true, None, None);
        let (mut beside, mut json, mut charts) = (None, None, None);
        let mut workloads = Vec::new();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--quick" => (quick, peers) = (true, false),
                "--without-peers" => peers = false,
                "--events" => events = Some(number(&word, words.next())?),
                "--rounds" => rounds = Some(number(&word, words.next())?),
                "--beside" => beside = Some(binary(words.next())?),
                "--json" => json = Some(words.next().context("--json needs a file")?.into()),
                "--charts" => charts = Some(words.next().context("--charts needs a directory")?.into()),
                "--help" | "-h" => return Ok(None),
                name => match Workload::named(name) {
                    Some(workload) => workloads.push(workload),
                    None => bail!("unknown argument `{name}`"),
                },
            }
        }
        let events = events.unwrap_or(if quick { 100_000 } else { 1_000_000 });
        // The first thousands show that a side has begun; large documents are one in 400.
        ensure!(events >= 100_000, "--events: must be at least 100000");
        if workloads.is_empty() {
            workloads = Workload::ALL.iter().collect();
        }
        let rounds = rounds.unwrap_or(if quick { 1 } else { 3 });
        Ok(Some(Self { quick, peers, beside, events, rounds, json, charts, workloads }))
    }

    /// How long something is watched of which time is the measure.
    pub(crate) fn seconds(&self) -> u32 {
        if self.quick { 3 } else { 15 }
    }
}

/// The daemon is started in a directory of its own, so its path must hold from there.
fn binary(path: Option<String>) -> Result<PathBuf> {
    let path = path.context("--beside needs a binary")?;
    std::fs::canonicalize(&path).with_context(|| format!("--beside: cannot find {path}"))
}

fn number(name: &str, value: Option<String>) -> Result<u32> {
    let value = value.with_context(|| format!("{name} needs a number"))?;
    let number = value.parse().with_context(|| format!("{name}: `{value}` is not a whole number"))?;
    ensure!(number > 0, "{name}: must be at least 1");
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Arguments>> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn without_words_everything_is_measured_in_full() -> Result<()> {
        let full = parse("")?.context("not help")?;
        assert_eq!((full.events, full.rounds, full.peers), (1_000_000, 3, true));
        assert_eq!(full.workloads.len(), Workload::ALL.len());
        Ok(())
    }

    #[test]
    fn numbers_win_over_the_quick_form() -> Result<()> {
        let parsed = parse("--quick --rounds 7 sink-mixed --json out.json")?.context("not help")?;
        assert_eq!((parsed.events, parsed.rounds, parsed.peers), (100_000, 7, false));
        assert_eq!(parsed.workloads.iter().map(|workload| workload.name).collect::<Vec<_>>(), ["sink-mixed"]);
        assert_eq!(parsed.json, Some("out.json".into()));
        Ok(())
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, word) in [
            ("--beside nowhere", "nowhere"),
            ("--fast", "`--fast`"),
            ("--rounds x", "`x`"),
            ("--rounds 0", "--rounds"),
        ] {
            let error = parse(line).expect_err(line).to_string();
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
