//! Faults of the sink's own commands, under load: each error code and a closed connection on each command, and forced
//! step-downs. Nothing is missing, and the copy is identical.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bson::{Bson, Document, doc};
use integration_tests::{
    scene::Scene,
    servers::{self, Addresses, Mongod, MongodOptions},
    wait,
};

const SOON: Duration = Duration::from_secs(30);
const BETWEEN_ELECTIONS: Duration = Duration::from_secs(5);
const COMMANDS: [&str; 3] = ["insert", "update", "delete"];

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_each_kind_on_each_command_and_an_election_lose_nothing() -> Result<()> {
    faults(1, 1, 1).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; run with: cargo test --package integration-tests faults_in_a_row -- --ignored"]
async fn many_faults_in_a_row_and_an_election_every_5_s_lose_nothing() -> Result<()> {
    faults(3, 4, 12).await
}

/// What the server does instead of the command, or after it.
fn kinds() -> Vec<Document> {
    let mut kinds: Vec<_> = [112, 189, 91, 11600].map(|code: i32| doc! { "errorCode": code }).into();
    // Without the fields that a duplicate key has, the server says 40671 instead: its own fault, which stops the sink.
    let met = doc! { "keyPattern": { "_id": 1 }, "keyValue": { "_id": 1 } };
    kinds.push(doc! { "errorCode": 11000, "errorExtraInfo": met });
    kinds.push(doc! { "writeConcernError": { "code": 64, "errmsg": "waiting for replication timed out" } });
    kinds.push(doc! { "closeConnection": true });
    kinds
}

async fn faults(rounds: usize, times: i32, elections: usize) -> Result<()> {
    let _alone = servers::alone().await;
    let mongod = Mongod::start(MongodOptions::default()).await?;
    let addresses = Addresses { mongodb_uri: mongod.uri(), ..servers::shared().await?.clone() };
    Scene::play(&addresses, "sink_faults", async |scene| {
        // By its name the fail point knows the sink's connections from all others. After 91 and 11600 the driver
        // uses a server again after its next heartbeat only; a shutdown ends the one in flight, a fail point does not.
        let options = "appName=sink&heartbeatFrequencyMS=500";
        let own = format!("[sinks.copy.mongodb]\nuri = \"{}&{options}\"", mongod.uri());
        let mut daemon = scene.pipeline("full_document = \"updateLookup\"", &own)?;
        daemon.start_ready().await?;
        let mut load = scene.load(|plan| (plan.operations, plan.rate) = (u64::MAX, Some(400)));
        load.reach(200).await?;
        for _ in 0..rounds {
            for kind in kinds() {
                for command in COMMANDS {
                    fail(&mongod, command, &kind, times)
                        .await
                        .with_context(|| format!("{kind} on {command}"))?;
                }
            }
        }
        for election in 0..elections {
            if election > 0 {
                wait::pass(BETWEEN_ELECTIONS).await;
            }
            mongod.step_down(2).await?;
        }
        let more = load.counters().writes() + 300;
        load.reach(more).await?;
        load.stop().await?;
        let restarts = daemon.metrics().await?.sum("millrace_half_restarts_total", "kind=\"source\"");
        scene.complete(restarts.unwrap_or_default() as usize).await?;
        ensure!(!daemon.log()?.contains("stays down"), "a half gave up");
        daemon.terminate().await
    })
    .await
}

/// Lets the sink's next `times` commands of this name fail, and waits until they have.
async fn fail(mongod: &Mongod, command: &str, kind: &Document, times: i32) -> Result<()> {
    let mut data = doc! { "failCommands": [command], "appName": "sink" };
    data.extend(kind.clone());
    let admin = mongod.client().await?.database("admin");
    let fault = doc! { "configureFailPoint": "failCommand", "mode": { "times": times }, "data": data };
    let before = match admin.run_command(fault).await?.get("count") {
        Some(Bson::Int32(count)) => i64::from(*count),
        Some(Bson::Int64(count)) => *count,
        other => anyhow::bail!("a fail point was entered {other:?} times"),
    };
    let wait = doc! {
        "waitForFailPoint": "failCommand", "timesEntered": before + i64::from(times),
        "maxTimeMS": i64::try_from(SOON.as_millis())?,
    };
    admin.run_command(wait).await?;
    Ok(())
}
