//! Which topics there are to read: our own matching over the cluster's metadata, looked at every few seconds.
//!
//! librdkafka has patterns of its own, but in another dialect, and it would not say that nothing matches.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    consumer::{BaseConsumer, Consumer as _},
    metadata::MetadataTopic,
};
use tokio::sync::mpsc;

use super::{Event, rebalance::Listener};
use crate::{
    config, kafka,
    retry::{Failure, Verdict},
};

/// Pause between two looks.
const REFRESH: Duration = Duration::from_secs(5);
/// The same while there is nothing to read.
const REFRESH_WHILE_NONE: Duration = Duration::from_secs(1);
/// A stop waits for a look that is under way.
const TIMEOUT: Duration = Duration::from_secs(2);
/// A broker that has just started may not know all topics: so many looks in a row must miss one.
const MISSED_LOOKS: u32 = 3;

/// The topics that are read.
pub(super) struct Topics {
    settings: Arc<config::Sink>,
    next_look: Instant,
    subscription: Subscription,
}

/// What is subscribed to, and whether that has to change. Pure.
#[derive(Debug, Default)]
struct Subscription {
    topics: Option<Vec<String>>,
    missed: u32,
}

impl Topics {
    pub(super) fn new(settings: Arc<config::Sink>) -> Self {
        Self { settings, next_look: Instant::now(), subscription: Subscription::default() }
    }

    /// Looks, if it is time to, and subscribes to what has changed.
    pub(super) fn refresh(
        &mut self,
        consumer: &BaseConsumer<Listener>,
        context: &kafka::Context,
        events: &mpsc::Sender<Event>,
    ) -> Result<(), Failure> {
        if Instant::now() < self.next_look {
            return Ok(());
        }
        let outcome = self.look(consumer, context, events);
        let is_reading = self.subscription.topics.as_ref().is_some_and(|topics| !topics.is_empty());
        self.next_look = Instant::now() + if is_reading { REFRESH } else { REFRESH_WHILE_NONE };
        outcome
    }

    fn look(
        &mut self,
        consumer: &BaseConsumer<Listener>,
        context: &kafka::Context,
        events: &mpsc::Sender<Event>,
    ) -> Result<(), Failure> {
        let metadata = match consumer.fetch_metadata(None, TIMEOUT) {
            Ok(metadata) => metadata,
            Err(error) => {
                let what = format!("cannot reach Kafka at {}", self.settings.kafka.bootstrap_servers);
                let failure = context.failure(&what, kafka::code(&error));
                tracing::debug!(sink = self.settings.name, "{failure}");
                // What passes by itself is waited for: the context has told of it.
                return if failure.verdict == Verdict::Stop { Err(failure) } else { Ok(()) };
            }
        };
        let names = metadata.topics().iter().map(MetadataTopic::name);
        let mut found: Vec<_> = names.filter(|name| self.settings.reads(name)).map(str::to_owned).collect();
        found.sort_unstable();
        let Some(topics) = self.subscription.update(found) else { return Ok(()) };
        if topics.is_empty() {
            consumer.unsubscribe();
            tracing::info!(sink = self.settings.name, "no topic matches yet; waiting for one");
            // The loop is gone if this cannot be sent, and the next order says so.
            let _is_heard = events.blocking_send(Event::NoTopics);
            return Ok(());
        }
        tracing::info!(sink = self.settings.name, topics = topics.join(" "), "reading");
        let names: Vec<_> = topics.iter().map(String::as_str).collect();
        consumer.subscribe(&names).map_err(|error| Failure::retry(format!("cannot subscribe: {error}")))
    }
}

impl Subscription {
    /// The topics to subscribe to from now on, if that is a change.
    fn update(&mut self, found: Vec<String>) -> Option<&[String]> {
        if let Some(before) = &self.topics {
            let is_smaller = found.len() < before.len() && found.iter().all(|topic| before.contains(topic));
            self.missed = if is_smaller { self.missed + 1 } else { 0 };
            if found == *before || (is_smaller && self.missed < MISSED_LOOKS) {
                return None;
            }
        }
        self.missed = 0;
        Some(self.topics.insert(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_first_look_counts_even_if_it_finds_nothing() {
        let mut subscription = Subscription::default();
        assert_eq!(subscription.update(vec![]), Some(&[][..]));
        assert_eq!(subscription.update(vec![]), None);
        assert_eq!(subscription.update(topics(&["a"])), Some(&topics(&["a"])[..]));
        assert_eq!(subscription.update(topics(&["a"])), None);
    }

    #[test]
    fn a_topic_is_given_up_only_when_it_stays_away() {
        let mut subscription = Subscription::default();
        assert!(subscription.update(topics(&["a", "b"])).is_some());
        assert_eq!(subscription.update(topics(&["a"])), None);
        assert_eq!(subscription.update(topics(&["a", "b"])), None);
        for _ in 1..MISSED_LOOKS {
            assert_eq!(subscription.update(topics(&["a"])), None);
        }
        assert_eq!(subscription.update(topics(&["a"])), Some(&topics(&["a"])[..]));
    }

    #[test]
    fn a_new_topic_is_read_at_once() {
        let mut subscription = Subscription::default();
        assert!(subscription.update(topics(&["a", "b"])).is_some());
        assert_eq!(subscription.update(topics(&["b", "c"])), Some(&topics(&["b", "c"])[..]));
    }
}
