//! Namespace → topic, and partition where it is not the key that chooses it. Pure.

use crate::{
    config::{Route, Topics},
    namespace::Pattern,
};

/// The longest topic name that Kafka takes.
const MAX_TOPIC_LENGTH: usize = 249;

/// A namespace whose topic Kafka would not take.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the topic name `{topic}` for namespace {namespace} is not legal in Kafka (letters, digits, `.`, `_` and `-`, at \
     most 249); set another `topic` template or exclude the namespace"
)]
pub struct Error {
    /// The namespace.
    pub namespace: String,
    /// What the template gives.
    pub topic: String,
}

/// The topic of a namespace.
///
/// # Errors
/// When the name is not a legal topic name. Replacing characters would silently merge namespaces.
pub fn topic(topics: &Topics, db: &str, coll: Option<&str>) -> Result<String, Error> {
    let topic = name(topics, db, coll);
    let legal = topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if !legal || topic.is_empty() || topic.len() > MAX_TOPIC_LENGTH || topic == "." || topic == ".." {
        let namespace = coll.map_or_else(|| db.to_owned(), |coll| format!("{db}.{coll}"));
        return Err(Error { namespace, topic });
    }
    Ok(topic)
}

/// What the first matching route, or else the template, makes of a namespace; legal or not. An event of a whole
/// database has no collection: where the template does not say what is to be left out then, that is the separators that the
/// collection leaves behind (`{db}.{coll}` gives `shop`).
pub fn name(topics: &Topics, db: &str, coll: Option<&str>) -> String {
    let is_meant = |route: &&Route| match coll {
        Some(coll) => route.matches.matches(db, coll),
        None => route.matches.matches_database(db),
    };
    let template = topics.routes.iter().find(is_meant).map_or(&topics.template, |route| &route.topic);
    let mut name = String::new();
    template.render(db, coll.unwrap_or_default(), "", &mut name);
    if coll.is_none() && !template.has_groups() {
        name.truncate(name.trim_end_matches(['.', '_', '-']).len());
    }
    name
}

/// Whether the topic of `db.coll` has records of no other collection, as far as the settings can tell.
pub fn is_of_one_namespace(topics: &Topics, db: &str, coll: &str) -> bool {
    match topics.routes.iter().find(|route| route.matches.matches(db, coll)) {
        None => topics.template.names_database_and_collection(),
        Some(Route { matches: Pattern::Glob { db, coll }, .. })
            if db.literal().is_some() && coll.literal().is_some() =>
        {
            true
        }
        Some(route) => route.topic.names_database_and_collection(),
    }
}

/// What chooses the partition of all that a namespace sends: modulo the number of partitions, as Java's producer does
/// with a key.
pub fn partition_hash(namespace: &[u8]) -> u32 {
    // Java makes a hash positive by dropping the sign bit.
    murmur2(namespace) & 0x7fff_ffff
}

/// MurmurHash2 with Kafka's seed, as Kafka's Java clients have it
/// (<https://github.com/apache/kafka/blob/trunk/clients/src/main/java/org/apache/kafka/common/utils/Utils.java>).
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const FACTOR: u32 = 0x5bd1_e995;
    let (words, rest) = data.as_chunks::<4>();
    let mut hash = SEED ^ data.len() as u32;
    for word in words {
        let mixed = u32::from_le_bytes(*word).wrapping_mul(FACTOR);
        let mixed = (mixed ^ (mixed >> 24)).wrapping_mul(FACTOR);
        hash = hash.wrapping_mul(FACTOR) ^ mixed;
    }
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(FACTOR);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(FACTOR);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{PartitionBy, Template},
        namespace::Pattern,
    };

    fn topics(template: &str, routes: &[(&str, &str)]) -> Topics {
        let parsed = |text: &str| Template::parse_topic(text).expect("the template is sound");
        let route = |(pattern, topic): &(&str, &str)| Route {
            matches: Pattern::parse_exclusion(pattern).expect("the pattern is sound"),
            topic: parsed(topic),
        };
        Topics {
            template: parsed(template),
            routes: routes.iter().map(route).collect(),
            partition_by: PartitionBy::Key,
            creation: None,
        }
    }

    fn template() -> Topics {
        topics("cdc.{db}.{coll}", &[])
    }

    #[test]
    fn the_first_route_that_matches_is_taken() {
        let topics = topics(
            "rest",
            &[("shop.orders", "o"), ("shop.*", "s[-{coll}]"), ("/crm(\\..*)?/", "{db}[_{coll}]")],
        );
        for (db, coll, expected) in [
            ("shop", Some("orders"), "o"),
            ("shop", Some("orders.eu"), "s-orders.eu"),
            ("shop", None, "s"),
            ("crm", Some("x"), "crm_x"),
            ("crm", None, "crm"),
            ("x", Some("y"), "rest"),
        ] {
            assert_eq!(name(&topics, db, coll), expected, "{db} {coll:?}");
        }
    }

    #[test]
    fn a_collection_gets_the_template_filled_in() {
        assert_eq!(topic(&template(), "shop", Some("orders.eu")), Ok("cdc.shop.orders.eu".into()));
    }

    #[test]
    fn a_topic_is_of_one_collection_where_its_name_says_so() {
        let topics = topics("{db}.{coll}", &[("shop.orders", "o"), ("crm.*", "all"), ("x*.*", "{coll}")]);
        for (db, coll, expected) in
            [("shop", "orders", true), ("shop", "items", true), ("crm", "a", false), ("x", "a", false)]
        {
            assert_eq!(is_of_one_namespace(&topics, db, coll), expected, "{db}.{coll}");
        }
    }

    #[test]
    fn a_database_gets_no_trailing_separator() {
        assert_eq!(topic(&template(), "shop", None), Ok("cdc.shop".into()));
    }

    #[test]
    fn names_that_kafka_would_refuse_are_refused_here() {
        for coll in ["or ders", "ordérs", "a$b", &"x".repeat(250)] {
            assert!(topic(&template(), "shop", Some(coll)).is_err(), "{coll}");
        }
    }

    #[test]
    fn the_hash_is_the_one_of_javas_clients() {
        // The first six are the vectors of Kafka's own UtilsTest.
        for (text, expected) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()), i32::cast_unsigned(expected), "{text}");
        }
        assert_eq!(partition_hash(b"foobar"), i32::cast_unsigned(-790_332_482) & 0x7fff_ffff);
    }
}
