//! What is measured, which sides do it, and what is asked of millrace.

mod idle;
mod latency;
mod sink;
mod start;
mod stream;
mod topic;
mod whole;

use std::time::Instant;

use anyhow::{Context, Result};

use crate::{
    arguments::Arguments,
    figure::{
        Bar,
        Figure::{
            EventsPerSecond, FirstSeconds, LatencyP50Seconds, LatencyP99Seconds, PeakRssBytes,
            ToolCpuPerMillion,
        },
        Round, Run, Side,
    },
    load::{Load, Mix, Value},
    site::Site,
};

/// Of the events, of which a peer gets only the first: it is slow, and its rate is the same all the way.
const PEER_SHARE: u64 = 4;
/// The default byte budget of 64 MB and what the daemon may have beyond it.
const MEMORY: Bar = Bar::below(PeakRssBytes, 104e6);

/// One of them.
#[derive(Debug)]
pub(crate) struct Workload {
    /// As the command line calls it.
    pub(crate) name: &'static str,
    /// What it is, for a reader of the command line's help.
    pub(crate) about: &'static str,
    /// Who takes part.
    sides: &'static [Side],
    /// What is asked of millrace.
    pub(crate) bars: &'static [Bar],
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Stream(stream::Stream),
    Sink(sink::Sink),
    Whole,
    Latency { events_per_second: u32 },
    Start { foreign: bool },
    Idle,
}

use Side::{Debezium, Limit, Millrace, Official, Relay};

impl Workload {
    /// All, in the order in which they run.
    pub(crate) const ALL: &[Self] = &[
        Self {
            name: "source-inserts",
            about: "inserts of 500 bytes in the oplog, to one topic",
            sides: &[Limit, Relay, Millrace, Official, Debezium],
            bars: &[
                Bar::at_least(EventsPerSecond, 0.85, Limit),
                Bar::at_least(EventsPerSecond, 3.5, Official),
                Bar::at_most(ToolCpuPerMillion, 0.125, Official),
                Bar::at_most(PeakRssBytes, 0.1, Official),
                MEMORY,
            ],
            kind: Kind::Stream(stream::Stream::SMALL),
        },
        Self {
            name: "source-lookups",
            about: "mixed changes with hot keys, updates with the document looked up",
            sides: &[Limit, Millrace, Official, Debezium],
            bars: &[Bar::at_least(EventsPerSecond, 0.8, Limit), MEMORY],
            kind: Kind::Stream(stream::Stream {
                mix: Mix::Mixed,
                has_lookup: true,
                share: 2,
                ..stream::Stream::SMALL
            }),
        },
        Self {
            name: "source-before",
            about: "mixed changes with hot keys, with the document before the change",
            sides: &[Limit, Millrace, Official, Debezium],
            bars: &[Bar::at_least(EventsPerSecond, 0.8, Limit), MEMORY],
            kind: Kind::Stream(stream::Stream {
                mix: Mix::Mixed,
                has_before: true,
                share: 2,
                ..stream::Stream::SMALL
            }),
        },
        Self {
            name: "source-20k",
            about: "inserts of 20 KB",
            sides: &[Limit, Relay, Millrace, Official, Debezium],
            bars: &[Bar::at_least(EventsPerSecond, 0.8, Limit), MEMORY],
            kind: Kind::Stream(stream::Stream { text_bytes: 19_500, share: 40, ..stream::Stream::SMALL }),
        },
        Self {
            name: "source-250k",
            about: "inserts of 250 KB",
            sides: &[Limit, Relay, Millrace, Official, Debezium],
            bars: &[Bar::at_least(EventsPerSecond, 0.8, Limit), MEMORY],
            kind: Kind::Stream(stream::Stream { text_bytes: 249_500, share: 400, ..stream::Stream::SMALL }),
        },
        Self {
            name: "source-collections",
            about: "small inserts into 100 collections in turn, a topic for each",
            sides: &[Limit, Millrace, Official, Debezium],
            bars: &[Bar::at_least(EventsPerSecond, 0.8, Limit), MEMORY],
            kind: Kind::Stream(stream::Stream { coll_count: 100, ..stream::Stream::SMALL }),
        },
        Self {
            name: "snapshot",
            about: "a copy of a collection of small documents",
            sides: &[Limit, Relay, Millrace, Official, Debezium],
            bars: &[Bar::at_least(EventsPerSecond, 0.8, Limit), MEMORY],
            kind: Kind::Stream(stream::Stream { is_copy: true, ..stream::Stream::SMALL }),
        },
        Self {
            name: "sink-inserts",
            about: "change events of inserts, into an empty collection",
            sides: &[Limit, Millrace, Official],
            bars: &[
                Bar::at_least(EventsPerSecond, 0.8, Limit),
                Bar::at_least(EventsPerSecond, 6.0, Official),
                MEMORY,
            ],
            kind: Kind::Sink(sink::Sink { mix: Mix::Inserts, value: Value::Event }),
        },
        Self {
            name: "sink-mixed",
            about: "change events with hot keys, against raw upserts of every event",
            sides: &[Limit, Millrace, Official],
            bars: &[
                Bar::at_least(EventsPerSecond, 1.0, Limit),
                Bar::at_least(EventsPerSecond, 4.0, Official),
                MEMORY,
            ],
            kind: Kind::Sink(sink::Sink { mix: Mix::Mixed, value: Value::Event }),
        },
        Self {
            name: "sink-documents",
            about: "plain documents, into an empty collection, against raw upserts",
            sides: &[Limit, Millrace, Official],
            bars: &[MEMORY],
            kind: Kind::Sink(sink::Sink { mix: Mix::Inserts, value: Value::Document }),
        },
        Self {
            name: "whole-loop",
            about: "inserts in the oplog through a topic into another collection, one process",
            sides: &[Limit, Millrace, Official],
            bars: &[],
            kind: Kind::Whole,
        },
        Self {
            name: "latency-500",
            about: "insert to consumer at 500 a second",
            sides: &[Limit, Millrace, Official, Debezium],
            bars: &[Bar::at_most_other(LatencyP99Seconds, 1.0, Official, LatencyP50Seconds)],
            kind: Kind::Latency { events_per_second: 500 },
        },
        Self {
            name: "latency-5000",
            about: "insert to consumer at 5,000 a second",
            sides: &[Limit, Millrace, Official, Debezium],
            bars: &[Bar::below(LatencyP99Seconds, 0.020)],
            kind: Kind::Latency { events_per_second: 5_000 },
        },
        Self {
            name: "start",
            about: "start to first record, of a connector on a running worker",
            sides: &[Millrace, Official, Debezium],
            bars: &[Bar::at_most(FirstSeconds, 0.05, Official)],
            kind: Kind::Start { foreign: false },
        },
        Self {
            name: "resume",
            about: "start to first record behind foreign entries of the oplog, as many as there are events",
            sides: &[Limit, Millrace, Official, Debezium],
            bars: &[],
            kind: Kind::Start { foreign: true },
        },
        Self {
            name: "idle",
            about: "a source and a sink with nothing to do",
            sides: &[Millrace, Official],
            bars: &[Bar::below(PeakRssBytes, 20e6)],
            kind: Kind::Idle,
        },
    ];

