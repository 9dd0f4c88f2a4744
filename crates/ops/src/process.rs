//! Knows a process again: by its number, and by when it began in which boot of the system, as numbers are given out anew.

use std::fs;
use std::io;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// How often it is looked whether what was killed is gone, and for how long: 10 s, in which only what hangs in the kernel
/// does not end.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOKS_MAX: u32 = 200;

/// Which process it is; no other one is taken for it, whatever its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessMark {
    /// Its number.
    pub number: u32,
    /// When it began, in the kernel's ticks since the system came up.
    began: u64,
    /// Since when the system is up, as its own name for that.
    boot: String,
}

impl ProcessMark {
    /// Takes note of a process that is there.
    pub fn of(number: u32) -> io::Result<Self> {
        let began = Stat::of(number)?.began;
        Ok(Self { number, began, boot: boot()? })
    }

    /// Takes note of this process.
    pub fn own() -> io::Result<Self> {
        Self::of(std::process::id())
    }

    /// Tells whether it still runs.
    pub fn runs(&self) -> bool {
        let is_it = |stat: &Stat| stat.began == self.began && stat.runs();
        boot().is_ok_and(|boot| boot == self.boot)
            && Stat::of(self.number).is_ok_and(|stat| is_it(&stat))
    }

    /// Kills it with all of the group that it leads, and waits until none of that runs; tells whether that came about. Nothing
    /// is done where it does not run any more: what it left behind it left on purpose. `pause` lets some time pass.
    pub(crate) fn end_group(&self, pause: impl Fn(Duration)) -> bool {
        if !self.runs() {
            return true;
        }
        let Ok(group) = i32::try_from(self.number) else { return false };
        for _ in 0..LOOKS_MAX {
            // It may have ended meanwhile. Its number is nobody else's as long as one of its group is there.
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
            if !any_runs_in(self.number) {
                return true;
            }
            pause(LOOK_EVERY);
        }
        false
    }
}

/// Tells whether anything of a group of processes runs.
fn any_runs_in(group: u32) -> bool {
    let Ok(entries) = fs::read_dir("/proc") else { return true };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers
        .filter_map(|number| Stat::of(number).ok())
        .any(|stat| stat.group == group && stat.runs())
}

/// Returns the system's name for the time since it came up.
fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// What the kernel says of a process.
struct Stat {
    state: char,
    group: u32,
    began: u64,
}

impl Stat {
    fn of(number: u32) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{number}/stat"))?;
        Self::parse(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Reads a line of `/proc/N/stat`: a program's name may hold blanks and brackets, so that the last one counts.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<_> = rest.split_ascii_whitespace().collect();
        let state = fields.first()?.chars().next()?;
        Some(Self {
            state,
            group: fields.get(2)?.parse().ok()?,
            began: fields.get(19)?.parse().ok()?,
        })
    }

    /// Tells whether it does anything: one that ended stays in the list until somebody asks how.
    const fn runs(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_hides_nothing() {
        let tail = "S 1 77 77 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 123456 8 9 0";
        let stat = Stat::parse(&format!("77 (a) b (c)) {tail}")).unwrap();
        assert_eq!((stat.state, stat.group, stat.began), ('S', 77, 123_456));
        assert!(Stat::parse("77 (a) S 1").is_none());
    }

    #[test]
    fn a_number_that_was_given_to_another_process_is_not_taken_for_the_first() {
        let own = ProcessMark::own().unwrap();
        assert!(own.runs());
        let before = ProcessMark { began: own.began.wrapping_sub(1), ..own.clone() };
        let last_boot = ProcessMark { boot: "another".to_owned(), ..own };
        assert!(!before.runs() && !last_boot.runs());
    }

    #[test]
    fn what_runs_is_ended_with_what_it_started() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & echo $!; wait"]).process_group(0).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mark = ProcessMark::of(child.id()).unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let second = ProcessMark::of(line.trim().parse().unwrap()).unwrap();
        assert!(mark.runs() && second.runs());
        let (_open, never) = sync_channel::<()>(0);
        assert!(mark.end_group(|pause| {
            let _ = never.recv_timeout(pause);
        }));
        assert!(!mark.runs() && !second.runs());
        child.wait().unwrap();
    }
}
