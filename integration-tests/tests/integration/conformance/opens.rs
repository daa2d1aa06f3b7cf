//! A stand-in server: it answers what is sent to open a stream, hands out the events of the case, and fails where the case
//! says so. What is sent, what an error means and what becomes of an event is for the daemon's own code to say.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bson::{Bson, Document, doc};
use millrace::{
    config::{self, ClusterTime, HistoryLost, LargeEvent, SnapshotMode, Start},
    position::{Position, ResumeToken},
    raw,
    source::{
        heartbeat::{self, Heartbeat},
        watch::{self, Ending, Extent, Opening, Scope},
    },
    takeover::{self, Stored},
};
use mongodb::error::{CommandError, Error, ErrorKind};

use super::{
    Mismatch,
    cases::Case,
    records::{Sender, Sent},
};

/// Stands for the time at which a stream is opened that has no other.
const NOW: ClusterTime = ClusterTime { seconds: u32::MAX, increment: 1 };

/// What a source has done.
pub(super) struct Run {
    pub(super) sent: Vec<Sent>,
    opens: Vec<Document>,
    /// What ended it.
    fails: Option<String>,
    /// Where it went another way than the connector.
    deviations: Vec<&'static str>,
    is_copy: bool,
}

struct Driver<'a> {
    case: &'a Case,
    settings: &'a config::Source,
    scope: Scope,
    position: Position,
    is_open: bool,
    open_outcomes: VecDeque<&'a Document>,
    next_outcomes: VecDeque<&'a Document>,
    events: VecDeque<&'a Document>,
    sender: Sender<'a>,
    run: Run,
}

/// Runs the source of the case for as many polls as it says.
pub(super) fn drive(case: &Case, settings: &config::Source) -> Result<Run, Mismatch> {
    let (position, is_copy) = first_position(case, settings)?;
    let before = case.input.get_document("eventBeforeCopy").ok();
    let run = Run { sent: Vec::new(), opens: Vec::new(), fails: None, deviations: Vec::new(), is_copy };
    let mut driver = Driver {
        case,
        settings,
        scope: watch::scope(&settings.streamed()),
        position,
        is_open: false,
        open_outcomes: case.documents("openOutcomes").collect(),
        next_outcomes: case.documents("nextOutcomes").collect(),
        events: before.into_iter().chain(case.documents("events")).collect(),
        sender: Sender::new(settings),
        run,
    };
    if is_copy {
        driver.copy()?;
    }
    driver.polls()?;
    Ok(driver.run)
}

/// Where the source starts, and whether it copies first.
fn first_position(case: &Case, settings: &config::Source) -> Result<(Position, bool), Mismatch> {
    let start = match &settings.start {
        Start::Latest => Position::at_time(0, NOW),
        Start::At(time) => Position::at_time(0, *time),
        Start::After(data) => Position::at_time(0, NOW).after(ResumeToken::from_data(data)),
    };
    let copies = settings.snapshot.mode != SnapshotMode::Off;
    match case.input.get_document("storedOffset") {
        Err(_) => Ok((start, copies)),
        Ok(offset) => match stored(offset)? {
            Stored::Token(token) => Ok((start.after(token), false)),
            Stored::Copying => Ok((start, copies)),
        },
    }
}

/// What a take-over reads from an offset of Connect's.
pub(super) fn stored(offset: &Document) -> Result<Stored, Mismatch> {
    let text = |value: &Bson| serde_json::Value::from(value.as_str().unwrap_or_default());
    let value: serde_json::Map<_, _> = offset.iter().map(|(key, value)| (key.clone(), text(value))).collect();
    let value = serde_json::Value::from(value).to_string();
    match takeover::read(br#"["connector", {"ns": "x"}]"#, value.as_bytes()) {
        Ok(Some(offset)) => Ok(offset.stored),
        other => Err(Mismatch::plain(format!("the offset {value} reads as {other:?}"))),
    }
}

