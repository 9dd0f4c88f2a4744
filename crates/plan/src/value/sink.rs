//! A service of somebody else's, for which something stands in during a drill.

use std::fmt;
use std::str::FromStr;

use crate::value::text_value;

/// What a service takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SinkKind {
    /// Mails.
    Mail,
    /// Requests.
    Requests,
}

/// A service of somebody else's: what it takes, the name by which the platform calls it, and its port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SinkAddress {
    /// What it takes.
    pub kind: SinkKind,
    /// Its name, or its number.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// A text names no such service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` names no service to stand in for: expected `smtp://HOST`, `http://HOST`, with a port if need be"
)]
pub struct ParseSinkError {
    text: String,
}

impl SinkKind {
    const fn scheme(self) -> &'static str {
        match self {
            Self::Mail => "smtp",
            Self::Requests => "http",
        }
    }

    const fn usual_port(self) -> u16 {
        match self {
            Self::Mail => 25,
            Self::Requests => 80,
        }
    }
}

impl FromStr for SinkAddress {
    type Err = ParseSinkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseSinkError { text: text.to_owned() };
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let kind = [SinkKind::Mail, SinkKind::Requests].into_iter().find(|k| k.scheme() == scheme);
        let kind = kind.ok_or_else(wrong)?;
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
            None => (rest, kind.usual_port()),
        };
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
        if host.is_empty() || !host.chars().all(is_name) {
            return Err(wrong());
        }
        Ok(Self { kind, host: host.to_owned(), port })
    }
}

impl fmt::Display for SinkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.kind.scheme(), self.host, self.port)
    }
}

text_value! {
    SinkAddress: "bad-address", { "pattern": "^(smtp|http)://" };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_named_by_what_they_take_and_where_they_are() {
        let mail: SinkAddress = "smtp://mail.example.org".parse().unwrap();
        assert_eq!((mail.kind, mail.port), (SinkKind::Mail, 25));
        let hook: SinkAddress = "http://hooks.example.org:8080".parse().unwrap();
        assert_eq!(hook.to_string(), "http://hooks.example.org:8080");
        for bad in ["", "mail", "smtps://mail", "smtp://", "http://a/b", "http://a:x"] {
            assert!(bad.parse::<SinkAddress>().is_err(), "{bad}");
        }
    }
}
