//! Real servers for millrace's tests and demo, and what writes to them, reads from them and compares.
//!
//! In reading order: processes that die with their parent ([`child`]), conditions with a named deadline ([`wait`]),
//! directories that clean themselves up ([`scratch`]), mongod and Kafka ([`servers`]), the daemon under test
//! ([`daemon`]), a deterministic load ([`load`]), an oplog that rolls over ([`oplog`]), and the judges: the load's own
//! record of its writes ([`ledger`]), topics ([`topic`]), order in them ([`order`]), copies ([`compare`]), all of these
//! ([`pair`]), snapshots ([`replay`]), and order in copies while they are written ([`observe`]). [`scene`] puts them
//! together for one test, [`demo`] for `cargo demo`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a test harness and a demo for a terminal"
)]

pub mod child;
pub mod compare;
pub mod daemon;
pub mod demo;
mod http;
pub mod ledger;
pub mod load;
pub mod observe;
pub mod oplog;
pub mod order;
pub mod pair;
pub mod replay;
pub mod scene;
pub mod scratch;
pub mod servers;
pub mod topic;
pub mod wait;
