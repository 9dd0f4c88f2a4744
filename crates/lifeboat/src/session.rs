//! One run of one command: from the command line to the exit code.

use std::ffi::{OsStr, OsString};
use std::iter::successors;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;

use clap::{ArgMatches, FromArgMatches};
use lifeboat_model::{Cancel, Clock, EventSink, Exit, Silent, SiteName, SystemClock};
use lifeboat_ops::wire::Call;
use lifeboat_ops::{Site, Surroundings};
use lifeboat_plan::Checked;
use tokio::runtime::{Builder, Handle};
use tracing::Span;

use crate::arguments::{self, Arguments, GlobalArguments};
use crate::commands::Command;
use crate::failure::{CommandError, Failure};
use crate::progress::{Lines, Progress};
use crate::render::{self, Answer};
use crate::screen::Screen;
use crate::surroundings::Process;
use crate::traces::Traces;
use crate::{interrupt, logging, plan_file, surroundings};

/// What every command works with.
#[derive(Debug, Clone)]
pub struct Session {
    /// The options that every command takes.
    pub global: GlobalArguments,
    /// What lies around the process.
    pub process: Process,
    /// Where answers and remarks go.
    pub screen: Screen,
    /// Set when Ctrl-C was pressed.
    pub cancel: Cancel,
    /// Whose Ctrl-C it is.
    pub keyboard: interrupt::Keyboard,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where stores and databases do their I/O.
    pub runtime: Handle,
}

impl Session {
    /// Returns who listens to an operation's progress.
    pub fn events(&self) -> Arc<dyn EventSink> {
        match (self.screen.draws_progress(), self.screen.quiet) {
            (true, _) => Arc::new(Progress::default()),
            (false, false) => Arc::new(Lines),
            (false, true) => Arc::new(Silent),
        }
    }

    /// Returns the site of the plan that the command line names or that is found.
    pub fn site(&self) -> Result<Site, Failure> {
        self.site_of(plan_file::load(self)?)
    }

    /// Returns the site of a plan that was checked.
    pub fn site_of(&self, checked: Checked) -> Result<Site, Failure> {
        let surroundings = self.surroundings(checked.plan.site());
        let plan = surroundings::absolute(&surroundings::find_plan(&self.global)?)?;
        let call = Call { program: surroundings::program()?, plan: plan.display().to_string() };
        Ok(Site::new(checked, surroundings).called(call))
    }

    /// Like [`Session::site`], for a command that a server calls for every file: what is worth saying about
    /// the plan is for `lifeboat check` to say.
    pub fn site_quietly(&self) -> Result<Site, Failure> {
        self.site_of(plan_file::check_alone(self)?)
    }

    /// Returns what the operations on a site may know of the process.
    pub fn surroundings(&self, site: &SiteName) -> Surroundings {
        let time = (Arc::clone(&self.clock), self.cancel.clone());
        self.process.for_site(site, time, self.runtime.clone())
    }

    /// Prints an answer and ends with `exit`.
    pub fn end<A: Answer>(&self, answer: &A, exit: Exit) -> Result<Exit, Failure> {
        self.screen.answer(answer, exit)?;
        Ok(exit)
    }

    /// Prints an answer after everything went well.
    pub fn done<A: Answer>(&self, answer: &A) -> Result<Exit, Failure> {
        self.end(answer, Exit::Done)
    }
}

/// What a data directory holds as long as its server is a standby.
const STANDBY_SIGNAL: &str = "standby.signal";

/// Who takes the exit code for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    /// A person or a script.
    Anybody,
    /// PostgreSQL's archiver, which starts anew at codes above 125 and does not count them.
    Archiver,
    /// PostgreSQL in recovery, which takes codes from 1 to 125 for the end of the archive.
    Recovery,
    /// PostgreSQL as a standby, which takes them for "not now", looks elsewhere and asks again.
    Standby,
}

impl Caller {
    /// Tells by the words of the command line, also of one that cannot be understood.
    ///
    /// A word too many that looks like it only stops a server.
    fn of(arguments: &[OsString]) -> Self {
        let has = |word: &str| arguments.iter().skip(1).any(|argument| argument == word);
        match (has("wal"), has("get"), has("push")) {
            (true, true, _) => Self::Recovery,
            (true, false, true) => Self::Archiver,
            _ => Self::Anybody,
        }
    }

    /// Tells apart whether it is a standby that asks: the server calls its command from its data directory.
    fn in_directory(self, directory: &Path) -> Self {
        let is_standby = self == Self::Recovery && directory.join(STANDBY_SIGNAL).exists();
        if is_standby { Self::Standby } else { self }
    }

    /// Returns how the process ends after the command did not come to its answer.
    const fn exit(self, exit: Exit) -> Exit {
        match (self, exit) {
            // For a standby what is wrong with the command or the key stays wrong, and all else may pass.
            (Self::Standby, Exit::Failed | Exit::Incomplete | Exit::CouldNotVerify)
            | (Self::Archiver, Exit::Cancelled) => Exit::Failed,
            (Self::Recovery | Self::Standby, _) => Exit::StopServer,
            _ => exit,
        }
    }
}

/// Runs the command that the process was started with.
pub fn run(process: Process) -> Exit {
    let caller = Caller::of(&process.arguments).in_directory(Path::new("."));
    match panic::catch_unwind(AssertUnwindSafe(|| run_for(caller, process))) {
        Ok(exit) => exit,
        // A panic ends a process with 101, which a recovery would take for the end of the archive.
        Err(_) if matches!(caller, Caller::Recovery | Caller::Standby) => Exit::StopServer,
        Err(panic) => panic::resume_unwind(panic),
    }
}

