//! Which entries of a snapshot are restored, by patterns against their paths in it.
//!
//! The patterns are those of a backup's excludes. What lies in a directory that was included is
//! included, too; what was excluded is not looked into.

use std::path::Path;

use crate::source::exclude::{EntryKind, ExcludeError, Excludes};

/// What is restored: everything, unless patterns say otherwise.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    include: Option<Excludes>,
    /// For each include pattern the path without wildcards that it begins with, if it is anchored:
    /// directories beside it need not be looked into.
    anchors: Option<Vec<String>>,
    exclude: Excludes,
}

/// How a directory came to be looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    /// It is restored, and so is all in it that is not excluded.
    Selected,
    /// Something in it may have been asked for.
    Searched,
}

/// What becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is restored.
    Restore,
    /// It is not, but something in it may be.
    Search,
    /// Neither it nor anything in it is.
    Skip,
}

impl Selection {
    /// Selects by patterns: what any of `include` matches, or everything if there are none, without
    /// what `exclude` matches.
    pub fn new<S: AsRef<str>>(include: &[S], exclude: &[S]) -> Result<Self, ExcludeError> {
        let (include, anchors) = if include.is_empty() {
            (None, None)
        } else {
            let anchors = include.iter().map(|pattern| anchor(pattern.as_ref())).collect();
            (Some(Excludes::new(include)?), anchors)
        };
        Ok(Self { include, anchors, exclude: Excludes::new(exclude)? })
    }

    /// Tells whether no pattern leaves anything out.
    pub fn is_everything(&self) -> bool {
        self.include.is_none() && self.exclude.patterns().is_empty()
    }

    /// Returns how the root is looked into.
    pub(super) const fn at_root(&self) -> Within {
        if self.include.is_none() { Within::Selected } else { Within::Searched }
    }

    /// Decides over an entry in a directory that is looked into.
    pub(super) fn judge(&self, path: &Path, kind: EntryKind, within: Within) -> Verdict {
        if self.exclude.excludes(path, kind) {
            return Verdict::Skip;
        }
        let included = self.include.as_ref().is_none_or(|include| include.excludes(path, kind));
        if included || within == Within::Selected {
            Verdict::Restore
        } else if kind == EntryKind::Directory && self.may_hold(path) {
            Verdict::Search
        } else {
            Verdict::Skip
        }
    }

    /// Tells whether something below a directory may be included.
    fn may_hold(&self, directory: &Path) -> bool {
        let Some(anchors) = &self.anchors else { return true };
        anchors
            .iter()
            .any(|anchor| Path::new(anchor).starts_with(directory) || directory.starts_with(anchor))
    }
}

/// Returns the names that a pattern from the root begins with, up to the first wildcard.
fn anchor(pattern: &str) -> Option<String> {
    let rest = pattern.strip_prefix('/')?;
    let plain = |name: &&str| !name.contains(['*', '?', '[', '{', '\\']);
    let names: Vec<&str> = rest.split('/').take_while(plain).collect();
    Some(format!("/{}", names.join("/")))
}

#[cfg(test)]
mod tests {
    use EntryKind::{Directory, Other};

    use super::*;

    fn judge(include: &[&str], exclude: &[&str], path: &str, kind: EntryKind) -> Verdict {
        let selection = Selection::new(include, exclude).unwrap();
        let mut within = selection.at_root();
        let mut above: Vec<&Path> = Path::new(path).ancestors().skip(1).collect();
        above.pop();
        for directory in above.into_iter().rev() {
            within = match selection.judge(directory, Directory, within) {
                Verdict::Restore => Within::Selected,
                Verdict::Search => Within::Searched,
                Verdict::Skip => return Verdict::Skip,
            };
        }
        selection.judge(Path::new(path), kind, within)
    }

    #[test]
    fn what_is_included_is_restored_with_all_in_it() {
        assert_eq!(judge(&[], &[], "/a/b", Other), Verdict::Restore);
        assert_eq!(judge(&["/a"], &[], "/a/b/c", Other), Verdict::Restore);
        assert_eq!(judge(&["/a/b"], &[], "/a", Directory), Verdict::Search);
        assert_eq!(judge(&["/a/b"], &[], "/a/c", Directory), Verdict::Skip);
        assert_eq!(judge(&["/a/*/x"], &[], "/a/c", Directory), Verdict::Search);
        assert_eq!(judge(&["*.jpg"], &[], "/a/b/c.jpg", Other), Verdict::Restore);
        assert_eq!(judge(&["*.jpg"], &[], "/a/b/c.png", Other), Verdict::Skip);
        assert_eq!(judge(&["/a", "*.jpg"], &[], "/b/c.jpg", Other), Verdict::Restore);
    }

    #[test]
    fn what_is_excluded_is_not_looked_into() {
        assert_eq!(judge(&[], &["b"], "/a/b/c", Other), Verdict::Skip);
        assert_eq!(judge(&["/a"], &["*.tmp"], "/a/b/c.tmp", Other), Verdict::Skip);
        assert_eq!(judge(&["/a"], &["*.tmp"], "/a/b/c", Other), Verdict::Restore);
    }
}
