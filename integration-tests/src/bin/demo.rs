//! `cargo demo`: the main job on real servers, from nothing to a verdict.

use std::process::ExitCode;

use integration_tests::demo;

fn main() -> ExitCode {
    demo::main()
}
