//! Changes as write commands, as many in flight as a sink has by default.
//!
//! Commands are made while others are in flight. All changes of a document go through the same lane, so that the last of
//! them is the last that is written.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bson::RawDocumentBuf;
use millrace::raw::{Writer, kind};
use mongodb::{Client, Database, Namespace};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    load::{self, Change},
    measure::Pace,
};

/// Commands in flight: the default of a sink's `lanes`.
const LANES: usize = 2;
/// Not too many for a server to answer quickly; other numbers were not tried.
const STATEMENTS: usize = 1_000;
/// Commands that are ready and wait for their lane; whoever makes more of them waits until one is sent.
const READY: usize = 2;

/// What a change is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// An insert.
    Insert,
    /// A replace with upsert, whatever the change is.
    Upsert,
}

/// Writes all `changes`.
pub(crate) async fn write(
    client: &Client,
    namespace: &Namespace,
    form: Form,
    changes: impl Iterator<Item = Change>,
    begun: Instant,
) -> Result<Pace> {
    let progress = Arc::new(Progress { begun, written: AtomicU64::new(0), first: OnceLock::new() });
    let mut lanes = JoinSet::new();
    let mut senders = Vec::new();
    for _ in 0..LANES {
        let (sender, commands) = mpsc::channel(READY);
        lanes.spawn(send_all(client.database(&namespace.db), commands, progress.clone()));
        senders.push(sender);
    }
    let mut waiting: [Vec<Change>; LANES] = Default::default();
    for change in changes {
        let lane = change.key as usize % LANES;
        waiting[lane].push(change);
        if waiting[lane].len() == STATEMENTS {
            let ready = command(&namespace.coll, form, &waiting[lane]);
            waiting[lane].clear();
            // A lane that has failed takes no more; why, it says below.
            if senders[lane].send(ready).await.is_err() {
                break;
            }
        }
    }
    for (sender, rest) in senders.into_iter().zip(&waiting) {
        if !rest.is_empty() {
            let _says_why_below = sender.send(command(&namespace.coll, form, rest)).await;
        }
    }
    while let Some(ended) = lanes.join_next().await {
        ended.context("a lane panicked")??;
    }
    let all = begun.elapsed();
    let &(first, first_count) = progress.first.get().context("nothing was written")?;
    Ok(Pace { first, first_count, all })
}

struct Progress {
    begun: Instant,
    written: AtomicU64,
    first: OnceLock<(Duration, u64)>,
}

/// A command's bytes and how many statements it has.
type Command = (Vec<u8>, usize);

async fn send_all(
    database: Database,
    mut commands: mpsc::Receiver<Command>,
    progress: Arc<Progress>,
) -> Result<()> {
    while let Some((bytes, statements)) = commands.recv().await {
        let reply = database.run_raw_command(RawDocumentBuf::from_bytes(bytes)?).await?;
        ensure!(!reply.contains_key("writeErrors"), "statements were refused");
        ensure!(usize::try_from(reply.get_i32("n")?)? == statements, "statements were left out");
        let statements = statements as u64;
        let written = progress.written.fetch_add(statements, Ordering::Relaxed) + statements;
        progress.first.get_or_init(|| (progress.begun.elapsed(), written));
    }
    Ok(())
}

/// As a sink sends them, but for what does not change the work: the order does not count, and a write is done when the
/// majority has it.
fn command(coll: &str, form: Form, changes: &[Change]) -> Command {
    let (verb, list) = match form {
        Form::Insert => (b"insert".as_slice(), b"documents".as_slice()),
        Form::Upsert => (b"update".as_slice(), b"updates".as_slice()),
    };
    let mut writer = Writer::default();
    writer.begin();
    writer.string(verb, coll.as_bytes());
    writer.boolean(b"ordered", false);
    writer.begin_document(b"writeConcern");
    writer.string(b"w", b"majority");
    writer.end();
    writer.begin_array(list);
    for (index, &change) in changes.iter().enumerate() {
        writer.begin_document(index.to_string().as_bytes());
        match form {
            Form::Insert => load::write_fields(change, &mut writer),
            Form::Upsert => write_upsert(change, &mut writer),
        }
        writer.end();
    }
    writer.end();
    writer.end();
    (writer.into_bytes(), changes.len())
}

fn write_upsert(change: Change, writer: &mut Writer) {
    writer.begin_document(b"q");
    writer.value(b"_id", kind::OBJECT_ID, &load::id(change.key));
    writer.end();
    writer.begin_document(b"u");
    load::write_fields(change, writer);
    writer.end();
    writer.boolean(b"upsert", true);
}
