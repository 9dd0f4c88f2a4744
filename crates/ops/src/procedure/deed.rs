//! What the steps of a procedure do, on this host and by commands on others.
//!
//! # Limits
//!
//! What lifeboat itself does (restores) happens one after the other, since each holds the state's lock; commands
//! and questions of other steps go on beside it. While cold storage is waited for the lock is free: restores that need
//! none of each other wait side by side. A restore that needs another one asks only once that is done.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use lifeboat_model::{
    AssetName, Cancel, CheckName, Classify, ErrorKind, EventSink, Exit, Outcome, ServiceName,
    SiteName, StepName, Timestamp,
};
use lifeboat_plan::plan::people::Channel;
use lifeboat_plan::plan::runbook::{
    Action, EvidenceWhat, Notice, RestoreWhat, Step as PlannedStep, Wait,
};
use lifeboat_plan::value::duration::Span;
use lifeboat_plan::value::selection::Selection;
use lifeboat_postgres::recovery::RecoveryTarget;
use lifeboat_repository::restore::RestoreReport as FilesReport;
use lifeboat_runbook::times::{FETCHED_MS, REPLAYED_MS};
use lifeboat_runbook::{
    Act, Actor, Again, Failure, Occasion, Output, Outputs, PointFound, Verdict,
};

use super::Procedure;
use super::mailbox::Mailbox;
use super::patience::{self, Patience};
use super::platform::{Platform, command_failed, unknown};
use super::probe::{Asker, Finding};
use super::taking;
use super::target::HERE;
use super::values::Values;
use crate::command::{CommandLine, NO_LIMIT, Notes};
use crate::error::{OpsError, explain};
use crate::host::Host;
use crate::point::At;
use crate::recovery::in_place::{self, InPlaceOptions};
use crate::recovery::sandbox::milliseconds;
use crate::recovery::{self, RecoveryOptions, RecoveryReport, Start, is_replayed};
use crate::restore::{self, Destination, RestoreOptions};
use crate::thaw::{Consent, ThawError, ThawOptions};
use crate::wire::Site;

/// What the names begin with by which a step that is done gives what its checks showed.
pub(crate) const SHOWN: &str = "check ";

/// What the names begin with by which a step tells when a service that it started was found healthy.
pub(crate) const HEALTHY: &str = "healthy ";

/// By what names a restore tells how many tables and rows are as they were counted at the backup.
pub(crate) const TABLES: &str = "tables";
pub(crate) const ROWS: &str = "rows";

/// What checks showed.
#[derive(Debug)]
struct Asked {
    /// The worst of them.
    outcome: Outcome,
    /// What is wrong.
    wrong: String,
    /// What those showed that passed; the journal keeps it.
    shown: Outputs,
}

/// Does the steps of a procedure.
#[derive(Debug, Clone)]
pub(super) struct Hands {
    pub(super) site: Arc<Site>,
    pub(super) procedure: Arc<Procedure>,
    pub(super) values: Arc<Values>,
    /// From which point; none for a runbook that restores nothing.
    pub(super) point: Option<String>,
    /// The next older point, should this one turn out not to be whole.
    pub(super) older: Option<String>,
    /// The host that services run on.
    pub(super) host: String,
    /// The site's name, by which somebody confirmed that its data may be replaced.
    pub(super) confirm: SiteName,
    /// The words by which this program is run with this plan.
    pub(super) fetch: Vec<String>,
    pub(super) events: Arc<dyn EventSink>,
    /// Who takes the platform's mails, if something stands in for that.
    pub(super) mails: Option<Mailbox>,
    /// Where it is noted which commands run.
    pub(super) commands: PathBuf,
    /// Held by what lifeboat itself does.
    pub(super) turn: Arc<Mutex<()>>,
}

#[async_trait]
impl Actor for Hands {
    async fn perform(&self, act: &Act, cancel: &Cancel) -> Result<Outputs, Failure> {
        let (hands, act, cancel) = (self.clone(), act.clone(), cancel.clone());
        apart(move || hands.perform_now(&act, &cancel)).await
    }

    async fn verify(&self, act: &Act, occasion: Occasion, cancel: &Cancel) -> Verdict {
        let (hands, act, cancel) = (self.clone(), act.clone(), cancel.clone());
        apart(move || hands.verify_now(&act, occasion, &cancel)).await
    }

    async fn undo(&self, act: &Act, cancel: &Cancel) -> Result<(), Failure> {
        let (hands, act, cancel) = (self.clone(), act.clone(), cancel.clone());
        apart(move || hands.undo_now(&act, &cancel)).await
    }
}

