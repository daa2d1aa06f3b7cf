//! Topics with records.

use anyhow::{Result, ensure};
use integration_tests::servers::create_topic;
use rdkafka::producer::{BaseRecord, Producer};

use crate::{
    load::{self, Load, Value},
    producing::{self, FLUSH_DEADLINE},
    site::Site,
};

/// Creates a topic with one partition that holds the records of `load`.
pub(super) async fn fill(site: &Site, topic: &str, load: Load, value: Value) -> Result<()> {
    let bootstrap = site.kafka();
    create_topic(&bootstrap, topic, 1).await?;
    let name = topic.to_owned();
    tokio::task::spawn_blocking(move || produce(&bootstrap, &name, load, value)).await??;
    let found = site.record_count(&[topic.to_owned()]).await?;
    ensure!(found == u64::from(load.count), "{topic} has {found} records instead of {}", load.count);
    Ok(())
}

fn produce(bootstrap: &str, topic: &str, load: Load, value: Value) -> Result<()> {
    let producer = producing::open(bootstrap, &[])?;
    for change in load.changes() {
        let (key, value) = load::record(change, load.text_bytes, value);
        let mut record = BaseRecord::to(topic).key(&key);
        record.payload = value.as_ref();
        producing::send(&producer, record)?;
    }
    producer.flush(FLUSH_DEADLINE)?;
    Ok(())
}
