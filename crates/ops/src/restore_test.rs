//! Restore tests: assets come back into a throwaway place, the plan's checks are asked there, and nothing of it stays.
//!
//! ```no_run
//! # fn f(site: &lifeboat_ops::Site) -> Result<(), lifeboat_ops::OpsError> {
//! use lifeboat_model::{Cancel, Silent};
//! use lifeboat_ops::restore_test::{RestoreTestOptions, restore_test};
//! let options = RestoreTestOptions::of_plan("weekly".parse().unwrap(), "/usr/bin/lifeboat".into());
//! let report = restore_test(site, &options, &Silent, &Cancel::new())?;
//! println!("{} with seed {}", report.tested.outcome, report.tested.seed);
//! # Ok(()) }
//! ```
//!
//! # Invariants
//!
//! - What could not be asked, or did not come back, could not verify. A test passes only if everything came back as it was
//!   stored and every check that it names was asked and holds.
//! - What comes back lies in a directory that is removed when the test ends, also while a panic unwinds, and by the
//!   next test or sandbox in the same folder after a kill. Only then is written what came of it: whoever reads that a
//!   test passed knows that nothing of it is left.
//! - Tiers are only read. What is damaged on purpose is the copy in that directory.
//! - What this host keeps of repositories is not used: what comes back would come back on a machine that has nothing.
//! - Every choice is made by the seed: the same seed over the same tiers makes the same test.
//!
//! # Crash consistency
//!
//! A kill leaves no record, files that the next one removes, and no server, which the kernel ends.
//!
//! # Limits
//!
//! - Assets come back one after the other. A logical dump is loaded into an empty server with settings of its own: what wants a
//!   library that is loaded at the server's start does not load.
//! - Services are started in a [yard](lifeboat_postgres::yard), into which all assets are restored once more.

mod control;
mod dump;
mod moment;
mod question;
mod restored;
mod seed;
pub mod staged;
pub mod stand;
mod within;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use lifeboat_model::{
    AssetName, Cancel, EventSink, Exit, JobId, Outcome, RestoreTestName, SiteName, TierName,
    Timestamp,
};
use lifeboat_plan::plan::timetable::RestoreTest;
use lifeboat_plan::value::instant::PointInTime;
use serde::Serialize;

use self::moment::Moment;
use self::question::Questions;
use self::restored::{Ground, Restored};
use self::seed::Draws;
use self::stand::{Stand, Stood};
use crate::catalog::body::{
    AssetTested, Body, JobEnded, JobStarted, NegativeControl, RestoreTested, ServicesTested,
    TestPhase, TestedCheck,
};
use crate::ending::Ending;
use crate::error::{OpsError, Trouble, explain};
use crate::evidence::document::{LookedFor, Teardown};
use crate::evidence::{self, EvidenceOf, TestedRestore};
use crate::recovery::sandbox::{Demand, milliseconds};
use crate::wire::Site;
use crate::wire::open::{NewTiers, OpenSite};

pub use self::seed::Seed;

/// The version of [`RestoreTestReport`] as JSON.
pub const SCHEMA: u32 = 1;

/// Whether the test is tried on a damaged copy, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Now and then, as the seed decides.
    BySeed,
    /// It is.
    Yes,
}

/// What set a test off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// The plan's schedule.
    Schedule,
    /// A person, by login.
    Person(String),
    /// A program that does not say.
    Program,
}

impl Trigger {
    /// Returns the person, if it was one.
    pub fn operator(&self) -> Option<String> {
        match self {
            Self::Person(login) => Some(login.clone()),
            Self::Schedule | Self::Program => None,
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Schedule => f.write_str("the plan's schedule"),
            Self::Person(login) => write!(f, "run by {login}"),
            Self::Program => f.write_str("not told"),
        }
    }
}

/// Which test is run, and how.
#[derive(Debug, Clone)]
pub struct RestoreTestOptions {
    /// Which test of the plan.
    pub test: RestoreTestName,
    /// Another moment than the plan's.
    pub at: Option<PointInTime>,
    /// What choices are made by; anything, if absent.
    pub seed: Option<Seed>,
    /// Whether it is tried on a damaged copy.
    pub control: Control,
    /// From which tier; for each asset the first in the plan's order that has it, if absent.
    pub tier: Option<TierName>,
    /// In which folder; one in the cache directory, if absent.
    pub scratch: Option<PathBuf>,
    /// How much isolation a server has to have.
    pub demand: Demand,
    /// This program's file.
    pub own_program: PathBuf,
    /// What set it off.
    pub trigger: Trigger,
}

