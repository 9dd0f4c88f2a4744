//! Base backups: the files of a server, and the log that makes them whole.
//!
//! # Crash consistency
//!
//! The snapshot is made last, when every segment of the log from the backup's start to its stop is on
//! each tier that acknowledges. A kill before that leaves what was stored, which the next backup finds; the
//! server gives the backup up by itself when the session ends.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::{AssetName, Lsn, TierName, Timestamp, counted};
use lifeboat_plan::plan::asset::{Postgres, WalMode};
use lifeboat_postgres::Server;
use lifeboat_postgres::archive::name::SystemId;
use lifeboat_postgres::archive::{Inventory, inventory};
use lifeboat_postgres::base::history_handover::hand_over;
use lifeboat_postgres::base::manifest::{MANIFEST, Manifest, Origin};
use lifeboat_postgres::base::parent::{Parent, Present};
use lifeboat_postgres::base::{BaseBackup, BaseError, Beginning, Window};
use lifeboat_postgres::wal::SegmentName;
use lifeboat_repository::Snapshot;
use lifeboat_repository::backup::{ParentChoice, Withheld};
use lifeboat_repository::restore::read_file;

use super::remark::Remark;
use super::{AssetReport, Job};
use crate::catalog::body::BaseRecord;
use crate::ending::Ending;
use crate::error::{OpsError, Trouble};
use crate::named_tier::NamedTier;
use crate::point::tag;
use crate::wire::Reached;
use crate::wire::open::OpenTier;

/// How long a segment of the log is waited for: `archive_command` is tried again each minute.
const WAL_WAIT_MAX: Duration = Duration::from_mins(2);

/// How often a primary ends a segment, if its standby does not know: what `lifeboat postgres setup` sets.
const SEGMENT_END_USUAL: Duration = Duration::from_mins(5);

/// How long it is waited before the archive is looked at again: archiving a segment takes some hundredths
/// of a second here, and some tenths far away. Each time it is twice as long.
const WAL_LOOK_FIRST: Duration = Duration::from_millis(10);

/// How long it is waited at most: whoever is slow is asked seldom.
const WAL_LOOK_EVERY_MAX: Duration = Duration::from_millis(500);

/// No manifest is larger: it has some two hundred bytes a file.
const MANIFEST_SIZE_MAX: u64 = 1 << 30;

/// The folder, below an asset's, of files of settings that lie outside of the data directory.
pub use lifeboat_postgres::base::ETC_FOLDER as ETC;

/// Returns the folder of an asset in its snapshots.
pub fn base_folder(asset: &AssetName) -> PathBuf {
    PathBuf::from(format!("/lifeboat/{asset}"))
}

/// Reads what the base backup in a snapshot is.
pub fn read_manifest(
    tier: &OpenTier,
    snapshot: &Snapshot,
    asset: &AssetName,
) -> Result<Manifest, OpsError> {
    let path = base_folder(asset).join(MANIFEST);
    let mut document = Vec::new();
    read_file(&tier.repository, snapshot, &path)?
        .take(MANIFEST_SIZE_MAX)
        .read_to_end(&mut document)
        .map_err(|source| OpsError::Unreadable { path, source })?;
    Ok(Manifest::parse(&document)?)
}

/// Tells whether a snapshot of an asset holds a base backup.
pub fn has_base(snapshot: &Snapshot, asset: &AssetName) -> bool {
    let path = base_folder(asset).join(MANIFEST);
    snapshot.paths.iter().any(|held| Path::new(held) == path)
}

/// A base backup that has begun.
pub(super) struct BegunBase {
    pub(super) backup: BaseBackup,
    /// What the repository goes by.
    pub(super) choice: ParentChoice,
    pub(super) parent: Option<Parent>,
    /// The tiers that must hold the log.
    log: Vec<NamedTier>,
}

impl BegunBase {
    pub(super) fn started(&self) -> Timestamp {
        self.backup.window().beginning().started
    }
}

