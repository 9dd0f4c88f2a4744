//! Why a server did not do what was asked, and which error of a tier that is.

use std::fmt;
use std::io;
use std::sync::Arc;

use lifeboat_model::Capability;
use openssh_sftp_client_lowlevel::{Error as ProtocolError, SftpErrorKind};

use super::ssh;
use crate::refusal::Refusal;
use crate::{ObjectPath, ReadRange, TierError};

/// What a server may say instead of doing it.
///
/// Source: draft-ietf-secsh-filexfer-02, section 7; which system errors become which, OpenSSH
/// `sftp-server.c`, `errno_to_portable`: a full disk, an existing file and a directory are all `Failure`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    NoSuchFile,
    Denied,
    /// Everything else that a system may refuse for.
    Failure,
    /// The request makes no sense to it.
    Unfit,
}

/// How far a session had come when it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Greeting,
    Established,
}

/// How a session ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) stage: Stage,
    /// What ended it, as seen from here.
    pub(super) cause: String,
    /// What ssh said.
    pub(super) said: Vec<String>,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.stage {
            Stage::Greeting => "no connection",
            Stage::Established => "the connection ended",
        };
        match self.said.last() {
            Some(said) => write!(f, "{kind}: {said}"),
            None => write!(f, "{kind}: {}", self.cause),
        }
    }
}

/// Why a request did not succeed; shared by all that waited for the same.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Failure {
    /// The server said no.
    #[error("{message}")]
    Status {
        /// In which class.
        status: Status,
        /// Its words.
        message: String,
    },
    /// The session ended before there was an answer.
    #[error("{0}")]
    Ended(Arc<Ended>),
    /// The answer is none to what was asked.
    #[error("the server's answer makes no sense: {0}")]
    Odd(String),
    /// There is no program `ssh`.
    #[error("the program `ssh` is not installed, or not on PATH")]
    NoProgram,
    /// It could not be started.
    #[error("ssh could not be started: {0}")]
    NoStart(String),
}

impl Failure {
    pub(super) fn of(error: &ProtocolError) -> Self {
        match error {
            ProtocolError::SftpError(kind, message) => {
                let status = match kind {
                    SftpErrorKind::NoSuchFile => Status::NoSuchFile,
                    SftpErrorKind::PermDenied => Status::Denied,
                    SftpErrorKind::BadMessage | SftpErrorKind::OpUnsupported => Status::Unfit,
                    _ => Status::Failure,
                };
                let (message, _) = message.get();
                Self::Status { status, message: format!("the server says `{message}`") }
            }
            other => Self::Odd(other.to_string()),
        }
    }

    /// Tells whether it is this answer.
    pub(super) fn is(&self, wanted: Status) -> bool {
        matches!(self, Self::Status { status, .. } if *status == wanted)
    }
}

/// Why an operation on a tier did not succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The object is not there.
    #[error("it is not there")]
    Absent,
    /// The object is there.
    #[error("it is there")]
    Exists,
    /// The object is too short.
    #[error("it has {size} bytes")]
    OutOfRange { size: u64 },
    /// The tier's directory is not there.
    #[error("its directory is not there")]
    Missing,
    /// Another file system has taken the place of the tier's.
    #[error("it is on another file system")]
    Replaced,
    /// No space is left.
    #[error("{0}")]
    Full(String),
    /// The server's file system cannot be written.
    #[error("{0}")]
    Denied(String),
    /// The server has not what this needs.
    #[error("{0}")]
    Unfit(&'static str),
    /// Neither the server nor its file system can create an object only where there is none.
    #[error("nothing can be created only where there is none")]
    Unconditional,
}

/// What was asked of which object, for whoever reads the error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    /// The tier's address.
    pub(super) tier: &'a str,
    /// Like `write`.
    pub(super) verb: &'static str,
    /// The object, unless it is about the tier.
    pub(super) path: Option<&'a ObjectPath>,
}

