//! Which address a container and its blobs have.

use crate::http::ParseEndpointError;
use crate::http::address::{self, Endpoint, KeyPrefix};

/// A container and the prefix of a tier in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Scheme, host and port.
    host: String,
    /// The path of the container, from the root; emulators have the account's name before it.
    path: String,
    pub(super) container: String,
    pub(super) prefix: KeyPrefix,
}

impl Place {
    /// Finds a container at an endpoint of blobs, as connection strings have it, or at Azure.
    pub(super) fn new(
        endpoint: Option<&str>,
        account: &str,
        container: &str,
        prefix: &str,
    ) -> Result<Self, ParseEndpointError> {
        let vendor = format!("https://{account}.blob.core.windows.net");
        let Endpoint { scheme, host } = Endpoint::parse(endpoint.unwrap_or(&vendor))?;
        let (host, above) = host.split_once('/').unwrap_or((host, ""));
        let path = match above {
            "" => format!("/{container}"),
            above => format!("/{above}/{container}"),
        };
        let host = format!("{scheme}://{host}");
        Ok(Self { host, path, container: container.to_owned(), prefix: KeyPrefix::new(prefix) })
    }

    /// Returns the path of a key, or of the container for an empty one, as it stands in its address.
    pub(super) fn path(&self, key: &str) -> String {
        match key {
            "" => self.path.clone(),
            key => format!("{}/{}", self.path, address::escaped(key)),
        }
    }

    /// Returns the address of a path.
    pub(super) fn uri(&self, path: &str, query: &[(&'static str, String)]) -> String {
        let query = address::query(query.iter().map(|(name, value)| (*name, value.as_str())));
        format!("{}{path}{query}", self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_store_is_addressed_as_it_wants() {
        for (endpoint, head) in [
            (None, "https://shop.blob.core.windows.net/copies"),
            (Some("http://127.0.0.1:10000/shop"), "http://127.0.0.1:10000/shop/copies"),
            (Some("https://shop.example.org/"), "https://shop.example.org/copies"),
        ] {
            let place = Place::new(endpoint, "shop", "copies", "a b").unwrap();
            let path = place.path(&place.prefix.key("repo/config"));
            let query = [("comp", "x/y&z".to_owned())];
            assert_eq!(
                place.uri(&path, &query),
                format!("{head}/a%20b/repo/config?comp=x%2Fy%26z")
            );
            assert_eq!(place.uri(&place.path(""), &[]), head);
        }
    }
}
