//! Which document a change is about, and when two changes are about the same one. Pure.
//!
//! A batch holds one statement per document, so two `_id`s that the server takes for equal (1 and 1.0, a string and a
//! symbol, also inside of documents) must meet under one [`FoldKey`]. Equal for the server means equal keys, always.
//! The other way round holds only while [`FoldKey::is_exact`]: numbers meet in their nearest double, so big whole
//! numbers and decimals may meet without being equal, and whoever folds has to compare the bytes then.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use smallvec::{SmallVec, smallvec};

use crate::raw::{Document, Element, Error as RawError, Writer, kind};

/// Bytes of an `_id`. Those of an ObjectId, a number, a UUID and a short text need no allocation of their own.
pub type Bytes = SmallVec<[u8; 23]>;

/// An `_id`, as it stands in BSON.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Id {
    /// One of [`kind`].
    pub kind: u8,
    /// The value's bytes.
    pub value: Bytes,
}

/// What finds the document that a write is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Its `_id`.
    Id(Id),
    /// A filter document.
    Fields(Vec<u8>),
}

impl Filter {
    /// What writes with this filter fold by.
    ///
    /// # Errors
    /// When its bytes are damaged.
    pub fn fold_key(&self) -> Result<FoldKey, Error> {
        match self {
            Self::Id(id) => id.fold_key(),
            Self::Fields(filter) => {
                // No type of BSON has this number: no `_id` folds with a filter.
                let mut key = FoldKey { bytes: smallvec![0xfe], is_exact: true };
                let filter = Element { kind: kind::DOCUMENT, name: b"", value: filter };
                key.push(filter).map_err(Error::Malformed)?;
                Ok(key)
            }
        }
    }

