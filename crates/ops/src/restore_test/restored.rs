//! What a test brought back, as long as it is there.

use std::fs;
use std::path::{Path, PathBuf};

use lifeboat_model::{AssetName, Cancel, Classify as _, ErrorKind, EventSink, Outcome, Timestamp};
use lifeboat_postgres::recovery::RecoveryTarget;
use lifeboat_postgres::recovery::start::StartError;
use lifeboat_postgres::recovery::throwaway::Use;

use super::RestoreTestOptions;
use super::moment::Moment;
use crate::catalog::body::{AssetTested, TestPhase};
use crate::error::OpsError;
use crate::inquiry::ask_all;
use crate::recovery::sandbox::{Place, Sandbox, SandboxOptions, claim, folder, milliseconds};
use crate::recovery::{has_base_backups, verified};
use crate::restore::{self, Destination, RestoreOptions};
use crate::surroundings::Surroundings;
use crate::thaw::ThawOptions;
use crate::wire::{Reached, Site};
use crate::yard::YardPlace;

/// The folder of a place in which files come back: nobody else looks into it.
const FILES: &str = "files";

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
    Server(Box<Sandbox>),
}

impl Restored {
    /// Removes it. Files go with the ground that they lie on.
    pub(super) fn remove(self) -> Result<(), OpsError> {
        match self.what {
            What::Files(_) => Ok(()),
            What::Server(sandbox) => sandbox.close(),
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
        let cache_directory = place.make(CACHE, 0o700, None)?;
        let bare = Surroundings { cache_directory, ..site.surroundings().clone() };
        let scratch = options.scratch.clone().unwrap_or_else(|| folder(site));
        Ok(Self { place, files, site: site.clone().with_surroundings(bare), scratch })
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
            self.server(work, tested, note, heard)
        } else {
            self.files_of(work, tested, note, heard)
        }
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
        Ok(Restored { asset, time, what: What::Server(Box::new(sandbox)) })
    }
}

/// Removes everything below a directory, but not the directory.
pub(super) fn empty(directory: &Path) -> std::io::Result<()> {
    fs::remove_dir_all(directory)?;
    fs::create_dir(directory)
}
