//! One writer of a load: inserts, updates of many shapes, replaces, deletes and transactions on its own documents.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::{Client, ClientSession, Collection, error::ErrorKind, error::WriteFailure};

use super::{Counters, Plan, documents::Documents, random::Random};
use crate::wait::Attempts;

/// Longest that servers may refuse a write: they are stopped for 20 s in the heaviest tests.
const WRITE_DEADLINE: Duration = Duration::from_secs(90);
/// A writer with more documents than this deletes before it inserts.
const MOST_LIVE: usize = 1_500;
const CODE_DUPLICATE_KEY: i32 = 11000;

pub(super) struct Writer {
    client: Client,
    collections: Vec<Collection<RawDocumentBuf>>,
    documents: Documents,
    random: Random,
    number: u32,
    next_document: u32,
    live: Vec<Live>,
    counters: Arc<Counters>,
}

/// A document that is there.
#[derive(Clone, Debug)]
struct Live {
    collection: usize,
    id: Bson,
}

impl Writer {
    pub(super) fn new(client: &Client, plan: &Plan, number: u32, counters: Arc<Counters>) -> Self {
        let database = client.database(&plan.database);
        Self {
            client: client.clone(),
            collections: plan.collections.iter().map(|name| database.collection(name)).collect(),
            documents: Documents::new(plan.types),
            random: Random::new(plan.seed, number),
            number,
            next_document: 0,
            live: Vec::new(),
            counters,
        }
    }

    pub(super) async fn run(mut self, plan: Plan, enough: Arc<AtomicBool>) -> Result<()> {
        let operations = plan.operations / u64::from(plan.writers);
        let started = Instant::now();
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        for done in 0..operations {
            while let Some(rate) = plan.rate
                && done as f64 > started.elapsed().as_secs_f64() * f64::from(rate) / f64::from(plan.writers)
                && !enough.load(Ordering::Relaxed)
            {
                pace.tick().await;
            }
            if enough.load(Ordering::Relaxed) {
                break;
            }
            self.operation().await?;
        }
        Ok(())
    }

    async fn operation(&mut self) -> Result<()> {
        let draw = self.random.below(100);
        match draw {
            _ if self.live.is_empty() => self.insert_one().await,
            _ if self.live.len() > MOST_LIVE => self.delete().await,
            0..30 => self.insert_one().await,
            30..38 => self.insert_many().await,
            38..75 => self.update().await,
            75..85 => self.replace().await,
            85..96 => self.delete().await,
            _ => self.transaction().await,
        }
    }

    async fn insert_one(&mut self) -> Result<()> {
        let (live, document) = self.new_document();
        let collection = &self.collections[live.collection];
        let document = &document;
        taken(|| async move { collection.insert_one(document).await.map(drop) }).await?;
        Counters::count(&self.counters.inserts, 1);
        self.live.push(live);
        Ok(())
    }

    async fn insert_many(&mut self) -> Result<()> {
        let target = self.random.below(self.collections.len());
        let count = 2 + self.random.below(20);
        let (mut lives, mut documents) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (live, document) = self.new_document();
            lives.push(Live { collection: target, ..live });
            documents.push(document);
        }
        let collection = &self.collections[target];
        // Unordered: a second attempt inserts what the first did not get to.
        let documents = &documents;
        taken(|| async move { collection.insert_many(documents).ordered(false).await.map(drop) }).await?;
        Counters::count(&self.counters.inserts, count);
        self.live.extend(lives);
        Ok(())
    }

    async fn update(&mut self) -> Result<()> {
        let live = self.random.choose(&self.live).clone();
        let collection = &self.collections[live.collection];
        let filter = &doc! { "_id": { "$eq": live.id } };
        if self.random.below(8) == 0 {
            let pipeline = &vec![
                doc! { "$set": { "computed": { "$add": ["$counter", 1] } } },
                doc! { "$unset": "gone" },
            ];
            taken(|| async move { collection.update_one(filter.clone(), pipeline.clone()).await.map(drop) })
                .await?;
        } else {
            let update = &update_document(&mut self.random);
            taken(|| async move { collection.update_one(filter.clone(), update.clone()).await.map(drop) })
                .await?;
        }
        Counters::count(&self.counters.updates, 1);
        Ok(())
    }

    async fn replace(&mut self) -> Result<()> {
        let live = self.random.choose(&self.live).clone();
        let number = self.random.below(1 << 20) as u32;
        let replacement = &self.documents.replacement(&live.id, number, &mut self.random);
        let collection = &self.collections[live.collection];
        let filter = &doc! { "_id": { "$eq": live.id } };
        taken(|| async move { collection.replace_one(filter.clone(), replacement).await.map(drop) }).await?;
        Counters::count(&self.counters.replaces, 1);
        Ok(())
    }

    async fn delete(&mut self) -> Result<()> {
        let index = self.random.below(self.live.len());
        let live = self.live.swap_remove(index);
        let collection = &self.collections[live.collection];
        let filter = &doc! { "_id": { "$eq": live.id } };
        taken(|| async move { collection.delete_one(filter.clone()).await.map(drop) }).await?;
        Counters::count(&self.counters.deletes, 1);
        Ok(())
    }

    /// Two inserts, an update of the first, an update and (half of the times) a delete of older ones, all or nothing.
    async fn transaction(&mut self) -> Result<()> {
        let (first, first_document) = self.new_document();
        let (second, second_document) = self.new_document();
        let older = self.random.below(self.live.len());
        let with_delete = self.random.below(2) == 0;
        let older_live = self.live[older].clone();
        let update = update_document(&mut self.random);
        let steps = Steps {
            inserts: [(first.clone(), first_document), (second.clone(), second_document)],
            updates: [(first.clone(), doc! { "$inc": { "counter": 1 } }), (older_live.clone(), update)],
            delete: with_delete.then_some(older_live),
        };
        let mut attempts = Attempts::new("a transaction to be committed", WRITE_DEADLINE);
        while let Err(error) = steps.commit(&self.client, &self.collections).await {
            attempts.again(Some(error.into())).await?;
        }
        if with_delete {
            self.live.swap_remove(older);
        }
        self.live.extend([first, second]);
        Counters::count(&self.counters.inserts, 2);
        Counters::count(&self.counters.updates, 2);
        Counters::count(&self.counters.deletes, usize::from(with_delete));
        Counters::count(&self.counters.transactions, 1);
        Ok(())
    }

    fn new_document(&mut self) -> (Live, RawDocumentBuf) {
        let document = self.documents.document(self.number, self.next_document, &mut self.random);
        self.next_document += 1;
        let id = document.get("_id").expect("just written").expect("each document has an _id");
        let id = Bson::try_from(id).expect("an _id is plain BSON");
        (Live { collection: self.random.below(self.collections.len()), id }, document)
    }
}

