//! What the demo survives: the server, its data and every file of the platform are gone.

use crate::failure::{DemoError, file};
use crate::folder::Folder;
use crate::platform::Platform;

/// Kills the database server and removes everything that the platform has.
pub fn strike(platform: &mut Platform, folder: &Folder) -> Result<(), DemoError> {
    platform.cluster_mut().destroy()?;
    for path in [folder.www(), folder.etc(), folder.logs()] {
        std::fs::remove_dir_all(&path).map_err(file("remove", path))?;
    }
    Ok(())
}
