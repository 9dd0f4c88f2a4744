//! Drills: a scenario's runbook, carried out in a yard while the platform runs on.
//!
//! [`drill()`] builds a [yard](lifeboat_postgres::yard), sets a keeper to work in it who drives the run as a recovery would be
//! driven, answers for people, and ends it all when its window does. The [keeper] restores from the tiers, and has what
//! the platform does happen inside, where nothing of the host and no network is.
//!
//! # Invariants
//!
//! - A drill writes to no tier but locks and its own record, and tells nobody outside of itself.
//! - Its record and its evidence are written once it was looked for what is left of it, and say what was found.
//! - What its runbook restores is lost when it begins; all else is as it is on the host. Where the scenario happens to a
//!   platform that runs, one runs before it is declared, and is damaged as the plan says, and nowhere but in the yard.
//!
//! # Crash consistency
//!
//! With the process that began a drill everything in its yard ends, whatever ended that process. What is left is a directory,
//! which the next drill removes and records as a drill that was killed.
//!
//! # Limits
//!
//! Root alone builds a yard. A step on another host is refused.

pub mod checklist;
mod error;
pub mod findings;
mod follow;
mod ground;
pub mod keeper;
mod preparation;
pub mod record;
mod sinks;
pub(crate) mod teardown;
mod told;
mod yards;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::{
    Cancel, Classify as _, DrillName, EventSink, Exit, Outcome, RunId, ScenarioName, Timestamp,
};
use lifeboat_plan::plan::runbook::RunKind;
use lifeboat_plan::plan::timetable::Drill;
use lifeboat_plan::value::duration::Span;
use lifeboat_postgres::yard::Yard;
use lifeboat_runbook::{Entry, Journal as _, Operator, Run, Witness};

pub use self::error::DrillError;
pub use self::follow::{Answer, Asked, People, Simulated};
pub use self::preparation::Prepared;
pub use self::record::DrillEnded;
pub(crate) use self::sinks::Sinks;
pub use self::teardown::Teardown;

use self::follow::Follower;
use self::keeper::Kept;
use self::yards::{Claimed, Yards};
use crate::catalog::body::{Body, Restored};
use crate::catalog::view::{View, Wanted};
use crate::error::{OpsError, explain};
use crate::evidence::{self, Carried, EvidenceOf, Undeclared};
use crate::procedure::runs::Runs;
use crate::procedure::{Procedure, ProcedureError};
use crate::state::State;
use crate::surroundings::{Surroundings, uuid_v7};
use crate::wire::Site;
use crate::wire::open::{NewTiers, OpenSite};

/// How often it is looked how far a drill is.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How much longer than its window a keeper has who was asked to end.
const GRACE: Duration = Duration::from_secs(5);

/// How long, and how often, somebody is waited for who works with the state when a drill is to be recorded.
const RECORD_WITHIN: Duration = Duration::from_mins(30);
const RECORD_EVERY: Duration = Duration::from_secs(1);

/// Which drill is run, and how.
#[derive(Debug, Clone)]
pub struct DrillOptions {
    /// What is rehearsed.
    pub scenario: ScenarioName,
    /// The plan's drill that it is, if it is one of those.
    pub drill: Option<DrillName>,
    /// Back to what was captured last at or before this time.
    pub at: String,
    /// How long it may go on, if not as long as its plan says.
    pub window: Option<Duration>,
    /// What runbooks call `target.host`.
    pub host: String,
    /// Who runs it.
    pub operator: Operator,
    /// This program's file.
    pub own_program: PathBuf,
}

impl DrillOptions {
    /// A scenario; by a drill of the plan, if one rehearses it.
    pub fn of_scenario(
        site: &Site,
        scenario: ScenarioName,
        operator: Operator,
        own_program: PathBuf,
    ) -> Self {
        let mut drills = site.plan().drills().iter();
        let drill = drills.find(|(_, drill)| drill.scenario == scenario);
        Self {
            drill: drill.map(|(name, _)| name.clone()),
            scenario,
            at: "latest".to_owned(),
            window: None,
            host: HERE.to_owned(),
            operator,
            own_program,
        }
    }

    fn planned<'s>(&self, site: &'s Site) -> Option<&'s Drill> {
        site.plan().drills().get(self.drill.as_ref()?)
    }

    fn window(&self, site: &Site) -> Option<Duration> {
        let planned = self.planned(site).and_then(|drill| drill.window);
        self.window.or(planned.map(Span::duration))
    }
}

/// The only address that there is inside.
const HERE: &str = "127.0.0.1";

/// Hears nothing: the journal of a drill tells all of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unheard;

impl Witness for Unheard {
    fn saw(&self, _: &Run, _: &Entry) {}
}

/// Why a drill ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// Its keeper was done.
    Kept,
    /// Its window was over.
    Overrun(Duration),
    /// Somebody stopped it.
    Cancelled,
    /// It could not be carried on.
    Failed(String),
}

