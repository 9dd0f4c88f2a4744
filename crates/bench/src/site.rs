//! A small site whose plan `lifeboat init` writes, and calls of `lifeboat` with it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::{BenchError, file, system};
use crate::place::Place;
use crate::report::write;

/// A site with one asset of files, on one tier.
#[derive(Debug)]
pub struct Site<'a> {
    lifeboat: &'a Path,
    plan: PathBuf,
    environment: &'a [(&'static str, OsString)],
}

impl<'a> Site<'a> {
    /// Makes the site `name` in a place, with the asset `asset` of what is below `root`.
    pub fn make(
        lifeboat: &'a Path,
        place: &Place,
        environment: &'a [(&'static str, OsString)],
        (name, asset, root): (&str, &str, &Path),
    ) -> Result<Self, BenchError> {
        let site = Self { lifeboat, plan: place.join("plan.toml"), environment };
        let tier = format!("primary={}", place.join("tier").display());
        let asset = format!("{asset}={}", root.display());
        let quiet = ["init", "--no-discovery", "--confirm-later", "--site", name];
        site.call(&[&quiet[..], &["--tier", &tier, "--asset-path", &asset]].concat())?;
        Ok(site)
    }

    /// Changes the plan's text.
    pub fn change(&self, change: impl FnOnce(&str) -> String) -> Result<(), BenchError> {
        let text = fs::read_to_string(&self.plan).map_err(file("read", &self.plan))?;
        write(&self.plan, &change(&text))
    }

    /// Returns a command of `lifeboat` with the site's plan.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.lifeboat);
        command.env_clear().envs(self.environment.iter().cloned());
        command.arg("--plan").arg(&self.plan).args(words).stdin(Stdio::null());
        command
    }

    /// Runs `lifeboat`, which has to do its work; returns what it says.
    pub fn call(&self, words: &[&str]) -> Result<String, BenchError> {
        run(&mut self.command(words))
    }
}

/// Runs a command, which has to do its work; returns what it says.
pub fn run(command: &mut Command) -> Result<String, BenchError> {
    let output = command.output().map_err(system("run lifeboat"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let (command, ending) = (format!("{command:?}"), output.status.to_string());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(BenchError::Failed { command, ending, message })
}