fn run_for(caller: Caller, process: Process) -> Exit {
    let parsed = arguments::command()
        .try_get_matches_from(&process.arguments)
        .and_then(|matches| Ok((words(&matches), Arguments::from_arg_matches(&matches)?)));
    let (words, arguments) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            return match refuse(&error, &process) {
                Exit::Done => Exit::Done,
                exit => caller.exit(exit),
            };
        }
    };
    let (out, err) = process.paints(arguments.global.color);
    let screen = Screen { json: arguments.global.json, quiet: arguments.global.quiet, out, err };
    match command(&words, arguments, process, &screen) {
        Ok(exit) => exit,
        Err(failure) => {
            screen.failure(&failure);
            caller.exit(failure.exit())
        }
    }
}

/// Returns the command of a command line: `repo backup`.
fn words(matches: &ArgMatches) -> String {
    let nested = successors(matches.subcommand(), |(_, within)| within.subcommand());
    nested.map(|(name, _)| name).collect::<Vec<_>>().join(" ")
}

fn command(
    words: &str,
    arguments: Arguments,
    process: Process,
    screen: &Screen,
) -> Result<Exit, Failure> {
    let Arguments { global, command } = arguments;
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| CommandError::System { action: "start threads", source })?;
    let traces = Traces::start(&process, runtime.handle())?;
    let setting = process.text_variable("LIFEBOAT_LOG")?;
    logging::start(&global, setting, screen.err, traces.as_ref())?;
    let cancel = Cancel::new();
    let entered = runtime.enter();
    let keyboard = interrupt::listen(cancel.clone(), screen.clone())?;
    drop(entered);
    let session = Session {
        global,
        process,
        screen: screen.clone(),
        cancel,
        keyboard,
        clock: Arc::new(SystemClock),
        runtime: runtime.handle().clone(),
    };
    // A daemon never ends; its jobs are traced each by itself.
    let is_endless = matches!(command, Command::Serve(_));
    let span =
        if is_endless { Span::none() } else { tracing::info_span!("command", command = words) };
    let ended = span.in_scope(|| command.run(&session));
    drop(span);
    traces.as_ref().inspect(|traces| traces.finish());
    // Work that was given up (a read that hangs) must not keep the process from ending.
    runtime.shutdown_background();
    ended
}

/// Answers a command line that cannot be understood, or one that asks for help or the version.
fn refuse(error: &clap::Error, process: &Process) -> Exit {
    let asked_for = !error.use_stderr();
    let json = process
        .arguments
        .iter()
        .take_while(|argument| *argument != OsStr::new("--"))
        .any(|argument| argument == OsStr::new("--json"));
    if json && !asked_for {
        let text = error.render().to_string();
        let (message, hint) = split_usage(&text);
        let (_, paint) = process.paints(arguments::ColorChoice::Auto);
        let screen = Screen { json, quiet: false, out: render::Paint::Plain, err: paint };
        screen.failure(&CommandError::usage(message, hint).into());
        return Exit::Usage;
    }
    // A closed output is no reason to fail: whoever asked for help has gone.
    _ = error.print();
    if asked_for { Exit::Done } else { Exit::Usage }
}

/// Splits clap's text into what is wrong and how it should be.
fn split_usage(text: &str) -> (String, String) {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let (message, rest) = text.split_once("\n\n").unwrap_or((text, ""));
    let rest = rest.trim_end().replace("\n\n", "\n");
    (message.trim_end().to_owned(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_is_never_told_of_an_end_by_mistake() {
        let caller =
            |line: &str| Caller::of(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        for line in
            ["lifeboat wal get", "lifeboat --plan x wal get a b", "lifeboat wal -q get a --no"]
        {
            for exit in [Exit::Failed, Exit::Usage, Exit::WrongKey, Exit::Cancelled] {
                assert_eq!(caller(line).exit(exit), Exit::StopServer, "{line}");
            }
        }
        let home = tempfile::tempdir().unwrap();
        let get = caller("lifeboat wal get a b");
        assert_eq!(get.in_directory(home.path()), Caller::Recovery);
        std::fs::File::create(home.path().join(STANDBY_SIGNAL)).unwrap();
        let standby = get.in_directory(home.path());
        assert_eq!(standby.exit(Exit::Failed), Exit::Failed);
        for exit in [Exit::Usage, Exit::WrongKey, Exit::Cancelled] {
            assert_eq!(standby.exit(exit), Exit::StopServer);
        }
        assert_eq!(caller("lifeboat status").in_directory(home.path()), Caller::Anybody);
        assert_eq!(caller("lifeboat wal push a").exit(Exit::Cancelled), Exit::Failed);
        assert_eq!(caller("lifeboat wal push a").exit(Exit::WrongKey), Exit::WrongKey);
        assert_eq!(caller("lifeboat status").exit(Exit::Cancelled), Exit::Cancelled);
    }

    #[test]
    fn a_usage_error_splits_into_message_and_hint() {
        let text = "error: unexpected argument '--x' found\n\nUsage: lifeboat\n\nFor more, try\n";
        assert_eq!(
            split_usage(text),
            (
                "unexpected argument '--x' found".to_owned(),
                "Usage: lifeboat\nFor more, try".to_owned()
            )
        );
    }
}
