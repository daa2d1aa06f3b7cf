//! Which namespace is compared with which. Pure.

use crate::{
    config::{self, Invalid, Piece, Template, ValueShape},
    namespace::{Namespace, Pattern, Patterns},
    source::route,
};

/// A namespace of the source and what it is compared with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// In the source's deployment.
    pub source: Namespace,
    /// In the target's deployment.
    pub target: Namespace,
}

/// What is to be compared.
#[derive(Clone, Debug)]
pub enum Plan {
    /// What a source watches with what a sink makes of it.
    Pipeline(Box<config::Source>, Box<config::Sink>),
    /// What was asked for by name.
    Named(Vec<Named>),
}

/// `NAMESPACE[=TARGET]`.
#[derive(Clone, Debug)]
pub struct Named {
    /// Namespaces of the source.
    pattern: Pattern,
    /// What each is called in the target.
    target: Template,
}

impl Named {
    /// Reads `db.coll`, a pattern, or either with `=` and the target's name, in which `{db}` and `{coll}` are those of
    /// the source.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let (pattern, target) = text.split_once('=').unwrap_or((text, "{db}.{coll}"));
        let pattern = Pattern::parse(pattern)?;
        let target =
            Template::parse(target).map_err(|invalid| Invalid(format!("has a target that {invalid}")))?;
        if target.pieces.contains(&Piece::Topic) {
            return Err(Invalid("has {topic} in its target; allowed are {db} and {coll}".into()));
        }
        Ok(Self { pattern, target })
    }

    fn keeps_names(&self) -> bool {
        self.target.pieces == [Piece::Database, Piece::Text(".".into()), Piece::Collection]
    }
}

impl Plan {
    /// What to look for in the source's deployment.
    pub fn in_source(&self) -> Patterns {
        match self {
            Self::Pipeline(source, _) => source.watch.clone(),
            Self::Named(named) => including(named.iter()),
        }
    }

    /// What to look for in the target's deployment: where names stay, collections that only the target has are found
    /// by their names.
    pub fn in_target(&self) -> Patterns {
        match self {
            Self::Pipeline(..) => including([]),
            Self::Named(named) => including(named.iter().filter(|named| named.keeps_names())),
        }
    }

    /// The pairs, given the collections that there are. What is asked for by its name alone need not be there.
    ///
    /// # Errors
    /// When one of them cannot be compared on its own, or there is none.
    pub fn pairs(&self, in_source: &[Namespace], in_target: &[Namespace]) -> Result<Vec<Pair>, String> {
        let mut pairs = Vec::new();
        match self {
            Self::Pipeline(source, sink) => {
                for namespace in selected(&source.watch, in_source) {
                    pairs.extend(copied(source, sink, namespace)?);
                }
            }
            Self::Named(all) => {
                for named in all {
                    let mut namespaces = selected(&including([named]), in_source);
                    if named.keeps_names() {
                        namespaces.extend(selected(&including([named]), in_target));
                    }
                    for namespace in namespaces {
                        pairs.push(render(&named.target, namespace, "", None)?);
                    }
                }
            }
        }
        pairs.sort();
        pairs.dedup();
        refuse_merged(&pairs)?;
        if pairs.is_empty() {
            return Err("there is nothing to compare: no collection of the source matches".to_owned());
        }
        Ok(pairs)
    }
}

fn including<'a>(named: impl IntoIterator<Item = &'a Named>) -> Patterns {
    let include = named.into_iter().map(|named| named.pattern.clone()).collect();
    Patterns { include, exclude: Vec::new() }
}

/// Those of `there` that match, and those that are named.
fn selected(patterns: &Patterns, there: &[Namespace]) -> Vec<Namespace> {
    let named = patterns.include.iter().filter_map(Pattern::literal);
    let all = named.chain(there.iter().cloned());
    all.filter(|namespace| patterns.matches(&namespace.db, &namespace.coll)).collect()
}

/// What the sink makes of a namespace that the source watches; `None` where it reads none of its records.
fn copied(
    source: &config::Source,
    sink: &config::Sink,
    namespace: Namespace,
) -> Result<Option<Pair>, String> {
    let topic = route::topic(&source.topics, &namespace.db, Some(&namespace.coll))
        .map_err(|error| error.to_string())?;
    if !sink.reads(&topic) {
        return Ok(None);
    }
    let handling = sink.handling(&topic);
    let names = match handling.value {
        ValueShape::Event | ValueShape::Debezium | ValueShape::Auto => None,
        ValueShape::Document | ValueShape::DebeziumRows | ValueShape::Qlik => {
            Some(topic.split_once('.').unwrap_or_default())
        }
    };
    render(&handling.namespace, namespace, &topic, names).map(Some)
}

/// `names` are what placeholders stand for where it is not the namespace itself.
fn render(
    template: &Template,
    source: Namespace,
    topic: &str,
    names: Option<(&str, &str)>,
) -> Result<Pair, String> {
    let (db, coll) = names.unwrap_or((&source.db, &source.coll));
    let mut text = String::new();
    template.render(db, coll, topic, &mut text);
    match Namespace::parse(&text) {
        Ok(target) => Ok(Pair { source, target }),
        Err(invalid) => Err(format!("{source} would be compared with {text:?}, which {invalid}")),
    }
}

