//! `lifeboat completions`: what a shell needs to complete the command line.

use clap::Args;
use clap_complete::Shell;
use lifeboat_model::Exit;

use crate::arguments;
use crate::failure::Failure;
use crate::screen;

/// The arguments of `lifeboat completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// Complete for this shell
    shell: Shell,
}

impl Completions {
    /// Prints the script.
    pub fn run(self) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut arguments::command(), "lifeboat", &mut script);
        screen::print(&script)?;
        Ok(Exit::Done)
    }
}