/// Lets work that waits for the world go on apart from what drives the run.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The process is ending: nobody waits any more.
            Err(_) => std::future::pending().await,
        },
    }
}

impl Hands {
    fn planned(&self, step: &StepName) -> &PlannedStep {
        self.procedure.step(step).expect("a run has the steps of its procedure")
    }

    fn perform_now(&self, act: &Act, cancel: &Cancel) -> Result<Outputs, Failure> {
        let step = self.planned(&act.step);
        self.deed(self.host_of(step, act)?, act, cancel).perform(&step.action)
    }

    fn undo_now(&self, act: &Act, cancel: &Cancel) -> Result<(), Failure> {
        let step = self.planned(&act.step);
        let Some(undo) = &step.undo else { return Ok(()) };
        self.deed(self.host_of(step, act)?, act, cancel).perform(undo).map(drop)
    }

    fn deed<'a>(&'a self, host: Host, act: &'a Act, cancel: &'a Cancel) -> Deed<'a> {
        let notes = Notes { directory: self.commands.clone(), of: act.step.to_string() };
        Deed { host, hands: self, act, notes, cancel }
    }

    /// Returns the host on which a step is done.
    fn host_of(&self, step: &PlannedStep, act: &Act) -> Result<Host, Failure> {
        let Some(on) = &step.on else { return Ok(Host::Here) };
        let on = self.values.fill(on, Some(act)).map_err(|error| unknown(&error))?;
        let own = [self.host.as_str(), self.site.surroundings().hostname.as_str()];
        let is_here = HERE.iter().chain(&own).any(|here| *here == on);
        Ok(if is_here { Host::Here } else { Host::Other(on) })
    }

    fn verify_now(&self, act: &Act, occasion: Occasion, cancel: &Cancel) -> Verdict {
        let step = self.planned(&act.step);
        let host = match self.host_of(step, act) {
            Ok(host) => host,
            Err(failure) => return Verdict::Unclear(failure.why),
        };
        let deed = self.deed(host, act, cancel);
        // A step whose action is its check was asked by performing it: to ask again would do twice what a check does.
        let was_asked = occasion == Occasion::Performed && matches!(step.action, Action::Check(_));
        if was_asked || step.check.is_empty() {
            return match occasion {
                Occasion::Performed => Verdict::Done(Outputs::new()),
                Occasion::Interrupted => Verdict::Unclear(
                    "it has no `check`, and no `retry` that would say that it may be done twice"
                        .to_owned(),
                ),
            };
        }
        let Asked { outcome, wrong, mut shown } = deed.ask_all(&step.check);
        match (outcome, occasion) {
            (Outcome::Passed, Occasion::Performed) => Verdict::Done(shown),
            // What it would have given is not known; a command's output counts as empty.
            (Outcome::Passed, Occasion::Interrupted) => {
                if let Action::Run(_) = step.action {
                    shown.extend(text_output("output", ""));
                }
                Verdict::Done(shown)
            }
            (Outcome::Failed, _) => Verdict::NotDone(wrong),
            (Outcome::CouldNotVerify, _) => Verdict::Unclear(wrong),
        }
    }
}

/// One action while it is carried out.
struct Deed<'a> {
    /// Where commands are run.
    host: Host,
    hands: &'a Hands,
    act: &'a Act,
    notes: Notes,
    cancel: &'a Cancel,
}

