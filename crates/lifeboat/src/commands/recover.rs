//! `lifeboat recover`: carry out the runbook of what happened, and tell a run what to do.

mod destination;
pub(super) mod lines;
mod outlook;
pub(super) mod questions;
mod tell;

use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use lifeboat_model::{EventSink, Exit, RunId, ScenarioName, Silent, SiteName};
use lifeboat_ops::Site;
use lifeboat_ops::point::At;
use lifeboat_ops::procedure::conduct::{Conduct, Declaration};
use lifeboat_ops::procedure::outlook::look_ahead;
use lifeboat_ops::procedure::report::{RunReport, RunState, StepReport};
use lifeboat_ops::procedure::target::Target;
use lifeboat_ops::procedure::{Procedure, conduct};
use lifeboat_plan::plan::runbook::RunKind;
use lifeboat_runbook::{Operator, Outcome};
use serde::Serialize;

use self::lines::Lines;
use self::outlook::Ahead;
use self::questions::{Asker, Driving, OpenQuestion};
use self::tell::Tell;
use super::evidence::times::{write_estimates, write_objectives};
use crate::failure::Failure;
use crate::prompt::confirm_site;
use crate::render::{Answer, Cell, Page, Sort, Table, Tone, time};
use crate::session::Session;
use crate::tier_argument::TierArgument;
use crate::{screen, surroundings};

/// The arguments of `lifeboat recover`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = EXAMPLES
)]
pub struct Recover {
    /// Carry out the runbook of this scenario
    #[arg(value_name = "SCENARIO", required_unless_present = "resume")]
    scenario: Option<ScenarioName>,
    /// Come back to what was captured last at or before this time, to the point of this name, or `latest`
    #[arg(long, value_name = "TIME", default_value = "latest", conflicts_with = "resume")]
    at: String,
    /// What runbooks call `target.directory`: where they put what goes beside what is there
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    to: Option<PathBuf>,
    /// What runbooks call `target.host`: a name or an address of this host [default: this host, as `[places]` of the plan calls it]
    #[arg(long, value_name = "HOST", conflicts_with = "resume")]
    host: Option<String>,
    /// Do without this tier, by name or address: it is lost, and what others hold counts as all there is; may be given several times
    #[arg(long, value_name = "TIER", value_delimiter = ',', conflicts_with = "resume")]
    without: Vec<TierArgument>,
    /// Go on although this recovery was begun at another place and is not over: its host is lost; may be given several times
    #[arg(long, value_name = "RUN", value_delimiter = ',', conflicts_with = "resume")]
    despite: Vec<RunId>,
    /// Say from which point it would recover, what is replaced and lost, and how long it should take; change
    /// nothing
    #[arg(long, conflicts_with = "resume")]
    dry_run: bool,
    /// Go on with the run that is open
    #[arg(long, conflicts_with = "scenario")]
    resume: bool,
    /// Confirm beforehand that this site's data may be replaced
    #[arg(long, value_name = "SITE", conflicts_with = "resume")]
    confirm: Option<SiteName>,
    #[command(subcommand)]
    tell: Option<Tell>,
}

const EXAMPLES: &str = "\
Examples:
  lifeboat recover database-corruption --dry-run
  lifeboat recover database-corruption --at 20261123_020000 --confirm techit-production
  lifeboat recover complete-system-failure --without primary --dry-run
  lifeboat recover confirm provision --note 'server 4711' --all
  lifeboat recover skip tell --reason 'the chat is down'
  lifeboat recover --resume";

/// How a run stands, as it is shown.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Shown(pub(super) RunReport);

impl Answer for Shown {
    const SCHEMA: &'static str = "lifeboat.recover/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        let report = &self.0;
        let name = page.paint.strong(&report.title);
        let declared = time::instant(report.declared);
        writeln!(page, "{name} ({}), {}, declared {declared}", report.scenario, report.run)?;
        if let Some(point) = &report.point {
            writeln!(page, "to the point {point}")?;
        }
        let mut table = Table::new(["Step", "", ">Took", "Why"]);
        for step in &report.steps {
            row(step, &mut table);
        }
        page.table(&table);
        for step in &report.steps {
            write_asked(step, page)?;
        }
        write_state(report, page)?;
        write_times(report, page)?;
        write_objectives(&report.objectives, page)?;
        write_estimates(&report.estimates, page)?;
        destination::write_after(report, page)?;
        match &report.evidence {
            Some(record) => writeln!(page, "\nevidence: `lifeboat evidence show {record}`"),
            None if report.outcome.is_some() => {
                writeln!(page, "\nno evidence is kept yet: `lifeboat evidence collect`")
            }
            None => Ok(()),
        }
    }
}

