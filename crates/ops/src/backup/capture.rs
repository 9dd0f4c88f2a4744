//! Storing one asset on a tier: its sources, one snapshot, and what that proves.

use lifeboat_model::Timestamp;
use lifeboat_plan::plan::asset::{Asset, AssetKind};
use lifeboat_repository::backup::{self, BackupError, BackupReport, Destinations, ParentChoice};
use lifeboat_repository::follower::Follower;
use lifeboat_repository::source::Source;

use super::base::{BegunBase, conclude};
use super::hold::Hold;
use super::{AssetReport, Job, TierSnapshotReport};
use crate::ending::Ending;
use crate::error::{OpsError, Trouble};
use crate::wire::open::OpenTier;

/// What is read for an asset.
#[derive(Default)]
pub(super) struct Reading {
    /// The sources.
    pub sources: Vec<Source>,
    /// The moment that they show, where it is not the start of reading.
    pub moment: Option<Timestamp>,
    /// The application's revision.
    pub revision: Option<String>,
    /// What the plan asks for beyond it that is not there.
    pub lacking: Option<Trouble>,
    /// The base backup that the sources are of.
    pub base: Option<BegunBase>,
}

/// Why the capture of an asset did not succeed.
pub(super) enum CaptureTrouble {
    /// The tier did not take it, so another one may.
    Tier(Trouble),
    /// It cannot be read as a whole, whichever tier takes it.
    Source(Trouble),
}

impl From<CaptureTrouble> for Trouble {
    fn from(trouble: CaptureTrouble) -> Self {
        match trouble {
            CaptureTrouble::Tier(trouble) | CaptureTrouble::Source(trouble) => trouble,
        }
    }
}

impl CaptureTrouble {
    /// Tells whether the lock under which it failed is why.
    fn under(hold: &Hold, error: BackupError) -> Self {
        match hold.ask() {
            Some(lost) if lost.ending != Ending::Cancelled => Self::Tier(lost.clone()),
            _ => error.into(),
        }
    }
}

impl From<BackupError> for CaptureTrouble {
    fn from(error: BackupError) -> Self {
        let trouble = Trouble::of(&error);
        match error {
            BackupError::Repository(_) if trouble.ending != Ending::Cancelled => {
                Self::Tier(trouble)
            }
            _ => Self::Source(trouble),
        }
    }
}

impl Job<'_> {
    /// Makes the snapshot of an asset; what it shows is added to the report.
    pub(super) fn capture(
        &self,
        asset: &Asset,
        tier: &OpenTier,
        followers: &[&Follower<'_>],
        report: &mut AssetReport,
    ) -> Result<(), CaptureTrouble> {
        let (asset_name, tier_name) = (&report.asset, &tier.named.name);
        let _span = tracing::error_span!("store", asset = %asset_name, tier = %tier_name).entered();
        // What an earlier tier did not take is read anew.
        report.remarks.clear();
        let reading = self
            .read(asset, tier, report)
            .map_err(|error| CaptureTrouble::Source(Trouble::of(&error)))?;
        let Reading { sources, moment, revision, lacking, base } = reading;
        report.revision = revision;
        let options = backup::BackupOptions {
            tags: self.tags(&report.asset),
            time: moment,
            parent: base.as_ref().map_or(ParentChoice::Latest, |base| base.choice),
            ..backup::BackupOptions::new(self.site().name().as_str())
        };
        let clock = self.site().surroundings().clock.as_ref();
        let hold = self.hold(tier).map_err(CaptureTrouble::Tier)?;
        let made = backup::backup_on_condition(
            Destinations { leader: &tier.repository, followers },
            sources,
            &options,
            &mut |_| base.as_ref().map_or(Ok(()), |base| self.may_publish(base)),
            self.events,
            hold.cancel(),
            clock,
        )
        .map_err(|error| CaptureTrouble::under(hold, error))?;
        take_over(made, moment, tier, report);
        let concluded = base.as_ref().map(|base| conclude(base, report)).transpose();
        let damage = concluded.map_err(|error| CaptureTrouble::Source(Trouble::of(&error)))?;
        match (incomplete(report), lacking.or(damage.flatten())) {
            (Some(trouble), _) | (None, Some(trouble)) => Err(CaptureTrouble::Source(trouble)),
            (None, None) => Ok(()),
        }
    }

    fn read(
        &self,
        asset: &Asset,
        tier: &OpenTier,
        report: &mut AssetReport,
    ) -> Result<Reading, OpsError> {
        match &asset.kind {
            AssetKind::Files(files) => self.read_files(files, report),
            AssetKind::Postgres(postgres) => self.read_database(postgres, tier, report),
            AssetKind::Command(command) => Ok(self.read_command(&report.asset, command)),
        }
    }
}

fn take_over(
    made: BackupReport,
    moment: Option<Timestamp>,
    tier: &OpenTier,
    report: &mut AssetReport,
) {
    let complete = made.is_complete();
    let (tier, snapshot) = (tier.named.name.clone(), made.snapshot);
    report.captured = complete.then_some(moment.unwrap_or(made.started));
    report.snapshots.push(TierSnapshotReport { tier, snapshot });
    report.counts = Some(made.counts);
    report.skipped = made.skipped;
}

/// A backup that left something out is not a success.
fn incomplete(report: &AssetReport) -> Option<Trouble> {
    let first = report.skipped.first()?;
    let message = match report.skipped.len() {
        1 => format!("left out {first}"),
        count => format!("left out {first}, and {} more", count - 1),
    };
    let hint = "make it readable, exclude it in the plan, or stop what writes to it meanwhile";
    let exit = Ending::Incomplete.exit().code();
    Some(Trouble {
        ending: Ending::Incomplete,
        message,
        hint: Some(hint.to_owned()),
        exit,
        kind: None,
    })
}
