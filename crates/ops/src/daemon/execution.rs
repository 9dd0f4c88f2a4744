//! Doing what a job says: through the same operations as the command line.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::num::NonZeroU64;
use std::path::PathBuf;

use lifeboat_model::{Cancel, DrillName, EventSink, Exit, ScheduleName};
use lifeboat_plan::plan::timetable::Niceness;
use lifeboat_runbook::{Operator, Witness};
use lifeboat_tiers::Throttle;
use serde::Serialize;
use serde_json::Value;

use crate::backup::{AssetReport, BackupJobReport, BackupOptions, Extent, backup};
use crate::catalog::CatalogError;
use crate::catch_up::catch_up;
use crate::drill::{DrillError, DrillOptions, People, Simulated, Unheard, drill};
use crate::ending::{Ending, StageOutcome};
use crate::error::{OpsError, explain};
use crate::jobs::{Job, Work};
use crate::proof;
use crate::restore_test::{RestoreTestOptions, Trigger, restore_test};
use crate::retention::{Purpose, RetentionOptions, retention};
use crate::schedule::Task;
use crate::state::StateError;
use crate::verification::{Share, VerifyOptions, verify};
use crate::watch::Captured;
use crate::wire::Site;
use crate::wire::open::{NewTiers, OpenSite};
use lifeboat_model::Classify as _;

/// What became of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// How it ended.
    pub ending: Ending,
    /// Why, unless it succeeded.
    pub message: Option<String>,
    /// What a person can do about it.
    pub hint: Option<String>,
    /// How a command ends that was waiting for it.
    pub exit: u8,
    /// The operation's report.
    pub report: Option<Value>,
    /// Whether nothing was done, since a command of this host works with the state.
    pub is_busy: bool,
    /// How much of a watched asset was captured.
    pub captured: Captured,
}

impl Finished {
    /// Returns the end of what failed before there was a report.
    pub fn failed(message: &str) -> Self {
        Self {
            ending: Ending::Failed,
            message: Some(message.to_owned()),
            hint: None,
            exit: Exit::Failed.code(),
            report: None,
            is_busy: false,
            captured: Captured::Nothing,
        }
    }

    /// Returns the end of what was done.
    pub fn done(ending: Ending, message: Option<String>) -> Self {
        let exit = ending.exit().code();
        Self { ending, message, exit, ..Self::failed("") }
    }

    fn of_error(error: &OpsError) -> Self {
        let is_busy = matches!(
            error,
            OpsError::State(StateError::Locked { .. })
                | OpsError::Catalog(CatalogError::State(StateError::Locked { .. }))
        );
        let ending = match error {
            OpsError::NotBuilt { .. } => Ending::NotBuilt,
            error if error.exit() == Exit::Cancelled => Ending::Cancelled,
            _ => Ending::Failed,
        };
        let hint = error.hint().map(|hint| hint.to_string());
        let message = Some(explain(error));
        let exit = error.exit().code();
        Self { ending, message, hint, exit, is_busy, ..Self::failed("") }
    }

    fn of_report(ending: Ending, exit: Exit, why: Option<String>, report: &impl Serialize) -> Self {
        let message = why.filter(|_| ending != Ending::Succeeded);
        let report = serde_json::to_value(report).ok();
        Self { ending, message, exit: exit.code(), report, ..Self::failed("") }
    }
}

/// Somebody who does jobs.
pub trait Executor: Debug + Send + Sync {
    /// Does a job to its end; the site bears its id.
    fn execute(&self, site: Site, job: &Job, events: &dyn EventSink, cancel: &Cancel) -> Finished;
}

/// The operations.
#[derive(Debug, Clone, Copy, Default)]
pub struct Operations;

impl Executor for Operations {
    fn execute(&self, site: Site, job: &Job, events: &dyn EventSink, cancel: &Cancel) -> Finished {
        give_way(nice(&site, &job.work));
        let site = throttled(site, &job.work);
        let done = match &job.work {
            Work::Task { task } => run(&site, task, events, cancel),
            Work::Backup { assets, to, schedule } => {
                let (assets, to, schedule) = (assets.clone(), to.clone(), schedule.clone());
                let options = BackupOptions { assets, to, schedule, ..BackupOptions::default() };
                back_up(&site, &options, events, cancel)
            }
        };
        done.unwrap_or_else(|error| Finished::of_error(&error))
    }
}

