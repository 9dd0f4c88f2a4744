//! Listings of a container, page by page, with the versions that the account kept.
//!
//! # Limits
//!
//! Pages come one after the other: a listing begins at no name of ours, only where the store's own marker says. A page has
//! five times as many names as one of S3's, so 100,000 packs at 50 ms take a second.
//!
//! Source: Azure Storage REST API, "List Blobs".

use std::sync::Arc;

use futures::stream::{self, Stream, TryStreamExt as _};
use http::Method;
use lifeboat_model::Timestamp;
use serde::Deserialize;

use super::client::{AzureClient, Call};
use super::refused::AzureFailure;
use crate::http::answers::{self, AnswerError, document};

/// How many blobs one request lists: the most that Azure gives.
const PAGE_BLOBS: &str = "5000";

/// A blob, or a version of one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    pub(super) name: String,
    /// Where the account keeps versions.
    pub(super) version_id: Option<String>,
    is_current_version: Option<bool>,
    pub(super) properties: Properties,
}

/// What is known of a blob.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Properties {
    #[serde(rename = "Content-Length", default)]
    pub(super) length: u64,
    #[serde(rename = "Last-Modified")]
    modified: String,
    #[serde(rename = "ImmutabilityPolicyUntilDate")]
    immutable_until: Option<String>,
    #[serde(rename = "LegalHold", default)]
    is_held: bool,
}

/// What keeps a blob from being deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// A policy, until its date.
    Until(Timestamp),
    /// A legal hold, until somebody lifts it.
    Legal,
}

impl Entry {
    /// Tells whether this is what whoever reads the name gets.
    pub(super) fn is_current(&self) -> bool {
        self.version_id.is_none() || self.is_current_version == Some(true)
    }

    /// Returns the id by which the version has to be asked for, unless the name suffices.
    pub(super) fn version_to_name(&self) -> Option<&str> {
        self.version_id.as_deref().filter(|_| !self.is_current())
    }

    /// Returns when it was written.
    pub(super) fn modified(&self) -> Result<Timestamp, AnswerError> {
        answers::http_time(&self.properties.modified).ok_or(AnswerError::Header("Last-Modified"))
    }

    /// Returns what keeps it from being deleted.
    pub(super) fn hold(&self, now: Timestamp) -> Option<Hold> {
        let until = self.properties.immutable_until.as_deref().and_then(answers::http_time);
        match until.filter(|until| *until > now) {
            Some(until) => Some(Hold::Until(until)),
            None if self.properties.is_held => Some(Hold::Legal),
            None => None,
        }
    }

