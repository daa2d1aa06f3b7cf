//! Record → target namespace. Pure.
//!
//! A target comes from data, so it is judged before anything is written to it: only namespaces inside the sink's
//! `allow`, never the server's own, never one that a source of this process watches in the same deployment (what is
//! written there would come back as an event, for ever).

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use super::decode;
use crate::{
    config::{NameSource, Piece, Template},
    namespace::{Namespace, Patterns},
    raw::{Document, Element, kind},
};

/// Namespaces remembered with their judgement; a topic that makes up more of them starts the memory afresh.
const MAX_REMEMBERED: usize = 10_000;

/// Where records go, by the sink's template.
#[derive(Debug)]
pub struct Routes {
    allow: Patterns,
    watched: Vec<Patterns>,
    known: HashMap<Vec<u8>, Result<Arc<Namespace>, Error>>,
    /// The key of the look-up, kept for its memory.
    scratch: Vec<u8>,
}

/// Why a record has no target. Names the target: a namespace is no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A topic of documents must name database and collection.
    #[error("topic {0} has no dot that splits database and collection; set the sink's namespace")]
    TopicWithoutDot(String),
    /// A field that the template needs.
    #[error("the record has no text at {0}, of which the sink's namespace is made")]
    NoField(String),
    /// The key cannot be read.
    #[error(transparent)]
    Key(#[from] decode::Error),
    /// What the template makes is not a namespace.
    #[error("{target:?} is no namespace: {reason}")]
    Invalid {
        /// What the template made.
        target: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A namespace of the server itself.
    #[error("{0} belongs to the server; no record may write there")]
    Reserved(Namespace),
    /// Outside of what the sink may touch.
    #[error("{0} is not among the namespaces that the sink may write; extend its allow list")]
    NotAllowed(Namespace),
    /// A loop.
    #[error("{0} is watched by a source of this process; change the sink's namespace or exclude it there")]
    Watched(Namespace),
}

impl Routes {
    /// `watched`: what the sources of this process watch in the deployment that the sink writes to.
    pub fn new(allow: Patterns, watched: Vec<Patterns>) -> Self {
        Self { allow, watched, known: HashMap::new(), scratch: Vec::new() }
    }

    /// The target of a record of `topic`, whose template is always this one; `event` is the database and collection that
    /// its event names, if it is one.
    ///
    /// # Errors
    /// When there is none, or the sink must not write there.
    pub fn target(
        &mut self,
        template: &Template,
        topic: &str,
        event: Option<(&str, &str)>,
    ) -> Result<Arc<Namespace>, Error> {
        self.target_of(template, topic, event, None, || Ok(None))
    }

    /// As [`Routes::target`], for a template that may look into the record: `value` and `key` are its documents.
    ///
    /// # Errors
    /// As [`Routes::target`], and when a field is missing.
    pub fn target_of<'a>(
        &mut self,
        template: &Template,
        topic: &str,
        event: Option<(&str, &str)>,
        value: Option<Document<'a>>,
        key: impl Fn() -> Result<Option<Document<'a>>, decode::Error>,
    ) -> Result<Arc<Namespace>, Error> {
        if !template.has_fields() {
            return self.judged(template, topic, event, &[]);
        }
        let names = event.or_else(|| topic.split_once('.'));
        let mut fields = Vec::new();
        // A database has no dot: one in its field would move the rest of it into the collection.
        let has_dot = |piece: &Piece| matches!(piece, Piece::Text(text) if text.contains('.'));
        let database_pieces = template.pieces.iter().position(has_dot).unwrap_or(0);
        for (index, piece) in template.pieces.iter().enumerate() {
            let Piece::FirstOf(sources) = piece else { continue };
            let mut found = None;
            for source in sources {
                found = match source {
                    NameSource::Value(path) => text_at(value, path)?,
                    NameSource::Key(path) => text_at(key()?, path)?,
                    NameSource::Database => names.map(|(db, _)| db.to_owned()),
                    NameSource::Collection => names.map(|(_, coll)| coll.to_owned()),
                    NameSource::Topic => Some(topic.to_owned()),
                    NameSource::Text(text) => Some(text.clone()),
                };
                if found.is_some() {
                    break;
                }
            }
            let text = found.ok_or_else(|| Error::NoField(described(sources)))?;
            if text.contains('\0') || index < database_pieces && text.contains('.') {
                let reason = "the database or the collection has a character that the server does not take";
                return Err(Error::Invalid { target: text, reason });
            }
            fields.push(text);
        }
        self.judged(template, topic, event, &fields)
    }

    fn judged(
        &mut self,
        template: &Template,
        topic: &str,
        event: Option<(&str, &str)>,
        fields: &[String],
    ) -> Result<Arc<Namespace>, Error> {
        // Neither a topic nor a database has a NUL, nor has a field here, and a template always has as many of them; a
        // collection comes last: no two inputs share a key.
        self.scratch.clear();
        let names = [topic, event.map_or("", |(db, _)| db)];
        let fields_then_coll = fields.iter().map(String::as_str).chain([event.map_or("", |(_, coll)| coll)]);
        for part in names.into_iter().chain(fields_then_coll) {
            self.scratch.extend_from_slice(part.as_bytes());
            self.scratch.push(0);
        }
        if let Some(known) = self.known.get(&self.scratch) {
            return known.clone();
        }
        let judged = self.judge(template, topic, event, fields).map(Arc::new);
        if self.known.len() >= MAX_REMEMBERED {
            self.known.clear();
        }
        self.known.insert(self.scratch.clone(), judged.clone());
        judged
    }

    fn judge(
        &self,
        template: &Template,
        topic: &str,
        event: Option<(&str, &str)>,
        fields: &[String],
    ) -> Result<Namespace, Error> {
        let namespace = split(&render(template, topic, event, fields)?)?;
        if is_reserved(&namespace) {
            return Err(Error::Reserved(namespace));
        }
        if !self.allow.matches(&namespace.db, &namespace.coll) {
            return Err(Error::NotAllowed(namespace));
        }
        if self.watched.iter().any(|watched| watched.matches(&namespace.db, &namespace.coll)) {
            return Err(Error::Watched(namespace));
        }
        Ok(namespace)
    }
}

