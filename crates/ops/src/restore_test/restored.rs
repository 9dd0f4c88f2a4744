//! What a test brought back, as long as it is there.

use std::fs;
use std::path::{Path, PathBuf};

use lifeboat_model::{AssetName, Cancel, Classify as _, ErrorKind, EventSink, Outcome, Timestamp};
use lifeboat_postgres::recovery::RecoveryTarget;
use lifeboat_postgres::recovery::start::StartError;
use lifeboat_postgres::recovery::throwaway::Use;
use lifeboat_repository::restore::Selection;

use super::RestoreTestOptions;
use super::dump::{Dump, Loaded};
use super::moment::Moment;
use super::question;
use crate::backup::DumpPaths;
use crate::catalog::body::{AssetTested, DumpTested, TestPhase};
use crate::error::{OpsError, explain};
use crate::inquiry::ask_all;
use crate::recovery::sandbox::{Instance, Place, SandboxOptions, claim, folder, milliseconds};
use crate::recovery::{has_base_backups, has_base_backups_alone, verified};
use crate::restore::{self, Destination, RestoreOptions};
use crate::surroundings::Surroundings;
use crate::thaw::ThawOptions;
use crate::wire::{Reached, Site};
use crate::yard::YardPlace;

/// The folder of a place in which files come back: nobody else looks into it.
const FILES: &str = "files";

/// The folder in which dumps come back that lie beside base backups.
const DUMPS: &str = "dumps";

/// The folder in which what is known of repositories is kept meanwhile.
const CACHE: &str = "cache";

/// The folder of a place in which a yard lies.
const YARD: &str = "yard";

/// An asset that came back.
pub(super) struct Restored {
    pub(super) asset: AssetName,
    /// The moment that its data have.
    pub(super) time: Timestamp,
    pub(super) what: What,
}

/// As what it came back.
pub(super) enum What {
    /// As files, below a directory.
    Files(PathBuf),
    /// As a server that runs.
    Server(Box<Instance>),
}

impl Restored {
    /// Removes it. Files go with the ground that they lie on.
    pub(super) fn remove(self) -> Result<(), OpsError> {
        match self.what {
            What::Files(_) => Ok(()),
            What::Server(server) => server.close(),
        }
    }
}

/// What is known of an asset before anything came back.
pub(super) fn unknown(asset: &AssetName) -> AssetTested {
    AssetTested {
        asset: asset.clone(),
        tier: None,
        snapshot: None,
        time: None,
        isolation: None,
        outcome: Outcome::CouldNotVerify,
        message: "it was not tried".to_owned(),
        dump: None,
        duration_ms: 0,
    }
}

/// Tells what it says of the copies that something went wrong: only what lies in them is a failure.
pub(super) fn verdict(site: &Site, error: &OpsError) -> Outcome {
    match error {
        OpsError::Start(StartError::Ended { .. } | StartError::Stalled { .. }) => Outcome::Failed,
        // That there is nothing to restore is as bad as that it cannot be restored, unless it lies where nobody could
        // look.
        OpsError::NoPoint { .. } | OpsError::Choice(_) if !is_hindered(site) => Outcome::Failed,
        OpsError::NoPoint { .. } | OpsError::Choice(_) | OpsError::Thaw(_) => {
            Outcome::CouldNotVerify
        }
        other => match other.kind() {
            ErrorKind::Corrupt | ErrorKind::Incomplete => Outcome::Failed,
            _ => Outcome::CouldNotVerify,
        },
    }
}

/// Tells whether some tier cannot be looked at.
fn is_hindered(site: &Site) -> bool {
    let tiers: Vec<_> = site.plan().tiers().keys().collect();
    let reached = ask_all(&tiers, |tier| site.reach(tier));
    reached.iter().any(|reached| matches!(reached, Reached::Trouble(_)))
}

