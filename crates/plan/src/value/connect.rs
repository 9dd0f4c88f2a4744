//! How to reach a PostgreSQL server: libpq's keywords or its URL, without a password.
//!
//! Only the shape is judged here; what the keywords mean is the PostgreSQL crate's business.

use std::fmt;
use std::str::FromStr;

use crate::value::text_value;

/// A connect string that holds no password.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConnectString(String);

/// A text is not a connect string, or holds a password. Neither message repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseConnectError {
    /// A password in it.
    #[error(
        "a password stands in the plan: remove it and write `password = {{ file = \"…\" }}` (or env, command, credential) beside it, or use a `.pgpass` file"
    )]
    Password,
    /// Neither form.
    #[error(
        "this is not how to reach a server: expected `host=… dbname=…`, `postgresql://user@host/dbname` or `service=…`"
    )]
    Malformed,
}

impl ConnectString {
    /// Returns it as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ConnectString {
    type Err = ParseConnectError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = ["postgresql://", "postgres://"].iter().find_map(|s| text.strip_prefix(s));
        match rest {
            Some(rest) => judge_url(rest)?,
            None => judge_keywords(text)?,
        }
        Ok(Self(text.to_owned()))
    }
}

fn is_password(keyword: &str) -> bool {
    matches!(keyword.trim().to_ascii_lowercase().as_str(), "password" | "sslpassword")
}

fn judge_url(rest: &str) -> Result<(), ParseConnectError> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = place.split('/').next().unwrap_or("");
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    let queried = query.split('&').any(|pair| is_password(pair.split('=').next().unwrap_or("")));
    if user.contains(':') || queried {
        return Err(ParseConnectError::Password);
    }
    Ok(())
}

/// Walks `key = value` pairs; a value may be quoted, with backslashes before quotes.
fn judge_keywords(text: &str) -> Result<(), ParseConnectError> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(ParseConnectError::Malformed);
    }
    while !rest.is_empty() {
        let (keyword, after) = rest.split_once('=').ok_or(ParseConnectError::Malformed)?;
        let keyword = keyword.trim();
        if is_password(keyword) {
            return Err(ParseConnectError::Password);
        }
        let known_shape = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if keyword.is_empty() || !keyword.chars().all(known_shape) {
            return Err(ParseConnectError::Malformed);
        }
        rest = after_value(after.trim_start()).ok_or(ParseConnectError::Malformed)?.trim_start();
    }
    Ok(())
}

/// Returns what follows the value that `text` begins with.
fn after_value(text: &str) -> Option<&str> {
    let quoted = text.strip_prefix('\'');
    let mut escaped = false;
    for (at, character) in quoted.unwrap_or(text).char_indices() {
        let ends = match quoted {
            Some(_) => character == '\'',
            None => character.is_whitespace(),
        };
        if ends && !escaped {
            return quoted.unwrap_or(text).get(at + character.len_utf8()..);
        }
        escaped = !escaped && character == '\\';
    }
    quoted.is_none().then_some("")
}

impl fmt::Display for ConnectString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

text_value! {
    ConnectString: "secret-in-plan", {
        "minLength": 1,
        "examples": ["host=/var/run/postgresql dbname=shop", "postgresql://user@host/shop"]
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_of_libpq_are_taken() {
        for good in [
            "host=/var/run/postgresql dbname=techit_db",
            "host = db  user='a b' options='-c x=\\'y\\''",
            "service=shop",
            "postgresql://shop@db:5432/shop?sslmode=require",
            "postgres:///shop",
        ] {
            assert!(good.parse::<ConnectString>().is_ok(), "{good}");
        }
    }

    #[test]
    fn passwords_are_refused_and_not_repeated() {
        for bad in [
            "host=db password=hunter2",
            "host=db PASSWORD = 'hunter2'",
            "postgres://shop:hunter2@db/shop",
            "postgres://db/shop?password=hunter2",
        ] {
            let error = bad.parse::<ConnectString>().unwrap_err();
            assert_eq!(error, ParseConnectError::Password);
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in ["", "shop", "host", "=x", "host='open", "mysql://db/shop"] {
            assert_eq!(bad.parse::<ConnectString>(), Err(ParseConnectError::Malformed), "{bad}");
        }
    }
}
