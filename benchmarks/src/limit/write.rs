//! Changes as write commands, as many in flight as a sink has by default. Commands are made while others are in flight.

use std::{
    env,
    sync::{Arc, Mutex},
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use bson::RawDocumentBuf;
use millrace::raw::{Writer, kind};
use mongodb::{Client, Database};
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, task::JoinSet};

use super::Progress;
use crate::{
    load::{self, Change, Load, Operation},
    measure::Pace,
};

/// Commands in flight: the default of a sink's `lanes`.
pub(super) const LANES: usize = 2;
/// Changes of a command, unless the environment says otherwise (`BENCH_COMMAND_DOCUMENTS`). What others give:
/// docs/performance.md.
const STATEMENTS: usize = 1_000;
/// The server's `maxWriteBatchSize`.
const MAX_STATEMENTS: usize = 100_000;
const COMMAND_BYTES: usize = 8_000_000;
/// Commands that are ready and wait for their lane; whoever makes more of them waits until one is sent.
const READY: usize = 2;

/// Changes, where they go and as what.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Write {
    pub(crate) load: Load,
    pub(crate) form: Form,
    pub(crate) db: String,
    /// One, or several among which documents are divided, `coll-0` and so on.
    pub(crate) coll: String,
    pub(crate) coll_count: u32,
}

/// What a change is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Form {
    /// An insert.
    Insert,
    /// A replace with upsert, whatever the change is.
    Upsert,
    /// What it is.
    Change,
}

impl Write {
    /// Its collections.
    pub(crate) fn colls(&self) -> Vec<String> {
        match self.coll_count {
            1 => vec![self.coll.clone()],
            count => (0..count).map(|number| format!("{}-{number}", self.coll)).collect(),
        }
    }

    /// Writes all.
    pub(crate) async fn run(&self, client: &Client, begun: Instant) -> Result<Pace> {
        let colls = self.colls();
        let lanes = Lanes::open(&client.database(&self.db), begun);
        let statements = statements()?;
        let bucket_count = LANES.max(colls.len());
        let mut buckets: Vec<Bucket> = Vec::new();
        for number in 0..bucket_count {
            buckets.push(Bucket::new(colls[number % colls.len()].clone(), self, statements));
        }
        for change in self.load.changes() {
            let number = change.key as usize % bucket_count;
            for ready in buckets[number].add(change) {
                lanes.send(number % LANES, ready).await;
            }
        }
        for (number, mut bucket) in buckets.into_iter().enumerate() {
            for ready in bucket.take() {
                lanes.send(number % LANES, ready).await;
            }
        }
        lanes.end().await
    }
}

/// The most changes of a command.
pub(super) fn statements() -> Result<usize> {
    match env::var("BENCH_COMMAND_DOCUMENTS") {
        Ok(number) => match number.parse() {
            Ok(number @ 1..=MAX_STATEMENTS) => Ok(number),
            _ => bail!("BENCH_COMMAND_DOCUMENTS: `{number}` is not a number from 1 to {MAX_STATEMENTS}"),
        },
        Err(env::VarError::NotPresent) => Ok(STATEMENTS),
        Err(error) => Err(error).context("BENCH_COMMAND_DOCUMENTS"),
    }
}

/// A command's bytes and how many statements it has.
pub(super) type Command = (Vec<u8>, usize);

/// What sends commands, each lane one after the other.
pub(super) struct Lanes {
    progress: Arc<Mutex<Progress>>,
    senders: Vec<mpsc::Sender<Command>>,
    tasks: JoinSet<Result<()>>,
}

impl Lanes {
    pub(super) fn open(database: &Database, begun: Instant) -> Self {
        let progress = Arc::new(Mutex::new(Progress::new(begun)));
        let mut tasks = JoinSet::new();
        let mut senders = Vec::new();
        for _ in 0..LANES {
            let (sender, commands) = mpsc::channel(READY);
            tasks.spawn(send_all(database.clone(), commands, progress.clone()));
            senders.push(sender);
        }
        Self { progress, senders, tasks }
    }

    /// Hands a command to a lane. One that has failed takes no more; why, the end says.
    async fn send(&self, lane: usize, command: Command) {
        let _says_why_at_the_end = self.senders[lane].send(command).await;
    }

    /// The same for a thread that may wait.
    pub(super) fn send_blocking(&self, lane: usize, command: Command) {
        let _says_why_at_the_end = self.senders[lane].blocking_send(command);
    }

    /// Waits until all is written.
    pub(super) async fn end(self) -> Result<Pace> {
        let Self { progress, senders, mut tasks } = self;
        drop(senders);
        while let Some(ended) = tasks.join_next().await {
            ended.context("a lane panicked")??;
        }
        let progress = Arc::into_inner(progress).context("a lane is still there")?;
        progress.into_inner().expect("no lane panicked").end()
    }
}

