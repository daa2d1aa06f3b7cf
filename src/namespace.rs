//! Names of databases, collections and topics, and patterns over them.

use std::fmt;

use crate::config::Invalid;

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

impl Namespace {
    /// Takes the written form of a namespace that there is.
    pub fn of_written(text: &str) -> Option<Self> {
        let (db, coll) = text.split_once('.')?;
        Some(Self { db: db.to_owned(), coll: coll.to_owned() })
    }

    /// Reads `db.coll`: one collection, not a pattern, and not one that the server keeps for itself.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match Pattern::parse(text)? {
            Pattern::Glob { db, coll } if db.literal().is_some() && coll.literal().is_some() => {
                Ok(Self { db: db.text, coll: coll.text })
            }
            _ => Err(Invalid(
                "is a pattern; write the name of one collection, like \"millrace.checkpoints\"".into(),
            )),
        }
    }
}

/// Whether the server keeps this for itself: such namespaces are neither read nor written.
pub fn is_system(db: &str, coll: &str) -> bool {
    ["admin", "config", "local"].contains(&db) || coll.starts_with("system.")
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
    /// Reads patterns as the configuration has them; the error is the first one's, after its text.
    pub fn parse<S: AsRef<str>>(include: &[S], exclude: &[S]) -> Result<Self, Invalid> {
        let all = |texts: &[S], parse: fn(&str) -> Result<Pattern, Invalid>| {
            texts
                .iter()
                .map(|text| parse(text.as_ref()).map_err(|err| after_text(text.as_ref(), &err)))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self { include: all(include, Pattern::parse)?, exclude: all(exclude, Pattern::parse_exclusion)? })
    }

    /// Whether `db.coll` is covered. What the server keeps for itself never is.
    pub fn matches(&self, db: &str, coll: &str) -> bool {
        !is_system(db, coll)
            && self.include.iter().any(|p| p.matches(db, coll))
            && !self.exclude.iter().any(|p| p.matches(db, coll))
    }
}

fn after_text(text: &str, invalid: &Invalid) -> Invalid {
    Invalid(format!("{text:?} {invalid}"))
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
    Regex(NameRegex),
}

