//! Why a server could not be set up or left.

use lifeboat_model::{AssetName, Classify, ErrorKind, Exit, Hint, TierName};
use lifeboat_postgres::PostgresError;
use lifeboat_postgres::setup::{Refusal, SetupError};

use crate::error::OpsError;
use crate::wal::WalError;

/// A server could not be set up or left.
#[derive(Debug, thiserror::Error)]
pub enum ServerSetupError {
    /// The plan or its surroundings.
    #[error(transparent)]
    Ops(#[from] OpsError),
    /// The archive.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The server.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The asset is something else.
    #[error("`{asset}` is no PostgreSQL server")]
    NoDatabase {
        /// Which asset.
        asset: AssetName,
    },
    /// Whoever is connected may not change the server.
    #[error(
        "`{role}` is no superuser of the server at {address}: setting it up takes CREATE ROLE, COMMENT ON ROLE, GRANT of pg_read_all_settings, pg_read_all_data and of functions of pg_catalog, and ALTER SYSTEM"
    )]
    NoSuperuser {
        /// Who.
        role: String,
        /// Of which server.
        address: String,
    },
    /// It was set up with another role.
    #[error("the server was set up with the role `{noted}`, not with `{wanted}`")]
    AnotherRole {
        /// For which asset.
        asset: AssetName,
        /// With which role.
        noted: String,
        /// Which one is wanted now.
        wanted: String,
    },
    /// The server runs on another host.
    #[error(
        "the files of the server at {address} are not on this host, where its archive_command would be run"
    )]
    Elsewhere {
        /// Where it is.
        address: String,
    },
    /// The server's user could not archive.
    #[error("`{user}`, as whom the server runs, could not archive: {message}")]
    Rehearsal {
        /// Who.
        user: String,
        /// What went wrong.
        message: String,
        /// The command that shows it.
        command: String,
    },
    /// A segment did not get into the archive.
    #[error(
        "segment {segment} is not on tier `{tier}` after {waited_s} s; the archiver failed {failures} times"
    )]
    NotArchived {
        /// Which segment.
        segment: String,
        /// On which tier.
        tier: TierName,
        /// How long it was waited for.
        waited_s: u64,
        /// How often the archiver failed meanwhile.
        failures: u64,
    },
}

impl From<Refusal> for ServerSetupError {
    fn from(refusal: Refusal) -> Self {
        Self::Setup(refusal.into())
    }
}

impl From<PostgresError> for ServerSetupError {
    fn from(error: PostgresError) -> Self {
        Self::Ops(error.into())
    }
}

impl ServerSetupError {
    fn inner(&self) -> Option<&dyn Classify> {
        match self {
            Self::Ops(error) => Some(error),
            Self::Wal(error) => Some(error),
            Self::Setup(error) => Some(error),
            _ => None,
        }
    }
}

impl Classify for ServerSetupError {
    fn kind(&self) -> ErrorKind {
        if let Some(inner) = self.inner() {
            return inner.kind();
        }
        match self {
            Self::NoDatabase { .. } | Self::Elsewhere { .. } => ErrorKind::Usage,
            Self::NoSuperuser { .. } | Self::Rehearsal { .. } => ErrorKind::Denied,
            Self::AnotherRole { .. } => ErrorKind::Conflict,
            _ => ErrorKind::Unavailable,
        }
    }

    fn exit(&self) -> Exit {
        self.inner().map_or_else(|| self.kind().exit(), Classify::exit)
    }

    fn hint(&self) -> Option<Hint> {
        if let Some(inner) = self.inner() {
            return inner.hint();
        }
        let text = match self {
            Self::NoDatabase { .. } => "name an asset of kind = \"postgres\"".to_owned(),
            Self::NoSuperuser { .. } => {
                "run it as root or as the server's user, or give --connect 'user=…'; `--print-sql` prints the SQL for somebody who may".to_owned()
            }
            Self::Elsewhere { .. } => "run it on the server's host, with the plan there".to_owned(),
            Self::Rehearsal { command, .. } => command.clone(),
            Self::AnotherRole { asset, .. } => {
                format!("lifeboat postgres remove {asset}, and then set it up with the other role")
            }
            _ => "its log tells why; `SELECT * FROM pg_stat_archiver` shows the last failure".to_owned(),
        };
        Some(Hint::new(text))
    }
}
