//! Declaring a run, driving it, and taking what people say.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::{Cancel, EventSink, RunId, ScenarioName, Silent, TierName, Timestamp};
use lifeboat_plan::plan::runbook::RunKind;
use lifeboat_runbook::entry::{AttemptEnding, Began, FORMAT};
use lifeboat_runbook::{
    Command, Entry, Executor, Fact, Halt, Journal as _, JournalError, Mood, Operator, Outcome,
    Person, Run, RunError, Stand, Witness,
};

use super::deed::Hands;
use super::journal_file::JournalFile;
use super::mailbox::Mailbox;
use super::outlook::{Outlook, rto};
use super::report::{RunReport, report};
use super::runs::{Driver, KnownRun, Runs};
use super::target::Target;
use super::values::Values;
use super::{Procedure, ProcedureError};
use crate::catalog::body::{PlaceTaken, Taking};
use crate::command::{self, Left, Noted};
use crate::error::OpsError;
use crate::evidence::collect::collect;
use crate::residence::sought::seek;
use crate::retention::hold::declare;
use crate::surroundings::uuid_v7;
use crate::wire::Site;
use crate::wire::open::{NewTiers, OpenSite};

// What a run is declared with, by which it is carried on by any process.
pub(crate) const SCENARIO: &str = "scenario";
const KIND: &str = "kind";
const SITE: &str = "site";
pub(crate) const POINT: &str = "point";
pub(crate) const POINT_TIME: &str = "point-time";
const OLDER: &str = "older-point";
/// What runbooks call this host.
pub(crate) const HOST: &str = "host";
/// What this host calls itself.
pub(crate) const HOSTNAME: &str = "hostname";
pub(super) const PLACE: &str = "place";
pub(super) const DIRECTORY: &str = "directory";
pub(crate) const DECLARED_BY: &str = "declared-by";
/// Newer points that were not taken, as JSON.
pub(crate) const REJECTED: &str = "rejected-points";
/// Why a runbook runs; a recovery, if absent.
pub(crate) const KIND_OF_RUN: &str = "kind";
const WITHOUT: &str = "without";
/// The record that tells of the platform's move once the run is over, as JSON; none if it stays where it is.
const MOVE: &str = "move";
/// What the plan lacks of places.
const TO_WRITE: &str = "places-to-write";

/// What a run is declared with.
#[derive(Debug)]
pub struct Declaration<'a> {
    /// What is to be done.
    pub procedure: &'a Procedure,
    /// From which point.
    pub outlook: &'a Outlook,
    /// Where to.
    pub target: Target,
    /// When somebody began to decide.
    pub declared: Timestamp,
}

/// The right to drive the site's run.
#[derive(Debug)]
pub struct Conduct {
    site: Arc<Site>,
    runs: Runs,
    operator: Operator,
    /// Who takes the platform's mails, if something stands in for that.
    mails: Option<Mailbox>,
    _driver: Driver,
}

impl Conduct {
    /// Takes the right to drive; whoever has it is named.
    pub fn take(site: Arc<Site>, operator: Operator) -> Result<Self, ProcedureError> {
        let runs = Runs::of(&site)?;
        let driver = runs.drive(&operator)?;
        Ok(Self { site, runs, operator, mails: None, _driver: driver })
    }

    /// Looks here for mails that the platform sends.
    #[must_use]
    pub(crate) fn with_mails(mut self, mails: Mailbox) -> Self {
        self.mails = Some(mails);
        self
    }

    /// Returns the site.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Refuses to begin while a run is open.
    pub fn refuse_another(&self) -> Result<(), ProcedureError> {
        match self.runs.open_run()? {
            None => Ok(()),
            Some(open) => {
                let scenario = open.about(SCENARIO).unwrap_or("?").to_owned();
                Err(ProcedureError::Open { run: open.id, scenario })
            }
        }
    }

    /// Whether the run that is open was given up, so that nothing but its undoing is left.
    pub fn is_given_up(&self) -> Result<bool, ProcedureError> {
        let Some(known) = self.runs.open_run()? else { return Ok(false) };
        let (_, run) = load(&self.site, &known, &self.runs.journal(known.id)?)?;
        Ok(matches!(run.mood(), Mood::Aborting { .. }))
    }

