//! An asset recovered into a sandbox, with everything checked that can be: the proof that it comes back.
//!
//! The rungs, each with its time: its files are restored and held against their manifest, pages are judged in the
//! same pass; the server replays the log; it looks through its tables and indexes; rows are counted again and
//! compared with those of the backup; the plan's questions are asked as the application.
//!
//! # Which moment
//!
//! Row counts are true at one position in the log, so that is the moment unless another is asked for. At any
//! other moment they could not verify.
//!
//! # Crash consistency
//!
//! What came of it is recorded at the end, all at once. A kill before leaves no record and no server. Whoever has to
//! wait for cold storage has begun nothing, and only the asking is recorded.

mod checks;
mod counted;

use std::path::{Path, PathBuf};

use lifeboat_model::{
    AssetName, Cancel, Event, EventSink, Exit, JobId, Outcome, SiteName, Stage, TierName,
    Timestamp, Work,
};
use lifeboat_postgres::base::Manifest;
use lifeboat_postgres::recovery::RecoveryTarget;
use lifeboat_postgres::recovery::start::StartError;
use lifeboat_postgres::recovery::throwaway::Use;
use lifeboat_postgres::verification::directory::{DirectoryError, DirectoryReport, Origin, verify};
use serde::Serialize;

use self::checks::{Checks, files};
pub(crate) use self::checks::{QUESTION_MAX, Shown, ask_in, judge};
use self::counted::{Counted, find_counted};
use super::sandbox::{Demand, Sandbox, SandboxOptions, SandboxReport, milliseconds};
use super::{RecoveryOptions, RecoveryPreview, open};
use crate::catalog::body::{Body, JobEnded, JobStarted, RestoreVerified};
use crate::ending::Ending;
use crate::error::{OpsError, Trouble, explain};
use crate::thaw::ThawOptions;
use crate::wire::Site;

pub use self::checks::{CheckResult, OF_PLAN};

/// The version of [`VerifiedReport`] as JSON.
pub const SCHEMA: u32 = 1;

/// Which moment is recovered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// That at which rows were counted at the newest base backup; the latest, where there is none.
    Counted,
    /// Another.
    At(RecoveryTarget),
}

