//! Killing a server as a crash would: all of its processes, without a word.

use std::io;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Kills the server of a data directory and waits until none of its processes is left.
pub(super) fn kill(data: &Path) -> io::Result<()> {
    let file = std::fs::read_to_string(data.join("postmaster.pid"))?;
    let pid = file.lines().next().unwrap_or_default();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    // The first one first, so that it starts nobody anew.
    for pid in std::iter::once(pid).chain(children.split_whitespace()) {
        let pid = pid.parse().ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a process has no number"))?;
        // A child may have ended by itself since.
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        let _ = pidfd_send_signal(&process, Signal::KILL);
        poll(&mut [PollFd::new(&process, PollFlags::IN)], None)?;
    }
    Ok(())
}
