//! A child process that never outlives us, with its output in a file.
//!
//! The kernel kills a child when the *thread* that spawned it ends (`PR_SET_PDEATHSIG`), and test threads end with
//! their test; so one thread, which lives as long as the process, spawns them all.

mod system;

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{OnceLock, mpsc},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::wait;

/// How much of a log is shown when something fails.
const TAIL_BYTES: u64 = 6_000;

/// A running child. Killed and reaped on drop.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: std::process::Child,
    log: PathBuf,
}

/// A signal that the harness sends.
#[derive(Clone, Copy, Debug)]
pub enum Signal {
    /// Stop orderly.
    Terminate,
    /// Freeze.
    Stop,
    /// Thaw.
    Continue,
}

impl Child {
    /// Starts `command`, its output appended to `log`. `name` is for messages.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log);
        let output = output.with_context(|| format!("cannot open {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // An own process group: Ctrl-C at the terminal reaches us alone, and we stop the children in order.
        command.process_group(0);
        system::die_with_parent(&mut command);
        let process = spawn_on_lasting_thread(command).with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), process, log: log.to_owned() })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Sends a signal; an error if it has ended already.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.try_exit()? {
            bail!("{} has ended already ({status})\n{}", self.name, self.tail());
        }
        let number = match signal {
            Signal::Terminate => libc::SIGTERM,
            Signal::Stop => libc::SIGSTOP,
            Signal::Continue => libc::SIGCONT,
        };
        system::send(self.id(), number).with_context(|| format!("cannot signal {}", self.name))
    }

    /// The exit status, if it has ended.
    pub fn try_exit(&mut self) -> Result<Option<ExitStatus>> {
        self.process.try_wait().with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Waits until it ends by itself.
    pub async fn exit(&mut self, within: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        wait::until(&what, within, async || self.process.try_wait().map_err(Into::into)).await
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        if self.try_exit()?.is_none() {
            self.process.kill().with_context(|| format!("cannot kill {}", self.name))?;
            self.process.wait().with_context(|| format!("cannot wait for {}", self.name))?;
        }
        Ok(())
    }

    /// The end of its output.
    pub fn tail(&self) -> String {
        tail(&self.log).unwrap_or_else(|error| format!("(no log: {error})"))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("{error:#}");
        }
    }
}

/// The end of the file at `path`, under its name.
pub fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(format!("--- end of {}\n{}", path.display(), String::from_utf8_lossy(&bytes)))
}

type Request = (Command, mpsc::SyncSender<io::Result<std::process::Child>>);

fn spawn_on_lasting_thread(command: Command) -> io::Result<std::process::Child> {
    static SPAWNER: OnceLock<mpsc::SyncSender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        // Bounded at none: a request waits until the thread takes it, and each waits for its answer anyway.
        let (requests, inbox) = mpsc::sync_channel::<Request>(0);
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                // Whoever asked is blocked on the answer below, so it cannot be gone.
                answer.send(command.spawn()).expect("the asking thread waits for its answer");
            }
        });
        requests
    });
    let (answer, child) = mpsc::sync_channel(1);
    spawner.send((command, answer)).map_err(|_| io::Error::other("the spawning thread is gone"))?;
    child.recv().map_err(|_| io::Error::other("the spawning thread is gone"))?
}
