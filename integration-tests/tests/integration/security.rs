//! TLS with a private authority and SCRAM on both sides; and what is said to whom they refuse.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bson::doc;
use integration_tests::{
    daemon::Daemon,
    scene::{Scene, says},
    servers::{self, Addresses, Certificates, Kafka, KafkaOptions, Mongod, MongodOptions},
    wait,
};
use tokio::sync::OnceCell;

const SOON: Duration = Duration::from_secs(60);

/// Both servers with TLS and access control; shared by this module, as no test here disturbs them.
struct Secured {
    mongod: Mongod,
    kafka: Kafka,
}

async fn secured() -> Result<&'static Secured> {
    static SECURED: OnceCell<Secured> = OnceCell::const_new();
    let start = async || {
        let users = ["full", "no_create"].map(|name| (name.to_owned(), format!("{name}-secret")));
        let kafka =
            KafkaOptions { users: users.into(), auto_create_topics: false, ..KafkaOptions::default() };
        let mongod = MongodOptions { secure: true, ..MongodOptions::default() };
        let (mongod, kafka) = tokio::try_join!(Mongod::start(mongod), Kafka::start(kafka))?;
        let all = ["Describe", "Read", "Write", "Create", "DescribeConfigs"];
        kafka.allow("full", &all, "topic", "*").await?;
        kafka.allow("full", &["Read"], "group", "millrace.").await?;
        kafka.allow("no_create", &["Describe", "Write"], "topic", "*").await?;
        let everywhere = doc! { "role": "readWriteAnyDatabase", "db": "admin" };
        let monitor = doc! { "role": "clusterMonitor", "db": "admin" };
        mongod.create_user("full", "full-secret", vec![everywhere, monitor.clone()]).await?;
        let elsewhere = doc! { "role": "read", "db": "elsewhere" };
        mongod.create_user("elsewhere", "elsewhere-secret", vec![elsewhere, monitor]).await?;
        anyhow::Ok(Secured { mongod, kafka })
    };
    SECURED.get_or_try_init(start).await
}

impl Secured {
    /// With all rights, past the daemon's own way in.
    fn addresses(&self) -> Addresses {
        Addresses { mongodb_uri: self.mongod.uri(), kafka: self.kafka.bootstrap() }
    }

    /// A configuration that comes in through TLS as these users.
    fn config(
        &self,
        scene: &Scene,
        mongodb: (&str, &str),
        kafka: (&str, &str),
        halves: &str,
    ) -> Result<String> {
        let authority = self.kafka.certificates().context("a certificate")?.authority();
        Ok(format!(
            "name = \"{}\"
[mongodb]
uri = \"{}\"
[kafka]
bootstrap_servers = \"{}\"
[kafka.properties]
security.protocol = \"sasl_ssl\"
sasl.mechanism = \"SCRAM-SHA-512\"
sasl.username = \"{}\"
sasl.password = \"{}\"
ssl.ca.location = \"{}\"
{halves}",
            scene.name,
            self.mongod.uri_for(Some(mongodb)),
            self.kafka.secure_bootstrap().context("a secure listener")?,
            kafka.0,
            kafka.1,
            authority.display(),
        ))
    }
}

const FULL: (&str, &str) = ("full", "full-secret");

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_runs_over_tls_with_a_private_authority_and_scram_on_both_sides() -> Result<()> {
    let secured = secured().await?;
    Scene::play(&secured.addresses(), "secure", async |scene| {
        let halves = scene.source("full_document = \"updateLookup\"") + &scene.sink("");
        let mut daemon = scene.daemon(&secured.config(scene, FULL, FULL, &halves)?)?;
        daemon.start_ready().await?;
        scene.load(|_| {}).finish().await?;
        scene.complete(0).await?;
        says_no_secret(&daemon)?;
        daemon.terminate().await
    })
    .await
}

/// Runs `halves` as these users and expects that they stop: one error line each, which holds all of `words`.
async fn refused(
    name: &str,
    (mongodb, kafka): ((&str, &str), (&str, &str)),
    halves: impl FnOnce(&Scene) -> String,
    words: &[&str],
) -> Result<()> {
    let secured = secured().await?;
    Scene::play(&secured.addresses(), name, async |scene| {
        scene.original("orders").insert_one(&bson::rawdoc! { "_id": 1 }).await?;
        let mut daemon = scene.daemon(&secured.config(scene, mongodb, kafka, &halves(scene))?)?;
        stays_down(&mut daemon, words).await?;
        says_no_secret(&daemon)
    })
    .await
}

/// The only half stops at once, in one clear line, and with it the process.
async fn stays_down(daemon: &mut Daemon, words: &[&str]) -> Result<()> {
    daemon.start()?;
    let status = daemon.exit(SOON).await?;
    ensure!(status.code() == Some(1), "{status}");
    let down: Vec<String> = daemon.errors()?.into_iter().filter(|line| line.contains("stays down")).collect();
    ensure!(down.len() == 1, "{down:?}");
    says(&down[0], words)
}