impl Pattern {
    /// Reads `db.coll` with globs, `*` for everything, or `/regular expression/`. What could only match namespaces
    /// that the server keeps for itself is refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let pattern = Self::parse_exclusion(text)?;
        let Self::Glob { db, coll } = &pattern else { return Ok(pattern) };
        if is_system(&db.text, "") {
            return Err(Invalid(format!(
                "names the server's own database {:?}; admin, config and local are never read or written",
                db.text
            )));
        }
        if is_system("", &coll.text) {
            return Err(Invalid(
                "names the server's own collections; system.* is never read or written".into(),
            ));
        }
        Ok(pattern)
    }

    /// As [`Pattern::parse`]; system namespaces may be named, because leaving them out does no harm.
    pub fn parse_exclusion(text: &str) -> Result<Self, Invalid> {
        if let Some(regex) = NameRegex::between_slashes(text) {
            return regex.map(Self::Regex);
        }
        refuse_empty_and_negated(text)?;
        let (db, coll) = if is_stars(text) {
            ("*", "*")
        } else {
            let suggestion = || {
                Invalid(format!(
                    "has no collection; write \"{text}.*\" for all of a database, \"*\" for everything"
                ))
            };
            text.split_once('.').ok_or_else(suggestion)?
        };
        // https://www.mongodb.com/docs/manual/reference/limits/#naming-restrictions
        if db.is_empty() || db.len() > 63 || db.contains(['/', '\\', ' ', '"', '$', '\0']) {
            return Err(Invalid("has no legal database name before its first dot; write db.coll".into()));
        }
        if coll.is_empty() || coll.contains('\0') {
            return Err(Invalid("has no legal collection name after its first dot; write db.coll".into()));
        }
        Ok(Self::Glob { db: Glob { text: db.into() }, coll: Glob { text: coll.into() } })
    }

    /// The one namespace that it names, where it has no star.
    pub fn literal(&self) -> Option<Namespace> {
        match self {
            Self::Glob { db, coll } => {
                Some(Namespace { db: db.literal()?.to_owned(), coll: coll.literal()?.to_owned() })
            }
            Self::Regex(_) => None,
        }
    }

    /// Whether every namespace that `other` matches is certain to match this too; `false` where it is not known.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Glob { db, coll }, Self::Glob { db: other_db, coll: other_coll }) => {
                db.covers(other_db) && coll.covers(other_coll)
            }
            _ => false,
        }
    }

    /// Whether events of the whole database `db` are meant: a glob over all of its collections, or a regular expression
    /// that matches the name alone.
    pub fn matches_database(&self, db: &str) -> bool {
        match self {
            Self::Glob { db: glob, coll } => glob.matches(db) && coll.is_any(),
            Self::Regex(regex) => regex.matches(db),
        }
    }

    /// Whether `db.coll` matches.
    pub fn matches(&self, db: &str, coll: &str) -> bool {
        match self {
            Self::Glob { db: d, coll: c } => d.matches(db) && c.matches(coll),
            Self::Regex(regex) => regex.matches(&format!("{db}.{coll}")),
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
        !self.text.is_empty() && is_stars(&self.text)
    }

    /// The same as an anchored regular expression that PCRE and `regex` both read.
    pub fn regex(&self) -> String {
        format!("^{}$", self.text.split('*').map(regex::escape).collect::<Vec<_>>().join(".*"))
    }

    /// Whether every name that `other` matches is certain to match this too.
    pub fn covers(&self, other: &Self) -> bool {
        // A star of `other` is no literal text of this glob, so it was taken up by a star here; then so is
        // whatever it stands for.
        self.matches(&other.text)
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

/// A user's regular expression over a whole name.
#[derive(Clone, Debug)]
pub struct NameRegex {
    text: String,
    compiled: regex::Regex,
}

impl NameRegex {
    /// Reads the text between the slashes.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Err(Invalid("is an empty regular expression".into()));
        }
        // In the server's dialect these are plain characters of a class, and would match something else there.
        if text.contains('[') && ["&&", "~~", "--", "[["].iter().any(|operation| text.contains(operation)) {
            return Err(Invalid(
                "combines character classes, which the server reads differently; write it with |".into(),
            ));
        }
        // Compiled alone first: a parenthesis too many would pair up with those that anchor it.
        regex::Regex::new(text).map_err(|err| not_a_regex(&err))?;
        let compiled = regex::Regex::new(&anchored(text)).map_err(|err| not_a_regex(&err))?;
        Ok(Self { text: text.into(), compiled })
    }

    /// The expression as the user wrote it, without the slashes.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The expression that matches whole names only; PCRE reads it too.
    pub fn anchored(&self) -> String {
        anchored(&self.text)
    }

    /// Whether the whole of `name` matches.
    pub fn matches(&self, name: &str) -> bool {
        self.compiled.is_match(name)
    }

    /// `None` for what is not meant as a regular expression.
    fn between_slashes(text: &str) -> Option<Result<Self, Invalid>> {
        let inner = text.strip_prefix('/')?;
        Some(match inner.strip_suffix('/') {
            Some(inner) => Self::parse(inner),
            None => Err(Invalid(
                "starts like a regular expression but does not end with /; options go inside, like /(?i)…/"
                    .into(),
            )),
        })
    }
}

fn anchored(text: &str) -> String {
    format!("^(?:{text})$")
}

/// The last line of the library's message has the reason; those before it draw the expression.
fn not_a_regex(err: &regex::Error) -> Invalid {
    let message = err.to_string();
    let reason = message.lines().last().unwrap_or_default();
    Invalid(format!("is not a regular expression: {}", reason.strip_prefix("error: ").unwrap_or(reason)))
}