/// Where files come back.
pub(super) struct Ground {
    place: Place,
    files: PathBuf,
    dumps: PathBuf,
    /// The site as a machine sees it that has nothing: what this host keeps of repositories proves nothing.
    site: Site,
    /// Where servers go, which is not in that machine's cache.
    scratch: PathBuf,
}

/// Takes note of what a phase took.
type Note<'n> = dyn FnMut(TestPhase, u64) + 'n;

/// What is brought back, and how.
type Work<'w> = (&'w RestoreTestOptions, &'w Moment);

impl Ground {
    /// Makes a directory for files, and removes what killed tests left.
    pub(super) fn claim(site: &Site, options: &RestoreTestOptions) -> Result<Self, OpsError> {
        let place = claim(site, options.scratch.as_deref())?;
        let files = place.make(FILES, 0o700, None)?;
        let dumps = place.make(DUMPS, 0o700, None)?;
        let cache_directory = place.make(CACHE, 0o700, None)?;
        let bare = Surroundings { cache_directory, ..site.surroundings().clone() };
        let scratch = options.scratch.clone().unwrap_or_else(|| folder(site));
        Ok(Self { place, files, dumps, site: site.clone().with_surroundings(bare), scratch })
    }

    /// Returns the directory, which has a folder for each asset.
    pub(super) fn files(&self) -> PathBuf {
        self.files.clone()
    }

    /// Makes the place of a yard. Whoever is inside comes from below, and never through here.
    pub(super) fn yard(&self) -> Result<YardPlace, OpsError> {
        Ok(YardPlace(self.place.make(YARD, 0o755, None)?))
    }

    pub(super) fn remove(mut self) -> Result<(), OpsError> {
        Ok(self.place.remove()?)
    }

    /// Brings an asset back, and fills in what is known of it, as far as it comes.
    pub(super) fn bring_back(
        &self,
        work: Work<'_>,
        tested: &mut AssetTested,
        note: &mut Note<'_>,
        heard: (&dyn EventSink, &Cancel),
    ) -> Result<Restored, OpsError> {
        if has_base_backups(&self.site, &tested.asset) {
            let restored = self.server(work, tested, note, heard)?;
            if !has_base_backups_alone(&self.site, &tested.asset) {
                self.dump_beside(work.0, tested, note, heard)?;
            }
            return Ok(restored);
        }
        let restored = self.files_of(work, tested, note, heard)?;
        let is_database = self.site.asset(&tested.asset)?.postgres().is_some();
        if is_database && tested.outcome == Outcome::Passed {
            return self.load(work.0, restored, tested, note, heard);
        }
        Ok(restored)
    }

    /// Loads the dump that is all that there is of a database, so that it can be asked.
    fn load(
        &self,
        options: &RestoreTestOptions,
        restored: Restored,
        tested: &mut AssetTested,
        note: &mut Note<'_>,
        heard: (&dyn EventSink, &Cancel),
    ) -> Result<Restored, OpsError> {
        let What::Files(directory) = &restored.what else { return Ok(restored) };
        let dump = self.dump(options, (&tested.asset, directory), heard);
        let Loaded { tested: shown, server } = dump.load()?;
        note(TestPhase::Load, shown.duration_ms);
        take_note(tested, shown);
        let Some((server, isolation)) = server else { return Ok(restored) };
        tested.isolation = Some(isolation);
        Ok(Restored { what: What::Server(Box::new(server)), ..restored })
    }

