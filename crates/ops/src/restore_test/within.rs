//! Looking at what came back as if its directory were the root: no link leads out of it onto this host.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use lifeboat_model::Timestamp;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

/// A directory that stands for the root.
pub(super) struct Within<'p> {
    path: &'p Path,
    directory: File,
}

impl<'p> Within<'p> {
    pub(super) fn open(path: &'p Path) -> io::Result<Self> {
        Ok(Self { path, directory: File::open(path)? })
    }

    /// Tells whether there is something at a path; a link at its end counts as it is.
    pub(super) fn exists(&self, path: &Path) -> io::Result<bool> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat2(&self.directory, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the host's path of one that is seen inside.
    pub(super) fn host_path(&self, path: &Path) -> PathBuf {
        self.path.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Lists the files at and below a path, each as it is called from there, with the time of its last change; links
    /// are not followed.
    pub(super) fn files(&self, path: &Path) -> io::Result<Vec<(PathBuf, Timestamp)>> {
        let mut found = Vec::new();
        walk(&self.host_path(path), &PathBuf::new(), &mut found)?;
        Ok(found)
    }
}

fn walk(at: &Path, name: &Path, found: &mut Vec<(PathBuf, Timestamp)>) -> io::Result<()> {
    let meta = match at.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        meta => meta?,
    };
    if meta.is_dir() {
        for entry in std::fs::read_dir(at)? {
            let entry = entry?;
            walk(&entry.path(), &name.join(entry.file_name()), found)?;
        }
    } else if meta.is_file() {
        let changed: SystemTime = meta.modified()?;
        found.push((name.to_owned(), Timestamp::try_from(changed).unwrap_or(Timestamp::MAX)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_link_leads_out() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join("etc/site")).unwrap();
        File::create(home.path().join("etc/site/a")).unwrap();
        // On this host there is /etc/passwd; in what came back there is none.
        symlink("/etc/passwd", home.path().join("etc/link")).unwrap();
        symlink("/etc", home.path().join("elsewhere")).unwrap();
        symlink("../../../../../etc", home.path().join("etc/up")).unwrap();
        let within = Within::open(home.path()).unwrap();
        for (path, is_there) in [
            ("/etc/site/a", true),
            ("etc/site/a", true),
            ("/etc/link", true),
            ("/elsewhere/site/a", true),
            ("/elsewhere/passwd", false),
            ("/etc/up/passwd", false),
            ("/../etc/passwd", false),
            ("/etc/site/a/b", false),
        ] {
            assert_eq!(within.exists(Path::new(path)).unwrap(), is_there, "{path}");
        }
        let files = within.files(Path::new("/etc")).unwrap();
        let names: Vec<_> = files.iter().map(|(name, _)| name.to_str().unwrap()).collect();
        assert_eq!(names, ["site/a"]);
        assert_eq!(within.files(Path::new("/nowhere")).unwrap(), []);
    }
}
