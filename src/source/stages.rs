//! The pure stages between a decoded change and what is sent: rewrite, route and encode, made from the settings once.

use std::mem;

use super::{
    decode::{self, Change},
    encode::{self, Buffers, Encoded, Encoder},
    route, snapshot,
};
use crate::{
    config::{self, NullLookup, PartitionBy},
    namespace::{Namespace, Pattern},
    raw::{self, Document},
    transform::{Compiled, Transform, Verdict},
};

/// The stages of one source.
#[derive(Debug)]
pub struct Stages {
    encoder: Encoder,
    topics: config::Topics,
    transform: Transform,
    null_lookup: NullLookup,
    require_full_document: Vec<Pattern>,
    require_before_change: Vec<Pattern>,
}

/// What all changes of a namespace have in common.
#[derive(Debug, Default)]
pub struct Plan {
    /// `db.coll`, or `db`.
    pub namespace: String,
    /// Their topic.
    pub topic: String,
    /// What chooses the partition, where it is not the key: this, modulo the number of partitions.
    pub partition_hash: Option<u32>,
    /// What is changed on the way; `None` where events pass as they are.
    transform: Option<Compiled>,
    /// Whether updates must carry the document.
    requires_full_document: bool,
    /// Whether updates, replaces and deletes must carry the document before the change.
    requires_before_change: bool,
}

impl Plan {
    /// For what is of no namespace: all of it goes to `topic`.
    pub(super) fn of_topic(topic: &str) -> Self {
        Self { topic: topic.to_owned(), ..Self::default() }
    }
}

impl Stages {
    /// The stages as the settings have them.
    pub fn new(settings: &config::Source) -> Self {
        Self {
            encoder: Encoder::new(&settings.record),
            topics: settings.topics.clone(),
            transform: Transform::compile(settings.transform.clone()),
            null_lookup: settings.stream.null_lookup,
            require_full_document: settings.stream.require_full_document.clone(),
            require_before_change: settings.stream.require_before_change.clone(),
        }
    }

    /// What changes of this namespace have in common; made once for each.
    ///
    /// # Errors
    /// When the topic's name is not one.
    pub fn plan(&self, db: &str, coll: Option<&str>) -> Result<Plan, route::Error> {
        let namespace = coll.map_or_else(|| db.to_owned(), |coll| format!("{db}.{coll}"));
        let is_in = |patterns: &[Pattern]| {
            coll.is_some_and(|coll| patterns.iter().any(|pattern| pattern.matches(db, coll)))
        };
        Ok(Plan {
            topic: route::topic(&self.topics, db, coll)?,
            partition_hash: match self.topics.partition_by {
                PartitionBy::Key => None,
                PartitionBy::Namespace => Some(route::partition_hash(namespace.as_bytes())),
            },
            transform: self.transform.for_namespace(db, coll.unwrap_or_default()),
            requires_full_document: is_in(&self.require_full_document),
            requires_before_change: is_in(&self.require_before_change),
            namespace,
        })
    }

    /// `change` as the rules of its namespace make it, in `out` where there are any; `None` where they drop it. To be done
    /// before all else, so that nothing that is masked is seen by what comes after, dead letters included.
    ///
    /// # Errors
    /// When the event is malformed or nested too deep.
    pub fn transform<'a>(
        change: &Change<'a>,
        plan: &Plan,
        out: &'a mut Vec<u8>,
    ) -> Result<Option<Change<'a>>, encode::Error> {
        let Some(rules) = &plan.transform else { return Ok(Some(*change)) };
        out.clear();
        if rules.event(change.event, out)? == Verdict::Drop {
            return Ok(None);
        }
        if change.snapshot {
            // What such an event has in the place of a token says the document's own _id.
            let event = snapshot::with_key_in_id(Document::new(out)?)?;
            *out = event;
        }
        let changed = decode::decode(Document::new(out)?)?;
        // Neither is in the event of a snapshot's row.
        Ok(Some(Change { snapshot: change.snapshot, time: change.time, ..changed }))
    }

    /// Writes the record of `change`, whose namespace has this plan, into `buffers`.
    ///
    /// # Errors
    /// When the format cannot hold the change, or an image is missing that must be there.
    pub fn encode(
        &self,
        change: &Change<'_>,
        plan: &Plan,
        buffers: &mut Buffers,
    ) -> Result<Encoded, encode::Error> {
        check_images(change, plan)?;
        // An update whose document was gone when it was looked up.
        if change.has_null_document && change.operation == "update" {
            match self.null_lookup {
                NullLookup::Keep => {}
                NullLookup::Drop => return Ok(Encoded::Nothing),
                NullLookup::Delta => return self.encode_without_document(change, plan, buffers),
            }
        }
        self.encoder.encode(change, plan, buffers)
    }

    fn encode_without_document(
        &self,
        change: &Change<'_>,
        plan: &Plan,
        buffers: &mut Buffers,
    ) -> Result<Encoded, encode::Error> {
        let mut event = mem::take(&mut buffers.event);
        let encoded = without_members(change.event, &[b"fullDocument"], &mut event)
            .map_err(encode::Error::from)
            .and_then(|event| {
                let change = Change { snapshot: change.snapshot, ..decode::decode(event)? };
                self.encoder.encode(&change, plan, buffers)
            });
        buffers.event = event;
        encoded
    }
}

