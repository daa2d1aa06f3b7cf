//! librdkafka by topic handle, in unsafe code.
//!
//! The safe interface of the crate names the topic with every record; librdkafka then takes its global write lock and
//! searches all topics that it knows, for each record. With a handle made once per topic it does neither.
#![allow(unsafe_code)]

use std::{
    ffi::{CString, c_void},
    ptr,
    time::Duration,
};

use rdkafka::{
    bindings::{
        self as ffi, rd_kafka_vtype_t as vtype, rd_kafka_vu_s__bindgen_ty_1 as Value,
        rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 as Memory,
    },
    error::RDKafkaErrorCode,
    producer::{Producer, ThreadedProducer},
};

use super::Reports;
use crate::source::encode::{Headers, MOST_HEADERS};

/// librdkafka's word for a partition that the key chooses.
const CHOSEN_BY_KEY: i32 = -1;

/// Arguments of a record besides its headers.
const FIXED_ARGUMENTS: usize = 7;

/// A topic of one producer, which lives at least as long: the fields are dropped after `Topic::drop` has run.
pub struct Topic {
    raw: *mut ffi::rd_kafka_topic_t,
    producer: ThreadedProducer<Reports>,
}

// SAFETY: librdkafka's topic objects are reference counted and locked inside; any thread may use and destroy them
// (INTRODUCTION.md, "Threads and callbacks").
unsafe impl Send for Topic {}
// SAFETY: as above.
unsafe impl Sync for Topic {}

/// Lets all records of `producer` go without waiting for others, until all are acknowledged or for `timeout`; whether all
/// are. The crate's own flush asks for a time of 0, in which a broker's thread does not wake up.
pub(super) fn flush(producer: &ThreadedProducer<Reports>, timeout: Duration) -> bool {
    let milliseconds = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client pointer is valid as long as `producer` is borrowed.
    let code = unsafe { ffi::rd_kafka_flush(producer.client().native_ptr(), milliseconds) };
    code == ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}

/// One record to be sent. Key, value and headers are copied by librdkafka before the call returns.
pub(super) struct Record<'a> {
    pub(super) key: &'a [u8],
    /// `None` is a tombstone.
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: &'a Headers,
    /// Milliseconds since the epoch; `None` is now.
    pub(super) timestamp: Option<i64>,
    /// `None` leaves the choice to the key.
    pub(super) partition: Option<i32>,
    /// Given back with the delivery report.
    pub(super) opaque: usize,
}

impl Topic {
    /// Makes the handle for `name`. The topic itself is not created.
    pub(super) fn new(producer: &ThreadedProducer<Reports>, name: &str) -> Result<Self, RDKafkaErrorCode> {
        let name = CString::new(name).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
        // SAFETY: the client pointer is valid as long as `producer` is borrowed, the name is NUL-terminated and copied
        // by the callee, and a null configuration asks for the client's defaults.
        let raw = unsafe {
            ffi::rd_kafka_topic_new(producer.client().native_ptr(), name.as_ptr(), ptr::null_mut())
        };
        if raw.is_null() {
            // SAFETY: reads the thread's last error; no arguments.
            return Err(unsafe { ffi::rd_kafka_last_error() }.into());
        }
        Ok(Self { raw, producer: producer.clone() })
    }

    /// Hands `record` to librdkafka.
    ///
    /// # Errors
    /// `QueueFull` when it should be tried again later; else the record can never be sent like this.
    pub(super) fn send(&self, record: &Record<'_>) -> Result<(), RDKafkaErrorCode> {
        let value = record.value.map_or_else(absent, memory);
        let fixed = [
            argument(vtype::RD_KAFKA_VTYPE_RKT, Value { rkt: self.raw }),
            argument(vtype::RD_KAFKA_VTYPE_MSGFLAGS, Value { i: ffi::RD_KAFKA_MSG_F_COPY }),
            argument(vtype::RD_KAFKA_VTYPE_KEY, memory(record.key)),
            argument(vtype::RD_KAFKA_VTYPE_VALUE, value),
            argument(vtype::RD_KAFKA_VTYPE_OPAQUE, Value { ptr: record.opaque as *mut c_void }),
            argument(
                vtype::RD_KAFKA_VTYPE_PARTITION,
                Value { i32_: record.partition.unwrap_or(CHOSEN_BY_KEY) },
            ),
            // Zero is the time of the call.
            argument(vtype::RD_KAFKA_VTYPE_TIMESTAMP, Value { i64_: record.timestamp.unwrap_or(0) }),
        ];
        let end = argument(vtype::RD_KAFKA_VTYPE_END, absent());
        let mut arguments = [end; FIXED_ARGUMENTS + MOST_HEADERS];
        arguments[..FIXED_ARGUMENTS].copy_from_slice(&fixed);
        let mut count = FIXED_ARGUMENTS;
        for (place, (name, value)) in arguments[FIXED_ARGUMENTS..].iter_mut().zip(record.headers.iter()) {
            let header = ffi::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_2 {
                name: name.as_ptr(),
                val: value.as_ptr().cast::<c_void>(),
                size: value.len().cast_signed(),
            };
            *place = argument(vtype::RD_KAFKA_VTYPE_HEADER, Value { header });
            count += 1;
        }
        // SAFETY: the client and the topic are alive, `count` entries of `arguments` are initialised with the union
        // member that their type calls for, and with MSG_F_COPY nothing is kept of them after the call.
        let error = unsafe {
            ffi::rd_kafka_produceva(self.producer.client().native_ptr(), arguments.as_ptr(), count)
        };
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: a non-null result is an error object that is ours to read and then destroy.
        let code = unsafe {
            let code = ffi::rd_kafka_error_code(error);
            ffi::rd_kafka_error_destroy(error);
            code
        };
        Err(code.into())
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: `raw` came from rd_kafka_topic_new and is destroyed once.
        unsafe { ffi::rd_kafka_topic_destroy(self.raw) }
    }
}

fn argument(vtype: vtype, u: Value) -> ffi::rd_kafka_vu_t {
    ffi::rd_kafka_vu_t { vtype, u }
}

/// For keys and values: librdkafka only reads what the pointer leads to.
fn memory(bytes: &[u8]) -> Value {
    Value { mem: Memory { ptr: bytes.as_ptr().cast_mut().cast::<c_void>(), size: bytes.len() } }
}

fn absent() -> Value {
    Value { mem: Memory { ptr: ptr::null_mut(), size: 0 } }
}
