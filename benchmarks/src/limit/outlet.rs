//! Where what is read goes: nowhere, or passed on as it is, as by a source that need not encode.

use std::time::{Duration, Instant};

use anyhow::Result;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::Topic;
use crate::{
    measure::Pace,
    producing::{self, FLUSH_DEADLINE},
};

/// Produces to one topic, or to none.
pub(super) struct Outlet(Option<(BaseProducer, Topic)>);

impl Outlet {
    pub(super) fn open(to: Option<Topic>) -> Result<Self> {
        let open = |topic: Topic| anyhow::Ok((producing::open(&topic.bootstrap, &[])?, topic));
        Ok(Self(to.map(open).transpose()?))
    }

    pub(super) fn pass(&self, bytes: &[u8]) -> Result<()> {
        let Some((producer, topic)) = &self.0 else { return Ok(()) };
        producing::send(producer, BaseRecord::<(), [u8]>::to(&topic.name).payload(bytes))?;
        producer.poll(Duration::ZERO);
        Ok(())
    }

    /// The pace of what was read; where it was passed on, with the time at which all is acknowledged.
    pub(super) fn end(self, pace: Pace, begun: Instant) -> Result<Pace> {
        let Some((producer, _)) = self.0 else { return Ok(pace) };
        producer.flush(FLUSH_DEADLINE)?;
        Ok(Pace { all: begun.elapsed(), ..pace })
    }
}
