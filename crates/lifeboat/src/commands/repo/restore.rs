//! `lifeboat repo restore`: restore a snapshot, or a part of it, into a directory.

use std::fmt::{self, Write as _};
use std::path::PathBuf;

use clap::Args;
use lifeboat_model::{Exit, SnapshotId};
use lifeboat_repository::restore::{self, Existing, Ownership, RestoreOptions};
use serde::Serialize;

use super::Access;
use crate::failure::Failure;
use crate::render::{Answer, Page, RestoredFiles, ShownPath};
use crate::session::Session;

/// The arguments of `lifeboat repo restore`.
#[derive(Debug, Args)]
pub struct Restore {
    #[command(flatten)]
    access: Access,
    /// The snapshot: `latest`, or the first digits of its id
    #[arg(value_name = "SNAPSHOT", default_value = "latest")]
    snapshot: String,
    /// Restore below this directory; it is created, or has to be empty
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Restore only what is at or below this path of the snapshot
    #[arg(long, value_name = "PATH", default_value = "/")]
    path: PathBuf,
    /// Replace files that are there already, and keep what the snapshot does not name
    #[arg(long)]
    overwrite: bool,
    /// Give files to the users and groups of the recorded names, not of the recorded numbers
    #[arg(long)]
    owner_by_name: bool,
    /// End with 3 when an owner could not be set
    #[arg(long)]
    strict_owner: bool,
}

#[derive(Serialize)]
struct Restored {
    snapshot: SnapshotId,
    target: ShownPath,
    #[serde(flatten)]
    files: RestoredFiles,
}

impl Answer for Restored {
    const SCHEMA: &'static str = "lifeboat.repo.restore/1";

    fn write(&self, page: &mut Page) -> fmt::Result {
        writeln!(page, "snapshot {} restored to {}", self.snapshot, self.target)?;
        self.files.write(page)
    }
}

impl Restore {
    /// Restores what was asked for; what could not be restored is named, and ends with 3.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let (repository, lock) = self.access.open(session)?;
        let (id, snapshot) = repository.find_snapshot(&self.snapshot)?;
        let events = session.events();
        let repository = repository.load_index(&session.cancel, &*events)?;
        let options = RestoreOptions {
            existing: if self.overwrite { Existing::Overwrite } else { Existing::Refuse },
            ownership: if self.owner_by_name { Ownership::ByName } else { Ownership::ById },
            strict_owner: self.strict_owner,
            ..RestoreOptions::new(&self.to).subpath(&self.path)
        };
        let restored =
            restore::restore(&repository, &snapshot, &options, &*events, &session.cancel);
        super::end_lock(lock)?;
        let report = restored?;
        let exit = report.exit();
        let answer = Restored {
            snapshot: id,
            target: ShownPath(self.to),
            files: RestoredFiles::from(report),
        };
        session.end(&answer, exit)
    }
}
