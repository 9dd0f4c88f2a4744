//! Prometheus' own tool, which parses what we publish and the rules that we ship.
//!
//! It comes from the system or from `dev/install-needs promtool`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::needs;
use crate::program::ProgramError;

const REMEDY: &str = "dev/install-needs promtool";

/// The tool.
#[derive(Debug)]
pub struct Promtool(PathBuf);

impl Promtool {
    /// Finds it.
    ///
    /// # Errors
    ///
    /// With the command that installs it, if it is not there.
    pub fn find() -> Result<Self, ProgramError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|folder| folder.join("promtool"));
        match { found }.find(|program| program.is_file()) {
            Some(program) => Ok(Self(program)),
            None => needs::find("promtool", "promtool", REMEDY).map(Self),
        }
    }

    /// Parses a text of metrics and looks for what the conventions forbid.
    ///
    /// # Errors
    ///
    /// What the tool says.
    pub fn check_metrics(&self, text: &str) -> Result<(), String> {
        self.run(&["check", "metrics"], text)
    }

    /// Parses a file of rules.
    ///
    /// # Errors
    ///
    /// What the tool says.
    pub fn check_rules(&self, file: &Path) -> Result<(), String> {
        self.run(&["check", "rules", &file.display().to_string()], "")
    }

    fn run(&self, arguments: &[&str], input: &str) -> Result<(), String> {
        let run = || {
            let mut child = Command::new(&self.0)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            // It reads all before it says anything.
            child.stdin.take().expect("it was piped").write_all(input.as_bytes())?;
            child.wait_with_output()
        };
        let output = run().map_err(|error| format!("cannot run promtool: {error}"))?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        if output.status.success() { Ok(()) } else { Err(said) }
    }
}
