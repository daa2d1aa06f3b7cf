//! Everything that needs real servers, and the harness's own judges: one binary, a module per behaviour.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "tests say what they found")]

mod harness;
mod judges;
