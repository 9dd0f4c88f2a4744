//! What is left out of a file asset: patterns as in `.gitignore`.
//!
//! `/proc` is that path with all below it, `*.tmp` every name like that, `a/cache` every path that
//! ends so; a trailing slash wants a folder; `!keep.tmp` takes back what an earlier one left out.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use lifeboat_model::pattern::{Case, Decision, Dialect, EntryKind, Patterns};

use crate::value::text_value;

/// A pattern over paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

/// A text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a pattern: {reason}")]
pub struct ParsePatternError {
    text: String,
    reason: &'static str,
}

impl Pattern {
    /// Returns it as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Tells whether `patterns` leave out the folder at `path`, by itself or with one above it.
pub(crate) fn leave_out(patterns: &[Pattern], path: &Path) -> bool {
    let texts = patterns.iter().map(Pattern::as_str);
    let patterns = Patterns::new(Dialect::Plan, Case::Matters, texts)
        .expect("each of them was compiled when it was parsed");
    path.ancestors()
        .any(|path| patterns.judge_path(path, EntryKind::Directory) == Some(Decision::Matches))
}

impl FromStr for Pattern {
    type Err = ParsePatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match Patterns::new(Dialect::Plan, Case::Matters, [text]) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error) => Err(ParsePatternError { text: text.to_owned(), reason: error.problem() }),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
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
