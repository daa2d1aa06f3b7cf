//! Records to Kafka as fast as the producer takes them.

use std::time::Duration;

use anyhow::{Result, ensure};
use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    message::ToBytes,
    producer::{BaseProducer, BaseRecord},
};

/// How long the last records may take.
pub(crate) const FLUSH_DEADLINE: Duration = Duration::from_secs(120);

/// A producer with idempotence, and `more` properties. It sends full batches, and its queue is so short that nothing in it
/// is older than the linger: then its thread would spin while records wait behind a request. The linger is also what the
/// last records may wait, since the crate's flush is over before a broker's thread wakes up.
pub(crate) fn open(bootstrap: &str, more: &[(&str, &str)]) -> Result<BaseProducer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("enable.idempotence", "true").set("linger.ms", "100");
    config.set("queue.buffering.max.messages", "0").set("queue.buffering.max.kbytes", "8192");
    for (name, value) in more {
        config.set(*name, *value);
    }
    Ok(config.create()?)
}

/// Hands a record over, and waits while the producer's queue is full.
pub(crate) fn send<K: ToBytes + ?Sized, V: ToBytes + ?Sized>(
    producer: &BaseProducer,
    mut record: BaseRecord<'_, K, V>,
) -> Result<()> {
    const WAIT: Duration = Duration::from_millis(20);
    while let Err((error, same)) = producer.send(record) {
        let is_full = matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
        ensure!(is_full, "cannot write to {}: {error}", same.topic);
        producer.poll(WAIT);
        record = same;
    }
    Ok(())
}
