//! The headers of a record, in a buffer that is used again.

use std::{ffi::CStr, io::Write};

use crate::{
    config::{self, RecordValue},
    raw,
    source::{decode::Change, stages::Plan},
};

/// The order key: the resume token's `_data`, or what a snapshot's row has in its place.
pub const ORDER: &CStr = c"millrace.order";
/// "true" on rows of a snapshot.
pub const SNAPSHOT: &CStr = c"millrace.snapshot";
/// The event's `operationType`.
pub const OPERATION: &CStr = c"millrace.operation";
/// `db.coll`, or `db`.
pub const NAMESPACE: &CStr = c"millrace.namespace";
/// `seconds:increment`.
pub const CLUSTER_TIME: &CStr = c"millrace.cluster_time";

/// No record has more.
pub const MOST_HEADERS: usize = 9;

/// Headers in order: names that are known beforehand, values in one buffer.
#[derive(Debug, Default)]
pub struct Headers {
    text: Vec<u8>,
    /// Each name, and where its value ends.
    ends: Vec<(&'static CStr, usize)>,
}

impl Headers {
    /// No headers.
    pub const NONE: &'static Self = &Self { text: Vec::new(), ends: Vec::new() };

    /// Removes all.
    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    /// Adds one; `write` appends its value.
    pub fn add(&mut self, name: &'static CStr, write: impl FnOnce(&mut Vec<u8>)) {
        assert!(self.ends.len() < MOST_HEADERS, "a record has too many headers");
        write(&mut self.text);
        self.ends.push((name, self.text.len()));
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static CStr, &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |(name, end)| {
            let value = &self.text[start..*end];
            start = *end;
            (*name, value)
        })
    }

    /// Bytes of all names and values.
    pub fn len(&self) -> usize {
        self.text.len() + self.ends.iter().map(|(name, _)| name.count_bytes()).sum::<usize>()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// Which headers the records of a source get.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    which: config::Headers,
    /// Whether the value of a stream's event carries its token.
    value_has_token: bool,
}

impl Wanted {
    pub(super) fn new(record: &config::Record) -> Self {
        Self { which: record.headers, value_has_token: record.value == RecordValue::Event }
    }

    /// Puts the headers of `change` in the place of what is in `headers`.
    pub(super) fn write(
        self,
        change: &Change<'_>,
        plan: &Plan,
        headers: &mut Headers,
    ) -> Result<(), raw::Error> {
        headers.clear();
        let all = match self.which {
            config::Headers::None => return Ok(()),
            config::Headers::Auto => false,
            config::Headers::All => true,
        };
        if all || change.snapshot || !self.value_has_token {
            add_order(change, headers)?;
        }
        if change.snapshot {
            headers.add(SNAPSHOT, |out| out.extend_from_slice(b"true"));
        }
        if all {
            headers.add(OPERATION, |out| out.extend_from_slice(change.operation.as_bytes()));
            headers.add(NAMESPACE, |out| out.extend_from_slice(plan.namespace.as_bytes()));
            add_time(change, headers);
        }
        Ok(())
    }
}

/// Adds the order key, where the change has one. A row sorts after all events of the time at which it was read: their
/// tokens begin with that time, and nothing that may follow there is above "FF".
pub(in crate::source) fn add_order(change: &Change<'_>, headers: &mut Headers) -> Result<(), raw::Error> {
    if change.snapshot {
        let time = change.time.unwrap_or_default();
        headers.add(ORDER, |out| {
            write!(out, "82{:08X}{:08X}FF", time.seconds, time.increment).expect("a Vec takes all");
        });
    } else if let Some(data) = change.token.get("_data")?.and_then(raw::Element::as_str) {
        headers.add(ORDER, |out| out.extend_from_slice(data.as_bytes()));
    }
    Ok(())
}

/// Adds the cluster time, where the change has one.
pub(in crate::source) fn add_time(change: &Change<'_>, headers: &mut Headers) {
    if let Some(time) = change.time {
        headers.add(CLUSTER_TIME, |out| write!(out, "{time}").expect("a Vec takes all"));
    }
}
