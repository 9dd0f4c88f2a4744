//! What a bucket keeps of objects that were deleted or replaced, and how they really go.

use http::{Method, StatusCode};
use serde::Deserialize;

use super::client::{Call, S3Client};
use super::listing::{self, Listed};
use super::locks;
use super::refused::{Refused, S3Failure};
use crate::Protection;
use crate::http::answers::document;
use crate::http::refused;

/// Whether a bucket keeps versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Versioning {
    /// It does, or did.
    Kept,
    /// It never did.
    None,
    /// The store does not tell these credentials.
    Untold,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct VersioningAnswer {
    status: Option<String>,
}

/// Asks whether the bucket keeps versions; [`S3Client::versioning`] remembers it.
pub(super) async fn ask(client: &S3Client) -> Result<Versioning, S3Failure> {
    match client.ask(Call::new(Method::GET, "").query("versioning", "")).await {
        Ok(answer) => {
            let said: VersioningAnswer = document(&answer.body)?;
            Ok(if said.status.is_some() { Versioning::Kept } else { Versioning::None })
        }
        Err(S3Failure::Refused(refused)) => match refused.status {
            StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => Ok(Versioning::None),
            StatusCode::FORBIDDEN if refused.code == "AccessDenied" => Ok(Versioning::Untold),
            _ => Err(S3Failure::Refused(refused)),
        },
        Err(failure) => Err(failure),
    }
}

impl Versioning {
    /// Returns what is to be listed so that nothing is missed.
    pub(super) const fn listed(self) -> Listed {
        match self {
            Self::Kept => Listed::Versions,
            Self::None | Self::Untold => Listed::Objects,
        }
    }
}

/// Why an object was not deleted.
type DeleteFailure = refused::DeleteFailure<Refused>;

/// Deletes a key with all that the bucket keeps of it.
///
/// The oldest version goes first: whichever is refused, the object is what it was for whoever reads.
pub(super) async fn delete(client: &S3Client, key: &str) -> Result<(), DeleteFailure> {
    if client.versioning().await? == Versioning::None {
        return delete_version(client, key, None).await;
    }
    let history = listing::history(client, key).await?;
    for version in history.versions.iter().rev().chain(&history.markers) {
        delete_version(client, key, version.as_deref()).await?;
    }
    Ok(())
}

async fn delete_version(
    client: &S3Client,
    key: &str,
    version: Option<&str>,
) -> Result<(), DeleteFailure> {
    match client.ask(Call::new(Method::DELETE, key).version(version)).await {
        Ok(_) => Ok(()),
        Err(S3Failure::Refused(refused)) if refused.is_absence() => Ok(()),
        Err(S3Failure::Refused(refused)) if refused.status == StatusCode::FORBIDDEN => {
            Err(why_forbidden(client, key, version, refused).await)
        }
        Err(failure) => Err(failure.into()),
    }
}

/// Tells a lock from a lack of rights, which S3 answers alike.
async fn why_forbidden(
    client: &S3Client,
    key: &str,
    version: Option<&str>,
    refused: Box<Refused>,
) -> DeleteFailure {
    match locks::read(client, key, version).await {
        Ok(Protection::Locked { until, .. }) => DeleteFailure::Locked { until: Some(until) },
        // Whoever may not read locks still learns what the store says of its own accord.
        _ if refused.message.to_lowercase().contains("object lock") => {
            DeleteFailure::Locked { until: None }
        }
        _ => S3Failure::Refused(refused).into(),
    }
}
