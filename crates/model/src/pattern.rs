//! Patterns for paths: what names of files look like, in the dialects of those who write them.
//!
//! | | restic's | git's | the plan's |
//! |---|---|---|---|
//! | `*.jpg` | any name like that, at any depth | so too | so too |
//! | `media/*.jpg` | names that follow each other, at any depth | from the directory of the file | at any depth |
//! | `/media` | from the root | from the directory of the file | from the root |
//! | `tmp/` | like `tmp` | directories alone | directories alone |
//! | `a/**` | `a` too | what is in `a` | what is in `a` |
//! | what lies in what matches | matches | lies in a directory that is left out | so too |
//! | a broken pattern | is refused | matches nothing | is refused |
//!
//! In all of them `*` and `?` stop at a slash, `**` between slashes stands for any number of
//! directories, `[a-f]` is one character, `\` takes the meaning off the next one, and of a list
//! ([`Patterns`]) the last pattern that matches decides, which one that begins with `!` takes back.
//!
//! Paths need not be text: a byte that is not UTF-8 is a character of its own; for git every byte is.
//!
//! Sources: restic `internal/filter/filter.go`; Go `path/filepath/match.go`; gitignore(5), git
//! `dir.c` and `wildmatch.c`.

mod glob;
mod list;
mod syntax;

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use glob::{Glob, Token, Unit};
use syntax::Problem;

pub use list::{Decision, Patterns, Progress};

/// A pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is not a pattern: {problem}")]
pub struct PatternError {
    pattern: String,
    problem: Problem,
}

impl PatternError {
    /// Returns what is wrong with the pattern.
    pub const fn problem(&self) -> &'static str {
        self.problem
    }
}

/// Who wrote a pattern, and so what it means; the table above has the differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// restic's: `--exclude` and files of patterns.
    Restic,
    /// git's: `.gitignore`.
    Git,
    /// The plan's: `exclude`.
    Plan,
}

/// Whether capital letters are the same as small ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Case {
    /// They are not.
    #[default]
    Matters,
    /// They are.
    Ignored,
}

impl Case {
    /// Makes capital letters small, if they are the same.
    fn fold(self, bytes: &[u8]) -> Cow<'_, [u8]> {
        if self == Self::Matters || !bytes.iter().any(|b| b.is_ascii_uppercase() || !b.is_ascii()) {
            return Cow::Borrowed(bytes);
        }
        let mut folded = Vec::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            // Of the one capital letter that becomes two small ones, Go takes the first.
            let small = chunk.valid().chars().filter_map(|c| c.to_lowercase().next());
            folded.extend_from_slice(small.collect::<String>().as_bytes());
            folded.extend_from_slice(chunk.invalid());
        }
        Cow::Owned(folded)
    }
}

/// What a pattern can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// Anything else.
    Other,
}

/// A compiled pattern; see [`Patterns`] for a list of which some take back what others match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    case: Case,
    start: Start,
    directories_only: bool,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    AtRoot,
    Anywhere,
}

/// What stands between two slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// A name.
    Name(Glob),
    /// Any number of names.
    AnyDepth,
}

impl Pattern {
    /// Compiles a pattern; a `!` at its beginning means itself.
    pub fn new(text: &OsStr, dialect: Dialect, case: Case) -> Result<Self, PatternError> {
        Self::compile(text.as_bytes(), dialect, case)
            .map_err(|problem| PatternError { pattern: text.to_string_lossy().into(), problem })
    }

    fn compile(text: &[u8], dialect: Dialect, case: Case) -> Result<Self, Problem> {
        let folded = case.fold(text);
        let (text, directories_only) = match folded.strip_suffix(b"/") {
            Some(rest) if dialect != Dialect::Restic => (rest, true),
            _ => (&*folded, false),
        };
        let (start, parts) = match dialect {
            Dialect::Restic => restic(text)?,
            Dialect::Plan => plan(text)?,
            Dialect::Git => git(text),
        };
        let (start, parts) = simplified(start, parts);
        Ok(Self { case, start, directories_only, parts })
    }

    /// Tells whether it matches a path, or a directory that the path lies in.
    pub fn matches(&self, path: &Path) -> bool {
        self.walk(path).is_none()
    }

    /// Tells whether it may match something below a directory.
    pub fn may_match_below(&self, directory: &Path) -> bool {
        self.start == Start::Anywhere
            || self.walk(directory).is_none_or(|active| !active.is_empty())
    }

    /// Goes along a path; returns the parts that may come next, or nothing if it matched on the way.
    fn walk(&self, path: &Path) -> Option<Vec<usize>> {
        let mut active = Vec::new();
        if self.start == Start::AtRoot {
            if self.is_complete(0) {
                return None;
            }
            self.reach(0, &mut |part| active.push(part));
        }
        for name in names(path) {
            let name = self.case.fold(name);
            let mut next = Vec::new();
            let anywhere = (self.start == Start::Anywhere).then_some(0);
            for part in active.iter().copied().chain(anywhere) {
                if self.completes(part, &name) {
                    return None;
                }
                self.advance(part, &name, &mut |part| next.push(part));
            }
            next.sort_unstable();
            next.dedup();
            active = next;
        }
        Some(active)
    }

