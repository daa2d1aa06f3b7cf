//! A record as it came from Kafka.

use std::sync::Arc;

use bytes::Bytes;
use rdkafka::{
    Message,
    message::{self, Headers as _},
};

use super::{
    arena::Arena,
    progress::{Partition, Place},
};

/// A record as it came from Kafka. It is kept until its write is durable, because a dead letter needs it whole.
#[derive(Clone, Debug)]
pub struct Record {
    /// Where it stands.
    pub place: Place,
    /// When it was made or appended.
    pub timestamp: Timestamp,
    /// Its key's bytes.
    pub key: Option<Bytes>,
    /// Its value's bytes; none is a tombstone.
    pub value: Option<Bytes>,
    /// Its headers, in order, where somebody may need them.
    pub headers: Vec<Header>,
}

/// A header of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name; several may have the same.
    pub name: String,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

/// When a record was made or appended, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamp {
    /// Its topic keeps none.
    None,
    /// The producer's time.
    Create(i64),
    /// The broker's time.
    LogAppend(i64),
}

impl Record {
    /// What librdkafka has read; `topic` is the message's, shared. Its key and value are in `arena`.
    pub fn of(message: &impl Message, topic: Arc<str>, arena: &mut Arena) -> Self {
        let header = |header: message::Header<'_, &[u8]>| Header {
            name: header.key.to_owned(),
            value: header.value.map(<[u8]>::to_vec),
        };
        let record = Self::without_headers(message, topic, arena);
        let headers = message.headers().map(|headers| headers.iter().map(header).collect());
        Self { headers: headers.unwrap_or_default(), ..record }
    }

    /// The same without its headers. To look for them costs librdkafka as much as to copy key and value, even where there
    /// are none.
    pub fn without_headers(message: &impl Message, topic: Arc<str>, arena: &mut Arena) -> Self {
        let partition = Partition { topic, number: message.partition() };
        let timestamp = match message.timestamp() {
            message::Timestamp::NotAvailable => Timestamp::None,
            message::Timestamp::CreateTime(millis) => Timestamp::Create(millis),
            message::Timestamp::LogAppendTime(millis) => Timestamp::LogAppend(millis),
        };
        Self {
            place: Place { partition, offset: message.offset() },
            timestamp,
            key: message.key().map(|key| arena.keep(key)),
            value: message.payload().map(|value| arena.keep(value)),
            headers: Vec::new(),
        }
    }

    /// The record with memory of its own, for what may stay when the records around it are gone.
    #[must_use]
    pub fn alone(self) -> Self {
        let alone = |bytes: Bytes| Bytes::copy_from_slice(&bytes);
        Self { key: self.key.map(alone), value: self.value.map(alone), ..self }
    }

    /// Bytes of key, value and headers.
    pub fn len(&self) -> usize {
        let header = |header: &Header| header.name.len() + header.value.as_ref().map_or(0, Vec::len);
        self.key.as_ref().map_or(0, Bytes::len)
            + self.value.as_ref().map_or(0, Bytes::len)
            + self.headers.iter().map(header).sum::<usize>()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Timestamp {
    /// The time, if there is one.
    pub fn millis(self) -> Option<i64> {
        match self {
            Self::None => None,
            Self::Create(millis) | Self::LogAppend(millis) => Some(millis),
        }
    }

    /// Its kind, as Kafka names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "NO_TIMESTAMP_TYPE",
            Self::Create(_) => "CREATE_TIME",
            Self::LogAppend(_) => "LOG_APPEND_TIME",
        }
    }
}
