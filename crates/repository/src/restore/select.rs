//! Which entries of a snapshot are restored, by patterns against their paths in it.
//!
//! The patterns are restic's, as `--exclude` of a backup has them. What lies in a directory that was
//! included is included, too; what was excluded is not looked into.

use std::ffi::OsStr;
use std::path::Path;

use lifeboat_model::pattern::{Case, Decision, Dialect, EntryKind, PatternError, Patterns};

/// What is restored: everything, unless patterns say otherwise.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    include: Option<Patterns>,
    exclude: Option<Patterns>,
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
    pub fn new<S: AsRef<OsStr>>(include: &[S], exclude: &[S]) -> Result<Self, PatternError> {
        let compile = |texts: &[S]| {
            let list = || Patterns::new(Dialect::Restic, Case::Matters, texts);
            (!texts.is_empty()).then(list).transpose()
        };
        Ok(Self { include: compile(include)?, exclude: compile(exclude)? })
    }

    /// Tells whether no pattern leaves anything out.
    pub const fn is_everything(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
    }

    /// Returns how the root is looked into.
    pub(super) const fn at_root(&self) -> Within {
        if self.include.is_none() { Within::Selected } else { Within::Searched }
    }

    /// Decides over an entry in a directory that is looked into.
    pub(super) fn judge(&self, path: &Path, kind: EntryKind, within: Within) -> Verdict {
        let judge = |list: &Patterns| list.judge_path(path, kind);
        if self.exclude.as_ref().and_then(judge) == Some(Decision::Matches) {
            return Verdict::Skip;
        }
        let Some(include) = &self.include else { return Verdict::Restore };
        let included = match judge(include) {
            Some(decision) => decision == Decision::Matches,
            None => within == Within::Selected,
        };
        if included {
            Verdict::Restore
        } else if kind == EntryKind::Directory && include.may_match_below(path) {
            Verdict::Search
        } else {
            Verdict::Skip
        }
    }
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