/// The text at `path`; what is no text is as good as missing.
fn text_at(document: Option<Document<'_>>, path: &str) -> Result<Option<String>, Error> {
    let Some(document) = document else { return Ok(None) };
    let found = document.find(path).map_err(|_| Error::NoField(path.to_owned()))?;
    let text = found.filter(|found| found.kind == kind::STRING).and_then(Element::as_str);
    Ok(text.map(str::to_owned))
}

fn described(sources: &[NameSource]) -> String {
    let names = sources.iter().map(|source| match source {
        NameSource::Value(path) => format!("value.{path}"),
        NameSource::Key(path) => format!("key.{path}"),
        NameSource::Database => "db".to_owned(),
        NameSource::Collection => "coll".to_owned(),
        NameSource::Topic => "topic".to_owned(),
        NameSource::Text(text) => format!("'{text}'"),
    });
    names.collect::<Vec<_>>().join("|")
}

fn render(
    template: &Template,
    topic: &str,
    event: Option<(&str, &str)>,
    fields: &[String],
) -> Result<String, Error> {
    let (db, coll) = match event.or_else(|| topic.split_once('.')) {
        None if template.uses_names() => return Err(Error::TopicWithoutDot(topic.to_owned())),
        names => names.unwrap_or_default(),
    };
    let mut target = String::new();
    template.render_with(db, coll, topic, &mut fields.iter().map(String::as_str), &mut target);
    Ok(target)
}

