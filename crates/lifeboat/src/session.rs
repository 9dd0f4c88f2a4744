//! One run of one command: from the command line to the exit code.

use std::ffi::OsStr;
use std::sync::Arc;

use clap::FromArgMatches;
use lifeboat_model::{Cancel, Clock, EventSink, Exit, Silent, SiteName, SystemClock};
use lifeboat_ops::{Site, Surroundings};
use tokio::runtime::{Builder, Handle};

use crate::arguments::{self, Arguments, GlobalArguments};
use crate::failure::{CommandError, Failure};
use crate::progress::Progress;
use crate::render::{self, Answer};
use crate::screen::Screen;
use crate::surroundings::Process;
use crate::{interrupt, logging, plan_file};

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
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where stores and databases do their I/O.
    pub runtime: Handle,
}

impl Session {
    /// Returns who listens to an operation's progress.
    pub fn events(&self) -> Arc<dyn EventSink> {
        if self.screen.draws_progress() { Arc::new(Progress::default()) } else { Arc::new(Silent) }
    }

    /// Returns the site of the plan that the command line names or that is found.
    pub fn site(&self) -> Result<Site, Failure> {
        let checked = plan_file::load(self)?;
        let surroundings = self.surroundings(checked.plan.site());
        Ok(Site::new(checked, surroundings))
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

/// Runs the command that the process was started with.
pub fn run(process: Process) -> Exit {
    let parsed = arguments::command()
        .try_get_matches_from(&process.arguments)
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error, &process),
    };
    let (out, err) = process.paints(arguments.global.color);
    let screen = Screen { json: arguments.global.json, quiet: arguments.global.quiet, out, err };
    match command(arguments, process, &screen) {
        Ok(exit) => exit,
        Err(failure) => {
            screen.failure(&failure);
            failure.exit()
        }
    }
}

fn command(arguments: Arguments, process: Process, screen: &Screen) -> Result<Exit, Failure> {
    let Arguments { global, command } = arguments;
    logging::start(&global, process.text_variable("LIFEBOAT_LOG")?, screen.err)?;
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| CommandError::System { action: "start threads", source })?;
    let cancel = Cancel::new();
    let entered = runtime.enter();
    interrupt::listen(cancel.clone(), screen.clone())?;
    drop(entered);
    let session = Session {
        global,
        process,
        screen: screen.clone(),
        cancel,
        clock: Arc::new(SystemClock),
        runtime: runtime.handle().clone(),
    };
    let ended = command.run(&session);
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
