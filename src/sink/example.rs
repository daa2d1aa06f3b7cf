//! Settings for tests.

use std::collections::BTreeMap;

use crate::config::{
    Ddl, Handling, Id, IdStrategy, MissingDocument, OnTombstone, Piece, ReadFormat, Template, UuidFormat,
    ValueShape, Write, WriteBy, WriteModel,
};

/// What a sink's handling is by default, for BSON.
pub(crate) fn handling() -> Handling {
    let pieces = vec![Piece::Database, Piece::Text(".".into()), Piece::Collection];
    Handling {
        value: ValueShape::Event,
        format: ReadFormat::Bson,
        key_format: ReadFormat::Bson,
        types: BTreeMap::new(),
        namespace: Template { pieces },
        ddl: Ddl::Ignore,
        missing_document: MissingDocument::Skip,
        remove_nulls: false,
        on_tombstone: OnTombstone::Delete,
        transform: Vec::new(),
        steps: Vec::new(),
        id: Id {
            strategy: IdStrategy::Auto,
            overwrite: false,
            uuid_format: UuidFormat::String,
            is_stable: false,
            part: None,
        },
        write: Write {
            model: WriteModel::Replace,
            by: WriteBy::Id,
            timestamps: false,
            delete_by: WriteBy::Id,
            filter: None,
            update: None,
            upsert: true,
        },
        time_series: None,
    }
}
