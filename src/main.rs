//! The `millrace` daemon and its tools; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    millrace::cli::main()
}
