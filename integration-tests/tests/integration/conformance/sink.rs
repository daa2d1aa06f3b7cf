//! Sink cases: each record through import and the stages that the daemon runs, before anything is folded.

use std::{collections::BTreeMap, sync::Arc};

use bson::{Bson, Document, doc};
use millrace::{
    config::{MissingDocument, Tolerance},
    import::{self, Connector},
    sink::{
        body::Body,
        dead_letter::Letter,
        delta::{self, Stages as DeltaStages},
        identify::Filter,
        plan::{Kind, Write},
        progress::{Partition, Place},
        record::{Record, Timestamp},
        stages::{Judged, Refusal, Stages},
        verdict::Reason,
    },
};

use super::{
    Mismatch,
    cases::{Case, topic_of},
    payload::{self, Format},
    same::{self, Binds},
    source,
};

/// What becomes of a record, as an entry of `expect.results`; a delta keeps its stages.
#[derive(Debug)]
struct Outcome {
    entry: Document,
    stages: Option<DeltaStages>,
}

/// The stages of a case, for each pair of formats among its records.
struct Runner<'a> {
    case: &'a Case,
    stages: BTreeMap<(Format, Format), Stages>,
}

/// Runs a case to its first expectation that is not met.
pub(super) fn run(file: &str, case: &Case) -> Result<(), Mismatch> {
    if let Some(key) = case.refused_key() {
        return source::refused(&import::import(&[case.connector()], None, None), key);
    }
    let mut runner = Runner { case, stages: BTreeMap::new() };
    if case.expect.contains_key("bulks") {
        return runner.bulks();
    }
    let expected = case.expect.get_array("results").map_or(&[][..], Vec::as_slice);
    let records: Vec<&Document> = case.documents("records").collect();
    source::equal("results", &records.len(), &expected.len())?;
    let mut binds = Binds::new();
    let mut deviation = None;
    for (index, (record, expected)) in records.into_iter().zip(expected).enumerate() {
        let expected = expected.as_document().ok_or_else(|| Mismatch::plain("a result is no document"))?;
        let own = runner.judge(index, record)?;
        let own = own.unwrap_or_else(|refusal| Outcome {
            entry: doc! { "op": "error", "message": refusal.to_string() },
            stages: None,
        });
        if is_met(case, &own, expected, &mut binds) {
            continue;
        }
        let message = format!("record {index}: {} instead of {expected}", own.entry);
        match explanation(file, record, &own.entry, expected) {
            Some(kind) => deviation = Some(Mismatch::explained(kind, message)),
            None => return Err(Mismatch::plain(message)),
        }
    }
    deviation.map_or(Ok(()), Err)
}

