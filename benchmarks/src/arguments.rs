//! The command line.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::workload::Workload;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
cargo bench-millrace [--quick] [--json FILE] [--events N] [--rounds N] [WORKLOAD...]

Measures millrace beside what the servers can do at most, in turn, on servers that it starts itself.

  --quick       few events and rounds: seconds for each workload, for a first look
  --json FILE   write all figures of all rounds
  --events N    events of each run (default 1000000; 200000 with --quick)
  --rounds N    runs of each side (default 5; 3 with --quick)

Workloads (default: all): source-inserts, sink-inserts, sink-mixed";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// Whether figures are for a first look.
    pub(crate) quick: bool,
    /// Events of each run.
    pub(crate) events: u32,
    /// Runs of each side.
    pub(crate) rounds: u32,
    /// Where all figures go.
    pub(crate) json: Option<PathBuf>,
    /// What is measured, in this order.
    pub(crate) workloads: Vec<Workload>,
}

impl Arguments {
    /// `None` if help was asked for.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let (mut quick, mut events, mut rounds, mut json) = (false, None, None, None);
        let mut workloads = Vec::new();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--quick" => quick = true,
                "--events" => events = Some(number(&word, words.next())?),
                "--rounds" => rounds = Some(number(&word, words.next())?),
                "--json" => json = Some(words.next().context("--json needs a file")?.into()),
                "--help" | "-h" => return Ok(None),
                name => match Workload::ALL.into_iter().find(|workload| workload.name() == name) {
                    Some(workload) => workloads.push(workload),
                    None => bail!("unknown argument `{name}`"),
                },
            }
        }
        let events = events.unwrap_or(if quick { 200_000 } else { 1_000_000 });
        // The first thousand show that a side has begun, and the hot keys of a mixed load are as many.
        ensure!(events >= 20_000, "--events: must be at least 20000");
        if workloads.is_empty() {
            workloads = Workload::ALL.to_vec();
        }
        Ok(Some(Self { quick, events, rounds: rounds.unwrap_or(if quick { 3 } else { 5 }), json, workloads }))
    }
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
        let all = Workload::ALL.to_vec();
        let full = Arguments { quick: false, events: 1_000_000, rounds: 5, json: None, workloads: all };
        assert_eq!(parse("")?, Some(full));
        Ok(())
    }

    #[test]
    fn numbers_win_over_the_quick_form() -> Result<()> {
        let parsed = parse("--quick --rounds 7 sink-mixed --json out.json")?.context("not help")?;
        assert_eq!((parsed.events, parsed.rounds), (200_000, 7));
        assert_eq!(parsed.workloads, [Workload::SinkMixed]);
        assert_eq!(parsed.json, Some("out.json".into()));
        Ok(())
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, word) in [("--fast", "`--fast`"), ("--rounds x", "`x`"), ("--rounds 0", "--rounds")] {
            let error = parse(line).expect_err(line).to_string();
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
