//! The points of a drill's check-list: what is always asked, and what its plan adds.
//!
//! Always asked are: whether everything came back that the runbook restores in the case that it found, whether every service is healthy that it starts
//! or that ran before, and whether the data hold together, by all checks of the runbook that ask the data. A point holds if all of its questions
//! were answered yes; one that nobody came to could not be verified.

use std::collections::BTreeSet;
use std::time::Duration;

use lifeboat_model::{CheckName, Outcome, ServiceName};
use lifeboat_plan::plan::check::Probe;
use lifeboat_plan::plan::runbook::Action;
use lifeboat_plan::plan::scenario::PlatformState;
use lifeboat_plan::plan::timetable::Drill;
use lifeboat_plan::value::duration::Span;
use lifeboat_runbook::{Outcome as Ran, Run, Stand};

use super::record::PointChecked;
use crate::evidence::document::ObjectiveKept;
use crate::procedure::Procedure;
use crate::procedure::probe::{Asker, Finding};
use crate::procedure::services::start_order;
use crate::wire::Site;

const RESTORED: &str = "Backup restoration successful";
const SERVICES: &str = "All services operational";
const INTEGRITY: &str = "Data integrity verified";
const LITTLE_LOST: &str = "Lost no more than its RPO";
const IN_TIME: &str = "Recovered within its RTO";

/// A question of a point.
enum Question<'p> {
    Check(&'p CheckName, Option<&'p Probe>),
    Health(ServiceName, Option<&'p Probe>),
}

/// A point before it is asked.
struct Point<'p> {
    says: &'p str,
    questions: Vec<Question<'p>>,
}

fn points<'p>(
    site: &'p Site,
    procedure: &'p Procedure,
    drill: Option<&'p Drill>,
) -> Vec<Point<'p>> {
    let plan = site.plan();
    let check = |name: &'p CheckName| Question::Check(name, plan.checks().get(name));
    // One that is neither started nor asked only stands for others.
    let services = started(site, procedure).into_iter().filter_map(|name| {
        let service = plan.services().get(&name)?;
        let is_something = service.start.is_some() || service.health.is_some();
        is_something.then_some(Question::Health(name, service.health.as_ref()))
    });
    let of_data = |name: &&CheckName| {
        let probe = plan.checks().get(*name);
        matches!(probe, Some(Probe::Sql(_) | Probe::Files(_) | Probe::FilesIn(_)))
    };
    let mut points = vec![
        Point { says: SERVICES, questions: services.collect() },
        Point {
            says: INTEGRITY,
            questions: asked(procedure).into_iter().filter(of_data).map(check).collect(),
        },
    ];
    let own = drill.into_iter().flat_map(|drill| &drill.checklist);
    points.extend(own.map(|point| Point {
        says: &point.says,
        questions: point.checks.iter().map(check).collect(),
    }));
    points.retain(|point| !point.questions.is_empty());
    points
}

/// The services that run in the end, in the order in which they start: those that a procedure starts, and all of a platform that
/// ran when it began.
fn started(site: &Site, procedure: &Procedure) -> Vec<ServiceName> {
    let plan = site.plan();
    if procedure.scenario().platform == PlatformState::Runs {
        return start_order(plan, &plan.services().keys().cloned().collect());
    }
    let selections = procedure.steps().iter().filter_map(|step| match &step.action {
        Action::Start(start) => Some(&start.start),
        _ => None,
    });
    let picked = selections.flat_map(|selection| selection.pick(plan.services().keys()));
    start_order(plan, &picked.cloned().collect())
}

/// The checks that a procedure asks.
fn asked(procedure: &Procedure) -> BTreeSet<&CheckName> {
    let mut asked = BTreeSet::new();
    for step in procedure.steps() {
        asked.extend(&step.check);
        if let Action::Check(check) = &step.action {
            asked.extend(&check.check);
        }
    }
    asked
}

/// Asks every point.
pub(super) fn ask(
    procedure: &Procedure,
    drill: Option<&Drill>,
    asker: &Asker<'_>,
) -> Vec<PointChecked> {
    let points = points(asker.site, procedure, drill).into_iter();
    points.map(|point| answered(&point, asker)).collect()
}

