//! Running the commands that a plan or a person names: hooks, secrets, streams. Never through a shell,
//! unless they themselves say `["sh", "-c", …]`.
//!
//! A command runs in a process group of its own and its standard input is empty unless it is fed.
//! When the work is cancelled or the command's time is over, the whole group is killed.
//!
//! **Limits**: of what a command writes, the last [`OUTPUT_MAX`] bytes of each stream are kept.

mod note;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, Read, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lifeboat_model::{Cancel, Classify, ErrorKind, Hint};
use lifeboat_repository::source::{StreamReader, StreamSource};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use note::Note;
pub(crate) use note::{Left, Noted, Notes, end_left};

/// How much of each output stream is kept: enough for any error message.
pub const OUTPUT_MAX: usize = 64 << 10;

/// How much is kept of what a command answers that was told something.
const ANSWER_MAX: usize = 16 << 20;

/// How often cancellation and the time limit are looked at.
const POLL: Duration = Duration::from_millis(50);

/// How long output is awaited after the command ended: what it left running may hold the pipe open.
const OUTPUT_GRACE: Duration = Duration::from_secs(2);

/// A command did not do what it was started for.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Nothing was given to run.
    #[error("an empty command cannot be run")]
    Empty,
    /// It could not be started.
    #[error("cannot start `{program}`")]
    Start {
        /// The program.
        program: String,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// Feeding it or reading from it failed.
    #[error("cannot talk to `{program}`")]
    Pipe {
        /// The program.
        program: String,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// It said that it failed, or was killed by somebody else.
    #[error("`{program}` ended with {status}{}", last_words(.stderr))]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: Status,
        /// The end of what it wrote to standard error.
        stderr: String,
    },
    /// It took too long.
    #[error("`{program}` did not end within {} s and was killed", limit.as_secs())]
    TimedOut {
        /// The program.
        program: String,
        /// How long it had.
        limit: Duration,
    },
    /// The work was cancelled.
    #[error("`{program}` was stopped since the work was cancelled")]
    Cancelled {
        /// The program.
        program: String,
    },
}

impl Classify for CommandError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Empty => ErrorKind::Config,
            Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ErrorKind::NotFound
            }
            Self::Start { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                ErrorKind::Denied
            }
            Self::Start { .. }
            | Self::Pipe { .. }
            | Self::Failed { .. }
            | Self::TimedOut { .. } => ErrorKind::Unavailable,
            Self::Cancelled { .. } => ErrorKind::Cancelled,
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Start { program, .. } => {
                Some(Hint::new(format!("is `{program}` installed, and found in PATH?")))
            }
            Self::TimedOut { program, .. } => {
                Some(Hint::new(format!("run `{program}` by hand to see what it waits for")))
            }
            _ => None,
        }
    }
}

/// How many lines of standard error an error repeats: the cause often stands before the last one.
const LAST_WORDS_MAX: usize = 3;

fn last_words(stderr: &str) -> String {
    let lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut last: Vec<&str> = lines.rev().take(LAST_WORDS_MAX).collect();
    last.reverse();
    if last.is_empty() { String::new() } else { format!(": {}", last.join("; ")) }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// With an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

impl From<ExitStatus> for Status {
    fn from(status: ExitStatus) -> Self {
        match status.code() {
            Some(code) => Self::Code(code),
            None => Self::Signal(status.signal().unwrap_or(0)),
        }
    }
}

/// A command to run.
#[derive(Debug, Clone)]
pub struct CommandLine {
    /// The program and its arguments.
    pub argv: Vec<OsString>,
    /// Where it runs, if not here.
    pub directory: Option<PathBuf>,
    /// What its environment holds beyond the process's own.
    pub environment: Vec<(String, String)>,
    /// How long it may take; [`NO_LIMIT`] is for a person who waits and can press Ctrl-C.
    pub timeout: Duration,
    /// What errors call it, if not by the first of its words.
    called: Option<String>,
    /// Where it is noted that it runs.
    notes: Option<Notes>,
}

/// More than any command takes.
pub const NO_LIMIT: Duration = Duration::MAX;

/// What a command that succeeded wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// The end of its standard output.
    pub stdout: Vec<u8>,
    /// The end of its standard error.
    pub stderr: Vec<u8>,
}