fn run(
    site: &Site,
    task: &Task,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<Finished, OpsError> {
    match task {
        Task::Capture(asset) => {
            let (assets, extent) = (vec![asset.clone()], Extent::StoreAlone);
            let options = BackupOptions { assets, extent, ..BackupOptions::default() };
            back_up(site, &options, events, cancel)
        }
        Task::Backup(schedule) => {
            let schedule = Some(schedule.clone());
            let options = BackupOptions { schedule, ..BackupOptions::default() };
            back_up(site, &options, events, cancel)
        }
        Task::CatchUp(tier) => {
            let report = catch_up(site, std::slice::from_ref(tier), events, cancel)?;
            let mut troubles = report.tiers.iter().filter_map(|tier| tier.trouble.as_ref());
            let why = troubles.next().map(|trouble| trouble.message.clone());
            Ok(Finished::of_report(report.ending, report.exit(), why, &report))
        }
        Task::Verification(tier) => {
            let (tiers, share) = (vec![tier.clone()], Share::AfterBackup);
            let report = verify(site, &VerifyOptions { tiers, share }, events, cancel)?;
            let tier = report.tiers.first();
            let why = tier.and_then(|tier| match &tier.trouble {
                Some(trouble) => Some(trouble.message.clone()),
                None => tier.report.findings.first().map(|found| found.problem.clone()),
            });
            Ok(Finished::of_report(report.ending, report.exit(), why, &report))
        }
        Task::Retention => {
            let options = RetentionOptions { tiers: Vec::new(), purpose: Purpose::Run };
            let report = retention(site, &options, events, cancel)?;
            let mut troubles = report.tiers.iter().filter_map(|tier| tier.trouble.as_ref());
            let why = troubles.next().map(|trouble| trouble.message.clone());
            Ok(Finished::of_report(report.ending, report.exit(), why, &report))
        }
        Task::Delivery => deliver(site, events, cancel),
        Task::RestoreTest(name) => {
            let own_program = PathBuf::from(&site.call().program);
            let trigger = Trigger::Schedule;
            let options = RestoreTestOptions {
                trigger,
                ..RestoreTestOptions::of_plan(name.clone(), own_program)
            };
            let report = restore_test(site, &options, events, cancel)?;
            let why = proof::why(&report.tested);
            Ok(Finished::of_report(report.ending, report.ending.exit(), Some(why), &report))
        }
        Task::Drill(name) => drill_of_plan(site, name, events, cancel),
    }
}

/// Runs a drill of the plan; nobody is asked, as nobody may be there.
fn drill_of_plan(
    site: &Site,
    name: &DrillName,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<Finished, OpsError> {
    let planned = site.plan().drills().get(name);
    let what = || format!("drill `{name}`");
    let planned = planned.ok_or_else(|| OpsError::NotInPlan { what: what() })?;
    let host = site.surroundings().hostname.clone();
    let operator = Operator { login: "lifeboat".to_owned(), host, process: std::process::id() };
    let own_program = PathBuf::from(&site.call().program);
    let options = DrillOptions {
        drill: Some(name.clone()),
        ..DrillOptions::of_scenario(site, planned.scenario.clone(), operator, own_program)
    };
    let heard = (&Simulated as &dyn People, &Unheard as &dyn Witness);
    let ended = match drill(site, &options, heard, events, cancel) {
        Ok(ended) => ended,
        Err(DrillError::Ops(error)) => return Err(error),
        Err(error) => {
            let done = Finished::done(Ending::Failed, Some(explain(&error)));
            return Ok(Finished { exit: error.exit().code(), ..done });
        }
    };
    let why = ended.findings.first().map(|finding| finding.what.clone());
    let ending = if cancel.is_cancelled() { Ending::Cancelled } else { Ending::of(ended.outcome) };
    Ok(Finished::of_report(ending, ending.exit(), why, &ended))
}

fn back_up(
    site: &Site,
    options: &BackupOptions,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<Finished, OpsError> {
    let report = backup(site, options, events, cancel)?;
    let bad = |stage: &&StageOutcome| stage.ending == report.ending;
    let stages = report.assets.iter().flat_map(|asset| &asset.stages).chain(&report.locks);
    let why = stages.filter(bad).find_map(|stage| stage.message.clone()).or_else(|| {
        let tier = report.verifications.iter().find(|tier| tier.ending() == report.ending)?;
        Some(format!("`{}` did not pass its verification", tier.tier))
    });
    let captured = captured(&report);
    let done = Finished::of_report(report.ending, report.exit(), why, &report);
    Ok(Finished { captured, ..done })
}

/// Returns how much of its assets a backup brought anywhere; what a tier lacks it gets by catching up.
fn captured(report: &BackupJobReport) -> Captured {
    let is_somewhere = |asset: &AssetReport| !asset.snapshots.is_empty();
    match () {
        () if !report.assets.iter().all(is_somewhere) => Captured::Nothing,
        () if report.assets.iter().all(|asset| asset.captured.is_some()) => Captured::Whole,
        () => Captured::Part,
    }
}

/// Puts on every tier the records that it lacks; opening a site does that.
fn deliver(site: &Site, events: &dyn EventSink, cancel: &Cancel) -> Result<Finished, OpsError> {
    let tiers: BTreeSet<_> = site.plan().tiers().keys().cloned().collect();
    let open = OpenSite::open(site, &tiers, NewTiers::Leave, events, cancel)?;
    let missed = tiers.iter().find_map(|name| open.tier(name).err());
    Ok(match missed {
        None => Finished::done(Ending::Succeeded, None),
        Some(trouble) => Finished::done(Ending::Incomplete, Some(trouble.message)),
    })
}

/// Returns the schedule that a job goes by.
const fn schedule_of(work: &Work) -> Option<&ScheduleName> {
    match work {
        Work::Task { task: Task::Backup(name) } => Some(name),
        Work::Backup { schedule, .. } => schedule.as_ref(),
        Work::Task { .. } => None,
    }
}

fn throttled(site: Site, work: &Work) -> Site {
    let schedule = schedule_of(work).and_then(|name| site.plan().schedules().get(name));
    let write = schedule.and_then(|schedule| NonZeroU64::new(schedule.bandwidth?.0));
    match write {
        Some(_) => site.with_throttle(Throttle { write, read: None }),
        None => site,
    }
}

fn nice(site: &Site, work: &Work) -> Option<Niceness> {
    let schedule = schedule_of(work).and_then(|name| site.plan().schedules().get(name));
    match work {
        Work::Task { task: Task::Retention } => site.plan().retention().nice,
        _ => schedule.and_then(|schedule| schedule.nice),
    }
}

/// Lets this thread, and those that it starts, give way to others: the kernel keeps that for each thread.
fn give_way(nice: Option<Niceness>) {
    let Some(nice) = nice else { return };
    if let Err(error) = rustix::process::setpriority_process(None, i32::from(nice.value())) {
        tracing::warn!(%error, "The work does not give way to others.");
    }
}