fn answered(point: &Point<'_>, asker: &Asker<'_>) -> PointChecked {
    let (mut outcome, mut said) = (Outcome::Passed, Vec::new());
    for question in &point.questions {
        let (name, finding) = match question {
            Question::Check(name, Some(probe)) => (name.to_string(), asker.ask(probe)),
            Question::Health(name, Some(probe)) => (name.to_string(), asker.ask(probe)),
            Question::Check(name, None) => {
                (name.to_string(), unknown("the plan has no such check"))
            }
            Question::Health(name, None) => {
                (name.to_string(), unknown("its plan asks nothing of it"))
            }
        };
        outcome = outcome.max(finding.outcome);
        said.push((name, finding));
    }
    // Of a point that does not hold only what is wrong is told.
    let told = said.iter().filter(|(_, finding)| finding.outcome == outcome);
    let told: Vec<_> = told.map(|(name, finding)| format!("{name}: {}", finding.message)).collect();
    PointChecked { says: point.says.to_owned(), outcome, message: told.join("; ") }
}

fn unknown(message: &str) -> Finding {
    Finding { outcome: Outcome::CouldNotVerify, message: message.to_owned() }
}

/// The points as they are when nobody came to ask them.
pub(super) fn unasked(
    site: &Site,
    procedure: &Procedure,
    drill: Option<&Drill>,
) -> Vec<PointChecked> {
    let points = points(site, procedure, drill).into_iter();
    let unasked = points.map(|point| PointChecked {
        says: point.says.to_owned(),
        outcome: Outcome::CouldNotVerify,
        message: "the drill did not come to it".to_owned(),
    });
    unasked.collect()
}

/// The point that the steps themselves answer: whether everything came back.
pub(super) fn of_run(procedure: &Procedure, run: Option<&Run>) -> Vec<PointChecked> {
    let restores = procedure.steps().iter().filter_map(|step| match &step.action {
        Action::Restore(restore) => Some((&step.id, restore.restore.asset.to_string())),
        _ => None,
    });
    let (mut outcome, mut told) = (Outcome::Passed, Vec::new());
    for (step, asset) in restores {
        let stand = run.and_then(|run| run.step(step)).map(|(_, course)| &course.stand);
        let (of_it, message) = match stand {
            Some(Stand::Done) => (Outcome::Passed, asset),
            Some(Stand::Failed(failure)) => (Outcome::Failed, format!("{asset}: {}", failure.why)),
            // What was found did not call for it.
            Some(Stand::LeftOut { .. }) => continue,
            _ => (Outcome::CouldNotVerify, format!("{asset}: it was not restored")),
        };
        outcome = outcome.max(of_it);
        told.push((of_it, message));
    }
    if told.is_empty() {
        return Vec::new();
    }
    let told: Vec<_> =
        told.into_iter().filter(|(of_it, _)| *of_it == outcome).map(|(_, text)| text).collect();
    vec![PointChecked { says: RESTORED.to_owned(), outcome, message: told.join("; ") }]
}

/// The point that the clock answers.
pub(super) fn in_time(ran: Option<Ran>, took: Duration, rto: Duration) -> PointChecked {
    let outcome = match ran {
        Some(Ran::Succeeded) if took <= rto => Outcome::Passed,
        Some(_) if took > rto => Outcome::Failed,
        _ => Outcome::CouldNotVerify,
    };
    let whole = Duration::from_secs(took.as_secs());
    let message = format!("{} of {}", Span::from(whole), Span::from(rto));
    PointChecked { says: IN_TIME.to_owned(), outcome, message }
}

/// The point that the moments answer to which the assets came back: what evidence says of them.
pub(super) fn little_lost(kept: &ObjectiveKept) -> PointChecked {
    let span = |ms| Span::from(Duration::from_millis(ms));
    let message = match kept.measured_ms {
        Some(lost) => format!("{} of {}, {}", span(lost), span(kept.limit_ms), kept.message),
        None => kept.message.clone(),
    };
    PointChecked { says: LITTLE_LOST.to_owned(), outcome: kept.outcome, message }
}