async fn send_all(
    database: Database,
    mut commands: mpsc::Receiver<Command>,
    progress: Arc<Mutex<Progress>>,
) -> Result<()> {
    while let Some((bytes, statements)) = commands.recv().await {
        let reply = database.run_raw_command(RawDocumentBuf::from_bytes(bytes)?).await?;
        ensure!(!reply.contains_key("writeErrors"), "statements were refused");
        ensure!(usize::try_from(reply.get_i32("n")?)? == statements, "statements were left out");
        progress.lock().expect("no lane panics").add(statements as u64);
    }
    Ok(())
}

/// Changes that wait to become a command. All changes of a document go through the same, so that the last of them is the
/// last that is written.
struct Bucket {
    coll: String,
    form: Form,
    text_bytes: usize,
    /// The most statements of a command, which keeps it well under the server's limit, and collections mixed.
    capacity: usize,
    changes: Vec<Change>,
    /// Deletes need a command of their own: these are sent after `changes`.
    deletes: Vec<Change>,
}

impl Bucket {
    fn new(coll: String, write: &Write, statements: usize) -> Self {
        let by_bytes = COMMAND_BYTES / (write.load.text_bytes + 1_000);
        let by_colls = statements * LANES / (write.coll_count as usize).max(LANES);
        let capacity = by_bytes.min(by_colls).max(1);
        let (form, text_bytes) = (write.form, write.load.text_bytes);
        Self { coll, form, text_bytes, capacity, changes: Vec::new(), deletes: Vec::new() }
    }

    /// Takes a change, and gives commands that are ready.
    fn add(&mut self, change: Change) -> Vec<Command> {
        let is_deleted = self.deletes.iter().any(|delete| delete.key == change.key);
        let mut ready = if is_deleted { self.take() } else { Vec::new() };
        let is_delete = self.form == Form::Change && change.operation == Operation::Delete;
        let side = if is_delete { &mut self.deletes } else { &mut self.changes };
        side.push(change);
        if self.changes.len() >= self.capacity {
            ready.extend(self.take());
        }
        ready
    }

    /// What is left.
    fn take(&mut self) -> Vec<Command> {
        let mut ready = Vec::new();
        for changes in [std::mem::take(&mut self.changes), std::mem::take(&mut self.deletes)] {
            if let [first, ..] = &changes[..] {
                let form = Statements::of(self.form, first.operation);
                ready.push((command(&self.coll, form, &changes, self.text_bytes), changes.len()));
            }
        }
        ready
    }
}

/// What a command is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Statements {
    Inserts,
    Upserts,
    Changes,
    Deletes,
}

impl Statements {
    fn of(form: Form, first: Operation) -> Self {
        match form {
            Form::Insert => Self::Inserts,
            Form::Upsert => Self::Upserts,
            Form::Change if first == Operation::Delete => Self::Deletes,
            Form::Change => Self::Changes,
        }
    }
}

/// As a sink sends them, but for what does not change the work: a write is done when the majority has it, and only
/// changes that build on each other are ordered.
fn command(coll: &str, statements: Statements, changes: &[Change], text_bytes: usize) -> Vec<u8> {
    let mut writer = begin(coll, statements);
    for (index, &change) in changes.iter().enumerate() {
        writer.begin_document(index.to_string().as_bytes());
        match statements {
            Statements::Inserts => load::write_fields(change, text_bytes, &mut writer),
            Statements::Deletes => {
                write_filter(change, &mut writer);
                writer.int32(b"limit", 1);
            }
            Statements::Changes if change.operation == Operation::Update => {
                write_filter(change, &mut writer);
                writer.begin_document(b"u");
                writer.begin_document(b"$set");
                load::write_updated(change, &mut writer);
                writer.end();
                writer.end();
            }
            Statements::Upserts | Statements::Changes => {
                write_filter(change, &mut writer);
                writer.begin_document(b"u");
                load::write_fields(change, text_bytes, &mut writer);
                writer.end();
                writer.boolean(b"upsert", true);
            }
        }
        writer.end();
    }
    end(writer)
}

/// A command to which statements can be added.
pub(super) fn begin(coll: &str, statements: Statements) -> Writer {
    let (verb, list) = match statements {
        Statements::Inserts => (b"insert".as_slice(), b"documents".as_slice()),
        Statements::Upserts | Statements::Changes => (b"update".as_slice(), b"updates".as_slice()),
        Statements::Deletes => (b"delete".as_slice(), b"deletes".as_slice()),
    };
    let mut writer = Writer::default();
    writer.begin();
    writer.string(verb, coll.as_bytes());
    writer.boolean(b"ordered", statements == Statements::Changes);
    writer.begin_document(b"writeConcern");
    writer.string(b"w", b"majority");
    writer.end();
    writer.begin_array(list);
    writer
}

/// The bytes of a command that has all its statements.
pub(super) fn end(mut writer: Writer) -> Vec<u8> {
    writer.end();
    writer.end();
    writer.into_bytes()
}

fn write_filter(change: Change, writer: &mut Writer) {
    writer.begin_document(b"q");
    writer.value(b"_id", kind::OBJECT_ID, &load::id(change.key));
    writer.end();
}
