//! mongod as a replica set of one.

use std::{fs, os::unix::fs::PermissionsExt, process::Command, time::Duration};

use anyhow::{Context, Result};
use bson::{Document, doc};
use mongodb::Client;

use super::{Certificates, fetch};
use crate::{
    child::{Child, Signal},
    scratch::{Scratch, free_port},
    wait,
};

/// mongod's exit code for an address that is in use.
const EXIT_ADDRESS_IN_USE: i32 = 48;
const START_DEADLINE: Duration = Duration::from_secs(60);
const PROBE_OPTIONS: &str = "directConnection=true&serverSelectionTimeoutMS=1000&connectTimeoutMS=1000";
/// The administrator where access control is on.
const ROOT: (&str, &str) = ("root", "root-secret");

/// Which mongod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// The usual one. Cannot split large events.
    #[default]
    V6_0_5,
    /// Has `$changeStreamSplitLargeEvent`.
    V6_0_27,
}

impl Version {
    /// As it calls itself.
    pub fn number(self) -> &'static str {
        match self {
            Self::V6_0_5 => "6.0.5",
            Self::V6_0_27 => "6.0.27",
        }
    }
}

/// How a mongod differs from the usual one.
#[derive(Clone, Copy, Debug, Default)]
pub struct MongodOptions {
    /// The program.
    pub version: Version,
    /// The oplog's size; small to make positions disappear.
    pub oplog_mb: Option<u32>,
    /// TLS with a private authority, and access control.
    pub secure: bool,
    /// A cache that is large enough for several images of the largest document in one transaction.
    pub large_cache: bool,
}

/// A running mongod with its data. Killed on drop, its data removed.
#[derive(Debug)]
pub struct Mongod {
    child: Child,
    port: u16,
    options: MongodOptions,
    certificates: Option<Certificates>,
    directory: Scratch,
}

