//! `millrace import --take-over`: a pipeline goes on where connectors of Kafka Connect stand.

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
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
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

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_goes_on_where_the_group_of_a_connector_stands() -> Result<()> {
    Scene::play(servers::shared().await?, "sink_taken_over", async |scene| {
        let (kafka, topic) = (&scene.addresses.kafka, topic_of(scene));
        let connector = sink_connector(scene)?;
        servers::create_topic(kafka, &topic, 1).await?;
        let entry = |id: i32| (None, Some(json!({ "_id": id }).to_string().into_bytes()));
        topic::write(kafka, &[], &topic, (0..BEFORE + AFTER).map(entry).collect()).await?;

        let refused = async |words: &[&str]| {
            let (code, _, remarks) =
                import(scene, &connector, &["--take-over", "--connector-stopped"]).await?;
            ensure!(code == Some(1), "{remarks}");
            says(&remarks, words)
        };
        let group = format!("connect-{}", scene.name);
        refused(&["not taken over", "has committed nothing"]).await?;
        let member = Member::join(kafka, &group, &topic).await?;
        refused(&["not taken over", &group, "has 1 members"]).await?;
        member.commit_and_leave(&topic, BEFORE.into()).await?;

        let place = format!("{topic}[0] at {BEFORE}");
        let mut toml = String::new();
        for _ in 0..2 {
            let (code, text, remarks) = import(scene, &connector, &["--take-over"]).await?;
            ensure!(code == Some(0), "{remarks}");
            says(&remarks, &["taken over from group connect-", "to group millrace.", &place])?;
            toml = text;
        }
        let mut daemon = scene.daemon(&toml)?;
        daemon.start_with(&["--exit-when-idle", "1s"])?;
        ensure!(daemon.exit(SOON).await?.success(), "{}", daemon.tail());
        let mut ids: Vec<i32> = Vec::new();
        let mut copied = scene.copied("orders").find(Document::new()).await?;
        while copied.advance().await? {
            ids.push(copied.current().get_i32("_id")?);
        }
        ids.sort_unstable();
        ensure!(ids == (BEFORE..BEFORE + AFTER).collect::<Vec<_>>(), "{ids:?}");

        refused(&["not taken over", "has gone on by itself"]).await?;
        daemon.start_ready().await?;
        wait::until("the refusal", SOON, async || refused(&["the sink is running"]).await.map(Some)).await?;
        daemon.terminate().await
    })
    .await
}

/// A consumer such as a sink connector has.
struct Member(BaseConsumer);

impl Member {
    /// Joins `group`, and waits for partitions of `topic`.
    async fn join(kafka: &str, group: &str, topic: &str) -> Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", kafka)
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .create()?;
        consumer.subscribe(&[topic])?;
        wait::until("partitions", SOON, async || {
            // What is polled is not needed; polling is what makes a member.
            tokio::task::block_in_place(|| consumer.poll(Duration::from_millis(100))).transpose()?;
            Ok((consumer.assignment()?.count() > 0).then_some(()))
        })
        .await?;
        Ok(Self(consumer))
    }

    /// Commits `next_offset` of the first partition, and leaves the group.
    async fn commit_and_leave(self, topic: &str, next_offset: i64) -> Result<()> {
        let topic = topic.to_owned();
        let leaving = tokio::task::spawn_blocking(move || -> Result<()> {
            let mut offsets = TopicPartitionList::new();
            offsets.add_partition_offset(&topic, 0, Offset::Offset(next_offset))?;
            self.0.commit(&offsets, CommitMode::Sync)?;
            drop(self.0);
            Ok(())
        });
        leaving.await?
    }
}

/// A sink connector's file; the worker's is beside it.
fn sink_connector(scene: &Scene) -> Result<PathBuf> {
    connector(scene)?;
    let config = json!({
        "connector.class": "com.mongodb.kafka.connect.MongoSinkConnector",
        "connection.uri": scene.addresses.mongodb_uri,
        "topics": topic_of(scene),
        "database": scene.pair.copy,
        "collection": "orders",
        "document.id.strategy": "com.mongodb.kafka.connect.sink.processor.id.strategy.ProvidedInValueStrategy",
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "org.apache.kafka.connect.storage.StringConverter",
    });
    let path = scene.path("sink.json");
    fs::write(&path, json!({ "name": scene.name, "config": config }).to_string())?;
    Ok(path)
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
