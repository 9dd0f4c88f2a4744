//! What S3 answers in XML and in headers.
//!
//! Source: Amazon S3 API Reference, one page for each operation that is named here.

use lifeboat_model::Timestamp;
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use crate::http::answers::{AnswerError, document};

/// `Error`: why a request was refused.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ErrorAnswer {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) region: Option<String>,
    pub(super) server_time: Option<String>,
}

impl ErrorAnswer {
    /// Reads an answer, which is empty for `HEAD` and may be anything from what stands in between.
    pub(super) fn read(body: &[u8]) -> Self {
        quick_xml::de::from_reader(body).unwrap_or_default()
    }
}

/// An object in a listing, whichever kind it is of.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) last_modified: Timestamp,
    #[serde(default)]
    pub(super) size: u64,
    pub(super) version_id: Option<String>,
}

/// `ListObjectsV2`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Objects {
    #[serde(default)]
    contents: Vec<Entry>,
    #[serde(default)]
    is_truncated: bool,
    next_continuation_token: Option<String>,
    encoding_type: Option<String>,
}

/// `ListObjectVersions`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Versions {
    #[serde(default)]
    version: Vec<Entry>,
    #[serde(default)]
    delete_marker: Vec<Entry>,
    #[serde(default)]
    is_truncated: bool,
    next_key_marker: Option<String>,
    next_version_id_marker: Option<String>,
    encoding_type: Option<String>,
}

/// One page of a listing.
#[derive(Debug)]
pub(super) struct Page {
    /// The objects; of several versions of one, the newest first.
    pub(super) objects: Vec<Entry>,
    /// What hides objects.
    pub(super) markers: Vec<Entry>,
    /// How to ask for the page after this one.
    pub(super) next: Option<Vec<(&'static str, String)>>,
}

impl Page {
    /// Returns the last name on it.
    pub(super) fn last_key(&self) -> Option<&str> {
        let last = [self.objects.last(), self.markers.last()].into_iter().flatten();
        last.map(|entry| entry.key.as_str()).max()
    }

    /// Reads a page of `ListObjectsV2`.
    pub(super) fn of_objects(body: &[u8]) -> Result<Self, AnswerError> {
        let mut list: Objects = document(body)?;
        unescape(list.encoding_type.as_deref(), &mut list.contents);
        let token = list.next_continuation_token.filter(|_| list.is_truncated);
        let next = token.map(|token| vec![("continuation-token", token)]);
        Ok(Self { objects: list.contents, markers: Vec::new(), next })
    }

    /// Reads a page of `ListObjectVersions`.
    pub(super) fn of_versions(body: &[u8]) -> Result<Self, AnswerError> {
        let mut list: Versions = document(body)?;
        let encoding = list.encoding_type.as_deref();
        unescape(encoding, &mut list.version);
        unescape(encoding, &mut list.delete_marker);
        let key = list.next_key_marker.filter(|_| list.is_truncated);
        let next = key.map(|key| {
            let mut next = vec![("key-marker", unescaped(encoding, &key))];
            next.extend(list.next_version_id_marker.map(|id| ("version-id-marker", id)));
            next
        });
        Ok(Self { objects: list.version, markers: list.delete_marker, next })
    }
}

fn unescape(encoding: Option<&str>, entries: &mut [Entry]) {
    for entry in entries {
        entry.key = unescaped(encoding, &entry.key);
    }
}

/// Undoes `encoding-type=url`, where the store says that it did it.
fn unescaped(encoding: Option<&str>, key: &str) -> String {
    match encoding {
        Some("url") => percent_decode_str(&key.replace('+', " ")).decode_utf8_lossy().into_owned(),
        _ => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_objects_is_read() {
        let page = Page::of_objects(
            br#"<?xml version="1.0" encoding="UTF-8"?>
            <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>
            <Prefix>a%2F</Prefix><KeyCount>2</KeyCount><MaxKeys>2</MaxKeys>
            <EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
            <Contents><Key>a%2Fb+c</Key><LastModified>2009-10-12T17:50:30.000Z</LastModified>
            <ETag>"fba9"</ETag><Size>434234</Size><StorageClass>STANDARD</StorageClass></Contents>
            <Contents><Key>a/d</Key><LastModified>2009-10-12T17:50:30.000Z</LastModified>
            <Size>0</Size></Contents><NextContinuationToken>1ueGcxLPRx1Tr</NextContinuationToken>
            </ListBucketResult>"#,
        )
        .unwrap();
        let found: Vec<_> = page.objects.iter().map(|o| (o.key.as_str(), o.size)).collect();
        assert_eq!(found, [("a/b c", 434_234), ("a/d", 0)]);
        assert_eq!(page.next, Some(vec![("continuation-token", "1ueGcxLPRx1Tr".to_owned())]));
        let empty = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
        assert!(Page::of_objects(empty).unwrap().next.is_none());
        assert!(Page::of_objects(b"<html>a proxy's page</html").is_err());
    }

    #[test]
    fn versions_and_markers_are_told_apart_though_they_are_mixed() {
        let page = Page::of_versions(
            br"<ListVersionsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker>
            <NextVersionIdMarker>v</NextVersionIdMarker>
            <DeleteMarker><Key>k</Key><VersionId>m</VersionId><IsLatest>true</IsLatest>
            <LastModified>2009-11-12T17:50:30.000Z</LastModified></DeleteMarker>
            <Version><Key>k</Key><VersionId>2</VersionId><IsLatest>false</IsLatest>
            <LastModified>2009-10-12T17:50:30.000Z</LastModified><Size>2</Size></Version>
            <DeleteMarker><Key>k</Key><VersionId>n</VersionId><IsLatest>false</IsLatest>
            <LastModified>2009-10-11T17:50:30.000Z</LastModified></DeleteMarker>
            <Version><Key>k</Key><VersionId>1</VersionId><IsLatest>false</IsLatest>
            <LastModified>2009-10-10T17:50:30.000Z</LastModified><Size>1</Size></Version>
            </ListVersionsResult>",
        )
        .unwrap();
        let ids = |entries: &[Entry]| -> Vec<String> {
            entries.iter().filter_map(|entry| entry.version_id.clone()).collect()
        };
        assert_eq!(ids(&page.objects), ["2", "1"]);
        assert_eq!(ids(&page.markers), ["m", "n"]);
        let next = [("key-marker", "k".to_owned()), ("version-id-marker", "v".to_owned())];
        assert_eq!(page.next, Some(next.to_vec()));
    }
}
