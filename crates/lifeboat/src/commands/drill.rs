//! `lifeboat drill`: rehearse a scenario in a yard, while the platform runs on.

mod people;
mod show;

use clap::Args;
use lifeboat_model::{Exit, ScenarioName};
use lifeboat_ops::Site;
use lifeboat_ops::drill::keeper::{KeeperOrders, keep};
use lifeboat_ops::drill::{DrillOptions, People, Simulated, drill, findings, history};
use lifeboat_ops::ending::Ending;
use lifeboat_ops::procedure::Procedure;
use lifeboat_ops::procedure::outlook::rto;
use lifeboat_plan::plan::runbook::RunKind;
use lifeboat_plan::value::duration::Span;
use lifeboat_postgres::yard::Inside;
use serde::de::DeserializeOwned;

use self::people::AtTerminal;
use self::show::{Open, Shown};
use super::recover::lines::Lines;
use super::recover::operator;
use crate::failure::{CommandError, Failure};
use crate::prompt::Terminal;
use crate::session::Session;

/// The arguments of `lifeboat drill`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Drill {
    /// Rehearse this scenario, by its own runbook
    #[arg(value_name = "SCENARIO", required_unless_present = "findings")]
    scenario: Option<ScenarioName>,
    /// Come back to what was captured last at or before this time, to the point of this name, or `latest`
    #[arg(long, value_name = "TIME", default_value = "latest")]
    at: String,
    /// Tear it down after this time [default: the window of the plan's drill]
    #[arg(long, value_name = "TIME")]
    window: Option<Span>,
    /// Ask at this terminal what steps ask; without this they are noted as simulated
    #[arg(long)]
    ask: bool,
    /// Show what drills found and nobody mended yet, and run none
    #[arg(long, conflicts_with_all = ["scenario", "ask", "window"])]
    findings: bool,
    /// Keep a yard, by these orders
    #[arg(long, hide = true, value_name = "ORDERS", requires = "inside")]
    keep: Option<String>,
    /// Have the platform run inside of the namespaces of this process
    #[arg(long, hide = true, value_name = "PROCESS")]
    inside: Option<u32>,
}

const EXAMPLES: &str = "\
Examples:
  lifeboat drill complete-system-failure
  lifeboat drill complete-system-failure --ask --window 2h
  lifeboat drill --findings";

impl Drill {
    /// Runs a drill: 0 if all points hold, 1 if one does not, 4 if one could not be verified.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        if let (Some(orders), Some(inside)) = (&self.keep, self.inside) {
            return keep_yard(orders, inside, session);
        }
        let site = session.site()?;
        let Some(scenario) = self.scenario.clone() else { return open_findings(session) };
        let system = |source| CommandError::System { action: "find this program", source };
        let own_program = std::env::current_exe().map_err(system)?;
        let procedure = Procedure::of(site.plan(), &scenario, RunKind::Drill)?;
        let options = DrillOptions {
            at: self.at,
            window: self.window.map(Span::duration),
            ..DrillOptions::of_scenario(&site, scenario, operator(), own_program)
        };
        let people: Box<dyn People> = if self.ask {
            let terminal = Terminal::open(&session.cancel).ok_or_else(|| {
                let hint = "run it at a terminal, or leave `--ask` out";
                CommandError::usage("nobody can be asked here".to_owned(), hint)
            })?;
            Box::new(AtTerminal::new(terminal, &site))
        } else {
            Box::new(Simulated)
        };
        let lines = Lines::new(&session.screen, rto(&site, &procedure));
        let events = session.events();
        let ended = drill(&site, &options, (&*people, &lines), &*events, &session.cancel)?;
        drop(lines);
        let exit = if session.cancel.is_cancelled() {
            Exit::Cancelled
        } else {
            Ending::of(ended.outcome).exit()
        };
        session.end(&Shown::new(site.name().clone(), ended), exit)
    }
}

/// Keeps the yard of a drill that another process runs.
fn keep_yard(orders: &str, inside: u32, session: &Session) -> Result<Exit, Failure> {
    let orders: KeeperOrders = orders_in(orders)?;
    let (site, fetch) = site_in_yard(inside, session)?;
    keep(&site, &orders, fetch, &session.cancel)?;
    Ok(Exit::Done)
}

/// Opens the site in the yard whose inside this process holds, with the words by which this program is run with its plan.
pub(super) fn site_in_yard(inside: u32, session: &Session) -> Result<(Site, Vec<String>), Failure> {
    let system = |source| CommandError::System { action: "find this program", source };
    let own_program = std::env::current_exe().map_err(system)?;
    let site = session.site_quietly()?.in_yard(Inside::new(own_program, inside));
    let call = site.call().clone();
    Ok((site, vec![call.program, "--plan".to_owned(), call.plan]))
}

/// Reads what a keeper is told.
pub(super) fn orders_in<O: DeserializeOwned>(text: &str) -> Result<O, CommandError> {
    let hint = "this is for lifeboat itself: run `lifeboat drill SCENARIO` or `lifeboat test NAME`";
    let wrong = |error| CommandError::usage(format!("these are no orders: {error}"), hint);
    serde_json::from_str(text).map_err(wrong)
}

/// Shows what drills found and nobody mended yet.
fn open_findings(session: &Session) -> Result<Exit, Failure> {
    let site = session.site()?;
    let drills = history(&site)?;
    let now = session.clock.now();
    session.done(&Open::new(findings::open(drills.iter()), now))
}
