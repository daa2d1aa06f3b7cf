//! A broker that has served for a while.
//!
//! Its JVM compiles what runs often; in the first minute that takes more of two cores than the records do, and what it
//! takes, the side lacks that happens to be measured.

use anyhow::Result;
use integration_tests::servers::{create_topic, delete_topics};
use rdkafka::producer::{BaseRecord, Producer};

use crate::{
    producing::{self, FLUSH_DEADLINE},
    site::Site,
};

/// Requests of many small records, and of few large ones: how many, and records and bytes of each.
const REQUESTS: [Requests; 2] = [
    Requests { count: 20_000, records: 100, record_bytes: 100 },
    Requests { count: 1_000, records: 4, record_bytes: 240_000 },
];

struct Requests {
    count: usize,
    records: usize,
    record_bytes: usize,
}

/// Has the broker of `site` serve produce requests, and forget their records.
pub(crate) async fn broker(site: &Site) -> Result<()> {
    println!("warming the broker up");
    for requests in REQUESTS {
        let (bootstrap, topic) = (site.kafka(), site.unique("warm"));
        create_topic(&bootstrap, &topic, 1).await?;
        let name = topic.clone();
        tokio::task::spawn_blocking(move || produce(&bootstrap, &name, &requests)).await??;
        delete_topics(&site.kafka(), &[topic]).await?;
    }
    Ok(())
}

fn produce(bootstrap: &str, topic: &str, requests: &Requests) -> Result<()> {
    let producer = producing::open(bootstrap, &[("batch.num.messages", &requests.records.to_string())])?;
    let value = vec![b'v'; requests.record_bytes];
    for _ in 0..requests.count * requests.records {
        producing::send(&producer, BaseRecord::<(), [u8]>::to(topic).payload(&value))?;
    }
    producer.flush(FLUSH_DEADLINE)?;
    Ok(())
}
