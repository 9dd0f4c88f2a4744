//! Patterns for paths, with restic's rules: what `find` looks for and what is chosen by name.
//!
//! - `*.jpg` is any name like that at any depth, and everything below one that is a directory.
//! - `media/*.jpg` is any path in which these names follow each other.
//! - A leading slash binds a pattern to the root.
//! - `*` and `?` stop at a slash, `[a-f]` and `[^a-f]` are one character, `\` takes the meaning off
//!   the next one. `**` stands for any number of directories.
//!
//! Paths need not be text: a byte that is not UTF-8 is a character of its own.
//!
//! Sources: restic `internal/filter/filter.go`; Go `path/filepath/match.go`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

/// A pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is not a pattern: {problem}")]
pub struct PatternError {
    pattern: String,
    problem: &'static str,
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

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    case: Case,
    start: Start,
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
    Name(Vec<Token>),
    /// Any number of names.
    AnyDepth,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    One(Symbol),
    Any,
    Many,
    Class { negated: bool, ranges: Vec<(Symbol, Symbol)> },
}

/// A character, or a byte that belongs to none, above all characters.
type Symbol = u32;

/// Where bytes that are not UTF-8 begin.
const RAW: Symbol = 0x11_0000;

impl Pattern {
    /// Compiles a pattern.
    pub fn new(pattern: &OsStr, case: Case) -> Result<Self, PatternError> {
        let failed = |problem| PatternError { pattern: pattern.to_string_lossy().into(), problem };
        let bytes = pattern.as_bytes();
        let start = if bytes.starts_with(b"/") { Start::AtRoot } else { Start::Anywhere };
        let parts = bytes.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
        let parts: Vec<Part> = parts
            .map(|part| match part {
                b"**" => Ok(Part::AnyDepth),
                name => tokens(&symbols(name, case)).map(Part::Name).map_err(failed),
            })
            .collect::<Result<_, _>>()?;
        if parts.is_empty() && start == Start::Anywhere {
            return Err(failed("it is empty"));
        }
        Ok(Self { case, start, parts })
    }

    /// Tells whether it matches a path, or a directory that the path lies in.
    pub fn matches(&self, path: &Path) -> bool {
        let names = self.names(path);
        match self.start {
            Start::AtRoot => begins(&self.parts, &names),
            Start::Anywhere => (0..names.len()).any(|begin| begins(&self.parts, &names[begin..])),
        }
    }

    /// Tells whether it may match something below a directory.
    pub fn may_match_below(&self, directory: &Path) -> bool {
        self.start == Start::Anywhere || may_go_on(&self.parts, &self.names(directory))
    }

    fn names(&self, path: &Path) -> Vec<Vec<Symbol>> {
        let name = |component| match component {
            Component::Normal(name) => Some(symbols(name.as_bytes(), self.case)),
            _ => None,
        };
        path.components().filter_map(name).collect()
    }
}

/// Tells whether the parts match the first of the names.
fn begins(parts: &[Part], names: &[Vec<Symbol>]) -> bool {
    match parts.split_first() {
        None => true,
        Some((Part::AnyDepth, rest)) => {
            (0..=names.len()).any(|skipped| begins(rest, &names[skipped..]))
        }
        Some((Part::Name(tokens), rest)) => names
            .split_first()
            .is_some_and(|(name, names)| is_like(name, tokens) && begins(rest, names)),
    }
}

/// Tells whether the parts match more names than there are so far.
fn may_go_on(parts: &[Part], names: &[Vec<Symbol>]) -> bool {
    match (parts.split_first(), names.split_first()) {
        (None | Some((Part::AnyDepth, _)), _) | (_, None) => true,
        (Some((Part::Name(tokens), parts)), Some((name, names))) => {
            is_like(name, tokens) && may_go_on(parts, names)
        }
    }
}

/// Tells whether a name is like the tokens; a `*` gives way one character at a time.
fn is_like(name: &[Symbol], tokens: &[Token]) -> bool {
    let (mut at, mut token) = (0, 0);
    let mut last_many = None;
    while at < name.len() {
        match tokens.get(token) {
            Some(Token::Many) => {
                last_many = Some((token, at));
                token += 1;
            }
            Some(one) if one.takes(name[at]) => {
                at += 1;
                token += 1;
            }
            _ => {
                let Some((many, from)) = last_many else { return false };
                last_many = Some((many, from + 1));
                at = from + 1;
                token = many + 1;
            }
        }
    }
    tokens[token..].iter().all(|token| *token == Token::Many)
}

impl Token {
    fn takes(&self, symbol: Symbol) -> bool {
        match self {
            Self::One(own) => *own == symbol,
            Self::Any => true,
            Self::Many => false,
            Self::Class { negated, ranges } => {
                let inside = ranges.iter().any(|(first, last)| (first..=last).contains(&&symbol));
                inside != *negated
            }
        }
    }
}

fn symbols(bytes: &[u8], case: Case) -> Vec<Symbol> {
    let mut symbols = Vec::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        match case {
            Case::Matters => symbols.extend(chunk.valid().chars().map(Symbol::from)),
            Case::Ignored => {
                symbols
                    .extend(chunk.valid().chars().flat_map(char::to_lowercase).map(Symbol::from));
            }
        }
        symbols.extend(chunk.invalid().iter().map(|byte| RAW + Symbol::from(*byte)));
    }
    symbols
}

