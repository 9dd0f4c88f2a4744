//! A client program while it runs: killed when dropped, its words kept for the error.

use std::io::{self, Read};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::JoinHandle;

use crate::error::PostgresError;
use crate::tools::Tool;

/// How much of a program's complaints is kept: the first lines tell the cause.
const STDERR_BYTES_MAX: u64 = 16 * 1024;

/// A running client program.
#[derive(Debug)]
pub(crate) struct ToolProcess {
    tool: Tool,
    child: Child,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

impl ToolProcess {
    /// Starts a program; the caller has set its standard input and output.
    pub(crate) fn spawn(tool: Tool, command: &mut Command) -> Result<Self, PostgresError> {
        let fail = |source| PostgresError::ToolRun { tool, source };
        let mut child = command.stderr(Stdio::piped()).spawn().map_err(fail)?;
        let stderr = child.stderr.take().expect("standard error was piped");
        let stderr = std::thread::Builder::new()
            .name(format!("{tool}-stderr"))
            .spawn(move || read_complaints(stderr));
        match stderr {
            Ok(stderr) => Ok(Self { tool, child, stderr: Some(stderr) }),
            Err(source) => {
                end(&mut child);
                Err(fail(source))
            }
        }
    }

    /// Returns the child, for its pipes.
    pub(crate) const fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits for the end of the program, whose pipes the caller has closed; fails unless it is 0.
    pub(crate) fn wait(mut self) -> Result<(), PostgresError> {
        let tool = self.tool;
        let status = self.child.wait().map_err(|source| PostgresError::ToolRun { tool, source })?;
        let complaints = self.stderr.take().and_then(|thread| thread.join().ok());
        if status.success() {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&complaints.unwrap_or_default()).trim().to_owned();
        Err(PostgresError::ToolFailed { tool, status, message })
    }
}

impl Drop for ToolProcess {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Kills a child, if it still runs, and waits for it so that it leaves no zombie.
fn end(child: &mut Child) {
    // Both fail only when it has ended and was waited for already.
    drop(child.kill());
    drop(child.wait());
}

/// Keeps the start of what a program complains of and reads on, so that it never blocks on it.
fn read_complaints(mut stderr: ChildStderr) -> Vec<u8> {
    let mut kept = Vec::new();
    // Without its complaints the exit code still tells that it failed.
    drop(Read::by_ref(&mut stderr).take(STDERR_BYTES_MAX).read_to_end(&mut kept));
    drop(io::copy(&mut stderr, &mut io::sink()));
    kept
}
