//! Where `dev/install-needs` keeps the programs that no package of the system has.

use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::program::ProgramError;

/// Finds a file of what was installed under `name`.
///
/// # Errors
///
/// [`ProgramError::Missing`] with the command that installs it.
pub(crate) fn find(name: &str, file: &str, remedy: &'static str) -> Result<PathBuf, ProgramError> {
    folder()
        .map(|folder| folder.join(name).join(file))
        .filter(|path| path.is_file())
        .ok_or_else(|| ProgramError::Missing { program: name.to_owned(), remedy })
}

/// Returns the folder of which `dev/install-needs` says the same.
fn folder() -> Option<PathBuf> {
    let cache = if geteuid().is_root() {
        Some(PathBuf::from("/var/cache"))
    } else {
        let named = std::env::var_os("XDG_CACHE_HOME").filter(|name| !name.is_empty());
        named
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
    };
    cache.map(|cache| cache.join("lifeboat-needs"))
}
