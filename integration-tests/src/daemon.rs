//! The daemon under test: the real binary, built by the same cargo, run with a configuration file of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output, Stdio},
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    child::{Child, Signal},
    http,
    scratch::{free_port, workspace},
    wait,
};

/// A daemon that is running, or was. Killed on drop. Its directory stays the caller's.
#[derive(Debug)]
pub struct Daemon {
    child: Option<Child>,
    directory: PathBuf,
    admin_port: u16,
    /// Another build, in place of this one.
    binary: Option<PathBuf>,
}

/// What one scrape of `/metrics` said.
#[derive(Clone, Debug)]
pub struct Metrics {
    text: String,
}

impl Metrics {
    /// The sum over all samples called `name` whose labels hold `label` (`key="value"`; empty for any).
    pub fn sum(&self, name: &str, label: &str) -> Option<f64> {
        self.samples(name, label).reduce(|a, b| a + b)
    }

    /// The greatest sample called `name`.
    pub fn max(&self, name: &str) -> Option<f64> {
        self.samples(name, "").reduce(f64::max)
    }

    fn samples(&self, name: &str, label: &str) -> impl Iterator<Item = f64> {
        self.text.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            let value = match rest.strip_prefix('{') {
                Some(labelled) => {
                    let (labels, value) = labelled.rsplit_once('}')?;
                    labels.contains(label).then_some(value)?
                }
                None if label.is_empty() => rest.strip_prefix(' ')?,
                None => return None,
            };
            value.trim().parse::<f64>().ok()
        })
    }

    /// As scraped.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Daemon {
    /// Prepares a daemon in `directory` with this configuration; `[admin]` is added. Does not start it.
    pub fn new(directory: &Path, config: &str) -> Result<Self> {
        let admin_port = free_port()?;
        fs::create_dir_all(directory)?;
        let daemon = Self { child: None, directory: directory.to_owned(), admin_port, binary: None };
        daemon.configure(config)?;
        Ok(daemon)
    }

    /// Makes it run another build.
    #[must_use]
    pub fn of_binary(self, binary: &Path) -> Self {
        Self { binary: Some(binary.to_owned()), ..self }
    }

    /// Replaces the configuration; takes effect at the next start.
    pub fn configure(&self, config: &str) -> Result<()> {
        let text = format!("{config}\n[admin]\nlisten = \"127.0.0.1:{}\"\n", self.admin_port);
        fs::write(self.config(), text).with_context(|| format!("cannot write {}", self.config().display()))
    }

    /// Starts it, or starts it again after its end.
    pub fn start(&mut self) -> Result<()> {
        self.start_with(&[])
    }

    /// Starts it with more arguments for `run`.
    pub fn start_with(&mut self, arguments: &[&str]) -> Result<()> {
        if let Some(child) = &mut self.child {
            ensure!(child.try_exit()?.is_some(), "the daemon is still running");
        }
        let mut command = match &self.binary {
            Some(other) => Command::new(other),
            None => Command::new(binary()?),
        };
        command.current_dir(&self.directory).arg("run").arg("--config").arg(self.config()).args(arguments);
        self.child = Some(Child::spawn("millrace", command, &self.log_path())?);
        Ok(())
    }

    /// Starts it and waits until it is ready.
    pub async fn start_ready(&mut self) -> Result<()> {
        self.start()?;
        self.ready(Duration::from_secs(60)).await
    }

    /// Waits until `/readyz` says yes.
    pub async fn ready(&mut self, within: Duration) -> Result<()> {
        self.readiness(true, within).await
    }

    /// Waits until `/readyz` says no while the process lives.
    pub async fn unready(&mut self, within: Duration) -> Result<()> {
        self.readiness(false, within).await
    }

    async fn readiness(&mut self, wanted: bool, within: Duration) -> Result<()> {
        let port = self.admin_port;
        let child = self.running()?;
        let what = if wanted { "the daemon to be ready" } else { "the daemon to say that it is not ready" };
        let reached = wait::until(what, within, async || {
            if let Some(status) = child.try_exit()? {
                return Ok(Some(Err(format!("the daemon ended with {status}"))));
            }
            let (code, _) = http::ask(port, get("/readyz")).await?;
            Ok(((code == 200) == wanted).then_some(Ok(())))
        });
        reached.await?.map_err(anyhow::Error::msg)
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill9(&mut self) -> Result<()> {
        self.running()?.kill()
    }

    /// SIGTERM; it drains.
    pub fn sigterm(&mut self) -> Result<()> {
        self.running()?.signal(Signal::Terminate)
    }

    /// Freezes it.
    pub fn stop(&mut self) -> Result<()> {
        self.running()?.signal(Signal::Stop)
    }

    /// Thaws it.
    pub fn cont(&mut self) -> Result<()> {
        self.running()?.signal(Signal::Continue)
    }

    /// Waits until it ends by itself.
    pub async fn exit(&mut self, within: Duration) -> Result<ExitStatus> {
        self.running()?.exit(within).await
    }

    /// SIGTERM, and waits until it is gone; an error unless it ended with 0.
    pub async fn terminate(&mut self) -> Result<()> {
        self.sigterm()?;
        let status = self.exit(Duration::from_secs(30)).await?;
        ensure!(status.success(), "the daemon ended with {status} after SIGTERM");
        Ok(())
    }

    /// Whether it is running.
    pub fn is_running(&mut self) -> Result<bool> {
        match &mut self.child {
            Some(child) => Ok(child.try_exit()?.is_none()),
            None => Ok(false),
        }
    }

    /// Its process id.
    pub fn id(&mut self) -> Result<u32> {
        Ok(self.running()?.id())
    }

    /// An HTTP request to its admin address: code and body.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        http::ask(self.admin_port, get(path)).await
    }

    /// POST of JSON, with more headers (`Name: value\r\n`).
    pub async fn post(&self, path: &str, headers: &str, body: &serde_json::Value) -> Result<(u16, String)> {
        let (headers, body) = (format!("Content-Type: application/json\r\n{headers}"), body.to_string());
        let request = http::Request { method: "POST", path, headers: &headers, body: &body };
        http::ask(self.admin_port, request).await
    }

    /// Runs another command of the binary with this daemon's configuration: exit code, output, complaints.
    pub async fn command(&self, arguments: &[&str]) -> Result<(Option<i32>, String, String)> {
        let config = self.config();
        let (verb, rest) = arguments.split_first().context("no command")?;
        let config = ["--config", config.to_str().context("a path that is no text")?];
        run(&[&[*verb], &config[..], rest].concat()).await
    }

    /// `/metrics`.
    pub async fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics { text: self.body("/metrics").await? })
    }

    /// `/status`.
    pub async fn status(&self) -> Result<serde_json::Value> {
        Ok(serde_json::from_str(&self.body("/status").await?)?)
    }

    /// What `/status` says of the source of this name.
    pub async fn source(&self, name: &str) -> Result<serde_json::Value> {
        let mut status = self.status().await?;
        let halves = status["halves"].as_array_mut().context("a status without halves")?;
        let found = halves.iter_mut().find(|half| half["kind"] == "source" && half["name"] == *name);
        Ok(found.with_context(|| format!("there is no source {name}"))?.take())
    }

    /// Waits until the source has nothing left to copy and all events up to `time` are acknowledged.
    pub async fn passed(&self, source: &str, time: bson::Timestamp, within: Duration) -> Result<()> {
        wait::until("the source to catch up", within, async || {
            let status = self.source(source).await?;
            let number = |at: &str| status.pointer(at).and_then(serde_json::Value::as_u64);
            let left = number("/snapshot/collectionsLeft").context("no collectionsLeft")?;
            let acknowledged = number("/acknowledged/seconds").zip(number("/acknowledged/increment"));
            let wanted = (u64::from(time.time), u64::from(time.increment));
            Ok((left == 0 && acknowledged >= Some(wanted)).then_some(()))
        })
        .await
    }

    /// Everything that it has logged, over all its starts.
    pub fn log(&self) -> Result<String> {
        fs::read_to_string(self.log_path()).context("the daemon has no log")
    }

    /// Lines at the level of errors, in order.
    pub fn errors(&self) -> Result<Vec<String>> {
        Ok(self
            .log()?
            .lines()
            .filter(|line| line.contains("\"level\":\"ERROR\""))
            .map(str::to_owned)
            .collect())
    }

    /// Waits until a log line holds all of `words`, and yields it.
    pub async fn logged(&self, words: &[&str], within: Duration) -> Result<String> {
        let what = format!("a log line with {words:?}");
        wait::until(&what, within, async || {
            let log = self.log()?;
            Ok(log.lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned))
        })
        .await
    }

    /// The end of its log.
    pub fn tail(&self) -> String {
        crate::child::tail(&self.log_path()).unwrap_or_else(|error| format!("(no log: {error})"))
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.directory.join("config.toml")
    }

    /// `host:port` of its admin address.
    pub fn admin(&self) -> String {
        format!("127.0.0.1:{}", self.admin_port)
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("log")
    }

    async fn body(&self, path: &str) -> Result<String> {
        let (code, body) = self.get(path).await?;
        ensure!(code == 200, "{path} answered {code}: {body}");
        Ok(body)
    }

    fn running(&mut self) -> Result<&mut Child> {
        self.child.as_mut().context("the daemon was not started")
    }
}

