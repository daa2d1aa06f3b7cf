//! Source: what is in the oplog, or in a collection, to topics. Every side begins at the same place.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use base64::{Engine, prelude::BASE64_STANDARD};
use bson::{Document, doc};
use integration_tests::{
    ledger,
    servers::{create_topic, delete_topics},
};

use super::{Rounds, share};
use crate::{
    figure::{Round, Run, Side},
    job::{Begin, Capture, Job, Source},
    limit::{Find, Form, Task, Topic, Write},
    load::{Load, Mix},
    site::Site,
};

/// Which changes, and what is asked about them.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) mix: Mix,
    /// Beside the small fields.
    pub(super) text_bytes: usize,
    pub(super) coll_count: u32,
    pub(super) has_lookup: bool,
    pub(super) has_before: bool,
    /// Whether the collections are copied, instead of their changes.
    pub(super) is_copy: bool,
    /// Which part of the events it is: one in so many.
    pub(super) share: u32,
}

impl Stream {
    /// Small inserts into one collection.
    pub(super) const SMALL: Self = Self {
        mix: Mix::Inserts,
        text_bytes: 0,
        coll_count: 1,
        has_lookup: false,
        has_before: false,
        is_copy: false,
        share: 1,
    };

    pub(super) async fn run(&self, site: &Site, events: u32, rounds: Rounds) -> Result<Vec<Round>> {
        let count = events / self.share;
        let load = Load { mix: self.mix, count, text_bytes: self.text_bytes };
        let form = if self.mix == Mix::Inserts { Form::Insert } else { Form::Change };
        let db = site.unique("bench_source");
        let write = Write { load, form, db: db.clone(), coll: "c".to_owned(), coll_count: self.coll_count };
        let colls = write.colls();
        for coll in &colls {
            let images = doc! { "enabled": self.has_before };
            let create = doc! { "create": coll, "changeStreamPreAndPostImages": images };
            site.client.database(&db).run_command(create).await?;
        }
        let begin = place(site).await?;
        write.run(&site.client, Instant::now()).await?;
        let capture = Capture {
            db: db.clone(),
            coll: (self.coll_count == 1).then(|| "c".to_owned()),
            begin: if self.is_copy { Begin::Copy } else { begin },
            has_lookup: self.has_lookup,
            has_before: self.has_before,
        };
        let rounds = rounds.run(async |side| self.side(site, side, &capture, &colls, count).await).await?;
        site.client.database(&db).drop().await?;
        Ok(rounds)
    }

    async fn side(
        &self,
        site: &Site,
        side: Side,
        capture: &Capture,
        colls: &[String],
        count: u32,
    ) -> Result<Run> {
        let capture = capture.clone();
        let source = Source { capture, topic_prefix: site.unique("bench"), is_prompt: false };
        let topics: Vec<String> = colls.iter().map(|coll| source.topic(coll)).collect();
        for topic in &topics {
            create_topic(&site.kafka(), topic, 1).await?;
        }
        let capture = source.capture.clone();
        let run = match side {
            Side::Limit | Side::Relay => {
                let name = topics.first().context("no topic")?.clone();
                let to = (side == Side::Relay).then(|| Topic { bootstrap: site.kafka(), name });
                let task = if self.is_copy {
                    let [coll] = colls else { bail!("several collections cannot be read") };
                    Task::Find { find: Find { db: capture.db, coll: coll.clone(), count }, to }
                } else {
                    Task::Drain { capture, count: u64::from(count), to }
                };
                site.limit(&task).await?
            }
            Side::Millrace | Side::Other | Side::Official | Side::Debezium => {
                let job = Job { source: Some(source), sink: None };
                site.tool(side, &job, share(side, count), async || site.record_count(&topics).await).await?
            }
        };
        delete_topics(&site.kafka(), &topics).await?;
        Ok(run)
    }
}

/// The present end of the oplog.
pub(super) async fn place(site: &Site) -> Result<Begin> {
    let stream = site.client.watch().await?;
    let token = stream.resume_token().context("a new change stream has no token")?;
    let token: Document = bson::serialize_to_document(&token)?;
    let token = BASE64_STANDARD.encode(bson::RawDocumentBuf::try_from(&token)?.as_bytes());
    Ok(Begin::At { time: ledger::now(&site.client).await?, token })
}
