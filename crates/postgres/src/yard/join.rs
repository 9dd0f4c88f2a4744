//! Going inside of a yard: whole programs, and threads of the keeper that only ask something there.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::chdir;
use rustix::thread::{
    CapabilitySet, capability_is_in_bounding_set, remove_capability_from_bounding_set,
};

use super::JOIN;
use crate::enclosure::inside::{FAILED, Refused, code_of, refused};

/// The namespaces of the inside; that of files goes last, since the others are looked up in it.
const NAMESPACES: [&str; 5] = ["ipc", "uts", "net", "pid", "mnt"];

/// What root may still do inside: be any user, own any file, take any port. Nothing that reaches the kernel, its devices,
/// mounts, other processes' memory, or files by other ways than their paths.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::SETFCAP);

/// As whom a program runs inside, where it is said.
const AS_ROOT: &str = "-";

/// The inside of a yard, as its keeper knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inside {
    own_program: PathBuf,
    process: u32,
}

/// What stands before the words of a command, so that it runs elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runner {
    /// The words, without those that say as whom.
    words: Vec<OsString>,
    /// Where its processes are seen.
    pub processes: PathBuf,
}

impl Runner {
    /// Returns the command that runs a program as a user and a group.
    pub fn command(&self, program: &OsStr, (uid, gid): (u32, u32)) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).arg(format!("{uid}:{gid}")).arg(program);
        command
    }
}

impl Inside {
    /// Of the yard whose first process inside the keeper sees under this number.
    pub const fn new(own_program: PathBuf, process: u32) -> Self {
        Self { own_program, process }
    }

    /// Returns the words by which the keeper runs a command inside.
    pub fn words<S: Into<OsString>>(&self, words: impl IntoIterator<Item = S>) -> Vec<OsString> {
        let mut all = self.to_join();
        all.push(AS_ROOT.into());
        all.extend(words.into_iter().map(Into::into));
        all
    }

    /// Returns what runs programs inside.
    pub fn runner(&self) -> Runner {
        let processes = PathBuf::from(format!("/proc/{}/root/proc", self.process));
        Runner { words: self.to_join(), processes }
    }

    fn to_join(&self) -> Vec<OsString> {
        vec![self.own_program.clone().into(), JOIN.into(), self.process.to_string().into()]
    }

    /// Does something on a thread that is inside: what it connects to, listens on and opens is there.
    pub fn on_thread<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.bring_thread()?;
                Ok(work())
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Brings the calling thread inside, from where it cannot come back.
    pub fn bring_thread(&self) -> io::Result<()> {
        let open = |name: &str| File::open(format!("/proc/{}/ns/{name}", self.process));
        let (network, files) = (open("net")?, open("mnt")?);
        // Who goes to other mounts must not share where it stands with other threads.
        unshare(CloneFlags::CLONE_FS)?;
        setns(network, CloneFlags::CLONE_NEWNET)?;
        setns(files, CloneFlags::CLONE_NEWNS)?;
        Ok(())
    }
}

/// Sees to it that no program from here on can have a right that is not kept.
fn forgo_rights() -> Result<(), Refused> {
    for capability in CapabilitySet::all().difference(KEPT).iter() {
        // One that this kernel does not know is none that could be had.
        _ = remove_capability_from_bounding_set(capability);
        if capability_is_in_bounding_set(capability) == Ok(true) {
            return Err(refused("forgo rights without CAP_SETPCAP")(Errno::EPERM));
        }
    }
    Ok(())
}

/// Joins the inside that a process holds open, and runs a program there.
pub(super) fn join(process: &OsStr, rest: &[OsString]) -> Result<ExitCode, Refused> {
    let [whom, program, arguments @ ..] = rest else {
        return Err(refused("run no program")(Errno::EINVAL));
    };
    let process: u32 = process.to_str().and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut joined = Vec::new();
    for name in NAMESPACES {
        let file = File::open(format!("/proc/{process}/ns/{name}"));
        joined.push(file.map_err(refused(format!("find the inside's {name}")))?);
    }
    for (namespace, name) in joined.into_iter().zip(NAMESPACES) {
        setns(namespace, CloneFlags::empty())
            .map_err(refused(format!("join the inside's {name}")))?;
    }
    chdir("/").map_err(refused("enter the inside's root directory"))?;
    forgo_rights()?;
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some((uid, gid)) = whom.to_str().and_then(|whom| whom.split_once(':')) {
        use std::os::unix::process::CommandExt as _;
        let number = |text: &str| text.parse::<u32>().map_err(|_| Errno::EINVAL);
        let number = |text| number(text).map_err(refused("run as nobody"));
        command.gid(number(gid)?).uid(number(uid)?);
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            _ = writeln!(io::stderr(), "cannot start `{}`: {error}", program.display());
            return Ok(ExitCode::from(FAILED));
        }
    };
    child.wait().map(code_of).map_err(refused("wait for the program"))
}