    /// Tells whether nothing needs to follow the parts before this one.
    fn is_complete(&self, part: usize) -> bool {
        matches!(self.parts.get(part..), Some([] | [Part::AnyDepth]))
    }

    /// Tells whether a name that stands for this part ends the pattern.
    fn completes(&self, part: usize, name: &[u8]) -> bool {
        match &self.parts[part] {
            Part::Name(glob) => self.is_complete(part + 1) && glob.matches(name),
            Part::AnyDepth => self.is_complete(part),
        }
    }

    /// Names the parts that may follow once a name stood for this one.
    fn advance(&self, part: usize, name: &[u8], next: &mut impl FnMut(usize)) {
        match &self.parts[part] {
            Part::Name(glob) if !glob.matches(name) => {}
            Part::Name(_) => self.reach(part + 1, next),
            Part::AnyDepth => self.reach(part, next),
        }
    }

    /// Names a part, and the one behind it if this one may stand for no name at all.
    fn reach(&self, part: usize, next: &mut impl FnMut(usize)) {
        if part < self.parts.len() {
            next(part);
        }
        if self.parts.get(part) == Some(&Part::AnyDepth) && part + 1 < self.parts.len() {
            next(part + 1);
        }
    }
}

fn names(path: &Path) -> impl Iterator<Item = &[u8]> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.as_bytes()),
        _ => None,
    })
}

/// Reads a pattern of restic's, which is cleaned like a path before.
fn restic(text: &[u8]) -> Result<(Start, Vec<Part>), Problem> {
    if text.is_empty() {
        return Err("it is empty");
    }
    let start = if text.starts_with(b"/") { Start::AtRoot } else { Start::Anywhere };
    let mut clean: Vec<&[u8]> = Vec::new();
    for name in text.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")) {
        match (name, clean.last()) {
            (b"..", Some(last)) if *last != b".." => _ = clean.pop(),
            (b"..", _) if start == Start::AtRoot => {}
            _ => clean.push(name),
        }
    }
    if clean.is_empty() && start == Start::Anywhere {
        clean.push(b".");
    }
    let part = |name: &&[u8]| match *name {
        b"**" => Ok(Part::AnyDepth),
        name => Ok(Part::Name(Glob::new(syntax::go(name)?, Unit::Character))),
    };
    Ok((start, clean.iter().map(part).collect::<Result<_, Problem>>()?))
}

/// Reads a pattern of the plan's.
fn plan(text: &[u8]) -> Result<(Start, Vec<Part>), Problem> {
    if text.iter().all(|byte| *byte == b'/') {
        return Err("it matches nothing but the root, or nothing at all");
    }
    let mut names = syntax::git(text, Unit::Character)?;
    if has_plain_brace(text) {
        return Err("`{` has no meaning here; give a pattern for each alternative, or write `\\{`");
    }
    let start = if text.starts_with(b"/") { Start::AtRoot } else { Start::Anywhere };
    names.retain(|tokens| !tokens.is_empty() && *tokens != [Token::Byte(b'.')]);
    Ok((start, parts(names, Unit::Character)))
}

fn has_plain_brace(text: &[u8]) -> bool {
    let mut escaped = false;
    text.iter().any(|byte| {
        let found = *byte == b'{' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        found
    })
}

/// Reads a pattern of git's; a broken one matches nothing.
fn git(text: &[u8]) -> (Start, Vec<Part>) {
    let start = if text.contains(&b'/') { Start::AtRoot } else { Start::Anywhere };
    let Ok(mut names) = syntax::git(text, Unit::Byte) else {
        return (start, vec![Part::Name(Glob::Never)]);
    };
    if names.len() > 1 && names[0].is_empty() {
        names.remove(0);
    }
    (start, parts(names, Unit::Byte))
}

/// Takes `**` for any number of directories; at the end there has to be one name at least.
fn parts(names: Vec<Vec<Token>>, unit: Unit) -> Vec<Part> {
    let is_deep = |tokens: &[Token]| tokens.len() > 1 && tokens.iter().all(|t| *t == Token::Many);
    let ends_deep = names.last().is_some_and(|tokens| is_deep(tokens));
    let mut parts: Vec<Part> = names
        .into_iter()
        .map(|tokens| match tokens {
            tokens if is_deep(&tokens) => Part::AnyDepth,
            tokens => Part::Name(Glob::new(tokens, unit)),
        })
        .collect();
    if ends_deep {
        parts.insert(parts.len() - 1, Part::Name(Glob::Any));
    }
    parts
}

/// Says the same with fewer parts, so that a `**` at the beginning is a pattern that begins anywhere.
fn simplified(mut start: Start, mut parts: Vec<Part>) -> (Start, Vec<Part>) {
    parts.dedup_by(|a, b| (&*a, &*b) == (&Part::AnyDepth, &Part::AnyDepth));
    if parts.first() == Some(&Part::AnyDepth) {
        parts.remove(0);
        start = Start::Anywhere;
    }
    if parts.is_empty() && start == Start::Anywhere {
        parts.push(Part::Name(Glob::Any));
    }
    (start, parts)
}

#[cfg(test)]
mod tests;
