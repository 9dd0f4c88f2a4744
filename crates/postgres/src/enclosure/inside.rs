//! The inside of an enclosure, in this program's own later lives.
//!
//! 1. `ENCLOSE` is started by whoever wants an enclosure. It leaves the host's namespaces, builds a root
//!    directory, gives up all rights, and starts
//! 2. `INIT`, the first process of the namespace of processes. It starts the program, buries whoever
//!    dies, and ends everything when its standard input ends.
//! 3. `EXECUTE` stands between where there are no namespaces, so that the kernel ends the program with `INIT`.
//!
//! All of it runs before the program has a second thread, since one with threads cannot change its user
//! namespace.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, RawFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{self, Gid, Pid, Uid};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};

use super::{CLOSED, Enclosure, Errand, Orders, STOP, Walls, mounts};

/// The first argument of each life.
pub(super) const ENCLOSE: &str = "enclosure:enclose";
const INIT: &str = "enclosure:init";
const EXECUTE: &str = "enclosure:execute";

/// How a life ends that could not do its work; a program inside cannot be told from it by this alone.
pub(crate) const FAILED: u8 = 125;

/// What a program inside finds in its environment, and nothing else.
const ENVIRONMENT: [(&str, &str); 3] =
    [("PATH", "/usr/bin:/bin"), ("LC_ALL", "C.UTF-8"), ("HOME", "/tmp")];

/// What `$ORIGIN` in a program's list of libraries means where there is no `/proc` to look it up in: the
/// program's directory (glibc, `_dl_get_origin`).
const ORIGIN: &str = "LD_ORIGIN_PATH";

/// A step on the way inside that was refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}: {source}")]
pub(crate) struct Refused {
    action: String,
    source: io::Error,
}

/// Makes an error of what the system said.
pub(crate) fn refused<E: Into<io::Error>>(action: impl Into<String>) -> impl FnOnce(E) -> Refused {
    let action = action.into();
    move |source| Refused { action, source: source.into() }
}

/// Lives one of the lives inside of an enclosure, if the command line says so; else returns at once.
///
/// The program calls this first of all, before it starts a thread.
pub fn enter(arguments: &[OsString]) -> Option<ExitCode> {
    if let Some(ended) = crate::yard::enter(arguments) {
        return Some(ended);
    }
    let [_, life, orders, rest @ ..] = arguments else { return None };
    let life = life.to_str().filter(|life| [ENCLOSE, INIT, EXECUTE].contains(life))?;
    let orders = orders.to_str().and_then(|text| serde_json::from_str::<Orders>(text).ok());
    let Some(orders) = orders else { return Some(ExitCode::from(FAILED)) };
    let ended = match life {
        ENCLOSE => enclose(&orders),
        INIT => initiate(&orders),
        _ => execute(&orders, rest.first()),
    };
    Some(ended.unwrap_or_else(|refused| {
        // Into the log of whoever is enclosed.
        _ = writeln!(io::stderr(), "lifeboat: {refused}");
        ExitCode::from(FAILED)
    }))
}

/// Leaves the host's namespaces and starts the next life; says on standard output how that went.
fn enclose(orders: &Orders) -> Result<ExitCode, Refused> {
    let mut out = io::stdout();
    let say = |out: &mut io::Stdout, word: &str| {
        writeln!(out, "{word}").and_then(|()| out.flush()).map_err(refused("answer"))
    };
    close_inherited()?;
    if orders.walls == Walls::None {
        say(&mut out, CLOSED)?;
        return initiate(orders);
    }
    let begun = leave(&orders.enclosure).and_then(|()| {
        let mut next = myself(orders, INIT)?;
        let log = io::stderr().as_fd().try_clone_to_owned().map_err(refused("keep the log"))?;
        next.stdin(Stdio::inherit()).stdout(log).spawn().map_err(refused("start the first process"))
    });
    let mut next = match begun {
        Ok(next) => next,
        Err(refused) => {
            say(&mut out, &refused.to_string())?;
            return Ok(ExitCode::from(FAILED));
        }
    };
    say(&mut out, CLOSED)?;
    // Not `Child::wait` alone: it would close a standard input of the child's, of which there is none.
    next.wait().map(code_of).map_err(refused("wait for the first process"))
}

/// Closes what a careless parent left open: a directory of the host would be a way out.
pub(crate) fn close_inherited() -> Result<(), Refused> {
    const DESCRIPTORS: &str = "/proc/self/fd";
    let listed = fs::read_dir(DESCRIPTORS).map_err(refused("list open files"))?;
    let numbers = listed.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let numbers: Vec<RawFd> = numbers.filter(|number| *number > 2).collect();
    for number in numbers {
        // The one that listed them is closed already.
        _ = unistd::close(number);
    }
    Ok(())
}

