//! Texts that a plan is read from, and places in them.

use std::collections::BTreeMap;
use std::ops::Range;

/// One file of a plan: its path as it is shown, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// The path as messages show it; a runbook's is relative to the plan.
    pub path: String,
    /// The whole text.
    pub text: String,
}

/// Why the text of a runbook could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// There is no such file.
    #[error("there is no such file")]
    Missing,
    /// There is, but it could not be read.
    #[error("it cannot be read: {reason}")]
    Unreadable {
        /// What the system said.
        reason: String,
    },
}

/// Where the files beside the plan come from; the crate itself opens none.
pub trait Files {
    /// Returns the text of the file at `path`, which is relative to the plan's folder.
    fn text(&self, path: &str) -> Result<String, FileError>;
}

impl Files for BTreeMap<String, String> {
    fn text(&self, path: &str) -> Result<String, FileError> {
        self.get(path).cloned().ok_or(FileError::Missing)
    }
}

/// A file of one [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileId(usize);

/// A stretch of bytes in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) file: FileId,
    pub(crate) bytes: Range<usize>,
}

/// All files that were read for one plan.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    files: Vec<SourceFile>,
}

impl Sources {
    pub(crate) fn add(&mut self, file: SourceFile) -> FileId {
        self.files.push(file);
        FileId(self.files.len() - 1)
    }

    pub(crate) fn get(&self, id: FileId) -> &SourceFile {
        &self.files[id.0]
    }

    pub(crate) fn into_files(self) -> Vec<SourceFile> {
        self.files
    }
}

/// One line of a file with the part of it that a span covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Counted from 1.
    pub(crate) number: usize,
    /// In characters, counted from 1.
    pub(crate) column: usize,
    /// Where the line starts in the file.
    pub(crate) start: usize,
    /// The line without its end.
    pub(crate) bytes: Range<usize>,
    /// The covered part, in bytes of the line.
    pub(crate) covered: Range<usize>,
}

impl SourceFile {
    /// Finds the line that `bytes` begins in; whatever goes past its end is cut off.
    pub(crate) fn line(&self, bytes: &Range<usize>) -> Line {
        let text = &self.text;
        let at = floor_boundary(text, bytes.start.min(text.len()));
        let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let end = text[at..].find('\n').map_or(text.len(), |newline| at + newline);
        let end = if text[start..end].ends_with('\r') { end - 1 } else { end };
        let from = at.min(end);
        let to = floor_boundary(text, bytes.end.clamp(from, end));
        Line {
            number: text[..at].matches('\n').count() + 1,
            column: text[start..from].chars().count() + 1,
            start,
            bytes: start..end,
            covered: from - start..to - start,
        }
    }
}

/// Returns the largest character boundary that is not after `at`.
fn floor_boundary(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, bytes: Range<usize>) -> Line {
        SourceFile { path: "plan.toml".to_owned(), text: text.to_owned() }.line(&bytes)
    }

    #[test]
    fn columns_count_characters() {
        let found = line("a\nü = 1\r\nb", 5..6);
        assert_eq!((found.number, found.column), (2, 3));
        assert_eq!(found.bytes, 2..8);
        assert_eq!(found.covered, 3..4);
    }

    #[test]
    fn a_span_that_goes_past_its_line_is_cut() {
        assert_eq!(line("ab\ncd", 1..5).covered, 1..2);
        assert_eq!(line("", 7..9).covered, 0..0);
        assert_eq!(line("ü", 1..2).covered, 0..2);
    }
}
