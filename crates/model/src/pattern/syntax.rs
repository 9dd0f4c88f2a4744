//! How patterns are written: as Go's `filepath.Match` reads a name, and as git reads a whole pattern.
//!
//! Sources: Go `path/filepath/match.go`; git `wildmatch.c`.

use super::glob::{Class, Token, Unit, symbol};

/// Why something is not a pattern.
pub(super) type Problem = &'static str;

const OPEN: Problem = "a `[` has no `]`";
const ESCAPE: Problem = "nothing follows the last `\\`";

/// What is left to be read.
struct Reader<'p> {
    rest: &'p [u8],
    unit: Unit,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.rest.get(ahead).copied()
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn takes(&mut self, wanted: u8) -> bool {
        let is_next = self.peek(0) == Some(wanted);
        if is_next {
            self.rest = &self.rest[1..];
        }
        is_next
    }

    fn symbol(&mut self, problem: Problem) -> Result<u32, Problem> {
        if self.rest.is_empty() {
            return Err(problem);
        }
        let (symbol, length) = symbol(self.rest, self.unit);
        self.rest = &self.rest[length..];
        Ok(symbol)
    }
}

/// Reads the pattern of one name as Go does.
pub(super) fn go(name: &[u8]) -> Result<Vec<Token>, Problem> {
    let mut reader = Reader { rest: name, unit: Unit::Character };
    let mut tokens = Vec::new();
    while let Some(byte) = reader.byte() {
        tokens.push(match byte {
            b'*' => Token::Many,
            b'?' => Token::One,
            b'[' => Token::Class(go_class(&mut reader)?),
            b'\\' => Token::Byte(reader.byte().ok_or(ESCAPE)?),
            byte => Token::Byte(byte),
        });
    }
    Ok(tokens)
}

/// Reads what follows a `[`.
fn go_class(reader: &mut Reader<'_>) -> Result<Class, Problem> {
    let negated = reader.takes(b'^');
    let mut ranges = Vec::new();
    while !reader.takes(b']') {
        let first = go_literal(reader)?;
        let last = if reader.takes(b'-') { go_literal(reader)? } else { first };
        if last < first {
            return Err("a range in `[]` ends before it begins");
        }
        ranges.push((first, last));
    }
    if ranges.is_empty() { Err("a `[]` is empty") } else { Ok(Class { negated, ranges }) }
}

fn go_literal(reader: &mut Reader<'_>) -> Result<u32, Problem> {
    if reader.takes(b'\\') {
        return reader.symbol(ESCAPE);
    }
    match reader.peek(0) {
        Some(b'-') => Err("a `-` in `[]` that is no range needs a `\\` before it"),
        Some(b']') | None => Err(OPEN),
        Some(_) => reader.symbol(OPEN),
    }
}

/// Reads a pattern of whole paths as git does: the signs between its slashes.
pub(super) fn git(pattern: &[u8], unit: Unit) -> Result<Vec<Vec<Token>>, Problem> {
    let mut reader = Reader { rest: pattern, unit };
    let (mut names, mut tokens) = (Vec::new(), Vec::new());
    while let Some(byte) = reader.byte() {
        let token = match byte {
            b'*' => Token::Many,
            b'?' => Token::One,
            b'[' => Token::Class(git_class(&mut reader)?),
            b'\\' => Token::Byte(reader.byte().ok_or(ESCAPE)?),
            byte => Token::Byte(byte),
        };
        if token == Token::Byte(b'/') {
            names.push(std::mem::take(&mut tokens));
        } else {
            tokens.push(token);
        }
    }
    names.push(tokens);
    Ok(names)
}

/// Reads what follows a `[`: a `]` that comes first is one of the symbols, and so is a `-` at an end.
fn git_class(reader: &mut Reader<'_>) -> Result<Class, Problem> {
    let negated = reader.takes(b'^') || reader.takes(b'!');
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    let mut before = None;
    loop {
        before = match reader.peek(0) {
            Some(b'-') if before.is_some() && !matches!(reader.peek(1), None | Some(b']')) => {
                reader.byte();
                ranges.extend(before.zip(Some(git_literal(reader)?)));
                None
            }
            Some(b'[') if reader.peek(1) == Some(b':') && closes_name(reader.rest) => {
                ranges.extend(named(reader)?);
                None
            }
            _ => {
                let symbol = git_literal(reader)?;
                ranges.push((symbol, symbol));
                Some(symbol)
            }
        };
        if reader.takes(b']') {
            return Ok(Class { negated, ranges });
        }
    }
}

fn git_literal(reader: &mut Reader<'_>) -> Result<u32, Problem> {
    reader.takes(b'\\');
    reader.symbol(OPEN)
}

/// Tells whether a `[:` has its `:]` before any other `]`.
fn closes_name(rest: &[u8]) -> bool {
    let end = rest.iter().position(|byte| *byte == b']');
    end.is_some_and(|end| end > 2 && rest[end - 1] == b':')
}

/// Reads a set with a name, like `[:alpha:]`.
fn named(reader: &mut Reader<'_>) -> Result<&'static [(u32, u32)], Problem> {
    let end = reader.rest.iter().position(|byte| *byte == b']').ok_or(OPEN)?;
    let (name, rest) = reader.rest.split_at(end + 1);
    reader.rest = rest;
    Ok(match &name[2..end - 1] {
        b"alnum" => &[(0x30, 0x39), (0x41, 0x5a), (0x61, 0x7a)],
        b"alpha" => &[(0x41, 0x5a), (0x61, 0x7a)],
        b"blank" => &[(0x09, 0x09), (0x20, 0x20)],
        b"cntrl" => &[(0x00, 0x1f), (0x7f, 0x7f)],
        b"digit" => &[(0x30, 0x39)],
        b"graph" => &[(0x21, 0x7e)],
        b"lower" => &[(0x61, 0x7a)],
        b"print" => &[(0x20, 0x7e)],
        b"punct" => &[(0x21, 0x2f), (0x3a, 0x40), (0x5b, 0x60), (0x7b, 0x7e)],
        b"space" => &[(0x09, 0x0d), (0x20, 0x20)],
        b"upper" => &[(0x41, 0x5a)],
        b"xdigit" => &[(0x30, 0x39), (0x41, 0x46), (0x61, 0x66)],
        _ => return Err("a set in `[: :]` has a name that nobody knows"),
    })
}
