//! Damage that somebody met while reading from a tier: a restore proves as much against a tier as a verification.
//!
//! It is recorded as one that failed, so that from then on all ask other tiers first and build on nothing of it, until a
//! verification that reads all data shows otherwise.

use std::collections::BTreeSet;
use std::error::Error;
use std::io;

use lifeboat_model::{JobId, Outcome, PackId, TierName};
use lifeboat_postgres::PostgresError;
use lifeboat_repository::RepositoryError;
use lifeboat_repository::restore::RestoreReport;
use lifeboat_tiers::TierError;

use crate::catalog::body::{Body, SKIPPED_MAX, TierVerified};
use crate::error::{OpsError, explain};
use crate::wire::open::OpenSite;

/// Records what a job read from a tier met there, if that was damage; `read` is what it restored of files, or why it ended.
pub(crate) fn record(
    open: &OpenSite<'_>,
    (tier, job): (&TierName, JobId),
    read: Result<Option<&RestoreReport>, &OpsError>,
) -> Result<(), OpsError> {
    let met = match read {
        Ok(files) => files.and_then(of_files),
        Err(error) => of_error(error),
    };
    let Some((findings, damaged_packs)) = met else { return Ok(()) };
    tracing::info!(%tier, packs = damaged_packs.len(), "The tier is damaged, which is recorded.");
    open.record(Body::TierVerified(TierVerified {
        job,
        tier: tier.clone(),
        outcome: Outcome::Failed,
        packs_read: 0,
        bytes_read: 0,
        all_data: false,
        read_until: None,
        findings: findings.into_iter().take(SKIPPED_MAX).collect(),
        damaged_packs,
    }))?;
    Ok(())
}

/// What was found, and the packs that it lies in.
type Met = (Vec<String>, BTreeSet<PackId>);

fn of_files(report: &RestoreReport) -> Option<Met> {
    report.met_damage().then(|| (report.damage.clone(), report.damaged_packs.clone()))
}

/// A tier that cannot be read proves nothing.
fn of_error(error: &OpsError) -> Option<Met> {
    let packs = match error {
        OpsError::Repository(error) => of_repository(error)?,
        OpsError::Unreadable { source, .. }
        | OpsError::Postgres(PostgresError::DumpUnreadable { source, .. }) => of_reader(source)?,
        _ => return None,
    };
    Some((vec![explain(error)], packs))
}

/// Returns the packs that damage lies in, as far as they are known; none at all if it is no damage.
fn of_repository(error: &RepositoryError) -> Option<BTreeSet<PackId>> {
    let pack = match error {
        RepositoryError::Corrupt(corruption) => corruption.object.pack(),
        RepositoryError::Tier(
            TierError::NotFound { path, .. } | TierError::OutOfRange { path, .. },
        ) => path.file_name().parse().ok(),
        _ => return None,
    };
    Some(pack.into_iter().collect())
}

/// The same of what a reader of a file ended with.
fn of_reader(error: &io::Error) -> Option<BTreeSet<PackId>> {
    let mut cause: Option<&(dyn Error + 'static)> = error.get_ref().map(|inner| inner as _);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return of_repository(found);
        }
        cause = error.source();
    }
    None
}
