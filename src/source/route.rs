//! Namespace → topic. Pure.

use crate::config::Template;

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

/// The topic of a namespace. An event of a whole database has no collection: its topic is the template's text without
/// the separators that the collection leaves behind (`{db}.{coll}` gives `shop`).
///
/// # Errors
/// When the name is not a legal topic name. Replacing characters would silently merge namespaces.
pub fn topic(template: &Template, db: &str, coll: Option<&str>) -> Result<String, Error> {
    let mut topic = String::new();
    template.render(db, coll.unwrap_or_default(), "", &mut topic);
    if coll.is_none() {
        topic.truncate(topic.trim_end_matches(['.', '_', '-']).len());
    }
    let legal = topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if !legal || topic.is_empty() || topic.len() > MAX_TOPIC_LENGTH || topic == "." || topic == ".." {
        let namespace = coll.map_or_else(|| db.to_owned(), |coll| format!("{db}.{coll}"));
        return Err(Error { namespace, topic });
    }
    Ok(topic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Piece;

    fn template() -> Template {
        Template {
            pieces: vec![
                Piece::Text("cdc.".into()),
                Piece::Database,
                Piece::Text(".".into()),
                Piece::Collection,
            ],
        }
    }

    #[test]
    fn a_collection_gets_the_template_filled_in() {
        assert_eq!(topic(&template(), "shop", Some("orders.eu")), Ok("cdc.shop.orders.eu".into()));
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
}
