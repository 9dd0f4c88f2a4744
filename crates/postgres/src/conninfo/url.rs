//! `postgresql://role:password@host:port,host:port/database?keyword=value`.

use super::{Parameters, wrong};
use crate::error::PostgresError;

const SCHEMES: [&str; 2] = ["postgresql://", "postgres://"];

fn after_scheme(text: &str) -> Option<&str> {
    SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme))
}

/// Tells whether the text is a URL of PostgreSQL's.
pub(super) fn is_url(text: &str) -> bool {
    after_scheme(text).is_some()
}

/// Parses such a URL.
pub(super) fn parse(text: &str) -> Result<Parameters, PostgresError> {
    let rest = after_scheme(text).ok_or_else(|| wrong("expected `postgresql://…`"))?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (role, places) = authority.rsplit_once('@').unwrap_or(("", authority));
    let mut parameters = Parameters::new();
    let mut set = |keyword: &str, value: &str| -> Result<(), PostgresError> {
        if !value.is_empty() {
            parameters.insert(keyword.to_owned(), decode(value)?);
        }
        Ok(())
    };
    let (role, password) = role.split_once(':').unwrap_or((role, ""));
    set("user", role)?;
    set("password", password)?;
    set("dbname", database)?;
    let (hosts, ports) = split_places(places)?;
    set("host", &hosts)?;
    set("port", &ports)?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (keyword, value) =
            pair.split_once('=').ok_or_else(|| wrong("expected `keyword=value` after `?`"))?;
        set(keyword, value)?;
    }
    Ok(parameters)
}

/// Parts `host:port,host:port` into all hosts and all ports.
fn split_places(places: &str) -> Result<(String, String), PostgresError> {
    let mut hosts = Vec::new();
    let mut ports = Vec::new();
    for place in places.split(',') {
        let (host, port) = if let Some(bracketed) = place.strip_prefix('[') {
            let (host, after) = bracketed
                .split_once(']')
                .ok_or_else(|| wrong("the `[` of an IPv6 address is not closed"))?;
            (host, after.strip_prefix(':').unwrap_or(""))
        } else {
            place.rsplit_once(':').unwrap_or((place, ""))
        };
        if port.bytes().any(|b| !b.is_ascii_digit()) {
            return Err(wrong("a port must be a number"));
        }
        hosts.push(host);
        ports.push(port);
    }
    let ports = if ports.iter().all(|port| port.is_empty()) {
        String::new()
    } else {
        let filled =
            ports.iter().map(|port| if port.is_empty() { super::DEFAULT_PORT } else { port });
        filled.collect::<Vec<_>>().join(",")
    };
    Ok((hosts.join(","), ports))
}

/// Replaces `%2F` and the like.
fn decode(text: &str) -> Result<String, PostgresError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        if *byte == b'%' {
            let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
            let value = digits.filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
            let value = value.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            bytes.push(value.ok_or_else(|| wrong("`%` must be followed by two hex digits"))?);
            rest = &after[2..];
        } else {
            bytes.push(*byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).map_err(|_| wrong("the URL is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let parsed = parse("postgres://a%40b:p%3Aw@[::1]:5433,h2/d%20b?sslmode=disable").unwrap();
        let pairs: Vec<_> = parsed.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            pairs,
            [
                ("dbname", "d b"),
                ("host", "::1,h2"),
                ("password", "p:w"),
                ("port", "5433,5432"),
                ("sslmode", "disable"),
                ("user", "a@b"),
            ]
        );
        assert!(parse("postgresql://").unwrap().is_empty());
    }

    #[test]
    fn broken_urls_are_refused() {
        for bad in ["postgres://h:port/", "postgres://[::1/", "postgres:///%2", "postgres:///d?x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
