//! `lifeboat test`: restore into a throwaway place, and check what came back.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::Args;
use lifeboat_model::{Cancel, EventSink, Exit, Outcome, RestoreTestName, Silent, SiteName};
use lifeboat_ops::catalog::body::{AssetTested, RestoreTested, ServicesTested, TestPhase};
use lifeboat_ops::ending::Ending;
use lifeboat_ops::recovery::sandbox::Demand;
use lifeboat_ops::recovery::verified::CheckResult;
use lifeboat_ops::restore_test::staged::{StagedOrders, stage};
use lifeboat_ops::restore_test::stand::{StandOrders, stand};
use lifeboat_ops::restore_test::{
    Control, RestoreTestOptions, RestoreTestReport, RestoreTestsReport, Seed, Trigger, restore_test,
};
use lifeboat_plan::value::instant::PointInTime;
use lifeboat_postgres::enclosure::Isolation;
use serde::Serialize;

use super::drill::{orders_in, site_in_yard};
use super::verify::restored::{took, write_check};
use crate::failure::{CommandError, Failure};
use crate::render::{Answer, Page, Sort, time};
use crate::session::Session;
use crate::surroundings;
use crate::tier_argument::{self, TierArgument};

/// The arguments of `lifeboat test`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Test {
    /// Run this restore test; without a name, all of the plan, one after the other
    #[arg(value_name = "NAME")]
    name: Option<RestoreTestName>,
    /// Bring this moment back instead of the plan's: `latest`, `random`, a time, a point's name; of a server alone also
    /// lsn:LSN, xid:XID, name:NAME or `immediate`
    #[arg(long, value_name = "TIME")]
    at: Option<PointInTime>,
    /// Draw as the test did that printed this seed
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u32>,
    /// Then damage the copy and check it again: a test that passes on that is worth nothing. Without this the seed
    /// decides, one time in eight
    #[arg(long)]
    negative_control: bool,
    /// Read from this tier, by name or address
    #[arg(long, value_name = "TIER")]
    tier: Option<TierArgument>,
    /// Put what comes back into this folder, which needs room for all of it
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Do without namespaces where the host gives none: a server is then kept by settings alone
    #[arg(long)]
    weak_isolation: bool,
    /// Keep a yard, by these orders
    #[arg(long, hide = true, value_name = "ORDERS", requires = "inside")]
    keep: Option<String>,
    /// Have the platform run inside of the namespaces of this process
    #[arg(long, hide = true, value_name = "PROCESS")]
    inside: Option<u32>,
    /// Do the test that is told on standard input, for another host's lifeboat
    #[arg(long, hide = true)]
    staged: bool,
}

const EXAMPLES: &str = "\
Examples:
  lifeboat test weekly
  lifeboat test weekly --at 20261123_020000
  lifeboat test weekly --seed 2718281828 --negative-control";

impl Test {
    /// Runs tests: 1 for what does not hold or came back damaged, 4 for what could not be checked.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        if let (Some(orders), Some(inside)) = (&self.keep, self.inside) {
            let orders: StandOrders = orders_in(orders)?;
            let (site, fetch) = site_in_yard(inside, session)?;
            stand(&site, &orders, &fetch, &session.cancel)?;
            return Ok(Exit::Done);
        }
        let system = |source| CommandError::System { action: "find this program", source };
        let own_program = std::env::current_exe().map_err(system)?;
        if self.staged {
            return do_staged(own_program, session);
        }
        let site = session.site()?;
        let tier = tier_argument::named(self.tier.as_ref(), &site)?;
        let known = site.plan().restore_tests();
        if known.is_empty() {
            let hint = "add one to the plan: [restore_tests.weekly] with cron, assets and checks";
            let message = "the plan has no restore tests".to_owned();
            return Err(CommandError::usage(message, hint).into());
        }
        if let Some(name) = self.name.as_ref().filter(|name| !known.contains_key(*name)) {
            let names: Vec<&str> = known.keys().map(RestoreTestName::as_str).collect();
            let message = format!("the plan has no restore test `{name}`");
            return Err(CommandError::usage(message, format!("it has {}", names.join(", "))).into());
        }
        let scratch = self.scratch.as_deref().map(surroundings::absolute).transpose()?;
        let events = session.events();
        let mut tests = Vec::new();
        for name in known.keys().filter(|name| self.name.as_ref().is_none_or(|only| only == *name))
        {
            let options = RestoreTestOptions {
                at: self.at.clone(),
                seed: self.seed.map(Seed),
                control: if self.negative_control { Control::Yes } else { Control::BySeed },
                tier: tier.clone(),
                scratch: scratch.clone(),
                demand: if self.weak_isolation { Demand::WhatCanBeHad } else { Demand::Namespaces },
                trigger: Trigger::Person(surroundings::login().to_string()),
                ..RestoreTestOptions::of_plan(name.clone(), own_program.clone())
            };
            let report = restore_test(&site, &options, &*events, &session.cancel)?;
            let goes_on = report.ending != Ending::Cancelled;
            tests.push(report);
            if !goes_on {
                break;
            }
        }
        let report = RestoreTestsReport::new(site.name().clone(), tests);
        let exit = report.exit();
        session.end(&Tested(report), exit)
    }
}

