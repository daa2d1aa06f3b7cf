//! What the server says of a namespace that is to be written to, and time-series collections made.
//!
//! Each function asks once and remembers nothing; what the replies mean is decided by pure functions.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use mongodb::Client;

use crate::{
    config::{Granularity, TimeSeries},
    mongo::{self, codes},
    namespace::Namespace,
    retry::Failure,
};

/// A namespace as the server has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Collection {
    /// What it is.
    pub kind: Kind,
    /// How it is spread over shards.
    pub shard_key: ShardKey,
    /// What its documents have to match, if anything.
    pub validator: Option<Document>,
}

/// What a namespace is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing yet.
    Missing,
    /// A collection.
    Ordinary,
    /// A time-series collection.
    TimeSeries {
        /// The field that has the time.
        time_field: String,
        /// The field that has what the series are told apart by.
        meta_field: Option<String>,
    },
    /// A view.
    View,
}

/// How a collection is spread over shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardKey {
    /// It is not.
    None,
    /// By these fields, as dotted paths in the order of the key.
    Fields(Vec<String>),
    /// The deployment is sharded, and the user may not read `config.collections`.
    Unknown,
}

/// What the namespace is, and how it is sharded.
///
/// # Errors
/// When the deployment does not answer, or the user may not list collections.
pub async fn look_up(client: &Client, namespace: &Namespace) -> Result<Collection, Failure> {
    let found = listed(client, namespace).await?;
    Ok(Collection {
        kind: kind(found.as_ref()),
        validator: found.as_ref().and_then(|entry| option(entry, "validator")),
        shard_key: shard_key(client, namespace).await?,
    })
}

/// What the namespace is, and the collation in which its `_id`s are ordered, if it has one of its own.
///
/// # Errors
/// When the deployment does not answer, or the user may not list collections.
pub async fn kind_and_collation(
    client: &Client,
    namespace: &Namespace,
) -> Result<(Kind, Option<Document>), Failure> {
    let found = listed(client, namespace).await?;
    Ok((kind(found.as_ref()), found.as_ref().and_then(|entry| option(entry, "collation"))))
}

/// How the namespace is sharded.
///
/// # Errors
/// When the deployment does not answer.
pub async fn shard_key(client: &Client, namespace: &Namespace) -> Result<ShardKey, Failure> {
    let collections = client.database("config").collection::<Document>("collections");
    match collections.find_one(doc! { "_id": namespace.to_string() }).await {
        Ok(entry) => Ok(key(entry.as_ref())),
        Err(error) if mongo::code(&error) == Some(codes::UNAUTHORIZED) => {
            let key = unread(&mongo::hello(client).await?);
            if key == ShardKey::Unknown {
                say_once(namespace);
            }
            Ok(key)
        }
        Err(error) => Err(mongo::failure(&format!("cannot read the shard key of {namespace}"), &error)),
    }
}

/// Makes a time-series collection. One that is there already with the same time field will do.
///
/// # Errors
/// When the name is taken by something else, the server refuses the options, or does not answer.
pub async fn create_time_series(
    client: &Client,
    namespace: &Namespace,
    wanted: &TimeSeries,
) -> Result<(), Failure> {
    let created = client.database(&namespace.db).run_command(create(namespace, wanted)).await;
    let Err(error) = created else { return Ok(()) };
    let what = || format!("cannot create the time-series collection {namespace}");
    match mongo::code(&error) {
        Some(codes::NAMESPACE_EXISTS) => {
            judge_existing(namespace, wanted, &kind(listed(client, namespace).await?.as_ref()))
        }
        Some(
            codes::BAD_VALUE
            | codes::FAILED_TO_PARSE
            | codes::TYPE_MISMATCH
            | codes::INVALID_OPTIONS
            | codes::INVALID_NAMESPACE
            | codes::COMMAND_NOT_SUPPORTED
            | codes::UNKNOWN_FIELD,
        ) => Err(Failure::stop(format!(
            "{}: {}; check its options, and that the server is 5.0 or later",
            what(),
            mongo::describe(&error)
        ))),
        _ => Err(mongo::failure(&what(), &error)),
    }
}