impl Deed<'_> {
    fn perform(&self, action: &Action) -> Result<Outputs, Failure> {
        match action {
            Action::Run(run) => {
                let said = self.platform().run(&run.run)?;
                Ok(text_output("output", said.trim_end()))
            }
            Action::Restore(restore) => self.restore(&restore.restore),
            Action::Start(start) => self.start(&start.start),
            Action::Stop(stop) => self.platform().stop(&stop.stop).map(|()| Outputs::new()),
            Action::Check(check) => self.check(&check.check),
            Action::Wait(wait) => match &wait.wait {
                Wait::Until(until) => self.wait_until(&until.until, until.at_most),
                Wait::For(_) => Ok(Outputs::new()),
            },
            Action::Isolate(isolate) => match &isolate.isolate.run {
                Some(run) => self.platform().run(run).map(|_| Outputs::new()),
                None => Err(not_built("cutting the platform off by itself")),
            },
            Action::Rotate(rotate) => match &rotate.rotate.run {
                Some(run) => self.platform().run(run).map(|_| Outputs::new()),
                None => Ok(Outputs::new()),
            },
            Action::Notify(notify) => self.notify(&notify.notify),
            Action::Evidence(evidence) => self.take(&evidence.evidence),
            // People do these.
            Action::Manual(_) | Action::Approve(_) => Ok(Outputs::new()),
        }
    }

    fn platform(&self) -> Platform<'_> {
        Platform { asker: self.asker() }
    }

    fn asker(&self) -> Asker<'_> {
        let Hands { site, values, .. } = self.hands;
        Asker {
            host: &self.host,
            site,
            values,
            act: Some(self.act),
            mails: self.hands.mails.as_ref(),
            notes: Some(&self.notes),
            cancel: self.cancel,
        }
    }

    /// Restores; what lies cold is asked for, since whoever declared the run was told what that costs, and waited for
    /// as long as the step may take.
    fn restore(&self, what: &RestoreWhat) -> Result<Outputs, Failure> {
        if let Host::Other(host) = &self.host {
            return Err(not_built(&format!("restoring on {host}, which is another host,")));
        }
        let fill = |template| {
            self.hands.values.fill(template, Some(self.act)).map_err(|error| unknown(&error))
        };
        let at = what.at.as_ref().map(fill).transpose()?;
        let to = what.to.as_ref().map(fill).transpose()?.map(PathBuf::from);
        // The point's time stands for the point: by the time alone, files that were captured after it would be left out.
        let is_point = |at: &String| Some(at.as_str()) == self.hands.values.get("point.time");
        let at = at.filter(|at| !is_point(at));
        let at = at.unwrap_or_else(|| self.point_for(&what.asset, to.as_deref()));
        let patience = Patience::begin(self.hands, &self.act.step);
        let (begun, mut consent) = (self.hands.site.surroundings().now(), Consent::Absent);
        let mut asked = patience::Asked::Before;
        loop {
            match self.restore_once(what, &at, to.as_deref(), consent) {
                Err(OpsError::Thaw(ThawError::Unasked(_))) if consent == Consent::Absent => {
                    (consent, asked) = (Consent::Given, patience::Asked::Now);
                }
                Err(OpsError::Thaw(ThawError::Thawing(forecast))) => {
                    patience.wait(&forecast, asked, self.cancel)?;
                    (consent, asked) = (Consent::Absent, patience::Asked::Before);
                }
                Ok((outputs, started)) => return Ok(with_fetched(outputs, begun, started)),
                Err(error) => return Err(self.restore_failed(&error)),
            }
        }
    }

    /// Restores if everything can be read; with consent, asks for what cannot.
    fn restore_once(
        &self,
        what: &RestoreWhat,
        at: &str,
        to: Option<&Path>,
        consent: Consent,
    ) -> Result<Brought, OpsError> {
        let _turn = self.hands.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (to, thaw) =
            (to.map(Path::to_owned), ThawOptions { consent, ..ThawOptions::default() });
        match to {
            to if !is_replayed(&self.hands.site, &what.asset, to.as_deref()) => {
                self.restore_asset(what, at, to, thaw)
            }
            Some(to) => self.recover_server(&what.asset, at, to, thaw),
            None => self.replace_server(&what.asset, at, thaw),
        }
    }

    /// Returns the run's point as what restores an asset takes it: a server goes to the very moment, as its base backup
    /// may have ended within the second by which a point is called.
    fn point_for(&self, asset: &AssetName, to: Option<&Path>) -> String {
        let Hands { site, values, point, .. } = self.hands;
        let moment = values.get("point.time").filter(|_| is_replayed(site, asset, to));
        let at = moment.or(point.as_deref());
        at.unwrap_or("latest").to_owned()
    }

    fn restore_asset(
        &self,
        what: &RestoreWhat,
        at: &str,
        to: Option<PathBuf>,
        thaw: ThawOptions,
    ) -> Result<Brought, OpsError> {
        let Hands { site, confirm, events, .. } = self.hands;
        let to = to.map_or(Destination::InPlace, Destination::Directory);
        let options = RestoreOptions {
            at: At::parse(at)?,
            confirm: Some(confirm.clone()),
            thaw,
            extent: what.extent,
            ..RestoreOptions::new(what.asset.clone(), to)
        };
        let report = restore::restore(site, &options, &**events, self.cancel)?;
        report.whole()?;
        let mut outputs = text_output("target", &report.preview.target);
        outputs.insert("time".to_owned(), Output::Time(report.preview.capture.time));
        outputs.extend(report.files.iter().flat_map(counted));
        if let Some(database) = &report.database {
            outputs.extend(number(TABLES, u64::try_from(database.tables).unwrap_or(u64::MAX)));
            outputs.extend(number(ROWS, database.rows));
        }
        Ok((outputs, report.started))
    }

    /// Puts a server's data directory there, replayed up to its moment: the step that starts it needs no log any more, which
    /// whoever runs the server might not be able to read.
    fn recover_server(
        &self,
        asset: &AssetName,
        at: &str,
        to: PathBuf,
        thaw: ThawOptions,
    ) -> Result<Brought, OpsError> {
        let Hands { site, events, .. } = self.hands;
        let options = RecoveryOptions {
            start: Start::AndStop,
            fetch: self.fetch(asset),
            thaw,
            ..RecoveryOptions::new(asset.clone(), target(at)?, to)
        };
        let report = recovery::recover(site, &options, &**events, self.cancel)?;
        recovered(&report)
    }

    /// Puts a base backup in place of a server that is stopped; the step that starts it finds it replayed.
    fn replace_server(
        &self,
        asset: &AssetName,
        at: &str,
        thaw: ThawOptions,
    ) -> Result<Brought, OpsError> {
        let Hands { site, confirm, events, .. } = self.hands;
        let options = InPlaceOptions {
            confirm: Some(confirm.clone()),
            fetch: self.fetch(asset),
            thaw,
            ..InPlaceOptions::new(asset.clone(), target(at)?)
        };
        let report = in_place::recover(site, &options, &**events, self.cancel)?;
        recovered(&report.recovery)
    }

    /// Returns the words by which a server fetches its log through this program.
    fn fetch(&self, asset: &AssetName) -> Vec<String> {
        fetch_words(&self.hands.fetch, asset)
    }

    /// Says what leads on if what was read is damaged: another tier, or the next older point.
    fn restore_failed(&self, error: &OpsError) -> Failure {
        let failure = failed(error);
        if error.kind() != ErrorKind::Corrupt {
            return failure;
        }
        let (step, scenario) = (&self.act.step, self.hands.procedure.name());
        let another = format!(
            "`lifeboat recover retry {step}`, then `lifeboat recover --resume` reads it from another tier, if one holds it"
        );
        let older = self.hands.older.as_ref().map_or_else(String::new, |older| {
            format!(
                "; the next older point is {older}: `lifeboat recover abort --reason 'damaged point'`, then `lifeboat recover {scenario} --at {older}`"
            )
        });
        Failure {
            hint: Some(another + &older),
            again: Again::IsUseless,
            point: PointFound::Damaged,
            ..failure
        }
    }

    /// Takes evidence: before anything is changed, and never over what was taken before.
    fn take(&self, what: &EvidenceWhat) -> Result<Outputs, Failure> {
        let fill = |template| {
            self.hands.values.fill(template, Some(self.act)).map_err(|error| unknown(&error))
        };
        let from = what.take.iter().map(fill).collect::<Result<Vec<_>, _>>()?;
        let from: Vec<_> = from.into_iter().map(PathBuf::from).collect();
        let taken = taking::take(&from, Path::new(&fill(&what.to)?), self.cancel)
            .map_err(|error| taking_failed(&error))?;
        let mut outputs = text_output("target", &taken.to.display().to_string());
        outputs.extend(text_output("digest", &taken.digest));
        outputs.extend(number("files", taken.files));
        outputs.extend(number("bytes", taken.bytes));
        Ok(outputs)
    }

    fn start(&self, selection: &Selection<ServiceName>) -> Result<Outputs, Failure> {
        let healthy = self.platform().start(selection)?.into_iter();
        Ok(healthy.map(|(name, time)| (format!("{HEALTHY}{name}"), Output::Time(time))).collect())
    }

    fn check(&self, names: &[CheckName]) -> Result<Outputs, Failure> {
        match self.ask_all(names) {
            Asked { outcome: Outcome::Passed, shown, .. } => Ok(shown),
            asked => Err(Failure::new(asked.wrong)),
        }
    }

    fn wait_until(&self, names: &[CheckName], at_most: Span) -> Result<Outputs, Failure> {
        let shown = RefCell::new(Outputs::new());
        let ask = || {
            let asked = self.ask_all(names);
            *shown.borrow_mut() = asked.shown;
            Finding { outcome: asked.outcome, message: asked.wrong }
        };
        self.platform().ask_until(at_most.duration(), ask).map_err(|finding| {
            Failure::new(format!("not within {at_most}: {}", finding.message))
        })?;
        Ok(shown.into_inner())
    }

    /// Asks checks.
    fn ask_all(&self, names: &[CheckName]) -> Asked {
        let (mut worst, mut wrong, mut shown) = (Outcome::Passed, Vec::new(), Outputs::new());
        for name in names {
            let finding = match self.hands.site.plan().checks().get(name) {
                Some(probe) => self.asker().ask(probe),
                None => Finding {
                    outcome: Outcome::CouldNotVerify,
                    message: "the plan has no such check".to_owned(),
                },
            };
            worst = worst.max(finding.outcome);
            if finding.outcome == Outcome::Passed {
                shown.extend(text_output(&format!("{SHOWN}{name}"), &finding.message));
            } else {
                wrong.push(format!("check `{name}` {}: {}", finding.outcome, finding.message));
            }
        }
        Asked { outcome: worst, wrong: wrong.join("; "), shown }
    }

    fn notify(&self, notice: &Notice) -> Result<Outputs, Failure> {
        let message = self
            .hands
            .values
            .fill(&notice.message, Some(self.act))
            .map_err(|error| unknown(&error))?;
        if self.hands.site.inside().is_some() {
            // Nobody outside hears of a drill; its report repeats what would have been said.
            return Ok(Outputs::new());
        }
        for name in &notice.via {
            let Some(Channel::Command(channel)) = self.hands.site.plan().notify().get(name) else {
                return Err(not_built(&format!("telling somebody by `{name}`")));
            };
            let words = self.hands.values.words(&channel.command, Some(self.act));
            let command = CommandLine::new(words.map_err(|error| unknown(&error))?, NO_LIMIT);
            let mut text = message.as_bytes();
            command.feed(&mut text, self.cancel).map_err(|error| command_failed(&error))?;
        }
        Ok(Outputs::new())
    }
}