    /// Loads the dump that lies in the snapshot beside the base backup that came back, asks it the plan's questions as well, and
    /// removes it.
    fn dump_beside(
        &self,
        options: &RestoreTestOptions,
        tested: &mut AssetTested,
        note: &mut Note<'_>,
        heard: (&dyn EventSink, &Cancel),
    ) -> Result<(), OpsError> {
        let asset = tested.asset.clone();
        let directory = self.dumps.join(asset.as_str());
        let begun = self.site.surroundings().now();
        let came = self.fetch_dump((tested, &directory), note, heard);
        heard.1.check()?;
        let now = || self.site.surroundings().now();
        let (outcome, message) = match came {
            Ok(time) => {
                let dump = self.dump(options, (&asset, &directory), heard);
                let Loaded { tested: shown, server } = dump.load()?;
                note(TestPhase::Load, shown.duration_ms);
                let (mut outcome, mut message) = (shown.outcome, shown.message);
                if let Some((server, _)) = server {
                    let what = What::Server(Box::new(server));
                    let restored = Restored { asset: asset.clone(), time, what };
                    let asked_at = now();
                    let asked = question::ask_dump(&self.site, options, &restored, heard.1);
                    note(TestPhase::Check, milliseconds(asked_at, now()));
                    restored.remove()?;
                    if let Some((worst, why)) = asked? {
                        (outcome, message) = (worst, why);
                    }
                }
                (outcome, message)
            }
            Err(error) => (verdict(&self.site, &error), explain(&error)),
        };
        let duration_ms = milliseconds(begun, now());
        take_note(tested, DumpTested { outcome, message, duration_ms });
        // What cannot be removed goes with the ground.
        _ = fs::remove_dir_all(&directory);
        Ok(())
    }

    /// Brings the dump back that lies in a snapshot; returns when it was made.
    fn fetch_dump(
        &self,
        (tested, directory): (&AssetTested, &Path),
        note: &mut Note<'_>,
        heard: (&dyn EventSink, &Cancel),
    ) -> Result<Timestamp, OpsError> {
        let folder = DumpPaths::folder(&tested.asset);
        let selection = Selection::new(&[&folder], &[]).expect("no name of an asset is a pattern");
        let destination = Destination::Directory(directory.to_owned());
        let wanted = RestoreOptions {
            snapshot: tested.snapshot,
            tier: tested.tier.clone(),
            selection,
            ..RestoreOptions::new(tested.asset.clone(), destination)
        };
        let begun = self.site.surroundings().now();
        let mut time = begun;
        let mut hear = |preview: &restore::RestorePreview| time = preview.capture.time;
        let came = restore::bring_back(&self.site, &wanted, directory, &mut hear, heard);
        note(TestPhase::Restore, milliseconds(begun, self.site.surroundings().now()));
        let report = came?;
        match report.failed.first() {
            None => Ok(time),
            Some(bad) => Err(OpsError::Unreadable {
                path: bad.path.clone(),
                source: std::io::Error::other(bad.what.clone()),
            }),
        }
    }