    /// Bytes of it.
    pub fn len(&self) -> usize {
        match self {
            Self::Id(id) => id.value.len(),
            Self::Fields(filter) => filter.len(),
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What two `_id`s that the server takes for equal have in common.
#[derive(Clone, Debug)]
pub struct FoldKey {
    /// Equal for `_id`s that the server takes for equal.
    pub bytes: Bytes,
    /// Two exact keys with the same bytes belong to `_id`s that the server does take for equal.
    pub is_exact: bool,
}

/// Why a change has no usable `_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is none.
    #[error("no _id in the {0}")]
    Missing(&'static str),
    /// One that no document can have.
    #[error("an _id of type {0} is not possible in MongoDB")]
    Impossible(&'static str),
    /// Damaged bytes.
    #[error("the _id is unreadable: {0}")]
    Malformed(RawError),
}

impl Id {
    /// The `_id` of a document; `name` says which document it is when there is none.
    ///
    /// # Errors
    /// When there is none, or the server would not take it.
    pub fn of(document: Document<'_>, name: &'static str) -> Result<Self, Error> {
        let element = document.get("_id").map_err(Error::Malformed)?.ok_or(Error::Missing(name))?;
        match element.kind {
            kind::ARRAY => Err(Error::Impossible("array")),
            kind::UNDEFINED => Err(Error::Impossible("undefined")),
            kind::REGEX => Err(Error::Impossible("regular expression")),
            _ => Ok(Self { kind: element.kind, value: Bytes::from_slice(element.value) }),
        }
    }

    /// A document that has nothing but this `_id`.
    pub fn to_document(&self) -> Vec<u8> {
        let mut writer = Writer::new(Vec::with_capacity(self.value.len() + 10));
        writer.begin();
        writer.value(b"_id", self.kind, &self.value);
        writer.end();
        writer.into_bytes()
    }

    /// What this `_id` folds by.
    ///
    /// # Errors
    /// When its bytes are damaged.
    pub fn fold_key(&self) -> Result<FoldKey, Error> {
        let mut key = FoldKey { bytes: Bytes::with_capacity(self.value.len() + 1), is_exact: true };
        key.push(Element { kind: self.kind, name: b"", value: &self.value }).map_err(Error::Malformed)?;
        Ok(key)
    }
}

/// The greatest whole number up to which every whole number is a double of its own.
const MAX_EXACT: u64 = 1 << 53;

impl FoldKey {
    /// The same for equal keys, and as good as never for others.
    pub fn hash(&self) -> u64 {
        FixedState::default().hash_one(&self.bytes)
    }

    fn push(&mut self, element: Element<'_>) -> Result<(), RawError> {
        match element.kind {
            kind::INT32 | kind::INT64 => {
                let number = element.as_i64().unwrap_or_default();
                self.is_exact &= number.unsigned_abs() <= MAX_EXACT;
                self.push_number(number as f64);
            }
            kind::DOUBLE => self.push_number(element.as_f64().unwrap_or_default()),
            kind::DECIMAL128 => {
                self.is_exact = false;
                self.push_number(nearest_double(element.value));
            }
            kind::STRING | kind::SYMBOL => self.push_raw(kind::STRING, element.value),
            kind::DOCUMENT | kind::ARRAY => self.push_elements(element)?,
            // Rare inside of an _id, and with rules of their own: all of them meet.
            kind::CODE_WITH_SCOPE | kind::DB_POINTER | kind::REGEX => {
                self.is_exact = false;
                self.bytes.push(element.kind);
            }
            other => self.push_raw(other, element.value),
        }
        Ok(())
    }

    fn push_raw(&mut self, kind: u8, value: &[u8]) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(value);
    }

    fn push_number(&mut self, number: f64) {
        let bits = match number {
            n if n.is_nan() => f64::NAN.to_bits(),
            0.0 => 0.0_f64.to_bits(),
            n => n.to_bits(),
        };
        self.push_raw(kind::DOUBLE, &bits.to_le_bytes());
    }

    fn push_elements(&mut self, element: Element<'_>) -> Result<(), RawError> {
        self.bytes.push(element.kind);
        for inner in element.as_document().unwrap_or(Document::EMPTY).elements() {
            let inner = inner?;
            // A marker before each element and a terminator at the end: no two structures run into each other.
            self.bytes.push(1);
            if element.kind == kind::DOCUMENT {
                self.bytes.extend_from_slice(inner.name);
                self.bytes.push(0);
            }
            self.push(inner)?;
        }
        self.bytes.push(0);
        Ok(())
    }
}

/// The double nearest to a Decimal128. Equal decimals have the same one, as has a double equal to them.
fn nearest_double(value: &[u8]) -> f64 {
    let Ok(bytes) = <[u8; 16]>::try_from(value) else { return f64::NAN };
    let text = bson::Decimal128::from_bytes(bytes).to_string();
    text.parse().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use bson::{Bson, doc};

    use super::*;

    fn id(value: impl Into<Bson>) -> Id {
        let bytes = doc! { "_id": value.into() }.to_vec().expect("writable");
        Id::of(Document::new(&bytes).expect("sound"), "document").expect("an _id")
    }

    fn key(value: impl Into<Bson>) -> FoldKey {
        id(value).fold_key().expect("sound")
    }

    fn decimal(text: &str) -> Bson {
        Bson::Decimal128(text.parse().expect("a decimal"))
    }

    #[test]
    fn ids_that_the_server_takes_for_equal_meet() {
        let groups: [Vec<Bson>; 6] = [
            vec![1_i32.into(), 1_i64.into(), 1.0.into(), decimal("1"), decimal("1.000"), decimal("10E-1")],
            vec![0_i32.into(), (-0.0).into(), decimal("-0"), decimal("0E+3")],
            vec!["a".into(), Bson::Symbol("a".into())],
            vec![f64::NAN.into(), decimal("NaN"), f64::from_bits(0x7ff8_0000_0000_0001).into()],
            vec![(1_i64 << 60).into(), ((1_i64 << 60) as f64).into(), decimal("1152921504606846976")],
            vec![0.5.into(), decimal("0.5"), decimal("5E-1")],
        ];
        for group in groups {
            for other in &group {
                assert_eq!(key(group[0].clone()).bytes, key(other.clone()).bytes, "{} {other}", group[0]);
                let nested = |value: &Bson| doc! { "x": [value.clone(), 1], "y": "z" };
                assert_eq!(key(nested(&group[0])).bytes, key(nested(other)).bytes, "nested {other}");
            }
        }
    }

    #[test]
    fn exact_keys_differ_where_the_server_sees_a_difference() {
        let different: Vec<Bson> = vec![
            1.into(),
            2.into(),
            1.5.into(),
            "1".into(),
            Bson::Null,
            true.into(),
            false.into(),
            doc! {}.into(),
            doc! { "a": 1 }.into(),
            doc! { "a": 1, "b": 1 }.into(),
            doc! { "b": 1, "a": 1 }.into(),
            doc! { "a": { "b": 1 } }.into(),
            doc! { "a": [] , "b": 1 }.into(),
            doc! { "a": ["b", 1] }.into(),
            doc! { "a": [["b"], 1] }.into(),
            Bson::DateTime(bson::DateTime::from_millis(1)),
            Bson::Timestamp(bson::Timestamp { time: 0, increment: 1 }),
            Bson::MinKey,
            Bson::MaxKey,
        ];
        for (index, left) in different.iter().enumerate() {
            assert!(key(left.clone()).is_exact, "{left}");
            for right in &different[index + 1..] {
                assert_ne!(key(left.clone()).bytes, key(right.clone()).bytes, "{left} {right}");
            }
        }
    }

    #[test]
    fn numbers_that_may_meet_without_being_equal_are_not_exact() {
        let big = (1_i64 << 53) + 1;
        assert_eq!(key(big).bytes, key(1_i64 << 53).bytes);
        assert!(!key(big).is_exact);
        assert!(key(1_i64 << 53).is_exact);
        assert!(!key(decimal("0.1")).is_exact);
        assert!(!key(doc! { "n": decimal("1") }).is_exact);
        assert_eq!(key(decimal("0.1")).bytes, key(0.1).bytes);
    }

    #[test]
    fn ids_that_no_document_can_have_are_errors() {
        let regex =
            bson::Regex { pattern: "a".try_into().expect("no NUL"), options: "".try_into().expect("no NUL") };
        for value in [Bson::Array(vec![]), Bson::Undefined, Bson::RegularExpression(regex)] {
            let bytes = doc! { "_id": value.clone() }.to_vec().expect("writable");
            let found = Id::of(Document::new(&bytes).expect("sound"), "document");
            assert!(matches!(found, Err(Error::Impossible(_))), "{value}: {found:?}");
        }
        assert_eq!(Id::of(Document::EMPTY, "key"), Err(Error::Missing("key")));
    }
}