/// Splits at the first dot and checks what the server would check:
/// <https://www.mongodb.com/docs/manual/reference/limits/#naming-restrictions>.
fn split(target: &str) -> Result<Namespace, Error> {
    let invalid = |reason| Error::Invalid { target: target.to_owned(), reason };
    let (db, coll) = target.split_once('.').ok_or_else(|| invalid("it has no dot"))?;
    if db.is_empty() || coll.is_empty() {
        return Err(invalid("the database or the collection is empty"));
    }
    if db.len() > 63 || target.len() > 255 {
        return Err(invalid("a database has at most 63 bytes, a namespace at most 255"));
    }
    if db.contains(['/', '\\', ' ', '"', '$', '*', '<', '>', ':', '|', '?', '\0']) {
        return Err(invalid("the database has a character that the server does not take"));
    }
    if coll.contains(['$', '\0']) || coll.starts_with('.') || coll.ends_with('.') {
        return Err(invalid("the collection has a character that the server does not take"));
    }
    Ok(Namespace { db: db.to_owned(), coll: coll.to_owned() })
}

fn is_reserved(namespace: &Namespace) -> bool {
    // Some deployments fold the case of database names; none has a database of these names in other letters.
    ["admin", "config", "local"].iter().any(|reserved| namespace.db.eq_ignore_ascii_case(reserved))
        || namespace.coll.starts_with("system.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::{Glob, Pattern};

    fn patterns(globs: &[(&str, &str)]) -> Patterns {
        let glob = |text: &str| Glob { text: text.to_owned() };
        let include =
            globs.iter().map(|(db, coll)| Pattern::Glob { db: glob(db), coll: glob(coll) }).collect();
        Patterns { include, exclude: Vec::new() }
    }

    fn default_template() -> Template {
        Template { pieces: vec![Piece::Database, Piece::Text(".".into()), Piece::Collection] }
    }

    fn routes() -> Routes {
        Routes::new(patterns(&[("*", "*")]), Vec::new())
    }

    #[test]
    fn templates_take_the_events_namespace_or_the_topics() {
        let text = |text: &str| Piece::Text(text.to_owned());
        let event = Some(("shop", "or.ders"));
        for (pieces, topic, event, target) in [
            (default_template().pieces, "any", event, "shop.or.ders"),
            (default_template().pieces, "shop.or.ders", None, "shop.or.ders"),
            (vec![text("copy."), Piece::Collection], "any", event, "copy.or.ders"),
            (vec![text("copy."), Piece::Topic], "plain", None, "copy.plain"),
            (vec![Piece::Database, text("_copy."), Piece::Collection], "a.b", None, "a_copy.b"),
            (vec![text("db.all")], "plain", event, "db.all"),
        ] {
            let found =
                routes().target(&Template { pieces }, topic, event).map(|namespace| namespace.to_string());
            assert_eq!(found, Ok(target.to_owned()));
        }
    }

    #[test]
    fn a_topic_without_a_dot_needs_a_namespace() {
        let found = routes().target(&default_template(), "orders", None);
        assert_eq!(found, Err(Error::TopicWithoutDot("orders".into())));
    }

    #[test]
    fn the_servers_own_namespaces_are_never_a_target() {
        for (db, coll) in [
            ("admin", "x"),
            ("config", "x"),
            ("local", "oplog.rs"),
            ("Local", "x"),
            ("shop", "system.users"),
            ("shop", "system.buckets.x"),
        ] {
            let found = routes().target(&default_template(), "t", Some((db, coll)));
            assert!(matches!(found, Err(Error::Reserved(_))), "{db}.{coll}: {found:?}");
        }
        assert!(routes().target(&default_template(), "t", Some(("shop", "systems"))).is_ok());
    }

    #[test]
    fn what_the_server_would_refuse_is_refused_by_name() {
        let long = "d".repeat(64);
        for (db, coll) in [
            ("", "c"),
            ("d", ""),
            ("a b", "c"),
            ("a$", "c"),
            (&long, "c"),
            ("d", "a$b"),
            ("d", "a\0"),
            ("d", ".c"),
            ("d\0", "c"),
        ] {
            let found = routes().target(&default_template(), "t", Some((db, coll)));
            assert!(matches!(found, Err(Error::Invalid { .. })), "{db:?}.{coll:?}: {found:?}");
        }
    }

    #[test]
    fn only_allowed_and_unwatched_namespaces_are_written() {
        let mut routes =
            Routes::new(patterns(&[("shop", "*"), ("copy", "*")]), vec![patterns(&[("shop", "orders")])]);
        let template = default_template();
        let mut target = |db, coll| routes.target(&template, "t", Some((db, coll)));
        assert!(matches!(target("bank", "accounts"), Err(Error::NotAllowed(_))));
        assert!(matches!(target("shop", "orders"), Err(Error::Watched(_))));
        assert!(target("copy", "orders").is_ok());
        assert!(matches!(target("shop", "orders"), Err(Error::Watched(_))), "remembered as it was judged");
    }

    #[test]
    fn fields_of_the_record_make_the_target() {
        let bytes = |document: bson::Document| document.to_vec().expect("writable");
        let value = bytes(
            bson::doc! { "tenant": "blue", "a.b": "dotted", "a": { "b": "inner", "c": "x.y" }, "n": 5, "e": "" },
        );
        let key = bytes(bson::doc! { "tenant": "red", "z": "a\0b" });
        let document = |bytes| Some(Document::new(bytes).expect("sound"));
        for (template, topic, expected) in [
            ("{value.tenant}.{key.tenant}", "t", Ok("blue.red")),
            ("{value.a.b}.c", "t", Ok("dotted.c")),
            ("d.{value.a.c}", "t", Ok("d.x.y")),
            ("{value.none|key.tenant}.c", "t", Ok("red.c")),
            ("{value.n|'main'}.c", "t", Ok("main.c")),
            ("d_{value.tenant}.{coll}", "shop.orders", Ok("d_blue.orders")),
            ("{db|'none'}.{coll|topic}", "orders", Ok("none.orders")),
            ("{db|'none'}.{coll|topic}", "shop.orders", Ok("shop.orders")),
            ("{value.none|key.no}.c", "t", Err("no text at value.none|key.no")),
            ("{value.n}.c", "t", Err("no text at value.n")),
            ("{value.a.c}.c", "t", Err("does not take")),
            ("{value.tenant}.{key.z}", "t", Err("does not take")),
            ("{value.tenant}.{value.e}", "t", Err("empty")),
            ("admin.{value.tenant}", "t", Err("belongs to the server")),
        ] {
            let template = Template::parse(template).expect("sound");
            let found = routes().target_of(&template, topic, None, document(&value), || Ok(document(&key)));
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.to_string(), expected),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (found, expected) => panic!("{found:?}, but {expected:?} was expected"),
            }
        }
        let template = Template::parse("{key.tenant|'main'}.c").expect("sound");
        let torn = || Err(decode::Error::Key("torn".into()));
        let found = routes().target_of(&template, "t", None, None, torn);
        assert!(matches!(found, Err(Error::Key(_))), "{found:?}");
        assert!(routes().target(&template, "t", None).is_ok(), "no key is no error here");
    }

    #[test]
    fn records_of_one_topic_with_other_fields_have_other_targets() {
        let template = Template::parse("{value.db}.c").expect("sound");
        let mut routes = routes();
        for name in ["one", "two", "one"] {
            let value = bson::doc! { "db": name }.to_vec().expect("writable");
            let value = Some(Document::new(&value).expect("sound"));
            let found = routes.target_of(&template, "t", None, value, || Ok(None)).expect("a target");
            assert_eq!(found.db, name);
        }
        assert_eq!(routes.known.len(), 2);
    }

    #[test]
    fn namespaces_are_shared_and_the_memory_is_bounded() {
        let (mut routes, template) = (routes(), default_template());
        let first = routes.target(&template, "t", Some(("d", "c"))).expect("a target");
        let again = routes.target(&template, "t", Some(("d", "c"))).expect("a target");
        assert!(Arc::ptr_eq(&first, &again));
        for number in 0..=MAX_REMEMBERED {
            assert!(routes.target(&template, "t", Some(("d", &format!("c{number}")))).is_ok());
        }
        assert!(routes.known.len() <= MAX_REMEMBERED);
    }
}
