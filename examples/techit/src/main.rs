//! `techit demo`: the film of the plan. The reference platform lives, is backed up, is struck, and comes back.
//!
//! It is for a person who sees lifeboat for the first time. Every command that it shows is really run, and what it
//! claims at the end is measured without lifeboat's help. [`mod@story`] tells what all films begin with,
//! [`mod@lost`] and [`mod@mended`] what happens then; the other files are their stage.

mod lost;
mod mended;
mod proof;
mod screen;
mod stage;
mod story;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use lifeboat_testing::interrupt::Interrupt;
use techit::failure::{StageError, system};
use techit::machine::Folder;

use crate::story::Story;

/// The Tech-IT reference platform
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Have the platform live, back it up, strike it, bring it back, and prove that it is the same
    Demo(Demo),
}

/// The arguments of `techit demo`.
#[derive(Debug, clap::Args)]
struct Demo {
    /// What happens to the platform
    #[arg(value_enum, default_value = "complete-system-failure")]
    scenario: Scenario,
    /// The `lifeboat` program; without it, the one beside this program
    #[arg(long, value_name = "FILE")]
    lifeboat: Option<PathBuf>,
    /// Make the machine's folder below this directory, which every user must be able to enter
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    below: PathBuf,
    /// Leave the folder when the film has ended
    #[arg(long)]
    keep: bool,
}

/// What can happen, as the plan calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// The machine is gone, with the tier on its disk and the plan
    CompleteSystemFailure,
    /// A table's file holds noise
    DatabaseCorruption,
    /// Somebody deletes what should have stayed
    AccidentalDeletion,
    /// Pictures are gone or damaged
    MediaLoss,
    /// Settings are gone
    ConfigurationLoss,
    /// What serves the platform is down
    WebServerFailure,
}

impl Scenario {
    /// Returns the plan's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CompleteSystemFailure => "complete-system-failure",
            Self::DatabaseCorruption => "database-corruption",
            Self::AccidentalDeletion => "accidental-deletion",
            Self::MediaLoss => "media-loss",
            Self::ConfigurationLoss => "configuration-loss",
            Self::WebServerFailure => "web-server-failure",
        }
    }
}

fn main() -> ExitCode {
    let Command::Demo(arguments) = Arguments::parse().command;
    match demo(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            screen::failure(&error);
            ExitCode::FAILURE
        }
    }
}

fn demo(arguments: &Demo) -> Result<(), StageError> {
    let interrupt = Interrupt::listen().map_err(system("listen for Ctrl-C"))?;
    let lifeboat = match &arguments.lifeboat {
        Some(path) => path.clone(),
        None => stage::beside_this_program()?,
    };
    let folder = if arguments.keep { Folder::Stays } else { Folder::Goes };
    // Everything that the story holds is gone, and its servers stopped, before the verdict is told.
    let story = Story::begin(&lifeboat, &arguments.below, folder, &interrupt)?;
    story.tell(arguments.scenario)
}