impl CommandLine {
    /// Returns a command that may take `timeout`.
    pub fn new<S: Into<OsString>>(argv: impl IntoIterator<Item = S>, timeout: Duration) -> Self {
        let argv = argv.into_iter().map(S::into).collect();
        let (directory, called, notes) = (None, None, None);
        Self { argv, directory, environment: Vec::new(), timeout, called, notes }
    }

    /// Is what a plan has as `program`, run by something else.
    #[must_use]
    pub(crate) fn called(mut self, program: Option<&String>) -> Self {
        self.called = program.cloned();
        self
    }

    /// Has it noted there that it runs.
    #[must_use]
    pub(crate) fn noted_in(mut self, notes: Option<&Notes>) -> Self {
        self.notes = notes.cloned();
        self
    }

    fn program(&self) -> String {
        let first = || self.argv.first().map(|program| program.to_string_lossy().into());
        self.called.clone().or_else(first).unwrap_or_default()
    }

    /// Runs it to its end; anything but exit code 0 is an error.
    pub fn run(&self, cancel: &Cancel) -> Result<CommandOutput, CommandError> {
        self.run_from(Stdio::null(), cancel)
    }

    /// Runs it to its end; its standard input gives nothing and ends when nobody waits for it any more.
    pub fn run_attended(&self, cancel: &Cancel) -> Result<CommandOutput, CommandError> {
        self.run_from(Stdio::piped(), cancel)
    }

    /// Runs it to its end after it was told something; then its standard input stays open until nobody waits for it any more.
    /// What it answers may be long.
    pub fn converse(&self, said: Vec<u8>, cancel: &Cancel) -> Result<CommandOutput, CommandError> {
        let mut running = self.start(Stdio::piped())?;
        let mut stdin = running.child.stdin.take().expect("it was asked for");
        let stdout = Tail::follow_most(running.child.stdout.take(), ANSWER_MAX);
        let stderr = Tail::follow(running.child.stderr.take());
        // By a thread, as whoever is told may not listen; it hands the pipe back, so that it stays open.
        let told = thread::spawn(move || stdin.write_all(&said).map(|()| stdin));
        let ended = running.wait(cancel, &stderr);
        drop(told);
        ended?;
        Ok(CommandOutput { stdout: stdout.take(), stderr: stderr.take() })
    }

    fn run_from(&self, stdin: Stdio, cancel: &Cancel) -> Result<CommandOutput, CommandError> {
        let mut running = self.start(stdin)?;
        let stdout = Tail::follow(running.child.stdout.take());
        let stderr = Tail::follow(running.child.stderr.take());
        running.wait(cancel, &stderr)?;
        Ok(CommandOutput { stdout: stdout.take(), stderr: stderr.take() })
    }

    /// Runs it to its end with everything that `input` gives on its standard input.
    pub fn feed(
        &self,
        input: &mut dyn Read,
        cancel: &Cancel,
    ) -> Result<CommandOutput, CommandError> {
        let mut running = self.start(Stdio::piped())?;
        let stdout = Tail::follow(running.child.stdout.take());
        let stderr = Tail::follow(running.child.stderr.take());
        let mut stdin = running.child.stdin.take().expect("it was asked for");
        let guard = running.guard(cancel.clone());
        let fed = io::copy(input, &mut stdin);
        drop((stdin, guard));
        running.wait(cancel, &stderr)?;
        // A command that succeeded without reading everything still lacks what it did not read.
        fed.map_err(|source| CommandError::Pipe { program: self.program(), source })?;
        Ok(CommandOutput { stdout: stdout.take(), stderr: stderr.take() })
    }

    /// Starts it to read its standard output as a stream.
    pub fn stream(&self, cancel: &Cancel) -> Result<CommandStream, CommandError> {
        self.stream_heard(cancel, Box::new(|_| ()))
    }

