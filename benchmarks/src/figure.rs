//! What a run of one side gave, and what is asked of it. Pure.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

/// Who moves the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Side {
    /// A program that only asks: it reads and throws away, or writes what it makes up.
    Limit,
    /// A program that reads and writes the server's bytes as they are.
    Relay,
    /// The daemon.
    Millrace,
    /// Another build of the daemon.
    Other,
    /// The official MongoDB Kafka connector.
    Official,
    /// Debezium's connector.
    Debezium,
}

impl Side {
    /// As tables call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Relay => "relay",
            Self::Millrace => "millrace",
            Self::Other => "other build",
            Self::Official => "official",
            Self::Debezium => "Debezium",
        }
    }

    /// Whether it runs in a Kafka Connect worker.
    pub(crate) fn is_peer(self) -> bool {
        matches!(self, Self::Official | Self::Debezium)
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Figure {
    /// Between the first progress and the end.
    EventsPerSecond,
    /// From the start of the tool to the first progress.
    FirstSeconds,
    /// Between when an insert was due and when its record was there.
    LatencyP50Seconds,
    LatencyP95Seconds,
    LatencyP99Seconds,
    LatencyMaxSeconds,
    /// Seconds of processor time for a million events.
    ToolCpuPerMillion,
    MongodCpuPerMillion,
    KafkaCpuPerMillion,
    /// Which share of one core the tool used while there was nothing to do.
    IdleCpuShare,
    /// The most memory that the tool had at once.
    PeakRssBytes,
    /// Which share of the machine's processors was used by nobody of those above.
    ForeignCpuShare,
}

/// How a figure is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    scale: f64,
    decimals: usize,
}

impl Figure {
    /// All that have a column, in the order of the columns.
    pub(crate) const COLUMNS: [Self; 11] = [
        Self::EventsPerSecond,
        Self::FirstSeconds,
        Self::LatencyP50Seconds,
        Self::LatencyP95Seconds,
        Self::LatencyP99Seconds,
        Self::LatencyMaxSeconds,
        Self::ToolCpuPerMillion,
        Self::MongodCpuPerMillion,
        Self::KafkaCpuPerMillion,
        Self::IdleCpuShare,
        Self::PeakRssBytes,
    ];

    /// How it is shown.
    pub(crate) fn form(self) -> Form {
        let (title, unit, scale, decimals) = match self {
            Self::EventsPerSecond => ("events", "/s", 1.0, 0),
            Self::FirstSeconds => ("first", "ms", 1e3, 0),
            Self::LatencyP50Seconds => ("p50", "ms", 1e3, 1),
            Self::LatencyP95Seconds => ("p95", "ms", 1e3, 1),
            Self::LatencyP99Seconds => ("p99", "ms", 1e3, 1),
            Self::LatencyMaxSeconds => ("max", "ms", 1e3, 1),
            Self::ToolCpuPerMillion => ("tool", "CPU-s/M", 1.0, 2),
            Self::MongodCpuPerMillion => ("mongod", "CPU-s/M", 1.0, 2),
            Self::KafkaCpuPerMillion => ("Kafka", "CPU-s/M", 1.0, 2),
            Self::IdleCpuShare => ("idle", "% of a core", 1e2, 2),
            Self::PeakRssBytes => ("peak RSS", "MB", 1e-6, 1),
            Self::ForeignCpuShare => ("others", "% of all cores", 1e2, 0),
        };
        Form { title, unit, scale, decimals }
    }
}

impl Form {
    /// A value in the unit of the form.
    pub(crate) fn text(self, value: f64) -> String {
        format!("{:.*}", self.decimals, value * self.scale)
    }
}

/// The figures of one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct Run(pub(crate) BTreeMap<Figure, f64>);

impl Run {
    /// With one more.
    pub(crate) fn with(mut self, figure: Figure, value: f64) -> Self {
        self.0.insert(figure, value);
        self
    }

    /// One of them.
    pub(crate) fn get(&self, figure: Figure) -> Option<f64> {
        self.0.get(&figure).copied()
    }
}

/// All sides, one after the other.
pub(crate) type Round = BTreeMap<Side, Run>;

