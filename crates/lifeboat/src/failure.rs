//! Why a command ended early: any crate's classified error, a plan's diagnostics, or the command's own.
//!
//! `?` turns every error that implements [`Classify`] into a [`Failure`]; nothing is decided here
//! that its classification does not say already.

use std::error::Error;
use std::fmt;

use lifeboat_model::{Cancelled, Classify, ErrorKind, Exit, Hint, TierName};
use lifeboat_plan::{Diagnostic, Rejected};
use lifeboat_tiers::TierError;

/// The end of a command that did not give its answer.
#[derive(Debug)]
pub struct Failure(Box<dyn Classify + Send + Sync>);

impl Failure {
    /// Returns the error with its classification.
    pub fn error(&self) -> &(dyn Classify + Send + Sync) {
        &*self.0
    }

    /// Returns how the process ends.
    pub fn exit(&self) -> Exit {
        self.0.exit()
    }

    /// Returns what is wrong with the plan, if that is why the command ended.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        let mut error: Option<&(dyn Error + 'static)> = Some(&*self.0);
        while let Some(this) = error {
            if let Some(Rejected { diagnostics }) = this.downcast_ref() {
                return diagnostics;
            }
            error = this.source();
        }
        &[]
    }
}

impl<E: Classify + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

/// What goes wrong in the command line itself.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The command exists in the language but is not built yet.
    #[error("`lifeboat {command}` is not built yet; it belongs to {feature}")]
    NotBuilt {
        /// The command as it is typed.
        command: &'static str,
        /// What it will be part of.
        feature: &'static str,
    },
    /// Whoever serves the log could not do it.
    #[error("`lifeboat wal serve` could not do it: {message}")]
    Served {
        /// Why.
        message: String,
    },
    /// No daemon runs that could be asked.
    #[error("no daemon runs for `{site}`")]
    NoDaemon {
        /// For which site.
        site: String,
    },
    /// The daemon did not do it.
    #[error("the daemon: {message}")]
    Daemon {
        /// Why.
        message: String,
        /// What to do.
        hint: Option<String>,
        /// How the command ends.
        exit: Exit,
    },
    /// The arguments contradict each other or the situation.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: String,
    },
    /// No plan was found.
    #[error("no plan was found: `--plan` names none, and there is neither {looked_for}")]
    NoPlan {
        /// Where it was looked for.
        looked_for: String,
    },
    /// The plan could not be read.
    #[error("cannot read the plan {path}, {named_by}")]
    PlanFile {
        /// The plan, from the root.
        path: String,
        /// Who wants this one.
        named_by: NamedBy,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// A file that the command line names could not be used.
    #[error("cannot {action} {path}")]
    File {
        /// What was attempted: `read`, `write`, `open`.
        action: &'static str,
        /// The file.
        path: String,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// A file that holds a secret could not be read.
    #[error("cannot read {path}, {named_by}")]
    SecretFile {
        /// The file, from the root.
        path: String,
        /// Who says that the secret is there.
        named_by: NamedBy,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// There is nothing where a repository should be.
    #[error("there is no repository at {address}")]
    NoRepository {
        /// Where it should be.
        address: String,
    },
    /// There is no repository at the address of a tier, but below it.
    #[error("there is no repository at {address}, which is the tier `{tier}` of the plan")]
    TierNotRepository {
        /// Where it should be.
        address: String,
        /// Which tier is there.
        tier: TierName,
    },
    /// A repository may not be written to, so no lock can be taken.
    #[error("cannot lock the repository")]
    Unlockable(#[source] TierError),
    /// A password command failed.
    #[error("the password command `{program}` {problem}")]
    PasswordCommand {
        /// The program, without its arguments.
        program: String,
        /// What happened.
        problem: String,
    },
    /// No password was given and nobody can be asked.
    #[error("no password was given for {address}")]
    NoPassword {
        /// The repository.
        address: String,
    },
    /// No password was given that is to open the repository from now on.
    #[error("no new password was given for {address}")]
    NoNewPassword {
        /// The repository.
        address: String,
    },
    /// A question needs a terminal.
    #[error("{question} has to be confirmed, and there is no terminal to ask at")]
    Unconfirmed {
        /// What has to be confirmed.
        question: String,
        /// How to answer beforehand.
        hint: String,
    },
    /// The answer was not the expected one.
    #[error("the answer was not `{expected}`, so nothing was changed")]
    Declined {
        /// What had to be typed.
        expected: String,
    },
    /// An answer cannot be written as JSON.
    #[error("the answer cannot be written as JSON")]
    Document(#[source] serde_json::Error),
    /// The system refused something that every command needs.
    #[error("cannot {action}")]
    System {
        /// What was attempted.
        action: &'static str,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
}

/// Who says that something is in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedBy {
    /// An option of the command line.
    Option(&'static str),
    /// A variable of the environment.
    Variable(&'static str),
    /// Nobody: it is one of the places where it is looked for.
    Place,
}

impl fmt::Display for NamedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(name) => write!(f, "which `{name}` names"),
            Self::Variable(name) => write!(f, "which {name} in the environment names"),
            Self::Place => f.write_str("which is looked for first"),
        }
    }
}

impl NamedBy {
    fn hint(self) -> String {
        match self {
            Self::Option(name) => format!("check the path behind `{name}`, and who may read it"),
            Self::Variable(name) => {
                format!("set {name} to the right path, or give an option, which goes before it")
            }
            Self::Place => "check who may read it".to_owned(),
        }
    }
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(".", |(folder, _)| if folder.is_empty() { "/" } else { folder })
}

impl CommandError {
    /// Returns a usage error.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: hint.into() }
    }
}

impl Classify for CommandError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotBuilt { .. }
            | Self::Usage { .. }
            | Self::NoPassword { .. }
            | Self::NoNewPassword { .. }
            | Self::Unconfirmed { .. }
            | Self::Declined { .. } => ErrorKind::Usage,
            Self::NoPlan { .. } | Self::PlanFile { .. } => ErrorKind::Config,
            Self::NoRepository { .. } | Self::TierNotRepository { .. } => ErrorKind::NotFound,
            Self::PasswordCommand { .. } | Self::Unlockable(_) => ErrorKind::Denied,
            Self::Served { .. } | Self::NoDaemon { .. } | Self::Daemon { .. } => {
                ErrorKind::Unavailable
            }
            Self::Document(_) => ErrorKind::Bug,
            Self::File { source, .. }
            | Self::SecretFile { source, .. }
            | Self::System { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => ErrorKind::NotFound,
                std::io::ErrorKind::AlreadyExists => ErrorKind::Conflict,
                std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                _ => ErrorKind::Unavailable,
            },
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::NotBuilt { .. } => Exit::NotBuilt,
            Self::NoRepository { .. } | Self::TierNotRepository { .. } => Exit::NoRepository,
            Self::Daemon { exit, .. } => *exit,
            _ => self.kind().exit(),
        }
    }

    fn hint(&self) -> Option<Hint> {
        let text = match self {
            Self::Usage { hint, .. }
            | Self::Unconfirmed { hint, .. }
            | Self::Daemon { hint: Some(hint), .. } => hint.clone(),
            Self::NoDaemon { .. } => "start it with `lifeboat serve`".to_owned(),
            Self::PlanFile { source, .. }
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                "run it as a user who may read the plan".to_owned()
            }
            Self::PlanFile { named_by: NamedBy::Place, .. } => {
                "see what is there, or name another with `--plan FILE`".to_owned()
            }
            Self::PlanFile { path, .. } => {
                format!("check the path; `lifeboat init` writes a new plan, and where one was lost `lifeboat restore --from ADDRESS --plan-to {}` brings it back", folder_of(path))
            }
            Self::NoPlan { .. } => {
                "name one with `--plan FILE`, write one with `lifeboat init`, or bring the one that was lost back with `lifeboat restore --from ADDRESS`".to_owned()
            }
            Self::SecretFile { named_by, .. } => named_by.hint(),
            Self::NoRepository { address } => {
                format!("check the address, or make one with `lifeboat repo init {address}`")
            }
            Self::TierNotRepository { tier, .. } => {
                format!("the repository of the tier is `tier:{tier}`")
            }
            Self::NoPassword { .. } => {
                "give `--password-file FILE` or `--password-command COMMAND`, or set RESTIC_PASSWORD_FILE".to_owned()
            }
            Self::Unlockable(_) => {
                "see that you may write there; what only reads can do without a lock by `--no-lock`".to_owned()
            }
            Self::NoNewPassword { .. } => {
                "give `--new-password-file FILE`, or run it at a terminal, which asks for it".to_owned()
            }
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists => {
                "remove it first, or name another file".to_owned()
            }
            _ => return None,
        };
        Some(Hint::new(text))
    }
}

/// The work was interrupted; what was stored stays.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

impl Classify for Interrupted {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Cancelled
    }
}

impl From<Cancelled> for Interrupted {
    fn from(_: Cancelled) -> Self {
        Self
    }
}
