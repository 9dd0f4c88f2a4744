//! `lifeboat wal serve`, kept running beside the platform as a service manager would keep it.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::failure::DemoError;

/// Runs a program and ends it once standard input does, which the kernel closes however this process dies.
const LIFELINE: &str = r#""$@" & read -r _; kill $!; wait $!"#;

/// The running service; it ends when this is dropped.
#[derive(Debug)]
pub struct LogService(Child);

impl LogService {
    /// Starts a program with its arguments and environment; what it says goes to a file.
    pub fn start(program: &Command, journal: &Path) -> Result<Self, DemoError> {
        let fail =
            |source: io::Error| DemoError::System { action: "start lifeboat's service", source };
        let words = File::options().create(true).append(true).open(journal).map_err(fail)?;
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", LIFELINE, "lifeline"])
            .arg(program.get_program())
            .args(program.get_args());
        let set = program.get_envs().filter_map(|(name, value)| Some((name, value?)));
        shell.envs(set).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(words);
        if let Some(directory) = program.get_current_dir() {
            shell.current_dir(directory);
        }
        // A group of its own, so that Ctrl-C reaches only the program that holds the lifeline.
        shell.process_group(0).spawn().map(Self).map_err(fail)
    }
}

impl Drop for LogService {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It ends by itself; there is nobody to tell if it could not be waited for.
        drop(self.0.wait());
    }
}