    fn stream_heard(&self, cancel: &Cancel, hear: Hear) -> Result<CommandStream, CommandError> {
        let mut running = self.start(Stdio::null())?;
        let stdout = running.child.stdout.take().expect("it was asked for");
        let stderr = Tail::follow_heard(running.child.stderr.take(), hear);
        let guard = Some(running.guard(cancel.clone()));
        Ok(CommandStream { stdout: Some(stdout), stderr, guard, running, cancel: cancel.clone() })
    }

    /// Returns a source that starts it when its turn comes and stores what it writes at `path`.
    pub fn into_source(self, path: impl Into<PathBuf>, cancel: Cancel) -> StreamSource {
        self.into_source_heard(path, cancel, Box::new(|_| ()))
    }

    /// Returns a source like [`Self::into_source`]; `hear` gets what it writes to standard error, as it
    /// comes.
    pub fn into_source_heard(
        self,
        path: impl Into<PathBuf>,
        cancel: Cancel,
        hear: Hear,
    ) -> StreamSource {
        StreamSource::new(path, move || {
            let stream = self.stream_heard(&cancel, hear).map_err(io::Error::other)?;
            Ok(Box::new(stream))
        })
    }

    fn start(&self, stdin: Stdio) -> Result<Running, CommandError> {
        let (program, arguments) = self.argv.split_first().ok_or(CommandError::Empty)?;
        let mut command = Command::new(program);
        command.args(arguments).envs(self.environment.iter().cloned());
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let child = command
            .spawn()
            .map_err(|source| CommandError::Start { program: self.program(), source })?;
        let deadline = Instant::now().checked_add(self.timeout);
        let (program, limit) = (self.program(), self.timeout);
        let note = self.note(child.id(), &program);
        Ok(Running { program, child, deadline, limit, ended: false, _note: note })
    }

    /// Notes that it runs. Where that cannot be done it goes on: it is as good as any that was never interrupted.
    fn note(&self, process: u32, program: &str) -> Option<Note> {
        let taken = self.notes.as_ref()?.take(process, program);
        let warn = |error: &io::Error| {
            let error: &dyn std::error::Error = error;
            tracing::warn!(error, program, "That it runs could not be noted.");
        };
        taken.inspect_err(warn).ok()
    }
}

/// Who gets what a command writes to standard error.
pub type Hear = Box<dyn FnMut(&[u8]) + Send>;

/// A process that was started; killed when dropped before it ended.
#[derive(Debug)]
struct Running {
    program: String,
    child: Child,
    deadline: Option<Instant>,
    limit: Duration,
    ended: bool,
    /// Goes with it.
    _note: Option<Note>,
}

impl Running {
    fn group(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().map(Pid::from_raw)
    }

    /// Waits for the end, looking at cancellation and the time limit meanwhile.
    fn wait(&mut self, cancel: &Cancel, stderr: &Tail) -> Result<(), CommandError> {
        let (_open, never) = sync_channel::<()>(0);
        let mut pause = Duration::from_millis(1);
        loop {
            let ended = self
                .child
                .try_wait()
                .map_err(|source| CommandError::Pipe { program: self.program.clone(), source })?;
            if let Some(status) = ended {
                self.ended = true;
                return self.judge(status, cancel, stderr);
            }
            if cancel.is_cancelled() || is_over(self.deadline) {
                kill(self.group());
            }
            let _ = never.recv_timeout(pause);
            pause = (pause * 2).min(POLL);
        }
    }

    fn judge(
        &self,
        status: ExitStatus,
        cancel: &Cancel,
        stderr: &Tail,
    ) -> Result<(), CommandError> {
        let program = self.program.clone();
        if status.success() {
            return Ok(());
        }
        if cancel.is_cancelled() {
            return Err(CommandError::Cancelled { program });
        }
        if is_over(self.deadline) {
            return Err(CommandError::TimedOut { program, limit: self.limit });
        }
        let stderr = String::from_utf8_lossy(&stderr.take()).into_owned();
        Err(CommandError::Failed { program, status: status.into(), stderr })
    }

