//! Extended JSON: raw BSON to text and back, without trees.
//!
//! [`write_document`] walks BSON bytes and appends text in one of the [`Style`]s; [`read_document`] walks text and appends
//! BSON bytes. Neither allocates per document beyond the buffer that it is given. How each type looks in each style is
//! in `docs/formats.md`.
//!
//! What is read back after writing in a style that keeps types (strict, canonical, Debezium's) is the same bytes, except
//! for what JSON (or the text that the connectors chose for it) cannot carry; raw BSON carries all of it:
//! - a user's own sub-document that looks like a wrapper, such as `{"$oid": "…24 hex digits…"}`, becomes what it looks
//!   like (or an error, where the wrapper's text is malformed);
//! - a DBPointer is written as a DBRef and stays one, but for canonical style;
//! - text that is not UTF-8 has U+FFFD in its place; payloads of NaNs and bits of a Decimal128 that are not canonical
//!   become the canonical ones;
//! - elements of an array get the names "0", "1", …; a boolean gets the byte 0 or 1.

mod canonical;
mod date;
mod decimal;
mod double;
mod escape_table;
mod notation;
mod read;
mod relaxed;
mod simplified;
mod strict;
mod text;
mod wrapper;
mod write;

#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod tests;

pub(crate) use self::date::days_since_1970;
pub use self::{
    read::{ReadError, read_document, read_plain},
    text::write_quoted,
    wrapper::value_of_text,
    write::{Reason, Style, WriteError, write_document, write_value},
};

/// Documents and arrays may be nested this deep, counted in braces and brackets of the text; wrappers such as
/// `{"$oid": …}` do not count. The server's own limit is lower.
const MOST_LEVELS: usize = 200;
