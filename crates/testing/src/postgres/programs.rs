//! Where servers' programs are: the system's own, and a newer release beside it.
//!
//! The newer one comes from `dev/install-needs postgresql-18`, which pins its bytes; it has no client
//! programs, so the system's are used with it (`psql` talks to newer servers, `pg_dump` does not).

use std::path::PathBuf;

use crate::needs;
use crate::program::ProgramError;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Release {
    /// The newest of the system's packages, 15 on Debian 12.
    #[default]
    System,
    /// Version 18.
    Eighteen,
}

impl Release {
    /// Those that tests run on.
    pub const ALL: [Self; 2] = [Self::System, Self::Eighteen];

    /// Finds its server programs.
    pub(super) fn programs(self) -> Result<PathBuf, ProgramError> {
        match self {
            Self::System => system(),
            Self::Eighteen => {
                const REMEDY: &str = "dev/install-needs postgresql-18";
                let mut initdb = needs::find("postgresql-18", "bin/initdb", REMEDY)?;
                initdb.pop();
                Ok(initdb)
            }
        }
    }
}

/// Finds the programs of the newest server that is installed.
pub(super) fn system() -> Result<PathBuf, ProgramError> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())))
        .map(|(version, path)| (version, path.join("bin")))
        .filter(|(_, bin)| bin.join("initdb").is_file())
        .max();
    let path = std::env::var_os("PATH").unwrap_or_default();
    newest
        .map(|(_, bin)| bin)
        .or_else(|| std::env::split_paths(&path).find(|bin| bin.join("initdb").is_file()))
        .ok_or_else(|| ProgramError::Missing {
            program: "initdb".to_owned(),
            remedy: "apt-get install postgresql",
        })
}