impl Runner<'_> {
    fn judge(&mut self, index: usize, record: &Document) -> Result<Result<Outcome, Refusal>, Mismatch> {
        let (key, value) = (record.get("key"), record.get("value"));
        let formats = (Format::of(key), Format::of(value));
        if !self.stages.contains_key(&formats) {
            let connector = connector(self.case, formats);
            let imported = import::import(&[connector], None, None);
            let mut settings = source::settings(self.case, &imported)?;
            let sink = Arc::new(settings.sinks.remove(0));
            self.stages.insert(formats, Stages::new(sink, Vec::new()));
        }
        let stages = self.stages.get_mut(&formats).expect("it was just put there");
        let number = |key: &str| record.get(key).and_then(same::whole);
        let partition = Partition {
            topic: topic_of(record).into(),
            number: number("partition").and_then(|number| i32::try_from(number).ok()).unwrap_or_default(),
        };
        let offset = number("offset").unwrap_or(i64::try_from(index).unwrap_or_default());
        let timestamp = match (number("timestamp"), record.get_str("timestampType")) {
            (None, _) => Timestamp::None,
            (Some(millis), Ok("LogAppendTime")) => Timestamp::LogAppend(millis),
            (Some(millis), _) => Timestamp::Create(millis),
        };
        let record = Record {
            place: Place { partition, offset },
            timestamp,
            key: payload::bytes(key).map_err(Mismatch::plain)?.map(Into::into),
            value: payload::bytes(value).map_err(Mismatch::plain)?.map(Into::into),
            headers: Vec::new(),
        };
        Ok(match stages.judge(&record) {
            Ok(Judged::Write(write)) => Ok(outcome(write)),
            Ok(Judged::Ddl(ddl)) => Ok(Outcome { entry: doc! { "op": ddl.operation }, stages: None }),
            Ok(Judged::Nothing(_)) => Ok(Outcome { entry: doc! { "op": "none" }, stages: None }),
            Err(refusal) => Err(refusal),
        })
    }

    /// What is written, by collection and in order; and which records become dead letters. How writes are put together is
    /// our own affair.
    fn bulks(&mut self) -> Result<(), Mismatch> {
        let mut own: BTreeMap<String, Vec<Bson>> = BTreeMap::new();
        let mut reported = Vec::new();
        let records: Vec<Document> = self.case.documents("records").cloned().collect();
        let mut fails = false;
        for (index, record) in records.iter().enumerate() {
            match self.judge(index, record)? {
                Ok(outcome) => {
                    let id =
                        ["filter", "document"].iter().find_map(|key| outcome.entry.get_document(key).ok());
                    let id = id.and_then(|filter| filter.get("_id")).cloned();
                    if let (Ok(ns), Some(id)) = (outcome.entry.get_str("ns"), id) {
                        own.entry(ns.to_owned()).or_default().push(id);
                    }
                }
                Err(_) => {
                    fails |= self.tolerance()? == Tolerance::None;
                    reported.push(index);
                }
            }
        }
        let expected_fails = self.case.expect.get_bool("taskFails").unwrap_or_default();
        let outcomes: Vec<&Document> = self.case.documents("bulkOutcomes").collect();
        if outcomes
            .iter()
            .any(|outcome| outcome.contains_key("timeout") || outcome.contains_key("commandError"))
        {
            return Err(Mismatch::explained("outage_retried", "an unreachable server is waited for"));
        }
        if outcomes.iter().any(|outcome| outcome.contains_key("writeConcernError")) {
            return Err(Mismatch::explained("outage_retried", "a write concern's error is no loss"));
        }
        if outcomes.iter().any(|outcome| outcome.contains_key("writeErrors")) {
            return self.refused(&outcomes);
        }
        source::equal("taskFails", &fails, &expected_fails)?;
        if fails {
            return Err(Mismatch::explained("polls_are_not_units", "records before the bad one are written"));
        }
        source::equal("reported", &reported.len(), &0)?;
        let mut expected: BTreeMap<String, Vec<Bson>> = BTreeMap::new();
        let bulks = self.case.expect.get_array("bulks").map_or(&[][..], Vec::as_slice);
        for bulk in bulks.iter().filter_map(Bson::as_document) {
            let ids = bulk.get_array("ids").cloned().unwrap_or_default();
            expected.entry(bulk.get_str("ns").unwrap_or_default().to_owned()).or_default().extend(ids);
        }
        source::equal("writes by collection", &own, &expected)?;
        if bulks.len() > expected.len() {
            return Err(Mismatch::explained("grouping", "the same writes in other bulks"));
        }
        Ok(())
    }

    /// What the dead letters of refused statements say.
    fn refused(&self, outcomes: &[&Document]) -> Result<(), Mismatch> {
        let expected = self.case.expect.get_array("reported").map_or(&[][..], Vec::as_slice);
        let expected: Vec<&Document> = expected.iter().filter_map(Bson::as_document).collect();
        if expected.iter().any(|report| report.get_str("class").is_ok_and(|class| class != "WriteException"))
        {
            let message = "a statement behind one that is refused is written, and not skipped";
            return Err(Mismatch::explained("single_writes", message));
        }
        let errors = outcomes.iter().filter_map(|outcome| outcome.get_array("writeErrors").ok()).flatten();
        let own: Vec<String> = errors
            .filter_map(Bson::as_document)
            .map(|error| {
                let text = |name| error.get_str(name).unwrap_or_default().to_owned();
                let reason = Reason {
                    code: error.get("code").and_then(same::whole).and_then(|code| i32::try_from(code).ok()),
                    message: text("message"),
                    details: same::text(error.get_document("details").unwrap_or(&Document::new())),
                };
                let place = Place { partition: Partition { topic: "t".into(), number: 0 }, offset: 0 };
                let (key, value, headers) = (None, None, Vec::new());
                let record = Record { place, timestamp: Timestamp::None, key, value, headers };
                let letter = Letter::refused(record, &reason);
                format!("{} {}", letter.class, letter.message)
            })
            .collect();
        let expected: Vec<String> = expected
            .iter()
            .map(|report| {
                let text = |name| report.get_str(name).unwrap_or_default();
                format!("{} {}", text("class"), text("message"))
            })
            .collect();
        source::equal("dead letters", &own, &expected)
    }

    fn tolerance(&self) -> Result<Tolerance, Mismatch> {
        let connector = connector(self.case, (Format::Text, Format::Text));
        let settings = source::settings(self.case, &import::import(&[connector], None, None))?;
        Ok(settings.sinks[0].errors.tolerance)
    }
}

/// The connector with the converters that deliver these formats.
pub(super) fn connector(case: &Case, (key, value): (Format, Format)) -> Connector {
    let mut connector = case.connector();
    for (name, format) in [("key.converter", key), ("value.converter", value)] {
        let (class, schemas) = format.converter();
        connector.config.insert(name.into(), class.into());
        connector.config.insert(format!("{name}.schemas.enable"), schemas.to_string());
    }
    connector
}