fn row(step: &StepReport, table: &mut Table) {
    let tone = match step.stand {
        "done" | "undone" => Tone::Good,
        "failed" | "undo failed" | "interrupted" => Tone::Bad,
        "waits for a person" | "skipped" | "left out" => Tone::Warning,
        "to come" => Tone::Aside,
        _ => Tone::Strong,
    };
    let took = step.took_ms.map(|took| time::duration(Duration::from_millis(took)));
    table.row([
        step.step.as_str().into(),
        Cell::new(step.stand, tone),
        took.unwrap_or_default().into(),
        step.why.clone().unwrap_or_default().into(),
    ]);
}

/// Writes what a person is asked, and the commands that lead on.
fn write_asked(step: &StepReport, page: &mut Page) -> fmt::Result {
    if let Some(asks) = &step.asks {
        let whom = step.waits_for.as_deref().unwrap_or("anybody");
        writeln!(page, "{} waits for {whom}: {asks}", step.step)?;
    }
    for point in &step.checklist {
        writeln!(page, "    [ ] {point}")?;
    }
    for command in &step.commands {
        writeln!(page, "    {command}")?;
    }
    match &step.hint {
        Some(hint) if !step.commands.is_empty() => {
            writeln!(page, "{}: {hint}", page.paint.good("hint"))
        }
        _ => Ok(()),
    }
}

fn write_state(report: &RunReport, page: &mut Page) -> fmt::Result {
    let said = report.said.as_ref().map(|said| format!(" ({said})")).unwrap_or_default();
    let (tone, word) = match (report.outcome, report.state) {
        (Some(outcome @ Outcome::Succeeded), _) => (Tone::Good, outcome.to_string()),
        (Some(outcome), _) => (Tone::Bad, outcome.to_string()),
        (None, RunState::Going) => (Tone::Strong, "it goes on".to_owned()),
        (None, RunState::WaitsForPerson) => (Tone::Warning, "it waits for a person".to_owned()),
        (None, RunState::Stuck) => (Tone::Bad, "it is stuck".to_owned()),
        (None, RunState::Paused) => (Tone::Warning, format!("it is paused{said}")),
        (None, RunState::Aborting) => (Tone::Warning, format!("it is being aborted{said}")),
        (None, RunState::Finished) => (Tone::Strong, "it is over".to_owned()),
    };
    let word = page.paint.tone(tone, &word);
    match (&report.driver, report.outcome) {
        (Some(driver), _) => writeln!(page, "{word}, driven by {driver}"),
        (None, Some(_)) => writeln!(page, "{word}"),
        (None, None) => {
            writeln!(page, "{word}, and nobody drives it: `lifeboat recover --resume` goes on")
        }
    }
}

/// Writes where the time went, held against what it may take.
fn write_times(report: &RunReport, page: &mut Page) -> fmt::Result {
    let text = |ms: u64| time::duration(Duration::from_millis(ms));
    let times = &report.times;
    let mut parts: Vec<_> = times
        .phases_ms
        .iter()
        .map(|(phase, ms)| format!("{} {}", phase_word(*phase), text(*ms)))
        .collect();
    for (what, ms) in [("waiting for people", times.people_ms), ("standstill", times.standstill_ms)]
    {
        if ms > 0 {
            parts.push(format!("{what} {}", text(ms)));
        }
    }
    write!(page, "{} since it was declared", text(times.total_ms))?;
    if let Some(rto) = report.rto_ms {
        let tone = if times.total_ms <= rto { Tone::Good } else { Tone::Bad };
        write!(page, ", {}", page.paint.tone(tone, &format!("of {} (RTO)", text(rto))))?;
    }
    writeln!(page, ": {}", parts.join(", "))
}

pub(super) const fn phase_word(phase: lifeboat_runbook::Phase) -> &'static str {
    use lifeboat_runbook::Phase;
    match phase {
        Phase::Decide => "deciding",
        Phase::Prepare => "preparing",
        Phase::Fetch => "fetching",
        Phase::Restore => "restoring",
        Phase::Replay => "replaying",
        Phase::Start => "starting",
        Phase::Validate => "validating",
    }
}

