//! Kafka in KRaft mode as a cluster of one: broker and controller in one JVM.

use std::{
    fmt::Write as _,
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
};

use super::{Certificates, fetch};
use crate::{
    child::{Child, Signal},
    scratch::{Scratch, free_port},
    wait,
};

const START_DEADLINE: Duration = Duration::from_secs(90);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Any 16 bytes in URL-safe base64; a cluster needs a name.
const CLUSTER_ID: &str = "bWlsbHJhY2UtdGVzdHMtMQ";

/// How a broker differs from the usual one.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// Whether a topic appears when somebody writes to it.
    pub auto_create_topics: bool,
    /// A second listener with SASL_SSL and SCRAM-SHA-512 for these users and passwords. Access control is on then:
    /// the plain listener may do everything, users only what [`Kafka::allow`] gave them.
    pub users: Vec<(String, String)>,
    /// Heap, collector and compilers as for work, instead of a quick start and a small heap.
    pub full_speed: bool,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self { auto_create_topics: true, users: Vec::new(), full_speed: false }
    }
}

/// A running broker with its data. Killed on drop, its data removed.
#[derive(Debug)]
pub struct Kafka {
    child: Child,
    full_speed: bool,
    port: u16,
    secure_port: Option<u16>,
    certificates: Option<Certificates>,
    directory: Scratch,
}

impl Kafka {
    /// Starts one and waits until it answers.
    pub async fn start(options: KafkaOptions) -> Result<Self> {
        const ATTEMPTS: usize = 3;
        let mut attempt = 1;
        loop {
            match Self::try_start(&options).await {
                // Another process may have taken a port between our look and its use.
                Err(error)
                    if attempt < ATTEMPTS && format!("{error:#}").contains("Address already in use") =>
                {
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn try_start(options: &KafkaOptions) -> Result<Self> {
        let directory = Scratch::new("kafka")?;
        let secure = !options.users.is_empty();
        let certificates = if secure { Some(Certificates::new()?) } else { None };
        let secure_port = if secure { Some(free_port()?) } else { None };
        let port = free_port()?;
        let properties = properties(options, &directory, port, secure_port, certificates.as_ref())?;
        fs::write(directory.path().join("server.properties"), properties)?;
        format_storage(options, &directory)?;
        let full_speed = options.full_speed;
        let child = spawn(&directory, full_speed)?;
        let mut kafka = Self { child, full_speed, port, secure_port, certificates, directory };
        kafka.answers().await?;
        Ok(kafka)
    }

    /// `host:port` of the plain listener, where everything is allowed.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `host:port` of the SASL_SSL listener, where there is one.
    pub fn secure_bootstrap(&self) -> Option<String> {
        self.secure_port.map(|port| format!("127.0.0.1:{port}"))
    }

    /// The authority that signed its certificate, where it has one.
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Freezes it: connections stay, nothing answers.
    pub fn stop(&mut self) -> Result<()> {
        self.child.signal(Signal::Stop)
    }

    /// Thaws it.
    pub fn cont(&mut self) -> Result<()> {
        self.child.signal(Signal::Continue)
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()
    }

    /// Kills it if it runs, starts it again on the same ports and data, and waits until it answers.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.child = spawn(&self.directory, self.full_speed)?;
        self.answers().await
    }

    /// Lets `user` do `operations` (as in the access control tool: `Read`, `Write`, `Create`, …) on resources of `kind`
    /// (`topic`, `group`) whose names start with `prefix`; on all for `*`.
    pub async fn allow(&self, user: &str, operations: &[&str], kind: &str, prefix: &str) -> Result<()> {
        let mut command = java(&self.directory, false)?;
        command.args(["org.apache.kafka.tools.AclCommand", "--bootstrap-server", &self.bootstrap()]);
        command.args(["--add", "--allow-principal", &format!("User:{user}"), &format!("--{kind}"), prefix]);
        if prefix != "*" {
            command.args(["--resource-pattern-type", "prefixed"]);
        }
        for operation in operations {
            command.args(["--operation", operation]);
        }
        tokio::task::spawn_blocking(move || finish(command, "the access control tool")).await?
    }

    async fn answers(&mut self) -> Result<()> {
        let bootstrap = self.bootstrap();
        let child = &mut self.child;
        let ready = wait::until("Kafka to answer", START_DEADLINE, async || {
            if let Some(status) = child.try_exit()? {
                return Ok(Some(Err(format!("Kafka ended with {status}\n{}", child.tail()))));
            }
            topic_names(&bootstrap).await?;
            Ok(Some(Ok(())))
        });
        ready.await?.map_err(anyhow::Error::msg)
    }
}

/// The topics of a cluster.
pub async fn topic_names(bootstrap: &str) -> Result<Vec<String>> {
    let bootstrap = bootstrap.to_owned();
    let metadata = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
        let metadata = consumer.fetch_metadata(None, REQUEST_TIMEOUT)?;
        ensure!(!metadata.brokers().is_empty(), "no broker has registered");
        Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
    });
    metadata.await?
}

/// Creates a topic.
pub async fn create_topic(bootstrap: &str, name: &str, partitions: i32) -> Result<()> {
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    for outcome in admin(bootstrap)?.create_topics([&topic], &AdminOptions::new()).await? {
        outcome.map_err(|(topic, code)| anyhow::anyhow!("cannot create topic {topic}: {code}"))?;
    }
    Ok(())
}

/// A property of a topic.
pub async fn topic_property(bootstrap: &str, topic: &str, name: &str) -> Result<Option<String>> {
    let wanted = ResourceSpecifier::Topic(topic);
    let resources = admin(bootstrap)?.describe_configs([&wanted], &AdminOptions::new()).await?;
    let resource =
        resources.into_iter().next().with_context(|| format!("nothing is said of topic {topic}"))?;
    let resource = resource.map_err(|code| anyhow::anyhow!("cannot describe topic {topic}: {code}"))?;
    Ok(resource.get(name).and_then(|entry| entry.value.clone()))
}

/// Deletes topics.
pub async fn delete_topics(bootstrap: &str, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for outcome in admin(bootstrap)?.delete_topics(&names, &AdminOptions::new()).await? {
        outcome.map_err(|(topic, code)| anyhow::anyhow!("cannot delete topic {topic}: {code}"))?;
    }
    Ok(())
}

fn admin(bootstrap: &str) -> Result<AdminClient<DefaultClientContext>> {
    Ok(ClientConfig::new().set("bootstrap.servers", bootstrap).create()?)
}

fn properties(
    options: &KafkaOptions,
    directory: &Scratch,
    port: u16,
    secure_port: Option<u16>,
    certificates: Option<&Certificates>,
) -> Result<String> {
    let controller_port = free_port()?;
    let (data, topics) = (directory.path().join("data"), options.auto_create_topics);
    let secure_listener = secure_port.map(|port| format!(",SECURE://127.0.0.1:{port}")).unwrap_or_default();
    let mut text = format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAIN://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}{secure_listener}
advertised.listeners=PLAIN://127.0.0.1:{port}{secure_listener}
listener.security.protocol.map=PLAIN:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL
inter.broker.listener.name=PLAIN
controller.listener.names=CONTROLLER
log.dirs={}
num.partitions=3
auto.create.topics.enable={topics}
",
        data.display(),
    );
    text.push_str(SMALL_AND_QUICK);
    if let Some(certificates) = certificates {
        write!(
            text,
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secure.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location={}
",
            certificates.server().display(),
        )?;
    }
    Ok(text)
}

