//! The demo: servers, a daemon, a live load, a SIGKILL in the middle, and a comparison byte for byte.
//!
//!     arguments ▶ servers ▶ config ▶ daemon + load ▶ kill ▶ load ends ▶ all arrives ▶ verdict
//!
//! It ends with 0 only if nothing is missing in the topics, their order is as promised and both copies are identical.

mod arguments;
mod config;
mod counts;
mod display;

use std::{
    path::Path,
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use mongodb::Client;

use self::{arguments::Arguments, counts::Counts, display::Display};
use crate::{
    daemon::{self, Daemon},
    load::{Counters, Load, Plan, Types},
    pair::Pair,
    scratch::Scratch,
    servers::{Addresses, Servers, delete_topics, topic_names},
};

/// How often the numbers are shown.
const SHOW_INTERVAL: Duration = Duration::from_secs(1);
/// When nothing has moved for so long after the end of the load, what has not arrived does not come any more.
const STILL_DEADLINE: Duration = Duration::from_secs(30);
/// A process that Ctrl-C ended: 128 + SIGINT, as shells count it.
const INTERRUPTED: u8 = 130;

/// The whole command.
pub fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{}", arguments::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("demo: {error}\n\n{}", arguments::HELP);
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Runtime::new().expect("a process can have a runtime");
    match runtime.block_on(tell(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Interrupted>() => ExitCode::from(INTERRUPTED),
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Ctrl-C was pressed: everything ends in order, without a verdict.
#[derive(Debug)]
struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

async fn unless_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        outcome = work => outcome,
        pressed = tokio::signal::ctrl_c() => pressed.map_err(Into::into).and(Err(Interrupted.into())),
    }
}

async fn tell(arguments: &Arguments) -> Result<()> {
    let servers = unless_interrupted(Servers::start()).await?;
    say(&format!("servers: {}", servers.describe()));
    daemon::binary()?;
    let directory = Scratch::new("demo")?;
    let stage = Stage::set(&servers, directory.path()).await?;
    let outcome = play(&stage, arguments, directory.path()).await;
    if servers.are_all_ours() {
        return outcome;
    }
    // What is left on somebody's own servers goes; ours go with their data.
    let removed = stage.remove().await;
    outcome.and(removed)
}

async fn play(stage: &Stage, arguments: &Arguments, directory: &Path) -> Result<()> {
    let mut daemon = Daemon::new(&directory.join("daemon"), &stage.config()?)?;
    let outcome = unless_interrupted(run(stage, &mut daemon, arguments)).await;
    match &outcome {
        Ok(verdict) => say(&format!("verdict: {verdict}")),
        Err(error) if error.is::<Interrupted>() => {}
        // The reason itself comes last, from whoever called.
        Err(_) => eprintln!("{}", daemon.tail()),
    }
    if arguments.keep {
        stage.explain(&mut daemon)?;
        tokio::signal::ctrl_c().await?;
    }
    match outcome?.ends_with("identical") {
        true => Ok(()),
        false => bail!("the copy is not the original"),
    }
}

async fn run(stage: &Stage, daemon: &mut Daemon, arguments: &Arguments) -> Result<String> {
    let launched = Instant::now();
    daemon.start_ready().await?;
    say(&format!("daemon: ready after {} ms, http://{}", launched.elapsed().as_millis(), daemon.admin()));
    let loads = stage.load(arguments);
    let mut display = Display::new();
    let written: Vec<Arc<Counters>> = loads.iter().map(|load| load.counters().clone()).collect();
    let mut counts = Counts::new(stage, written);

    let half = arguments.load_time / 2;
    watch_until(&mut display, &mut counts, daemon, half).await?;
    daemon.kill9()?;
    display.say("daemon: killed with SIGKILL");
    daemon.start()?;
    display.say("daemon: started again; Kafka gives it the dead one's partitions in about 10 s");
    watch_until(&mut display, &mut counts, daemon, arguments.load_time - half).await?;
    for load in loads {
        load.stop().await?;
    }
    display.say("load: ended; waiting until all has arrived");
    arrive(stage, &mut display, &mut counts, daemon).await
}

/// Shows the numbers for `duration`.
async fn watch_until(
    display: &mut Display,
    counts: &mut Counts<'_>,
    daemon: &mut Daemon,
    duration: Duration,
) -> Result<()> {
    let end = Instant::now() + duration;
    let mut ticks = tokio::time::interval(SHOW_INTERVAL);
    while Instant::now() < end {
        ticks.tick().await;
        if !daemon.is_running()? {
            bail!("the daemon has ended by itself");
        }
        display.show(&counts.look(daemon).await?);
    }
    Ok(())
}

/// Waits until the copies are identical, or nothing has moved for long, and judges.
async fn arrive(
    stage: &Stage,
    display: &mut Display,
    counts: &mut Counts<'_>,
    daemon: &mut Daemon,
) -> Result<String> {
    let mut moved = (Instant::now(), 0);
    let mut ticks = tokio::time::interval(SHOW_INTERVAL);
    let mut equal_count;
    loop {
        ticks.tick().await;
        let look = counts.look(daemon).await?;
        display.show(&look);
        if look.in_topics + look.copied != moved.1 {
            moved = (Instant::now(), look.in_topics + look.copied);
        }
        equal_count = 0;
        let mut difference = None;
        for pair in &stage.pairs {
            let found = pair.compare().await?;
            equal_count += found.equal_count;
            difference = difference.or(found.difference);
        }
        match difference {
            None => break,
            Some(difference) if moved.0.elapsed() > STILL_DEADLINE => {
                return Ok(format!("nothing has moved for {STILL_DEADLINE:?} and {difference}"));
            }
            Some(_) => {}
        }
    }
    display.done();
    let (mut event_count, mut repeat_count) = (0, 0);
    for pair in &stage.pairs {
        let summary = pair.in_order(1).await.context("what the topics hold is not what happened")?;
        event_count += summary.event_count;
        repeat_count += summary.repeat_count;
    }
    Ok(format!(
        "{event_count} events in the topics, none missing and in order ({repeat_count} repeated after the SIGKILL); \
         {equal_count} documents: identical"
    ))
}

/// Who plays: the names, and the servers to play on.
struct Stage {
    name: String,
    addresses: Addresses,
    /// What strict JSON carries, then what only raw BSON carries.
    pairs: [Pair; 2],
}

impl Stage {
    async fn set(servers: &Servers, directory: &Path) -> Result<Self> {
        let addresses = servers.addresses().clone();
        let client = Client::with_uri_str(&addresses.mongodb_uri).await?;
        // On servers that hold other people's data the names must be new.
        let suffix =
            if servers.are_all_ours() { String::new() } else { format!("_demo_{}", std::process::id()) };
        let shop = Pair::new(&addresses, &client, &format!("shop{suffix}")).await?;
        let exotic = Pair::new(&addresses, &client, &format!("exotic{suffix}")).await?;
        let stage = Self { name: format!("demo{suffix}"), addresses, pairs: [shop, exotic] };
        std::fs::create_dir_all(directory)?;
        Ok(stage)
    }

    fn config(&self) -> Result<String> {
        config::derive(&self.name, &self.addresses, &self.pairs)
    }

    fn load(&self, arguments: &Arguments) -> Vec<Load> {
        let [shop, exotic] = &self.pairs;
        let plan = |pair: &Pair, types, writers, share: u32| Plan {
            seed: 1,
            database: pair.database.clone(),
            collections: ["orders", "customers", "items"].map(str::to_owned).into(),
            types,
            writers,
            operations: u64::MAX,
            rate: Some((arguments.rate * share / 4).max(1)),
        };
        let plans = [plan(shop, Types::Strict, 3, 3), plan(exotic, Types::All, 1, 1)];
        let start = |(pair, plan): (&Pair, &Plan)| Load::start(&pair.client, plan);
        self.pairs.iter().zip(&plans).map(start).collect()
    }

    fn explain(&self, daemon: &mut Daemon) -> Result<()> {
        let Addresses { mongodb_uri, kafka } = &self.addresses;
        let [shop, _] = &self.pairs;
        say("all is left running; Ctrl-C ends it. To look around:");
        say(&format!("  curl http://{}/status", daemon.admin()));
        say(&format!("  curl http://{}/metrics", daemon.admin()));
        say(&format!(
            "  mongosh '{mongodb_uri}' --eval 'db.getSiblingDB(\"{}\").orders.findOne()'",
            shop.copy
        ));
        say(&format!("  kcat -b {kafka} -C -t {}.orders -o -5 -e", shop.database));
        say(&format!("  less {}", daemon.config().display()));
        say(&format!("  kill -TERM {}   # the daemon drains and ends", daemon.id()?));
        Ok(())
    }

    async fn remove(&self) -> Result<()> {
        for pair in &self.pairs {
            pair.remove().await?;
        }
        let own = format!("millrace.{}.", self.name);
        let mut names = topic_names(&self.addresses.kafka).await?;
        names.retain(|name| name.starts_with(&own));
        delete_topics(&self.addresses.kafka, &names).await
    }
}

fn written_count(counters: &[Arc<Counters>]) -> (u64, u64) {
    let transactions = counters.iter().map(|counters| counters.transactions.load(Ordering::Relaxed)).sum();
    (counters.iter().map(|counters| counters.writes()).sum(), transactions)
}

fn say(line: &str) {
    println!("{line}");
}