impl RestoreTestOptions {
    /// A test as the plan has it, with what isolation there is.
    pub const fn of_plan(test: RestoreTestName, own_program: PathBuf) -> Self {
        Self {
            test,
            at: None,
            seed: None,
            control: Control::BySeed,
            tier: None,
            scratch: None,
            demand: Demand::WhatCanBeHad,
            own_program,
            trigger: Trigger::Program,
        }
    }
}

/// What a test showed.
#[derive(Debug, Clone, Serialize)]
pub struct RestoreTestReport {
    /// What was recorded.
    #[serde(flatten)]
    pub tested: RestoreTested,
    /// How it ended.
    pub ending: Ending,
}

/// What several tests showed.
#[derive(Debug, Clone, Serialize)]
pub struct RestoreTestsReport {
    /// The version of this document.
    pub schema: u32,
    /// Which site.
    pub site: SiteName,
    /// The tests, in the order in which they ran.
    pub tests: Vec<RestoreTestReport>,
    /// How the worst of them ended.
    pub ending: Ending,
}

impl RestoreTestsReport {
    /// Puts the reports of tests together.
    pub fn new(site: SiteName, tests: Vec<RestoreTestReport>) -> Self {
        let ending = tests.iter().map(|test| test.ending).max().unwrap_or(Ending::Succeeded);
        Self { schema: SCHEMA, site, tests, ending }
    }

    /// Returns how the command ends.
    pub fn exit(&self) -> Exit {
        self.ending.exit()
    }
}

/// Runs a restore test of the plan and records what came of it.
///
/// # Errors
///
/// Where nothing can be recorded. What keeps a test from being run is in its report.
pub fn restore_test(
    site: &Site,
    options: &RestoreTestOptions,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<RestoreTestReport, OpsError> {
    let _span = tracing::info_span!("restore test", test = %options.test).entered();
    let plans = site.plan().restore_tests().get(&options.test);
    let what = || format!("restore test `{}`", options.test);
    let plans = plans.ok_or_else(|| OpsError::NotInPlan { what: what() })?;
    let (job, heard) = (site.new_job(), (events, cancel));
    let done = match &plans.on {
        Some(host) => staged::send(site, options, (plans, host), job, heard),
        None => here(site, options, plans, job, heard),
    };
    record(site, &done, &options.trigger, events)?;
    Ok(RestoreTestReport { tested: done.tested, ending: done.ending })
}

/// A test that is over, and of which nothing is written yet.
struct Done {
    tested: RestoreTested,
    teardown: Teardown,
    ending: Ending,
    /// Where it was done.
    host: String,
}

/// Does a test on this host.
fn here(
    site: &Site,
    options: &RestoreTestOptions,
    plans: &RestoreTest,
    job: JobId,
    heard: (&dyn EventSink, &Cancel),
) -> Done {
    let mut run = Run::new(site, options, plans, heard);
    let done = run.carry_out();
    let teardown = run.tear_down();
    let ending = match &done {
        Err(error) => Trouble::of(error).ending,
        Ok(()) => Ending::Succeeded,
    };
    let tested = run.into_record(job, done.err());
    let ending = match (ending, tested.outcome) {
        (Ending::Cancelled, _) => Ending::Cancelled,
        (_, outcome) => Ending::of(outcome),
    };
    Done { tested, teardown, ending, host: site.surroundings().hostname.clone() }
}

/// Writes down what came of it; also of a test that was cancelled.
fn record(
    site: &Site,
    done: &Done,
    trigger: &Trigger,
    events: &dyn EventSink,
) -> Result<(), OpsError> {
    let Done { tested, teardown, ending, host } = done;
    let tiers = site.plan().tiers().keys().cloned().collect();
    let open = OpenSite::open(site, &tiers, NewTiers::Leave, events, &Cancel::new())?;
    let assets = tested.assets.iter().map(|tested| tested.asset.clone()).collect();
    let (job, command) = (tested.job, "test".to_owned());
    open.record(Body::JobStarted(JobStarted { job, command, assets }))?;
    let proof = TestedRestore { plan: site.plan(), tested, trigger, host, teardown };
    // First, as its teardown is known to nobody later; a kill right after leaves a test that runs anew.
    evidence::keep(open.catalog(), &EvidenceOf::RestoreTest(&proof))?;
    open.record(Body::RestoreTested(tested.clone()))?;
    open.record(Body::JobEnded(JobEnded { job, ending: *ending }))?;
    open.deliver()?;
    Ok(())
}

/// A test while it runs.
struct Run<'a> {
    site: &'a Site,
    options: &'a RestoreTestOptions,
    plans: &'a RestoreTest,
    events: &'a dyn EventSink,
    cancel: &'a Cancel,
    seed: Seed,
    started: Timestamp,
    phases: Phases,
    moment: Option<Moment>,
    // Servers end before the place goes in which files lie.
    restored: Vec<Restored>,
    ground: Option<Ground>,
    assets: Vec<AssetTested>,
    services: Option<ServicesTested>,
    checks: Vec<TestedCheck>,
    control: Option<NegativeControl>,
    /// What was still there of the yard.
    left_of_yard: Vec<String>,
    left: Option<String>,
}