/// What is verified, and how.
#[derive(Debug, Clone)]
pub struct VerifiedOptions {
    /// Which asset; it has base backups.
    pub asset: AssetName,
    /// Which moment.
    pub moment: Moment,
    /// From which tier; the first in the plan's order that has a base backup, if absent.
    pub tier: Option<TierName>,
    /// In which folder; one in the cache directory, if absent.
    pub scratch: Option<PathBuf>,
    /// How much isolation there has to be.
    pub demand: Demand,
    /// This program's file.
    pub own_program: PathBuf,
    /// What is done about packs in cold storage.
    pub thaw: ThawOptions,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct VerifiedReport {
    /// The version of this document.
    pub schema: u32,
    /// Which site.
    pub site: SiteName,
    /// Which job.
    pub job: JobId,
    /// What was recovered.
    pub recovered: RecoveryPreview,
    /// The sandbox; absent if its server did not come up.
    pub sandbox: Option<SandboxReport>,
    /// The checks, in their order.
    pub checks: Vec<CheckResult>,
    /// The verdict over all.
    pub outcome: Outcome,
    /// How it ended.
    pub ending: Ending,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

impl VerifiedReport {
    /// Returns how the command ends.
    pub fn exit(&self) -> Exit {
        self.ending.exit()
    }
}

/// Recovers an asset into a sandbox, checks it and records what came of it.
pub fn verify_restore(
    site: &Site,
    options: &VerifiedOptions,
    announce: &dyn Fn(&RecoveryPreview),
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<VerifiedReport, OpsError> {
    let (job, started) = (site.surroundings().new_job(), site.surroundings().now());
    let counted = Verifying::counted(site, options, events, cancel)?;
    let mut work =
        Verifying { site, options, counted, preview: None, looked: None, events, cancel };
    let done = work.run(announce);
    let (sandbox, checks) = match &done {
        Ok((sandbox, checks)) => (sandbox.clone(), checks.clone()),
        Err(_) => (None, Vec::new()),
    };
    let ended = site.surroundings().now();
    let worst = checks.iter().map(|check| check.outcome).max();
    let (outcome, ending) = match &done {
        Ok(_) => judged(worst.unwrap_or(Outcome::CouldNotVerify)),
        Err(error) => match Trouble::of(error).ending {
            Ending::Failed => judged(Outcome::Failed),
            other => (Outcome::CouldNotVerify, other),
        },
    };
    // What has to be waited for was not verified, and did not fail either.
    let preview = work.preview.filter(|_| !matches!(done, Err(OpsError::Thaw(_))));
    let report = preview.map(|recovered| VerifiedReport {
        schema: SCHEMA,
        site: site.name().clone(),
        job,
        recovered,
        sandbox,
        checks,
        outcome,
        ending,
        started,
        ended,
        duration_ms: milliseconds(started, ended),
    });
    if let Some(report) = &report {
        record(site, options, report, done.as_ref().err(), (events, cancel))?;
    }
    done?;
    Ok(report.expect("what was recovered was said beforehand"))
}

const fn judged(outcome: Outcome) -> (Outcome, Ending) {
    (outcome, Ending::of(outcome))
}

/// Records what came of it, with why it ended early if it did.
fn record(
    site: &Site,
    options: &VerifiedOptions,
    report: &VerifiedReport,
    error: Option<&OpsError>,
    (events, cancel): (&dyn EventSink, &Cancel),
) -> Result<(), OpsError> {
    let open = open(site, &options.recovery(RecoveryTarget::Latest), events, cancel)?;
    let (job, ending, sandbox) = (report.job, report.ending, report.sandbox.as_ref());
    let (command, assets) = ("verify".to_owned(), vec![options.asset.clone()]);
    open.record(Body::JobStarted(JobStarted { job, command, assets }))?;
    open.record(Body::RestoreVerified(RestoreVerified {
        job,
        asset: options.asset.clone(),
        tier: report.recovered.tier.clone(),
        snapshot: report.recovered.snapshot,
        at: report.recovered.at.clone(),
        replayed: sandbox.and_then(|sandbox| sandbox.replayed),
        isolation: sandbox.map(|sandbox| sandbox.isolation.clone()),
        outcome: report.outcome,
        trouble: error.map(|error| explain(error)),
        checks: report.checks.clone(),
        restored_ms: sandbox.map(|sandbox| sandbox.restored_ms),
        replayed_ms: sandbox.map(|sandbox| sandbox.replayed_ms),
        duration_ms: report.duration_ms,
    }))?;
    open.record(Body::JobEnded(JobEnded { job, ending }))?;
    open.deliver()?;
    Ok(())
}

/// What was found of a directory before its server ran, and how long that took, in milliseconds.
type Looked = (Result<DirectoryReport, DirectoryError>, u64);

/// A verification while it runs.
struct Verifying<'a> {
    site: &'a Site,
    options: &'a VerifiedOptions,
    counted: Result<Counted, String>,
    preview: Option<RecoveryPreview>,
    looked: Option<Looked>,
    events: &'a dyn EventSink,
    cancel: &'a Cancel,
}

impl Verifying<'_> {
    /// Finds out what there is to compare rows with.
    fn counted(
        site: &Site,
        options: &VerifiedOptions,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<Result<Counted, String>, OpsError> {
        let recovery = options.recovery(RecoveryTarget::Latest);
        let open = open(site, &recovery, events, cancel)?;
        let counted = find_counted(&open, &recovery, (events, cancel))?;
        Ok(match (&options.moment, counted) {
            (Moment::At(RecoveryTarget::Lsn(lsn)), Ok(counted)) if *lsn == counted.position => {
                Ok(counted)
            }
            (Moment::At(other), Ok(counted)) => {
                Err(format!("rows were counted at lsn:{}, and this is {other}", counted.position))
            }
            (_, counted) => counted,
        })
    }

    fn target(&self) -> RecoveryTarget {
        match (&self.options.moment, &self.counted) {
            (Moment::At(target), _) => target.clone(),
            (Moment::Counted, Ok(counted)) => RecoveryTarget::Lsn(counted.position),
            (Moment::Counted, Err(_)) => RecoveryTarget::Latest,
        }
    }

    fn run(
        &mut self,
        announce: &dyn Fn(&RecoveryPreview),
    ) -> Result<(Option<SandboxReport>, Vec<CheckResult>), OpsError> {
        let options = self.options.sandbox(self.target());
        let (site, events, cancel) = (self.site, self.events, self.cancel);
        let (preview, looked) = (std::cell::RefCell::new(None), &mut self.looked);
        let hear = |found: &RecoveryPreview| {
            announce(found);
            *preview.borrow_mut() = Some(found.clone());
        };
        let mut look = |data: &Path, manifest: &Manifest| {
            let begun = site.surroundings().now();
            let report = look_at(data, manifest, events, cancel);
            *looked = Some((report, milliseconds(begun, site.surroundings().now())));
            Ok(cancel.check()?)
        };
        let opened = Sandbox::open_looking(site, &options, (&hear, &mut look), events, cancel);
        self.preview = preview.into_inner();
        let Some((directory, directory_ms)) = &self.looked else {
            return opened.map(|_| (None, Vec::new()));
        };
        let sandbox = match opened {
            Ok(sandbox) => sandbox,
            Err(OpsError::Start(
                error @ (StartError::Ended { .. } | StartError::Stalled { .. }),
            )) => {
                return Ok((None, down(directory, *directory_ms, &error)));
            }
            Err(error) => return Err(error),
        };
        let checks = Checks {
            site,
            sandbox: &sandbox,
            directory,
            directory_ms: *directory_ms,
            counted: &self.counted,
            cancel,
        };
        let results = checks.all()?;
        let report = sandbox.report().clone();
        sandbox.close()?;
        Ok((Some(report), results))
    }
}

/// Verifies a directory before its server is started.
fn look_at(
    data: &Path,
    manifest: &Manifest,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<DirectoryReport, DirectoryError> {
    let bytes = manifest.files.iter().map(|file| file.size).sum();
    let total = Some(Work { items: manifest.files.len() as u64, bytes });
    events.emit(Event::Started { stage: Stage::Data, total });
    let advance = |bytes| {
        events.emit(Event::Advanced { stage: Stage::Data, work: Work { items: 0, bytes } });
    };
    let report = verify(data, &Origin::from(manifest), &advance, cancel);
    events.emit(Event::Finished { stage: Stage::Data });
    report
}

/// Opens a sandbox whose files were held against what was backed up before its server was started; tells what that
/// showed, also if the server did not come up then.
pub(crate) fn open_looked_at(
    site: &Site,
    options: &SandboxOptions,
    announce: &dyn Fn(&RecoveryPreview),
    (events, cancel): (&dyn EventSink, &Cancel),
) -> (Result<Sandbox, OpsError>, Option<CheckResult>) {
    let mut shown = None;
    let mut look = |data: &Path, manifest: &Manifest| {
        let begun = site.surroundings().now();
        let found = look_at(data, manifest, events, cancel);
        let mut files = files(&found, &|_| String::new());
        for finding in found.iter().flat_map(|report| &report.page_findings) {
            files.note(Outcome::Failed, || finding.to_string());
        }
        shown = Some(files.named("files", milliseconds(begun, site.surroundings().now())));
        Ok(cancel.check()?)
    };
    let opened = Sandbox::open_looking(site, options, (announce, &mut look), events, cancel);
    (opened, shown)
}

/// What is known when the server did not come up.
fn down(
    directory: &Result<DirectoryReport, DirectoryError>,
    directory_ms: u64,
    error: &StartError,
) -> Vec<CheckResult> {
    let mut results = vec![files(directory, &|_| String::new()).named("files", directory_ms)];
    results.push(Shown::failed(explain(error)).named("recovery", 0));
    for name in ["pages", "relations", "rows"] {
        results.push(Shown::unknown("the server did not come up").named(name, 0));
    }
    results
}

impl VerifiedOptions {
    fn recovery(&self, target: RecoveryTarget) -> RecoveryOptions {
        RecoveryOptions {
            tier: self.tier.clone(),
            thaw: self.thaw,
            ..RecoveryOptions::new(self.asset.clone(), target, PathBuf::new())
        }
    }

    fn sandbox(&self, target: RecoveryTarget) -> SandboxOptions {
        SandboxOptions {
            asset: self.asset.clone(),
            target,
            tier: self.tier.clone(),
            scratch: self.scratch.clone(),
            purpose: Use::Write,
            demand: self.demand,
            own_program: self.own_program.clone(),
            thaw: self.thaw,
        }
    }
}
