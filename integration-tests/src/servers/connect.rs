//! A Kafka Connect worker with the official MongoDB connector and Debezium's, to compare with.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use super::fetch;
use crate::{
    child::Child,
    http::{self, Request},
    scratch::{Scratch, free_port},
    wait,
};

const START_DEADLINE: Duration = Duration::from_secs(120);
const REMOVE_DEADLINE: Duration = Duration::from_secs(30);

const PROPERTIES: &str = "worker.properties";

/// A running worker. Killed on drop.
#[derive(Debug)]
pub struct Connect {
    child: Child,
    port: u16,
    offsets_topic: String,
    directory: Scratch,
}

impl Connect {
    /// Starts a worker of its own group on this cluster and waits until it answers: a small one.
    pub async fn start(bootstrap: &str) -> Result<Self> {
        let jvm = ["-Xms64m", "-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];
        Self::start_with(bootstrap, &jvm).await
    }

    /// The same as Kafka's own script starts it, for measuring.
    pub async fn start_at_full_speed(bootstrap: &str) -> Result<Self> {
        Self::start_with(bootstrap, &["-Xms256m", "-Xmx2g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"]).await
    }

    async fn start_with(bootstrap: &str, jvm: &[&str]) -> Result<Self> {
        let directory = Scratch::new("connect")?;
        let files = fetch::connect()?;
        let port = free_port()?;
        let group = format!("connect-{}-{port}", std::process::id());
        let offsets_topic = format!("{group}-offsets");
        let properties = directory.path().join(PROPERTIES);
        let plugins = files.join("plugins");
        fs::write(
            &properties,
            format!(
                "bootstrap.servers={bootstrap}
group.id={group}
config.storage.topic={group}-configs
config.storage.replication.factor=1
offset.storage.topic={offsets_topic}
offset.storage.replication.factor=1
offset.storage.partitions=1
status.storage.topic={group}-status
status.storage.replication.factor=1
status.storage.partitions=1
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.storage.StringConverter
listeners=http://127.0.0.1:{port}
offset.flush.interval.ms=1000
plugin.path={}
",
                plugins.display()
            ),
        )?;
        let mut command = Command::new("java");
        command.current_dir(directory.path());
        command.args(jvm);
        command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
        command.arg("-cp").arg(files.join("libs").join("*"));
        command.arg("org.apache.kafka.connect.cli.ConnectDistributed").arg(&properties);
        let child = Child::spawn("Kafka Connect", command, &directory.path().join("log"))?;
        let mut connect = Self { child, port, offsets_topic, directory };
        connect.answers().await?;
        Ok(connect)
    }

    async fn answers(&mut self) -> Result<()> {
        let (port, child) = (self.port, &mut self.child);
        let ready = wait::until("Kafka Connect to answer", START_DEADLINE, async || {
            if let Some(status) = child.try_exit()? {
                return Ok(Some(Err(format!("Kafka Connect ended with {status}\n{}", child.tail()))));
            }
            // The list is there only once the worker has joined its group.
            let (code, body) = http::ask(port, request("GET", "/connectors", "")).await?;
            ensure!(code == 200, "{code} {body}");
            Ok(Some(Ok(())))
        });
        ready.await?.map_err(anyhow::Error::msg)
    }

    /// The topic in which its connectors' positions are.
    pub fn offsets_topic(&self) -> &str {
        &self.offsets_topic
    }

    /// Its configuration.
    pub fn properties(&self) -> PathBuf {
        self.directory.path().join(PROPERTIES)
    }

    /// Runs a connector with these keys, and waits until its task does.
    pub async fn run(&self, name: &str, keys: &Value) -> Result<()> {
        let path = format!("/connectors/{name}/config");
        let (code, body) = http::ask(self.port, request("PUT", &path, &keys.to_string())).await?;
        ensure!(code == 201 || code == 200, "the connector {name} was refused: {code} {body}");
        self.runs(name).await
    }

    /// Runs a new connector as if it had come to this position before: a partition and an offset as Connect's REST API
    /// has them.
    pub async fn run_from(&self, name: &str, keys: &Value, partition: &Value, offset: &Value) -> Result<()> {
        let new = json!({ "name": name, "config": keys, "initial_state": "STOPPED" });
        let offsets = json!({ "offsets": [{ "partition": partition, "offset": offset }] });
        let path = format!("/connectors/{name}");
        for (method, path, body, done) in [
            ("POST", "/connectors", &new, 201),
            ("PATCH", &format!("{path}/offsets"), &offsets, 200),
            ("PUT", &format!("{path}/resume"), &Value::Null, 202),
        ] {
            // A worker refuses while it has not yet heard of what it was told before.
            wait::until("the worker to take a request", START_DEADLINE, async || {
                let (code, body) = http::ask(self.port, request(method, path, &body.to_string())).await?;
                ensure!(code == done, "{method} {path}: {code} {body}");
                Ok(Some(()))
            })
            .await?;
        }
        self.runs(name).await
    }

    async fn runs(&self, name: &str) -> Result<()> {
        let path = format!("/connectors/{name}/status");
        let running = wait::until("the connector's task to run", START_DEADLINE, async || {
            let (_, body) = http::ask(self.port, request("GET", &path, "")).await?;
            let status: Value = serde_json::from_str(&body)?;
            match status.pointer("/tasks/0/state").and_then(Value::as_str) {
                Some("RUNNING") => Ok(Some(Ok(()))),
                Some("FAILED") => Ok(Some(Err(body))),
                _ => bail!("its state is {body}"),
            }
        });
        running.await?.map_err(anyhow::Error::msg)
    }

    /// Removes a connector, and waits until it is gone; its position stays.
    pub async fn remove(&self, name: &str) -> Result<()> {
        let path = format!("/connectors/{name}");
        http::ask(self.port, request("DELETE", &path, "")).await?;
        wait::until("the connector to be gone", REMOVE_DEADLINE, async || {
            let (code, _) = http::ask(self.port, request("GET", &path, "")).await?;
            Ok((code == 404).then_some(()))
        })
        .await
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The end of its log.
    pub fn tail(&self) -> String {
        self.child.tail()
    }
}

fn request<'a>(method: &'a str, path: &'a str, body: &'a str) -> Request<'a> {
    Request { method, path, headers: "Content-Type: application/json\r\n", body }
}
