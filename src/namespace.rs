//! Names of databases, collections and topics, and patterns over them.

use std::fmt;

/// A database and a collection. The first dot of the written form splits them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace {
    /// The database.
    pub db: String,
    /// The collection; may contain dots.
    pub coll: String,
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.db, self.coll)
    }
}

/// Includes and excludes over namespaces.
#[derive(Clone, Debug)]
pub struct Patterns {
    /// A namespace must match one of these…
    pub include: Vec<Pattern>,
    /// …and none of these.
    pub exclude: Vec<Pattern>,
}

impl Patterns {
    /// Whether `db.coll` is covered.
    pub fn matches(&self, db: &str, coll: &str) -> bool {
        self.include.iter().any(|p| p.matches(db, coll)) && !self.exclude.iter().any(|p| p.matches(db, coll))
    }
}

/// One pattern over namespaces.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// `db.coll`, each part a glob; `*` matches any run of characters, dots included.
    Glob {
        /// Over the database's name.
        db: Glob,
        /// Over the collection's name.
        coll: Glob,
    },
    /// `/…/`: a regular expression over the whole of `db.coll`.
    Regex(regex::Regex),
}

impl Pattern {
    /// Whether `db.coll` matches.
    pub fn matches(&self, db: &str, coll: &str) -> bool {
        match self {
            Self::Glob { db: d, coll: c } => d.matches(db) && c.matches(coll),
            Self::Regex(regex) => regex.is_match(&format!("{db}.{coll}")),
        }
    }
}

/// A glob: literal text in which `*` stands for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    /// The text as written.
    pub text: String,
}

impl Glob {
    /// The name, when the glob has no `*`.
    pub fn literal(&self) -> Option<&str> {
        (!self.text.contains('*')).then_some(self.text.as_str())
    }

    /// Whether the glob is just `*`.
    pub fn is_any(&self) -> bool {
        !self.text.is_empty() && self.text.bytes().all(|b| b == b'*')
    }

    /// The same as an anchored regular expression that PCRE and `regex` both read.
    pub fn regex(&self) -> String {
        format!("^{}$", self.text.split('*').map(regex::escape).collect::<Vec<_>>().join(".*"))
    }

    /// Whether `name` matches.
    pub fn matches(&self, name: &str) -> bool {
        let mut pieces = self.text.split('*');
        let first = pieces.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let mut last = None;
        for piece in pieces {
            if let Some(middle) = last.replace(piece) {
                let Some(at) = rest.find(middle) else { return false };
                rest = &rest[at + middle.len()..];
            }
        }
        match last {
            None => rest.is_empty(),
            Some(suffix) => rest.ends_with(suffix),
        }
    }
}

/// Topics by name, glob or `/regular expression/`.
#[derive(Clone, Debug)]
pub struct TopicPatterns {
    /// A topic must match one of these.
    pub include: Vec<TopicPattern>,
}

impl TopicPatterns {
    /// Whether `topic` is covered. The daemon's own topics never are.
    pub fn matches(&self, topic: &str) -> bool {
        !is_own_topic(topic) && self.include.iter().any(|p| p.matches(topic))
    }
}

/// Whether this is a topic in which a daemon keeps state.
pub fn is_own_topic(topic: &str) -> bool {
    topic.starts_with("millrace.") && topic.ends_with(".checkpoint")
}

/// One pattern over topics.
#[derive(Clone, Debug)]
pub enum TopicPattern {
    /// A name in which `*` stands for any run of characters.
    Glob(Glob),
    /// `/…/`: a regular expression over the whole name.
    Regex(regex::Regex),
}

impl TopicPattern {
    /// Whether `topic` matches.
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            Self::Glob(glob) => glob.matches(topic),
            Self::Regex(regex) => regex.is_match(topic),
        }
    }
}
