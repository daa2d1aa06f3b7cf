//! A source and a sink that have moved a document and then have nothing to do.

use std::time::Duration;

use anyhow::Result;
use bson::rawdoc;
use integration_tests::{
    servers::{create_topic, delete_topics},
    wait,
};

use super::{Rounds, stream::place};
use crate::{
    figure::{Figure, Round, Run, Side},
    job::{Capture, Job, Source},
    site::{RUN_DEADLINE, Site},
    tool::Tool,
};

const COPY: &str = "bench_copy";
const COLL: &str = "idle";

pub(super) async fn run(site: &Site, seconds: u32, rounds: Rounds) -> Result<Vec<Round>> {
    rounds.run(async |side| one(site, side, seconds).await).await
}

async fn one(site: &Site, side: Side, seconds: u32) -> Result<Run> {
    let db = site.unique("bench_idle");
    let capture = Capture::of(&db, COLL, place(site).await?);
    let source = Source { capture, topic_prefix: site.unique("bench"), is_prompt: true };
    let topic = source.topic(COLL);
    create_topic(&site.kafka(), &topic, 1).await?;
    let (original, copy) = (site.collection(&db, COLL), site.collection(COPY, COLL));
    copy.drop().await?;
    original.insert_one(rawdoc! { "moved": true }).await?;
    let mut tool = Tool::start(site, side, &Job::copy(source, COLL, COPY)).await?;
    wait::until("a document to be copied", RUN_DEADLINE, async || {
        Ok((copy.estimated_document_count().await? == 1).then_some(()))
    })
    .await?;
    let before = tool.usage()?;
    tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    let usage = tool.usage()?.since(before);
    tool.stop().await?;
    copy.drop().await?;
    original.drop().await?;
    delete_topics(&site.kafka(), &[topic]).await?;
    Ok(Run::default()
        .with(Figure::PeakRssBytes, usage.peak_rss_bytes as f64)
        .with(Figure::IdleCpuShare, usage.cpu_seconds / f64::from(seconds)))
}
