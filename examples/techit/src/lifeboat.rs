//! The real `lifeboat`, run as a person would run it, with its output on the screen.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lifeboat_testing::interrupt::{Interrupt, Watched};

use crate::failure::DemoError;
use crate::folder::Folder;
use crate::log_service::LogService;
use crate::screen;

/// Finds the program that was built together with this one.
pub fn beside_this_program() -> Result<PathBuf, DemoError> {
    let this = std::env::current_exe()
        .map_err(|source| DemoError::System { action: "find this program", source })?;
    Ok(this.with_file_name("lifeboat"))
}

/// Runs the program in the demo's folder, where it finds the plan by itself.
#[derive(Debug)]
pub struct Lifeboat<'a> {
    binary: PathBuf,
    folder: PathBuf,
    state: PathBuf,
    interrupt: &'a Interrupt,
}

impl<'a> Lifeboat<'a> {
    /// Names the program and the folder.
    pub fn new(binary: &Path, folder: &Folder, interrupt: &'a Interrupt) -> Self {
        Self {
            binary: binary.to_owned(),
            folder: folder.path().to_owned(),
            state: folder.state(),
            interrupt,
        }
    }

    /// Shows a command, runs it, and fails unless all that was asked for was done.
    pub fn run(&self, arguments: &[&str]) -> Result<(), DemoError> {
        self.interrupt.check()?;
        let command = shown(arguments);
        screen::command(format_args!("lifeboat {command}"));
        let fail = |source| DemoError::System { action: "run lifeboat", source };
        // Nobody types in a demo.
        let mut child = self.command(arguments).stdin(Stdio::null()).spawn().map_err(fail)?;
        self.interrupt.watch(Some(Watched::Process(child.id())));
        let ended = child.wait();
        self.interrupt.watch(None);
        self.interrupt.check()?;
        let status = ended.map_err(fail)?;
        if status.success() { Ok(()) } else { Err(DemoError::Lifeboat { command, status }) }
    }

    /// Shows a command that goes on in the background until the service is dropped.
    pub fn serve(&self, arguments: &[&str]) -> Result<LogService, DemoError> {
        screen::command(format_args!("lifeboat {} &", shown(arguments)));
        LogService::start(&self.command(arguments), &self.folder.join("wal-serve.log"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env("XDG_STATE_HOME", &self.state)
            .env("XDG_CACHE_HOME", &self.state);
        command
    }
}

/// Writes arguments as a shell would want them; many options take a line each.
fn shown(arguments: &[&str]) -> String {
    const OPTIONS_A_LINE_MAX: usize = 3;
    let options = arguments.iter().filter(|argument| argument.starts_with("--")).count();
    let before = |argument: &str| {
        if options > OPTIONS_A_LINE_MAX && argument.starts_with("--") { " \\\n     " } else { " " }
    };
    let quoted = |argument: &str| {
        if argument.contains(' ') { format!("'{argument}'") } else { argument.to_owned() }
    };
    let mut line = String::new();
    for argument in arguments {
        line.push_str(before(argument));
        line.push_str(&quoted(argument));
    }
    line.trim_start().to_owned()
}
