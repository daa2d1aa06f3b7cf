//! Runs → figures, a table, JSON. Pure.

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::{
    arguments::Arguments,
    measure::{Cpu, Pace, Usage},
};

/// From this share of the machine's processors used by strangers on, figures say little.
const DISTURBED: f64 = 0.1;

/// What one run gave.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Run {
    /// Between the first progress and the end.
    events_per_second: f64,
    /// From the start of the process to the first progress.
    first_seconds: f64,
    /// Seconds of processor time for a million events.
    tool_cpu_per_million: f64,
    mongod_cpu_per_million: f64,
    kafka_cpu_per_million: f64,
    peak_rss_bytes: u64,
    /// Which share of the machine's processors was used by nobody of those above.
    foreign_cpu_share: f64,
}

impl Run {
    /// From what was measured while `events` were moved in `elapsed`.
    pub(crate) fn new(events: u32, pace: Pace, usage: Usage, cpu: Cpu, elapsed: Duration) -> Self {
        let per_million = |seconds: f64| seconds * 1e6 / f64::from(events);
        let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
        let foreign = cpu.machine - cpu.mongod - cpu.kafka - cpu.watcher - usage.cpu_seconds;
        Self {
            events_per_second: pace.rate(u64::from(events)),
            first_seconds: pace.first.as_secs_f64(),
            tool_cpu_per_million: per_million(usage.cpu_seconds),
            mongod_cpu_per_million: per_million(cpu.mongod),
            kafka_cpu_per_million: per_million(cpu.kafka),
            peak_rss_bytes: usage.peak_rss_bytes,
            foreign_cpu_share: (foreign / elapsed.as_secs_f64() / cores).max(0.0),
        }
    }
}

/// Both sides, one after the other.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Round {
    pub(crate) limit: Run,
    pub(crate) millrace: Run,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.millrace.events_per_second / self.limit.events_per_second
    }
}

/// All rounds of a workload.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Compared {
    workload: &'static str,
    bar: f64,
    median_ratio: f64,
    ratios: Vec<f64>,
    rounds: Vec<Round>,
}

impl Compared {
    /// Of a workload that is to reach `bar`. There is at least one round.
    pub(crate) fn new(workload: &'static str, bar: f64, rounds: Vec<Round>) -> Self {
        let ratios: Vec<f64> = rounds.iter().map(Round::ratio).collect();
        Self { workload, bar, median_ratio: median(&ratios), ratios, rounds }
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.median_ratio >= self.bar { "met" } else { "not met" };
        writeln!(
            f,
            "\n{}: {:.2} of the limit (bar {:.2}: {verdict})",
            self.workload, self.median_ratio, self.bar
        )?;
        let ratios: Vec<String> = self.ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        writeln!(f, "  round by round: {}", ratios.join(" "))?;
        writeln!(
            f,
            "  {:<10}{:>12}{:>14}{:>14}{:>14}{:>11}{:>11}",
            "median", "events/s", "tool CPU-s/M", "mongod", "kafka", "peak RSS", "first"
        )?;
        for (name, side) in
            [("limit", (|round| round.limit) as fn(&Round) -> Run), ("millrace", |round| round.millrace)]
        {
            let runs: Vec<Run> = self.rounds.iter().map(side).collect();
            let of = |value: fn(&Run) -> f64| median(&runs.iter().map(value).collect::<Vec<_>>());
            writeln!(
                f,
                "  {name:<10}{:>12.0}{:>14.2}{:>14.2}{:>14.2}{:>8.0} MB{:>8.0} ms",
                of(|run| run.events_per_second),
                of(|run| run.tool_cpu_per_million),
                of(|run| run.mongod_cpu_per_million),
                of(|run| run.kafka_cpu_per_million),
                of(|run| run.peak_rss_bytes as f64 / 1e6),
                of(|run| run.first_seconds * 1e3),
            )?;
        }
        let runs = self.rounds.iter().flat_map(|round| [round.limit, round.millrace]);
        let worst = runs.map(|run| run.foreign_cpu_share).fold(0.0, f64::max);
        if worst > DISTURBED {
            let percent = worst * 100.0;
            writeln!(f, "  disturbed: others used up to {percent:.0} % of the processors during a run")?;
        }
        Ok(())
    }
}

/// Everything.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    quick: bool,
    events: u32,
    cores: usize,
    pub(crate) workloads: Vec<Compared>,
}

impl Report {
    /// With nothing measured yet.
    pub(crate) fn new(arguments: &Arguments) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { quick: arguments.quick, events: arguments.events, cores, workloads: Vec::new() }
    }
}

/// The middle value; between the two middle ones where their number is even.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(events_per_second: f64) -> Run {
        let pace = Pace {
            first: Duration::ZERO,
            first_count: 0,
            all: Duration::from_secs_f64(1e6 / events_per_second),
        };
        let usage = Usage { cpu_seconds: 3.0, peak_rss_bytes: 40_000_000 };
        let cpu = Cpu { mongod: 7.0, kafka: 2.0, watcher: 0.0, machine: 12.0 };
        Run::new(1_000_000, pace, usage, cpu, pace.all)
    }

    fn round(limit: f64, millrace: f64) -> Round {
        Round { limit: run(limit), millrace: run(millrace) }
    }

    #[test]
    fn the_median_stands_in_the_middle() {
        for (values, wanted) in
            [(vec![3.0], 3.0), (vec![9.0, 1.0, 2.0], 2.0), (vec![4.0, 1.0, 2.0, 9.0], 3.0)]
        {
            assert!((median(&values) - wanted).abs() < 1e-9, "{values:?}");
        }
    }

    #[test]
    fn the_ratio_is_taken_round_by_round_and_judged_by_its_median() {
        let rounds = vec![round(100e3, 90e3), round(50e3, 40e3), round(100e3, 85e3)];
        let text = Compared::new("source-inserts", 0.85, rounds).to_string();
        assert!(text.contains("source-inserts: 0.85 of the limit (bar 0.85: met)"), "{text}");
        assert!(text.contains("round by round: 0.90 0.80 0.85"), "{text}");
    }

    #[test]
    fn strangers_on_the_machine_are_named() {
        let mut disturbed = round(100e3, 90e3);
        assert!(!Compared::new("w", 1.0, vec![disturbed]).to_string().contains("disturbed"));
        disturbed.limit.foreign_cpu_share = 0.4;
        let text = Compared::new("w", 1.0, vec![disturbed]).to_string();
        assert!(text.contains("others used up to 40 %"), "{text}");
    }
}
