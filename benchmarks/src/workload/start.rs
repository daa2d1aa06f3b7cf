//! Start to first record, with a change that waits to be read; behind entries of other collections, if so wished.

use std::time::Instant;

use anyhow::{Context, Result};
use bson::rawdoc;
use integration_tests::{
    servers::{create_topic, delete_topics},
    topic::Arrival,
};

use super::{Rounds, inserts, stream::place};
use crate::{
    figure::{Figure, Round, Run, Side},
    job::{Capture, Job, Source},
    limit::{Form, Task, Write},
    site::{RUN_DEADLINE, Site},
    tool::Tool,
};

const COLL: &str = "c";

pub(super) async fn run(site: &Site, foreign: u32, rounds: Rounds) -> Result<Vec<Round>> {
    let db = site.unique("bench_start");
    let begin = place(site).await?;
    let other = site.unique("bench_other");
    if foreign > 0 {
        let (load, coll) = (inserts(foreign), COLL.to_owned());
        let write = Write { load, form: Form::Insert, db: other.clone(), coll, coll_count: 1 };
        write.run(&site.client, Instant::now()).await?;
    }
    site.collection(&db, COLL).insert_one(rawdoc! { "waits": true }).await?;
    let capture = Capture::of(&db, COLL, begin);
    let rounds = rounds.run(async |side| one(site, side, capture.clone()).await).await?;
    for db in [db, other] {
        site.client.database(&db).drop().await?;
    }
    Ok(rounds)
}

async fn one(site: &Site, side: Side, capture: Capture) -> Result<Run> {
    if matches!(side, Side::Limit | Side::Relay) {
        let run = site.limit(&Task::Drain { capture, count: 1, to: None }).await?;
        let first = run.get(Figure::FirstSeconds).context("no event came")?;
        return Ok(Run::default().with(Figure::FirstSeconds, first));
    }
    let source = Source { capture, topic_prefix: site.unique("bench"), is_prompt: true };
    let topic = source.topic(COLL);
    create_topic(&site.kafka(), &topic, 1).await?;
    // A worker that is still to be started is no part of it.
    if side.is_peer() {
        site.connect(side).await?;
    }
    let arrival = Arrival::at_the_end_of(&site.kafka(), &topic).await?;
    let begun = Instant::now();
    let arriving = tokio::spawn(async move { arrival.next(RUN_DEADLINE).await.map(|()| begun.elapsed()) });
    let tool = Tool::start(site, side, &Job { source: Some(source), sink: None }).await?;
    let first = arriving.await?.with_context(|| tool.tail())?;
    tool.stop().await?;
    delete_topics(&site.kafka(), &[topic]).await?;
    Ok(Run::default().with(Figure::FirstSeconds, first.as_secs_f64()))
}
