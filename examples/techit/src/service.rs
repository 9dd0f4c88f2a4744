//! A program that is kept running beside the platform, as a service manager would keep it.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use crate::failure::{StageError, system};

/// Runs a program and ends it once standard input does, which the kernel closes however this process dies.
const LIFELINE: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- & child=$!
(read -r _; kill "$child") <&3 3<&- >/dev/null 2>&1 &
exec 3<&-
wait "$child"
"#;

/// A running program; it ends when this is dropped.
#[derive(Debug)]
pub struct Service(Child);

impl Service {
    /// Starts a program with its arguments and environment; what it says goes where the command has it go.
    pub fn start(program: &Command, output: [Stdio; 2]) -> Result<Self, StageError> {
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", LIFELINE, "lifeline"])
            .arg(program.get_program())
            .args(program.get_args());
        let set = program.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let [out, err] = output;
        shell.env_clear().envs(set).stdin(Stdio::piped()).stdout(out).stderr(err);
        if let Some(directory) = program.get_current_dir() {
            shell.current_dir(directory);
        }
        // A group of its own, so that Ctrl-C reaches only the program that holds the lifeline.
        shell.process_group(0).spawn().map(Self).map_err(system("start a service"))
    }

    /// Tells whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Waits until it ends by itself; returns its exit code.
    pub fn wait(mut self) -> Result<Option<i32>, StageError> {
        // Standard input stays open until then: its end is the end of the program.
        let lifeline = self.0.stdin.take();
        let status = self.0.wait().map_err(system("wait for a service"))?;
        drop(lifeline);
        Ok(status.code())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It ends by itself; there is nobody to tell if it could not be waited for.
        drop(self.0.wait());
    }
}
