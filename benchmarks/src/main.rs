//! `cargo bench-millrace`: how fast millrace is, beside what the servers can do at most.
//!
//!     arguments ▶ servers ▶ workload: prepare ▶ rounds of all sides in turn ▶ measure ▶ report, charts
//!
//! Everything runs on servers that are started here. The limits run in processes of their own (this program again, with
//! `limit` as its first word) and the peers in Connect workers, so that all sides of a comparison are measured in the
//! same way: from outside, by what `/proc` says of the process. A wrong result of a side is an error, not a figure.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a command for a terminal")]

mod arguments;
mod chart;
mod consuming;
mod figure;
mod job;
mod limit;
mod load;
mod measure;
mod producing;
mod report;
mod site;
mod tool;
mod warm;
mod workload;

use std::process::ExitCode;

use anyhow::{Context, Result};

use self::{
    arguments::Arguments,
    report::{Compared, Report},
    site::Site,
};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a process can have a runtime");
    if let [first, uri, task] = &words[..]
        && first == limit::VERB
    {
        return exit(runtime.block_on(limit::main(uri, task)));
    }
    match Arguments::parse(words.into_iter()) {
        Ok(Some(arguments)) => exit(runtime.block_on(compare(&arguments))),
        Ok(None) => {
            println!("{}", arguments::help());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("benchmarks: {error}\n\n{}", arguments::help());
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
    let site = Site::start(arguments.beside.clone()).await?;
    if !arguments.quick {
        warm::broker(&site).await?;
    }
    let mut report = Report::new(arguments);
    for workload in &arguments.workloads {
        let rounds = workload.run(&site, arguments).await?;
        let compared = Compared::new(workload, rounds);
        print!("{compared}");
        if let Some(directory) = &arguments.charts {
            std::fs::create_dir_all(directory)?;
            let path = directory.join(workload.name).with_extension("svg");
            std::fs::write(&path, chart::draw(workload.about, &compared))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        report.workloads.push(compared);
        if let Some(path) = &arguments.json {
            let text = serde_json::to_string_pretty(&report)?;
            std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}
