//! What the demo survives: the server, its data and every file of its machine are gone.

use crate::failure::{DemoError, file};
use crate::folder::Folder;
use crate::platform::Platform;

/// Kills the database server and removes everything that the machine has.
pub fn strike(platform: &mut Platform, folder: &Folder) -> Result<(), DemoError> {
    platform.cluster_mut().destroy()?;
    let path = folder.machine();
    std::fs::remove_dir_all(&path).map_err(file("remove", path))
}
