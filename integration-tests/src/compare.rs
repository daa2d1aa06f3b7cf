//! Compares collections byte for byte, document by document, as raw BSON.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use bson::{Bson, RawDocument, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::{Client, Collection, Cursor};

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Documents that are equal.
    pub equal_count: u64,
    /// The first difference, in words.
    pub difference: Option<String>,
}

impl Comparison {
    /// Whether there is no difference.
    pub fn is_identical(&self) -> bool {
        self.difference.is_none()
    }
}

/// Compares all collections of two databases.
pub async fn databases(client: &Client, original: &str, copy: &str) -> Result<Comparison> {
    let mut names = BTreeSet::new();
    for database in [original, copy] {
        let listed = client.database(database).list_collection_names().await?;
        names.extend(listed.into_iter().filter(|name| !name.starts_with("system.")));
    }
    let mut total = Comparison::default();
    for name in names {
        let original = client.database(original).collection(&name);
        let copy = client.database(copy).collection(&name);
        let one = collections(&original, &copy).await?;
        total.equal_count += one.equal_count;
        if one.difference.is_some() {
            return Ok(Comparison { difference: one.difference, ..total });
        }
    }
    Ok(total)
}

/// Compares two collections in the order of `_id`.
pub async fn collections(
    original: &Collection<RawDocumentBuf>,
    copy: &Collection<RawDocumentBuf>,
) -> Result<Comparison> {
    let (mut left, mut right) = (sorted(original).await?, sorted(copy).await?);
    let mut equal_count = 0;
    loop {
        let (ours, theirs) = tokio::try_join!(left.try_next(), right.try_next())?;
        let found = match (ours, theirs) {
            (None, None) => return Ok(Comparison { equal_count, difference: None }),
            (Some(ours), Some(theirs)) if ours.as_bytes() == theirs.as_bytes() => {
                equal_count += 1;
                continue;
            }
            (Some(ours), Some(theirs)) if id_bytes(&ours)? == id_bytes(&theirs)? => {
                Found::Differs(ours, theirs)
            }
            (Some(ours), Some(theirs)) => side(copy, ours, theirs).await?,
            (Some(ours), None) => Found::Missing(ours),
            (None, Some(theirs)) => Found::Extra(theirs),
        };
        let difference = Some(found.in_words(original, copy));
        return Ok(Comparison { equal_count, difference });
    }
}

enum Found {
    Differs(RawDocumentBuf, RawDocumentBuf),
    Missing(RawDocumentBuf),
    Extra(RawDocumentBuf),
}

impl Found {
    fn in_words(&self, original: &Collection<RawDocumentBuf>, copy: &Collection<RawDocumentBuf>) -> String {
        let (original, copy) = (original.namespace(), copy.namespace());
        match self {
            Self::Differs(a, b) => format!("{original}: {}\n  in {copy}: {}", shown(a), shown(b)),
            Self::Missing(a) => format!("{copy} lacks what is in {original}: {}", shown(a)),
            Self::Extra(b) => format!("{copy} has what is not in {original}: {}", shown(b)),
        }
    }
}

/// Where the walk meets two different ids, one of the two is absent on the other side.
async fn side(
    copy: &Collection<RawDocumentBuf>,
    ours: RawDocumentBuf,
    theirs: RawDocumentBuf,
) -> Result<Found> {
    let id = ours.get("_id")?.context("a document has no _id")?;
    let filter = doc! { "_id": { "$eq": Bson::try_from(id)? } };
    Ok(match copy.find_one(filter).await? {
        None => Found::Missing(ours),
        // 1 and 1.0 are one id to the server.
        Some(other) if id_bytes(&other)? != id_bytes(&ours)? => Found::Differs(ours, other),
        Some(_) => Found::Extra(theirs),
    })
}

async fn sorted(collection: &Collection<RawDocumentBuf>) -> Result<Cursor<RawDocumentBuf>> {
    Ok(collection
        .find(doc! {})
        .sort(doc! { "_id": 1 })
        .hint(mongodb::options::Hint::Keys(doc! { "_id": 1 }))
        .await?)
}

/// The `_id` as it stands, type included.
pub(crate) fn id_bytes(document: &RawDocument) -> Result<Vec<u8>> {
    let id = document.get("_id")?.context("a document has no _id")?;
    let mut alone = RawDocumentBuf::new();
    alone.append(bson::raw::cstr!("_id"), id);
    Ok(alone.into_bytes())
}

/// Extended JSON where the document allows it, else its bytes.
pub fn shown(document: &RawDocument) -> String {
    const MOST_CHARACTERS: usize = 2_000;
    let text = match bson::Document::try_from(document) {
        // To a writer of JSON, bson's types present themselves as extended JSON.
        Ok(document) => serde_json::to_string(&document).unwrap_or_else(|error| error.to_string()),
        Err(_) => document.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    text.chars().take(MOST_CHARACTERS).collect()
}
