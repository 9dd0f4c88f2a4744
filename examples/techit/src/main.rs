//! The reference platform of the plan, on one machine: made, written to, destroyed, proven.
//!
//! `techit demo` tells the whole story, for a person who sees lifeboat for the first time; every
//! command that it runs is the real one, and what it claims at the end is measured without lifeboat's
//! help. [`mod@demo`] is the story; the other files are its stage.

mod clouds;
mod demo;
mod disaster;
mod failure;
mod files;
mod folder;
mod lifeboat;
mod log_service;
mod media;
mod plan;
mod platform;
mod proof;
mod report;
mod schema;
mod screen;
mod tables;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lifeboat_testing::interrupt::Interrupt;

use crate::demo::Story;
use crate::failure::DemoError;

/// The Tech-IT reference platform
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the platform, back it up, destroy it, bring it back, and prove that it is the same
    Demo(Demo),
}

/// The arguments of `techit demo`.
#[derive(Debug, clap::Args)]
struct Demo {
    /// The `lifeboat` program; without it, the one beside this program
    #[arg(long, value_name = "FILE")]
    lifeboat: Option<PathBuf>,
    /// Make the demo's folder below this directory, which the user `postgres` must be able to enter
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    below: PathBuf,
    /// Leave the folder when the demo has ended
    #[arg(long)]
    keep: bool,
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

fn demo(arguments: &Demo) -> Result<(), DemoError> {
    let listening = Interrupt::listen();
    let fail = |source| DemoError::System { action: "listen for Ctrl-C", source };
    let interrupt = listening.map_err(fail)?;
    let binary = match &arguments.lifeboat {
        Some(path) => path.clone(),
        None => lifeboat::beside_this_program()?,
    };
    // Everything that the story holds is gone, and its server stopped, before the verdict is told.
    Story::begin(&binary, &arguments.below, arguments.keep, &interrupt)?.tell()
}
