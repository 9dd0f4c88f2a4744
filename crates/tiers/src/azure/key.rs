//! Whoever asks: an account's key, which signs each request, or a shared access signature, which stands in
//! each address.
//!
//! Source: Azure Storage REST API, "Authorize with Shared Key", "Create a service SAS".

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::{Hmac, Mac as _};
use http::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, DATE, HeaderName, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, RANGE,
};
use http::{HeaderMap, Method};
use lifeboat_model::Secret;
use sha2::Sha256;

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// What proves who asks.
#[derive(Debug, Clone)]
pub(super) enum Credential {
    /// The key of an account.
    Key(AccountKey),
    /// A shared access signature, without the question mark.
    Signature(Secret),
}

/// An account's key, ready to sign.
#[derive(Clone)]
pub(super) struct AccountKey {
    account: String,
    mac: Hmac<Sha256>,
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountKey").field("account", &self.account).finish_non_exhaustive()
    }
}

/// A request as far as a signature covers it.
#[derive(Debug)]
pub(super) struct Signed<'r> {
    pub(super) method: &'r Method,
    /// The path of the address, as it stands there.
    pub(super) path: &'r str,
    /// The query, as it is meant.
    pub(super) query: &'r [(&'static str, String)],
    pub(super) headers: &'r HeaderMap,
    /// How many bytes are sent.
    pub(super) length: usize,
}

impl AccountKey {
    /// Takes a key as it is written, in Base64; `None` if it is none.
    pub(super) fn new(account: &str, key: &Secret) -> Option<Self> {
        let key = BASE64_STANDARD.decode(key.expose().trim()).ok().filter(|key| !key.is_empty())?;
        let mac = Hmac::new_from_slice(&key).expect("a key may have any length");
        Some(Self { account: account.to_owned(), mac })
    }

    /// Returns the value of the header `authorization`.
    pub(super) fn authorization(&self, request: &Signed<'_>) -> String {
        let mut mac = self.mac.clone();
        mac.update(text(&self.account, request).as_bytes());
        let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
        format!("SharedKey {}:{signature}", self.account)
    }
}

/// Writes what is signed: the method, the values of the standard headers, those of Azure with their names,
/// and the resource. Each query parameter occurs once in what this tier asks.
fn text(account: &str, request: &Signed<'_>) -> String {
    let header = |name: &HeaderName| {
        request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    let length = if request.length == 0 { String::new() } else { request.length.to_string() };
    let mut lines = vec![
        request.method.as_str().to_owned(),
        header(&CONTENT_ENCODING).to_owned(),
        header(&CONTENT_LANGUAGE).to_owned(),
        length,
    ];
    let others = [
        CONTENT_MD5,
        CONTENT_TYPE,
        DATE,
        IF_MODIFIED_SINCE,
        IF_MATCH,
        IF_NONE_MATCH,
        IF_UNMODIFIED_SINCE,
        RANGE,
    ];
    lines.extend(others.iter().map(|name| header(name).to_owned()));
    let own = request.headers.keys().filter(|name| name.as_str().starts_with("x-ms-"));
    let mut own: Vec<_> = own.map(|name| format!("{name}:{}", header(name).trim())).collect();
    own.sort_unstable();
    lines.extend(own);
    lines.push(format!("/{account}{}", request.path));
    let mut query: Vec<_> =
        request.query.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    query.sort_unstable();
    lines.extend(query);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of "Authorize with Shared Key" for `Get Container Metadata`, in today's form.
    #[test]
    fn a_request_is_written_as_azure_writes_it() {
        let mut headers = HeaderMap::new();
        headers.insert("x-ms-version", "2023-11-03".parse().unwrap());
        headers.insert("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT".parse().unwrap());
        let query = [("restype", "container".to_owned()), ("comp", "metadata".to_owned())];
        let (method, path) = (&Method::GET, "/mycontainer");
        let request = Signed { method, path, query: &query, headers: &headers, length: 0 };
        assert_eq!(
            text("myaccount", &request),
            "GET\n\n\n\n\n\n\n\n\n\n\n\n\
             x-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2023-11-03\n\
             /myaccount/mycontainer\ncomp:metadata\nrestype:container"
        );
    }

    #[test]
    fn a_key_is_base64_and_never_shown() {
        assert!(AccountKey::new("shop", &Secret::new("not base64!")).is_none());
        assert!(AccountKey::new("shop", &Secret::new("")).is_none());
        let key = AccountKey::new("shop", &Secret::new("aHVudGVyMg==")).unwrap();
        assert_eq!(format!("{key:?}"), "AccountKey { account: \"shop\", .. }");
    }
}
