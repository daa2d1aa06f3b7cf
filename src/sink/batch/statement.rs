//! What is done to one document, and what several of its writes come to. Pure.

use crate::{
    config::MissingDocument,
    sink::{
        body::Body,
        delta::Stages,
        plan::{Kind, Update},
    },
};

/// Most stages that the server takes in a pipeline.
pub(super) const MAX_STAGES: usize = 1000;
/// Most bytes of one statement that was folded from several. The server takes 16 MB with everything around them.
const MAX_STATEMENT_BYTES: usize = 12_000_000;

/// What is done to a document.
#[derive(Debug)]
pub enum Statement {
    /// Insert it.
    Insert(Body),
    /// Replace it, or insert it.
    Replace(Body),
    /// Run these stages over it; with a state to begin with, insert it if it is not there.
    Pipeline {
        /// The state to begin with.
        full: Option<Body>,
        /// What changes it.
        stages: Stages,
        /// What if it is not there, and there is no state to begin with.
        missing: MissingDocument,
    },
    /// Delete it.
    Delete,
    /// Insert it, and leave one that is there as it is.
    InsertOnly(Body),
    /// Update it.
    Update(Update),
}

impl From<Kind> for Statement {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Insert(body) => Self::Insert(body),
            Kind::Replace(body) => Self::Replace(body),
            Kind::Literal(body) => Self::Pipeline {
                full: Some(body),
                stages: Stages::default(),
                missing: MissingDocument::Upsert,
            },
            Kind::Delta { stages, missing } => Self::Pipeline { full: None, stages, missing },
            Kind::Delete => Self::Delete,
            Kind::InsertOnly(body) => Self::InsertOnly(body),
            Kind::Update(update) => Self::Update(update),
        }
    }
}

impl Statement {
    /// The document turned out to be there.
    pub fn insert_to_replace(&mut self) {
        *self = match std::mem::replace(self, Self::Delete) {
            Self::Insert(body) => Self::Replace(body),
            other => other,
        };
    }

    /// What if the document is not there, where that may be.
    pub fn missing(&self) -> Option<MissingDocument> {
        match self {
            Self::Pipeline { full: None, missing, .. } => Some(*missing),
            Self::Update(update) => Some(update.missing),
            _ => None,
        }
    }

    /// Whether what follows still fits into one statement.
    pub(super) fn takes(&self, next: &Kind) -> bool {
        let is_folded = !matches!(self, Self::InsertOnly(_) | Self::Update(_));
        if !is_folded || matches!(next, Kind::InsertOnly(_) | Kind::Update(_)) {
            return false;
        }
        let Kind::Delta { stages: next, missing } = next else { return true };
        let (bytes, count) = match self {
            Self::Insert(body) | Self::Replace(body) => (body.len(), 0),
            Self::Pipeline { full, stages, .. } => {
                (full.as_ref().map_or(0, Body::len) + stages.len(), stages.count())
            }
            // Unless it makes a document, or has to be told that there is none.
            Self::Delete => return matches!(missing, MissingDocument::Skip),
            Self::InsertOnly(_) | Self::Update(_) => return false,
        };
        // One stage more for the state to begin with, and one between these and those.
        count + next.count() + 1 < MAX_STAGES && bytes + next.len() <= MAX_STATEMENT_BYTES
    }

    /// This, and after it `next`, as one statement.
    pub(super) fn fold(&mut self, next: Kind) {
        let before = std::mem::replace(self, Self::Delete);
        *self = match (before, next) {
            // Still an insert for the collection, whatever happened in between.
            (Self::Insert(_), Kind::Insert(body) | Kind::Replace(body)) => Self::Insert(body),
            (_, Kind::Insert(body) | Kind::Replace(body)) => Self::Replace(body),
            (_, next @ (Kind::Literal(_) | Kind::Delete | Kind::InsertOnly(_) | Kind::Update(_))) => {
                Self::from(next)
            }
            // A delta never brings back what was deleted.
            (before @ (Self::Delete | Self::InsertOnly(_) | Self::Update(_)), Kind::Delta { .. }) => before,
            (Self::Insert(body) | Self::Replace(body), Kind::Delta { stages, missing }) => {
                Self::Pipeline { full: Some(body), stages, missing }
            }
            (Self::Pipeline { full, mut stages, missing }, Kind::Delta { stages: later, .. }) => {
                stages.append(&later);
                Self::Pipeline { full, stages, missing }
            }
        };
    }
}
