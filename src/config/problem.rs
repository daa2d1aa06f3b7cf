//! What is wrong with a configuration, and where.
//!
//! Everything that reads the configuration collects [`Problem`]s instead of stopping at the first, so that a user mends
//! the file in one go. No message holds a secret: values that may be one are described, not shown.

use std::{fmt, path::PathBuf};

/// Every problem of one configuration, sorted by place. `Display` prints one line each.
#[derive(Debug)]
pub struct Problems {
    file: PathBuf,
    list: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where the value comes from.
    pub place: Place,
    /// The TOML key; empty where the file as a whole is meant.
    pub path: KeyPath,
    /// What is wrong, and what is allowed.
    pub message: String,
}

/// Where a value comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Nowhere in particular: something is absent, or the file cannot be read.
    #[default]
    Whole,
    /// The file; both count from 1, the column in characters.
    File {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// This environment variable.
    Variable(String),
}

/// A TOML key from the root; an element of a list is a segment like `[0]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPath(Vec<String>);

/// A text that does not mean anything where it stands. `Display` goes on after the text: "is not a duration: write …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

impl Problems {
    pub(super) fn new(file: PathBuf, mut list: Vec<Problem>) -> Self {
        list.sort();
        Self { file, list }
    }

    /// The problems in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            match &problem.place {
                Place::Whole => write!(f, "{}: ", self.file.display())?,
                Place::File { line, column } => write!(f, "{}:{line}:{column}: ", self.file.display())?,
                Place::Variable(name) => write!(f, "{name}: ")?,
            }
            if !problem.path.0.is_empty() {
                write!(f, "{}: ", problem.path)?;
            }
            f.write_str(&problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl Place {
    /// The place of the byte `offset` of `text`.
    pub(super) fn of(text: &str, offset: usize) -> Self {
        let before = &text.as_bytes()[..offset.min(text.len())];
        let line_start = before.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        // Characters, not bytes: every byte that does not continue one starts one.
        let column = before[line_start..].iter().filter(|&&b| b & 0xc0 != 0x80).count() + 1;
        Self::File { line: before.iter().filter(|&&b| b == b'\n').count() + 1, column }
    }
}

impl KeyPath {
    /// The path of `key` in the table at this path.
    pub fn child(&self, key: impl Into<String>) -> Self {
        Self(self.0.iter().cloned().chain([key.into()]).collect())
    }

    /// The path of an element of the list at this path.
    pub(super) fn element(&self, index: usize) -> Self {
        self.child(format!("[{index}]"))
    }

    pub(super) fn segments(&self) -> &[String] {
        &self.0
    }

    pub(super) fn parent(&self) -> Option<Self> {
        let (_, init) = self.0.split_last()?;
        Some(Self(init.to_vec()))
    }

    pub(super) fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl<const N: usize> From<[&str; N]> for KeyPath {
    fn from(keys: [&str; N]) -> Self {
        Self(keys.map(String::from).to_vec())
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            if index > 0 && !segment.starts_with('[') {
                f.write_str(".")?;
            }
            let bare = |c: char| c.is_ascii_alphanumeric() || "-_.[]".contains(c);
            if segment.chars().all(bare) && !segment.is_empty() {
                f.write_str(segment)?;
            } else {
                write!(f, "{segment:?}")?;
            }
        }
        Ok(())
    }
}

/// `value` in quotes, cut where it is long.
pub(super) fn shown(value: &str) -> String {
    const MOST_CHARS: usize = 60;
    if value.chars().count() <= MOST_CHARS {
        return format!("{value:?}");
    }
    let start: String = value.chars().take(MOST_CHARS).collect();
    format!("{start:?}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let text = "a = 1\né = \"ü\" # x\n";
        assert_eq!(Place::of(text, 0), Place::File { line: 1, column: 1 });
        let hash = text.find('#').expect("the text has one");
        assert_eq!(Place::of(text, hash), Place::File { line: 2, column: 9 });
        assert_eq!(Place::of(text, text.len()), Place::File { line: 3, column: 1 });
    }

    #[test]
    fn problems_print_sorted_by_place_one_line_each() {
        let problem = |place, path: KeyPath, message: &str| Problem { place, path, message: message.into() };
        let problems = Problems::new(
            "m.toml".into(),
            vec![
                problem(Place::Variable("MILLRACE_A__B".into()), ["a", "b"].into(), "is odd"),
                problem(Place::File { line: 10, column: 2 }, KeyPath::from(["l"]).element(1), "is second"),
                problem(Place::File { line: 9, column: 5 }, ["a b", "c.d"].into(), "is first"),
                problem(Place::Whole, KeyPath::default(), "cannot be read"),
            ],
        );
        let expected = "m.toml: cannot be read\nm.toml:9:5: \"a b\".c.d: is first\n\
                        m.toml:10:2: l[1]: is second\nMILLRACE_A__B: a.b: is odd";
        assert_eq!(problems.to_string(), expected);
    }

    #[test]
    fn long_values_are_cut_and_control_characters_escaped() {
        assert_eq!(shown("a\nb"), "\"a\\nb\"");
        assert_eq!(shown(&"x".repeat(100)), format!("\"{}\"…", "x".repeat(60)));
    }
}
