//! `millrace import --take-over`: a pipeline goes on where a connector of Kafka Connect stands.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bson::{Document, rawdoc};
use integration_tests::{
    daemon, ledger,
    scene::{Scene, says},
    servers, topic, wait,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

/// Documents before and after the connector's position.
const BEFORE: i32 = 5;
const AFTER: i32 = 7;

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_goes_on_after_the_last_event_of_a_stopped_connector() -> Result<()> {
    Scene::play(servers::shared().await?, "taken_over", async |scene| {
        let connector = connector(scene)?;
        let token = insert(scene).await?;
        let position = json!({ "_id": json!({ "_data": token }).to_string() });
        let key = json!([scene.name, { "ns": partition(scene) }]);
        store(scene, vec![(key.clone(), position)]).await?;

        let (code, toml, remarks) = import(scene, &connector, &["--take-over"]).await?;
        ensure!(code == Some(0), "{remarks}");
        says(&remarks, &["taken over: cluster time", "stored in topic millrace."])?;
        let mut daemon = scene.daemon(&toml)?;
        daemon.start_ready().await?;
        let now = ledger::now(&scene.pair.client).await?;
        daemon.passed(&scene.name, now, SOON).await?;
        daemon.terminate().await?;
        let records = topic::read(&scene.addresses.kafka, vec![topic_of(scene)]).await?;
        let mut ids = Vec::new();
        for record in records {
            let event: Value = serde_json::from_slice(&record.value.context("a value")?)?;
            ids.push(event["documentKey"]["_id"].as_i64().context("an _id")?);
        }
        // Of several partitions.
        ids.sort_unstable();
        ensure!(ids == (i64::from(BEFORE)..i64::from(BEFORE + AFTER)).collect::<Vec<_>>(), "{ids:?}");

        // A copy that was not finished is made anew; what was taken over before is replaced.
        store(scene, vec![(key, json!({ "_id": "{\"_id\": 1, \"copyingData\": true}", "copy": "true" }))])
            .await?;
        let (code, _, remarks) = import(scene, &connector, &["--take-over"]).await?;
        ensure!(code == Some(0), "{remarks}");
        says(&remarks, &["with 1 collections to copy"])?;
        daemon.start_ready().await?;
        daemon.logged(&["the snapshot is read"], SOON).await?;
        daemon.terminate().await?;
        let rows = topic::read(&scene.addresses.kafka, vec![topic_of(scene)]).await?;
        let is_row = |record: &&topic::Record| {
            record
                .value
                .as_deref()
                .is_some_and(|value| String::from_utf8_lossy(value).contains("copyingData"))
        };
        let count = rows.iter().filter(is_row).count();
        ensure!(count == (BEFORE + AFTER) as usize, "{count} rows");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_that_may_still_run_is_not_taken_over() -> Result<()> {
    Scene::play(servers::shared().await?, "not_taken_over", async |scene| {
        let connector = connector(scene)?;
        // A sink is a member of a group, as a worker is, once it has something to read.
        servers::create_topic(&scene.addresses.kafka, &topic_of(scene), 1).await?;
        let mut member = scene.daemon(&scene.config(&scene.sink("")))?;
        member.start_ready().await?;
        wait::until("the refusal", SOON, async || {
            let (code, _, remarks) = import(scene, &connector, &["--take-over"]).await?;
            ensure!(code == Some(1), "{remarks}");
            says(&remarks, &["not taken over", "may still be running", "--connector-stopped"]).map(Some)
        })
        .await?;
        let (code, _, remarks) = import(scene, &connector, &["--take-over", "--connector-stopped"]).await?;
        ensure!(code == Some(1), "{remarks}");
        says(&remarks, &["not taken over", "there is no topic"])?;
        store(scene, vec![(json!(["other", { "ns": "x" }]), json!({ "_id": "{\"_data\": \"82\"}" }))])
            .await?;
        let (code, _, remarks) = import(scene, &connector, &["--take-over", "--connector-stopped"]).await?;
        ensure!(code == Some(1), "{remarks}");
        says(&remarks, &["has no position of connector"])?;
        member.terminate().await
    })
    .await
}

fn topic_of(scene: &Scene) -> String {
    format!("{}.orders", scene.pair.database)
}

fn offsets_topic(scene: &Scene) -> String {
    // Goes with the scene's other topics, and is none that the sink reads.
    format!("millrace.{}.offsets", scene.name)
}

/// What the official connector calls the deployment.
fn partition(scene: &Scene) -> String {
    let uri = scene.addresses.mongodb_uri.split('?').next().unwrap_or_default();
    format!("{uri}{}", scene.pair.database)
}

/// The connector's file; the worker's is beside it.
fn connector(scene: &Scene) -> Result<PathBuf> {
    let config = json!({
        "connector.class": "com.mongodb.kafka.connect.MongoSourceConnector",
        "connection.uri": scene.addresses.mongodb_uri,
        "database": scene.pair.database,
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "org.apache.kafka.connect.storage.StringConverter",
    });
    let path = scene.path("connector.json");
    fs::write(&path, json!({ "name": scene.name, "config": config }).to_string())?;
    let worker = format!(
        "bootstrap.servers={}\ngroup.id=millrace.{}.copy\noffset.storage.topic={}\n",
        scene.addresses.kafka,
        scene.name,
        offsets_topic(scene)
    );
    fs::write(scene.path("worker.properties"), worker)?;
    Ok(path)
}

/// Runs `millrace import` with more arguments: exit code, output, complaints.
async fn import(
    scene: &Scene,
    connector: &Path,
    arguments: &[&str],
) -> Result<(Option<i32>, String, String)> {
    let mut command = std::process::Command::new(daemon::binary()?);
    command.arg("import").arg("--worker").arg(scene.path("worker.properties")).args(arguments).arg(connector);
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
}

/// Writes what Connect stores.
async fn store(scene: &Scene, offsets: Vec<(Value, Value)>) -> Result<()> {
    let entries = offsets
        .iter()
        .map(|(key, value)| (Some(key.to_string().into_bytes()), Some(value.to_string().into_bytes())));
    topic::write(&scene.addresses.kafka, &[], &offsets_topic(scene), entries.collect()).await
}

/// Inserts documents; gives the token of the last event before the connector's position.
async fn insert(scene: &Scene) -> Result<String> {
    let orders = scene.original("orders");
    for id in 0..BEFORE + AFTER {
        orders.insert_one(rawdoc! { "_id": id }).await?;
    }
    let database = scene.pair.client.database(&scene.pair.database);
    let mut stream =
        database.watch().start_at_operation_time(scene.pair.begun).await?.with_type::<Document>();
    let mut token = None;
    for _ in 0..BEFORE {
        let event = stream.next_if_any().await?.context("an event")?;
        token = Some(event.get_document("_id")?.get_str("_data")?.to_owned());
    }
    token.context("a token")
}