/// What is asked of millrace: one of its figures, by itself or as a multiple of another side's, at least or at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bar {
    figure: Figure,
    of: Option<(Side, Figure)>,
    bound: Bound,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bar {
    /// `figure` is to be at least `ratio` times that of `side`.
    pub(crate) const fn at_least(figure: Figure, ratio: f64, side: Side) -> Self {
        Self { figure, of: Some((side, figure)), bound: Bound::AtLeast(ratio) }
    }

    /// `figure` is to be at most `ratio` times that of `side`.
    pub(crate) const fn at_most(figure: Figure, ratio: f64, side: Side) -> Self {
        Self::at_most_other(figure, ratio, side, figure)
    }

    /// `figure` is to be at most `ratio` times another figure of `side`.
    pub(crate) const fn at_most_other(figure: Figure, ratio: f64, side: Side, other: Figure) -> Self {
        Self { figure, of: Some((side, other)), bound: Bound::AtMost(ratio) }
    }

    /// `figure` is to be at most `value`, in its own unit.
    pub(crate) const fn below(figure: Figure, value: f64) -> Self {
        Self { figure, of: None, bound: Bound::AtMost(value) }
    }

    /// What it compares, of one round; `None` if that was not measured.
    pub(crate) fn value(&self, round: &Round) -> Option<f64> {
        let own = round.get(&Side::Millrace)?.get(self.figure)?;
        match self.of {
            None => Some(own),
            Some((side, figure)) => Some(own / round.get(&side)?.get(figure)?),
        }
    }

    /// Whether a value is good enough.
    pub(crate) fn is_met_by(&self, value: f64) -> bool {
        match self.bound {
            Bound::AtLeast(bound) => value >= bound,
            Bound::AtMost(bound) => value <= bound,
        }
    }

    /// A value as the bar's own text has it.
    pub(crate) fn text(&self, value: f64) -> String {
        match self.of {
            // Small ratios say more the other way round.
            Some(_) if value < 0.3 => format!("1/{:.1}", 1.0 / value),
            Some(_) => format!("{value:.2}"),
            None => self.figure.form().text(value),
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = self.figure.form();
        let (sign, bound) = match self.bound {
            Bound::AtLeast(bound) => ("≥", bound),
            Bound::AtMost(bound) => ("≤", bound),
        };
        write!(f, "{} {sign} {}", form.title, self.text(bound))?;
        match self.of {
            Some((side, figure)) if figure == self.figure => write!(f, " × {}", side.name()),
            Some((side, figure)) => write!(f, " × {}'s {}", side.name(), figure.form().title),
            None => write!(f, " {}", form.unit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(limit: f64, millrace: f64) -> Round {
        let run = |rate| Run::default().with(Figure::EventsPerSecond, rate);
        Round::from([(Side::Limit, run(limit)), (Side::Millrace, run(millrace))])
    }

    #[test]
    fn a_bar_compares_within_a_round() {
        let bar = Bar::at_least(Figure::EventsPerSecond, 0.85, Side::Limit);
        let value = bar.value(&round(100.0, 90.0)).expect("both are there");
        assert!(bar.is_met_by(value) && !bar.is_met_by(0.84));
        assert_eq!(
            (bar.to_string(), bar.text(value)),
            ("events ≥ 0.85 × limit".to_owned(), "0.90".to_owned())
        );
        let peer = Bar::at_most(Figure::EventsPerSecond, 0.125, Side::Official);
        assert_eq!(peer.value(&round(1.0, 1.0)), None, "that side did not run");
        assert_eq!(peer.to_string(), "events ≤ 1/8.0 × official");
    }

    #[test]
    fn a_bar_of_its_own_has_a_unit() {
        let bar = Bar::below(Figure::PeakRssBytes, 104e6);
        assert_eq!(bar.to_string(), "peak RSS ≤ 104.0 MB");
        assert!(bar.is_met_by(103e6) && !bar.is_met_by(105e6));
    }

    #[test]
    fn figures_of_two_kinds_can_be_compared() {
        let bar =
            Bar::at_most_other(Figure::LatencyP99Seconds, 1.0, Side::Official, Figure::LatencyP50Seconds);
        assert_eq!(bar.to_string(), "p99 ≤ 1.00 × official's p50");
    }
}
