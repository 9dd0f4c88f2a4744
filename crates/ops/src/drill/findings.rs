//! What a drill found to be mended: who answers for it, and until when. Pure.
//!
//! A finding is for the first contact of the first level of the escalation, else for the plan's owner. It is due before the
//! drill is next on the plan, and within [`DAYS_MAX`] at the latest. The next drill of the same scenario that came to its
//! end closes it, unless it finds the same again; then it stays due when it was.

use jiff::ToSpan as _;
use lifeboat_model::{Outcome, RunId, ScenarioName, Timestamp};
use lifeboat_plan::Plan;
use lifeboat_runbook::Outcome as Ran;
use serde::{Deserialize, Serialize};

use super::record::DrillEnded;

/// How long somebody has at most to mend something.
pub const DAYS_MAX: i64 = 30;

/// Something to be mended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What.
    pub what: String,
    /// Who answers for it.
    pub owner: String,
    /// Until when.
    pub due: Timestamp,
}

/// A finding that no later drill closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenFinding {
    /// Of which scenario.
    pub scenario: ScenarioName,
    /// Which drill found it first.
    pub run: RunId,
    /// What it is.
    #[serde(flatten)]
    pub finding: Finding,
}

/// Returns what a drill found to be mended.
pub(super) fn of(plan: &Plan, ended: &DrillEnded, now: Timestamp) -> Vec<Finding> {
    let (owner, due) = (owner(plan), due(plan, ended, now));
    let finding = |what: String| Finding { what, owner: owner.clone(), due };
    let mut found: Vec<_> = ended.trouble.iter().cloned().map(finding).collect();
    let points = ended.checklist.iter().filter(|point| point.outcome != Outcome::Passed);
    found.extend(
        points
            .map(|point| finding(format!("{}: {}: {}", point.says, point.outcome, point.message))),
    );
    if ended.trouble.is_none() && ended.ran == Some(Ran::Incomplete) {
        found.push(finding("some steps of the runbook were not done".to_owned()));
    }
    let left = ended.teardown.left().iter();
    found.extend(left.map(|left| finding(format!("it left something behind: {left}"))));
    found
}

fn owner(plan: &Plan) -> String {
    let first = plan.escalation().iter().min_by_key(|level| level.level);
    let contact = first.and_then(|level| level.contacts.first());
    let contact = contact.and_then(|name| plan.contacts().get(name));
    let name = contact.map(|contact| contact.name.clone());
    name.or_else(|| plan.about().owner.clone()).unwrap_or_else(|| "nobody".to_owned())
}

fn due(plan: &Plan, ended: &DrillEnded, now: Timestamp) -> Timestamp {
    let latest = now.checked_add((DAYS_MAX * 24).hours()).unwrap_or(Timestamp::MAX);
    let planned = ended.drill.as_ref().and_then(|name| plan.drills().get(name));
    let next = planned.and_then(|drill| drill.timetable().next_after(now));
    next.map_or(latest, |next| next.min(latest))
}

/// Returns the findings that are open after these drills, which are told from the first to the last.
pub fn open<'d>(drills: impl Iterator<Item = &'d DrillEnded>) -> Vec<OpenFinding> {
    let mut open: Vec<OpenFinding> = Vec::new();
    for drill in drills {
        let is_again = |known: &OpenFinding| {
            drill.findings.iter().any(|found| found.what == known.finding.what)
        };
        // One that was torn down in the middle says nothing of what it did not come to.
        let came_to_its_end = drill.trouble.is_none();
        open.retain(|known| {
            known.scenario != drill.scenario || !came_to_its_end || is_again(known)
        });
        for finding in &drill.findings {
            let is_known = |known: &OpenFinding| {
                known.scenario == drill.scenario && known.finding.what == finding.what
            };
            if !open.iter().any(is_known) {
                let (scenario, run) = (drill.scenario.clone(), drill.run);
                open.push(OpenFinding { scenario, run, finding: finding.clone() });
            }
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::drill::record::PointChecked;
    use crate::drill::teardown::{Seen, Teardown};

    fn nothing_known() -> DrillEnded {
        let now = Timestamp::UNIX_EPOCH;
        let teardown = Teardown::look(Path::new("/nowhere/place"), &Seen::default(), now);
        let run = RunId::from_uuid(uuid::Uuid::nil());
        DrillEnded::begun((run, "fire".parse().unwrap(), now), teardown)
    }

    fn drill(scenario: &str, number: u128, findings: &[&str]) -> DrillEnded {
        let due = Timestamp::from_second(i64::try_from(number).unwrap()).unwrap();
        let finding =
            |what: &&str| Finding { what: (*what).to_owned(), owner: "Alice".to_owned(), due };
        DrillEnded {
            run: RunId::from_uuid(uuid::Uuid::from_u128(number)),
            scenario: scenario.parse().unwrap(),
            findings: findings.iter().map(finding).collect(),
            ..nothing_known()
        }
    }

    #[test]
    fn a_finding_is_open_until_a_drill_of_its_scenario_ends_without_it() {
        let broken =
            DrillEnded { trouble: Some("killed".to_owned()), ..drill("fire", 3, &["killed"]) };
        let drills = [
            drill("fire", 1, &["mail", "slow"]),
            drill("flood", 2, &["mail"]),
            broken,
            drill("fire", 4, &["slow"]),
        ];
        let named = |count: usize| -> Vec<_> {
            let open = open(drills.iter().take(count)).into_iter();
            open.map(|it| {
                format!("{} {} {}", it.scenario, it.finding.what, it.finding.due.as_second())
            })
            .collect()
        };
        assert_eq!(named(2), ["fire mail 1", "fire slow 1", "flood mail 2"]);
        assert_eq!(named(3), ["fire mail 1", "fire slow 1", "flood mail 2", "fire killed 3"]);
        assert_eq!(
            named(4),
            ["fire slow 1", "flood mail 2"],
            "what was found again stays due as it was"
        );
    }

    #[test]
    fn whatever_does_not_hold_is_found() {
        let point = |says: &str, outcome| PointChecked {
            says: says.to_owned(),
            outcome,
            message: "so it is".to_owned(),
        };
        let ended = DrillEnded {
            checklist: vec![point("a", Outcome::Passed), point("b", Outcome::CouldNotVerify)],
            ran: Some(Ran::Incomplete),
            ..nothing_known()
        };
        let plan = plan();
        let found = of(&plan, &ended, Timestamp::UNIX_EPOCH);
        let what: Vec<_> = found.iter().map(|found| found.what.as_str()).collect();
        assert_eq!(
            what,
            ["b: could not verify: so it is", "some steps of the runbook were not done"]
        );
        assert_eq!((found[0].owner.as_str(), found[0].due.as_second()), ("Owner", 30 * 24 * 3600));
    }

    fn plan() -> Plan {
        let text = "format = 1\n[plan]\nname = \"P\"\nsite = \"p\"\nowner = \"Owner\"\n[key]\nfile = \"/k\"\n";
        let source =
            lifeboat_plan::SourceFile { path: "plan.toml".to_owned(), text: text.to_owned() };
        let (books, facts) = (std::collections::BTreeMap::new(), lifeboat_plan::Facts::default());
        let checked = lifeboat_plan::load(source, &books, &facts, Timestamp::UNIX_EPOCH);
        checked.unwrap_or_else(|rejected| panic!("{rejected:?}")).plan
    }
}
