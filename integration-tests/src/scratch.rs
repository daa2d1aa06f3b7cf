//! Directories and ports that belong to one server or one test.
//!
//! Everything lies under `.millrace/run/PID` of the workspace, so a process that was killed leaves its directory
//! under a pid that is no longer alive, and the next process removes it.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{
        Mutex, Once,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context, Result, bail};

/// A directory that is removed on drop.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A fresh directory whose name starts with `name`.
    pub fn new(name: &str) -> Result<Self> {
        static SWEEP: Once = Once::new();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let root = workspace().join(".millrace/run");
        SWEEP.call_once(|| sweep(&root));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = root.join(std::process::id().to_string()).join(format!("{name}-{number}"));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
        // The process's own directory goes with its last entry; "not empty" is the usual outcome before that.
        if let Some(parent) = self.path.parent() {
            let _not_empty = fs::remove_dir(parent);
        }
    }
}

/// The root of the workspace that this was built from.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace")
}

fn sweep(root: &Path) {
    let Ok(entries) = fs::read_dir(root) else { return };
    for entry in entries.flatten() {
        let alive = Path::new("/proc").join(entry.file_name()).exists();
        if Path::new("/proc/self").exists()
            && !alive
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            eprintln!("cannot remove {}: {error}", entry.path().display());
        }
    }
}

/// A free port below the range from which the kernel takes ports for outgoing connections, so that a server can come
/// back on it after a restart. Never given twice in one process.
pub fn free_port() -> Result<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    let mut given = GIVEN.lock().expect("no holder panics");
    // Processes that run at once start in different places; where they meet, the bind decides.
    let start = std::process::id().wrapping_mul(7_919);
    for step in 0..COUNT {
        let port = u16::try_from(FIRST + start.wrapping_add(step) % COUNT).expect("below 32,000");
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port);
            return Ok(port);
        }
    }
    bail!("no free port between {FIRST} and {}", FIRST + COUNT)
}
