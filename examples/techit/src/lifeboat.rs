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

/// The exit code by which lifeboat says that it could not look at everything.
pub const COULD_NOT_VERIFY: i32 = 4;

/// Runs the program on the demo's machine, where it finds the plan by itself.
#[derive(Debug)]
pub struct Lifeboat<'a> {
    binary: PathBuf,
    folder: PathBuf,
    state: PathBuf,
    clouds: Vec<(String, String)>,
    interrupt: &'a Interrupt,
}

impl<'a> Lifeboat<'a> {
    /// Names the program, the folder, and what the environment says of clouds.
    pub fn new(
        binary: &Path,
        folder: &Folder,
        clouds: Vec<(String, String)>,
        interrupt: &'a Interrupt,
    ) -> Self {
        Self {
            binary: binary.to_owned(),
            folder: folder.machine(),
            state: folder.state(),
            clouds,
            interrupt,
        }
    }

    /// Shows a command, runs it, and fails unless all that was asked for was done.
    pub fn run(&self, arguments: &[&str]) -> Result<(), DemoError> {
        self.run_to(0, arguments)
    }

    /// Shows a command, runs it, and fails unless it ends with this code.
    pub fn run_to(&self, code: i32, arguments: &[&str]) -> Result<(), DemoError> {
        self.show_and_run(&format!("lifeboat {}", shown(arguments)), self.command(arguments), code)
    }

    /// Shows and runs another program's command on the machine.
    pub fn run_other(&self, program: &str, arguments: &[&str]) -> Result<(), DemoError> {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.folder);
        self.show_and_run(&format!("{program} {}", shown(arguments)), command, 0)
    }

    fn show_and_run(&self, shown: &str, mut command: Command, code: i32) -> Result<(), DemoError> {
        self.interrupt.check()?;
        screen::command(shown);
        let fail = |source| DemoError::System { action: "run a command", source };
        // Nobody types in a demo.
        let mut child = command.stdin(Stdio::null()).spawn().map_err(fail)?;
        self.interrupt.watch(Some(Watched::Process(child.id())));
        let ended = child.wait();
        self.interrupt.watch(None);
        self.interrupt.check()?;
        let status = ended.map_err(fail)?;
        if status.code() == Some(code) {
            Ok(())
        } else {
            Err(DemoError::Command { command: shown.to_owned(), status })
        }
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
            .envs(self.clouds.iter().map(|(name, value)| (name, value)))
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