    fn dump<'a>(
        &'a self,
        options: &'a RestoreTestOptions,
        (asset, directory): (&'a AssetName, &'a Path),
        (events, cancel): (&'a dyn EventSink, &'a Cancel),
    ) -> Dump<'a> {
        let Self { site, scratch, .. } = self;
        Dump { site, options, asset, directory, scratch, events, cancel }
    }

    fn files_of(
        &self,
        (options, moment): Work<'_>,
        tested: &mut AssetTested,
        note: &mut Note<'_>,
        heard: (&dyn EventSink, &Cancel),
    ) -> Result<Restored, OpsError> {
        let site = &self.site;
        let asset = tested.asset.clone();
        let directory = self.files.join(asset.as_str());
        let destination = Destination::Directory(directory.clone());
        let mut wanted = RestoreOptions::new(asset.clone(), destination);
        (wanted.at, wanted.tier) = (moment.at, options.tier.clone());
        let now = || site.surroundings().now();
        let (begun, mut chosen, mut time) = (now(), None, now());
        let mut hear = |preview: &restore::RestorePreview| {
            chosen = Some(now());
            time = preview.capture.time;
            tested.tier = Some(preview.tier.clone());
            tested.snapshot = Some(preview.snapshot);
            tested.time = Some(preview.capture.time);
        };
        let came = restore::bring_back(site, &wanted, &directory, &mut hear, heard);
        let (ended, chosen) = (now(), chosen.unwrap_or(begun));
        note(TestPhase::Fetch, milliseconds(begun, chosen));
        note(TestPhase::Restore, milliseconds(chosen, ended));
        let report = came?;
        tested.outcome = Outcome::Passed;
        tested.message =
            format!("{} files with {} bytes are as they were stored", report.files, report.bytes);
        if let Some(bad) = report.failed.first() {
            tested.outcome = Outcome::Failed;
            let (path, count) = (bad.path.display(), report.failed.len());
            tested.message =
                format!("{count} did not come back, the first is {path}: {}", bad.what);
        }
        Ok(Restored { asset, time, what: What::Files(directory) })
    }

    /// Recovers a server into a sandbox of its own.
    fn server(
        &self,
        (options, moment): Work<'_>,
        tested: &mut AssetTested,
        note: &mut Note<'_>,
        heard: (&dyn EventSink, &Cancel),
    ) -> Result<Restored, OpsError> {
        let site = &self.site;
        let asset = tested.asset.clone();
        let wanted = SandboxOptions {
            asset: asset.clone(),
            target: moment.target.clone(),
            tier: options.tier.clone(),
            scratch: Some(self.scratch.clone()),
            purpose: Use::Write,
            demand: options.demand,
            thaw: ThawOptions::default(),
            own_program: options.own_program.clone(),
        };
        let now = || site.surroundings().now();
        let begun = now();
        let chosen = std::cell::RefCell::new(None);
        let announce = |preview: &crate::recovery::RecoveryPreview| {
            *chosen.borrow_mut() = Some((now(), preview.clone()));
        };
        let (opened, files) = verified::open_looked_at(site, &wanted, &announce, heard);
        let ended = now();
        let Some((chosen, preview)) = chosen.into_inner() else {
            note(TestPhase::Fetch, milliseconds(begun, ended));
            return Err(opened.err().unwrap_or(OpsError::Cancelled(lifeboat_model::Cancelled)));
        };
        tested.tier = Some(preview.tier.clone());
        tested.snapshot = Some(preview.snapshot);
        let fetched = milliseconds(begun, chosen);
        let looked = files.as_ref().map_or(0, |files| files.duration_ms);
        note(TestPhase::Fetch, fetched);
        note(TestPhase::Check, looked);
        let sandbox = match opened {
            Ok(sandbox) => sandbox,
            Err(error) => {
                let rest = milliseconds(chosen, ended).saturating_sub(looked);
                // The files were looked at once they were there; what failed then is the server.
                note(if files.is_some() { TestPhase::Replay } else { TestPhase::Restore }, rest);
                return Err(error);
            }
        };
        let report = sandbox.report();
        note(TestPhase::Restore, report.restored_ms.saturating_sub(fetched));
        note(TestPhase::Replay, report.replayed_ms);
        let time = match moment.target {
            RecoveryTarget::Time(time) => time,
            _ => report.last_replayed_commit.unwrap_or(preview.consistent),
        };
        tested.time = Some(time);
        tested.isolation = Some(report.isolation.clone());
        let files = files.expect("it was looked at before it was started");
        tested.outcome = files.outcome;
        tested.message.clone_from(files.findings.first().unwrap_or(&files.message));
        if files.outcome == Outcome::Passed && !report.is_promoted {
            tested.outcome = Outcome::Failed;
            "the server takes no changes".clone_into(&mut tested.message);
        }
        let server = Box::new(sandbox.into_instance());
        Ok(Restored { asset, time, what: What::Server(server) })
    }
}

/// Takes note of what a dump showed, which is a part of what came back.
fn take_note(tested: &mut AssetTested, dump: DumpTested) {
    if dump.outcome > tested.outcome {
        tested.outcome = dump.outcome;
        tested.message = format!("its dump: {}", dump.message);
    }
    tested.dump = Some(dump);
}

/// Removes everything below a directory, but not the directory.
pub(super) fn empty(directory: &Path) -> std::io::Result<()> {
    fs::remove_dir_all(directory)?;
    fs::create_dir(directory)
}
