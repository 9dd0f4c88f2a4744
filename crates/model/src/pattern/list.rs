//! A list of patterns, of which the last that matches decides.
//!
//! Directories are gone down name by name, as a walk does: a [`Progress`] holds how far the patterns
//! are, so that an entry is judged by its name alone.
//!
//! # Limits
//!
//! An entry costs a look at each pattern that one name may match anywhere, and at those that the
//! directories above it began to match; patterns from the root cost nothing elsewhere.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{Case, Dialect, EntryKind, Pattern, PatternError, Start, names};

/// A list of patterns, of which the last that matches decides.
#[derive(Debug, Clone)]
pub struct Patterns {
    dialect: Dialect,
    case: Case,
    texts: Vec<OsString>,
    listed: Vec<Listed>,
    /// Those that one name may complete, whatever is above it.
    short: Vec<u32>,
    /// Those that begin anywhere and have more parts.
    long: Vec<u32>,
}

#[derive(Debug, Clone)]
struct Listed {
    pattern: Pattern,
    takes_back: bool,
}

/// What the pattern that decides says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It matches.
    Matches,
    /// It begins with `!` and takes back what one before it may have matched.
    TakenBack,
}

/// How far the patterns of a list are on the way into a directory.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// The last pattern that matches the directory or one that it lies in, if that counts in it.
    decided: Option<u32>,
    /// What may come next of patterns that were begun, in the order of the patterns.
    active: Vec<At>,
}

/// A part of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct At {
    pattern: u32,
    part: u32,
}

impl Patterns {
    /// Compiles patterns; of restic's, empty ones are left out.
    pub fn new<S: AsRef<OsStr>>(
        dialect: Dialect,
        case: Case,
        texts: impl IntoIterator<Item = S>,
    ) -> Result<Self, PatternError> {
        let mut list = Self {
            dialect,
            case,
            texts: Vec::new(),
            listed: Vec::new(),
            short: Vec::new(),
            long: Vec::new(),
        };
        for text in texts {
            if dialect != Dialect::Restic || !text.as_ref().is_empty() {
                list.add(text.as_ref())?;
            }
        }
        Ok(list)
    }

    /// Compiles what a `.gitignore` holds.
    pub fn of_gitignore(content: &[u8]) -> Self {
        let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
        let lines = content.split(|byte| *byte == b'\n');
        let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"));
        let texts = lines.map(|line| OsStr::from_bytes(without_trailing_spaces(line)));
        Self::new(Dialect::Git, Case::Matters, texts).expect("a pattern of git's is never refused")
    }

    fn add(&mut self, text: &OsStr) -> Result<(), PatternError> {
        let (takes_back, bytes) = match text.as_bytes().strip_prefix(b"!") {
            Some(rest) => (true, rest),
            None => (false, text.as_bytes()),
        };
        let pattern = Pattern::new(OsStr::from_bytes(bytes), self.dialect, self.case)?;
        let number = u32::try_from(self.listed.len()).expect("patterns fit into memory");
        if pattern.start == Start::Anywhere {
            let list = if pattern.is_complete(1) { &mut self.short } else { &mut self.long };
            list.push(number);
        }
        self.listed.push(Listed { pattern, takes_back });
        self.texts.push(text.to_owned());
        Ok(())
    }

    /// Tells whether there are none.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// Returns the patterns as they were given.
    pub fn texts(&self) -> &[OsString] {
        &self.texts
    }

    /// Tells whether capital letters are the same as small ones.
    pub const fn case(&self) -> Case {
        self.case
    }

    /// Returns where the patterns stand in the directory that a leading slash means.
    pub fn start(&self) -> Progress {
        let mut progress = Progress::default();
        for (number, Listed { pattern, .. }) in (0..).zip(&self.listed) {
            if pattern.start == Start::Anywhere {
                continue;
            }
            if self.is_inherited() && pattern.is_complete(0) {
                progress.decided = Some(number);
            }
            pattern.reach(0, &mut |part| progress.active.push(At::new(number, part)));
        }
        progress
    }