impl Request<'_> {
    fn action(self) -> String {
        match self.path {
            Some(path) => format!("{} {path}", self.verb),
            None => self.verb.to_owned(),
        }
    }

    /// Says of a read, whose range is known, why it did not succeed.
    pub(super) fn read_failed(self, range: ReadRange, trouble: Trouble) -> TierError {
        match (trouble, self.path) {
            (Trouble::OutOfRange { size }, Some(path)) => {
                TierError::out_of_range(self.tier, path, range, size)
            }
            (other, _) => self.failed(other),
        }
    }

    /// Says of a tier why this did not succeed.
    pub(super) fn failed(self, trouble: Trouble) -> TierError {
        let tier = self.tier.to_owned();
        let action = self.action();
        let word = io::Error::other(trouble.to_string());
        match (trouble, self.path) {
            (Trouble::Failed(failure), _) => self.refused(&failure),
            (Trouble::Absent, Some(path)) => TierError::not_found(self.tier, path),
            (Trouble::Exists, Some(path)) => TierError::already_exists(self.tier, path),
            (Trouble::Missing, _) => TierError::Missing { tier },
            (Trouble::Replaced, _) => TierError::Replaced { tier },
            (Trouble::Full(_), _) => TierError::Full { tier, action, source: word },
            (Trouble::Denied(_), _) => TierError::Denied { tier, action, source: word },
            (Trouble::Unconditional, _) => {
                TierError::unsupported(self.tier, Capability::ConditionalPut)
            }
            (Trouble::Unfit(_), _) => TierError::refused(self.tier, action, Refusal::Unfit, word),
            (Trouble::Absent | Trouble::Exists | Trouble::OutOfRange { .. }, _) => {
                TierError::Unavailable { tier, action, source: word }
            }
        }
    }

    fn refused(self, failure: &Failure) -> TierError {
        let tier = self.tier.to_owned();
        let action = self.action();
        let sort = match failure {
            Failure::Ended(_) => io::ErrorKind::NotConnected,
            _ => io::ErrorKind::Other,
        };
        let source = io::Error::new(sort, failure.to_string());
        let refusal = match failure {
            Failure::Status { status: Status::Denied, .. } => {
                return TierError::Denied { tier, action, source };
            }
            Failure::Status { status: Status::Unfit, .. } => Some(Refusal::Unfit),
            Failure::Ended(ended) if ended.stage == Stage::Greeting => ssh::refusal(&ended.said),
            Failure::NoProgram => Some(Refusal::NoClient),
            Failure::Status { .. } | Failure::Ended(_) | Failure::Odd(_) | Failure::NoStart(_) => {
                None
            }
        };
        match refusal {
            Some(refusal) => TierError::refused(self.tier, action, refusal, source),
            None => TierError::Unavailable { tier, action, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_model::{Classify as _, ErrorKind};

    fn ended(stage: Stage, said: &str) -> Trouble {
        let said = said.lines().map(str::to_owned).collect();
        let cause = "nothing came".to_owned();
        Trouble::Failed(Failure::Ended(Arc::new(Ended { stage, cause, said })))
    }

    fn told(trouble: Trouble) -> TierError {
        let path = "repo/config".parse().unwrap();
        Request { tier: "sftp://u@h/srv", verb: "read", path: Some(&path) }.failed(trouble)
    }

    #[test]
    fn what_stays_is_told_from_what_passes() {
        let status = |status| Trouble::Failed(Failure::Status { status, message: "x".to_owned() });
        for (trouble, kind) in [
            (ended(Stage::Greeting, "u@h: Permission denied (publickey)."), ErrorKind::Denied),
            (ended(Stage::Greeting, "Host key verification failed."), ErrorKind::Denied),
            (ended(Stage::Greeting, "ssh: connect to host h port 22: x"), ErrorKind::Unavailable),
            (ended(Stage::Greeting, ""), ErrorKind::Unavailable),
            // A name of the server's in a message after the login proves nothing.
            (ended(Stage::Established, "Permission denied (x)"), ErrorKind::Unavailable),
            (Trouble::Failed(Failure::NoProgram), ErrorKind::Config),
            (status(Status::Denied), ErrorKind::Denied),
            (status(Status::Failure), ErrorKind::Unavailable),
            (status(Status::Unfit), ErrorKind::Config),
            (Trouble::Absent, ErrorKind::NotFound),
            (Trouble::Exists, ErrorKind::Conflict),
            (Trouble::Missing, ErrorKind::NotFound),
            (Trouble::Full(String::new()), ErrorKind::Denied),
            (Trouble::Unconditional, ErrorKind::Config),
        ] {
            let what = format!("{trouble:?}");
            let error = told(trouble);
            assert_eq!(error.kind(), kind, "{what}: {error}");
            assert!(error.to_string().contains("sftp://u@h/srv"), "{error}");
        }
    }

    #[test]
    fn the_last_word_of_ssh_is_passed_on() {
        let error = told(ended(Stage::Established, "a\nTimeout, server h not responding."));
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, "the connection ended: Timeout, server h not responding.");
        let error = told(ended(Stage::Greeting, ""));
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, "no connection: nothing came");
    }
}
