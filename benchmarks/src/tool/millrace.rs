//! A job as the daemon's configuration. Everything that a job does not name is the default.

use std::path::Path;

use anyhow::Result;
use integration_tests::daemon::Daemon;

use super::Tool;
use crate::{
    job::{Begin, Job, Sink, Source},
    load::Value,
    site::Site,
};

/// Starts this build, or `other`.
pub(super) fn start<'a>(site: &Site, job: &Job, other: Option<&Path>) -> Result<Tool<'a>> {
    let name = site.unique("bench");
    let mut config = format!(
        "name = \"{name}\"\n[mongodb]\nuri = \"{}\"\n[kafka]\nbootstrap_servers = \"{}\"\n",
        site.mongodb(),
        site.kafka(),
    );
    config.extend(job.source.as_ref().map(source));
    config.extend(job.sink.as_ref().map(sink));
    let mut daemon = Daemon::new(&site.directory().join(&name), &config)?;
    if let Some(other) = other {
        daemon = daemon.of_binary(other);
    }
    daemon.start()?;
    Ok(Tool::Daemon(Box::new(daemon)))
}

fn source(source: &Source) -> String {
    let Source { capture, topic_prefix, .. } = source;
    let coll = capture.coll.as_deref().unwrap_or("*");
    let mut table = format!(
        "[sources.bench]\nwatch = [\"{}.{coll}\"]\ntopic = \"{topic_prefix}.{{db}}[.{{coll}}]\"\n",
        capture.db
    );
    if capture.has_lookup {
        table += "full_document = \"updateLookup\"\n";
    }
    if capture.has_before {
        table += "full_document_before_change = \"whenAvailable\"\n";
    }
    table += &match &capture.begin {
        Begin::At { time, .. } => format!("start = \"{}:{}\"\n", time.time, time.increment),
        Begin::Copy => "[sources.bench.snapshot]\nmode = \"initial\"\n".to_owned(),
    };
    table
}

fn sink(sink: &Sink) -> String {
    let Sink { topic, db, coll, value, .. } = sink;
    let value = match value {
        Value::Event => "",
        Value::Document => "value = \"document\"\n",
    };
    format!("[sinks.bench]\ntopics = [\"{topic}\"]\nnamespace = \"{db}.{coll}\"\n{value}")
}