fn refuse_empty_and_negated(text: &str) -> Result<(), Invalid> {
    if text.is_empty() {
        return Err(Invalid("is empty".into()));
    }
    if text.starts_with('!') {
        return Err(Invalid(
            "starts with !; what is to be left out goes into exclude, or into a regular expression".into(),
        ));
    }
    Ok(())
}

fn is_stars(text: &str) -> bool {
    text.bytes().all(|b| b == b'*')
}

/// Topics by name, glob or `/regular expression/`.
#[derive(Clone, Debug)]
pub struct TopicPatterns {
    /// A topic must match one of these.
    pub include: Vec<TopicPattern>,
}

impl TopicPatterns {
    /// Reads patterns as the configuration has them; the error is the first one's, after its text.
    pub fn parse<S: AsRef<str>>(include: &[S]) -> Result<Self, Invalid> {
        let parse =
            |text: &S| TopicPattern::parse(text.as_ref()).map_err(|err| after_text(text.as_ref(), &err));
        Ok(Self { include: include.iter().map(parse).collect::<Result<_, _>>()? })
    }

    /// Whether `topic` is covered. The daemon's own topics never are.
    pub fn matches(&self, topic: &str) -> bool {
        !is_own_topic(topic) && self.include.iter().any(|p| p.matches(topic))
    }
}

/// Whether this is a topic in which a daemon keeps state.
pub fn is_own_topic(topic: &str) -> bool {
    topic.starts_with("millrace.") && topic.ends_with(".checkpoint")
}

/// The most characters that Kafka takes in a topic's name.
pub const LONGEST_TOPIC: usize = 249;

/// Whether Kafka takes `byte` in a topic's name.
pub fn is_topic_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}

/// One pattern over topics.
#[derive(Clone, Debug)]
pub enum TopicPattern {
    /// A name in which `*` stands for any run of characters.
    Glob(Glob),
    /// `/…/`: a regular expression over the whole name.
    Regex(NameRegex),
}

