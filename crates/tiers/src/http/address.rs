//! Which addresses a store, its containers and its objects have.

use http::Uri;
use lifeboat_model::Hint;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::ObjectPrefix;

/// What signatures want unescaped, everything else escaped.
///
/// Source: Amazon S3 API Reference, "Signature Calculations for the Authorization Header", `UriEncode`;
/// Azure takes whatever stands in the address, as it stands there.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

const ESCAPED_IN_KEYS: &AsciiSet = &ESCAPED.remove(b'/');

/// Where an endpoint stands that no variable holds.
pub(crate) const PLANNED: &str = "`endpoint`";

/// An endpoint is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{told_by} says `{endpoint}`, which is not the address of a store")]
pub struct ParseEndpointError {
    endpoint: String,
    /// Where it stands: a variable or a setting.
    told_by: &'static str,
}

impl ParseEndpointError {
    /// Says where the endpoint stands.
    pub(crate) const fn told_by(mut self, place: &'static str) -> Self {
        self.told_by = place;
        self
    }

    /// Returns what to write instead.
    pub(crate) fn hint(&self) -> Hint {
        Hint::new(format!(
            "write {} like https://HOST or http://HOST:PORT, or leave it out for the vendor's own",
            self.told_by
        ))
    }
}

/// Where a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endpoint<'e> {
    /// `https` or `http`.
    pub(crate) scheme: &'e str,
    /// The host, with whatever stands behind it, but without a slash at the end.
    pub(crate) host: &'e str,
}

impl<'e> Endpoint<'e> {
    /// Reads an endpoint.
    ///
    /// Without a scheme it is spoken to encrypted; `http://` has to be written out.
    pub(crate) fn parse(text: &'e str) -> Result<Self, ParseEndpointError> {
        let bad = || ParseEndpointError { endpoint: text.to_owned(), told_by: PLANNED };
        let (scheme, host) = text.split_once("://").unwrap_or(("https", text));
        let host = host.trim_end_matches('/');
        if !matches!(scheme, "https" | "http") || host.contains(['@', '?', '#']) {
            return Err(bad());
        }
        let address = format!("{scheme}://{host}/");
        address.parse::<Uri>().ok().filter(|uri| uri.host().is_some()).ok_or_else(bad)?;
        Ok(Self { scheme, host })
    }

    /// Returns the name or address of its host, without a port.
    pub(crate) fn host_name(self) -> Option<String> {
        let uri = format!("{}://{}/", self.scheme, self.host).parse::<Uri>().ok()?;
        uri.host().map(str::to_owned)
    }

    /// Tells whether another one is the same place: the case of a host's name does not count, each scheme has its port.
    pub(crate) fn is_same_as(self, other: Endpoint<'_>) -> bool {
        self.spelled_out() == other.spelled_out()
    }

    fn spelled_out(self) -> (String, String) {
        let (host, behind) = self.host.split_once('/').unwrap_or((self.host, ""));
        let port = if self.scheme == "https" { ":443" } else { ":80" };
        let host = host.strip_suffix(port).unwrap_or(host).to_ascii_lowercase();
        (format!("{}://{host}", self.scheme), behind.to_owned())
    }
}

/// What stands before the path of every object of a tier; may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyPrefix(String);

impl KeyPrefix {
    /// Takes a prefix without a slash at its end.
    pub(crate) fn new(prefix: &str) -> Self {
        Self(prefix.to_owned())
    }

    /// Returns the key under which a path of the tier lies.
    pub(crate) fn key(&self, path: &str) -> String {
        match (self.0.as_str(), path) {
            ("", path) => path.to_owned(),
            (prefix, path) => format!("{prefix}/{path}"),
        }
    }

    /// Returns what all keys begin with that lie below a folder of the tier.
    pub(crate) fn below(&self, folder: &ObjectPrefix) -> String {
        folder.path().map_or_else(|| self.key(""), |path| self.key(&format!("{path}/")))
    }

    /// Returns what a key is called in the tier, unless it lies outside.
    pub(crate) fn path_of<'k>(&self, key: &'k str) -> Option<&'k str> {
        match self.0.as_str() {
            "" => Some(key),
            prefix => key.strip_prefix(prefix)?.strip_prefix('/'),
        }
    }
}

/// Writes a key as it stands in an address.
pub(crate) fn escaped(key: &str) -> String {
    utf8_percent_encode(key, ESCAPED_IN_KEYS).to_string()
}

/// Writes the query of an address, with the mark that begins it.
pub(crate) fn query<'q>(query: impl IntoIterator<Item = (&'q str, &'q str)>) -> String {
    let mut text = String::new();
    for (name, value) in query {
        text.push(if text.is_empty() { '?' } else { '&' });
        text.push_str(name);
        text.push('=');
        text.extend(utf8_percent_encode(value, ESCAPED));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_paths_are_each_others_inverse() {
        assert_eq!(KeyPrefix::new("").key("a"), "a");
        assert_eq!(KeyPrefix::new("").path_of("a"), Some("a"));
        let below = KeyPrefix::new("p/q");
        assert_eq!(below.key("a"), "p/q/a");
        assert_eq!(below.path_of("p/q/a"), Some("a"));
        assert_eq!(below.path_of("p/qa"), None);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in ["ftp://host", "https://", "http://a b", "https://user:hunter2@host", ""] {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
        let good = Endpoint::parse("store.example.org/account/").unwrap();
        assert_eq!(good, Endpoint { scheme: "https", host: "store.example.org/account" });
        assert_eq!(good.host_name().as_deref(), Some("store.example.org"));
        let ported = Endpoint::parse("http://[::1]:9000/a").unwrap();
        assert_eq!(ported.host_name().as_deref(), Some("[::1]"));
    }
}