    /// Returns where the patterns stand in a directory of the one that `progress` is about.
    pub fn enter(&self, progress: &Progress, name: &OsStr) -> Progress {
        let name = self.case.fold(name.as_bytes());
        let inherits = self.is_inherited();
        let decided =
            if inherits { self.last(progress, &name, EntryKind::Directory) } else { None };
        let mut active = Vec::new();
        let begun = self.long.iter().map(|number| At { pattern: *number, part: 0 });
        for at in progress.active.iter().copied().chain(begun) {
            let next = &mut |part| active.push(At::new(at.pattern, part));
            self.pattern(at.pattern).advance(at.part as usize, &name, next);
        }
        active.sort_unstable();
        active.dedup();
        Progress { decided, active }
    }

    /// Judges an entry of the directory that `progress` is about; nothing if no pattern matches it.
    pub fn judge(&self, progress: &Progress, name: &OsStr, kind: EntryKind) -> Option<Decision> {
        let name = self.case.fold(name.as_bytes());
        let last = self.last(progress, &name, kind)?;
        Some(if self.listed[last as usize].takes_back {
            Decision::TakenBack
        } else {
            Decision::Matches
        })
    }

    /// Judges what is at a path from where a leading slash means.
    pub fn judge_path(&self, path: &Path, kind: EntryKind) -> Option<Decision> {
        let (parent, name) = (path.parent()?, path.file_name()?);
        self.judge(&self.progress_to(parent), name, kind)
    }

    /// Tells whether something below a directory may match.
    pub fn may_match_below(&self, directory: &Path) -> bool {
        let adds = |number: &u32| !self.listed[*number as usize].takes_back;
        if self.short.iter().chain(&self.long).any(adds) {
            return true;
        }
        let progress = self.progress_to(directory);
        let active = progress.active.iter().map(|at| at.pattern);
        active.chain(progress.decided).any(|number| adds(&number))
    }

    /// Returns where the patterns stand in a directory.
    pub fn progress_to(&self, directory: &Path) -> Progress {
        let enter = |progress, name: &[u8]| self.enter(&progress, OsStr::from_bytes(name));
        names(directory).fold(self.start(), enter)
    }

    /// Tells whether what lies in a directory that matches does so too.
    fn is_inherited(&self) -> bool {
        self.dialect == Dialect::Restic
    }

    fn pattern(&self, number: u32) -> &Pattern {
        &self.listed[number as usize].pattern
    }

    /// Returns the last pattern that matches an entry.
    fn last(&self, progress: &Progress, name: &[u8], kind: EntryKind) -> Option<u32> {
        let completes = |number: u32, part: usize| {
            let pattern = self.pattern(number);
            (kind == EntryKind::Directory || !pattern.directories_only)
                && pattern.completes(part, name)
        };
        let short = self.short.iter().rev().copied();
        let mut short = short.take_while(|number| progress.decided < Some(*number));
        let last = short.find(|number| completes(*number, 0)).max(progress.decided);
        let begun = progress.active.iter().rev().take_while(|at| last < Some(at.pattern));
        let begun = begun.copied().find(|at| completes(at.pattern, at.part as usize));
        begun.map(|at| at.pattern).max(last)
    }
}

impl At {
    fn new(pattern: u32, part: usize) -> Self {
        Self { pattern, part: u32::try_from(part).expect("a pattern fits into memory") }
    }
}

/// Cuts off spaces at the end, but for one behind a backslash.
fn without_trailing_spaces(line: &[u8]) -> &[u8] {
    let mut end = 0;
    let mut bytes = line.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b' ' => {}
            b'\\' => {
                bytes.next();
                end = line.len().min(at + 2);
            }
            _ => end = at + 1,
        }
    }
    &line[..end]
}