impl Job<'_> {
    /// Begins a base backup and looks through the server's files.
    pub(super) fn begin_base(
        &self,
        asset: &AssetName,
        postgres: &Postgres,
        tier: &OpenTier,
        report: &mut AssetReport,
    ) -> Result<BegunBase, OpsError> {
        let log = self.log_tiers(asset, postgres)?;
        let (conninfo, environment) = self.site().connection(postgres, self.cancel)?;
        let surroundings = self.site().surroundings();
        let runtime = surroundings.runtime.clone();
        let server = runtime.block_on(Server::connect_without_database(&conninfo, &environment))?;
        let window = self.open_window(&server)?;
        self.prove_archiving(&window, &log)?;
        let (choice, parent) = self.parent(asset, tier, window.beginning(), report)?;
        let backup = BaseBackup::prepare(window, runtime, Arc::clone(&surroundings.clock))?;
        let oddities = backup.inventory().oddities.iter();
        report.remarks.extend(
            oddities
                .map(|odd| Remark::NotStored { path: odd.path.clone(), what: odd.what.to_owned() }),
        );
        Ok(BegunBase { backup, choice, parent, log })
    }

    fn open_window(&self, server: &Server) -> Result<Window, OpsError> {
        let label = format!("lifeboat {}", self.id);
        let surroundings = self.site().surroundings();
        Ok(surroundings.runtime.block_on(Window::open(server, &label, &*surroundings.clock))?)
    }

    /// Returns the tiers that must hold the log before a backup counts.
    fn log_tiers(
        &self,
        asset: &AssetName,
        postgres: &Postgres,
    ) -> Result<Vec<NamedTier>, OpsError> {
        let wal = &postgres.wal;
        let names = if wal.ack.is_empty() { &wal.to } else { &wal.ack };
        if wal.mode == WalMode::None || names.is_empty() {
            let what = format!(
                "`wal = {{ mode = \"archive\", to = [\"…\"] }}` for `{asset}`: a base backup is of no use without the log"
            );
            return Err(OpsError::NotInPlan { what });
        }
        names.iter().map(|name| self.log_tier(name)).collect()
    }

    fn log_tier(&self, name: &TierName) -> Result<NamedTier, OpsError> {
        if let Ok(open) = self.open.tier(name) {
            return Ok(open.named.clone());
        }
        match self.site().reach(name) {
            Reached::Ready(tier) => Ok(tier),
            Reached::Trouble(trouble) => Err(OpsError::LogTier { tier: name.clone(), trouble }),
            Reached::Vacant(vacancy) => {
                Err(OpsError::TierNew { tier: name.clone(), address: vacancy.address().to_owned() })
            }
        }
    }

    /// Waits until the segment in which the backup starts is archived, before hours go into a backup that
    /// would be of no use. A standby cannot end a segment, so there it is seen at the end.
    fn prove_archiving(&self, window: &Window, log: &[NamedTier]) -> Result<(), OpsError> {
        let beginning = window.beginning();
        if beginning.origin == Origin::Standby {
            return Ok(());
        }
        hand_over(&beginning.places.data, beginning.timeline)?;
        self.site().surroundings().runtime.block_on(window.end_first_segment())?;
        self.await_log(log, beginning, Lsn(beginning.start.0 + 1))
    }

    /// Waits until the log from the start up to a position is on every tier that must hold it.
    fn await_log(&self, log: &[NamedTier], beginning: &Beginning, to: Lsn) -> Result<(), OpsError> {
        let surroundings = self.site().surroundings();
        let (started, wait_max) =
            (self.now(), wait_max(beginning.origin, beginning.archive_timeout));
        let mut pause = WAL_LOOK_FIRST;
        loop {
            let Some((tier, segment)) = self.first_missing(log, beginning, to)? else {
                return Ok(());
            };
            let waited = Duration::try_from(self.now().duration_since(started)).unwrap_or_default();
            if waited >= wait_max {
                let (tier, waited_s) = (tier.to_string(), waited.as_secs());
                return Err(BaseError::WalMissing { segment, tier, waited_s }.into());
            }
            self.cancel.check()?;
            // A sleep is made where it is awaited: it needs the runtime's timer.
            surroundings.runtime.block_on(async { surroundings.clock.sleep(pause).await });
            pause = (pause * 2).min(WAL_LOOK_EVERY_MAX);
        }
    }

    fn first_missing<'t>(
        &self,
        log: &'t [NamedTier],
        beginning: &Beginning,
        to: Lsn,
    ) -> Result<Option<(&'t TierName, SegmentName)>, OpsError> {
        let Beginning { start, timeline, control, history, .. } = beginning;
        let system = SystemId(control.system_id);
        for NamedTier { name, tier } in log {
            let folder = system.folder();
            let listed = inventory::list(tier.as_ref(), &folder);
            let listed = self.site().surroundings().runtime.block_on(listed)?;
            let missing = match Inventory::of(listed).cluster(system) {
                Some(held) => held.missing(history, *start, to).first().copied(),
                None => Some(SegmentName::of(*timeline, *start, control.segment_size)),
            };
            if let Some(segment) = missing {
                return Ok(Some((name, segment)));
            }
        }
        Ok(None)
    }

    /// Finds the newest base backup on the tier, and what it may say of pages.
    fn parent(
        &self,
        asset: &AssetName,
        tier: &OpenTier,
        beginning: &Beginning,
        report: &mut AssetReport,
    ) -> Result<(ParentChoice, Option<Parent>), OpsError> {
        let (site, own) = (self.site().name().as_str(), tag("asset", asset));
        let snapshots = tier.repository.snapshots()?;
        let candidates = snapshots.iter().filter(|(_, snapshot)| {
            snapshot.hostname == site && snapshot.tags.contains(&own) && has_base(snapshot, asset)
        });
        let Some((id, snapshot)) = candidates.max_by_key(|(_, snapshot)| snapshot.time.instant())
        else {
            return Ok((ParentChoice::None, None));
        };
        let present = Present {
            system_id: beginning.control.system_id,
            major: beginning.version.major(),
            start: beginning.start,
            history: &beginning.history,
            hint_bits: beginning.hint_bits,
        };
        let trusted = read_manifest(tier, snapshot, asset)
            .map_err(|error| crate::error::explain(&error))
            .and_then(|manifest| {
                Parent::trust(&manifest, &present).map_err(|distrust| distrust.to_string())
            });
        let parent = trusted.inspect_err(|why| {
            report.remarks.push(Remark::AllRead { why: why.clone() });
        });
        Ok((ParentChoice::Snapshot(*id), parent.ok()))
    }

    /// Says whether a base backup may be published: when its log is where it must be.
    pub(super) fn may_publish(&self, base: &BegunBase) -> Result<(), Withheld> {
        let beginning = base.backup.window().beginning();
        let ended = base.backup.ended();
        let stop = ended.map_or(beginning.start, |ended| ended.stop);
        self.await_log(&base.log, beginning, stop).map_err(Withheld::new)
    }
}