/// Returns the words by which a server fetches its log, of those by which this program is run with its plan.
pub(crate) fn fetch_words(program: &[String], asset: &AssetName) -> Vec<String> {
    let words = ["wal", "get", "--asset", asset.as_str()].map(str::to_owned);
    [program, &words].concat()
}

fn target(at: &str) -> Result<RecoveryTarget, OpsError> {
    at.parse().map_err(|_| OpsError::NoTime { text: at.to_owned() })
}

/// Says where a server's data came back to, and how new they are.
fn recovered(report: &RecoveryReport) -> Result<Brought, OpsError> {
    report.whole()?;
    let RecoveryReport { preview, started_server, .. } = report;
    let mut outputs = text_output("target", &preview.to.display().to_string());
    let replayed = started_server.as_ref().and_then(|server| server.last_commit);
    let time = replayed.or(preview.last_commit).unwrap_or(preview.consistent);
    outputs.insert("time".to_owned(), Output::Time(time));
    outputs.extend(counted(&report.files));
    if let Some(server) = started_server {
        outputs.extend(number(REPLAYED_MS, server.replayed_ms));
        let lsn = server.replayed.map(|lsn| text_output("lsn", &lsn.to_string()));
        outputs.extend(lsn.into_iter().flatten());
    }
    Ok((outputs, report.started))
}

