//! Paths, renames and constants as the configuration writes them.

use crate::{config::Invalid, json, raw::Document};

/// A dotted path to a field. It reaches through arrays into the documents in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    steps: Vec<Box<[u8]>>,
}

impl Path {
    /// Reads `address.city`.
    ///
    /// # Errors
    /// When a name is empty or starts with `$`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Err(Invalid("is empty; write the path of a field, like \"address.city\"".into()));
        }
        text.split('.').try_for_each(check_name)?;
        Ok(Self { steps: text.split('.').map(|name| name.as_bytes().into()).collect() })
    }

    /// As [`Path::parse`], for a field that goes: `_id` always stays.
    ///
    /// # Errors
    /// As [`Path::parse`], and for `_id` and what is in it.
    pub fn parse_exclusion(text: &str) -> Result<Self, Invalid> {
        let path = Self::parse(text)?;
        if path.is_in_id() {
            return Err(Invalid(
                "is the document's identity and cannot be left out; redact or hash its values instead".into(),
            ));
        }
        Ok(path)
    }

    pub(super) fn steps(&self) -> &[Box<[u8]>] {
        &self.steps
    }

    pub(super) fn is_in_id(&self) -> bool {
        *self.steps[0] == *b"_id"
    }
}

/// A field that gets another name in the same document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    pub(super) path: Path,
    pub(super) name: Box<[u8]>,
}

impl Rename {
    /// Reads the path of a field and its new last name.
    ///
    /// # Errors
    /// When either is none, or `_id` is renamed or taken. The messages go on after the new name.
    pub fn parse(path: &str, name: &str) -> Result<Self, Invalid> {
        let path = Path::parse(path).map_err(|Invalid(problem)| {
            Invalid(format!("is to be the name of a field whose path {problem}"))
        })?;
        if path.is_in_id() {
            return Err(Invalid(
                "is to be the name of the document's identity, which cannot be renamed".into(),
            ));
        }
        if name.contains('.') {
            return Err(Invalid(
                "is a path; write the new last name alone: a field stays in its document".into(),
            ));
        }
        check_name(name)?;
        if name == "_id" && path.steps.len() == 1 {
            return Err(Invalid(
                "is the name of the document's identity, which no other field can have".into(),
            ));
        }
        Ok(Self { path, name: name.as_bytes().into() })
    }
}

/// Fields that have the same value in every document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constants {
    bson: Vec<u8>,
}

impl Constants {
    /// Reads an Extended JSON document.
    ///
    /// # Errors
    /// When it is none, or a name is not that of a field that can be set.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let mut bson = Vec::new();
        json::read_document(text.as_bytes(), &mut bson)
            .map_err(|err| Invalid(format!("is no JSON document: {err}")))?;
        let constants = Self { bson };
        for element in constants.document().elements() {
            let element = element.expect("the reader wrote this document");
            let name = std::str::from_utf8(element.name).expect("the reader takes only UTF-8");
            let place = |problem: &str| Invalid(format!("sets {name:?}, which {problem}"));
            if name == "_id" {
                return Err(place("is the document's identity"));
            }
            if name.contains('.') {
                return Err(place("is a path; constants are fields of the document itself"));
            }
            check_name(name).map_err(|Invalid(problem)| place(&problem))?;
        }
        Ok(constants)
    }

    pub(super) fn document(&self) -> Document<'_> {
        Document::new(&self.bson).expect("the reader wrote this document")
    }
}

fn check_name(name: &str) -> Result<(), Invalid> {
    let problem = if name.is_empty() {
        "has an empty name; write names with one dot between them, like \"address.city\""
    } else if name.starts_with('$') {
        "has a name that starts with $; write plain names, without operators"
    } else if name.contains('\0') {
        "has a name with NUL in it"
    } else {
        return Ok(());
    };
    Err(Invalid(problem.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_what_is_wrong() {
        let path = |text| Path::parse(text).map(|_| ());
        let exclusion = |text| Path::parse_exclusion(text).map(|_| ());
        let rename = |path, name| Rename::parse(path, name).map(|_| ());
        let set = |text| Constants::parse(text).map(|_| ());
        for (outcome, part) in [
            (path(""), "is empty"),
            (path("a..b"), "empty name"),
            (path("a."), "empty name"),
            (path("a.$[].b"), "starts with $"),
            (exclusion("_id"), "cannot be left out"),
            (exclusion("_id.x"), "cannot be left out"),
            (rename("_id", "x"), "cannot be renamed"),
            (rename("_id.a", "x"), "cannot be renamed"),
            (rename("a", "_id"), "identity"),
            (rename("a", "b.c"), "last name alone"),
            (rename("a", ""), "empty name"),
            (set("[]"), "no JSON document"),
            (set(r#"{"_id": 1}"#), "identity"),
            (set(r#"{"a.b": 1}"#), "is a path"),
            (set(r#"{"$a": 1}"#), "starts with $"),
        ] {
            let message = outcome.expect_err(part).to_string();
            assert!(message.contains(part), "{message}");
        }
        assert!(rename("a.b", "_id").is_ok() && path("_id.x").is_ok() && path("a.0.b").is_ok());
    }
}
