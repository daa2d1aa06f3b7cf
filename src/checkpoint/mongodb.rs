//! A checkpoint in a MongoDB collection: one document per source.

use bson::{Document, doc};
use mongodb::{
    Collection,
    options::{ReadConcern, WriteConcern},
};

use super::{Checkpoint, taken};
use crate::{config, mongo, namespace::Namespace, retry::Failure};

/// The checkpoint of one source in a document `{_id: NAME, owner, checkpoint: JSON text}`.
pub struct MongodbStore {
    collection: Collection<Document>,
    id: String,
    owner: Option<String>,
}

impl MongodbStore {
    /// The document `id` in the collection.
    ///
    /// # Errors
    /// When the connection string cannot be used.
    pub async fn new(mongodb: &config::Mongodb, namespace: &Namespace, id: String) -> Result<Self, Failure> {
        let client = mongo::client(mongodb).await?;
        let options = mongodb::options::CollectionOptions::builder()
            .read_concern(ReadConcern::majority())
            .write_concern(WriteConcern::majority())
            .build();
        let collection = client.database(&namespace.db).collection_with_options(&namespace.coll, options);
        Ok(Self { collection, id, owner: None })
    }

    /// Where the checkpoint is, for messages.
    pub fn place(&self) -> String {
        format!("collection {}, document {}", self.collection.namespace(), self.id)
    }

    pub(super) async fn load(&mut self) -> Result<Option<Checkpoint>, Failure> {
        let found = self.collection.find_one(doc! { "_id": &self.id }).await.map_err(|error| {
            mongo::failure(&format!("cannot read the checkpoint in {}", self.place()), &error)
        })?;
        let Some(found) = found else { return Ok(None) };
        let text = found.get_str("checkpoint").unwrap_or_default();
        let checkpoint = Checkpoint::from_json(&self.place(), text.as_bytes())?;
        self.owner = Some(checkpoint.owner.clone());
        Ok(Some(checkpoint))
    }

    /// Replaces the document only where the last owner is the one that this process knows of.
    pub(super) async fn store(&mut self, checkpoint: &Checkpoint) -> Result<(), Failure> {
        let document = doc! { "owner": &checkpoint.owner, "checkpoint": checkpoint.to_json() };
        let filter = doc! { "_id": &self.id, "owner": self.owner.as_deref() };
        let outcome = self.collection.replace_one(filter, document).upsert(true).await;
        match outcome {
            Ok(_) => {}
            // The document is there, but not as the filter expects it.
            Err(error) if mongo::code(&error) == Some(11000) => {
                let found = self.load().await?;
                let owner = found.map_or_else(|| "since removed".to_owned(), |found| found.owner);
                // The answer to an earlier attempt may have been lost on the way.
                if owner != checkpoint.owner {
                    return Err(taken(&self.place(), &owner));
                }
                return Err(Failure::retry(format!("the checkpoint in {} changed meanwhile", self.place())));
            }
            Err(error) => {
                return Err(mongo::failure(
                    &format!("cannot write the checkpoint to {}", self.place()),
                    &error,
                ));
            }
        }
        self.owner = Some(checkpoint.owner.clone());
        Ok(())
    }
}
