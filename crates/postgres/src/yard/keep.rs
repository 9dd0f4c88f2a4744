//! The lives that build a yard, keep it, and hold its inside open.
//!
//! 1. `BUILD` leaves the host's processes and mounts, builds the tree, and starts
//! 2. `KEEP`, the first process in the yard. It starts the inside, shows the keeper what only he sees, starts him,
//!    and ends everything when its standard input ends.
//! 3. `INSIDE` leaves the keeper's network, processes and mounts behind, and starts
//! 4. `HOLD`, the first process inside, which buries whoever dies there.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{Pid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use super::tree::{self, SHOWN_TO_KEEPER};
use super::{
    ENDED, Ground, HOLD, INSIDE, KEEP, KeeperAccess, STOP, close_inherited, loopback, myself, say,
};
use crate::enclosure::CLOSED;
use crate::enclosure::inside::{FAILED, Refused, code_of, refused};
use crate::enclosure::mounts::{Access, NOTHING, directory, part, protect, show_at};

/// What of `/proc` only shows and changes the inside, or nothing at all, as containers have it.
const SEEN_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];
const NOT_SEEN: [&str; 6] =
    ["kcore", "keys", "latency_stats", "timer_list", "sched_debug", "kallsyms"];

/// Builds the tree and starts the keeper's first process; says on standard output what was refused.
pub(super) fn build(ground: &Ground) -> Result<ExitCode, Refused> {
    close_inherited()?;
    let begun = leave(ground).and_then(|()| {
        let mut next = myself(ground, KEEP)?;
        next.stdin(Stdio::inherit()).spawn().map_err(refused("start the first process"))
    });
    let mut next = match begun {
        Ok(next) => next,
        Err(refused) => {
            say(&refused.to_string())?;
            return Ok(ExitCode::from(FAILED));
        }
    };
    next.wait().map(code_of).map_err(refused("wait for the first process"))
}

fn leave(ground: &Ground) -> Result<(), Refused> {
    if !Uid::effective().is_root() {
        return Err(refused("build a yard as anybody but root")(Errno::EPERM));
    }
    let flags = CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    unshare(flags).map_err(refused("leave the host's namespaces"))?;
    tree::build(ground)
}

/// Keeps a yard: starts the inside and the keeper, and sees to both until he ends.
pub(super) fn keep(ground: &Ground) -> Result<ExitCode, Refused> {
    let begun = mount_processes().and_then(|()| open_inside(ground)).and_then(|inside| {
        show_to_keeper(ground)?;
        start_keeper(ground, &inside)
    });
    let keeper = match begun {
        Ok(keeper) => keeper,
        Err(refused) => {
            say(&refused.to_string())?;
            return Ok(ExitCode::from(FAILED));
        }
    };
    say(CLOSED)?;
    std::thread::spawn(move || follow_lifeline(keeper));
    let code = bury_until(Some(keeper))?;
    // What runs in the yard stays until nobody holds the lifeline any more: it is looked at first.
    say(&format!("{ENDED} {code}"))?;
    bury_until(None)?;
    Ok(ExitCode::from(code))
}

/// Starts the inside; returns the number of its first process.
fn open_inside(ground: &Ground) -> Result<String, Refused> {
    let mut inside = myself(ground, INSIDE)?;
    inside.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut inside = inside.spawn().map_err(refused("start the inside"))?;
    let mut word = String::new();
    let stdout = inside.stdout.take().expect("standard output was piped");
    BufReader::new(stdout).read_line(&mut word).map_err(refused("hear from the inside"))?;
    match word.trim_end().split_once(' ') {
        Some((CLOSED, process)) => Ok(process.to_owned()),
        _ => Err(refused(format!("open the inside: {}", word.trim_end()))(Errno::EPERM)),
    }
}

/// Shows the keeper what only he sees, now that the inside has parted from his mounts.
fn show_to_keeper(ground: &Ground) -> Result<(), Refused> {
    for (number, view) in ground.keeper_sees.iter().enumerate() {
        let from = Path::new(SHOWN_TO_KEEPER).join(number.to_string());
        if from.exists() {
            let access = match view.access {
                KeeperAccess::Read => Access::Read,
                KeeperAccess::Write => Access::Write,
            };
            show_at(&from, &view.at, access)?;
        }
    }
    Ok(())
}

