//! Changes that cannot be sent: the source stops, a dead letter is sent, or the change is skipped, as the settings say.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

use super::{Delivery, Group, destination::Destination};
use crate::{
    config::ErrorPolicy,
    position::ResumeToken,
    raw::Document,
    retry::Failure,
    source::{
        dead_letter::{self, Letter, Reason},
        decode::Change,
        encode,
    },
};

/// Each reason is logged this often at most.
const LOG_PAUSE: Duration = Duration::from_secs(1);

/// How often each reason was logged lately.
#[derive(Default)]
pub(super) struct Log {
    reasons: [Quiet; Reason::ALL.len()],
}

#[derive(Clone, Copy, Default)]
struct Quiet {
    last: Option<Instant>,
    /// Changes since then that were not logged.
    unlogged: u64,
}

impl Log {
    /// Whether to log another change; tells how many went by without a line.
    fn admits(&mut self, reason: Reason, now: Instant) -> Option<u64> {
        let quiet = &mut self.reasons[reason.index()];
        if quiet.last.is_some_and(|last| now.duration_since(last) < LOG_PAUSE) {
            quiet.unlogged += 1;
            return None;
        }
        quiet.last = Some(now);
        Some(std::mem::take(&mut quiet.unlogged))
    }
}

impl Delivery {
    /// What is done about a change that could not be encoded.
    pub(super) async fn not_encoded(
        &mut self,
        change: &Change<'_>,
        number: usize,
        error: encode::Error,
        group: &mut Group,
    ) -> Result<(), Failure> {
        let (reason, remedy) = match error {
            encode::Error::MissingImage(_) => (
                Reason::MissingImage,
                "let the collection keep images (changeStreamPreAndPostImages), or set errors.missing_image",
            ),
            _ => (Reason::Encoding, "use format = \"bson\", exclude the collection, or set errors.encoding"),
        };
        let policy = reason.policy(&self.settings.errors);
        self.refuse(change, number, reason, &error, remedy, policy, group).await
    }

    /// What is done about a change that its rules could not be applied to. Its dead letter has nothing that they may mask.
    pub(super) async fn not_transformed(
        &mut self,
        change: &Change<'_>,
        number: usize,
        error: encode::Error,
        group: &mut Group,
    ) -> Result<(), Failure> {
        let bare = without_content(change);
        let (error, remedy) =
            (format!("cannot be transformed: {error}"), "exclude the collection, or set errors.encoding");
        let policy = Reason::Encoding.policy(&self.settings.errors);
        self.refuse(&bare, number, Reason::Encoding, &error, remedy, policy, group).await
    }

    /// What is done about a record over the topic's limit.
    pub(super) async fn too_large(
        &mut self,
        change: &Change<'_>,
        number: usize,
        bytes: usize,
        group: &mut Group,
    ) -> Result<(), Failure> {
        let topic = &self.destinations.get(number).plan.topic;
        let error = format!("a record of {bytes} bytes is too large for topic {topic}");
        let remedy = "raise max.message.bytes of the topic (and message.max.bytes of the broker), or set \
                      errors.record_too_large";
        let policy = Reason::RecordTooLarge.policy(&self.settings.errors);
        self.refuse(change, number, Reason::RecordTooLarge, &error, remedy, policy, group).await
    }

    /// What is done about a change of which the server could not send more than what it was.
    pub(super) async fn event_too_large(
        &mut self,
        change: &Change<'_>,
        number: usize,
        error: &str,
        group: &mut Group,
    ) -> Result<(), Failure> {
        let remedy = "use a server that splits large events (MongoDB 6.0.9 or later of 6.0, or 7.0), ask for fewer \
                      images, or set errors.event_too_large";
        let policy = Reason::EventTooLarge.policy(&self.settings.errors);
        self.refuse(change, number, Reason::EventTooLarge, &error, remedy, policy, group).await
    }

