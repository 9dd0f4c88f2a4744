//! Storage classes: where objects go that only a recovery reads, and how they come back.
//!
//! Source: Amazon S3 User Guide, "Understanding and managing Amazon S3 storage classes"; API Reference,
//! `HeadObject` (`x-amz-storage-class`, `x-amz-restore`, `x-amz-archive-status`), `RestoreObject`. The times:
//! User Guide, "Understanding archive retrieval options".

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::client::{Call, S3Client};
use super::refused::S3Failure;
use super::sum::{self, hex, sha256};
use crate::{AccessClass, ThawSpeed, Warmth};

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

/// Returns how long it takes at most until what was asked for can be read. What is cold and was not stored in
/// that class by this tier was moved by a rule of the bucket, perhaps to `DEEP_ARCHIVE`.
pub(super) const fn thaw_within(access: Option<AccessClass>, speed: ThawSpeed) -> Duration {
    match (access, speed) {
        (Some(AccessClass::Archive), ThawSpeed::Fast) => Duration::from_mins(5),
        (Some(AccessClass::Archive), ThawSpeed::Standard) => Duration::from_hours(5),
        (Some(AccessClass::Archive), ThawSpeed::Bulk)
        | (_, ThawSpeed::Standard | ThawSpeed::Fast) => Duration::from_hours(12),
        (_, ThawSpeed::Bulk) => Duration::from_hours(48),
    }
}

/// Returns the word of `RestoreObject` for a speed.
const fn retrieval(speed: ThawSpeed) -> &'static str {
    match speed {
        ThawSpeed::Bulk => "Bulk",
        ThawSpeed::Standard => "Standard",
        ThawSpeed::Fast => "Expedited",
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
pub(super) async fn thaw(client: &S3Client, key: &str, speed: ThawSpeed) -> Result<(), S3Failure> {
    let retrieval = retrieval(speed);
    let body = Bytes::from(format!(
        "<RestoreRequest xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Days>{READABLE_DAYS}</Days>\
         <GlacierJobParameters><Tier>{retrieval}</Tier></GlacierJobParameters></RestoreRequest>",
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
    fn who_pays_more_waits_less() {
        let hours = |access, speed| thaw_within(access, speed).as_secs_f64() / 3600.0;
        for access in [Some(AccessClass::Archive), None] {
            let [bulk, standard, fast] =
                [ThawSpeed::Bulk, ThawSpeed::Standard, ThawSpeed::Fast].map(|s| hours(access, s));
            assert!(bulk > standard && standard >= fast, "{access:?}");
        }
        assert!((hours(Some(AccessClass::Archive), ThawSpeed::Standard) - 5.0).abs() < 0.01);
        assert_eq!(retrieval(ThawSpeed::default()), "Standard");
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