/// One node carries all replicas; its internal topics have few partitions, its groups start at once, and the log
/// cleaner takes 8 MB of the small heap instead of 128.
const SMALL_AND_QUICK: &str = "offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=8388608
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
";

fn format_storage(options: &KafkaOptions, directory: &Scratch) -> Result<()> {
    let mut command = java(directory, false)?;
    command.args(["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config"]);
    command.arg(directory.path().join("server.properties"));
    for (name, password) in &options.users {
        command.args(["--add-scram", &format!("SCRAM-SHA-512=[name={name},password={password}]")]);
    }
    finish(command, "Kafka's storage tool")
}

fn spawn(directory: &Scratch, full_speed: bool) -> Result<Child> {
    let mut command = java(directory, full_speed)?;
    command.arg("kafka.Kafka").arg(directory.path().join("server.properties"));
    Child::spawn("Kafka", command, &directory.path().join("log"))
}

/// A JVM: one that starts quickly and stays small, or as Kafka's own script starts it.
fn java(directory: &Scratch, full_speed: bool) -> Result<Command> {
    let mut command = Command::new("java");
    command.current_dir(directory.path());
    command.args(match full_speed {
        true => ["-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"],
        false => ["-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"],
    });
    command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
    command.arg("-cp").arg(fetch::kafka_jars()?.join("*"));
    Ok(command)
}

fn finish(mut command: Command, name: &str) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("{name} failed: {out}{err}");
    }
    Ok(())
}
