//! The real `lifeboat`, run on the machine as a person would run it, with what it says on the screen.

use std::io::{BufRead as _, BufReader, PipeReader};
use std::path::PathBuf;
use std::process::Command;
use std::thread::{self, JoinHandle};

use lifeboat_testing::interrupt::{Interrupt, Watched};
use serde_json::Value;
use techit::failure::{StageError, not_proven, system};
use techit::machine::{Machine, pause};
use techit::service::Service;

use crate::screen;

/// Finds the program that was built together with this one.
pub fn beside_this_program() -> Result<PathBuf, StageError> {
    let this = std::env::current_exe().map_err(system("find this program"))?;
    Ok(this.with_file_name("lifeboat"))
}

/// How many pauses lie between two looks at a run.
const PAUSES: u32 = 4;

/// How long a step may take until it waits for a person: some minutes.
const LOOKS_MAX: u32 = 1000;

/// The machine, and who watches.
pub struct Stage<'a> {
    pub machine: Machine,
    pub interrupt: &'a Interrupt,
}

/// What stands for the machine's folder on the screen: it is the root of the machine.
#[derive(Debug, Clone)]
struct Names {
    host: String,
    away: String,
}

impl Names {
    fn of(machine: &Machine) -> Self {
        let host = machine.at("").display().to_string();
        let away = machine.root().display().to_string();
        Self { host: host.trim_end_matches('/').to_owned(), away }
    }

    fn on_machine(&self, text: &str) -> String {
        text.replace(&self.host, "").replace(&self.away, "")
    }
}

impl Stage<'_> {
    /// Shows a command of lifeboat, runs it, and fails unless all that was asked for was done.
    pub fn run<S: AsRef<str>>(&self, arguments: &[S]) -> Result<(), StageError> {
        self.run_to(0, arguments)
    }

    /// Shows a command of lifeboat, runs it, and fails unless it ends with this code.
    pub fn run_to<S: AsRef<str>>(&self, code: i32, arguments: &[S]) -> Result<(), StageError> {
        let words: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
        let mut command = self.machine.lifeboat();
        command.args(&words);
        self.show_and_run(&format!("lifeboat {}", shown(&words)), command, code)
    }

    /// Shows and runs another program's command on the machine.
    pub fn run_other(&self, program: &str, arguments: &[&str]) -> Result<(), StageError> {
        let mut command = Command::new(program);
        self.machine.dress(&mut command);
        command.args(arguments);
        self.show_and_run(&format!("{program} {}", shown(arguments)), command, 0)
    }

    fn show_and_run(&self, shown: &str, mut command: Command, code: i32) -> Result<(), StageError> {
        self.interrupt.check()?;
        let names = Names::of(&self.machine);
        let shown = names.on_machine(shown);
        screen::command(&shown);
        let (reader, writer) = std::io::pipe().map_err(system("make a pipe"))?;
        let errors = writer.try_clone().map_err(system("make a pipe"))?;
        let child = command.stdout(writer).stderr(errors).spawn();
        // The pipe ends with whoever writes to it.
        drop(command);
        let mut child = child.map_err(system("run a command"))?;
        self.interrupt.watch(Some(Watched::Process(child.id())));
        copy(reader, &names);
        let ended = child.wait();
        self.interrupt.watch(None);
        self.interrupt.check()?;
        let status = ended.map_err(system("wait for a command"))?;
        if status.code() == Some(code) {
            Ok(())
        } else {
            Err(StageError::Command { command: shown, status, said: String::new() })
        }
    }

    /// Shows what each tier holds.
    pub fn show_tiers(&self) -> Result<(), StageError> {
        self.run_shortly(&["tiers"], &["Tier", "local", "primary", "secondary", "offsite"])
    }

    /// Shows a command of lifeboat, and of what it says the lines that begin so.
    pub fn run_shortly<S: AsRef<str>>(
        &self,
        arguments: &[S],
        begins: &[&str],
    ) -> Result<(), StageError> {
        self.interrupt.check()?;
        let words: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
        let mut command = self.machine.lifeboat();
        command.args(&words);
        let line = format!("lifeboat {}", shown(&words));
        screen::command(Names::of(&self.machine).on_machine(&line));
        let said = self.done(&line, command)?;
        for line in String::from_utf8_lossy(&said).lines() {
            if begins.iter().any(|begin| line.starts_with(begin)) {
                screen::output(cut(&Names::of(&self.machine).on_machine(line)));
            }
        }
        Ok(())
    }

    /// Runs a command of lifeboat that nobody sees; returns the document that it answers with.
    pub fn ask<S: AsRef<str>>(&self, arguments: &[S]) -> Result<Value, StageError> {
        let mut command = self.machine.lifeboat();
        command.args(arguments.iter().map(AsRef::as_ref)).arg("--json");
        let output = command.output().map_err(system("run a command"))?;
        let answer = serde_json::from_slice(&output.stdout);
        answer.map_err(|_| {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            not_proven(format!("lifeboat does not answer: {said}"))
        })
    }

    /// Shows the command that begins a recovery, which goes on while people are asked.
    pub fn recover<S: AsRef<str>>(&self, arguments: &[S]) -> Result<Recovery<'_>, StageError> {
        self.interrupt.check()?;
        let words: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
        let names = Names::of(&self.machine);
        screen::command(names.on_machine(&format!("lifeboat {}", shown(&words))));
        let (reader, writer) = std::io::pipe().map_err(system("make a pipe"))?;
        let errors = writer.try_clone().map_err(system("make a pipe"))?;
        let mut command = self.machine.lifeboat();
        command.args(&words);
        let driving = Service::start(&command, [writer.into(), errors.into()])?;
        let heard = thread::spawn(move || copy(reader, &names));
        Ok(Recovery { stage: self, driving, heard })
    }
}

