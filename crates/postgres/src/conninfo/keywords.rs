//! `keyword = value` pairs, as libpq reads them.

use super::{Parameters, wrong};
use crate::error::PostgresError;

/// The keywords that libpq 17 knows, less those that are refused.
const KNOWN: [&str; 39] = [
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "options",
    "passfile",
    "password",
    "port",
    "require_auth",
    "requirepeer",
    "service",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// Keywords that are known and not taken, with the reason.
const REFUSED: [(&str, &str); 4] = [
    ("sslpassword", "a program's arguments can be seen by everybody; use a key without a password"),
    ("scram_client_key", "a program's arguments can be seen by everybody; use a password"),
    ("scram_server_key", "a program's arguments can be seen by everybody; use a password"),
    ("replication", "dumps need an ordinary connection"),
];

/// Refuses keywords that libpq does not know, since a typo would silently connect elsewhere.
pub(super) fn check(parameters: &Parameters) -> Result<(), PostgresError> {
    for keyword in parameters.keys() {
        if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| refused == keyword) {
            return Err(wrong(format!("`{keyword}` is not taken: {reason}")));
        }
        if !KNOWN.contains(&keyword.as_str()) {
            return Err(wrong(format!("libpq knows no keyword `{keyword}`")));
        }
    }
    Ok(())
}

/// Parses `keyword = value` pairs; a value with spaces stands in single quotes.
pub(super) fn parse(text: &str) -> Result<Parameters, PostgresError> {
    let mut parameters = Parameters::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (keyword, after) = rest.split_once('=').ok_or_else(|| {
            wrong("expected `keyword=value` pairs, a URL `postgresql://…` or `service=…`")
        })?;
        let keyword = keyword.trim_end();
        if keyword.is_empty() || keyword.contains(|c: char| !(c.is_ascii_lowercase() || c == '_')) {
            return Err(wrong("a keyword must stand before each `=`, in lower-case letters"));
        }
        let (value, after) = value(after.trim_start(), keyword)?;
        parameters.insert(keyword.to_owned(), value);
        rest = after.trim_start();
    }
    Ok(parameters)
}

/// Reads one value and returns it with what follows.
fn value<'a>(text: &'a str, keyword: &str) -> Result<(String, &'a str), PostgresError> {
    let quoted = text.starts_with('\'');
    let body = if quoted { &text[1..] } else { text };
    let mut value = String::new();
    let mut characters = body.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((value, &body[at + 1..])),
            c if c.is_whitespace() && !quoted => return Ok((value, &body[at..])),
            c => value.push(c),
        }
    }
    if quoted {
        return Err(wrong(format!("the quote of `{keyword}` is not closed")));
    }
    Ok((value, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_be_quoted_or_escaped() {
        let parsed = parse(r"host = a user='b c' dbname=d\ e options='' port=1").unwrap();
        let pairs: Vec<_> = parsed.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            pairs,
            [("dbname", "d e"), ("host", "a"), ("options", ""), ("port", "1"), ("user", "b c")]
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["shop", "=x", "host='a", "a b=c", "HOST=a"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        for bad in ["pasword=x", "sslpassword=x", "replication=true"] {
            assert!(check(&parse(bad).unwrap()).is_err(), "{bad}");
        }
    }
}