/// What a restore gives, and when it began to read.
type Brought = (Outputs, Timestamp);

fn with_fetched(mut outputs: Outputs, begun: Timestamp, started: Timestamp) -> Outputs {
    outputs.extend(number(FETCHED_MS, milliseconds(begun, started)));
    outputs
}

/// Says how much came back.
fn counted(files: &FilesReport) -> Outputs {
    number("files", files.files).into_iter().chain(number("bytes", files.bytes)).collect()
}

fn number(name: &str, value: u64) -> Outputs {
    let value = Output::Number(i64::try_from(value).unwrap_or(i64::MAX));
    Outputs::from([(name.to_owned(), value)])
}

fn text_output(name: &str, text: &str) -> Outputs {
    Outputs::from([(name.to_owned(), Output::text(text))])
}

fn not_built(what: &str) -> Failure {
    Failure {
        hint: Some("do it by hand, and skip the step with `--reason`".to_owned()),
        ..Failure::lasting(format!("{what} is not built yet"))
    }
}

fn taking_failed(error: &taking::TakingError) -> Failure {
    let again = match error.kind() {
        ErrorKind::Unavailable => Again::MayHelp,
        _ => Again::IsUseless,
    };
    let hint = error.hint().map(|hint| hint.to_string());
    Failure { hint, again, ..Failure::new(explain(error)) }
}

fn failed(error: &OpsError) -> Failure {
    let is_useless = error.exit() == Exit::NotBuilt
        || matches!(error.kind(), ErrorKind::Usage | ErrorKind::Config | ErrorKind::Denied);
    let again = if is_useless { Again::IsUseless } else { Again::MayHelp };
    let hint = error.hint().map(|hint| hint.to_string());
    Failure { hint, again, ..Failure::new(explain(error)) }
}
