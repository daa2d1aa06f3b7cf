//! millrace: MongoDB ↔ Kafka change data capture.

pub mod config;
pub mod json;
pub mod namespace;
pub mod raw;
pub mod retry;
