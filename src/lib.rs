//! millrace: MongoDB ↔ Kafka change data capture in one small binary.
//!
//! ```text
//! MongoDB ──change stream──▶ source ──▶ Kafka topics ──▶ sink ──▶ MongoDB
//! ```
//!
//! A *source* moves what a change stream says into topics; a *sink* moves records into collections. Both deliver at
//! least once, in the order of each document: a position (a resume token, a committed offset) moves only over what is
//! durable on the other side, so nothing is lost, and what is repeated after a crash converges to the same end.
//!
//! Modules in the order of reading: [`config`] says what to do, [`app`] starts the halves and keeps them running,
//! [`source`] and [`sink`] are the two data flows, a file per stage; [`checkpoint`] and [`position`] are what a
//! source remembers, [`takeover`] is how it goes on in a connector's place; [`verify`] compares what was read with what
//! was written; [`raw`], [`json`] and [`namespace`] are the formats and names that both halves share, [`transform`] is what
//! both may change on the way; [`collections`] and [`ranges`] are what there is to read and how it is cut; [`mongo`],
//! [`kafka`] and [`retry`] say what
//! the servers' errors mean; [`status`], [`admin`] and [`telemetry`] show it; [`memory`] and
//! [`shutdown`] are about the process.

pub mod cli;

pub mod config;

pub mod app;

pub mod source;

pub mod sink;

pub mod checkpoint;
pub mod import;
pub mod position;
pub mod takeover;

pub mod verify;

pub mod json;
pub mod namespace;
pub mod raw;
pub mod transform;

pub mod collections;
pub mod kafka;
pub mod mongo;
pub mod ranges;
pub mod retry;

pub mod admin;
pub mod memory;
pub mod shutdown;
pub mod status;
pub mod telemetry;