/// Returns the command for another life of this program.
fn myself(orders: &Orders, life: &str) -> Result<Command, Refused> {
    let text = serde_json::to_string(orders).map_err(refused("pass the orders on"))?;
    let mut command = Command::new(&orders.enclosure.own_program);
    command.args([life, &text]).env_clear();
    Ok(command)
}

/// Leaves everything of the host's behind.
fn leave(enclosure: &Enclosure) -> Result<(), Refused> {
    let is_root = Uid::effective().is_root();
    let mut flags = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    if !is_root {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(flags).map_err(refused("leave the host's namespaces"))?;
    if !is_root {
        map_user(enclosure)?;
    }
    mounts::build(enclosure)?;
    give_up_rights(enclosure, is_root)
}

/// Says who this user is in the new namespace of users: itself.
fn map_user(enclosure: &Enclosure) -> Result<(), Refused> {
    let Enclosure { uid, gid, .. } = enclosure;
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{uid} {uid} 1")),
        ("gid_map", format!("{gid} {gid} 1")),
    ] {
        let path = PathBuf::from("/proc/self").join(file);
        let written = fs::File::options().write(true).open(&path);
        written
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(refused(format!("write {}", path.display())))?;
    }
    Ok(())
}

fn give_up_rights(enclosure: &Enclosure, is_root: bool) -> Result<(), Refused> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .map_err(refused("forbid core dumps"))?;
    for capability in CapabilitySet::all().iter() {
        // One that this kernel does not know is none that could be had.
        _ = remove_capability_from_bounding_set(capability);
    }
    if is_root {
        let (uid, gid) = (Uid::from_raw(enclosure.uid), Gid::from_raw(enclosure.gid));
        unistd::setgroups(&[gid]).map_err(refused("leave all groups"))?;
        unistd::setresgid(gid, gid, gid).map_err(refused("change the group"))?;
        unistd::setresuid(uid, uid, uid).map_err(refused("change the user"))?;
    }
    prctl::set_no_new_privs().map_err(refused("forgo all rights"))
}

/// Starts the program and sees to it until it ends.
fn initiate(orders: &Orders) -> Result<ExitCode, Refused> {
    let mut command = match orders.walls {
        Walls::Namespaces => errand(orders),
        Walls::None => {
            let mut command = myself(orders, EXECUTE)?;
            command.arg(std::process::id().to_string());
            if Uid::effective().is_root() {
                command.uid(orders.enclosure.uid).gid(orders.enclosure.gid);
            }
            command
        }
    };
    let log = io::stderr().as_fd().try_clone_to_owned().map_err(refused("keep the log"))?;
    command.stdin(Stdio::null()).stdout(log).current_dir("/");
    let child = command.spawn().map_err(refused("start the program"))?;
    let program = Pid::from_raw(i32::try_from(child.id()).expect("the kernel's numbers are small"));
    let walls = orders.walls;
    std::thread::spawn(move || follow_lifeline(program, walls));
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, code)) if pid == program => {
                return Ok(ExitCode::from(u8::try_from(code).unwrap_or(FAILED)));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == program => {
                return Ok(ExitCode::from(128 | u8::try_from(signal as i32).unwrap_or(0)));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(refused("wait for the program")(error)),
        }
    }
}

/// Ends the program when it is told to, and everything when nobody is left to tell it.
fn follow_lifeline(program: Pid, walls: Walls) {
    let mut word = [0];
    // A server calls this its fast shutdown.
    while let Ok(1) = io::stdin().read(&mut word) {
        if word == STOP {
            _ = kill(program, Signal::SIGINT);
        }
    }
    // The first process of a namespace is spared by a signal to all; with its end the kernel sees to the rest.
    _ = match walls {
        Walls::Namespaces => kill(Pid::from_raw(-1), Signal::SIGKILL),
        // A server calls this its immediate shutdown, and ends its children.
        Walls::None => kill(program, Signal::SIGQUIT),
    };
}

/// Becomes the program, which the kernel ends with the process that `parent` says.
fn execute(orders: &Orders, parent: Option<&OsString>) -> Result<ExitCode, Refused> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(refused("end with the parent"))?;
    let parent = parent.and_then(|number| number.to_str()?.parse().ok()).map(Pid::from_raw);
    if parent != Some(Pid::parent()) {
        // It ended before the kernel was told to look.
        return Ok(ExitCode::from(FAILED));
    }
    prctl::set_no_new_privs().map_err(refused("forgo all rights"))?;
    Err(refused("become the program")(errand(orders).exec()))
}

fn errand(orders: &Orders) -> Command {
    let Errand { program, arguments } = &orders.errand;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(ENVIRONMENT);
    command.env(ORIGIN, program.parent().unwrap_or(program));
    command
}

pub(crate) fn code_of(status: ExitStatus) -> ExitCode {
    let signalled = || status.signal().map(|signal| 128 | signal);
    let code = status.code().or_else(signalled).and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(FAILED))
}