/// The event that a snapshot makes of a document, whose collection has no shard key.
///
/// # Errors
/// When the document is not sound BSON.
pub fn row(namespace: &Namespace, document: Document<'_>) -> Result<Vec<u8>, raw::Error> {
    snapshot::write_row(namespace, &[], document, Vec::new())
}

/// Whether the change has the images that its namespace asks for. Rows of a snapshot are the document.
fn check_images(change: &Change<'_>, plan: &Plan) -> Result<(), encode::Error> {
    if change.snapshot {
        return Ok(());
    }
    if plan.requires_full_document && change.operation == "update" && change.full_document.is_none() {
        return Err(encode::Error::MissingImage("fullDocument"));
    }
    if plan.requires_before_change
        && matches!(change.operation, "update" | "replace" | "delete")
        && change.before_change.is_none()
    {
        return Err(encode::Error::MissingImage("fullDocumentBeforeChange"));
    }
    Ok(())
}

/// `document` without its members of these names; it is in `out`, unless it has to lose nothing.
pub(super) fn without_members<'a>(
    document: Document<'a>,
    names: &[&[u8]],
    out: &'a mut Vec<u8>,
) -> Result<Document<'a>, raw::Error> {
    if names.is_empty() {
        return Ok(document);
    }
    let mut reused = mem::take(out);
    reused.clear();
    let mut writer = raw::Writer::new(reused);
    writer.begin();
    for element in document.elements() {
        let element = element?;
        if !names.contains(&element.name) {
            writer.value(element.name, element.kind, element.value);
        }
    }
    writer.end();
    *out = writer.into_bytes();
    Document::new(out)
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, rawdoc};

    use super::*;
    use crate::{
        config::ClusterTime,
        namespace::Patterns,
        transform::{Path, Predicate, Rule},
    };

    fn plan() -> Plan {
        let namespaces = Patterns::parse(&["d.c"], &[]).expect("a pattern");
        let drop = Predicate::parse(r#"{"operationType": "delete"}"#).expect("a condition");
        let redact = vec![Path::parse("a").expect("a path")];
        let rule = Rule { drop: Some(drop), redact, ..Rule::new(namespaces) };
        Plan { transform: Transform::compile(vec![rule]).for_namespace("d", "c"), ..Plan::default() }
    }

    fn event(operation: &str) -> RawDocumentBuf {
        rawdoc! {
            "_id": {"_data": "82"}, "operationType": operation, "ns": {"db": "d", "coll": "c"},
            "documentKey": {"_id": 1}, "fullDocument": {"_id": 1, "a": 2},
        }
    }

    #[test]
    fn a_row_is_changed_by_its_rules_and_stays_a_row_of_its_time() {
        let event = event("insert");
        let change = decode::decode(Document::new(event.as_bytes()).expect("a document")).expect("an event");
        let time = Some(ClusterTime { seconds: 7, increment: 1 });
        let (row, mut out) = (Change { snapshot: true, time, ..change }, b"before".to_vec());
        let changed = Stages::transform(&row, &plan(), &mut out).expect("sound").expect("kept");
        assert!(changed.snapshot && changed.time == time);
        let document = changed.full_document.expect("a document");
        let masked = document.get("a").expect("sound").and_then(raw::Element::as_str);
        assert_eq!(masked, Some("[redacted]"));
    }

    #[test]
    fn an_event_is_dropped_by_its_rule_and_passes_as_it_is_without_one() {
        let event = event("delete");
        let change = decode::decode(Document::new(event.as_bytes()).expect("a document")).expect("an event");
        assert!(Stages::transform(&change, &plan(), &mut Vec::new()).expect("sound").is_none());
        let mut out = Vec::new();
        let same = Stages::transform(&change, &Plan::default(), &mut out).expect("sound").expect("kept");
        assert_eq!(same.event.as_bytes(), event.as_bytes());
    }
}
