//! Where a tier's objects lie on a server.

use std::path::{Path, PathBuf};

use crate::ObjectPath;

/// The directory that is the tier.
#[derive(Debug)]
pub(super) struct Place {
    /// From the server's root, or from where the login leads.
    root: PathBuf,
}

impl Place {
    /// `path` begins with a slash, or else is taken from where the login leads.
    pub(super) fn new(path: &str) -> Self {
        // An empty path means nothing to a server.
        Self { root: if path.is_empty() { ".".into() } else { path.into() } }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns where an object or a directory lies; the empty path is the root.
    pub(super) fn below(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }

    /// Returns the directories from the one of an object up to the root, both included.
    pub(super) fn directories(&self, path: &ObjectPath) -> Vec<PathBuf> {
        let file = self.below(path.as_str());
        let above = file.ancestors().skip(1);
        above.take(path.as_str().split('/').count()).map(Path::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_end_with_the_root() {
        let above = |root, path: &str| {
            let directories = Place::new(root).directories(&path.parse().unwrap());
            directories.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            above("/srv/a", "repo/data/00/x"),
            ["/srv/a/repo/data/00", "/srv/a/repo/data", "/srv/a/repo", "/srv/a"]
        );
        assert_eq!(above("/", "x"), ["/"]);
        assert_eq!(above("", "a/x"), ["./a", "."]);
        assert_eq!(above("b", "x"), ["b"]);
    }
}
