//! Running a stock program to its end, with an error that shows what it said.

use std::io::{self, Write as _};
use std::process::{Command, ExitStatus, Output, Stdio};

/// A stock program did not do what a test needs.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It is not installed where it is looked for.
    #[error("`{program}` was not found: install it with `{remedy}`")]
    Missing {
        /// The program.
        program: String,
        /// The command that installs it.
        remedy: &'static str,
    },
    /// It could not be run or talked to.
    #[error("`{program}` could not be run")]
    Run {
        /// The program.
        program: String,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// It ended with an error.
    #[error("`{program}` ended with {status}: {message}")]
    Failed {
        /// The program with its arguments.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to its standard error.
        message: String,
    },
    /// It answered something that cannot be understood.
    #[error("`{program}` answered something unexpected: {message}")]
    Unexpected {
        /// The program.
        program: String,
        /// What is unexpected.
        message: String,
    },
}

/// Returns the command line as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Runs `command` with `input` on its standard input; fails unless it ends with 0.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Result<Output, ProgramError> {
    let output = output(command, input)?;
    if output.status.success() {
        return Ok(output);
    }
    Err(ProgramError::Failed {
        program: shown(command),
        status: output.status,
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// Runs `command` with `input` on its standard input, however it ends.
pub(crate) fn output(command: &mut Command, input: &[u8]) -> Result<Output, ProgramError> {
    let fail = |command: &Command, source| ProgramError::Run { program: shown(command), source };
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|source| fail(command, source))?;
    let mut stdin = child.stdin.take().expect("standard input was piped");
    std::thread::scope(|scope| {
        // A thread of its own, since a program may fill its output before it has read all input;
        // one that ends without reading closes the pipe, and its exit code tells why.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().map_err(|source| fail(command, source))
    })
}
