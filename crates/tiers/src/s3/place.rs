//! Which address a bucket and its objects have.

use crate::http::address::{self, Endpoint, KeyPrefix, ParseEndpointError};

/// Where the bucket's name stands in an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// Before the host: what AWS wants.
    Host,
    /// As the first part of the path: what most other stores want.
    Path,
}

/// A bucket and the prefix of a tier in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Up to the key, with a slash at the end.
    base: String,
    bucket: String,
    pub(super) prefix: KeyPrefix,
    /// The store's endpoint, if it is not AWS.
    elsewhere: Option<String>,
}

impl Place {
    /// Finds a bucket at an endpoint, or at AWS.
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
        let Endpoint { scheme, host } = Endpoint::parse(endpoint.unwrap_or(&vendor))?;
        let base = match addressing.unwrap_or(default) {
            Addressing::Host => format!("{scheme}://{bucket}.{host}/"),
            Addressing::Path => format!("{scheme}://{host}/{bucket}/"),
        };
        let elsewhere = endpoint.filter(|endpoint| !is_vendor(endpoint)).map(str::to_owned);
        Ok(Self { base, bucket: bucket.to_owned(), prefix: KeyPrefix::new(prefix), elsewhere })
    }

    /// Returns the store's endpoint, if it is not AWS.
    pub(super) fn elsewhere(&self) -> Option<&str> {
        self.elsewhere.as_deref()
    }

    /// Returns the bucket.
    pub(super) fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Returns the address of a key, or of the bucket for an empty one, with its query.
    pub(super) fn uri(&self, key: &str, query: &[(&str, &str)]) -> String {
        let query = address::query(query.iter().copied());
        format!("{}{}{query}", self.base, address::escaped(key))
    }
}

/// Tells whether an endpoint is one of AWS's.
pub(super) fn is_vendor(endpoint: &str) -> bool {
    let host = endpoint.split_once("://").map_or(endpoint, |(_, host)| host);
    let host = host.split(['/', ':']).next().unwrap_or(host);
    host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")
}

fn vendor_domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(endpoint: Option<&str>, addressing: Option<Addressing>, bucket: &str) -> String {
        let place = Place::new(endpoint, "eu-central-1", addressing, bucket, "a b").unwrap();
        place.uri(&place.prefix.key("repo/config"), &[("prefix", "x/y&z"), ("versions", "")])
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
}