impl TopicPattern {
    /// Reads a name, a glob or a `/regular expression/`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if let Some(regex) = NameRegex::between_slashes(text) {
            return regex.map(Self::Regex);
        }
        refuse_empty_and_negated(text)?;
        if text.starts_with('^') {
            return Err(Invalid(
                "starts with ^; a regular expression is written /…/ and always meets the whole name".into(),
            ));
        }
        if !text.bytes().all(|b| b == b'*' || is_topic_byte(b)) || text.len() > LONGEST_TOPIC {
            return Err(Invalid(
                "is no topic name; allowed: ASCII letters, digits, ., _, - and * for any of them".into(),
            ));
        }
        if is_own_topic(text) {
            return Err(Invalid(
                "names a topic in which a daemon keeps its positions; those are never read".into(),
            ));
        }
        Ok(Self::Glob(Glob { text: text.into() }))
    }

    /// Whether `topic` matches.
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            Self::Glob(glob) => glob.matches(topic),
            Self::Regex(regex) => regex.matches(topic),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(include: &[&str], exclude: &[&str]) -> Patterns {
        Patterns::parse(include, exclude).expect("the patterns are sound")
    }

    #[test]
    fn globs_match_whole_names_and_stars_match_dots() {
        for (text, name, expected) in [
            ("orders", "orders", true),
            ("orders", "orders2", false),
            ("*", "", true),
            ("a*", "a.b.c", true),
            ("*a", "ba", true),
            ("a*a", "a", false),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "acb", false),
            ("**", "x", true),
            ("", "", true),
            ("", "x", false),
        ] {
            let glob = Glob { text: text.into() };
            assert_eq!(glob.matches(name), expected, "{text} {name}");
            let regex = regex::Regex::new(&glob.regex()).expect("globs make regular expressions");
            assert_eq!(regex.is_match(name), expected, "{text} {name} as a regular expression");
        }
    }

    #[test]
    fn the_first_dot_splits_a_pattern_and_a_star_alone_is_everything() {
        let watch = patterns(&["shop.*", "crm.a.b"], &["shop.tmp*"]);
        for (db, coll, expected) in [
            ("shop", "orders", true),
            ("shop", "a.b", true),
            ("shop", "tmp1", false),
            ("shop2", "orders", false),
            ("crm", "a.b", true),
            ("crm.a", "b", false),
        ] {
            assert_eq!(watch.matches(db, coll), expected, "{db} {coll}");
        }
        assert!(patterns(&["*"], &[]).matches("any", "thing"));
    }

    #[test]
    fn what_the_server_keeps_for_itself_never_matches() {
        let everything = patterns(&["*", "/.*/"], &[]);
        for (db, coll) in [("admin", "x"), ("config", "x"), ("local", "oplog.rs"), ("shop", "system.views")] {
            assert!(!everything.matches(db, coll), "{db}.{coll}");
        }
        assert!(everything.matches("shop", "systems"));
        for text in ["admin.*", "local.oplog.rs", "shop.system.users", "shop.system.*"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
            assert!(Pattern::parse_exclusion(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_regular_expression_meets_the_whole_name_and_keeps_its_text() {
        let watch = patterns(&["/shop\\.a|shop\\.b+/"], &[]);
        for (coll, expected) in [("a", true), ("bb", true), ("ab", false), ("ba", false)] {
            assert_eq!(watch.matches("shop", coll), expected, "{coll}");
        }
        let regex = NameRegex::parse("a|b").expect("the expression is sound");
        assert_eq!((regex.text(), regex.anchored().as_str()), ("a|b", "^(?:a|b)$"));
    }

    #[test]
    fn refusals_say_what_to_write() {
        for (text, part) in [
            ("", "is empty"),
            ("shop", "\"shop.*\""),
            ("!shop.x", "exclude"),
            ("/a(/", "unclosed group"),
            ("/a)(b/", "unopened group"),
            ("/a/i", "(?i)"),
            ("/[a&&b]/", "server reads differently"),
            ("//", "empty"),
            (".x", "database name"),
            ("sh op.x", "database name"),
            ("shop.", "collection name"),
        ] {
            let message = Pattern::parse(text).expect_err("the pattern is wrong").to_string();
            assert!(message.contains(part), "{text}: {message}");
            assert!(!message.contains('\n'), "{text}: {message}");
        }
        let message = Patterns::parse(&["a.b", "c"], &[]).expect_err("the second is wrong").to_string();
        assert!(message.starts_with("\"c\" has no collection"), "{message}");
    }

    #[test]
    fn topics_match_by_name_glob_or_expression_but_never_the_daemons_own() {
        let topics = TopicPatterns::parse(&["shop.*", "one", "/x[0-9]/", "millrace.*"])
            .expect("the patterns are sound");
        for (topic, expected) in [
            ("shop.orders", true),
            ("one", true),
            ("one2", false),
            ("x1", true),
            ("x12", false),
            ("millrace.shop.a.checkpoint", false),
        ] {
            assert_eq!(topics.matches(topic), expected, "{topic}");
        }
        for text in ["", "a b", "!a", "^a.*", "ä", "millrace.a.b.checkpoint", "/(/"] {
            assert!(TopicPattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn one_pattern_covers_another_only_where_that_is_certain() {
        for (wide, narrow, expected) in [
            ("*", "a.b", true),
            ("a.*", "a.b*", true),
            ("a.*", "*.b", false),
            ("a.b*", "a.*b", false),
            ("a*.*", "ab*.c", true),
            ("/.*/", "a.b", false),
        ] {
            let [wide, narrow] =
                [wide, narrow].map(|text| Pattern::parse(text).expect("the pattern is sound"));
            assert_eq!(wide.covers(&narrow), expected, "{wide:?} {narrow:?}");
        }
    }

    #[test]
    fn a_namespace_is_one_collection() {
        let namespace = Namespace::parse("a.b.c").expect("the name is sound");
        assert_eq!((namespace.db.as_str(), namespace.coll.as_str()), ("a", "b.c"));
        for text in ["a", "a.*", "*", "/a.b/", "admin.x"] {
            assert!(Namespace::parse(text).is_err(), "{text}");
        }
    }
}