/// Collections that are written into one cannot be compared with it one by one.
fn refuse_merged(pairs: &[Pair]) -> Result<(), String> {
    let mut by_target: Vec<&Pair> = pairs.iter().collect();
    by_target.sort_by_key(|pair| &pair.target);
    for two in by_target.windows(2) {
        if two[0].target == two[1].target {
            let (one, other, target) = (&two[0].source, &two[1].source, &two[0].target);
            return Err(format!(
                "{one} and {other} both go to {target}; collections that share a target cannot be compared with it"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn namespaces(texts: &[&str]) -> Vec<Namespace> {
        texts.iter().map(|text| Namespace::of_written(text).expect("a namespace")).collect()
    }

    fn shown(plan: &Plan, in_source: &[&str], in_target: &[&str]) -> Result<Vec<String>, String> {
        let pairs = plan.pairs(&namespaces(in_source), &namespaces(in_target))?;
        Ok(pairs.into_iter().map(|pair| format!("{}={}", pair.source, pair.target)).collect())
    }

    fn named(texts: &[&str]) -> Plan {
        Plan::Named(texts.iter().map(|text| Named::parse(text).expect("sound")).collect())
    }

    fn pipeline(source: &str, sink: &str) -> Plan {
        let text = format!(
            "name = \"p\"\n[mongodb]\nuri = \"mongodb://a\"\n[kafka]\nbootstrap_servers = \"b:1\"\n[sources.s]\n{source}\n\
             [sinks.c]\n{sink}\n[sinks.c.mongodb]\nuri = \"mongodb://z\"\n"
        );
        let settings = config::load_text(Path::new("test.toml"), &text, []).expect("the text is sound");
        Plan::Pipeline(Box::new(settings.sources[0].clone()), Box::new(settings.sinks[0].clone()))
    }

    #[test]
    fn names_and_patterns_become_pairs_of_what_is_there() {
        let there = ["shop.orders", "shop.carts", "shop.system.views", "crm.people"];
        for (texts, expected) in [
            (vec!["shop.orders"], vec!["shop.orders=shop.orders"]),
            (vec!["shop.orders=b.o"], vec!["shop.orders=b.o"]),
            (vec!["shop.*=b.x_{coll}"], vec!["shop.carts=b.x_carts", "shop.orders=b.x_orders"]),
            (vec!["/crm.*/", "crm.people"], vec!["crm.people=crm.people"]),
            (vec!["shop.none"], vec!["shop.none=shop.none"]),
        ] {
            let expected = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(shown(&named(&texts), &there, &[]), Ok(expected), "{texts:?}");
        }
        assert!(
            shown(&named(&["none.*"]), &there, &[]).is_err_and(|error| error.contains("nothing to compare"))
        );
    }

    #[test]
    fn where_names_stay_the_targets_own_collections_are_compared_too() {
        let expected = ["shop.a=shop.a", "shop.b=shop.b"].map(str::to_owned).to_vec();
        assert_eq!(shown(&named(&["shop.*"]), &["shop.a"], &["shop.b", "crm.c"]), Ok(expected));
        assert!(named(&["shop.*=copy.{coll}"]).in_target().include.is_empty());
    }

    #[test]
    fn two_collections_in_one_cannot_be_compared() {
        let error = shown(&named(&["shop.*=copy.all"]), &["shop.a", "shop.b"], &[]).expect_err("refused");
        assert!(
            error.contains("shop.a") && error.contains("shop.b") && error.contains("copy.all"),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_pair_is_refused_with_the_reason() {
        for (text, words) in [
            ("shop", "no collection"),
            ("admin.users", "server's own"),
            ("shop.a={database}.b", "unknown placeholder"),
            ("shop.a={topic}", "{topic}"),
        ] {
            let message = Named::parse(text).expect_err("refused").to_string();
            assert!(message.contains(words), "{text}: {message}");
        }
        let error = shown(&named(&["shop.a=copy"]), &[], &[]).expect_err("refused");
        assert!(error.contains("shop.a") && error.contains("\"copy\""), "{error}");
    }

    #[test]
    fn a_pipelines_pairs_are_what_its_sink_makes_of_what_its_source_watches() {
        let there = ["shop.orders", "shop.tmp", "shop.odd", "crm.people"];
        for (source, sink, expected) in [
            (
                "watch = [\"shop.*\"]\nexclude = [\"shop.tmp\"]",
                "topics = [\"shop.*\"]\nnamespace = \"copy.{coll}\"",
                vec!["shop.odd=copy.odd", "shop.orders=copy.orders"],
            ),
            (
                "watch = [\"shop.orders\"]\ntopic = \"t-{coll}\"",
                "topics = [\"*\"]\nnamespace = \"copy.{topic}\"",
                vec!["shop.orders=copy.t-orders"],
            ),
            (
                "watch = [\"shop.o*\"]\nvalue = \"document\"\n[[sources.s.route]]\nmatch = \"shop.orders\"\ntopic = \"x.y\"",
                "topics = [\"x.*\"]\nvalue = \"document\"",
                vec!["shop.orders=x.y"],
            ),
        ] {
            let expected = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(shown(&pipeline(source, sink), &there, &[]), Ok(expected), "{source} {sink}");
        }
    }
}
