//! The whole loop: from the oplog through a topic into another collection of the same server.

use std::time::Instant;

use anyhow::Result;
use integration_tests::servers::{create_topic, delete_topics};

use super::{Rounds, inserts, share, stream::place};
use crate::{
    figure::{Round, Side},
    job::{Capture, Job, Source},
    limit::{Form, Task, Topic, Whole, Write},
    site::Site,
};

const COPY: &str = "bench_copy";
const COLL: &str = "c";

pub(super) async fn run(site: &Site, events: u32, rounds: Rounds) -> Result<Vec<Round>> {
    let db = site.unique("bench_loop");
    let begin = place(site).await?;
    let write = Write {
        load: inserts(events),
        form: Form::Insert,
        db: db.clone(),
        coll: COLL.to_owned(),
        coll_count: 1,
    };
    write.run(&site.client, Instant::now()).await?;
    let copy = site.collection(COPY, COLL);
    let rounds = rounds.run(async |side| {
        copy.drop().await?;
        let capture = Capture::of(&db, COLL, begin.clone());
        let source = Source { capture, topic_prefix: site.unique("bench"), is_prompt: false };
        let topic = source.topic(COLL);
        create_topic(&site.kafka(), &topic, 1).await?;
        let run = if side == Side::Limit {
            let through = Topic { bootstrap: site.kafka(), name: topic.clone() };
            let (capture, count) = (source.capture, u64::from(events));
            let (db, coll) = (COPY.to_owned(), COLL.to_owned());
            site.limit(&Task::Whole(Whole { capture, count, through, db, coll })).await?
        } else {
            let job = Job::copy(source, COLL, COPY);
            let count = async || Ok(copy.estimated_document_count().await?);
            site.tool(side, &job, share(side, events), count).await?
        };
        if !side.is_peer() {
            site.holds(COPY, COLL, inserts(events).end(true)).await?;
        }
        delete_topics(&site.kafka(), &[topic]).await?;
        Ok(run)
    });
    let rounds = rounds.await?;
    copy.drop().await?;
    site.client.database(&db).drop().await?;
    Ok(rounds)
}
