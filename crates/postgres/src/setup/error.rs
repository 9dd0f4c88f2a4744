//! Why a server could not be set up.

use std::io;

use lifeboat_model::{Classify, ErrorKind, Hint};

use super::setting::SettingName;
use crate::error::PostgresError;

/// A server is not changed, for a reason that a person has to look at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It follows another server.
    #[error("the server at {address} is a standby: it takes its roles from its primary")]
    Standby {
        /// Where it is.
        address: String,
    },
    /// Its settings are managed elsewhere.
    #[error("the server at {address} takes no settings by ALTER SYSTEM: allow_alter_system is off")]
    NoAlterSystem {
        /// Where it is.
        address: String,
    },
    /// The command line of the server says it, which wins.
    #[error(
        "{setting} is `{value}` by the server's command line (-c), and no file of settings can change that"
    )]
    Fixed {
        /// Which setting.
        setting: SettingName,
        /// What it is.
        value: String,
    },
    /// Somebody else archives.
    #[error("{setting} is somebody else's: `{value}`")]
    Foreign {
        /// Which setting.
        setting: SettingName,
        /// What it is.
        value: String,
    },
    /// The role is all-powerful already.
    #[error("the role `{role}` is a superuser, whose rights cannot be fewer")]
    RoleIsSuperuser {
        /// Which role.
        role: String,
    },
    /// A later version left its note.
    #[error("the comment on the role `{role}` is a later version's, and says what was before")]
    LaterNote {
        /// Which role.
        role: String,
    },
}

/// A server could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// It failed.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// Something is in the way.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It could not be started again.
    #[error("the server could not be started again: `{command}` {problem}")]
    Restart {
        /// What was run.
        command: String,
        /// How it ended, with its words.
        problem: String,
    },
    /// Whether and how it was started cannot be found out.
    #[error("it cannot be found out how the server of {data} was started")]
    Process {
        /// Its data directory.
        data: String,
        /// The system's word.
        #[source]
        source: io::Error,
    },
}

impl Classify for SetupError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Postgres(error) => error.kind(),
            Self::Refused(Refusal::RoleIsSuperuser { .. }) => ErrorKind::Usage,
            Self::Refused(_) => ErrorKind::Conflict,
            Self::Restart { .. } | Self::Process { .. } => ErrorKind::Unavailable,
        }
    }

    fn hint(&self) -> Option<Hint> {
        let text = match self {
            Self::Postgres(error) => return error.hint(),
            Self::Refused(refusal) => refusal.help(),
            Self::Restart { .. } => {
                "look into the server's log, start it, and run the command again"
            }
            Self::Process { .. } => {
                "start the server again yourself, then run the command without `--restart`"
            }
        };
        Some(Hint::new(text))
    }
}

impl Refusal {
    const fn help(&self) -> &'static str {
        match self {
            Self::Standby { .. } => {
                "run it on the primary; for the settings of this server too, once it is promoted"
            }
            Self::NoAlterSystem { .. } => {
                "`--print-sql` prints what to set: write it where the server's settings are managed"
            }
            Self::Fixed { .. } => {
                "take it out of the server's command line (of its unit, or `-o` of pg_ctl), start it again, and run the command again"
            }
            Self::Foreign { .. } => {
                "end what it archives for, then add `--replace`; it is kept and comes back with `lifeboat postgres remove`"
            }
            Self::RoleIsSuperuser { .. } => "name another one: `--role lifeboat`",
            Self::LaterNote { .. } => "use the version of lifeboat that wrote it, or a later one",
        }
    }
}
