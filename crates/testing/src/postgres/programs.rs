//! Where servers' programs are: the system's own, and a newer release beside it.
//!
//! The newer one comes from `dev/install-needs postgresql-18`, which pins its bytes; it has no client
//! programs, so the system's are used with it (`psql` talks to newer servers, `pg_dump` does not).

use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

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
            Self::Eighteen => unpacked("postgresql-18"),
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

/// Finds what `dev/install-needs` unpacked.
fn unpacked(name: &str) -> Result<PathBuf, ProgramError> {
    let cache = if geteuid().is_root() {
        Some(PathBuf::from("/var/cache"))
    } else {
        let named = std::env::var_os("XDG_CACHE_HOME").filter(|name| !name.is_empty());
        named
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
    };
    cache
        .map(|cache| cache.join("lifeboat-needs").join(name).join("bin"))
        .filter(|bin| bin.join("initdb").is_file())
        .ok_or_else(|| ProgramError::Missing {
            program: name.to_owned(),
            remedy: "dev/install-needs postgresql-18",
        })
}
