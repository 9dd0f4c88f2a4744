//! Which address a bucket and its objects have.

use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What a signature wants unescaped, everything else escaped.
///
/// Source: Amazon S3 API Reference, "Signature Calculations for the Authorization Header", `UriEncode`.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

const ESCAPED_IN_KEYS: &AsciiSet = &ESCAPED.remove(b'/');

/// Where the bucket's name stands in an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// Before the host: what AWS wants.
    Host,
    /// As the first part of the path: what most other stores want.
    Path,
}

/// An endpoint is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{endpoint}` is not the address of a store: expected https://HOST or http://HOST:PORT")]
pub struct ParseEndpointError {
    endpoint: String,
}

/// A bucket and the prefix of a tier in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Up to the key, with a slash at the end.
    base: String,
    bucket: String,
    prefix: String,
}

impl Place {
    /// Finds a bucket at an endpoint, or at AWS.
    ///
    /// Without a scheme an endpoint is spoken to encrypted; `http://` has to be written out.
    pub(super) fn new(
        endpoint: Option<&str>,
        region: &str,
        addressing: Option<Addressing>,
        bucket: &str,
        prefix: &str,
    ) -> Result<Self, ParseEndpointError> {
        let vendor = format!("https://s3.{region}.{}", vendor_domain(region));
        // The vendor's certificates are for one name below its host, so that a bucket with a dot
        // cannot stand there.
        let default = match endpoint {
            None if !bucket.contains('.') => Addressing::Host,
            _ => Addressing::Path,
        };
        let endpoint = endpoint.unwrap_or(&vendor);
        let bad = || ParseEndpointError { endpoint: endpoint.to_owned() };
        let (scheme, host) = endpoint.split_once("://").unwrap_or(("https", endpoint));
        let host = host.trim_end_matches('/');
        if !matches!(scheme, "https" | "http") || host.contains(['@', '?', '#']) {
            return Err(bad());
        }
        let base = match addressing.unwrap_or(default) {
            Addressing::Host => format!("{scheme}://{bucket}.{host}/"),
            Addressing::Path => format!("{scheme}://{host}/{bucket}/"),
        };
        base.parse::<Uri>().ok().filter(|uri| uri.host().is_some()).ok_or_else(bad)?;
        Ok(Self { base, bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }

    /// Returns the bucket.
    pub(super) fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Returns the key under which a path of the tier lies.
    pub(super) fn key(&self, path: &str) -> String {
        match (self.prefix.as_str(), path) {
            ("", path) => path.to_owned(),
            (prefix, path) => format!("{prefix}/{path}"),
        }
    }

    /// Returns what a key is called in the tier, unless it lies outside.
    pub(super) fn path_of<'k>(&self, key: &'k str) -> Option<&'k str> {
        match self.prefix.as_str() {
            "" => Some(key),
            prefix => key.strip_prefix(prefix)?.strip_prefix('/'),
        }
    }

    /// Returns the address of a key, or of the bucket for an empty one, with its query.
    pub(super) fn uri(&self, key: &str, query: &[(&str, &str)]) -> String {
        let mut uri = format!("{}{}", self.base, utf8_percent_encode(key, ESCAPED_IN_KEYS));
        for (index, (name, value)) in query.iter().enumerate() {
            uri.push(if index == 0 { '?' } else { '&' });
            uri.push_str(name);
            uri.push('=');
            uri.extend(utf8_percent_encode(value, ESCAPED));
        }
        uri
    }
}

fn vendor_domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(endpoint: Option<&str>, addressing: Option<Addressing>, bucket: &str) -> String {
        let place = Place::new(endpoint, "eu-central-1", addressing, bucket, "a b").unwrap();
        place.uri(&place.key("repo/config"), &[("prefix", "x/y&z"), ("versions", "")])
    }

    #[test]
    fn every_store_is_addressed_as_it_wants() {
        let tail = "a%20b/repo/config?prefix=x%2Fy%26z&versions=";
        for (endpoint, addressing, bucket, head) in [
            (None, None, "shop", "https://shop.s3.eu-central-1.amazonaws.com/"),
            (None, None, "my.shop", "https://s3.eu-central-1.amazonaws.com/my.shop/"),
            (None, Some(Addressing::Path), "shop", "https://s3.eu-central-1.amazonaws.com/shop/"),
            (Some("http://127.0.0.1:9000"), None, "shop", "http://127.0.0.1:9000/shop/"),
            (Some("s3.example.org/"), None, "shop", "https://s3.example.org/shop/"),
            (
                Some("https://example.org"),
                Some(Addressing::Host),
                "shop",
                "https://shop.example.org/",
            ),
        ] {
            assert_eq!(uri(endpoint, addressing, bucket), format!("{head}{tail}"));
        }
    }

    #[test]
    fn keys_and_paths_are_each_others_inverse() {
        let place = |prefix| Place::new(None, "us-east-1", None, "shop", prefix).unwrap();
        assert_eq!(place("").key("a"), "a");
        assert_eq!(place("").path_of("a"), Some("a"));
        assert_eq!(place("p/q").key("a"), "p/q/a");
        assert_eq!(place("p/q").path_of("p/q/a"), Some("a"));
        assert_eq!(place("p/q").path_of("p/qa"), None);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in ["ftp://host", "https://", "http://a b", "https://user:hunter2@host", ""] {
            let place = Place::new(Some(bad), "us-east-1", None, "shop", "");
            assert!(place.is_err(), "{bad}: {place:?}");
        }
    }
}
