//! What librdkafka is told: how much it may fetch ahead, and what a group's member needs.

use rdkafka::ClientConfig;

use crate::{config, kafka};

/// Above the lowest that brokers take by default (6 s), and three heartbeats of 3 s.
const SESSION_TIMEOUT_MS: &str = "10000";

/// How long librdkafka does not fetch after it found its queue full. Its own 1000 ms are longer than the queue lasts, so
/// that a sink which keeps up with it stands still half of the time.
const FETCH_QUEUE_BACKOFF_MS: &str = "10";

/// Of `memory_bytes`, what records may hold from when they are handed over until they are written. A quarter is for
/// what librdkafka fetches ahead, and the other half for what is made of the records: statements, commands and what the
/// allocator cannot give back.
pub(in crate::sink) fn held_bytes(memory_bytes: usize) -> usize {
    (memory_bytes / 4).clamp(1, u32::MAX as usize)
}

/// The properties of the consumer.
pub(super) fn client_config(settings: &config::Sink, group: &str, memory_bytes: usize) -> ClientConfig {
    let mut client = kafka::client_config(&settings.kafka);
    let fetched_bytes = (memory_bytes / 4).max(128 << 10);
    // The queue may exceed its limit by one fetch, so a fetch is small against it. librdkafka takes no fetch that is
    // smaller than a message may be; brokers send a larger message all the same when it is next.
    let fetch_bytes = (fetched_bytes / 4).clamp(32 << 10, 50 << 20);
    for (property, value) in [
        ("queued.max.messages.kbytes", (fetched_bytes / 2 / 1024).min(1 << 20)),
        ("queued.min.messages", (fetched_bytes / 512).clamp(1000, 100_000)),
        ("message.max.bytes", fetch_bytes.min(1_000_000)),
        ("fetch.max.bytes", fetch_bytes),
        ("fetch.message.max.bytes", (fetch_bytes / 2).max(16 << 10)),
        ("statistics.interval.ms", 5000),
    ] {
        client.set(property, value.to_string());
    }
    for (property, value) in [
        ("group.id", group),
        ("partition.assignment.strategy", "cooperative-sticky"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "error"),
    ] {
        client.set(property, value);
    }
    if !settings.instance_id.is_empty() {
        client.set("group.instance.id", settings.instance_id.as_str());
    }
    // A user's own values win.
    for (property, value) in [
        // After a crash the group waits this long for the dead member before it gives the partitions to the next one.
        // librdkafka's 45 s are made for Java's pauses.
        ("session.timeout.ms", SESSION_TIMEOUT_MS),
        ("fetch.queue.backoff.ms", FETCH_QUEUE_BACKOFF_MS),
    ] {
        if client.get(property).is_none() {
            client.set(property, value);
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::BaseConsumer;

    use super::{super::tests::settings, *};

    #[test]
    fn librdkafka_takes_the_properties_for_every_budget() {
        let settings = settings();
        for memory_bytes in [0, 1 << 20, 32 << 20, 1 << 30, 1 << 40] {
            let client = client_config(&settings, "millrace.shop.copy", memory_bytes);
            let consumer: Result<BaseConsumer, _> = client.create();
            assert!(consumer.is_ok(), "{memory_bytes}: {:?}", consumer.err());
        }
    }

    #[test]
    fn a_member_is_static_only_if_it_has_a_name() {
        let mut settings = settings();
        assert_eq!(client_config(&settings, "g", 1 << 20).get("group.instance.id"), None);
        settings.instance_id = "pod-1".into();
        assert_eq!(client_config(&settings, "g", 1 << 20).get("group.instance.id"), Some("pod-1"));
    }

    #[test]
    fn the_users_values_win_where_the_daemon_only_has_better_defaults() {
        let mut settings = settings();
        for (property, ours) in [("session.timeout.ms", "10000"), ("fetch.queue.backoff.ms", "10")] {
            assert_eq!(client_config(&settings, "g", 1 << 20).get(property), Some(ours));
            settings.kafka.properties.insert(property.into(), config::Secret::new("7000"));
            assert_eq!(client_config(&settings, "g", 1 << 20).get(property), Some("7000"));
        }
    }

    #[test]
    fn the_daemons_properties_win_over_the_users() {
        let mut settings = settings();
        settings.kafka.properties.insert("enable.auto.commit".into(), config::Secret::new("true"));
        let client = client_config(&settings, "g", 1 << 20);
        assert_eq!(client.get("enable.auto.commit"), Some("false"));
        assert_eq!(client.get("group.id"), Some("g"));
    }
}
