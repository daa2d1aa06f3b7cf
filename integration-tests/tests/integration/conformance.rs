//! The acceptance cases of a replacement of the official connector, fed through import and the stages that the daemon
//! runs.
//!
//! `cargo test --package integration-tests conformance -- --nocapture` prints a line for each failure, a table, and
//! `conformance: N passed, N failed, N deviate`. `CONFORMANCE_CASES=DIR` (absolute, or as seen from the workspace's root)
//! takes other cases of the same form. Where we deviate on purpose, and what is not there yet, stands with its reason in
//! `tests/data/cases-deviations.json`: deviations by their kind, so that a case is only excused for what its expectation
//! says, and only when it is not met.

mod cases;
mod opens;
mod payload;
mod records;
mod same;
mod servers;
mod sink;
mod source;

use std::{collections::BTreeMap, fmt};

use anyhow::ensure;

use self::cases::{Case, Reasons};

/// What became of a case.
#[derive(Debug)]
enum Outcome {
    Passed,
    Failed(String),
    /// Deliberately not as expected; the kind of deviation.
    Deviates(&'static str),
    /// There is no such feature yet.
    NotYet,
}

/// A case's expectation that is not met.
struct Mismatch {
    message: String,
    /// The deviation that would explain it.
    deviation: Option<&'static str>,
}

impl Mismatch {
    fn plain(message: impl Into<String>) -> Self {
        Self { message: message.into(), deviation: None }
    }

    fn explained(deviation: &'static str, message: impl Into<String>) -> Self {
        Self { message: message.into(), deviation: Some(deviation) }
    }
}

const PARITIES: [&str; 4] = ["must", "should", "rare", "quirk"];

/// Counts of one file, by parity.
#[derive(Clone, Copy, Default)]
struct Counts {
    passed: usize,
    failed: usize,
    deviates: usize,
    not_yet: usize,
}

#[test]
fn conformance() -> anyhow::Result<()> {
    let reasons = Reasons::load()?;
    let mut table: BTreeMap<String, BTreeMap<String, Counts>> = BTreeMap::new();
    for (file, cases) in cases::load()? {
        for case in cases {
            let counts = table.entry(file.clone()).or_default().entry(case.parity.clone()).or_default();
            let outcome = judge(&file, &case, &reasons);
            match &outcome {
                Outcome::Passed => counts.passed += 1,
                Outcome::Failed(message) => {
                    counts.failed += 1;
                    println!("FAILED {file} ({}) {:?}: {message}", case.parity, case.name);
                }
                Outcome::Deviates(kind) => {
                    counts.deviates += 1;
                    println!(
                        "deviates {file} ({}) {:?}: {}",
                        case.parity,
                        case.name,
                        reasons.deviation(kind)?
                    );
                }
                Outcome::NotYet => counts.not_yet += 1,
            }
        }
    }
    let total = print_table(&table);
    println!("conformance: {} passed, {} failed, {} deviate", total.passed, total.failed, total.deviates);
    ensure!(total.passed > 0, "no case was run");
    ensure!(total.failed == 0, "{} cases failed", total.failed);
    Ok(())
}

fn judge(file: &str, case: &Case, reasons: &Reasons) -> Outcome {
    if reasons.is_not_yet(file) {
        return Outcome::NotYet;
    }
    if case.needs_schemas() && reasons.is_kind_not_yet("schema") {
        return Outcome::NotYet;
    }
    let run = if case.side == "sink" { sink::run(file, case) } else { source::run(case) };
    match run {
        Ok(()) => Outcome::Passed,
        Err(Mismatch { deviation: Some(kind), .. }) => Outcome::Deviates(kind),
        Err(Mismatch { message, .. }) => Outcome::Failed(message),
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.passed + self.failed + self.deviates + self.not_yet == 0 {
            return write!(f, "{:>16}", "-");
        }
        write!(f, "{:>4}{:>4}{:>4}{:>4}", self.passed, self.failed, self.deviates, self.not_yet)
    }
}

fn print_table(table: &BTreeMap<String, BTreeMap<String, Counts>>) -> Counts {
    let mut total = Counts::default();
    println!(
        "{:32}{}",
        "passed, failed, deviates, not yet",
        PARITIES.map(|parity| format!("{parity:>16}")).concat()
    );
    for (file, by_parity) in table {
        let counts = PARITIES.map(|parity| by_parity.get(parity).copied().unwrap_or_default());
        println!("{file:32}{}", counts.map(|counts| counts.to_string()).concat());
        for counts in by_parity.values() {
            total.passed += counts.passed;
            total.failed += counts.failed;
            total.deviates += counts.deviates;
            total.not_yet += counts.not_yet;
        }
    }
    println!("not yet: {}", total.not_yet);
    total
}
