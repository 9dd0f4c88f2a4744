//! Access tiers: where blobs go that only a recovery reads, and how they come back.
//!
//! Source: Azure Storage documentation, "Access tiers for blob data", "Blob rehydration from the archive
//! tier"; REST API, "Put Blob", "Get Blob Properties", "Set Blob Tier".

use std::time::Duration;

use http::Method;

use super::client::{AzureClient, Call};
use super::refused::AzureFailure;
use crate::http::Answer;
use crate::{AccessClass, ThawSpeed, Warmth};

/// The header with the access tier.
const CLASS: &str = "x-ms-access-tier";

/// Returns the access tier of Azure. Each is named, since an account has a default of its own.
const fn class(access: AccessClass) -> &'static str {
    match access {
        AccessClass::Hot => "Hot",
        AccessClass::Cool => "Cool",
        AccessClass::Cold => "Cold",
        AccessClass::Archive => "Archive",
    }
}

/// Stores what is put in an access tier.
pub(super) fn placed(call: Call, access: AccessClass) -> Call {
    call.header(CLASS, class(access))
}

/// Returns the priority of Azure for a speed.
const fn priority(speed: ThawSpeed) -> &'static str {
    match speed {
        ThawSpeed::Bulk | ThawSpeed::Standard => "Standard",
        ThawSpeed::Fast => "High",
    }
}

/// Returns how long it takes at most until a blob that was asked for can be read; the faster for less than
/// ten gigabytes.
pub(super) const fn thaw_within(speed: ThawSpeed) -> Duration {
    match speed {
        ThawSpeed::Bulk | ThawSpeed::Standard => Duration::from_hours(15),
        ThawSpeed::Fast => Duration::from_hours(1),
    }
}

/// Reads from the headers of a blob whether it can be read at once.
pub(super) fn warmth(answer: &Answer) -> Warmth {
    if answer
        .header("x-ms-archive-status")
        .is_some_and(|status| status.starts_with("rehydrate-pending"))
    {
        return Warmth::Thawing;
    }
    match answer.header(CLASS) {
        Some("Archive") => Warmth::Cold,
        _ => Warmth::Ready,
    }
}

/// Asks for a blob to be made readable; harmless where it is, or was asked for.
///
/// It goes to `Hot`, where reading costs nothing more and there is no least time to pay for, and stays there.
/// Only what lies in `Archive` may be asked for: the same request would move what lies in `Cool`.
pub(super) async fn thaw(
    client: &AzureClient,
    key: &str,
    speed: ThawSpeed,
) -> Result<(), AzureFailure> {
    let answer = client.ask_through(Call::new(Method::HEAD, key)).await?;
    if warmth(&answer) != Warmth::Cold {
        return Ok(());
    }
    let call = Call::new(Method::PUT, key).query("comp", "tier");
    let call = placed(call, AccessClass::Hot).header("x-ms-rehydrate-priority", priority(speed));
    match client.ask_through(call).await {
        Ok(_) => Ok(()),
        // Somebody else asked in between.
        Err(AzureFailure::Refused(refused)) if refused.is_being_thawed() => Ok(()),
        Err(failure) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    #[test]
    fn headers_tell_how_warm_a_blob_is() {
        let warmth_of = |named: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in named {
                headers.insert(*name, value.parse().unwrap());
            }
            warmth(&Answer { status: StatusCode::OK, headers, body: Bytes::new() })
        };
        let pending = ("x-ms-archive-status", "rehydrate-pending-to-hot");
        assert_eq!(warmth_of(&[]), Warmth::Ready);
        assert_eq!(warmth_of(&[(CLASS, "Cold")]), Warmth::Ready);
        assert_eq!(warmth_of(&[(CLASS, "Archive")]), Warmth::Cold);
        assert_eq!(warmth_of(&[(CLASS, "Archive"), pending]), Warmth::Thawing);
    }
}