impl Recover {
    /// Declares a run and drives it, goes on with one, or tells one what to do.
    pub fn run(mut self, session: &Session) -> Result<Exit, Failure> {
        if let Some(tell) = self.tell.take() {
            return tell.run(session);
        }
        let declared = session.clock.now();
        let site = session.site()?;
        let lost = TierArgument::all_of(&self.without, &site)?;
        let site = site.without(lost)?;
        let operator = operator();
        let Some(scenario) = &self.scenario else {
            return drive(&Conduct::take(Arc::new(site), operator)?, session);
        };
        let procedure = Procedure::of(site.plan(), scenario, RunKind::Recovery)?;
        let at = At::parse(&self.at)?;
        let target = self.target(&site)?;
        if self.dry_run {
            let ahead = look_ahead(&site, &procedure, at, &*session.events(), &session.cancel)?;
            return session.done(&Ahead(ahead));
        }
        let conduct = Conduct::take(Arc::new(site.clone()), operator)?;
        // What was given up is undone first: one platform is recovered by one run.
        if conduct.is_given_up()? {
            let undone = driven(&conduct, session)?;
            screen::talk(&crate::render::text(&Shown(undone), session.screen.err));
        }
        conduct.refuse_another()?;
        let ahead = look_ahead(&site, &procedure, at, &*session.events(), &session.cancel)?;
        screen::talk(&crate::render::text(&Ahead(ahead.clone()), session.screen.err));
        if let Some(destination) = &ahead.destination {
            destination.expect_alone(&self.despite)?;
        }
        confirm_site(site.name(), self.confirm.as_ref(), "recovered", session)?;
        let (procedure, outlook) = (&procedure, &ahead);
        conduct.declare(&Declaration { procedure, outlook, target, declared })?;
        drive(&conduct, session)
    }

    fn target(&self, site: &Site) -> Result<Target, Failure> {
        let directory = self.to.as_deref().map(surroundings::absolute).transpose()?;
        let directory = directory.map(|path| path.display().to_string());
        Ok(Target::here(site, self.host.as_deref(), directory)?)
    }
}

/// Drives the open run until it is over, stuck, or Ctrl-C is pressed, and shows how it stands then.
fn drive(conduct: &Conduct, session: &Session) -> Result<Exit, Failure> {
    let report = driven(conduct, session)?;
    let exit = if session.cancel.is_cancelled() && report.outcome.is_none() {
        Exit::Cancelled
    } else {
        report.exit()
    };
    session.end(&Shown(report), exit)
}

/// Drives the open run until it is over, stuck, or Ctrl-C is pressed; what happens is said as it does.
fn driven(conduct: &Conduct, session: &Session) -> Result<RunReport, Failure> {
    let mut fetch = vec![surroundings::program()?];
    if let Ok(plan) = surroundings::find_plan(&session.global) {
        fetch.push("--plan".to_owned());
        fetch.push(surroundings::absolute(&plan)?.display().to_string());
    }
    let lines = Lines::new(&session.screen, conduct.rto()?);
    let events: Arc<dyn EventSink> = Arc::new(Silent);
    let open = OpenQuestion::default();
    let (driving, asked) = Driving::new(&lines, &open);
    // What was asked before somebody took the run over is asked here too.
    for step in conduct::show(conduct.site())?.steps.iter().filter(|step| step.asks.is_some()) {
        driving.ask(&step.step);
    }
    let report = std::thread::scope(|scope| {
        let (site, lines, open) = (conduct.site(), &lines, &open);
        if Asker::is_somebody_there(session) {
            scope.spawn(move || Asker { site, session, lines, open }.run(&asked));
        }
        let report = conduct.drive(fetch, &driving, &events, &session.cancel);
        driving.end();
        report
    })?;
    drop(lines);
    Ok(report)
}

/// Returns who runs this process.
pub(super) fn operator() -> Operator {
    let login = surroundings::login().to_string();
    let (host, process) = (surroundings::hostname(), std::process::id());
    Operator { login, host, process }
}

/// Shows how the open run stands, or the last one.
fn status(session: &Session) -> Result<Exit, Failure> {
    let report = conduct::show(&session.site()?)?;
    session.done(&Shown(report))
}