fn says_no_secret(daemon: &Daemon) -> Result<()> {
    ensure!(!daemon.log()?.contains("-secret"), "a password is in the log");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_kafka_password_stops_a_source_in_one_clear_line() -> Result<()> {
    let source = |scene: &Scene| scene.source("");
    refused("kafka_password", (FULL, ("full", "wrong-secret")), source, &["source", "sasl.password"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_kafka_password_stops_a_sink_in_one_clear_line() -> Result<()> {
    let sink = |scene: &Scene| scene.sink("");
    refused("kafka_password", (FULL, ("full", "wrong-secret")), sink, &["sink", "sasl.password"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_mongodb_password_stops_a_source_in_one_clear_line() -> Result<()> {
    let source = |scene: &Scene| scene.source("");
    let words = ["source", "refuses the credentials", "check user, password"];
    refused("mongodb_password", (("full", "wrong-secret"), FULL), source, &words).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mongodb_user_who_may_not_watch_stops_the_source_in_one_clear_line() -> Result<()> {
    let source = |scene: &Scene| scene.source("");
    refused(
        "mongodb_right",
        (("elsewhere", "elsewhere-secret"), FULL),
        source,
        &["source", "lacks the right"],
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mongodb_user_who_may_not_write_stops_the_sink_in_one_clear_line() -> Result<()> {
    let secured = secured().await?;
    Scene::play(&secured.addresses(), "write_right", async |scene| {
        // What the sink has to write comes from a source that may do everything.
        let mut source = scene.daemon(&secured.config(scene, FULL, FULL, &scene.source(""))?)?;
        source.start_ready().await?;
        scene.original("orders").insert_one(&bson::rawdoc! { "_id": 1 }).await?;
        scene.pair.in_order(0).await?;
        source.terminate().await?;
        let user = ("elsewhere", "elsewhere-secret");
        let mut sink = scene.daemon(&secured.config(scene, user, FULL, &scene.sink(""))?)?;
        stays_down(&mut sink, &["sink", "right", &format!("{}.orders", scene.pair.database), "@0"]).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_may_not_be_created_stops_the_source_in_one_clear_line() -> Result<()> {
    let user = ("no_create", "no_create-secret");
    let source = |scene: &Scene| format!("{}[checkpoint]\nstore = \"file\"\n", scene.source(""));
    refused("create", (FULL, user), source, &["source", "topic create_", "cannot be created", "right"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_whose_authority_is_not_trusted_are_refused_in_one_clear_line() -> Result<()> {
    let secured = secured().await?;
    let strangers = Certificates::new()?;
    let stranger = strangers.authority().display().to_string();
    Scene::play(&secured.addresses(), "stranger", async |scene| {
        let config = secured.config(scene, FULL, FULL, &scene.source(""))?;
        let kafkas = secured.kafka.certificates().context("a certificate")?.authority().display().to_string();
        let mongods =
            secured.mongod.certificates().context("a certificate")?.authority().display().to_string();
        let mut daemon = scene.daemon(&config.replace(&kafkas, &stranger))?;
        stays_down(&mut daemon, &["source", "ssl.ca.location"]).await?;
        // The driver reports a certificate like any other reason why a server cannot be used, so it is tried again.
        let mut daemon = scene.daemon(&config.replace(&mongods, &stranger))?;
        daemon.start()?;
        daemon.logged(&["will be tried again", "certificate verify failed"], Duration::from_secs(60)).await?;
        daemon.terminate().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_not_there_yet_are_waited_for_and_readiness_says_which() -> Result<()> {
    let _alone = servers::alone().await;
    let (mut mongod, mut kafka) =
        tokio::try_join!(Mongod::start(MongodOptions::default()), Kafka::start(KafkaOptions::default()))?;
    let addresses = Addresses { mongodb_uri: mongod.uri(), kafka: kafka.bootstrap() };
    Scene::play(&addresses, "not_there", async |scene| {
        let mut daemon = scene.pipeline("full_document = \"updateLookup\"", "")?;
        kafka.kill()?;
        mongod.kill()?;
        daemon.start()?;
        wait::until("readiness to say that both halves wait", SOON, async || {
            let (code, body) = daemon.get("/readyz").await?;
            let both = ["source shop: will be tried again", "sink copy: will be tried again"];
            says(&body, &both)?;
            Ok((code == 503).then_some(()))
        })
        .await?;
        tokio::try_join!(kafka.restart(), mongod.restart())?;
        daemon.ready(Duration::from_secs(120)).await?;
        scene.load(|plan| plan.operations = 100).finish().await?;
        scene.complete(0).await?;
        daemon.terminate().await
    })
    .await
}