impl Driver<'_> {
    fn copy(&mut self) -> Result<(), Mismatch> {
        let empty = Document::new();
        for (namespace, documents) in self.case.input.get_document("collections").unwrap_or(&empty) {
            for document in documents.as_array().into_iter().flatten().filter_map(Bson::as_document) {
                self.run.sent.extend(self.sender.row(namespace, document)?);
            }
        }
        Ok(())
    }

    fn polls(&mut self) -> Result<(), Mismatch> {
        let polls = self.case.input.get_i32("polls").unwrap_or(1);
        let start = Instant::now();
        let mut heartbeat = self.settings.heartbeat.clone().map(|settings| Heartbeat::new(settings, start));
        let mut now = start;
        for _ in 0..polls {
            let sent_before = self.run.sent.len();
            self.poll()?;
            if self.run.fails.is_some() {
                break;
            }
            now += self
                .settings
                .heartbeat
                .as_ref()
                .map_or(Duration::ZERO, |it| it.interval + Duration::from_millis(1));
            let has_records = self.run.sent.len() > sent_before;
            let Some(heartbeat) = heartbeat.as_mut().filter(|_| self.is_open) else { continue };
            if let Some(token) = self.position.token.clone()
                && heartbeat.is_due(has_records, &token, now)
            {
                let mut key = Vec::new();
                heartbeat::write_key(&token, &mut key).map_err(|error| Mismatch::plain(error.to_string()))?;
                self.run.sent.push(Sent {
                    topic: heartbeat.topic().into(),
                    key,
                    value: None,
                    token: Some(token),
                });
            }
        }
        Ok(())
    }

    /// Opens the stream where it is not open, and reads what there is.
    fn poll(&mut self) -> Result<(), Mismatch> {
        while !self.is_open {
            self.open();
            match self.open_outcomes.pop_front().and_then(code) {
                None => self.is_open = true,
                Some(error) => {
                    if !self.goes_on_at_once(&error) {
                        return Ok(());
                    }
                }
            }
        }
        if let Some(error) = self.next_outcomes.pop_front().and_then(code) {
            self.is_open = false;
            self.goes_on_at_once(&error);
            return Ok(());
        }
        let mut was_read = false;
        while let Some(event) = self.events.pop_front() {
            was_read = true;
            match self.sender.event(event) {
                Ok(sent) => self.run.sent.extend(sent),
                Err(error) => {
                    self.run.fails = Some(error);
                    return Ok(());
                }
            }
            self.position = self.position.after(token(event.get_document("_id").ok())?);
            if event.get_str("operationType").ok() == Some("invalidate") {
                self.run.deviations.push("invalidate");
                self.is_open = false;
                return Ok(());
            }
        }
        if !was_read && let Ok(after) = self.case.input.get_document("postBatchResumeToken") {
            self.position = self.position.after(token(Some(after))?);
        }
        Ok(())
    }

    /// Notes what would be sent.
    fn open(&mut self) {
        let opening = Opening::new(
            self.settings,
            &self.scope,
            &self.position,
            false,
            Extent::Whole(self.settings.stream.batch_size),
        );
        let options = opening.options();
        let first =
            opening.stages[0].get_document("$changeStream").expect("the first stage opens the stream");
        let mut open = first.clone();
        open.remove("allChangesForCluster");
        open.insert(
            "watch",
            match &self.scope {
                Scope::Collection(namespace) => format!("collection:{namespace}"),
                Scope::Database(db) => format!("database:{db}"),
                Scope::Deployment => "cluster".into(),
            },
        );
        if opening.stages.len() > 1 {
            let stages: Vec<Bson> = opening.stages[1..].iter().cloned().map(Bson::from).collect();
            open.insert("pipeline", stages);
        }
        let milliseconds = options.max_await_time.unwrap_or_default().as_millis();
        open.insert("maxAwaitTimeMS", i64::try_from(milliseconds).unwrap_or(i64::MAX));
        open.insert("batchSize", i64::from(opening.batch_size));
        if let Some(collation) = options.collation {
            open.insert("collation", bson::serialize_to_bson(&collation).expect("a collation is a document"));
        }
        self.run.opens.push(open);
    }

    /// Does what the daemon does at the end of a cursor; whether it opens the stream again before it waits.
    fn goes_on_at_once(&mut self, error: &Error) -> bool {
        match watch::judge(self.settings, &self.position, error) {
            Ending::Passes(_) => {
                self.run.deviations.push("retried");
                false
            }
            Ending::TokenRefused(_) if self.position.token.is_some() => {
                self.run.deviations.push("token_refused");
                self.position = Position::at_time(0, self.position.time);
                true
            }
            Ending::TokenRefused(reason) | Ending::HistoryLost(reason) => {
                match self.settings.on_history_lost {
                    HistoryLost::Fail => self.run.fails = Some(reason),
                    HistoryLost::Latest | HistoryLost::Snapshot => self.position = Position::at_time(1, NOW),
                }
                self.run.fails.is_none()
            }
            Ending::TooLarge(reason) => {
                match self.settings.errors.event_too_large {
                    LargeEvent::Fail => self.run.fails = Some(reason),
                    LargeEvent::Reduce | LargeEvent::DeadLetter | LargeEvent::Skip => {
                        self.run.deviations.push("event_too_large");
                    }
                }
                self.run.fails.is_none()
            }
            Ending::Stops(failure) => {
                self.run.deviations.push("stops");
                self.run.fails = Some(failure.to_string());
                false
            }
        }
    }
}

/// The server's error, where the outcome is one.
fn code(outcome: &Document) -> Option<Error> {
    let code = outcome.get_i32("code").ok()?;
    let reply =
        doc! { "code": code, "codeName": "", "errmsg": outcome.get_str("message").unwrap_or_default() };
    let error: CommandError = bson::deserialize_from_document(reply).expect("a server's error");
    Some(ErrorKind::Command(error).into())
}

