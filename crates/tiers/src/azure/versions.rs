//! How a blob really goes: with all the versions that the account kept of it.
//!
//! Source: Azure Storage REST API, "Delete Blob"; Azure Storage documentation, "Blob versioning".

use http::Method;

use super::client::{AzureClient, Call};
use super::listing::{self, Hold};
use super::refused::{AzureFailure, Refused};
use crate::http::refused;

/// Why a blob was not deleted.
type DeleteFailure = refused::DeleteFailure<Refused>;

/// Deletes a key with all that the account keeps of it.
///
/// It is looked first whether anything is locked, since deleting the current version is not refused for its
/// lock: it would only become one of the older ones. The oldest goes first: whichever is refused,
/// the blob is what it was for whoever reads.
pub(super) async fn delete(client: &AzureClient, key: &str) -> Result<(), DeleteFailure> {
    let history = listing::history(client, key).await?;
    let now = client.clock.now();
    if let Some(hold) = history.iter().find_map(|entry| entry.hold(now)) {
        let until = match hold {
            Hold::Until(until) => Some(until),
            Hold::Legal => None,
        };
        return Err(DeleteFailure::Locked { until });
    }
    for entry in &history {
        if entry.is_current() {
            delete_one(client, key, None).await?;
        }
        if let Some(id) = &entry.version_id {
            delete_one(client, key, Some(id)).await?;
        }
    }
    Ok(())
}

async fn delete_one(
    client: &AzureClient,
    key: &str,
    version: Option<&str>,
) -> Result<(), DeleteFailure> {
    let mut call = Call::new(Method::DELETE, key).version(version);
    if version.is_none() {
        // Somebody's snapshots would keep the blob from going.
        call = call.header("x-ms-delete-snapshots", "include");
    }
    match client.ask(call).await {
        Ok(_) => Ok(()),
        Err(AzureFailure::Refused(refused)) if refused.is_absence() => Ok(()),
        Err(failure) => Err(failure.into()),
    }
}