    /// Declares a run; refused while another one is open.
    pub fn declare(&self, declaration: &Declaration<'_>) -> Result<RunId, ProcedureError> {
        self.refuse_another()?;
        let now = self.site.surroundings().now();
        self.declare_as(RunId::from_uuid(uuid_v7(now)), declaration)
    }

    /// Declares a run under an id that somebody chose; none may be open.
    pub(crate) fn declare_as(
        &self,
        run: RunId,
        declaration: &Declaration<'_>,
    ) -> Result<RunId, ProcedureError> {
        let now = self.now();
        let Declaration { procedure, outlook, target, declared } = declaration;
        let point = outlook.point.as_ref();
        let about = [
            (SCENARIO, Some(procedure.name().to_string())),
            (KIND, Some(procedure.kind().to_string())),
            (SITE, Some(self.site.name().to_string())),
            (POINT, point.map(|point| point.at.clone())),
            (POINT_TIME, point.map(|point| point.time.to_string())),
            (OLDER, point.and_then(|point| point.older.clone())),
            (HOST, Some(target.host.clone())),
            (HOSTNAME, Some(self.site.surroundings().hostname.clone())),
            (PLACE, target.place.as_ref().map(ToString::to_string)),
            (DIRECTORY, target.directory.clone()),
            (DECLARED_BY, Some(self.operator.login.clone())),
            (REJECTED, serde_json::to_string(&outlook.rejected).ok()),
            (WITHOUT, without(&self.site)),
            (MOVE, declared_move(run, procedure, outlook)),
            (TO_WRITE, outlook.destination.as_ref().and_then(|whither| whither.to_write.clone())),
        ];
        let about = about.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        let (runbook, declared) = (procedure.runbook().id, *declared);
        let began = Began { format: FORMAT, run, runbook, declared, about: about.collect() };
        let entry = Entry { sequence: 0, time: now, before: None, fact: Fact::Began(began) };
        self.runs.journal(run)?.append(&entry)?;
        Ok(run)
    }

    /// Returns how long the open run may take.
    pub fn rto(&self) -> Result<Option<Duration>, ProcedureError> {
        let known = self.runs.open_run()?.ok_or(ProcedureError::NoRun)?;
        let (procedure, _) = load(&self.site, &known, &self.runs.journal(known.id)?)?;
        Ok(rto(&self.site, &procedure))
    }

    /// Drives the open run until it is over, stuck, or `cancel` is set; one that was paused goes on.
    pub fn drive(
        &self,
        fetch: Vec<String>,
        witness: &dyn Witness,
        events: &Arc<dyn EventSink>,
        cancel: &Cancel,
    ) -> Result<RunReport, ProcedureError> {
        let known = self.runs.open_run()?.ok_or(ProcedureError::NoRun)?;
        let journal = self.runs.journal(known.id)?;
        let (procedure, mut run) = load(&self.site, &known, &journal)?;
        if let Mood::Paused { .. } = run.mood() {
            let by = self.operator.login.clone();
            add(&mut run, &journal, self.now(), |_| Ok(Fact::Resumed { by: by.clone() }))?;
        }
        self.end_what_was_left(&mut run, &journal, witness)?;
        if procedure.kind() == RunKind::Recovery && *run.mood() == Mood::Going {
            self.tell_others(&run, procedure.name(), &**events, cancel)?;
        }
        let hands = self.hands(&procedure, &run, fetch, Arc::clone(events))?;
        let surroundings = self.site.surroundings();
        let clock = &*surroundings.clock;
        let executor = Executor::new(run, &journal, &hands, (clock, cancel), witness);
        let driven = surroundings.runtime.block_on(executor.drive(self.operator.clone()));
        let (run, halt) = driven?;
        // A drill is recorded once nothing of it is left.
        if let Halt::Finished(_) = halt
            && procedure.kind() == RunKind::Recovery
        {
            self.record(&**events, cancel);
        }
        Ok(report(&self.site, &procedure, &run, None))
    }

    /// Ends the commands that a process left running which was killed: what is begun anew must not go on beside itself. That
    /// is as if the process had been asked to stop.
    fn end_what_was_left(
        &self,
        run: &mut Run,
        journal: &JournalFile,
        witness: &dyn Witness,
    ) -> Result<(), ProcedureError> {
        let directory = self.runs.commands(run.began().run)?;
        let left = command::end_left(&directory, self.site.surroundings());
        for Noted { of, .. } in left.map_err(|left| still_runs(left, directory))? {
            let running = run.steps().find(|(step, course)| {
                step.name.as_str() == of && matches!(course.stand, Stand::Running { .. })
            });
            let Some(step) = running.map(|(step, _)| step.name.clone()) else { continue };
            let ending = AttemptEnding::Stopped;
            let stopped = |_: &Run| Ok(Fact::Ended { step: step.clone(), ending: ending.clone() });
            let entry = add(run, journal, self.now(), stopped)?;
            witness.saw(run, &entry);
        }
        Ok(())
    }