/// What each phase took.
#[derive(Debug, Default)]
struct Phases(BTreeMap<TestPhase, u64>);

impl Phases {
    fn add(&mut self, phase: TestPhase, ms: u64) {
        *self.0.entry(phase).or_default() += ms;
    }
}

impl<'a> Run<'a> {
    fn new(
        site: &'a Site,
        options: &'a RestoreTestOptions,
        plans: &'a RestoreTest,
        (events, cancel): (&'a dyn EventSink, &'a Cancel),
    ) -> Self {
        Self {
            site,
            options,
            plans,
            events,
            cancel,
            seed: options.seed.unwrap_or_else(Seed::any),
            started: site.surroundings().now(),
            phases: Phases::default(),
            moment: None,
            restored: Vec::new(),
            ground: None,
            assets: Vec::new(),
            services: None,
            checks: Vec::new(),
            control: None,
            left_of_yard: Vec::new(),
            left: None,
        }
    }

    fn now(&self) -> Timestamp {
        self.site.surroundings().now()
    }

    fn at(&self) -> &PointInTime {
        self.options.at.as_ref().unwrap_or(&self.plans.at)
    }

    fn wanted(&self) -> BTreeSet<AssetName> {
        let all = self.site.plan().assets().keys();
        self.plans.assets.pick(all).into_iter().cloned().collect()
    }

    fn carry_out(&mut self) -> Result<(), OpsError> {
        let mut draws = Draws::new(self.seed);
        let wanted = self.wanted();
        self.assets = wanted.iter().map(restored::unknown).collect();
        let begun = self.now();
        let (at, tier) = (self.at(), self.options.tier.as_ref());
        let moment = Moment::choose(self.site, &wanted, at, &mut draws, tier, self.heard());
        self.phases.add(TestPhase::Fetch, milliseconds(begun, self.now()));
        let moment = moment?;
        let ground = Ground::claim(self.site, self.options)?;
        self.moment = Some(moment.clone());
        for place in 0..self.assets.len() {
            self.cancel.check()?;
            self.bring_back(&ground, place, &moment);
        }
        self.cancel.check()?;
        let stood = self.stand_up(&ground, &wanted, &moment);
        self.ground = Some(ground);
        self.cancel.check()?;
        let begun = self.now();
        let asked = self.ask(&mut draws, stood.as_ref());
        self.phases.add(TestPhase::Check, milliseconds(begun, self.now()));
        asked
    }

    fn heard(&self) -> (&'a dyn EventSink, &'a Cancel) {
        (self.events, self.cancel)
    }

    /// Brings one asset back; that it does not come back is a finding, and the others are tried all the same.
    fn bring_back(&mut self, ground: &Ground, place: usize, moment: &Moment) {
        let mut tested = self.assets[place].clone();
        let (begun, heard) = (self.now(), self.heard());
        let work = (self.options, moment);
        let phases = &mut self.phases;
        let came =
            ground.bring_back(work, &mut tested, &mut |phase, ms| phases.add(phase, ms), heard);
        tested.duration_ms = milliseconds(begun, self.now());
        match came {
            Ok(restored) => self.restored.push(restored),
            Err(error) => {
                tested.outcome = restored::verdict(self.site, &error);
                tested.message = explain(&error);
            }
        }
        self.assets[place] = tested;
    }

