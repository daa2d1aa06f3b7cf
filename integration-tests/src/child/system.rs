//! The two system calls that std does not offer, and all the unsafe code of the harness.
#![allow(unsafe_code, reason = "prctl and kill have no safe form in std; each block carries its proof")]

use std::{io, os::unix::process::CommandExt, process::Command};

/// Makes the child die with the thread that spawns it; see [`super`] for why that thread outlives every test.
pub(super) fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    let tie = move || tie_to(parent);
    // SAFETY: the closure runs between fork and exec, where only async-signal-safe calls are allowed. It calls
    // prctl and getppid, which are, and builds errors from numbers, which does not allocate.
    unsafe { command.pre_exec(tie) };
}

#[cfg(target_os = "linux")]
fn tie_to(parent: u32) -> io::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes one number and touches no memory of ours.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // A parent that died before the prctl sends no signal any more.
    if std::os::unix::process::parent_id() == parent { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
}

#[cfg(not(target_os = "linux"))]
fn tie_to(_parent: u32) -> io::Result<()> {
    Ok(())
}

/// Sends `signal` to the process `pid`.
pub(super) fn send(pid: u32, signal: i32) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: kill takes two numbers and touches no memory of ours. The caller has not reaped the child, so its pid
    // cannot belong to another process.
    if unsafe { libc::kill(pid, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