    /// The one of that name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|workload| workload.name == name)
    }

    /// Measures it.
    pub(crate) async fn run(&self, site: &Site, arguments: &Arguments) -> Result<Vec<Round>> {
        let keeps = |side: &&Side| arguments.peers || !side.is_peer();
        let mut sides: Vec<Side> = self.sides.iter().filter(keeps).copied().collect();
        if arguments.beside.is_some() {
            sides.push(Side::Other);
        }
        let rounds = Rounds { sides, count: arguments.rounds };
        let events = arguments.events;
        let outcome = match &self.kind {
            Kind::Stream(stream) => stream.run(site, events, rounds).await,
            Kind::Sink(sink) => sink.run(site, events, rounds).await,
            Kind::Whole => whole::run(site, events, rounds).await,
            Kind::Latency { events_per_second } => {
                latency::run(site, *events_per_second, arguments.seconds(), rounds).await
            }
            Kind::Start { foreign } => start::run(site, if *foreign { events } else { 0 }, rounds).await,
            Kind::Idle => idle::run(site, arguments.seconds(), rounds).await,
        };
        outcome.with_context(|| self.name)
    }
}

/// How often who runs.
struct Rounds {
    sides: Vec<Side>,
    count: u32,
}

impl Rounds {
    /// Runs all sides `count` times, each round beginning with the next of them, after a round that does not count: caches
    /// fill, and JVMs compile what they run often.
    async fn run(self, run: impl AsyncFn(Side) -> Result<Run>) -> Result<Vec<Round>> {
        let begun = Instant::now();
        let Self { mut sides, count } = self;
        let mut rounds = Vec::new();
        for number in 0..=count {
            let mut round = Round::new();
            for side in &sides {
                eprintln!("{:>5} s  round {number} of {count}: {}", begun.elapsed().as_secs(), side.name());
                round.insert(*side, run(*side).await.with_context(|| side.name())?);
            }
            if number > 0 {
                rounds.push(round);
            }
            sides.rotate_left(1);
        }
        Ok(rounds)
    }
}

/// How many of the events a side has to move.
fn share(side: Side, events: u32) -> u64 {
    u64::from(events) / if side.is_peer() { PEER_SHARE } else { 1 }
}

/// Small inserts.
fn inserts(count: u32) -> Load {
    Load { mix: Mix::Inserts, count, text_bytes: 0 }
}
