//! Whether a sink has written all that is in its topics, seen from outside of its group.

use std::time::Duration;

use rdkafka::{
    Offset,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};

use crate::{config, kafka, retry::Failure};

/// How long one look may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Whether the group has committed the end of every partition of every topic that the sink reads.
///
/// # Errors
/// When the cluster does not answer.
pub async fn is_drained(settings: &config::Sink, group: &str) -> Result<bool, Failure> {
    let (settings, group) = (settings.clone(), group.to_owned());
    // All of it blocks, the end of the client included.
    let look = tokio::task::spawn_blocking(move || look(&settings, &group));
    look.await.map_err(|error| Failure::retry(format!("the look at the topics' ends broke off: {error}")))?
}

fn look(settings: &config::Sink, group: &str) -> Result<bool, Failure> {
    let context = kafka::Context::new(format!("sink {}", settings.name));
    let mut client = kafka::client_config(&settings.kafka);
    client.set("group.id", group).set("enable.auto.commit", "false");
    let consumer: BaseConsumer<kafka::Context> = client
        .create_with_context(context.clone())
        .map_err(|error| Failure::stop(format!("cannot use [kafka.properties]: {error}")))?;
    let failed = |error: &KafkaError| {
        let what = format!("cannot look at the topics' ends at {}", settings.kafka.bootstrap_servers);
        context.failure(&what, kafka::code(error))
    };
    let metadata = consumer.fetch_metadata(None, TIMEOUT).map_err(|error| failed(&error))?;
    let list = kafka::partitions(&metadata, |topic| settings.reads(topic));
    if list.count() == 0 {
        return Ok(true);
    }
    let committed = consumer.committed_offsets(list, TIMEOUT).map_err(|error| failed(&error))?;
    for element in committed.elements() {
        let ends = consumer.fetch_watermarks(element.topic(), element.partition(), TIMEOUT);
        let (low, high) = ends.map_err(|error| failed(&error))?;
        if !is_at_end(element.offset(), low, high) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_at_end(committed: Offset, low: i64, high: i64) -> bool {
    low == high || committed == Offset::Offset(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_drained_at_its_end_or_when_it_is_empty() {
        for (committed, low, high, expected) in [
            (Offset::Offset(10), 0, 10, true),
            (Offset::Offset(9), 0, 10, false),
            (Offset::Invalid, 0, 10, false),
            (Offset::Invalid, 0, 0, true),
            (Offset::Invalid, 7, 7, true),
            (Offset::Offset(3), 7, 7, true),
        ] {
            assert_eq!(is_at_end(committed, low, high), expected, "{committed:?} in {low}..{high}");
        }
    }
}
