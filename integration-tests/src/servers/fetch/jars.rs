//! Jars, fetched by Maven.

use std::{fs, path::Path, process::Command};

use anyhow::Result;

use super::{check_digest, digest_of_directory, run};

const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// What a project needs when it runs.
#[derive(Debug)]
pub(super) struct Jars {
    /// The project.
    pub(super) pom: &'static str,
    /// Over one line `DIGEST  NAME` per jar, sorted by name.
    pub(super) sha256: &'static str,
}

impl Jars {
    /// Copies them into `directory/libs`, and checks their digest.
    pub(super) fn copy(&self, directory: &Path) -> Result<()> {
        let pom = directory.join("pom.xml");
        fs::write(&pom, self.pom)?;
        let libs = directory.join("libs");
        let mut maven = Command::new("mvn");
        maven.args(["--quiet", "--batch-mode", "--file"]).arg(pom).arg(COPY);
        maven.arg(format!("-DoutputDirectory={}", libs.display())).arg("-DincludeScope=runtime");
        run(&mut maven)?;
        check_digest(&libs, &digest_of_directory(&libs)?, self.sha256)
    }
}
