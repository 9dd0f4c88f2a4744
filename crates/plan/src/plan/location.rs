//! `[places]`: where the platform can live.

use crate::table::table;

table! {
    /// A host on which the platform can live.
    pub struct Place {
        /// What the host calls itself.
        host: String,
    }
}

impl Place {
    /// Tells whether a host is this place by what it calls itself, with its domain or without.
    pub fn is_host(&self, hostname: &str) -> bool {
        is_one_host(&self.host, hostname)
    }
}

/// Tells whether two names can be those of one host: they are the same, or one is the other with its domain.
pub(crate) fn is_one_host(one: &str, other: &str) -> bool {
    let extends = |long: &str, short: &str| {
        long.strip_prefix(short).is_some_and(|rest| rest.starts_with('.'))
    };
    let (one, other) = (one.to_ascii_lowercase(), other.to_ascii_lowercase());
    one == other || extends(&one, &other) || extends(&other, &one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_known_with_its_domain_and_without() {
        let place = Place { host: "web-1.example.org".to_owned() };
        for name in ["web-1", "WEB-1.example.org", "web-1.example"] {
            assert!(place.is_host(name), "{name}");
        }
        for name in ["web", "web-1.example.net", "web-10", ""] {
            assert!(!place.is_host(name), "{name}");
        }
    }
}
