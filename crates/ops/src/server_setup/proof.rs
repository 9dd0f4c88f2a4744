//! The proof that a server archives: a segment that it ended is on every tier that has to hold it.

use std::path::Path;
use std::time::Duration;

use lifeboat_model::TierName;
use lifeboat_postgres::archive::{Cluster, inventory};
use lifeboat_postgres::wal::{SegmentName, WalFileName};
use serde::Serialize;

use super::{Job, ServerSetupError};
use crate::error::OpsError;
use crate::wal::WalLog;

/// How long a segment is waited for: after three failures the archiver rests for a minute.
const WAIT_MAX: Duration = Duration::from_mins(2);

/// How often the tiers are looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// After this many failures in a row the archiver rests, and it is not waited for any more.
const FAILURES_MAX: u64 = 3;

/// A tier that holds the segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProvenTier {
    /// Which tier.
    pub tier: TierName,
    /// After how many milliseconds it was seen there.
    pub after_ms: u64,
}

/// What shows that a log is archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// The segment.
    pub segment: SegmentName,
    /// The tiers that hold it, which are all that have to.
    pub tiers: Vec<ProvenTier>,
}

impl Job<'_> {
    /// Ends a segment and waits until every tier that has to hold it does.
    pub(super) fn prove(&self, data: &Path) -> Result<Proof, ServerSetupError> {
        let log = WalLog::of(self.site, Some(&self.options.asset))?;
        let mut missing = log.acknowledging()?;
        let failed_before = self.block_on(self.admin.archiver())?.failures;
        let started = self.site.surroundings().now();
        let segment = self.block_on(self.admin.end_segment())?;
        let folder = Cluster::at(data).map_err(OpsError::from)?.system.folder();
        let mut tiers = Vec::new();
        loop {
            let now = self.site.surroundings().now();
            let waited = Duration::try_from(now.duration_since(started)).unwrap_or_default();
            let mut still = Vec::new();
            for named in missing {
                let listed = inventory::list(named.tier.as_ref(), &folder);
                let listed = self.block_on(async { listed.await.map_err(OpsError::from) })?;
                if listed.iter().any(|found| found.name.file == WalFileName::Segment(segment)) {
                    let after_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
                    tiers.push(ProvenTier { tier: named.name, after_ms });
                } else {
                    still.push(named);
                }
            }
            let Some(first) = still.first() else { return Ok(Proof { segment, tiers }) };
            let failures = self.block_on(self.admin.archiver())?.failures - failed_before;
            if waited >= WAIT_MAX || failures >= FAILURES_MAX {
                let (segment, tier) = (segment.to_string(), first.name.clone());
                let waited_s = waited.as_secs();
                return Err(ServerSetupError::NotArchived { segment, tier, waited_s, failures });
            }
            missing = still;
            self.cancel.check().map_err(OpsError::from)?;
            let clock = &self.site.surroundings().clock;
            self.site.surroundings().runtime.block_on(async { clock.sleep(LOOK_EVERY).await });
        }
    }
}