impl End {
    fn trouble(&self) -> Option<String> {
        match self {
            Self::Kept => None,
            Self::Overrun(window) => {
                let window = Span::from(*window);
                Some(format!("its window of {window} was over before it was, so it was torn down"))
            }
            Self::Cancelled => Some("it was stopped, and torn down".to_owned()),
            Self::Failed(why) => Some(why.clone()),
        }
    }
}

/// Runs a drill and records what came of it.
///
/// # Errors
///
/// Where nothing was begun, or nothing can be recorded. What went wrong in the drill is in its record.
pub fn drill(
    site: &Site,
    options: &DrillOptions,
    (people, witness): (&dyn People, &dyn Witness),
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<DrillEnded, DrillError> {
    let procedure = Procedure::of(site.plan(), &options.scenario, RunKind::Drill)?;
    if Runs::of(site)?.open_run()?.is_some() {
        return Err(DrillError::Recovering);
    }
    let started = site.surroundings().now();
    let yards = Yards::take(site)?;
    yards.record_abandoned(site, events)?;
    let run = RunId::from_uuid(uuid_v7(started));
    let by = options.operator.login.as_str();
    let claimed = yards.claim(run, (&options.scenario, started), by)?;
    let mut played = Play { site, options, procedure: &procedure, run, started, claimed };
    let (end, follower) = played.carry_out((people, witness), events, cancel);
    let mut kept = Kept::read(&played.claimed.place().result()).unwrap_or_default();
    let restored = std::mem::take(&mut kept.restored);
    played.claimed.keep_journal(site, run);
    let teardown = played.claimed.tear_down(site.surroundings().now());
    let ended = played.record(&end, kept, follower.as_ref(), teardown);
    let told = Played::load(&played.claimed, &procedure);
    let to_record = ToRecord { ended: &ended, played: told.as_ref(), restored: &restored, by };
    record(site, &to_record, events)?;
    played.claimed.close(&ended)?;
    Ok(ended)
}

/// Opens the site; somebody else who works with its state is waited for, since what a drill showed must not get lost.
fn open_patiently<'s>(site: &'s Site, events: &dyn EventSink) -> Result<OpenSite<'s>, OpsError> {
    let tiers = site.plan().tiers().keys().cloned().collect();
    let Surroundings { clock, runtime, .. } = site.surroundings();
    let until = site.surroundings().now().saturating_add(RECORD_WITHIN).unwrap_or(Timestamp::MAX);
    loop {
        match OpenSite::open(site, &tiers, NewTiers::Leave, events, &Cancel::new()) {
            Err(error) if error.exit() == Exit::Locked && site.surroundings().now() < until => {
                runtime.block_on(async { clock.sleep(RECORD_EVERY).await });
            }
            opened => return opened,
        }
    }
}

/// Returns the drills that this host knows of, from the first to the last.
pub fn history(site: &Site) -> Result<Vec<DrillEnded>, OpsError> {
    let state = State::open(&site.surroundings().state_directory)?;
    let view = View::open(&state.view_path())?;
    let wanted = Wanted { kind: "drill-ended", asset: None, tier: None, good_only: false };
    let drills =
        view.latest(wanted, u32::MAX)?.into_iter().filter_map(|record| match record.body() {
            Body::DrillEnded(ended) => Some((**ended).clone()),
            _ => None,
        });
    let mut drills: Vec<_> = drills.collect();
    drills.reverse();
    Ok(drills)
}

/// The run of a drill that is over, as its journal tells it.
struct Played {
    procedure: Procedure,
    run: Run,
    entries: Vec<Entry>,
}

impl Played {
    /// Reads the journal that was taken out of the yard; `None` if nothing was declared, or if it cannot be understood any
    /// more, which is logged.
    fn load(claimed: &Claimed, procedure: &Procedure) -> Option<Self> {
        let journal = claimed.kept_journal();
        let read = || -> Result<Option<Self>, ProcedureError> {
            let entries = journal.read(0, None)?;
            if entries.is_empty() {
                return Ok(None);
            }
            let run = Run::load(Arc::clone(procedure.runbook()), &journal)?;
            Ok(Some(Self { procedure: procedure.clone(), run, entries }))
        };
        read().unwrap_or_else(|error| {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(
                error,
                "The evidence of a drill tells no steps: its journal cannot be told."
            );
            None
        })
    }
}

/// What there is to write down of a drill that is torn down.
struct ToRecord<'a> {
    ended: &'a DrillEnded,
    /// Its run, as far as one was declared and can be told.
    played: Option<&'a Played>,
    restored: &'a [Restored],
    /// Who ran it.
    by: &'a str,
}