    /// Does as `policy` says with a change that cannot be sent. `number` is its destination's.
    #[allow(clippy::too_many_arguments, reason = "each says another thing about one change")]
    pub(super) async fn refuse(
        &mut self,
        change: &Change<'_>,
        number: usize,
        reason: Reason,
        error: &(dyn Display + Sync),
        remedy: &str,
        policy: ErrorPolicy,
        group: &mut Group,
    ) -> Result<(), Failure> {
        match policy {
            ErrorPolicy::Fail => {
                return Err(Failure::stop(format!("{}: {error}; {remedy}", self.place(change))));
            }
            ErrorPolicy::Skip => self.metrics.skipped(reason),
            ErrorPolicy::DeadLetter => {
                self.send_dead_letter(change, number, reason, &error.to_string(), group).await?;
                self.metrics.dead_letter(reason);
            }
        }
        if let Some(unlogged) = self.log.admits(reason, Instant::now()) {
            let token =
                ResumeToken::new(change.token).map_or_else(|_| "none".into(), |token| token.short_hash());
            tracing::warn!(
                source = self.settings.name,
                namespace = self.destinations.get(number).plan.namespace,
                cluster_time = %change.time.unwrap_or_default(),
                token,
                reason = reason.name(),
                %error,
                unlogged,
                "{}",
                if policy == ErrorPolicy::Skip { "skipped a change" } else { "sent a dead letter" },
            );
        }
        Ok(())
    }

    async fn send_dead_letter(
        &mut self,
        change: &Change<'_>,
        number: usize,
        reason: Reason,
        message: &str,
        group: &mut Group,
    ) -> Result<(), Failure> {
        let topic = self.settings.errors.dead_letter_topic.clone();
        let topic = topic.expect("the configuration has a topic where a policy needs it");
        if self.dead_letters.is_none() {
            self.dead_letters = Some(self.finder.find_own(&topic).await?);
        }
        let Destination { topic: handle, most, .. } = self.dead_letters.as_ref().expect("just found");
        let plan = &self.destinations.get(number).plan;
        let letter = Letter { reason, message, namespace: &plan.namespace, topic: &plan.topic, most: *most };
        dead_letter::write(change, &letter, &mut self.buffers).map_err(|error| {
            let place = self.place(change);
            Failure::stop(format!("{place}: {message}, and cannot go to topic {topic}: {error}"))
        })?;
        let record = self.buffers.record(Some(&self.buffers.value), None);
        self.send(|| self.place(change), handle, record, group).await
    }
}

/// What may be told of a change whose rules could not be applied. What a row has in the place of a token is the document's
/// own `_id`.
fn without_content<'a>(change: &Change<'a>) -> Change<'a> {
    let token = if change.snapshot { Document::EMPTY } else { change.token };
    Change { event: Document::EMPTY, document_key: None, token, ..*change }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        namespace::Namespace,
        source::{decode, encode::Buffers, stages},
    };

    #[test]
    fn the_dead_letter_of_a_row_whose_rules_failed_has_nothing_of_the_document() {
        let document = bson::rawdoc! { "_id": "secret", "a": "secret" };
        let namespace = Namespace { db: "shop".into(), coll: "c".into() };
        let row = stages::row(&namespace, Document::new(document.as_bytes()).expect("sound")).expect("sound");
        let change = decode::decode(Document::new(&row).expect("sound")).expect("an event");
        let change = Change { snapshot: true, ..change };
        let (reason, most) = (Reason::Encoding, dead_letter::Most::default());
        let letter = Letter { reason, message: "too deep", namespace: "shop.c", topic: "t", most };
        let mut buffers = Buffers::default();
        dead_letter::write(&without_content(&change), &letter, &mut buffers).expect("fits");
        assert_eq!((buffers.key.as_slice(), buffers.value.as_slice()), (&b"{\"_id\": {}}"[..], &b"{}"[..]));
        assert!(buffers.headers.iter().all(|(_, value)| !value.windows(6).any(|part| part == b"secret")));
    }

    #[test]
    fn each_reason_has_one_line_a_while_which_counts_the_others() {
        let mut log = Log::default();
        let start = Instant::now();
        assert_eq!(log.admits(Reason::Encoding, start), Some(0));
        assert_eq!(log.admits(Reason::Encoding, start), None);
        assert_eq!(log.admits(Reason::MissingImage, start), Some(0));
        assert_eq!(log.admits(Reason::Encoding, start + LOG_PAUSE), Some(1));
    }
}
