//! `cargo bench-millrace`: how fast millrace is, beside what the servers can do at most.
//!
//!     arguments ▶ servers ▶ workload: prepare ▶ rounds of limit and millrace in turn ▶ measure ▶ report
//!
//! Everything runs on servers that are started here. The limits run in processes of their own (this program again, with
//! `limit` as its first word), so that both sides of a comparison are measured in the same way: from outside, by what
//! `/proc` says of the process. A wrong result of either side is an error, not a figure.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a command for a terminal")]

mod arguments;
mod limit;
mod load;
mod measure;
mod report;
mod site;
mod workload;

use std::process::ExitCode;

use anyhow::{Context, Result};

use self::{arguments::Arguments, report::Report, site::Site};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a process can have a runtime");
    if let [first, rest @ ..] = &words[..]
        && first == limit::VERB
    {
        return exit(runtime.block_on(limit::main(rest)));
    }
    match Arguments::parse(words.into_iter()) {
        Ok(Some(arguments)) => exit(runtime.block_on(compare(&arguments))),
        Ok(None) => {
            println!("{}", arguments::HELP);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("benchmarks: {error}\n\n{}", arguments::HELP);
            ExitCode::from(2)
        }
    }
}

fn exit(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benchmarks: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn compare(arguments: &Arguments) -> Result<()> {
    let site = Site::start().await?;
    let mut report = Report::new(arguments);
    for workload in &arguments.workloads {
        let rounds = workload.run(&site, arguments).await?;
        let compared = report::Compared::new(workload.name(), workload.bar(), rounds);
        print!("{compared}");
        report.workloads.push(compared);
    }
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
        println!("\nall figures: {}", path.display());
    }
    Ok(())
}