/// Returns how long the log of a backup is waited for. The last segment of a standby is ended by its primary alone, which
/// does so some time after it was written to, and a standby most often has that setting too.
fn wait_max(origin: Origin, archive_timeout: Duration) -> Duration {
    match (origin, archive_timeout) {
        (Origin::Primary, _) => WAL_WAIT_MAX,
        (Origin::Standby, Duration::ZERO) => SEGMENT_END_USUAL + WAL_WAIT_MAX,
        (Origin::Standby, ends) => ends.saturating_add(WAL_WAIT_MAX),
    }
}

/// Adds what a base backup turned out to be; returns what is wrong with what it copied.
pub(super) fn conclude(
    base: &BegunBase,
    report: &mut AssetReport,
) -> Result<Option<Trouble>, OpsError> {
    let manifest = base.backup.manifest()?;
    report.base = Some(BaseRecord {
        system_id: manifest.system_id.to_string(),
        timeline: manifest.timeline.0,
        start_lsn: manifest.start_lsn,
        stop_lsn: manifest.stop_lsn,
        stopped: manifest.stopped,
        damaged_pages: manifest.damaged_pages(),
        tablespaces: Some(manifest.tablespaces.clone()),
    });
    let mut trouble = None;
    for file in manifest.files.iter().filter(|file| file.damaged_count() > 0) {
        let (path, pages) = (file.path.0.clone(), file.damaged_count());
        trouble.get_or_insert_with(|| Trouble {
            ending: Ending::Incomplete,
            message: format!(
                "{} of {} are damaged on the server: page {}",
                counted(pages, "page"),
                path.display(),
                file.damaged.first().copied().unwrap_or_default()
            ),
            hint: Some(
                "restore the table from an older backup, or repair the server's disk; what is there was stored as it is"
                    .to_owned(),
            ),
            exit: Ending::Incomplete.exit().code(),
            kind: None,
        });
        report.remarks.push(Remark::DamagedPages { path, pages });
    }
    Ok(trouble)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standby_is_given_the_time_in_which_its_primary_ends_a_segment() {
        let hour = Duration::from_hours(1);
        assert_eq!(wait_max(Origin::Primary, hour), WAL_WAIT_MAX);
        assert_eq!(wait_max(Origin::Standby, hour), hour + WAL_WAIT_MAX);
        assert!(wait_max(Origin::Standby, Duration::ZERO) > SEGMENT_END_USUAL);
    }
}