/// Runs a command of the binary to its end: exit code, output, complaints.
pub async fn run(arguments: &[&str]) -> Result<(Option<i32>, String, String)> {
    let mut command = Command::new(binary()?);
    command.args(arguments).stdin(Stdio::null());
    let running = tokio::task::spawn_blocking(move || command.output());
    let Output { status, stdout, stderr } = running.await?.context("cannot run millrace")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((status.code(), text(&stdout), text(&stderr)))
}

fn get(path: &str) -> http::Request<'_> {
    http::Request { method: "GET", path, headers: "", body: "" }
}

/// The daemon's binary: built once per process, in the target directory and profile that we were built in.
pub fn binary() -> Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BINARY.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.as_deref().map_err(|error| anyhow::anyhow!("{error}"))
}

fn build() -> Result<PathBuf> {
    let us = std::env::current_exe()?;
    // target/PROFILE/demo or target/PROFILE/deps/integration-HASH
    let directory = us.ancestors().skip(1).find(|directory| !directory.ends_with("deps"));
    let directory = directory.context("the program lies in no directory")?;
    let name = directory.file_name().and_then(|name| name.to_str()).context("the profile has no name")?;
    let profile = if name == "debug" { "dev" } else { name };
    // Both packages are selected, as they were for us: cargo then decides on the same features and builds nothing twice.
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(workspace()).args(["build", "--quiet", "--profile", profile]);
    cargo.args(["--package", "millrace", "--package", "integration-tests", "--bin", "millrace"]);
    cargo.arg("--target-dir").arg(directory.parent().context("the profile lies in no target directory")?);
    let output = cargo.output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("the daemon does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(directory.join("millrace"))
}