    /// Kills the process when the work is cancelled or its time is over, until dropped; for whoever
    /// blocks on one of its pipes.
    fn guard(&self, cancel: Cancel) -> Guard {
        let (stop, stopped) = sync_channel(0);
        let (group, deadline) = (self.group(), self.deadline);
        thread::spawn(move || {
            while stopped.recv_timeout(POLL) == Err(RecvTimeoutError::Timeout) {
                if cancel.is_cancelled() || is_over(deadline) {
                    kill(group);
                    return;
                }
            }
        });
        Guard(stop)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            kill(self.group());
            let _ = self.child.wait();
        }
    }
}

/// Stops the guarding thread when dropped, by closing its channel.
#[derive(Debug)]
struct Guard(#[expect(dead_code, reason = "its drop is what counts")] SyncSender<()>);

fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

fn kill(group: Option<Pid>) {
    if let Some(group) = group {
        // It may have ended meanwhile; then there is nobody to kill.
        let _ = killpg(group, Signal::SIGKILL);
    }
}

/// The end of what a process writes to a stream, read by a thread so that it never blocks.
#[derive(Debug)]
struct Tail {
    kept: Arc<Mutex<VecDeque<u8>>>,
    ended: Option<Receiver<()>>,
}

impl Tail {
    fn follow(stream: Option<impl Read + Send + 'static>) -> Self {
        Self::follow_heard(stream, Box::new(|_| ()))
    }

    fn follow_most(stream: Option<impl Read + Send + 'static>, most: usize) -> Self {
        Self::follow_so(stream, most, Box::new(|_| ()))
    }

    fn follow_heard(stream: Option<impl Read + Send + 'static>, hear: Hear) -> Self {
        Self::follow_so(stream, OUTPUT_MAX, hear)
    }

    fn follow_so(stream: Option<impl Read + Send + 'static>, most: usize, mut hear: Hear) -> Self {
        let kept = Arc::new(Mutex::new(VecDeque::new()));
        let (Some(mut stream), writer) = (stream, Arc::clone(&kept)) else {
            return Self { kept, ended: None };
        };
        let (end, ended) = sync_channel(1);
        thread::spawn(move || {
            let mut buffer = [0; 8 << 10];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                hear(&buffer[..length]);
                let mut kept = writer.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(&buffer[..length]);
                let surplus = kept.len().saturating_sub(most);
                kept.drain(..surplus);
            }
            let _ = end.send(());
        });
        Self { kept, ended: Some(ended) }
    }

    /// Waits until the stream ended or its grace is over.
    fn wait(&self) {
        if let Some(ended) = &self.ended {
            let _ = ended.recv_timeout(OUTPUT_GRACE);
        }
    }

    /// Returns what was kept, once the stream ended or its grace is over.
    fn take(&self) -> Vec<u8> {
        self.wait();
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

/// A running command's standard output; [`CommandStream::finish`] tells whether it was whole.
#[derive(Debug)]
pub struct CommandStream {
    stdout: Option<std::process::ChildStdout>,
    stderr: Tail,
    guard: Option<Guard>,
    running: Running,
    cancel: Cancel,
}

impl Read for CommandStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stdout.as_mut().map_or(Ok(0), |stdout| stdout.read(buffer))
    }
}

impl StreamReader for CommandStream {
    fn finish(self: Box<Self>) -> io::Result<()> {
        (*self).finish().map_err(io::Error::other)
    }
}

