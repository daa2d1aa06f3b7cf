//! Sink cases that say how collections look before and after, end to end: one daemon, and a sink for each case.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use bson::{Bson, Document};
use futures_util::TryStreamExt;
use integration_tests::{scene::Scene, servers, topic};
use millrace::import::{self, Properties};

use super::{
    cases::{self, Case, Reasons, topic_of},
    payload::{self, Format},
    same, sink,
};

const SOON: Duration = Duration::from_secs(60);

/// A case, and where it takes place.
struct Stage {
    file: String,
    case: Case,
    /// Stands for the case's database.
    database: String,
    /// Stands before the names of its topics.
    prefix: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance_of_collections() -> Result<()> {
    Scene::play(servers::shared().await?, "conformance", async |scene| {
        let stages = stages(scene)?;
        if stages.is_empty() {
            return Ok(());
        }
        let mut connectors = Vec::new();
        for stage in &stages {
            stage.prepare(scene).await?;
            connectors.push(stage.connector(scene));
        }
        let worker: Properties = [("bootstrap.servers".to_owned(), scene.addresses.kafka.clone())].into();
        let imported = import::import(&connectors, Some(&worker), Some(&scene.name));
        ensure!(imported.can_run(), "{:?}", imported.remarks);
        let mut daemon = scene.daemon(imported.toml.as_deref().context("a configuration")?)?;
        daemon.start_with(&["--exit-when-idle", "1s"])?;
        let status = daemon.exit(SOON).await?;
        ensure!(status.success(), "the daemon ended with {status}");
        let mut failures = Vec::new();
        for stage in &stages {
            if let Err(error) = stage.compare(scene).await {
                failures.push(format!("{} {:?}: {error}", stage.file, stage.case.name));
            }
            scene.pair.client.database(&stage.database).drop().await?;
        }
        println!("collections of {} cases, {} not as expected", stages.len(), failures.len());
        ensure!(failures.is_empty(), "{}", failures.join("\n"));
        Ok(())
    })
    .await
}

fn stages(scene: &Scene) -> Result<Vec<Stage>> {
    let reasons = Reasons::load()?;
    let mut stages = Vec::new();
    for (file, cases) in cases::load()? {
        for case in cases {
            if reasons.is_not_yet(&file) || !case.expect.contains_key("after") {
                continue;
            }
            // What deviates deliberately is not for this test.
            if sink::run(&file, &case).is_err() {
                continue;
            }
            let number = stages.len();
            let database = format!("{}_{number}", scene.pair.copy);
            let prefix = format!("{}.{number}.", scene.pair.database);
            stages.push(Stage { file: file.clone(), case, database, prefix });
        }
    }
    Ok(stages)
}

impl Stage {
    /// The connector of the case, with our servers and names.
    fn connector(&self, scene: &Scene) -> import::Connector {
        let format = |side: &str| {
            let payloads = self.case.documents("records").map(|record| record.get(side));
            payloads.map(Format::of).find(|format| *format != Format::Text).unwrap_or(Format::Text)
        };
        let mut connector = sink::connector(&self.case, (format("key"), format("value")));
        let mut set = |key: &str, value: String| connector.config.insert(key.into(), value);
        set("connection.uri", scene.addresses.mongodb_uri.clone());
        set("database", self.database.clone());
        let topics: Vec<String> = self.topics().into_keys().collect();
        set("topics", topics.join(","));
        connector.name = Some(self.database.clone());
        connector
    }

    /// The records by the topics that they go to.
    fn topics(&self) -> BTreeMap<String, Vec<&Document>> {
        let mut topics: BTreeMap<String, Vec<&Document>> = BTreeMap::new();
        for record in self.case.documents("records") {
            topics.entry(format!("{}{}", self.prefix, topic_of(record))).or_default().push(record);
        }
        topics
    }

    /// What is in the collections before, and the records.
    async fn prepare(&self, scene: &Scene) -> Result<()> {
        let empty = Document::new();
        for (namespace, documents) in self.case.input.get_document("before").unwrap_or(&empty) {
            let documents: Vec<&Document> =
                documents.as_array().into_iter().flatten().filter_map(Bson::as_document).collect();
            if !documents.is_empty() {
                let collection = self.collection(scene, namespace)?;
                collection.insert_many(documents).await?;
            }
        }
        for (topic, records) in self.topics() {
            servers::create_topic(&scene.addresses.kafka, &topic, 1).await?;
            let entry = |record: &Document| {
                Ok((payload::bytes(record.get("key"))?, payload::bytes(record.get("value"))?))
            };
            let entries: Result<Vec<topic::Entry>, String> = records.into_iter().map(entry).collect();
            let entries = entries.map_err(anyhow::Error::msg)?;
            topic::write(&scene.addresses.kafka, &[], &topic, entries).await?;
        }
        Ok(())
    }

    async fn compare(&self, scene: &Scene) -> Result<()> {
        for (namespace, expected) in self.case.expect.get_document("after")? {
            let expected = expected.as_array().context("a list of documents")?;
            let own: Vec<Document> =
                self.collection(scene, namespace)?.find(Document::new()).await?.try_collect().await?;
            ensure!(same::collections(expected, &own), "{namespace} has {own:?} instead of {expected:?}");
        }
        Ok(())
    }

    /// The collection that stands for this one.
    fn collection(&self, scene: &Scene, namespace: &str) -> Result<mongodb::Collection<Document>> {
        let (db, coll) = namespace.split_once('.').context("a namespace")?;
        ensure!(self.case.config.get("database").is_some_and(|own| own == db), "{db} is another database");
        Ok(scene.pair.client.database(&self.database).collection(coll))
    }
}
