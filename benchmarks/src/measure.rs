//! What a run cost: processor time and memory of processes, by what `/proc` says of them, and how fast it was.
//!
//! The clock of a rate starts at the first progress that is seen and stops when all is there, so that it says nothing
//! of starting up, which is a figure of its own. Both ends are found by asking again and again, on both sides with
//! the same interval, so what is late at one end is late at the other.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// In which the kernel tells processor time: USER_HZ, 100 on all architectures that the servers are built for.
const TICKS_PER_SECOND: f64 = 100.0;

/// How far a run was, and when.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Pace {
    /// From the start of the process to the first progress that was seen.
    pub(crate) first: Duration,
    /// Events that were done then.
    pub(crate) first_count: u64,
    /// From the start of the process until all was done.
    pub(crate) all: Duration,
    /// Events that were done then.
    pub(crate) count: u64,
}

impl Pace {
    /// Events a second between the first progress and the end.
    pub(crate) fn rate(self) -> f64 {
        let Self { first, first_count, all, count } = self;
        (count - first_count) as f64 / (all - first).as_secs_f64()
    }
}

/// Seconds of processor time so far, of each party.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) mongod: f64,
    pub(crate) kafka: f64,
    /// This program, which watches.
    pub(crate) watcher: f64,
    /// Everything that runs on the machine.
    pub(crate) machine: f64,
}

impl Cpu {
    /// As of now.
    pub(crate) fn now(mongod: u32, kafka: u32) -> Result<Self> {
        Ok(Self {
            mongod: of_process(mongod)?,
            kafka: of_process(kafka)?,
            watcher: of_process(std::process::id())?,
            machine: of_machine()?,
        })
    }

    /// What was used since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            mongod: self.mongod - earlier.mongod,
            kafka: self.kafka - earlier.kafka,
            watcher: self.watcher - earlier.watcher,
            machine: self.machine - earlier.machine,
        }
    }
}

/// What the tool itself has used.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// Seconds of processor time.
    pub(crate) cpu_seconds: f64,
    /// The most memory that it had at once.
    pub(crate) peak_rss_bytes: u64,
}

impl Usage {
    /// Of a process that is running.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        Ok(Self { cpu_seconds: of_process(pid)?, peak_rss_bytes: peak_rss(pid)? })
    }

    /// With the processor time since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { cpu_seconds: self.cpu_seconds - earlier.cpu_seconds, ..self }
    }
}

/// Makes the peak of a process's memory what it has now.
pub(crate) fn forget_peak(pid: u32) -> Result<()> {
    let path = format!("/proc/{pid}/clear_refs");
    fs::write(&path, "5").with_context(|| format!("cannot write {path}"))
}

/// User and system time of a process, its ended threads included.
fn of_process(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    process_seconds(&text).with_context(|| format!("{path} is not as expected"))
}

fn process_seconds(stat: &str) -> Option<f64> {
    // The name, in brackets, may hold anything; user and system time are the 14th and 15th field, 12 and 13 behind it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    let (user, system) = (ticks.next()??, ticks.next()??);
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

fn of_machine() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    machine_seconds(&text).context("/proc/stat is not as expected")
}

fn machine_seconds(stat: &str) -> Option<f64> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?;
    // user nice system idle iowait irq softirq steal; guests are in user already.
    let ticks = fields.split_whitespace().take(8).map(|field| field.parse::<u64>().ok());
    let ticks: Vec<u64> = ticks.collect::<Option<_>>()?;
    let [user, nice, system, _idle, _iowait, rest @ ..] = &ticks[..] else { return None };
    Some((user + nice + system + rest.iter().sum::<u64>()) as f64 / TICKS_PER_SECOND)
}

fn peak_rss(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kilobytes.with_context(|| format!("{path} has no VmHWM"))? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 9 9 20 0 1 0 100 0 0";
        assert_eq!(process_seconds(stat), Some(3.0));
        assert_eq!(process_seconds("7 (a) S 1 7"), None, "too short says nothing");
    }

    #[test]
    fn idle_and_waiting_for_disks_are_no_work() {
        assert_eq!(machine_seconds("cpu  100 0 200 9999 9999 0 50 50 7 7\ncpu0 1 1"), Some(4.0));
        assert_eq!(machine_seconds("cpu0 1"), None);
    }

    #[test]
    fn a_rate_leaves_out_what_was_there_at_the_first_look() {
        let pace = Pace {
            first: Duration::from_secs(1),
            first_count: 200,
            all: Duration::from_secs(3),
            count: 1_200,
        };
        assert!((pace.rate() - 500.0).abs() < 1e-9);
    }
}
