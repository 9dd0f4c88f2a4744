//! Where a command runs: here, or on another host that is reached by the system's `ssh`.
//!
//! There it runs in a session of its own, beside somebody who waits for the end of the connection and then kills all
//! of it: `ssh` alone would leave it running when the connection breaks or the step takes too long. Where the connection is
//! lost unseen, that is when the server there notices it.

use std::time::Duration;

use lifeboat_model::{Cancel, Classify, ErrorKind, Hint};
use lifeboat_postgres::server_command::shell_word;

use crate::command::{CommandError, CommandLine, CommandOutput, Notes, Status};
use crate::wire::Site;

/// Runs a command in a session of its own and kills that once standard input ends.
const KEEPER: &str = r#"exec 3<&0
setsid "$@" </dev/null 3<&- & group=$!
(read -r _; kill -KILL "-$group") <&3 3<&- >/dev/null 2>&1 & keeper=$!
exec 3<&-
wait "$group"; code=$?
kill "$keeper" 2>/dev/null
[ "$code" -ne 255 ] || echo "lifeboat: ended by itself" >&2
exit "$code""#;

/// What a command says last that ended with the code by which `ssh` tells of itself.
const BY_ITSELF: &str = "lifeboat: ended by itself";

/// The exit code by which `ssh` tells that it could not do its work.
const SSH_FAILED: Status = Status::Code(255);

/// Asks nobody, and gives up a host that is silent: within 15 s at first, within 45 s later.
const OPTIONS: [&str; 8] = [
    "-o",
    "BatchMode=yes",
    "-o",
    "ConnectTimeout=15",
    "-o",
    "ServerAliveInterval=15",
    "-o",
    "ServerAliveCountMax=3",
];

/// Where a command runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// Here.
    Here,
    /// Where `ssh` leads by this name.
    Other(String),
}

/// A command did not do what it was run for.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Here.
    #[error(transparent)]
    Here(CommandError),
    /// On another host.
    #[error("on {host}")]
    There {
        /// Which host.
        host: String,
        /// What it did.
        #[source]
        source: CommandError,
    },
    /// A drill reaches no other host.
    #[error("{host} is another host, and a drill reaches none")]
    OutOfReach {
        /// Which host.
        host: String,
    },
    /// The other host cannot be reached, or went away meanwhile.
    #[error("{host} cannot be reached, or went away{}{said}", if said.is_empty() { "" } else { ": " })]
    Away {
        /// Which host.
        host: String,
        /// What `ssh` says.
        said: String,
    },
}

impl Classify for HostError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Here(error) | Self::There { source: error, .. } => error.kind(),
            Self::OutOfReach { .. } => ErrorKind::Usage,
            Self::Away { .. } => ErrorKind::Unavailable,
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Here(error) | Self::There { source: error, .. } => error.hint(),
            Self::OutOfReach { .. } => Some(Hint::new("give the step `skip_in = \"drill\"`")),
            Self::Away { host, .. } => {
                Some(Hint::new(format!("`ssh {host} true` shows what is wrong")))
            }
        }
    }
}

impl Host {
    /// Runs a command of the platform's to its end, noted while it runs; anything but exit code 0 is an error.
    pub(crate) fn run(
        &self,
        site: &Site,
        words: Vec<String>,
        (limit, notes): (Duration, Option<&Notes>),
        cancel: &Cancel,
    ) -> Result<CommandOutput, HostError> {
        let Self::Other(host) = self else {
            let program = words.first().cloned();
            let line = CommandLine::new(site.words(words), limit).called(program.as_ref());
            return line.noted_in(notes).run(cancel).map_err(HostError::Here);
        };
        if site.inside().is_some() {
            return Err(HostError::OutOfReach { host: host.clone() });
        }
        let program = words.first().cloned().unwrap_or_default();
        if program.is_empty() {
            return Err(HostError::Here(CommandError::Empty));
        }
        let line = CommandLine::new(over_ssh(host, &words), limit).noted_in(notes);
        line.run_attended(cancel).map_err(|error| told(host, program, error))
    }
}

/// Returns the words of `ssh` by which a command runs on another host.
fn over_ssh(host: &str, words: &[String]) -> Vec<String> {
    let there =
        ["sh", "-c", KEEPER, "lifeboat"].into_iter().chain(words.iter().map(String::as_str));
    ssh_words(host, there)
}

/// Returns the words of `ssh` by which a program runs on another host that minds the end of its input itself.
pub(crate) fn ssh_words<'w>(host: &str, words: impl IntoIterator<Item = &'w str>) -> Vec<String> {
    let there: Vec<_> = words.into_iter().map(shell_word).collect();
    // What follows `--` is no option, whatever it begins with.
    let ssh = std::iter::once("ssh").chain(OPTIONS).chain(["--", host]);
    ssh.map(str::to_owned).chain([there.join(" ")]).collect()
}

/// Tells what the command there did from what `ssh` could not do.
pub(crate) fn told(host: &str, program: String, error: CommandError) -> HostError {
    let host = host.to_owned();
    match error {
        CommandError::Failed { status: SSH_FAILED, stderr, .. } if !stderr.contains(BY_ITSELF) => {
            let mut lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty());
            HostError::Away { host, said: lines.next_back().unwrap_or_default().to_owned() }
        }
        CommandError::Failed { status, stderr, .. } => {
            let stderr = stderr.replace(BY_ITSELF, "");
            HostError::There { host, source: CommandError::Failed { program, status, stderr } }
        }
        CommandError::TimedOut { limit, .. } => {
            HostError::There { host, source: CommandError::TimedOut { program, limit } }
        }
        CommandError::Cancelled { .. } => {
            HostError::There { host, source: CommandError::Cancelled { program } }
        }
        // There is no `ssh` here.
        error => HostError::Here(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_host_is_taken_for_an_option_and_every_word_arrives_as_it_is() {
        let words = over_ssh("-oProxyCommand=x", &["echo".to_owned(), "it's $HOME".to_owned()]);
        let host = words.iter().position(|word| word == "-oProxyCommand=x").unwrap();
        assert_eq!(words[host - 1], "--");
        assert!(words[host + 1].ends_with(r"lifeboat echo 'it'\''s $HOME'"), "{words:?}");
    }

    #[test]
    fn what_ssh_could_not_do_is_told_from_what_the_command_did() {
        let failed = |code, stderr: &str| {
            let (program, status) = ("ssh".to_owned(), Status::Code(code));
            let error = CommandError::Failed { program, status, stderr: stderr.to_owned() };
            crate::error::explain(&told("web-1", "deploy".to_owned(), error))
        };
        assert_eq!(failed(3, "no disk\n"), "on web-1: `deploy` ended with exit code 3: no disk");
        assert_eq!(
            failed(255, "oops\nlifeboat: ended by itself\n"),
            "on web-1: `deploy` ended with exit code 255: oops"
        );
        assert_eq!(
            failed(255, "\nConnection to web-1 closed by remote host.\n"),
            "web-1 cannot be reached, or went away: Connection to web-1 closed by remote host."
        );
    }
}
