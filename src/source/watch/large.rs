//! The event right after the position does not fit into a reply, and the server cannot split it: what is sent instead.

use std::sync::atomic::Ordering::Relaxed;

use mongodb::error::Error;
use tokio::sync::mpsc;

use super::{
    Batch, Content,
    judge::{Ending, judge},
    opening::{Extent, Reduction},
    parse,
    reader::{ReadError, Reader},
    split::Joiner,
};
use crate::{
    config::{self, LargeEvent, RecordValue},
    position::ResumeToken,
    raw::{self, Document, Element, Writer},
    retry::Failure,
};

const BEFORE: &[&str] = &["fullDocumentBeforeChange"];
const BEFORE_AND_UPDATE: &[&str] = &["fullDocumentBeforeChange", "updateDescription"];
const IMAGES: &[&str] = &["fullDocumentBeforeChange", "fullDocument"];
const ALL: &[&str] = &["fullDocumentBeforeChange", "fullDocument", "updateDescription"];

/// What is tried in turn, so that as much as possible of the event is kept. Values that are the document cannot do
/// without it.
fn reductions(errors: &config::Errors, value: RecordValue) -> &'static [Reduction] {
    const REDUCED: &[Reduction] = &[
        Reduction::Without(BEFORE),
        Reduction::Without(BEFORE_AND_UPDATE),
        Reduction::Without(IMAGES),
        Reduction::Without(ALL),
        Reduction::WithoutLooking(ALL),
    ];
    match (errors.event_too_large, value) {
        (LargeEvent::Reduce, RecordValue::Event) => REDUCED,
        (LargeEvent::Reduce, RecordValue::Document | RecordValue::Debezium) => &REDUCED[..2],
        (LargeEvent::Fail | LargeEvent::Skip | LargeEvent::DeadLetter, _) => {
            &[Reduction::Essence, Reduction::EssenceWithoutLooking]
        }
    }
}

impl Reader {
    /// Passes over the event after the position, which does not fit: hands on what can be had of it.
    ///
    /// # Errors
    /// The outer one when it cannot be had at all, the inner one when that may pass.
    pub(super) async fn pass_over(
        &mut self,
        reason: &str,
        sender: &mpsc::Sender<Batch>,
    ) -> Result<Result<(), ReadError>, Failure> {
        for &reduction in reductions(&self.settings.errors, self.settings.record.value) {
            match self.read_one(reduction).await {
                Ok(Some(event)) => return Ok(self.hand_on_part(event, reduction, reason, sender).await),
                // It is gone, or fits now.
                Ok(None) => return Ok(Ok(())),
                Err(ReadError::Driver(error) | ReadError::Opening { error, .. })
                    if self.is_too_large(&error) => {}
                Err(error) => return Ok(Err(error)),
            }
        }
        Err(Failure::stop(format!(
            "source {}: the change after {} does not fit into 16 MB, not even reduced ({reason}); {}",
            self.settings.name, self.position, "set errors.event_too_large to \"dead_letter\" or \"skip\""
        )))
    }

    fn is_too_large(&self, error: &Error) -> bool {
        matches!(judge(&self.settings, &self.position, error), Ending::TooLarge(_))
    }

    /// The first event after the position, reduced; `None` if there is none.
    async fn read_one(&self, reduction: Reduction) -> Result<Option<Vec<u8>>, ReadError> {
        let (mut cursor, _) = self.open(Extent::One(reduction)).await?;
        let mut joiner = Joiner::default();
        loop {
            let Some(reply) = self.next(&mut cursor).await? else { return Ok(None) };
            let events = parse(&reply)?.events;
            let joined = joiner.take(events)?;
            let waits = joined.as_ref().is_some_and(|joined| joined.waits);
            let events = match &joined {
                Some(joined) => Document::new(&joined.events)?,
                None => events,
            };
            match events.elements().next().transpose()?.and_then(Element::as_document) {
                Some(event) => return Ok(Some(event.as_bytes().to_vec())),
                None if waits => {}
                None => return Ok(None),
            }
        }
    }

    async fn hand_on_part(
        &mut self,
        event: Vec<u8>,
        reduction: Reduction,
        reason: &str,
        sender: &mpsc::Sender<Batch>,
    ) -> Result<(), ReadError> {
        let event = Document::new(&event)?;
        let token = event.get("_id")?.and_then(Element::as_document);
        let token = token.ok_or(raw::Error { at: 4, what: "an event has no token" })?;
        self.position = self.position.after(ResumeToken::new(token)?);
        let (events, too_large) = match reduction {
            Reduction::Without(members) | Reduction::WithoutLooking(members) => {
                self.metrics.reduced.fetch_add(1, Relaxed);
                tracing::warn!(
                    source = self.settings.name,
                    position = %self.position,
                    without = members.join(", "),
                    "an event did not fit into 16 MB and was reduced"
                );
                (array_of(event, members)?, None)
            }
            Reduction::Essence | Reduction::EssenceWithoutLooking => {
                (array_of(event, &[])?, Some(format!("the event does not fit into 16 MB: {reason}")))
            }
        };
        // Whether anybody takes it is seen at the next reply.
        let _taken = self.hand_on(sender, Content::Events(events), 0, too_large).await;
        Ok(())
    }
}

/// An array of the one event, which says what it had to lose.
fn array_of(event: Document<'_>, without: &[&str]) -> Result<Vec<u8>, raw::Error> {
    let mut writer = Writer::default();
    writer.begin();
    writer.begin_document(b"0");
    for element in event.elements() {
        let Element { name, kind, value } = element?;
        writer.value(name, kind, value);
    }
    if !without.is_empty() {
        writer.begin_document(b"reducedEvent");
        writer.begin_array(b"without");
        for (index, member) in without.iter().enumerate() {
            writer.string(index.to_string().as_bytes(), member.as_bytes());
        }
        writer.end();
        writer.end();
    }
    writer.end();
    writer.end();
    Ok(writer.into_bytes())
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, doc};

    use super::*;

    #[test]
    fn a_reduced_event_says_what_it_had_to_lose() {
        let raw =
            |document: bson::Document| RawDocumentBuf::try_from(&document).expect("encodes").into_bytes();
        let event = raw(doc! { "_id": {"_data": "82"}, "a": 1 });
        let event = Document::new(&event).expect("a document");
        let expected =
            raw(doc! { "0": { "_id": {"_data": "82"}, "a": 1, "reducedEvent": { "without": ["x", "y"] } } });
        assert_eq!(array_of(event, &["x", "y"]), Ok(expected));
        assert_eq!(array_of(event, &[]), Ok(raw(doc! { "0": { "_id": {"_data": "82"}, "a": 1 } })));
    }

    #[test]
    fn a_value_that_is_the_document_is_never_reduced_to_nothing() {
        let errors = |event_too_large| config::Errors {
            encoding: config::ErrorPolicy::Fail,
            record_too_large: config::ErrorPolicy::Fail,
            missing_image: config::ErrorPolicy::Fail,
            event_too_large,
            dead_letter_topic: None,
        };
        for value in [RecordValue::Document, RecordValue::Debezium] {
            for reduction in reductions(&errors(LargeEvent::Reduce), value) {
                assert!(
                    matches!(reduction, Reduction::Without(members) if !members.contains(&"fullDocument"))
                );
            }
        }
        assert_eq!(reductions(&errors(LargeEvent::Skip), RecordValue::Event)[0], Reduction::Essence);
    }
}
