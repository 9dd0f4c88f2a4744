//! Letting go what is gone: a person says that snapshots which were recorded on a tier, and are not there any more, may stay away.
//!
//! It is recorded as what retention decides, and means the same from then on: they are not missed, nothing brings them back, and
//! their data goes with the next run of retention.

use std::collections::BTreeSet;

use lifeboat_model::{Cancel, EventSink, JobId, SnapshotId, TierName};
use serde::Serialize;

use crate::catalog::body::{Body, JobEnded, JobStarted, RetentionDecided};
use crate::ending::Ending;
use crate::error::OpsError;
use crate::listing;
use crate::wire::Site;
use crate::wire::open::{NewTiers, OpenSite};

/// Which of the snapshots that are gone are let go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhichGone {
    /// All.
    All,
    /// Those whose ids begin like this.
    These(Vec<String>),
}

impl WhichGone {
    /// Chooses among what is gone; each beginning has to lead to exactly one.
    fn choose(
        &self,
        tier: &TierName,
        gone: BTreeSet<SnapshotId>,
    ) -> Result<Vec<SnapshotId>, OpsError> {
        let Self::These(wanted) = self else { return Ok(gone.into_iter().collect()) };
        let one = |digits: &String| {
            let begins = |id: &&SnapshotId| id.to_hex().starts_with(digits.as_str());
            let mut found = gone.iter().filter(begins);
            match (found.next(), found.next()) {
                (Some(id), None) if !digits.is_empty() => Ok(*id),
                _ => Err(OpsError::NotInPlan {
                    what: format!(
                        "snapshot that is gone from `{tier}` and whose id begins with `{digits}` as no other's does"
                    ),
                }),
            }
        };
        wanted.iter().map(one).collect()
    }
}

/// What was let go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LetGo {
    /// From which tier.
    pub tier: TierName,
    /// In which job; none if there was nothing to let go.
    pub job: Option<JobId>,
    /// Which snapshots.
    pub snapshots: Vec<SnapshotId>,
}

/// Lets snapshots go that are gone from a tier.
pub fn let_go(
    site: &Site,
    tier: &TierName,
    which: &WhichGone,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<LetGo, OpsError> {
    site.address(tier)?;
    let all: BTreeSet<_> = site.plan().tiers().keys().cloned().collect();
    let open = OpenSite::open(site, &all, NewTiers::Leave, events, cancel)?;
    let there =
        open.tier(tier).map_err(|trouble| OpsError::TierUnread { tier: tier.clone(), trouble })?;
    let snapshots = which.choose(tier, listing::gone(&open, there)?)?;
    if snapshots.is_empty() {
        return Ok(LetGo { tier: tier.clone(), job: None, snapshots });
    }
    let job = site.new_job();
    let (command, assets) = ("retention let-go".to_owned(), Vec::new());
    open.record(Body::JobStarted(JobStarted { job, command, assets }))?;
    let decided = RetentionDecided { job, tier: tier.clone(), snapshots: snapshots.clone() };
    open.record(Body::RetentionDecided(decided))?;
    open.record(Body::JobEnded(JobEnded { job, ending: Ending::Succeeded }))?;
    open.deliver()?;
    Ok(LetGo { tier: tier.clone(), job: Some(job), snapshots })
}