/// Writes down what came of it and what that proves; also of a drill that was stopped, or over before anything was declared.
/// Evidence comes first: what is torn down cannot be looked for again.
fn record(site: &Site, of: &ToRecord<'_>, events: &dyn EventSink) -> Result<(), OpsError> {
    let ToRecord { ended, played, restored, by } = of;
    let open = open_patiently(site, events)?;
    let (plan, drilled) = (site.plan(), told::drilled(ended, by));
    if let Some(Played { procedure, run, entries }) = played {
        let carried = Carried { plan, procedure, run, entries, restored };
        evidence::keep(open.catalog(), &EvidenceOf::Drill(&carried, &drilled))?;
    } else {
        let undeclared = Undeclared { plan, ended, by, host: &site.surroundings().hostname };
        evidence::keep(open.catalog(), &EvidenceOf::Undeclared(&undeclared, &drilled))?;
    }
    open.record(Body::DrillEnded(Box::new((*ended).clone())))?;
    open.deliver()?;
    Ok(())
}

/// A drill while it goes on.
struct Play<'a> {
    site: &'a Site,
    options: &'a DrillOptions,
    procedure: &'a Procedure,
    run: RunId,
    started: Timestamp,
    claimed: Claimed,
}

impl Play<'_> {
    /// Builds the yard and sees the drill to its end; the yard is still there afterwards, and nothing runs in it.
    fn carry_out(
        &mut self,
        (people, witness): (&dyn People, &dyn Witness),
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> (End, Option<Follower>) {
        let failed = |error: &dyn std::error::Error| (End::Failed(explain(error)), None);
        let ground = match ground::of(self, events, cancel) {
            Ok(ground) => ground,
            Err(error) => return failed(&error),
        };
        let log = match File::create(self.claimed.log()) {
            Ok(log) => log,
            Err(error) => return failed(&error),
        };
        let mut yard = match Yard::open(&ground, log) {
            Ok(yard) => yard,
            Err(error) => return failed(&error),
        };
        let mut follower = Follower::new(self.procedure, self.claimed.journal(self.site, self.run));
        let end = self.follow(&mut yard, &mut follower, (people, witness), cancel);
        self.claimed.look_before();
        drop(yard);
        // What was written last is told, too.
        _ = follower.catch_up(witness);
        (end, Some(follower))
    }

    /// Waits until the keeper is done, answers for people meanwhile, and asks him to end when there is a reason to.
    fn follow(
        &self,
        yard: &mut Yard,
        follower: &mut Follower,
        (people, witness): (&dyn People, &dyn Witness),
        cancel: &Cancel,
    ) -> End {
        let clock = &self.site.surroundings().clock;
        let window = self.options.window(self.site);
        let end = window.and_then(|window| self.started.saturating_add(window).ok());
        let mut stopped: Option<(End, Timestamp)> = None;
        loop {
            match yard.ended() {
                Ok(None) => {}
                Ok(Some(status)) => {
                    return match stopped {
                        Some((end, _)) => end,
                        None if status.success() => End::Kept,
                        None => End::Failed(format!("its keeper {status}: {}", self.last_words())),
                    };
                }
                Err(error) => return End::Failed(explain(&error)),
            }
            let now = self.site.surroundings().now();
            match (&stopped, window.zip(end)) {
                (Some((end, until)), _) if now >= *until => return end.clone(),
                (None, _) if cancel.is_cancelled() => stopped = Some((End::Cancelled, now)),
                (None, Some((window, end))) if now >= end => {
                    stopped = Some((End::Overrun(window), now));
                }
                _ => {}
            }
            if let Some((_, until)) = &mut stopped
                && *until == now
            {
                *until = now.saturating_add(GRACE).unwrap_or(Timestamp::MAX);
                yard.stop();
            }
            let answered = follower
                .catch_up(witness)
                .and_then(|()| follower.answer(self.site, self.procedure, people));
            if let Err(error) = answered {
                return End::Failed(explain(&error));
            }
            self.site.surroundings().runtime.block_on(async { clock.sleep(LOOK_EVERY).await });
        }
    }

    /// Returns the end of what the keeper wrote to his log.
    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(self.claimed.log()).unwrap_or_default();
        let last: Vec<_> = text.lines().rev().take(3).collect();
        last.into_iter().rev().collect::<Vec<_>>().join("; ")
    }

    /// Puts the record together.
    fn record(
        &self,
        end: &End,
        kept: Kept,
        follower: Option<&Follower>,
        teardown: Teardown,
    ) -> DrillEnded {
        let now = self.site.surroundings().now();
        let planned = self.options.planned(self.site);
        let nobody = BTreeSet::new();
        let facts = record::Facts {
            site: self.site,
            procedure: self.procedure,
            id: self.run,
            name: self.options.drill.clone(),
            planned,
            started: self.started,
            run: follower.and_then(Follower::run),
            unanswered: follower.map_or(&nobody, Follower::unanswered),
        };
        let trouble = end.trouble().or_else(|| kept.trouble.clone());
        let mut ended = facts.ended((trouble, kept), teardown, now);
        ended.findings = findings::of(self.site.plan(), &ended, now);
        if !ended.findings.is_empty() {
            ended.outcome = ended.outcome.max(Outcome::CouldNotVerify);
        }
        ended
    }
}

fn failed<'p>(action: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> DrillError + 'p {
    move |source| DrillError::Ops(OpsError::Io { action, path: path.to_owned(), source })
}