/// Does a test as a staging host; its answer is all that is written to standard output.
fn do_staged(own_program: PathBuf, session: &Session) -> Result<Exit, Failure> {
    let talk = |source| CommandError::System { action: "talk to whoever called", source };
    let orders = match StagedOrders::read(io::stdin().lock()) {
        Ok(orders) => orders,
        Err(refusal) => {
            writeln!(io::stdout(), "{refusal}").map_err(talk)?;
            return Ok(Exit::Done);
        }
    };
    // Nothing more is said; whoever called is gone when this ends.
    let cancel = session.cancel.clone();
    std::thread::spawn(move || {
        _ = io::copy(&mut io::stdin(), &mut io::sink());
        cancel.cancel();
    });
    let around = |site: &SiteName| session.surroundings(site);
    let heard: (&dyn EventSink, &Cancel) = (&Silent, &session.cancel);
    let answer = stage(orders, &around, (own_program, session.clock.now()), heard);
    writeln!(io::stdout(), "{answer}").map_err(talk)?;
    Ok(Exit::Done)
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Tested(RestoreTestsReport);

impl Answer for Tested {
    const SCHEMA: &'static str = "lifeboat.test/1";

    fn sort(&self) -> Sort {
        Sort::Summary
    }

    fn write(&self, page: &mut Page) -> fmt::Result {
        for (number, RestoreTestReport { tested, .. }) in self.0.tests.iter().enumerate() {
            if number > 0 {
                writeln!(page)?;
            }
            write_test(tested, page)?;
        }
        Ok(())
    }
}

fn write_test(tested: &RestoreTested, page: &mut Page) -> fmt::Result {
    let RestoreTested { test, seed, at, moment, trouble, checks, .. } = tested;
    let name = page.paint.strong(test.as_str());
    let on = tested.on.as_ref().map(|host| format!(" on {host}")).unwrap_or_default();
    match moment {
        Some(moment) => {
            writeln!(page, "{name}{on} at {} ({at}, seed {seed})", time::instant(*moment))?;
        }
        None => writeln!(page, "{name}{on} at {at} (seed {seed})")?,
    }
    let own =
        tested.assets.iter().flat_map(|asset| std::iter::once(as_check(asset)).chain(dump(asset)));
    let own = own.chain(tested.services.iter().map(services));
    let all: Vec<CheckResult> = own.chain(checks.iter().map(|c| c.result.clone())).collect();
    let width = all.iter().map(|check| check.name.len()).max().unwrap_or_default();
    for check in &all {
        write_check(check, width, page)?;
    }
    for asset in &tested.assets {
        if let Some(Isolation::SettingsOnly { why }) = &asset.isolation {
            let word = page.paint.warning("warning");
            writeln!(page, "{word}: {} was kept by settings alone: {why}", asset.asset)?;
        }
    }
    if let Some(control) = &tested.control {
        let word = page.paint.outcome(control.outcome);
        let (asset, damage) = (&control.asset, &control.damage);
        writeln!(page, "negative control, {asset}: {damage}: {word}, {}", control.message)?;
    }
    if let Some(trouble) = trouble {
        writeln!(page, "{}: {trouble}", page.paint.bad("trouble"))?;
    }
    writeln!(page, "{}", times(tested))?;
    let outcome = page.paint.outcome(tested.outcome);
    writeln!(page, "{outcome} in {}", took(tested.duration_ms))
}

/// Shows an asset like a check: whether it came back is the first question.
fn as_check(tested: &AssetTested) -> CheckResult {
    let AssetTested { asset, tier, outcome, message, duration_ms, .. } = tested;
    let message = match tier {
        Some(tier) => format!("{message}, from {tier}"),
        None => message.clone(),
    };
    line(asset.as_str(), (*outcome, message), *duration_ms)
}

/// Shows the dump that was loaded like a check.
fn dump(tested: &AssetTested) -> Option<CheckResult> {
    let dump = tested.dump.as_ref()?;
    let name = format!("dump of {}", tested.asset);
    Some(line(&name, (dump.outcome, dump.message.clone()), dump.duration_ms))
}

/// Shows the services that were started like a check.
fn services(tested: &ServicesTested) -> CheckResult {
    line("services", (tested.outcome, tested.message.clone()), tested.duration_ms)
}

fn line(name: &str, (outcome, message): (Outcome, String), duration_ms: u64) -> CheckResult {
    let (name, findings) = (name.to_owned(), Vec::new());
    CheckResult { name, outcome, message, findings, findings_more: 0, duration_ms }
}

/// Tells where the time went, and what of it is the test's own.
fn times(tested: &RestoreTested) -> String {
    let word = |phase: &TestPhase| match phase {
        TestPhase::Fetch => "fetched",
        TestPhase::Restore => "restored",
        TestPhase::Replay => "replayed",
        TestPhase::Load => "dumps loaded",
        TestPhase::Services => "services started and asked",
        TestPhase::Check => "checked",
        TestPhase::Teardown => "torn down",
    };
    let phases = tested.phases_ms.iter();
    let phases: Vec<_> = phases.map(|(p, ms)| format!("{} in {}", word(p), took(*ms))).collect();
    format!("{}; beside restoring and checking: {}", phases.join(", "), took(tested.own_ms))
}
