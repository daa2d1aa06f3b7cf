//! Records that show that an idle source lives: when, and what is in them. Pure.
//!
//! A heartbeat is what the official connector's is: its key is the resume token as JSON, it has no value. It goes the
//! way of all records, so that the position moves over it only when Kafka has it.

use std::time::Instant;

use crate::{
    config, json,
    position::ResumeToken,
    raw::{self, Document},
};

/// When the next heartbeat is due.
#[derive(Debug)]
pub struct Heartbeat {
    settings: config::Heartbeat,
    /// When the last record was sent.
    last: Instant,
    /// The token of the last heartbeat: another one with the same would say nothing new.
    token: Option<ResumeToken>,
}

impl Heartbeat {
    /// The first is due an interval after `now`.
    pub fn new(settings: config::Heartbeat, now: Instant) -> Self {
        Self { settings, last: now, token: None }
    }

    /// Where they go.
    pub fn topic(&self) -> &str {
        &self.settings.topic
    }

    /// The stream stands at `token` after a reply that has become records or not: whether it is time for a heartbeat,
    /// which then counts as sent.
    pub fn is_due(&mut self, has_records: bool, token: &ResumeToken, now: Instant) -> bool {
        if has_records {
            self.last = now;
            return false;
        }
        if now.duration_since(self.last) < self.settings.interval || self.token.as_ref() == Some(token) {
            return false;
        }
        self.last = now;
        self.token = Some(token.clone());
        true
    }
}

/// The key of a heartbeat at `token`.
///
/// # Errors
/// When the token is no sound BSON.
pub fn write_key(token: &ResumeToken, out: &mut Vec<u8>) -> Result<(), raw::Error> {
    out.clear();
    let token = Document::new(token.as_bytes())?;
    let unusable = |_| raw::Error { at: 4, what: "a token that cannot be written as JSON" };
    json::write_document(token, json::Style::Relaxed, out).map_err(unusable)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_heartbeat_is_due_when_no_record_was_sent_for_the_interval_and_the_stream_has_moved() {
        let settings = config::Heartbeat { interval: Duration::from_secs(10), topic: "hb".into() };
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(settings, start);
        for (second, has_records, data, expected) in [
            (9, false, "8201", false),
            (11, false, "8202", true),
            (12, false, "8203", false),
            (22, false, "8202", false),
            (23, false, "8204", true),
            (33, true, "8205", false),
            (42, false, "8206", false),
            (43, false, "8207", true),
        ] {
            let now = start + Duration::from_secs(second);
            assert_eq!(
                heartbeat.is_due(has_records, &ResumeToken::from_data(data), now),
                expected,
                "second {second}"
            );
        }
    }

    #[test]
    fn the_key_is_the_token_as_the_official_connector_writes_it() {
        let mut key = b"old".to_vec();
        write_key(&ResumeToken::from_data("8264B7F0A3000000012B0229296E04"), &mut key).expect("writes");
        assert_eq!(key, br#"{"_data": "8264B7F0A3000000012B0229296E04"}"#);
    }
}