    /// Tells other hosts of a recovery, before its first step, so that none removes anything meanwhile, and that it brings the
    /// platform here, if it does. A platform that is lost must not stay so since a tier is: what cannot be told is said.
    fn tell_others(
        &self,
        run: &Run,
        scenario: &ScenarioName,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<(), ProcedureError> {
        let site = (*self.site).clone().without(lost(run))?.beside();
        match tell(&site, run, scenario, events, cancel) {
            Err(error @ (OpsError::Place(_) | OpsError::Cancelled(_))) => Err(error.into()),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "Other hosts do not know of this recovery yet.");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn now(&self) -> Timestamp {
        self.site.surroundings().now()
    }

    fn hands(
        &self,
        procedure: &Arc<Procedure>,
        run: &Run,
        fetch: Vec<String>,
        events: Arc<dyn EventSink>,
    ) -> Result<Hands, ProcedureError> {
        let began = run.began();
        let about = |key: &'static str| began.about.get(key).cloned();
        let host = about(HOST).ok_or(ProcedureError::Incomplete { run: began.run, what: HOST })?;
        Ok(Hands {
            site: Arc::new((*self.site).clone().without(lost(run))?),
            procedure: Arc::clone(procedure),
            values: Arc::new(Values::of_run(self.site.plan(), procedure, run)),
            point: about(POINT),
            older: about(OLDER),
            host,
            confirm: self.site.name().clone(),
            fetch,
            events,
            mails: self.mails.clone(),
            commands: self.runs.commands(began.run)?,
            turn: Arc::default(),
        })
    }

    /// Records in the catalog how runs ended, and what they prove. A platform that is back must not count as lost since a
    /// tier is not: what fails here is told, the journal is kept, and the next run or `evidence collect` makes up for it.
    fn record(&self, events: &dyn EventSink, cancel: &Cancel) {
        match collect(&self.site, events, cancel) {
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "The catalog does not know of this recovery yet.");
            }
            Ok(collected) => {
                for (run, why) in collected.troubles {
                    tracing::warn!(%run, why, "No evidence of a run could be kept.");
                }
            }
        }
    }
}

