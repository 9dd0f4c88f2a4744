//! How every error of every crate is classified: one table that decides retry and exit code.
//!
//! A library's error enum states its own fact (what, where, expected, actual), keeps its cause as
//! `source`, and implements [`Classify`]. Nothing else decides what a failure means.

use std::fmt;

use serde::Serialize;

/// What sort of failure an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The command line asks for something that makes no sense.
    Usage,
    /// The plan or a setting is wrong.
    Config,
    /// Something that was named does not exist.
    NotFound,
    /// Somebody else holds or already made it.
    Conflict,
    /// A key, password or permission was refused.
    Denied,
    /// It could not be reached or had no room; trying again may help.
    Unavailable,
    /// Stored bytes are not what they should be.
    Corrupt,
    /// Part of the work was done; the rest is named.
    Incomplete,
    /// The work was asked to stop.
    Cancelled,
    /// lifeboat itself is wrong.
    Bug,
}

impl ErrorKind {
    /// Tells whether trying the same again may succeed.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Unavailable)
    }

    /// Returns the exit code of a command that ended with an error of this kind.
    pub const fn exit(self) -> Exit {
        match self {
            Self::Usage | Self::Config => Exit::Usage,
            Self::Incomplete => Exit::Incomplete,
            Self::Cancelled => Exit::Cancelled,
            Self::NotFound
            | Self::Conflict
            | Self::Denied
            | Self::Unavailable
            | Self::Corrupt
            | Self::Bug => Exit::Failed,
        }
    }
}

/// How a command ended; the numbers are a contract (`docs/errors/README.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Everything that was asked for was done.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// The command line or the plan is wrong.
    Usage = 2,
    /// Part of it was done; what was not is named.
    Incomplete = 3,
    /// A check could not be carried out, so nothing is proven.
    CouldNotVerify = 4,
    /// The command exists in the language but is not built yet.
    NotBuilt = 5,
    /// There is no repository at the address.
    NoRepository = 10,
    /// Somebody else holds a lock.
    Locked = 11,
    /// The key does not open the repository.
    WrongKey = 12,
    /// The user interrupted it.
    Cancelled = 130,
    /// The server that called it has to stop: PostgreSQL takes 1 to 125 of its `restore_command` for
    /// the end of the archive, and would promote.
    StopServer = 255,
}

impl Exit {
    const ALL: [Self; 11] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::Incomplete,
        Self::CouldNotVerify,
        Self::NotBuilt,
        Self::NoRepository,
        Self::Locked,
        Self::WrongKey,
        Self::Cancelled,
        Self::StopServer,
    ];

    /// Returns the number that the process ends with.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Returns what a process says that ended with this number, if lifeboat's ends with it.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|exit| exit.code() == code)
    }
}

/// What a person can do about an error: a command to run where there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hint(String);

impl Hint {
    /// Returns a hint with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The code of an error that is worth an alert; `docs/errors/<code>.md` explains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct ErrorCode(pub &'static str);

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The meaning of an error, for whoever handles it.
pub trait Classify: std::error::Error {
    /// Returns the kind of failure.
    fn kind(&self) -> ErrorKind;

    /// Returns how the command ends; differs from the kind's for the codes that restic defined.
    fn exit(&self) -> Exit {
        self.kind().exit()
    }

    /// Returns the code, if the error is worth an alert.
    fn code(&self) -> Option<ErrorCode> {
        None
    }

    /// Returns what a person can do about it.
    fn hint(&self) -> Option<Hint> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unavailable_is_retried() {
        assert!(ErrorKind::Unavailable.is_retryable());
        assert!(!ErrorKind::Corrupt.is_retryable());
        assert!(!ErrorKind::Denied.is_retryable());
    }

    #[test]
    fn exit_codes_are_the_documented_numbers() {
        assert_eq!(ErrorKind::Config.exit().code(), 2);
        assert_eq!(ErrorKind::Incomplete.exit().code(), 3);
        assert_eq!(Exit::Locked.code(), 11);
        assert_eq!(Exit::Cancelled.code(), 130);
        assert_eq!(Exit::StopServer.code(), 255);
        assert_eq!(Exit::from_code(11), Some(Exit::Locked));
        assert_eq!(Exit::from_code(99), None);
    }
}