fn token(token: Option<&Document>) -> Result<ResumeToken, Mismatch> {
    let token = token.ok_or_else(|| Mismatch::plain("an event without a token"))?;
    let bytes = bson::serialize_to_vec(token).expect("a document");
    let token = raw::Document::new(&bytes).and_then(ResumeToken::new);
    token.map_err(|error| Mismatch::plain(error.to_string()))
}

/// Compares what was sent to open streams, and whether the source stopped. Where the daemon went another way, what it sent
/// has to be the same but for where it starts, and how often; what it sent before has to be the same in all.
pub(super) fn compare(case: &Case, run: &Run) -> Result<(), Mismatch> {
    let deviation = run.deviations.first().copied();
    let opens = compare_opens(case, run, deviation);
    if matches!(opens, Err(Mismatch { deviation: None, .. })) {
        return opens;
    }
    if let Ok(fails) = case.expect.get_bool("taskFails")
        && fails != run.fails.is_some()
    {
        let message = format!("the source ends with {:?}", run.fails);
        return Err(match deviation {
            Some("stops") if !fails => Mismatch::explained("stops", message),
            Some(kind @ ("token_refused" | "retried" | "event_too_large")) if fails => {
                Mismatch::explained(kind, message)
            }
            _ => Mismatch::plain(message),
        });
    }
    if case.input.contains_key("copyPipelineFor") {
        return Err(Mismatch::explained("copy_pipeline", "there is no such pipeline"));
    }
    opens
}

fn compare_opens(case: &Case, run: &Run, deviation: Option<&'static str>) -> Result<(), Mismatch> {
    let Ok(expected) = case.expect.get_array("opens") else { return Ok(()) };
    let expected = expected.iter().filter_map(Bson::as_document).filter(|open| !open.contains_key("probe"));
    let expected: Vec<Document> = expected.map(|open| normal(open, run.is_copy)).collect();
    let own: Vec<Document> = run.opens.iter().map(|open| normal(open, run.is_copy)).collect();
    let message = || format!("opened {own:?} instead of {expected:?}");
    let both = || own.iter().zip(&expected);
    if own.len() == expected.len() && both().all(|(own, expected)| is_as(own, expected)) {
        return Ok(());
    }
    let is_first_as = both().take(1).all(|(own, expected)| is_as(own, expected));
    let are_others_alike = both().all(|(own, expected)| is_as(&without_start(own), &without_start(expected)));
    match deviation.filter(|_| is_first_as && are_others_alike) {
        Some(deviation) => Err(Mismatch::explained(deviation, message())),
        None => Err(Mismatch::plain(message())),
    }
}

fn without_start(open: &Document) -> Document {
    let mut open = open.clone();
    open.remove("startAfter");
    open.remove("startAtOperationTime");
    open
}

/// The options, those that are the server's own defaults left out.
fn normal(open: &Document, is_copy: bool) -> Document {
    let mut open = open.clone();
    let is = |open: &Document, key: &str, values: &[&str]| {
        open.get_str(key).is_ok_and(|value| values.contains(&value))
    };
    if open.get_bool("showExpandedEvents").ok() == Some(false) {
        open.remove("showExpandedEvents");
    }
    if is(&open, "fullDocument", &["default"]) {
        open.remove("fullDocument");
    }
    if is(&open, "fullDocumentBeforeChange", &["default", "off"]) {
        open.remove("fullDocumentBeforeChange");
    }
    if let Ok(collation) = open.get_document("collation") {
        let collation: Result<mongodb::options::Collation, _> =
            bson::deserialize_from_document(collation.clone());
        let collation = collation.ok().and_then(|collation| bson::serialize_to_bson(&collation).ok());
        open.insert("collation", collation);
    }
    if open.get_timestamp("startAtOperationTime").is_ok_and(|time| time.time == NOW.seconds) {
        open.remove("startAtOperationTime");
    }
    // A snapshot needs no token from before it: it knows the time at which it reads.
    if is_copy {
        open.remove("startAfter");
    }
    open
}

/// Whether all is as expected. The size of replies is only looked at where it is asked for.
fn is_as(own: &Document, expected: &Document) -> bool {
    let keys = |document: &Document| -> Vec<String> {
        let keys = document.keys().filter(|key| *key != "batchSize").cloned();
        let mut keys: Vec<String> = keys.collect();
        keys.sort();
        keys
    };
    let number = |value: &Bson| value.as_i64().or_else(|| value.as_i32().map(i64::from));
    keys(own) == keys(expected)
        && expected.iter().all(|(key, value)| match (own.get(key), number(value)) {
            (Some(own), Some(expected)) => number(own) == Some(expected),
            (own, _) => own == Some(value),
        })
}