    /// Orders the versions of a name: the current one is the newest, and ids are times.
    fn age(&self) -> (bool, &str) {
        (self.is_current(), self.version_id.as_deref().unwrap_or_default())
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    blobs: Blobs,
    #[serde(default)]
    next_marker: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Blobs {
    #[serde(default)]
    blob: Vec<Entry>,
}

/// Asks for one page.
async fn page(
    client: &AzureClient,
    prefix: &str,
    included: &str,
    marker: &str,
) -> Result<Page, AzureFailure> {
    let mut call = Call::new(Method::GET, "")
        .query("restype", "container")
        .query("comp", "list")
        .query("maxresults", PAGE_BLOBS);
    for (name, value) in [("prefix", prefix), ("marker", marker)] {
        if !value.is_empty() {
            call = call.query(name, value);
        }
    }
    let with_versions = call.clone().query("include", included);
    let answer = match client.ask_with_versions(with_versions).await? {
        Some(answer) => answer,
        None => client.ask(call).await?,
    };
    Ok(document(&answer.body)?)
}

/// Lists all blobs below a prefix, hidden or not: of several versions the newest.
pub(super) fn blobs(
    client: &AzureClient,
    prefix: String,
) -> impl Stream<Item = Result<Entry, AzureFailure>> + Send + '_ {
    let prefix: Arc<str> = prefix.into();
    let first = Some((String::new(), None::<Entry>));
    stream::try_unfold(first, move |at| {
        let prefix = Arc::clone(&prefix);
        async move {
            let Some((marker, held)) = at else { return Ok(None) };
            let page = page(client, &prefix, "versions", &marker).await?;
            let (mut newest, last) = newest_of_each(page.blobs.blob, held);
            // The last name may go on behind the end of the page.
            let next = match page.next_marker.as_str() {
                "" => {
                    newest.extend(last);
                    None
                }
                marker => Some((marker.to_owned(), last)),
            };
            Ok::<_, AzureFailure>(Some((stream::iter(newest.into_iter().map(Ok)), next)))
        }
    })
    .try_flatten()
}

/// Keeps of each name what is newest; the last name, which may go on, is returned beside them.
fn newest_of_each(entries: Vec<Entry>, mut held: Option<Entry>) -> (Vec<Entry>, Option<Entry>) {
    let mut newest = Vec::with_capacity(entries.len());
    for entry in entries {
        match &mut held {
            Some(same) if same.name == entry.name => {
                if entry.age() > same.age() {
                    *same = entry;
                }
            }
            _ => newest.extend(held.replace(entry)),
        }
    }
    (newest, held)
}

/// Lists all that there is under one key, the oldest first, with what keeps it from being deleted.
pub(super) async fn history(client: &AzureClient, key: &str) -> Result<Vec<Entry>, AzureFailure> {
    const INCLUDED: &str = "versions,immutabilitypolicy,legalhold";
    let mut versions = Vec::new();
    let mut marker = String::new();
    loop {
        let page = page(client, key, INCLUDED, &marker).await?;
        // Of all names that begin with it the key itself comes first.
        let beyond = page.blobs.blob.iter().any(|entry| entry.name != key);
        versions.extend(page.blobs.blob.into_iter().filter(|entry| entry.name == key));
        if beyond || page.next_marker.is_empty() {
            versions.sort_by(|one, other| one.age().cmp(&other.age()));
            return Ok(versions);
        }
        marker = page.next_marker;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As "List Blobs" documents an answer, shortened.
    const PAGE: &str = r#"<?xml version="1.0" encoding="utf-8"?>
        <EnumerationResults ServiceEndpoint="https://shop.blob.core.windows.net/" ContainerName="copies">
        <Prefix>a</Prefix><MaxResults>4</MaxResults><Blobs>
        <Blob><Name>a</Name><VersionId>2026-01-01T00:00:00.0000001Z</VersionId><Properties>
        <Last-Modified>Thu, 01 Jan 2026 00:00:00 GMT</Last-Modified><Content-Length>1</Content-Length>
        <ImmutabilityPolicyUntilDate>Fri, 01 Jan 2027 00:00:00 GMT</ImmutabilityPolicyUntilDate>
        <ImmutabilityPolicyMode>unlocked</ImmutabilityPolicyMode></Properties><OrMetadata /></Blob>
        <Blob><Name>a</Name><VersionId>2026-01-02T00:00:00.0000001Z</VersionId>
        <IsCurrentVersion>true</IsCurrentVersion><Properties>
        <Last-Modified>Fri, 02 Jan 2026 00:00:00 GMT</Last-Modified><Content-Length>2</Content-Length>
        <BlobType>BlockBlob</BlobType></Properties></Blob>
        <Blob><Name>b</Name><Properties><Last-Modified>Sat, 03 Jan 2026 00:00:00 GMT</Last-Modified>
        <Content-Length>3</Content-Length><LegalHold>true</LegalHold></Properties></Blob>
        </Blobs><NextMarker>2!76!b</NextMarker></EnumerationResults>"#;

    fn read() -> Page {
        document(PAGE.as_bytes()).unwrap()
    }

    #[test]
    fn of_several_versions_the_newest_is_listed_also_across_pages() {
        let page = read();
        assert_eq!(page.next_marker, "2!76!b");
        let (newest, last) = newest_of_each(page.blobs.blob.clone(), None);
        let found: Vec<_> = newest.iter().map(|e| (e.name.as_str(), e.properties.length)).collect();
        assert_eq!(found, [("a", 2)]);
        assert_eq!(newest[0].modified().unwrap().to_string(), "2026-01-02T00:00:00Z");
        assert_eq!(last.as_ref().map(|entry| entry.name.as_str()), Some("b"));
        let (newest, last) = newest_of_each(vec![page.blobs.blob[2].clone()], last);
        assert!(newest.is_empty(), "it was held back once already");
        assert!(last.is_some());
    }

    #[test]
    fn a_version_that_is_not_current_has_to_be_named() {
        let entries = read().blobs.blob;
        let named: Vec<_> = entries.iter().map(Entry::version_to_name).collect();
        assert_eq!(named, [Some("2026-01-01T00:00:00.0000001Z"), None, None]);
    }

    #[test]
    fn what_keeps_it_is_read_until_its_date() {
        let entries = read().blobs.blob;
        let at = |time: &str| -> Vec<_> {
            let now = time.parse().unwrap();
            entries.iter().map(|entry| entry.hold(now)).collect()
        };
        let until = Some(Hold::Until("2027-01-01T00:00:00Z".parse().unwrap()));
        assert_eq!(at("2026-06-01T00:00:00Z"), [until, None, Some(Hold::Legal)]);
        assert_eq!(at("2027-01-01T00:00:00Z"), [None, None, Some(Hold::Legal)]);
    }

    #[test]
    fn an_empty_page_is_empty() {
        let page: Page = document(
            br#"<?xml version="1.0"?><EnumerationResults><Blobs/><NextMarker/></EnumerationResults>"#,
        )
        .unwrap();
        assert!(page.blobs.blob.is_empty() && page.next_marker.is_empty());
    }
}
