//! millrace: MongoDB ↔ Kafka change data capture.

pub mod checkpoint;
pub mod config;
pub mod json;
pub mod kafka;
pub mod mongo;
pub mod namespace;
pub mod position;
pub mod raw;
pub mod retry;
pub mod source;