/// The server's entry for the namespace, if it has one.
async fn listed(client: &Client, namespace: &Namespace) -> Result<Option<Document>, Failure> {
    let command = doc! { "listCollections": 1, "filter": { "name": &namespace.coll } };
    let found = match client.database(&namespace.db).run_cursor_command(command).await {
        Ok(mut entries) => entries.try_next().await,
        Err(error) => Err(error),
    };
    found.map_err(|error| mongo::failure(&format!("cannot look {namespace} up"), &error))
}

/// What an entry of `listCollections` says.
fn kind(entry: Option<&Document>) -> Kind {
    let Some(entry) = entry else { return Kind::Missing };
    match entry.get_str("type") {
        Ok("view") => Kind::View,
        Ok("timeseries") => {
            let options =
                entry.get_document("options").and_then(|options| options.get_document("timeseries"));
            let field = |name| options.as_ref().ok().and_then(|options| options.get_str(name).ok());
            Kind::TimeSeries {
                time_field: field("timeField").unwrap_or_default().to_owned(),
                meta_field: field("metaField").map(str::to_owned),
            }
        }
        _ => Kind::Ordinary,
    }
}

/// A document among the options of an entry; `None` for one that says nothing.
fn option(entry: &Document, name: &str) -> Option<Document> {
    let option = entry.get_document("options").and_then(|options| options.get_document(name));
    option.ok().filter(|option| !option.is_empty()).cloned()
}

/// What an entry of `config.collections` says: <https://www.mongodb.com/docs/manual/reference/config-database/>.
fn key(entry: Option<&Document>) -> ShardKey {
    let Some(entry) = entry else { return ShardKey::None };
    // Servers before 5.0 keep the entries of dropped collections, 8.0 has entries of collections that are not sharded.
    let is_set = |name| entry.get_bool(name).unwrap_or_default();
    match entry.get_document("key") {
        Ok(key) if !is_set("dropped") && !is_set("unsplittable") => {
            ShardKey::Fields(key.keys().cloned().collect())
        }
        _ => ShardKey::None,
    }
}

/// What is known where `config.collections` may not be read. A replica set has no shards.
fn unread(hello: &Document) -> ShardKey {
    match hello.get_str("msg") {
        Ok("isdbgrid") => ShardKey::Unknown,
        _ => ShardKey::None,
    }
}

fn say_once(namespace: &Namespace) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Relaxed) {
        tracing::warn!(
            %namespace,
            "shard keys are unknown: the MongoDB user may not read config.collections; give it find there"
        );
    }
}

fn create(namespace: &Namespace, wanted: &TimeSeries) -> Document {
    let mut time_series = doc! { "timeField": &wanted.time_field };
    time_series.extend(wanted.meta_field.iter().map(|field| ("metaField".to_owned(), Bson::from(field))));
    let granularity = match wanted.granularity {
        Granularity::Default => None,
        Granularity::Seconds => Some("seconds"),
        Granularity::Minutes => Some("minutes"),
        Granularity::Hours => Some("hours"),
    };
    time_series.extend(granularity.map(|unit| ("granularity".to_owned(), Bson::from(unit))));
    let mut command = doc! { "create": &namespace.coll, "timeseries": time_series };
    if let Some(expire_after) = wanted.expire_after {
        let seconds = i64::try_from(expire_after.as_secs()).unwrap_or(i64::MAX);
        command.insert("expireAfterSeconds", seconds);
    }
    command
}

