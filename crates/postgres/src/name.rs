//! Names of databases, and how names and texts are written in SQL.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest name that PostgreSQL keeps, in bytes (`NAMEDATALEN` − 1).
pub const NAME_BYTES_MAX: usize = 63;

/// The name of a database, whatever characters it has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DatabaseName(String);

impl DatabaseName {
    /// Wraps a name.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// Returns the name as it is.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name as SQL wants it.
    pub fn quoted(&self) -> String {
        quote_identifier(&self.0)
    }

    /// Returns a name of this one and `suffix`, shortened at a character so that PostgreSQL keeps it.
    #[must_use]
    pub fn with_suffix(&self, suffix: &str) -> Self {
        let room = NAME_BYTES_MAX.saturating_sub(suffix.len());
        let end = (0..=room.min(self.0.len())).rev().find(|end| self.0.is_char_boundary(*end));
        Self(format!("{}{suffix}", &self.0[..end.unwrap_or(0)]))
    }
}

impl fmt::Display for DatabaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Writes an identifier for SQL.
pub(crate) fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Parts a name as SQL writes it, like `public."Order Items"`, into what it is made of; nothing if it is none.
///
/// What stands without quotes is folded to lower case, as the server does (PostgreSQL 4.1.1).
pub(crate) fn split_name(text: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = if let Some(quoted) = rest.strip_prefix('"') {
            take_quoted(quoted)?
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            let plain = &rest[..end];
            if plain.contains(['"', ' ']) {
                return None;
            }
            (plain.to_lowercase(), &rest[end..])
        };
        if part.is_empty() {
            return None;
        }
        parts.push(part);
        match after.strip_prefix('.') {
            Some(more) => rest = more,
            None => return after.is_empty().then_some(parts),
        }
    }
}

/// Takes what stands before the closing quote; two quotes are one.
fn take_quoted(text: &str) -> Option<(String, &str)> {
    let mut part = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('"')?;
        part.push_str(&rest[..end]);
        match rest[end + 1..].strip_prefix('"') {
            Some(more) => {
                part.push('"');
                rest = more;
            }
            None => return Some((part, &rest[end + 1..])),
        }
    }
}

/// Writes a text for SQL, whatever `standard_conforming_strings` says.
pub(crate) fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') {
        format!(" E'{}'", quoted.replace('\\', r"\\"))
    } else {
        format!("'{quoted}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(DatabaseName::new(r#"a"b"#).quoted(), r#""a""b""#);
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal(r"a\'b"), r" E'a\\''b'");
    }

    #[test]
    fn names_are_parted_as_sql_does() {
        let part = |text| split_name(text).unwrap_or_default();
        assert_eq!(part("Orders"), ["orders"]);
        assert_eq!(part("public.orders"), ["public", "orders"]);
        assert_eq!(part(r#"public."Order Items""#), ["public", "Order Items"]);
        assert_eq!(part(r#""a.b"."c""d""#), ["a.b", "c\"d"]);
        for wrong in ["", ".", "a.", ".a", r#""a"#, r#""a"b"#, r#"a"b"#, "a b", r#""""#] {
            assert_eq!(split_name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_long_name_is_cut_at_a_character() {
        let name = DatabaseName::new("ü".repeat(31));
        let cut = name.with_suffix("_before");
        assert!(cut.as_str().len() <= NAME_BYTES_MAX);
        assert_eq!(cut.as_str(), format!("{}_before", "ü".repeat(28)));
        assert_eq!(DatabaseName::new("shop").with_suffix("_x").as_str(), "shop_x");
    }
}