fn tell(
    site: &Site,
    run: &Run,
    scenario: &ScenarioName,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<(), OpsError> {
    let tiers = site.plan().tiers().keys().cloned().collect();
    let open = OpenSite::open(site, &tiers, NewTiers::Leave, events, cancel)?;
    let id = run.began().run;
    declare(&open, id, scenario)?;
    match move_of(run) {
        Some(taken) => seek(&open, (id, &taken)),
        None => open.deliver().map(drop),
    }
}

fn still_runs(left: Left, directory: PathBuf) -> ProcedureError {
    match left {
        Left::Unread(source) => OpsError::Io { action: "read", path: directory, source }.into(),
        Left::Hangs(Noted { of, program, process }) => {
            ProcedureError::StillRuns { step: of, program, process: process.number }
        }
    }
}

/// Writes which tiers a run does without.
fn without(site: &Site) -> Option<String> {
    let names: Vec<_> = site.done_without().iter().map(TierName::as_str).collect();
    Some(names.join(",")).filter(|names| !names.is_empty())
}

/// Writes what is to be recorded once the run is over. What it follows is what was known when it was declared: who moved the
/// platform meanwhile did not know of this, and both count.
fn declared_move(run: RunId, procedure: &Procedure, outlook: &Outlook) -> Option<String> {
    let whither = outlook.destination.as_ref().filter(|whither| whither.is_move)?;
    let by = Taking::Recovery { run, scenario: procedure.name().clone() };
    let (whereabouts, after) = (whither.here.clone(), whither.after.clone());
    serde_json::to_string(&PlaceTaken { whereabouts, by, after }).ok()
}

/// Returns the move that a run was declared with.
pub(crate) fn move_of(run: &Run) -> Option<PlaceTaken> {
    serde_json::from_str(run.began().about.get(MOVE)?).ok()
}

/// Returns what the plan lacks of places, as it was said when a run was declared.
pub(super) fn places_to_write(run: &Run) -> Option<String> {
    run.began().about.get(TO_WRITE).cloned()
}

/// Returns the tiers that a run does without, whoever drives it.
fn lost(run: &Run) -> Vec<TierName> {
    let names = run.began().about.get(WITHOUT).map(|names| names.split(','));
    names.into_iter().flatten().filter_map(|name| name.parse().ok()).collect()
}

pub(crate) fn load(
    site: &Site,
    known: &KnownRun,
    journal: &JournalFile,
) -> Result<(Arc<Procedure>, Run), ProcedureError> {
    let run = known.id;
    let found = known.about(SITE).unwrap_or_default();
    if found != site.name().as_str() {
        let (expected, found) = (site.name().clone(), found.to_owned());
        return Err(ProcedureError::AnotherSite { run, expected, found });
    }
    let scenario: Option<ScenarioName> =
        known.about(SCENARIO).and_then(|scenario| scenario.parse().ok());
    let scenario = scenario.ok_or(ProcedureError::Incomplete { run, what: SCENARIO })?;
    let is_drill = known.about(KIND).is_some_and(|kind| kind == RunKind::Drill.to_string());
    let kind = if is_drill { RunKind::Drill } else { RunKind::Recovery };
    let procedure = Procedure::of(site.plan(), &scenario, kind)?;
    let run = Run::load(Arc::clone(procedure.runbook()), journal)?;
    Ok((Arc::new(procedure), run))
}

/// Adds what a person says under the number that is next, also if others add entries meanwhile; returns the entry.
pub(crate) fn add(
    run: &mut Run,
    journal: &JournalFile,
    now: Timestamp,
    fact: impl Fn(&Run) -> Result<Fact, ProcedureError>,
) -> Result<Entry, ProcedureError> {
    loop {
        let entry = run.next_entry(fact(run)?, now);
        let mut next = run.clone();
        next.apply(&entry)?;
        match journal.append(&entry) {
            Ok(()) => {
                *run = next;
                return Ok(entry);
            }
            Err(JournalError::Outrun) => {
                run.catch_up(journal)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Tells the open run what a person says.
pub fn say(site: &Site, command: &Command, person: &Person) -> Result<RunReport, ProcedureError> {
    let runs = Runs::of(site)?;
    let known = runs.open_run()?.ok_or(ProcedureError::NoRun)?;
    let journal = runs.journal(known.id)?;
    let now = site.surroundings().now();
    let (procedure, mut run) = match (load(site, &known, &journal), command) {
        (Err(ProcedureError::Run(RunError::Changed { .. })), Command::Abort { why }) => {
            give_up(&known, &journal, (&person.name, why), now)?;
            let forgone = collect(site, &Silent, &Cancel::new());
            if let (Err(error), Some(_)) = (forgone, known.about(MOVE)) {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "Other places do not know yet that it is given up.");
            }
            return Err(ProcedureError::GivenUp { run: known.id });
        }
        (loaded, _) => loaded?,
    };
    add(&mut run, &journal, now, |run| Ok(run.command(command, person)?))?;
    Ok(report(site, &procedure, &run, runs.driver()))
}

/// Ends a run whose runbook is no longer there, so that another can begin; nothing of it can be undone.
fn give_up(
    known: &KnownRun,
    journal: &JournalFile,
    (by, why): (&str, &str),
    now: Timestamp,
) -> Result<(), ProcedureError> {
    let mut last = known.entries.last().cloned().ok_or(ProcedureError::NoRun)?;
    let aborted = Fact::Aborted { by: by.to_owned(), why: why.to_owned() };
    for fact in [aborted, Fact::Finished { outcome: Outcome::Aborted }] {
        let (sequence, before) = (last.sequence + 1, Some(last.id()));
        let entry = Entry { sequence, time: now.max(last.time), before, fact };
        journal.append(&entry)?;
        last = entry;
    }
    Ok(())
}

/// Tells how the open run stands, or the last one.
pub fn show(site: &Site) -> Result<RunReport, ProcedureError> {
    let runs = Runs::of(site)?;
    let known = runs.latest()?;
    let (procedure, run) = load(site, &known, &runs.journal(known.id)?)?;
    Ok(report(site, &procedure, &run, runs.driver()))
}