fn outcome(write: Write) -> Outcome {
    let Write { namespace, filter, kind, .. } = write;
    let filter = match filter {
        Filter::Id(id) => document(&id.to_document()),
        Filter::Fields(bytes) => document(&bytes),
    };
    let ns = namespace.to_string();
    let replace = |filter: Document, body: &Body| {
        let replacement = document(body.document().as_bytes());
        doc! { "op": "replaceOne", "ns": &ns, "filter": filter, "replacement": replacement, "upsert": true }
    };
    let mut stages = None;
    let entry = match kind {
        Kind::Insert(body) | Kind::Replace(body) | Kind::Literal(body) => replace(filter, &body),
        Kind::InsertOnly(body) => {
            doc! { "op": "insertOne", "ns": &ns, "document": document(body.document().as_bytes()) }
        }
        Kind::Delete => doc! { "op": "deleteOne", "ns": &ns, "filter": filter },
        Kind::Update(update) => {
            let upsert = update.missing == MissingDocument::Upsert;
            let own = document(&update.update);
            let own = if update.is_pipeline {
                Bson::Array(own.into_iter().map(|(_, stage)| stage).collect())
            } else {
                own.into()
            };
            doc! { "op": "updateOne", "ns": &ns, "filter": filter, "update": own, "upsert": upsert }
        }
        Kind::Delta { stages: delta, missing } => {
            let pipeline: Vec<Bson> = delta.iter().map(|stage| document(stage.as_bytes()).into()).collect();
            stages = Some(delta);
            let upsert = missing == MissingDocument::Upsert;
            doc! { "op": "updateOne", "ns": &ns, "filter": filter, "update": pipeline, "upsert": upsert }
        }
    };
    Outcome { entry, stages }
}

fn document(bytes: &[u8]) -> Document {
    Document::from_reader(bytes).expect("the stages make sound documents")
}

fn is_met(case: &Case, own: &Outcome, expected: &Document, binds: &mut Binds) -> bool {
    if is_error(expected) {
        return is_error(&own.entry);
    }
    // A map of Java's has lost the order of fields.
    let formats = case.documents("records").flat_map(|record| [record.get("key"), record.get("value")]);
    let is_ordered = formats.map(Format::of).all(|format| format != Format::Json);
    let Some(stages) = &own.stages else {
        return same::documents(expected, &own.entry, is_ordered, binds);
    };
    let without_update = |entry: &Document| {
        let mut entry = entry.clone();
        entry.remove("update");
        entry
    };
    let is_same = same::documents(&without_update(expected), &without_update(&own.entry), is_ordered, binds);
    is_same && expected.get_document("update").is_ok_and(|update| is_effect(update, stages))
}

fn is_error(entry: &Document) -> bool {
    entry.get_str("op").is_ok_and(|op| op == "error")
}

/// Whether `stages` do what `$set` and `$unset` do: they are what an event with these changes would be made into. That this
/// does the same is for a real server to say, in the tests of deltas.
fn is_effect(update: &Document, stages: &DeltaStages) -> bool {
    if update.keys().any(|operator| operator != "$set" && operator != "$unset") {
        return false;
    }
    let inner = |operator: &str| update.get_document(operator).cloned().unwrap_or_default();
    let removed: Vec<String> = inner("$unset").keys().cloned().collect();
    let description = doc! { "updatedFields": inner("$set"), "removedFields": removed };
    let bytes = description.to_vec().expect("a document");
    let description = millrace::raw::Document::new(&bytes).expect("a document");
    delta::compile(description).is_ok_and(|expected| expected == *stages)
}

/// The deviation that explains why `own` is not as `expected`.
fn explanation(file: &str, record: &Document, own: &Document, expected: &Document) -> Option<&'static str> {
    let op = |entry: &Document| entry.get_str("op").unwrap_or_default().to_owned();
    let value = record.get_document("value").ok();
    let event =
        value.and_then(|value| value.get_document("ejson").or_else(|_| value.get_document("data")).ok());
    let has_truncated = event
        .and_then(|event| event.get_document("updateDescription").ok())
        .and_then(|description| description.get_array("truncatedArrays").ok())
        .is_some_and(|arrays| !arrays.is_empty());
    let mut upserting = own.clone();
    upserting.insert("upsert", false);
    let is_event = file == "sink-cdc-mongodb-changestream";
    match (op(own).as_str(), op(expected).as_str()) {
        ("replaceOne", "replaceOne")
            if is_event && same::documents(expected, &upserting, true, &mut Binds::new()) =>
        {
            Some("full_document_upserts")
        }
        ("updateOne", "updateOne") if is_event && has_truncated => Some("truncated_arrays"),
        ("updateOne" | "none", "error")
            if is_event && event.is_some_and(|event| event.get("fullDocument") == Some(&Bson::Null)) =>
        {
            Some("lookup_found_nothing")
        }
        ("none", "error") if is_event && value.is_none() => Some("tombstone_after_delete"),
        ("replaceOne", "error") if file == "sink-cdc-debezium-mongodb" => Some("one_debezium_handler"),
        ("error", "replaceOne" | "updateOne") if file == "sink-renaming" => Some("no_field_is_lost"),
        ("error", "replaceOne") if file == "sink-id-strategies" && record.get_document("key").is_err() => {
            Some("no_key_no_id")
        }
        _ => None,
    }
}