struct Steps {
    inserts: [(Live, RawDocumentBuf); 2],
    updates: [(Live, Document); 2],
    delete: Option<Live>,
}

impl Steps {
    async fn commit(
        &self,
        client: &Client,
        collections: &[Collection<RawDocumentBuf>],
    ) -> mongodb::error::Result<()> {
        let mut session = client.start_session().await?;
        session.start_transaction().await?;
        match self.apply(collections, &mut session).await {
            Ok(()) => session.commit_transaction().await,
            // An earlier attempt was committed although its answer was lost.
            Err(error) if is_duplicate(&error) => session.abort_transaction().await,
            Err(error) => Err(error),
        }
    }

    async fn apply(
        &self,
        collections: &[Collection<RawDocumentBuf>],
        session: &mut ClientSession,
    ) -> mongodb::error::Result<()> {
        for (live, document) in &self.inserts {
            collections[live.collection].insert_one(document).session(&mut *session).await?;
        }
        for (live, update) in &self.updates {
            let filter = doc! { "_id": { "$eq": live.id.clone() } };
            collections[live.collection].update_one(filter, update.clone()).session(&mut *session).await?;
        }
        if let Some(live) = &self.delete {
            let filter = doc! { "_id": { "$eq": live.id.clone() } };
            collections[live.collection].delete_one(filter).session(&mut *session).await?;
        }
        Ok(())
    }
}

/// Shapes that the change stream describes in different ways: fields set and removed, arrays grown, cut and changed in
/// the middle, names that are numbers, whole sub-documents.
fn update_document(random: &mut Random) -> Document {
    let number = random.below(1_000) as i32;
    match random.below(10) {
        0 => doc! { "$inc": { "counter": 1_i64 } },
        1 => doc! { "$set": { "edge": number, format!("new{}", number % 5): "added" } },
        2 => doc! { "$unset": { format!("new{}", number % 5): "", "nested.added": "" } },
        3 => doc! { "$push": { "list": { "$each": [number, { "deep": [number] }], "$slice": -6 } } },
        4 => doc! { "$push": { "list": { "$each": [number], "$position": 0 } } },
        5 => doc! { "$push": { "list": { "$each": [], "$slice": 1 } } },
        6 => doc! { "$set": { "nested.7": number, "nested.added": { "a": 1, "b": [true, null] } } },
        7 => doc! { "$set": { "nested": { "7": number, "whole": "new" } } },
        8 => doc! { "$set": { "list.1": { "at": number } }, "$max": { "counter": i64::from(number) } },
        _ => {
            doc! { "$set": { "edge": number }, "$rename": { "new1": "new2" }, "$currentDate": { "changed": true } }
        }
    }
}

/// Repeats a write until the server has taken it. One that it had taken before comes back as a duplicate.
async fn taken<F>(mut write: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = mongodb::error::Result<()>>,
{
    let mut attempts = Attempts::new("a write to be taken", WRITE_DEADLINE);
    loop {
        match write().await {
            Ok(()) => return Ok(()),
            Err(error) if is_duplicate(&error) => return Ok(()),
            Err(error) => attempts.again(Some(error.into())).await?,
        }
    }
}

fn is_duplicate(error: &mongodb::error::Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Write(WriteFailure::WriteError(error)) => error.code == CODE_DUPLICATE_KEY,
        ErrorKind::InsertMany(many) => many.write_errors.as_ref().is_some_and(|errors| {
            !errors.is_empty() && errors.iter().all(|error| error.code == CODE_DUPLICATE_KEY)
        }),
        ErrorKind::Command(error) => error.code == CODE_DUPLICATE_KEY,
        _ => false,
    }
}