impl Mongod {
    /// Starts one and waits until it takes writes.
    pub async fn start(options: MongodOptions) -> Result<Self> {
        let mut directory = Scratch::new("mongod")?;
        fs::create_dir(directory.path().join("data"))?;
        let mut certificates = if options.secure { Some(Certificates::new()?) } else { None };
        if options.secure {
            let key_file = directory.path().join("key");
            fs::write(&key_file, "bWlsbHJhY2UgdGVzdHM=")?;
            fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600))?;
        }
        loop {
            let port = free_port()?;
            let child = spawn(&directory, port, options, certificates.as_ref())?;
            let mut mongod = Self { child, port, options, certificates, directory };
            if mongod.answers().await? {
                mongod.initiate().await?;
                return Ok(mongod);
            }
            Self { certificates, directory, .. } = mongod;
        }
    }

    /// A connection string with all rights.
    pub fn uri(&self) -> String {
        self.uri_for(self.options.secure.then_some(ROOT))
    }

    /// A connection string for a user, or for none.
    pub fn uri_for(&self, user: Option<(&str, &str)>) -> String {
        self.uri_with(user, "replicaSet=rs0")
    }

    /// A new client with all rights.
    pub async fn client(&self) -> Result<Client> {
        Ok(Client::with_uri_str(self.uri()).await?)
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

    /// Kills it if it runs, starts it again on the same port and data, and waits until it takes writes.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill()?;
        let again = async || {
            self.child = spawn(&self.directory, self.port, self.options, self.certificates.as_ref())?;
            Ok(self.answers().await?.then_some(()))
        };
        // The port may be held for a moment by connections that are being torn down.
        wait::until("mongod to come back on its port", START_DEADLINE, again).await?;
        self.takes_writes().await
    }

    /// Makes it step down and, being alone, elect itself again after `seconds`.
    pub async fn step_down(&self, seconds: u32) -> Result<()> {
        let command = doc! { "replSetStepDown": seconds, "force": true };
        self.client()
            .await?
            .database("admin")
            .run_command(command)
            .await
            .context("cannot make mongod step down")?;
        Ok(())
    }

    /// Creates a user with these roles.
    pub async fn create_user(&self, name: &str, password: &str, roles: Vec<Document>) -> Result<()> {
        let command = doc! { "createUser": name, "pwd": password, "roles": roles };
        self.client().await?.database("admin").run_command(command).await.context("cannot create a user")?;
        Ok(())
    }

    /// True once it answers, false if its port turned out to be taken.
    async fn answers(&mut self) -> Result<bool> {
        let uri = self.uri_with(None, PROBE_OPTIONS);
        let client = Client::with_uri_str(uri).await?;
        let child = &mut self.child;
        wait::until("mongod to answer", START_DEADLINE, async || {
            match child.try_exit()? {
                Some(status) if status.code() == Some(EXIT_ADDRESS_IN_USE) => return Ok(Some(Ok(false))),
                Some(status) => {
                    return Ok(Some(Err(format!("mongod ended with {status}\n{}", child.tail()))));
                }
                None => {}
            }
            client.database("admin").run_command(doc! { "hello": 1 }).await?;
            Ok(Some(Ok(true)))
        })
        .await?
        .map_err(anyhow::Error::msg)
    }

    async fn initiate(&self) -> Result<()> {
        let client = Client::with_uri_str(self.uri_with(None, PROBE_OPTIONS)).await?;
        let admin = client.database("admin");
        let members = vec![doc! { "_id": 0, "host": format!("127.0.0.1:{}", self.port) }];
        admin.run_command(doc! { "replSetInitiate": { "_id": "rs0", "members": members } }).await?;
        self.takes_writes().await?;
        if self.options.secure {
            // Allowed without a login exactly once, and from this machine only.
            let create = doc! { "createUser": ROOT.0, "pwd": ROOT.1, "roles": ["root"] };
            admin.run_command(create).await?;
        }
        Ok(())
    }

    async fn takes_writes(&self) -> Result<()> {
        let client = Client::with_uri_str(self.uri_with(None, PROBE_OPTIONS)).await?;
        wait::until("mongod to become primary", START_DEADLINE, async || {
            let hello = client.database("admin").run_command(doc! { "hello": 1 }).await?;
            Ok(hello.get_bool("isWritablePrimary")?.then_some(()))
        })
        .await
        .map_err(|error| error.context(self.child.tail()))
    }

    fn uri_with(&self, user: Option<(&str, &str)>, options: &str) -> String {
        let login = user.map(|(name, password)| format!("{name}:{password}@")).unwrap_or_default();
        let tls = self.certificates.as_ref().map(|certificates| {
            format!("&tls=true&tlsCAFile={}", percent_encoded(&certificates.authority().to_string_lossy()))
        });
        format!("mongodb://{login}127.0.0.1:{}/?{options}{}", self.port, tls.unwrap_or_default())
    }
}

fn spawn(
    directory: &Scratch,
    port: u16,
    options: MongodOptions,
    certificates: Option<&Certificates>,
) -> Result<Child> {
    let path = directory.path();
    let program = fetch::mongod(options.version)?;
    let mut command = Command::new(program.path);
    if let Some(libraries) = program.libraries {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    command.arg("--dbpath").arg(path.join("data")).args(["--port", &port.to_string()]);
    command.args(["--bind_ip", "127.0.0.1", "--nounixsocket", "--replSet", "rs0"]);
    command.args(["--wiredTigerCacheSizeGB", if options.large_cache { "1.5" } else { "0.25" }]);
    command.args(["--setParameter", "enableTestCommands=1"]);
    command.args(["--setParameter", "diagnosticDataCollectionEnabled=false"]);
    if let Some(megabytes) = options.oplog_mb {
        command.args(["--oplogSize", &megabytes.to_string()]);
        // The oplog is cut off at the last checkpoint at most, of which there is one a minute otherwise.
        command.args(["--syncdelay", "1"]);
    }
    if let Some(certificates) = certificates {
        command.args(["--tlsMode", "requireTLS", "--tlsAllowConnectionsWithoutCertificates"]);
        command.arg("--tlsCertificateKeyFile").arg(certificates.server());
        command.arg("--tlsCAFile").arg(certificates.authority());
        command.arg("--keyFile").arg(path.join("key"));
    }
    Child::spawn("mongod", command, &path.join("log"))
}

/// For a value in a connection string.
fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
