//! The `lifeboat` command: hands the surroundings to one command and ends the process with its code.
//!
//! This is the only place where the process ends, but for a second Ctrl-C (`interrupt`). What a
//! command does stands in `commands`, one file a command; what lifeboat does stands in `lifeboat-ops`.

mod arguments;
mod commands;
mod daemon;
mod failure;
mod interrupt;
mod logging;
mod plan_file;
mod progress;
mod prompt;
mod render;
mod screen;
mod session;
mod surroundings;
mod tier_argument;
mod traces;

use std::process::ExitCode;

use crate::surroundings::Process;

fn main() -> ExitCode {
    let process = Process::current();
    // This very program runs again inside of a sandbox, where it is nobody's command.
    if let Some(ended) = lifeboat_postgres::enclosure::enter(&process.arguments) {
        return ended;
    }
    ExitCode::from(session::run(process).code())
}
