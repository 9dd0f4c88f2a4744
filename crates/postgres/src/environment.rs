//! What libpq would read from its surroundings, handed in: this crate reads no environment.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where client programs, service files and passwords are looked for.
#[derive(Debug, Clone, Default)]
pub struct ClientEnvironment {
    pub(crate) path: OsString,
    pub(crate) home: Option<PathBuf>,
    pub(crate) service_files: Vec<PathBuf>,
    pub(crate) password_file: Option<PathBuf>,
}

impl ClientEnvironment {
    /// Returns surroundings with this search path for programs, and the system's service file.
    pub fn new(path: impl Into<OsString>) -> Self {
        Self {
            path: path.into(),
            // Where Debian's libpq looks.
            service_files: vec![PathBuf::from("/etc/postgresql-common/pg_service.conf")],
            ..Self::default()
        }
    }

    /// Adds a home directory, with its `.pgpass` and `.pg_service.conf`.
    #[must_use]
    pub fn home(mut self, home: impl AsRef<Path>) -> Self {
        let home = home.as_ref();
        self.service_files.insert(0, home.join(".pg_service.conf"));
        self.password_file = Some(home.join(".pgpass"));
        self.home = Some(home.to_owned());
        self
    }

    /// Sets the service file that is read before all others (`PGSERVICEFILE`).
    #[must_use]
    pub fn service_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.service_files.insert(0, path.into());
        self
    }

    /// Sets the password file instead of the home directory's (`PGPASSFILE`).
    #[must_use]
    pub fn password_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.password_file = Some(path.into());
        self
    }
}
