//! Questions at the terminal: passwords without echo, and the site's name before something is destroyed.
//!
//! Questions go to the terminal itself, so that pipes on the standard streams do not matter.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use lifeboat_model::{Cancel, Secret, SiteName};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::failure::{CommandError, Failure, Interrupted};
use crate::session::Session;

/// How often a waiting question looks whether Ctrl-C was pressed.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The longest answer in bytes; terminals hand over lines of at most 4096.
const ANSWER_BYTES_MAX: usize = 4096;

/// Whether the answer is seen while it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Echo {
    Shown,
    Hidden,
}

/// Has a site's name typed before it is `done`, unless it was given: what is done then replaces or stops what runs.
pub fn confirm_site(
    name: &SiteName,
    given: Option<&SiteName>,
    done: &str,
    session: &Session,
) -> Result<(), Failure> {
    let typed = if let Some(given) = given {
        given.to_string()
    } else {
        let terminal =
            Terminal::open(&session.cancel).ok_or_else(|| CommandError::Unconfirmed {
                question: format!("that `{name}` is to be {done}"),
                hint: format!("add `--confirm {name}`"),
            })?;
        terminal.ask(&format!("Type the site's name, {name}, to go on: "))?
    };
    if typed.trim() == name.as_str() {
        Ok(())
    } else {
        Err(CommandError::Declined { expected: name.to_string() }.into())
    }
}

/// Somebody at a terminal who can answer.
#[derive(Debug)]
pub struct Terminal {
    tty: File,
    cancel: Cancel,
}

impl Terminal {
    /// Opens the terminal that controls this process, if somebody sits at it.
    ///
    /// A script whose input comes from elsewhere may have one too; nobody would answer there.
    pub fn open(cancel: &Cancel) -> Option<Self> {
        if !io::stdin().is_terminal() {
            return None;
        }
        let tty = File::options().read(true).write(true).open("/dev/tty").ok()?;
        Some(Self { tty, cancel: cancel.clone() })
    }

    /// Asks for a line that everybody may see.
    pub fn ask(&self, question: &str) -> Result<String, Failure> {
        self.line(question, Echo::Shown)
    }

    /// Asks for a secret; what is typed is not shown.
    pub fn ask_secret(&self, question: &str) -> Result<Secret, Failure> {
        self.line(question, Echo::Hidden).map(Secret::new)
    }

    /// Shows text that must not end up in a pipe or a file, like a new key.
    pub fn show(&self, text: &str) -> Result<(), Failure> {
        Ok((&self.tty).write_all(text.as_bytes()).map_err(terminal_failed)?)
    }

    fn line(&self, question: &str, echo: Echo) -> Result<String, Failure> {
        if echo == Echo::Shown {
            self.show(question)?;
            return self.read_line();
        }
        // Before the question is seen: what is typed from then on must not be shown, nor thrown away.
        let hidden = HiddenEcho::begin(&self.tty)?;
        self.show(question)?;
        let answer = self.read_line();
        drop(hidden);
        self.show("\n")?;
        answer
    }

    fn read_line(&self) -> Result<String, Failure> {
        let mut answer = Vec::new();
        let mut buffer = [0; ANSWER_BYTES_MAX];
        while !answer.ends_with(b"\n") && answer.len() < ANSWER_BYTES_MAX {
            self.wait()?;
            match (&self.tty).read(&mut buffer).map_err(terminal_failed)? {
                0 => break,
                count => answer.extend_from_slice(&buffer[..count]),
            }
        }
        let text = String::from_utf8(answer)
            .map_err(|_| CommandError::usage("the answer is not UTF-8", "type it again"))?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Waits until a line was typed or Ctrl-C was pressed.
    fn wait(&self) -> Result<(), Failure> {
        let pause = Timespec { tv_sec: 0, tv_nsec: i64::from(LOOK_EVERY.subsec_nanos()) };
        loop {
            self.cancel.check().map_err(Interrupted::from)?;
            let mut fds = [PollFd::new(&self.tty, PollFlags::IN)];
            match poll(&mut fds, Some(&pause)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => (),
                Ok(_) => return Ok(()),
                Err(error) => return Err(terminal_failed(error.into()).into()),
            }
        }
    }
}

/// Turns the echo off and, when dropped, back to what it was.
struct HiddenEcho<'a> {
    tty: &'a File,
    before: Termios,
}

impl<'a> HiddenEcho<'a> {
    fn begin(tty: &'a File) -> Result<Self, CommandError> {
        let failed = |error: rustix::io::Errno| terminal_failed(error.into());
        let before = tcgetattr(tty.as_fd()).map_err(failed)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(tty.as_fd(), OptionalActions::Flush, &hidden).map_err(failed)?;
        Ok(Self { tty, before })
    }
}

impl Drop for HiddenEcho<'_> {
    fn drop(&mut self) {
        // The terminal went away if this fails; nobody is left to tell.
        _ = tcsetattr(self.tty.as_fd(), OptionalActions::Now, &self.before);
    }
}

fn terminal_failed(source: io::Error) -> CommandError {
    CommandError::System { action: "talk to the terminal", source }
}
