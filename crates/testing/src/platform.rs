//! What the reference platform runs on: a Python with Django and its kin, a web server, a cache.

use std::path::{Path, PathBuf};

use crate::needs;
use crate::program::ProgramError;

const REMEDY: &str = "dev/install-needs platform";

/// Returns the folders of its programs, which go to the front of a search path.
///
/// # Errors
///
/// [`ProgramError::Missing`] with the command that installs them.
pub fn programs() -> Result<[PathBuf; 2], ProgramError> {
    let folder = |name, file| {
        let found: PathBuf = needs::find(name, file, REMEDY)?;
        Ok(found.parent().map_or_else(PathBuf::new, Path::to_owned))
    };
    Ok([folder("platform", "bin/python")?, folder("platform-servers", "bin/nginx")?])
}
