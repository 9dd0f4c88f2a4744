//! Storage classes: where objects go that only a recovery reads, and how they come back.
//!
//! Source: Amazon S3 User Guide, "Understanding and managing Amazon S3 storage classes"; API Reference,
//! `HeadObject` (`x-amz-storage-class`, `x-amz-restore`, `x-amz-archive-status`), `RestoreObject`.

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::client::{Call, S3Client};
use super::refused::S3Failure;
use super::sum::{self, hex, sha256};
use crate::{AccessClass, Warmth};

/// How long what was asked for can be read: a recovery that takes longer has other troubles.
const READABLE_DAYS: u32 = 7;

/// Returns the class of S3, unless it is the one that is taken anyway.
///
/// For what waits hours it is `GLACIER` (three to five hours) and not `DEEP_ARCHIVE` (twelve), which
/// costs a third: the hours stand in every recovery's way.
pub(super) const fn class(access: AccessClass) -> Option<&'static str> {
    match access {
        AccessClass::Hot => None,
        AccessClass::Cool => Some("STANDARD_IA"),
        AccessClass::Cold => Some("GLACIER_IR"),
        AccessClass::Archive => Some("GLACIER"),
    }
}

/// Reads from the headers of an object whether it can be read at once.
pub(super) fn warmth(headers: &HeaderMap) -> Warmth {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_archived = matches!(text("x-amz-storage-class"), Some("GLACIER" | "DEEP_ARCHIVE"))
        || text("x-amz-archive-status").is_some();
    match text("x-amz-restore") {
        _ if !is_archived => Warmth::Ready,
        None => Warmth::Cold,
        Some(restore) if restore.contains("ongoing-request=\"true\"") => Warmth::Thawing,
        Some(_) => Warmth::Ready,
    }
}

/// Asks for an object to be made readable; harmless where it is, or was asked for.
pub(super) async fn thaw(client: &S3Client, key: &str) -> Result<(), S3Failure> {
    let body = Bytes::from(format!(
        "<RestoreRequest xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Days>{READABLE_DAYS}</Days>\
         <GlacierJobParameters><Tier>Standard</Tier></GlacierJobParameters></RestoreRequest>",
    ));
    let sum = sha256(body.clone()).await;
    let call = Call::new(Method::POST, key).query("restore", "").body(body, hex(&sum));
    match client.ask_through(sum::noted(call, &sum)).await {
        Ok(_) => Ok(()),
        Err(S3Failure::Refused(refused)) if refused.code == "RestoreAlreadyInProgress" => Ok(()),
        // So S3 answers for an object of a class that needs no thawing.
        Err(S3Failure::Refused(refused)) if refused.code == "InvalidObjectState" => Ok(()),
        Err(failure) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warmth_of(headers: &[(&'static str, &str)]) -> Warmth {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        warmth(&map)
    }

    #[test]
    fn headers_tell_how_warm_an_object_is() {
        let class = |class| ("x-amz-storage-class", class);
        let restore = |restore| ("x-amz-restore", restore);
        let over = r#"ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT""#;
        assert_eq!(warmth_of(&[]), Warmth::Ready);
        assert_eq!(warmth_of(&[class("GLACIER_IR")]), Warmth::Ready);
        assert_eq!(warmth_of(&[class("DEEP_ARCHIVE")]), Warmth::Cold);
        let asked = restore(r#"ongoing-request="true""#);
        assert_eq!(warmth_of(&[class("GLACIER"), asked]), Warmth::Thawing);
        assert_eq!(warmth_of(&[class("GLACIER"), restore(over)]), Warmth::Ready);
        let tiering = [class("INTELLIGENT_TIERING"), ("x-amz-archive-status", "ARCHIVE_ACCESS")];
        assert_eq!(warmth_of(&tiering), Warmth::Cold);
    }
}
