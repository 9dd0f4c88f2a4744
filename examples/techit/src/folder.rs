//! Where everything of the demo lies: one folder, removed at the end.
//!
//! ```text
//! host/              all that the disaster takes: the platform, its plan, its first tier, its state
//! safe-elsewhere/    where somebody keeps a copy of the recovery key
//! ```

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::failure::{DemoError, file};

/// The demo's folder.
#[derive(Debug)]
pub struct Folder {
    root: TempDir,
}

impl Folder {
    /// Makes an empty one below `parent`.
    pub fn make(parent: &Path, keep: bool) -> Result<Self, DemoError> {
        let mut root = tempfile::Builder::new()
            .prefix("lifeboat-demo-")
            .tempdir_in(parent)
            .map_err(file("make a folder below", parent))?;
        root.disable_cleanup(keep);
        // The database's own user must get through to its data; what is secret is closed by itself.
        std::fs::set_permissions(root.path(), Permissions::from_mode(0o755))
            .map_err(file("open", root.path()))?;
        let folder = Self { root };
        folder.make_machine()?;
        for path in [folder.media(), folder.etc(), folder.logs()] {
            std::fs::create_dir_all(&path).map_err(file("make", path))?;
        }
        Ok(folder)
    }

    /// Makes the machine: an empty one, with a place for the platform.
    pub fn make_machine(&self) -> Result<(), DemoError> {
        let path = self.platform();
        std::fs::create_dir_all(&path).map_err(file("make", path))
    }

    /// Returns what the disaster takes.
    pub fn machine(&self) -> PathBuf {
        self.path().join("host")
    }

    /// Returns where somebody keeps the recovery key.
    pub fn kept_key(&self) -> PathBuf {
        self.path().join("safe-elsewhere").join("recovery.key")
    }

    /// Returns the recovery key of the machine.
    pub fn key(&self) -> PathBuf {
        self.machine().join("recovery.key")
    }

    /// Returns the folder itself.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    fn platform(&self) -> PathBuf {
        self.machine().join("platform")
    }

    /// Returns where the database keeps its data.
    pub fn postgres(&self) -> PathBuf {
        self.platform().join("postgres")
    }

    /// Returns where the application lies.
    pub fn www(&self) -> PathBuf {
        self.platform().join("www")
    }

    /// Returns the application's settings.
    pub fn settings(&self) -> PathBuf {
        self.www().join(".env")
    }

    /// Returns what users uploaded.
    pub fn media(&self) -> PathBuf {
        self.www().join("media")
    }

    /// Returns where servers have their settings.
    pub fn etc(&self) -> PathBuf {
        self.platform().join("etc")
    }

    /// Returns the settings of the web server.
    pub fn nginx(&self) -> PathBuf {
        self.etc().join("nginx")
    }

    /// Returns the certificates.
    pub fn certificates(&self) -> PathBuf {
        self.etc().join("letsencrypt")
    }

    /// Returns the logs.
    pub fn logs(&self) -> PathBuf {
        self.platform().join("log")
    }

    /// Returns a tier's folder.
    pub fn tier(&self, name: &str) -> PathBuf {
        self.machine().join("backups").join(name)
    }

    /// Returns the socket on which the database's log is served.
    pub fn log_socket(&self) -> PathBuf {
        self.machine().join("wal.sock")
    }

    /// Returns the plan.
    pub fn plan(&self) -> PathBuf {
        self.machine().join("plan.toml")
    }

    /// Returns where lifeboat makes its folder for what it can rebuild; paths of sockets below it must not
    /// get long.
    pub fn state(&self) -> PathBuf {
        self.machine()
    }
}

/// Adds up the sizes of all files below a directory.
pub fn bytes_below(directory: &Path) -> Result<u64, DemoError> {
    let fail = || file("measure", directory);
    let mut total = 0;
    let mut todo = vec![directory.to_owned()];
    while let Some(path) = todo.pop() {
        for entry in std::fs::read_dir(&path).map_err(fail())? {
            let entry = entry.map_err(fail())?;
            let metadata = entry.metadata().map_err(fail())?;
            if metadata.is_dir() {
                todo.push(entry.path());
            } else {
                total += metadata.len();
            }
        }
    }
    Ok(total)
}
