//! What is left out of a file asset: patterns as in `.gitignore`.
//!
//! `/proc` is that path with all below it, `*.tmp` every name like that, `a/cache` every path that
//! ends so; a trailing slash wants a folder; `!keep.tmp` takes back what an earlier one left out.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use globset::{GlobBuilder, GlobMatcher};

use crate::value::text_value;

/// A pattern over paths.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    matcher: GlobMatcher,
    takes_back: bool,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// A text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a pattern: {reason}")]
pub struct ParsePatternError {
    text: String,
    reason: String,
}

impl Pattern {
    /// Returns it as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Tells whether `patterns` leave out the folder at `path`, by itself or with one above it.
pub(crate) fn leave_out(patterns: &[Pattern], path: &Path) -> bool {
    path.ancestors().any(|path| {
        let last = patterns.iter().rfind(|pattern| pattern.matcher.is_match(path));
        last.is_some_and(|pattern| !pattern.takes_back)
    })
}

impl FromStr for Pattern {
    type Err = ParsePatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason: String| ParsePatternError { text: text.to_owned(), reason };
        let (takes_back, rest) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let name = rest.strip_suffix('/').unwrap_or(rest);
        if name.is_empty() {
            return Err(error("it matches nothing but the root, or nothing at all".to_owned()));
        }
        let glob = if name.starts_with('/') { name.to_owned() } else { format!("**/{name}") };
        let built = GlobBuilder::new(&glob).literal_separator(true).backslash_escape(true).build();
        match built {
            Ok(glob) => {
                Ok(Self { text: text.to_owned(), matcher: glob.compile_matcher(), takes_back })
            }
            Err(cause) => Err(error(cause.kind().to_string())),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

text_value! {
    Pattern: "bad-pattern", { "minLength": 1, "examples": ["/proc", "*.tmp"] };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_leave_out_what_they_match_and_what_is_below() {
        let left_out = |patterns: &[&str], path: &str| {
            let patterns: Vec<Pattern> = patterns.iter().map(|p| p.parse().unwrap()).collect();
            leave_out(&patterns, Path::new(path))
        };
        assert!(left_out(&["/proc"], "/proc/1/fd"));
        assert!(left_out(&["/proc/"], "/proc"));
        assert!(!left_out(&["/proc"], "/srv/proc"));
        assert!(left_out(&["*.tmp"], "/srv/a.tmp"));
        assert!(left_out(&["x/cache"], "/srv/x/cache/y"));
        assert!(left_out(&["/srv/*/cache"], "/srv/x/cache/y"));
        assert!(!left_out(&["*.tmp", "!keep.tmp"], "/srv/keep.tmp"));
        assert!(!left_out(&[], "/srv"));
    }

    #[test]
    fn broken_patterns_are_refused() {
        for bad in ["", "/", "!", "[a", "{a"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
    }
}
