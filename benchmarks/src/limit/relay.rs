//! What is read passed on as it is, as by a source that need not encode.

use std::time::{Duration, Instant};

use anyhow::Result;
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};

use crate::{
    measure::Pace,
    producing::{self, FLUSH_DEADLINE},
};

/// Produces to one topic.
pub(super) struct Relay {
    producer: BaseProducer,
    topic: String,
}

impl Relay {
    pub(super) fn open(bootstrap: &str, topic: String) -> Result<Self> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("enable.idempotence", "true")
            // So long that its thread does not spin while records wait behind a request.
            .set("linger.ms", "1000")
            .set("queue.buffering.max.messages", "0")
            .set("queue.buffering.max.kbytes", "32768")
            .create()?;
        Ok(Self { producer, topic })
    }

    pub(super) fn pass(&self, bytes: &[u8]) -> Result<()> {
        producing::send(&self.producer, BaseRecord::<(), [u8]>::to(&self.topic).payload(bytes))?;
        self.producer.poll(Duration::ZERO);
        Ok(())
    }

    /// The pace of what was read, with the time at which all is acknowledged.
    pub(super) fn end(self, pace: Pace, begun: Instant) -> Result<Pace> {
        self.producer.flush(FLUSH_DEADLINE)?;
        Ok(Pace { all: begun.elapsed(), ..pace })
    }
}
