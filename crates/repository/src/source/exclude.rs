//! What is left out of a backup: patterns as in `.gitignore` and restic's exclude files.
//!
//! - `/var/cache` is that path and all below it; `*` and `?` stop at a slash, `**` does not.
//! - `*.tmp` is every name like that, at any depth.
//! - `node_modules/.cache` is every path that ends with these names.
//! - A trailing slash wants a directory: `tmp/`.
//! - `!keep.tmp` takes back what a pattern before it left out. What lies in a directory that is left
//!   out cannot be taken back.

use std::path::Path;

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

/// A pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is not a pattern")]
pub struct ExcludeError {
    pattern: String,
    #[source]
    source: globset::Error,
}

/// Compiled patterns; empty ones leave nothing out.
#[derive(Debug, Clone)]
pub struct Excludes {
    patterns: Vec<String>,
    set: GlobSet,
    rules: Vec<Rule>,
}

/// What a pattern says beside its glob.
#[derive(Debug, Clone, Copy)]
struct Rule {
    takes_back: bool,
    directories_only: bool,
}

impl Default for Excludes {
    fn default() -> Self {
        Self { patterns: Vec::new(), set: GlobSet::empty(), rules: Vec::new() }
    }
}

impl Excludes {
    /// Compiles patterns; where several match, the last one decides.
    pub fn new<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Self, ExcludeError> {
        let patterns: Vec<String> =
            patterns.into_iter().map(|pattern| pattern.as_ref().to_owned()).collect();
        let mut set = GlobSetBuilder::new();
        let mut rules = Vec::with_capacity(patterns.len());
        for pattern in &patterns {
            let (rule, glob) = parse(pattern);
            let compiled = GlobBuilder::new(&glob)
                .literal_separator(true)
                .backslash_escape(true)
                .build()
                .map_err(|source| ExcludeError { pattern: pattern.clone(), source })?;
            set.add(compiled);
            rules.push(rule);
        }
        let set =
            set.build().map_err(|source| ExcludeError { pattern: patterns.join(" "), source })?;
        Ok(Self { patterns, set, rules })
    }

    /// Returns the patterns as they were given.
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// Tells whether an absolute path is left out.
    pub(crate) fn excludes(&self, path: &Path, kind: EntryKind) -> bool {
        if self.rules.is_empty() {
            return false;
        }
        let matching = self.set.matches_candidate(&Candidate::new(path));
        let decisive = matching
            .into_iter()
            .map(|index| self.rules[index])
            .rfind(|rule| !rule.directories_only || kind == EntryKind::Directory);
        decisive.is_some_and(|rule| !rule.takes_back)
    }
}

/// What a pattern can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A directory.
    Directory,
    /// Anything else.
    Other,
}

/// Takes the marks off a pattern and makes it match whole absolute paths.
fn parse(pattern: &str) -> (Rule, String) {
    let (takes_back, rest) = match pattern.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let (directories_only, rest) = match rest.strip_suffix('/') {
        Some(rest) if !rest.is_empty() => (true, rest),
        _ => (false, rest),
    };
    let glob = if rest.starts_with('/') { rest.to_owned() } else { format!("**/{rest}") };
    (Rule { takes_back, directories_only }, glob)
}

#[cfg(test)]
mod tests {
    use super::EntryKind::{Directory, Other};
    use super::*;

    #[test]
    fn patterns_match_as_restic_and_git_users_expect() {
        let cases: [(&[&str], &str, EntryKind, bool); 16] = [
            (&[], "/srv/a", Other, false),
            (&["/var/cache"], "/var/cache", Directory, true),
            (&["/var/cache"], "/srv/var/cache", Directory, false),
            (&["/var/*/x"], "/var/a/x", Other, true),
            (&["/var/*/x"], "/var/a/b/x", Other, false),
            (&["/var/**/x"], "/var/a/b/x", Other, true),
            (&["*.tmp"], "/srv/a/b.tmp", Other, true),
            (&["*.tmp"], "/srv/a.tmp/b", Other, false),
            (&["cache"], "/srv/cache", Directory, true),
            (&["cache"], "/srv/mycache", Directory, false),
            (&["a/cache"], "/srv/a/cache", Directory, true),
            (&["tmp/"], "/srv/tmp", Directory, true),
            (&["tmp/"], "/srv/tmp", Other, false),
            (&["*.tmp", "!keep.tmp"], "/srv/keep.tmp", Other, false),
            (&["!keep.tmp", "*.tmp"], "/srv/keep.tmp", Other, true),
            (&["[ab].log"], "/srv/c.log", Other, false),
        ];
        for (patterns, path, kind, expected) in cases {
            let excludes = Excludes::new(patterns).unwrap();
            assert_eq!(excludes.excludes(Path::new(path), kind), expected, "{patterns:?} {path}");
        }
    }

    #[test]
    fn names_that_are_not_utf8_are_matched_too() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let excludes = Excludes::new(["*.tmp"]).unwrap();
        let path = Path::new(OsStr::from_bytes(b"/srv/\xff.tmp"));
        assert!(excludes.excludes(path, Other));
    }

    #[test]
    fn a_broken_pattern_is_named() {
        let error = Excludes::new(["good", "[a"]).unwrap_err();
        assert_eq!(error.to_string(), "`[a` is not a pattern");
    }
}
