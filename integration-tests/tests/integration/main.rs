//! Everything that needs real servers, and the harness's own judges: one binary, a module per behaviour.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "tests say what they found")]

mod catalog;
mod config_errors;
mod conformance;
mod ddl;
mod figures;
mod fuzz;
mod golden;
mod golden_debezium;
mod group;
mod group_changes;
mod harness;
mod history;
mod interchange;
mod judges;
mod large;
mod namespaces;
mod peers;
mod pipeline;
mod positions;
mod process;
mod records;
mod refusals;
mod resilience;
mod security;
mod sink_errors;
mod sink_faults;
mod snapshot;
mod snapshot_faults;
mod snapshot_requests;
mod stream;
mod takeover;
mod updates;
mod verify;