fn tokens(symbols: &[Symbol]) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    let mut rest = symbols.iter().copied();
    while let Some(symbol) = rest.next() {
        let token = match char::from_u32(symbol) {
            Some('*') if tokens.last() == Some(&Token::Many) => continue,
            Some('*') => Token::Many,
            Some('?') => Token::Any,
            Some('[') => class(&mut rest)?,
            Some('\\') => Token::One(rest.next().ok_or("nothing follows the last `\\`")?),
            _ => Token::One(symbol),
        };
        tokens.push(token);
    }
    Ok(tokens)
}

/// Reads what follows a `[`.
fn class(rest: &mut impl Iterator<Item = Symbol>) -> Result<Token, &'static str> {
    const OPEN: &str = "a `[` has no `]`";
    let mut rest = rest.peekable();
    let negated = rest.next_if_eq(&u32::from('^')).is_some();
    let mut ranges = Vec::new();
    loop {
        let symbol = rest.next().ok_or(OPEN)?;
        if symbol == u32::from(']') {
            break;
        }
        let first = literal(symbol, &mut rest)?;
        let last = if rest.next_if_eq(&u32::from('-')).is_some() {
            let symbol = rest.next().filter(|symbol| *symbol != u32::from(']')).ok_or(OPEN)?;
            literal(symbol, &mut rest)?
        } else {
            first
        };
        if last < first {
            return Err("a range in `[]` ends before it begins");
        }
        ranges.push((first, last));
    }
    if ranges.is_empty() { Err("a `[]` is empty") } else { Ok(Token::Class { negated, ranges }) }
}

fn literal(
    symbol: Symbol,
    rest: &mut impl Iterator<Item = Symbol>,
) -> Result<Symbol, &'static str> {
    if symbol == u32::from('\\') {
        return rest.next().ok_or("nothing follows the last `\\`");
    }
    if symbol == u32::from('-') {
        return Err("a `-` in `[]` that is no range needs a `\\` before it");
    }
    Ok(symbol)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(OsStr::new(text), Case::Matters).unwrap()
    }

    #[test]
    fn paths_match_as_in_restic() {
        for (text, path, matches) in [
            ("foo", "/foo", true),
            ("foo", "/a/foo", true),
            ("foo", "/a/foo/bar", true),
            ("foo", "/a/food", false),
            ("*.jpg", "/a/b.jpg", true),
            ("*.jpg", "/a/b.jpg.txt", false),
            ("a/*.jpg", "/x/a/b.jpg", true),
            ("a/*.jpg", "/a/x/b.jpg", false),
            ("/a/*.jpg", "/a/b.jpg", true),
            ("/a/*.jpg", "/x/a/b.jpg", false),
            ("/", "/anything", true),
            ("/a/**/c", "/a/c", true),
            ("/a/**/c", "/a/b/b/c/d", true),
            ("/a/**/c", "/b/a/c", false),
            ("a/**", "/x/a", true),
            ("b?r", "/bär", true),
            ("b?r", "/br", false),
            ("[a-c]x", "/bx", true),
            ("[a-c]x", "/dx", false),
            ("[^a-c]x", "/dx", true),
            ("[abc]", "/b", true),
            ("x[-]y", "/x-y", false),
            ("a*b*c", "/aXbXbXc", true),
            ("a*b*c", "/aXbXbX", false),
            ("\\*", "/*", true),
            ("\\*", "/a", false),
            ("", "/", false),
        ] {
            let Ok(compiled) = Pattern::new(OsStr::new(text), Case::Matters) else {
                assert!(!matches, "{text}");
                continue;
            };
            assert_eq!(compiled.matches(Path::new(path)), matches, "{text} {path}");
        }
    }

    #[test]
    fn only_directories_that_may_hold_a_match_are_entered() {
        for (text, directory, may) in [
            ("foo", "/anything", true),
            ("/a/b/c", "/a", true),
            ("/a/b/c", "/a/b", true),
            ("/a/b/c", "/a/x", false),
            ("/a/b", "/a/b/c", true),
            ("/a/**/c", "/a/x/y", true),
            ("/a/**/c", "/b", false),
            ("/a/*/c", "/a/x", true),
        ] {
            assert_eq!(pattern(text).may_match_below(Path::new(directory)), may, "{text}");
        }
    }

    #[test]
    fn case_can_be_ignored_and_names_need_not_be_text() {
        let ignoring = Pattern::new(OsStr::new("ÄB*"), Case::Ignored).unwrap();
        assert!(ignoring.matches(Path::new("/x/äBc")));
        assert!(!pattern("ab").matches(Path::new("/AB")));
        let raw = Path::new(OsStr::from_bytes(b"/a\xff.txt"));
        assert!(pattern("a?.txt").matches(raw));
        let exact = Pattern::new(OsStr::from_bytes(b"a\xff*"), Case::Matters).unwrap();
        assert!(exact.matches(raw));
        assert!(!exact.matches(Path::new("/aÿ.txt")));
    }

    #[test]
    fn broken_patterns_are_named() {
        for (text, problem) in [
            ("[a", "no `]`"),
            ("[]", "empty"),
            ("[b-a]", "before it begins"),
            ("a\\", "follows"),
            ("", "empty"),
        ] {
            let error = Pattern::new(OsStr::new(text), Case::Matters).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
