//! What one name looks like: plain bytes, a beginning, an ending, or signs that stand for others.

/// What `?` and `[]` take at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// A character; a byte that is not UTF-8 is one of its own.
    Character,
    /// A byte, as git has it.
    Byte,
}

/// A sign of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// This byte.
    Byte(u8),
    /// Any one unit.
    One,
    /// Any number of bytes.
    Many,
    /// One unit inside, or outside, of these ranges.
    Class(Class),
}

/// What stands between `[` and `]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) negated: bool,
    pub(super) ranges: Vec<(u32, u32)>,
}

impl Class {
    fn takes(&self, symbol: u32) -> bool {
        let inside = self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&symbol));
        inside != self.negated
    }
}

/// What one name looks like; the usual shapes need no search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Glob {
    /// Nothing looks like it.
    Never,
    /// Everything does.
    Any,
    /// These bytes.
    Exact(Box<[u8]>),
    /// These bytes and anything behind them.
    Begins(Box<[u8]>),
    /// Anything and these bytes behind it.
    Ends(Box<[u8]>),
    /// Whatever the signs take.
    Signs(Box<[Token]>, Unit),
}

impl Glob {
    pub(super) fn new(mut tokens: Vec<Token>, unit: Unit) -> Self {
        tokens.dedup_by(|a, b| (&*a, &*b) == (&Token::Many, &Token::Many));
        let shape = match tokens.as_slice() {
            [Token::Many] => Some(Self::Any),
            [Token::Many, rest @ ..] => plain(rest).map(Self::Ends),
            [rest @ .., Token::Many] => plain(rest).map(Self::Begins),
            all => plain(all).map(Self::Exact),
        };
        shape.unwrap_or_else(|| Self::Signs(tokens.into(), unit))
    }

    pub(super) fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Never => false,
            Self::Any => true,
            Self::Exact(bytes) => **bytes == *name,
            Self::Begins(bytes) => name.starts_with(bytes),
            Self::Ends(bytes) => name.ends_with(bytes),
            Self::Signs(tokens, unit) => is_like(name, tokens, *unit),
        }
    }
}

fn plain(tokens: &[Token]) -> Option<Box<[u8]>> {
    let byte = |token: &Token| if let Token::Byte(byte) = token { Some(*byte) } else { None };
    tokens.iter().map(byte).collect()
}

/// Tells whether the signs take all of a name; a `*` gives way one byte at a time.
fn is_like(name: &[u8], tokens: &[Token], unit: Unit) -> bool {
    let (mut at, mut token) = (0, 0);
    let mut last_many = None;
    while at < name.len() {
        if tokens.get(token) == Some(&Token::Many) {
            last_many = Some((token, at));
            token += 1;
        } else if let Some(length) = tokens.get(token).and_then(|one| takes(one, &name[at..], unit))
        {
            at += length;
            token += 1;
        } else {
            let Some((many, from)) = last_many else { return false };
            last_many = Some((many, from + 1));
            at = from + 1;
            token = many + 1;
        }
    }
    tokens[token..].iter().all(|token| *token == Token::Many)
}

/// Returns how many bytes a sign takes of those that are left, of which there is one at least.
fn takes(token: &Token, rest: &[u8], unit: Unit) -> Option<usize> {
    match token {
        Token::Byte(byte) => (rest[0] == *byte).then_some(1),
        Token::Many => None,
        Token::One => Some(symbol(rest, unit).1),
        Token::Class(class) => {
            let (symbol, length) = symbol(rest, unit);
            class.takes(symbol).then_some(length)
        }
    }
}

/// Returns the first symbol of some bytes, and how many of them it is.
pub(super) fn symbol(bytes: &[u8], unit: Unit) -> (u32, usize) {
    let first = u32::from(bytes[0]);
    if unit == Unit::Byte || bytes[0].is_ascii() {
        return (first, 1);
    }
    // A character is at most four bytes long.
    let mut lengths = 2..=bytes.len().min(4);
    let text = lengths.find_map(|length| str::from_utf8(&bytes[..length]).ok());
    let character = text.and_then(|text| text.chars().next());
    character.map_or((u32::from(char::REPLACEMENT_CHARACTER), 1), |character| {
        (u32::from(character), character.len_utf8())
    })
}