    /// Starts services on what came back, if the plan wants that.
    fn stand_up(
        &mut self,
        ground: &Ground,
        assets: &BTreeSet<AssetName>,
        moment: &Moment,
    ) -> Option<Stood> {
        self.plans.start.as_ref()?;
        let begun = self.now();
        let stood = match ground.yard() {
            _ if self.outcome() != Outcome::Passed => {
                Stood::not("nothing is started on what did not come back whole".to_owned())
            }
            Err(error) => Stood::not(explain(&error)),
            Ok(place) => {
                let Self { site, options, plans, events, cancel, .. } = *self;
                let stand = Stand { site, options, plans, assets, moment, place, events, cancel };
                let (stood, left) = stand.carry_out();
                self.left_of_yard = left;
                stood
            }
        };
        let duration_ms = milliseconds(begun, self.now());
        self.phases.add(TestPhase::Services, duration_ms);
        self.services = Some(stood.tested(duration_ms));
        Some(stood)
    }

    fn ask(&mut self, draws: &mut Draws, stood: Option<&Stood>) -> Result<(), OpsError> {
        let directory = self.ground.as_ref().map(Ground::files).unwrap_or_default();
        let assets: BTreeSet<_> = self.assets.iter().map(|tested| tested.asset.clone()).collect();
        let came = (self.restored.as_slice(), stood);
        let questions = Questions::new(self.site, came, &assets, directory, self.cancel);
        for name in &self.plans.checks {
            self.checks.push(questions.ask(name)?);
        }
        let is_due = draws.is_control() || self.options.control == Control::Yes;
        // A test that did not pass notices enough.
        if is_due && self.outcome() == Outcome::Passed {
            let before: Vec<_> = self.plans.checks.iter().zip(&self.checks).collect();
            self.control = control::try_on_damage(&questions, &before, draws)?;
        }
        Ok(())
    }

    /// The verdict over what is known so far.
    fn outcome(&self) -> Outcome {
        let assets = self.assets.iter().map(|tested| tested.outcome);
        let checks = self.checks.iter().map(|check| check.result.outcome);
        let control = self.control.iter().map(|control| control.outcome);
        let services = self.services.iter().map(|services| services.outcome);
        // A test that asks nothing shows that it comes back, which is what it is for.
        assets.chain(services).chain(checks).chain(control).max().unwrap_or(Outcome::CouldNotVerify)
    }

    /// Removes everything, and looks whether it is gone; what cannot be removed is said, and tried again by the next test.
    fn tear_down(&mut self) -> Teardown {
        let begun = self.now();
        let (mut servers, mut files) = (Vec::new(), Vec::new());
        let ended = self.restored.len();
        for restored in self.restored.drain(..) {
            servers.extend(restored.remove().err().map(|error| explain(&error)));
        }
        let ground = self.ground.take();
        let place = ground.as_ref().map(Ground::files);
        let removed = ground.map(Ground::remove).and_then(Result::err);
        let left = place.filter(|place| place.symlink_metadata().is_ok());
        files.extend(left.map(|place| place.display().to_string()));
        let trouble = servers.first().cloned().or(removed.map(|error| explain(&error)));
        self.left.clone_from(&trouble);
        let time = self.now();
        self.phases.add(TestPhase::Teardown, milliseconds(begun, time));
        let yard = std::mem::take(&mut self.left_of_yard);
        let is_clean = trouble.is_none() && files.is_empty() && yard.is_empty();
        Teardown {
            outcome: if is_clean { Outcome::Passed } else { Outcome::Failed },
            time,
            looked_for: vec![
                LookedFor {
                    what: format!("servers and directories of {ended} assets"),
                    left: servers,
                },
                LookedFor { what: "the directory of the test".to_owned(), left: files },
                LookedFor {
                    what: "processes, namespaces and mounts of its yard".to_owned(),
                    left: yard,
                },
            ],
            trouble,
        }
    }

    fn into_record(self, job: JobId, error: Option<OpsError>) -> RestoreTested {
        let ended = self.now();
        let verdict = error.as_ref().map(|error| restored::verdict(self.site, error));
        let outcome = verdict.unwrap_or(Outcome::Passed).max(self.outcome());
        let duration_ms = milliseconds(self.started, ended);
        let own = |phase: &TestPhase| *phase != TestPhase::Teardown;
        let others: u64 =
            self.phases.0.iter().filter(|(phase, _)| own(phase)).map(|(_, ms)| ms).sum();
        RestoreTested {
            job,
            test: self.options.test.clone(),
            on: None,
            seed: self.seed.0,
            at: self.at().to_string(),
            moment: self.moment.as_ref().and_then(|moment| moment.time),
            outcome,
            trouble: error.map(|error| explain(&error)).or(self.left),
            assets: self.assets,
            services: self.services,
            checks: self.checks,
            control: self.control,
            own_ms: duration_ms.saturating_sub(others),
            phases_ms: self.phases.0,
            started: self.started,
            duration_ms,
        }
    }
}