impl CommandStream {
    /// Waits for the command; anything but exit code 0 is an error.
    pub fn finish(mut self) -> Result<(), CommandError> {
        // A command that still writes gets a broken pipe instead of blocking for ever.
        drop((self.stdout.take(), self.guard.take()));
        self.running.wait(&self.cancel, &self.stderr)?;
        // Its last words come before what is said of it.
        self.stderr.wait();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    fn shell(script: &str, timeout: Duration) -> CommandLine {
        CommandLine::new(["sh", "-c", script], timeout)
    }

    #[test]
    fn output_and_exit_code_count() {
        let mut command = shell("printf %s \"$WORD\"; echo oops >&2", LONG);
        command.environment.push(("WORD".to_owned(), "a b".to_owned()));
        let output = command.run(&Cancel::new()).unwrap();
        assert_eq!(
            (output.stdout.as_slice(), output.stderr.as_slice()),
            (&b"a b"[..], &b"oops\n"[..])
        );
        let error =
            shell("echo first; echo last >&2; exit 3", LONG).run(&Cancel::new()).unwrap_err();
        assert_eq!(error.to_string(), "`sh` ended with exit code 3: last");
        let wordy = shell("seq 5 >&2; echo >&2; exit 1", LONG).run(&Cancel::new()).unwrap_err();
        assert_eq!(wordy.to_string(), "`sh` ended with exit code 1: 3; 4; 5");
        let killed = shell("kill -9 $$", LONG).run(&Cancel::new()).unwrap_err();
        assert_eq!(killed.to_string(), "`sh` ended with signal 9");
        let missing = CommandLine::new(["/no/such/program"], LONG);
        assert_eq!(missing.run(&Cancel::new()).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(matches!(
            CommandLine::new([""; 0], LONG).run(&Cancel::new()),
            Err(CommandError::Empty)
        ));
    }

    #[test]
    fn a_command_that_takes_too_long_is_killed_with_its_children() {
        let started = Instant::now();
        let error = shell("sleep 600 & sleep 600", Duration::from_millis(100))
            .run(&Cancel::new())
            .unwrap_err();
        assert!(matches!(error, CommandError::TimedOut { .. }), "{error}");
        assert!(started.elapsed() < LONG);
    }

    #[test]
    fn cancelling_kills_and_says_so() {
        let cancel = Cancel::new();
        cancel.cancel();
        let error = shell("sleep 600", LONG).run(&cancel).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        let mut stream = shell("sleep 600", LONG).stream(&cancel).unwrap();
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
        assert_eq!(stream.finish().unwrap_err().kind(), ErrorKind::Cancelled);
    }

    #[test]
    fn a_stream_is_whole_only_with_exit_code_0() {
        let read = |script: &str| {
            let mut stream = shell(script, LONG).stream(&Cancel::new()).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            (text, stream.finish())
        };
        let (text, finished) = read("echo data");
        assert_eq!((text.as_str(), finished.is_ok()), ("data\n", true));
        let (text, finished) = read("echo half; exit 1");
        assert_eq!((text.as_str(), finished.is_err()), ("half\n", true));
    }

    #[test]
    fn what_a_command_says_is_heard_as_it_comes_and_to_its_end() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hearing = Arc::clone(&heard);
        let hear: Hear = Box::new(move |said| hearing.lock().unwrap().extend_from_slice(said));
        let command = shell("echo one >&2; echo data; echo two >&2", LONG);
        let mut stream = command.stream_heard(&Cancel::new(), hear).unwrap();
        assert_eq!(io::read_to_string(&mut stream).unwrap(), "data\n");
        stream.finish().unwrap();
        assert_eq!(*heard.lock().unwrap(), b"one\ntwo\n");
    }

    #[test]
    fn input_reaches_the_command() {
        let mut input: &[u8] = b"three\nlines\nhere\n";
        let output = shell("wc -l", LONG).feed(&mut input, &Cancel::new()).unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "3");
        let mut endless = io::repeat(b'x');
        let error = shell("true", LONG).feed(&mut endless, &Cancel::new()).unwrap_err();
        assert!(matches!(error, CommandError::Pipe { .. }), "{error}");
    }

    #[test]
    fn who_is_told_something_answers_while_its_input_stays_open() {
        let script =
            "read -r word; if timeout 1 cat >/dev/null; then echo ended; else echo $word; fi";
        let output = shell(script, LONG).converse(b"open\n".to_vec(), &Cancel::new()).unwrap();
        assert_eq!(output.stdout, b"open\n");
        let output = shell("exit 0", LONG).converse(vec![b'x'; 1 << 20], &Cancel::new()).unwrap();
        assert_eq!(output.stdout, b"", "nobody has to listen");
    }

    #[test]
    fn only_the_end_of_long_output_is_kept() {
        let output = shell("yes | head -c 1000000; printf end", LONG).run(&Cancel::new()).unwrap();
        assert_eq!(output.stdout.len(), OUTPUT_MAX);
        assert!(output.stdout.ends_with(b"end"));
    }
}