/// A recovery that goes on.
pub struct Recovery<'s> {
    stage: &'s Stage<'s>,
    driving: Service,
    heard: JoinHandle<()>,
}

impl Recovery<'_> {
    /// Waits until a step waits for a person, and has that person answer.
    pub fn answer(&mut self, step: &str, words: &[&str]) -> Result<(), StageError> {
        self.wait_for(step)?;
        self.say(words)
    }

    /// Waits until a step waits for a person.
    pub fn wait_for(&mut self, step: &str) -> Result<(), StageError> {
        for _ in 0..LOOKS_MAX {
            self.stage.interrupt.check()?;
            let status = self.stage.ask(&["recover", "status"])?;
            let steps = status["steps"].as_array().cloned().unwrap_or_default();
            let waits =
                |known: &Value| known["step"] == step && known["stand"] == "waits for a person";
            if steps.iter().any(waits) {
                return Ok(());
            }
            if !self.driving.runs() {
                break;
            }
            (0..PAUSES).for_each(|_| pause());
        }
        Err(not_proven(format!("the step `{step}` waits for nobody")))
    }

    /// Shows a command by which a person tells the run something; the run tells what became of it.
    pub fn say(&self, words: &[&str]) -> Result<(), StageError> {
        let mut command = self.stage.machine.lifeboat();
        command.args(words);
        self.stage.run_unseen(&format!("lifeboat {}", shown(words)), command).map(drop)
    }

    /// Waits until it is over, which has to be well.
    pub fn end(self) -> Result<(), StageError> {
        let Self { stage, driving, heard } = self;
        let code = driving.wait()?;
        drop(heard.join());
        stage.interrupt.check()?;
        if code == Some(0) { Ok(()) } else { Err(not_proven("the recovery did not succeed")) }
    }
}

impl Stage<'_> {
    /// Shows a command that a person gives while a recovery goes on; returns what it says, which nobody sees.
    pub fn run_unseen(&self, shown: &str, command: Command) -> Result<Vec<u8>, StageError> {
        let shown = Names::of(&self.machine).on_machine(shown);
        screen::aside(format_args!("$ {shown}"));
        self.done(&shown, command)
    }

    fn done(&self, shown: &str, mut command: Command) -> Result<Vec<u8>, StageError> {
        let output = command.output().map_err(system("run a command"))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        self.interrupt.check()?;
        Err(StageError::Command { command: shown.to_owned(), status: output.status, said })
    }
}

/// Puts what a program says on the screen, until it says no more.
fn copy(reader: PipeReader, names: &Names) {
    for line in BufReader::new(reader).lines().map_while(Result::ok) {
        screen::output(cut(&names.on_machine(&line)));
    }
}

/// Cuts what no screen has room for.
fn cut(line: &str) -> String {
    const COLUMNS_MAX: usize = 150;
    match line.char_indices().nth(COLUMNS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// Writes arguments as a shell would want them; many options take a line each.
fn shown(arguments: &[&str]) -> String {
    const OPTIONS_A_LINE_MAX: usize = 4;
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
