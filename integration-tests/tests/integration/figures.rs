//! Figures of the daemon's life: printed, never asserted.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use integration_tests::{daemon::Daemon, scene::Scene, servers, topic, wait};

const SOON: Duration = Duration::from_secs(60);
const STARTS: usize = 5;

/// Starts on running servers, with a change that waits to be read; then memory of both halves at rest.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures, not a check; run with: cargo test --package integration-tests figures -- --ignored --nocapture"]
async fn start_to_first_record_and_memory_at_rest() -> Result<()> {
    Scene::play(servers::shared().await?, "figures", async |scene| {
        let mut daemon = scene.daemon(&scene.config(&scene.source("")))?;
        daemon.start_ready().await?;
        scene.original("c").insert_one(&bson::rawdoc! { "_id": -1 }).await?;
        let name = format!("{}.c", scene.pair.database);
        let kafka = scene.addresses.kafka.clone();
        wait::until("the first record", SOON, async || {
            Ok((topic::count(&kafka, vec![name.clone()]).await? > 0).then_some(()))
        })
        .await?;
        daemon.terminate().await?;
        for number in 0..STARTS {
            scene.original("c").insert_one(&bson::rawdoc! { "_id": number as i32 }).await?;
            let arrival = topic::Arrival::at_the_end_of(&kafka, &name).await?;
            let began = Instant::now();
            daemon.start()?;
            arrival.next(SOON).await?;
            println!("start to first record: {} ms", began.elapsed().as_millis());
            daemon.terminate().await?;
        }
        let mut both = scene.pipeline("", "")?;
        both.start_ready().await?;
        scene.pair.identical().await?;
        println!("memory at rest, a source and a sink: {}", resident(&mut both)?);
        both.terminate().await
    })
    .await
}

fn resident(daemon: &mut Daemon) -> Result<String> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id()?))?;
    let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let all = line("VmRSS:").context("VmRSS in /proc")?;
    Ok(format!("{all}, of it {} of its own", line("RssAnon:").context("RssAnon in /proc")?))
}
