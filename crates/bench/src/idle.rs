//! What the daemon takes while it has nothing to do: memory that is resident, and its share of a core.
//!
//! It runs a plan with watched files whose schedules are not due meanwhile, after one backup. What it takes at its start is
//! not counted; what it takes for looking at the clock, its watchdog and its listeners is.
//!
//! # Limits
//!
//! The kernel counts processor time in ticks of ten milliseconds: a share is as true as the time is long.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use lifeboat_model::ByteSize;
use lifeboat_testing::interrupt::Interrupt;

use crate::failure::{BenchError, file, system};
use crate::place::Place;
use crate::report::write;
use crate::site::Site;

/// The most memory that the daemon may have resident, in bytes (issue: 40 MB).
pub const RESIDENT_GOAL: u64 = 40_000_000;

/// The largest share of a core that it may take.
pub const SHARE_GOAL: f64 = 0.001;

/// How long it may take until it counts as idle.
const SETTLE: Duration = Duration::from_secs(10);

/// How soon Ctrl-C is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How many files are watched.
const FILES: usize = 1_000;

/// Ticks of the kernel's clock a second, as `proc_pid_stat(5)` counts; Linux has a hundred on every machine that lifeboat runs on.
const TICKS: f64 = 100.0;

/// What the daemon took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Idle {
    /// For how long it was looked at.
    pub seconds: f64,
    /// The memory that was resident at the end.
    pub resident: ByteSize,
    /// Of this the part that is no file's.
    pub anonymous: ByteSize,
    /// The processor time.
    pub cpu_s: f64,
}

impl Idle {
    /// Returns its share of a core.
    pub fn share(&self) -> f64 {
        self.cpu_s / self.seconds
    }
}

/// A daemon that is ended when this goes out of scope.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // Whether it had ended by itself makes no difference to what was measured.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Starts a daemon of `lifeboat` and looks at it for as long as `length`.
pub fn measure(
    lifeboat: &Path,
    place: &Place,
    environment: &[(&'static str, OsString)],
    length: Duration,
    interrupt: &Interrupt,
) -> Result<Idle, BenchError> {
    let watched = place.fresh("watched")?;
    for number in 0..FILES {
        write(&watched.join(format!("{number}.conf")), &format!("of {number}\n"))?;
    }
    let site = Site::make(lifeboat, place, environment, ("idle", "configuration", &watched))?;
    let head = "[assets.configuration]\n";
    site.change(|plan| plan.replace(head, &format!("{head}watch = true\n")))?;
    site.call(&["backup"])?;
    let mut command = site.command(&["serve", "--http", "127.0.0.1:0"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut daemon = Daemon(command.spawn().map_err(system("start the daemon"))?);
    hear_it_serve(&mut daemon.0)?;
    let pid = daemon.0.id();
    pass(SETTLE, interrupt)?;
    let before = cpu_s(pid)?;
    pass(length, interrupt)?;
    let cpu_s = cpu_s(pid)? - before;
    let (resident, anonymous) = (memory(pid, "VmRSS:")?, memory(pid, "RssAnon:")?);
    Ok(Idle { seconds: length.as_secs_f64(), resident, anonymous, cpu_s })
}

/// Waits until the daemon says that it serves, and reads on, so that it never waits for a reader.
fn hear_it_serve(daemon: &mut Child) -> Result<(), BenchError> {
    let said = daemon.stderr.take().expect("its standard error is a pipe");
    let mut lines = BufReader::new(said).lines();
    let mut heard = Vec::new();
    while let Some(line) = lines.next().transpose().map_err(system("hear the daemon"))? {
        if line.contains("serving") {
            std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
            return Ok(());
        }
        heard.push(line);
    }
    let (command, ending) = ("lifeboat serve".to_owned(), "its end".to_owned());
    Err(BenchError::Failed { command, ending, message: heard.join("; ") })
}

fn pass(length: Duration, interrupt: &Interrupt) -> Result<(), BenchError> {
    // Nobody speaks on it: it only lets time pass.
    let (_silent, silence) = mpsc::channel::<()>();
    let end = Instant::now() + length;
    while Instant::now() < end {
        interrupt.check()?;
        _ = silence.recv_timeout(LOOK_EVERY.min(end.saturating_duration_since(Instant::now())));
    }
    Ok(())
}

/// Returns the processor time of a process, its own and the kernel's for it (`proc_pid_stat(5)`, fields 14 and 15).
fn cpu_s(pid: u32) -> Result<f64, BenchError> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let text = fs::read_to_string(&path).map_err(file("read", &path))?;
    // The second field is the name, in brackets, and may hold anything.
    let after = text.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
    let ticks: Vec<f64> = after.skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    let [user, system] = ticks[..] else { return Err(unknown("the ticks of the daemon")) };
    Ok((user + system) / TICKS)
}

/// Returns a line of `/proc/PID/status`, which counts in KiB.
fn memory(pid: u32, name: &str) -> Result<ByteSize, BenchError> {
    let path = PathBuf::from(format!("/proc/{pid}/status"));
    let text = fs::read_to_string(&path).map_err(file("read", &path))?;
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let number = value.and_then(|value| value.trim().split(' ').next()?.parse::<u64>().ok());
    number.map(|number| ByteSize(number * 1024)).ok_or_else(|| unknown(name))
}

/// A figure that is not there must not count as a small one.
fn unknown(what: &str) -> BenchError {
    BenchError::WrongWork { racer: "the kernel", what: format!("it does not tell {what}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_took_is_read_from_the_kernel() {
        let itself = std::process::id();
        let resident = memory(itself, "VmRSS:").unwrap();
        assert!(resident.0 > 1 << 20, "{resident}");
        assert!(memory(itself, "RssAnon:").unwrap().0 < resident.0);
        let before = cpu_s(itself).unwrap();
        let mut sum = 0_u64;
        while cpu_s(itself).unwrap() < before + 0.02 {
            sum = (0..1_000_000).fold(sum, |sum, number| std::hint::black_box(sum ^ number));
        }
        let idle = Idle { seconds: 100.0, resident, anonymous: resident, cpu_s: 0.02 };
        assert!((idle.share() - 0.0002).abs() < 1e-9);
    }
}
