//! Rounds → a table with verdicts, JSON. Pure.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use crate::{
    arguments::Arguments,
    figure::{Bar, Figure, Round, Run, Side},
    workload::Workload,
};

/// From this share of the machine's processors used by strangers on, figures say little.
const DISTURBED: f64 = 0.1;

/// All rounds of a workload.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Compared {
    pub(crate) workload: &'static str,
    verdicts: Vec<Verdict>,
    /// Of each side and figure over the rounds.
    pub(crate) medians: BTreeMap<Side, Run>,
    rounds: Vec<Round>,
}

/// What came of a bar.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    #[serde(serialize_with = "as_text")]
    bar: Bar,
    /// Round by round; empty if the other side was not measured.
    values: Vec<f64>,
    median: Option<f64>,
    is_met: Option<bool>,
}

fn as_text<S: serde::Serializer>(bar: &Bar, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(bar)
}

impl Verdict {
    fn new(bar: Bar, rounds: &[Round]) -> Self {
        let values: Vec<f64> = rounds.iter().filter_map(|round| bar.value(round)).collect();
        let median = median(&values);
        Self { bar, values, median, is_met: median.map(|median| bar.is_met_by(median)) }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.is_met {
            Some(true) => "met",
            Some(false) => "not met",
            None => "not measured",
        };
        write!(f, "{:<40}{verdict}", self.bar.to_string())?;
        if let Some(median) = self.median {
            let values: Vec<String> = self.values.iter().map(|value| self.bar.text(*value)).collect();
            write!(f, ": {} (round by round: {})", self.bar.text(median), values.join(" "))?;
        }
        Ok(())
    }
}

impl Compared {
    /// Of a workload that was measured. There is at least one round.
    pub(crate) fn new(workload: &'static Workload, rounds: Vec<Round>) -> Self {
        let verdicts = workload.bars.iter().map(|bar| Verdict::new(*bar, &rounds)).collect();
        let mut medians = BTreeMap::new();
        for side in rounds.iter().flat_map(BTreeMap::keys) {
            let runs: Vec<&Run> = rounds.iter().filter_map(|round| round.get(side)).collect();
            let figures = runs.iter().flat_map(|run| run.0.keys()).map(|figure| {
                let values: Vec<f64> = runs.iter().filter_map(|run| run.get(*figure)).collect();
                (*figure, median(&values).unwrap_or(f64::NAN))
            });
            medians.insert(*side, Run(figures.collect()));
        }
        Self { workload: workload.name, verdicts, medians, rounds }
    }

    /// The figures that some side has, in the order of the columns.
    pub(crate) fn columns(&self) -> Vec<Figure> {
        let has = |figure: &Figure| self.medians.values().any(|run| run.get(*figure).is_some());
        Figure::COLUMNS.into_iter().filter(has).collect()
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{} (medians of {})", self.workload, self.rounds.len())?;
        let columns = self.columns();
        let row = |f: &mut fmt::Formatter<'_>, first: &str, cells: Vec<String>| {
            write!(f, "  {first:<10}")?;
            for cell in cells {
                write!(f, "{cell:>13}")?;
            }
            writeln!(f)
        };
        row(f, "", columns.iter().map(|figure| figure.form().title.to_owned()).collect())?;
        row(f, "", columns.iter().map(|figure| figure.form().unit.to_owned()).collect())?;
        for (side, run) in &self.medians {
            let cell =
                |figure: &Figure| run.get(*figure).map_or("–".into(), |value| figure.form().text(value));
            row(f, side.name(), columns.iter().map(cell).collect())?;
        }
        for verdict in &self.verdicts {
            writeln!(f, "  {verdict}")?;
        }
        let foreign =
            self.rounds.iter().flat_map(BTreeMap::values).filter_map(|run| run.get(Figure::ForeignCpuShare));
        let worst = foreign.fold(0.0, f64::max);
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
    events: u32,
    cores: usize,
    pub(crate) workloads: Vec<Compared>,
}

impl Report {
    /// With nothing measured yet.
    pub(crate) fn new(arguments: &Arguments) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { events: arguments.events, cores, workloads: Vec::new() }
    }
}

/// The middle value; between the two middle ones where their number is even; `None` of nothing.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        count if count % 2 == 0 => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
        _ => Some(sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(limit: f64, millrace: f64) -> Round {
        let run = |rate| Run::default().with(Figure::EventsPerSecond, rate);
        Round::from([(Side::Limit, run(limit)), (Side::Millrace, run(millrace))])
    }

    fn source_inserts() -> &'static Workload {
        Workload::named("source-inserts").expect("there is one of that name")
    }

    #[test]
    fn the_median_stands_in_the_middle() {
        for (values, wanted) in
            [(vec![3.0], 3.0), (vec![9.0, 1.0, 2.0], 2.0), (vec![4.0, 1.0, 2.0, 9.0], 3.0)]
        {
            assert!((median(&values).expect("of something") - wanted).abs() < 1e-9, "{values:?}");
        }
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_ratio_is_taken_round_by_round_and_judged_by_its_median() {
        let rounds = vec![round(100e3, 90e3), round(50e3, 40e3), round(100e3, 86e3)];
        let text = Compared::new(source_inserts(), rounds).to_string();
        assert!(text.contains("met: 0.86 (round by round: 0.90 0.80 0.86)"), "{text}");
        assert!(text.contains("not measured"), "the peers did not run: {text}");
    }

    #[test]
    fn strangers_on_the_machine_are_named() {
        let mut rounds = vec![round(100e3, 90e3)];
        assert!(!Compared::new(source_inserts(), rounds.clone()).to_string().contains("disturbed"));
        let run = rounds[0].get_mut(&Side::Limit).expect("it ran");
        *run = run.clone().with(Figure::ForeignCpuShare, 0.4);
        let text = Compared::new(source_inserts(), rounds).to_string();
        assert!(text.contains("others used up to 40 %"), "{text}");
    }
}
