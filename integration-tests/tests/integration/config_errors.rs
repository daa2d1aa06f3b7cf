//! A configuration that cannot be used: everything that is wrong with it at once, each with its place; exit code 2.

use std::time::Duration;

use anyhow::{Result, ensure};
use integration_tests::{daemon::Daemon, scene::says, scratch::Scratch};

async fn refused(config: &str) -> Result<String> {
    let directory = Scratch::new("config_errors")?;
    let mut daemon = Daemon::new(directory.path(), config)?;
    daemon.start()?;
    let status = daemon.exit(Duration::from_secs(30)).await?;
    let log = daemon.log()?;
    ensure!(status.code() == Some(2), "ended with {status}: {log}");
    Ok(log)
}

#[tokio::test]
async fn five_mistakes_are_five_lines_each_with_line_and_column() -> Result<()> {
    let config = "name = \"shop\"
[log]
levl = \"info\"
[mongodb]
uri = \"mongodb://localhost:27017/?replicaSet=rs0\"
[kafka]
bootstrap_servers = 9092
[sources.shop]
watch = [\"shop\"]
start = \"yesterday\"
[sinks.copy]
topics = [\"shop.*\"]
[sinks.copy.batch]
max_age = \"fast\"
";
    let log = refused(config).await?;
    let mistakes = [
        ("config.toml:3:1:", "level"),
        ("config.toml:7:21:", "kafka.bootstrap_servers"),
        ("config.toml:9:", "shop.*"),
        ("config.toml:10:9:", "sources.shop.start"),
        ("config.toml:14:11:", "sinks.copy.batch.max_age"),
    ];
    for (place, words) in mistakes {
        let line = log.lines().find(|line| line.contains(place));
        ensure!(line.is_some_and(|line| line.contains(words)), "no line with {place} and {words}: {log}");
    }
    ensure!(log.lines().filter(|line| line.contains("config.toml:")).count() == mistakes.len(), "{log}");
    Ok(())
}

#[tokio::test]
async fn text_that_is_not_toml_is_refused_with_its_place() -> Result<()> {
    says(&refused("name = \"shop\"\n[mongodb\n").await?, &["config.toml:2:"])
}

#[tokio::test]
async fn a_secret_is_not_shown_where_it_is_wrong() -> Result<()> {
    let config = "name = \"shop\"
[mongodb]
uri = \"mongo://user:very-secret@localhost\"
[kafka]
bootstrap_servers = \"localhost:9092\"
[sources.shop]
watch = [\"shop.*\"]
";
    let log = refused(config).await?;
    says(&log, &["config.toml:3:", "mongodb.uri"])?;
    ensure!(!log.contains("very-secret"), "{log}");
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_not_there_is_one_line() -> Result<()> {
    let directory = Scratch::new("config_errors")?;
    let mut daemon = Daemon::new(directory.path(), "")?;
    std::fs::remove_file(daemon.config())?;
    daemon.start()?;
    ensure!(daemon.exit(Duration::from_secs(30)).await?.code() == Some(2));
    let log = daemon.log()?;
    says(&log, &["config.toml"])?;
    ensure!(log.lines().count() == 1, "{log}");
    Ok(())
}