/// Whether what has the name already will do.
fn judge_existing(namespace: &Namespace, wanted: &TimeSeries, found: &Kind) -> Result<(), Failure> {
    let is = match found {
        Kind::TimeSeries { time_field, .. } if *time_field == wanted.time_field => return Ok(()),
        Kind::TimeSeries { time_field, .. } => {
            format!(
                "a time-series collection whose time field is {time_field:?}, not {:?}",
                wanted.time_field
            )
        }
        Kind::Ordinary => "an ordinary collection".to_owned(),
        Kind::View => "a view".to_owned(),
        Kind::Missing => {
            // Dropped since: the next attempt makes it.
            return Err(Failure::retry(format!("{namespace} was dropped while it was to be created")));
        }
    };
    Err(Failure::stop(format!(
        "{namespace} is to be a time-series collection, but is {is}; rename or drop it, or change the sink's settings"
    )))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::retry::Verdict;

    fn wanted() -> TimeSeries {
        TimeSeries {
            time_field: "at".into(),
            meta_field: None,
            granularity: Granularity::Default,
            expire_after: None,
            convert: false,
            date_format: crate::sink::shape::date::DatePattern::default(),
        }
    }

    fn namespace() -> Namespace {
        Namespace { db: "d".into(), coll: "c".into() }
    }

    fn time_series(time_field: &str) -> Kind {
        Kind::TimeSeries { time_field: time_field.into(), meta_field: None }
    }

    #[test]
    fn an_entry_of_the_list_says_what_a_namespace_is() {
        let time = doc! { "timeField": "at", "metaField": "sensor", "granularity": "seconds" };
        for (entry, expected) in [
            (None, Kind::Missing),
            (Some(doc! { "name": "c", "type": "collection", "options": {} }), Kind::Ordinary),
            (Some(doc! { "name": "c" }), Kind::Ordinary),
            (Some(doc! { "type": "view", "options": { "viewOn": "x" } }), Kind::View),
            (
                Some(doc! { "type": "timeseries", "options": { "timeseries": time } }),
                Kind::TimeSeries { time_field: "at".into(), meta_field: Some("sensor".into()) },
            ),
        ] {
            assert_eq!(kind(entry.as_ref()), expected, "{entry:?}");
        }
    }

    #[test]
    fn a_validator_is_there_unless_it_is_empty() {
        let entry = |validator: Document| doc! { "options": { "validator": validator } };
        assert_eq!(option(&entry(doc! { "a": 1 }), "validator"), Some(doc! { "a": 1 }));
        assert_eq!(option(&entry(doc! {}), "validator"), None);
        assert_eq!(option(&doc! {}, "validator"), None);
    }

    #[test]
    fn an_entry_of_the_cluster_says_the_shard_key() {
        let fields = |names: &[&str]| ShardKey::Fields(names.iter().map(ToString::to_string).collect());
        for (entry, expected) in [
            (None, ShardKey::None),
            (Some(doc! { "key": { "a.b": 1, "c": "hashed" }, "unique": false }), fields(&["a.b", "c"])),
            (Some(doc! { "key": { "_id": 1 }, "dropped": true }), ShardKey::None),
            (Some(doc! { "key": { "_id": 1 }, "unsplittable": true }), ShardKey::None),
            (Some(doc! { "dropped": false }), ShardKey::None),
        ] {
            assert_eq!(key(entry.as_ref()), expected, "{entry:?}");
        }
    }

    #[test]
    fn without_the_right_a_key_is_unknown_only_where_there_are_shards() {
        assert_eq!(unread(&doc! { "msg": "isdbgrid" }), ShardKey::Unknown);
        assert_eq!(unread(&doc! { "setName": "rs0" }), ShardKey::None);
    }

    #[test]
    fn only_options_that_are_given_are_sent() {
        let mut wanted = wanted();
        assert_eq!(
            create(&namespace(), &wanted),
            doc! { "create": "c", "timeseries": { "timeField": "at" } }
        );
        wanted.meta_field = Some("m".into());
        wanted.granularity = Granularity::Hours;
        wanted.expire_after = Some(Duration::from_secs(90));
        let time_series = doc! { "timeField": "at", "metaField": "m", "granularity": "hours" };
        let expected = doc! { "create": "c", "timeseries": time_series, "expireAfterSeconds": 90_i64 };
        assert_eq!(create(&namespace(), &wanted), expected);
    }

    #[test]
    fn what_has_the_name_already_will_do_or_is_named() {
        let wanted = wanted();
        let judged = |kind: &Kind| {
            judge_existing(&namespace(), &wanted, kind).map_err(|failure| (failure.verdict, failure.message))
        };
        assert_eq!(judged(&time_series("at")), Ok(()));
        for (kind, words) in [
            (time_series("when"), "time field is \"when\", not \"at\""),
            (Kind::Ordinary, "an ordinary collection"),
            (Kind::View, "a view"),
        ] {
            let (verdict, message) = judged(&kind).expect_err("it will not do");
            assert_eq!(verdict, Verdict::Stop);
            assert!(message.contains("d.c") && message.contains(words), "{message}");
        }
        assert!(judged(&Kind::Missing).is_err_and(|(verdict, _)| verdict == Verdict::Retry));
    }
}