fn start_keeper(ground: &Ground, inside: &str) -> Result<Pid, Refused> {
    let log = io::stderr().as_fd().try_clone_to_owned().map_err(refused("keep the log"))?;
    let mut keeper = Command::new(&ground.keeper.program);
    keeper.args(&ground.keeper.arguments).arg(inside).current_dir("/");
    let keeper = keeper.stdin(Stdio::null()).stdout(log).spawn();
    let keeper = keeper.map_err(refused("start the keeper"))?;
    Ok(Pid::from_raw(i32::try_from(keeper.id()).expect("the kernel's numbers are small")))
}

/// Asks the keeper to end when it is told to, and ends everything when nobody is left to tell it.
fn follow_lifeline(keeper: Pid) {
    let mut word = [0];
    while let Ok(1) = io::stdin().read(&mut word) {
        if word == STOP {
            _ = kill(keeper, Signal::SIGINT);
        }
    }
    // The first process of a namespace is spared by a signal to all; with its end the kernel sees to the rest.
    _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
}

/// Buries whoever dies, until this one does, and returns how it ended; or until nobody is left.
fn bury_until(last: Option<Pid>) -> Result<u8, Refused> {
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, code)) if Some(pid) == last => {
                return Ok(u8::try_from(code).unwrap_or(FAILED));
            }
            Ok(WaitStatus::Signaled(pid, ..)) if Some(pid) == last => return Ok(FAILED),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return Ok(FAILED),
            Err(error) => return Err(refused("wait for the keeper")(error)),
        }
    }
}

/// Leaves the keeper's network, processes and mounts, and starts the first process inside.
pub(super) fn inside(ground: &Ground) -> Result<ExitCode, Refused> {
    let flags = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    unshare(flags).map_err(refused("leave the keeper's namespaces"))?;
    part()?;
    umount2(SHOWN_TO_KEEPER, MntFlags::MNT_DETACH).map_err(refused("hide what the keeper sees"))?;
    loopback::switch_on()?;
    let mut hold = myself(ground, HOLD)?;
    let hold = hold.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut hold = hold.map_err(refused("start the first process inside"))?;
    let mut word = String::new();
    let stdout = hold.stdout.take().expect("standard output was piped");
    BufReader::new(stdout).read_line(&mut word).map_err(refused("hear from the inside"))?;
    if word.trim_end() != CLOSED {
        return Err(refused("hold the inside open")(Errno::EPERM));
    }
    say(&format!("{CLOSED} {}", hold.id()))?;
    hold.wait().map(code_of).map_err(refused("wait for the inside"))
}

/// Holds the inside open: the first process there, without any right.
pub(super) fn hold() -> Result<ExitCode, Refused> {
    mount_processes()?;
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, none).map_err(refused("forgo all rights"))?;
    let mut deaths = SigSet::empty();
    deaths.add(Signal::SIGCHLD);
    deaths.thread_block().map_err(refused("hear of deaths"))?;
    say(CLOSED)?;
    loop {
        match wait() {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => {
                deaths.wait().map_err(refused("hear of deaths"))?;
            }
            Err(error) => return Err(refused("bury the dead")(error)),
        }
    }
}

/// Shows the processes of this namespace, and nothing that changes the host's kernel.
fn mount_processes() -> Result<(), Refused> {
    let processes = Path::new("/proc");
    directory(processes, 0o555)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), processes, Some("proc"), flags, NOTHING).map_err(refused("mount /proc"))?;
    for name in SEEN_ONLY {
        let path = processes.join(name);
        if path.exists() {
            mount(Some(&path), &path, NOTHING, MsFlags::MS_BIND | MsFlags::MS_REC, NOTHING)
                .map_err(refused(format!("show {}", path.display())))?;
            protect(&path, Access::Read)?;
        }
    }
    for name in NOT_SEEN {
        let path = processes.join(name);
        if path.exists() {
            mount(Some("/dev/null"), &path, NOTHING, MsFlags::MS_BIND, NOTHING)
                .map_err(refused(format!("hide {}", path.display())))?;
        }
    }
    Ok(())
}
