//! Records to Kafka as fast as the producer takes them.

use std::time::Duration;

use anyhow::{Result, ensure};
use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    message::ToBytes,
    producer::{BaseProducer, BaseRecord},
};

/// How long the last records may take.
pub(crate) const FLUSH_DEADLINE: Duration = Duration::from_secs(120);

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
