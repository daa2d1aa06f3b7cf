//! A collection cut by `_id`, so that its parts can be read at once.
//!
//! Borders are BSON values as the server gave them, and ranges are read by the bounds of the `_id` index, so `_id`s of any
//! type, and of several in one collection, are safe.

use std::fmt;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::Client;

use crate::{
    mongo::{self, codes},
    namespace::Namespace,
    raw::{self, Element, kind},
    retry::Failure,
};

/// `_id`s that are looked at for each border. The more, the more equal the parts.
const SAMPLES_PER_BORDER: u64 = 20;

/// An `_id`: a document `{_id: …}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Id(Vec<u8>);

impl Id {
    /// Takes the `_id` of a document.
    pub fn of(element: Element<'_>) -> Self {
        let mut writer = raw::Writer::default();
        writer.begin();
        writer.value(b"_id", element.kind, element.value);
        writer.end();
        Self(writer.into_bytes())
    }

    /// Takes a document `{_id: …}` as it was stored.
    ///
    /// # Errors
    /// When the bytes are something else.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, raw::Error> {
        let document = raw::Document::new(&bytes)?;
        match document.elements().next().transpose()? {
            Some(element) if element.name == b"_id" => Ok(Self(bytes)),
            _ => Err(raw::Error { at: 4, what: "no _id" }),
        }
    }

    /// The document `{_id: …}`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The document `{_id: …}` for a command.
    pub fn document(&self) -> Document {
        bson::deserialize_from_slice(&self.0).expect("an _id is a document")
    }

    /// The value, named `_id`.
    pub fn element(&self) -> Element<'_> {
        let document = raw::Document::new(&self.0).expect("made as a document");
        document.elements().next().and_then(Result::ok).expect("made with an _id")
    }

    /// Whether this is MaxKey, behind which there is nothing: the server takes it for no beginning of a range.
    pub fn is_greatest(&self) -> bool {
        self.element().kind == kind::MAX_KEY
    }

    /// Whether this is just that `_id`, type included.
    pub fn is(&self, element: Element<'_>) -> bool {
        let own = self.element();
        own.kind == element.kind && own.value == element.value
    }
}

/// `_id`s are the user's data and are not logged.
impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({} bytes)", self.0.len())
    }
}

/// The `_id`s that cut the collection into about `count` parts of about the same size, in the order of the index.
///
/// # Errors
/// When the deployment does not answer, or may not be asked.
pub async fn borders(client: &Client, namespace: &Namespace, count: u64) -> Result<Vec<Id>, Failure> {
    if count < 2 {
        return Ok(Vec::new());
    }
    let size = i64::try_from(count * SAMPLES_PER_BORDER).unwrap_or(i64::MAX);
    let stages = [
        doc! { "$sample": { "size": size } },
        doc! { "$project": { "_id": 1 } },
        doc! { "$sort": { "_id": 1 } },
    ];
    let what = || format!("cannot look for the borders of ranges in {namespace}");
    let collection = client.database(&namespace.db).collection::<Document>(&namespace.coll);
    let sampled = match collection.aggregate(stages).with_type::<bson::RawDocumentBuf>().await {
        Ok(cursor) => cursor.try_collect::<Vec<_>>().await,
        Err(error) => Err(error),
    };
    let sampled = match sampled {
        Ok(sampled) => sampled,
        Err(error) if mongo::code(&error) == Some(codes::COMMAND_NOT_SUPPORTED_ON_VIEW) => Vec::new(),
        Err(error) => return Err(mongo::failure(&what(), &error)),
    };
    let mut borders = Vec::new();
    let step = (sampled.len() / usize::try_from(count).expect("at most some hundred")).max(1);
    for document in sampled.iter().skip(step).step_by(step) {
        let id = raw::Document::new(document.as_bytes())
            .and_then(|document| document.get("_id"))
            .map_err(|error| Failure::retry(format!("{}: {error}", what())))?;
        borders.extend(id.map(Id::of).filter(|id| borders.last() != Some(id) && !id.is_greatest()));
    }
    Ok(borders)
}
