//! The connection string, in which Azure's tools keep account, endpoint and credentials.
//!
//! Source: Azure Storage documentation, "Configure Azure Storage connection strings".

use lifeboat_model::Secret;

/// The account of the emulators.
const DEVELOPMENT_ACCOUNT: &str = "devstoreaccount1";

/// The key of that account, which is the same for everybody and public.
///
/// Source: Azurite's README, section "Default Storage Account".
const DEVELOPMENT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The host of the emulators, and the port on which they speak of blobs.
const DEVELOPMENT_HOST: &str = "http://127.0.0.1";
const DEVELOPMENT_PORT: u16 = 10_000;

/// A text is not a connection string. It does not repeat the text, which holds secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseConnectionError {
    /// A part says nothing.
    #[error("part {0} of the connection string is not NAME=VALUE")]
    Part(usize),
    /// It leads nowhere.
    #[error("the connection string names neither an account nor an endpoint of blobs")]
    Nowhere,
}

/// What a connection string says.
#[derive(Debug, Clone, Default)]
pub(super) struct Connection {
    pub(super) account: Option<String>,
    pub(super) key: Option<Secret>,
    /// A shared access signature.
    pub(super) signature: Option<Secret>,
    pub(super) endpoint: Option<String>,
}

impl Connection {
    /// Reads parts like `AccountName=shop`, with `;` between them.
    pub(super) fn parse(text: &str) -> Result<Self, ParseConnectionError> {
        let mut read = Self::default();
        let (mut scheme, mut suffix) = ("https".to_owned(), "core.windows.net".to_owned());
        let (mut is_development, mut proxy) = (false, DEVELOPMENT_HOST.to_owned());
        for (index, part) in text.split(';').enumerate() {
            if part.trim().is_empty() {
                continue;
            }
            let (name, value) =
                part.split_once('=').ok_or(ParseConnectionError::Part(index + 1))?;
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "accountname" => read.account = Some(value.to_owned()),
                "accountkey" => read.key = Some(Secret::new(value)),
                "sharedaccesssignature" => read.signature = Some(Secret::new(value)),
                "blobendpoint" => read.endpoint = Some(value.to_owned()),
                "defaultendpointsprotocol" => value.clone_into(&mut scheme),
                "endpointsuffix" => value.clone_into(&mut suffix),
                "usedevelopmentstorage" => is_development = value.eq_ignore_ascii_case("true"),
                "developmentstorageproxyuri" => value.clone_into(&mut proxy),
                // Of queues, tables and files.
                _ => {}
            }
        }
        if is_development {
            read.account = Some(DEVELOPMENT_ACCOUNT.to_owned());
            read.key = Some(Secret::new(DEVELOPMENT_KEY));
            let host = proxy.trim_end_matches('/');
            read.endpoint = Some(format!("{host}:{DEVELOPMENT_PORT}/{DEVELOPMENT_ACCOUNT}"));
        }
        let by_account =
            read.account.as_ref().map(|account| format!("{scheme}://{account}.blob.{suffix}"));
        read.endpoint = read.endpoint.or(by_account);
        if read.endpoint.is_none() {
            return Err(ParseConnectionError::Nowhere);
        }
        Ok(read)
    }

    /// Tells whether it is about this account, as far as it says.
    pub(super) fn is_of(&self, account: &str) -> bool {
        match (&self.account, &self.endpoint) {
            (Some(named), _) => named == account,
            (None, Some(endpoint)) => {
                let parts = endpoint.split(['/', '.', ':']);
                parts.into_iter().any(|part| part == account)
            }
            (None, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Option<String> {
        Connection::parse(text).unwrap().endpoint
    }

    #[test]
    fn every_form_leads_to_an_endpoint() {
        for (text, found) in [
            ("AccountName=shop;AccountKey=a2V5==", "https://shop.blob.core.windows.net"),
            (
                "DefaultEndpointsProtocol=http;AccountName=shop;AccountKey=x;EndpointSuffix=core.chinacloudapi.cn;",
                "http://shop.blob.core.chinacloudapi.cn",
            ),
            ("accountname=shop; blobendpoint=http://127.0.0.1:1/shop", "http://127.0.0.1:1/shop"),
            (
                "BlobEndpoint=https://shop.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=x%3D",
                "https://shop.blob.core.windows.net/",
            ),
            ("UseDevelopmentStorage=true", "http://127.0.0.1:10000/devstoreaccount1"),
            (
                "UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://azurite",
                "http://azurite:10000/devstoreaccount1",
            ),
        ] {
            assert_eq!(endpoint(text).as_deref(), Some(found), "{text}");
        }
    }

    #[test]
    fn values_keep_their_equals_signs() {
        let read = Connection::parse("AccountName=shop;AccountKey=a2V5==").unwrap();
        assert_eq!(read.key.unwrap().expose(), "a2V5==");
        let read = Connection::parse("BlobEndpoint=https://x;SharedAccessSignature=sv=1&sig=y%3D");
        assert_eq!(read.unwrap().signature.unwrap().expose(), "sv=1&sig=y%3D");
    }

    #[test]
    fn whose_it_is_is_told_from_name_or_endpoint() {
        let is_of = |text: &str| Connection::parse(text).unwrap().is_of("shop");
        assert!(is_of("AccountName=shop;AccountKey=x"));
        assert!(!is_of("AccountName=other;AccountKey=x"));
        assert!(is_of("BlobEndpoint=https://shop.blob.core.windows.net;SharedAccessSignature=x"));
        assert!(is_of("BlobEndpoint=http://127.0.0.1:10000/shop;SharedAccessSignature=x"));
        assert!(!is_of("BlobEndpoint=https://myshop.example.org;SharedAccessSignature=x"));
    }

    #[test]
    fn what_is_none_is_refused_without_repeating_it() {
        for (bad, expected) in [
            ("AccountName=shop;hunter2", ParseConnectionError::Part(2)),
            ("AccountKey=hunter2", ParseConnectionError::Nowhere),
            ("", ParseConnectionError::Nowhere),
        ] {
            let error = Connection::parse(bad).unwrap_err();
            assert_eq!(error, expected);
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
