//! What was measured of a run, held against what its plan allows and thought. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use lifeboat_model::{ClassName, Outcome, ServiceName, Timestamp};
use lifeboat_plan::Plan;
use lifeboat_plan::plan::runbook::{Action, RestoreWhat};
use lifeboat_plan::value::duration::Span;
use lifeboat_plan::value::estimate::Estimate;
use lifeboat_runbook::{Mood, Output, Run, Stand};

use super::document::{EstimateKept, Limited, ObjectiveKept};
use crate::procedure::Procedure;
use crate::procedure::deed::HEALTHY;
use crate::procedure::report::milliseconds;

/// An asset that a step of a run brought back.
#[derive(Debug, Clone)]
pub(crate) struct Back<'a> {
    pub(crate) what: &'a RestoreWhat,
    /// When its step was done.
    pub(crate) at: Timestamp,
    /// The moment that its data have.
    pub(crate) time: Option<Timestamp>,
}

/// Returns what the steps of a run brought back.
pub(crate) fn brought_back<'a>(procedure: &'a Procedure, run: &Run) -> Vec<Back<'a>> {
    let steps = procedure.steps().iter().filter_map(|step| {
        let Action::Restore(restore) = &step.action else { return None };
        let (_, course) = run.step(&step.id)?;
        let at = course.ended.filter(|_| course.stand == Stand::Done)?;
        let time = match course.outputs.get("time") {
            Some(Output::Time(time)) => Some(*time),
            _ => None,
        };
        Some(Back { what: &restore.restore, at, time })
    });
    steps.collect()
}

/// Returns every objective that a plan sets for what a run did, with what was measured.
pub fn objectives(plan: &Plan, procedure: &Procedure, run: &Run) -> Vec<ObjectiveKept> {
    let measures = Measures { plan, procedure, run, back: brought_back(procedure, run) };
    let mut kept = measures.of_scenario();
    kept.extend(measures.of_classes());
    kept.extend(measures.of_assets());
    kept
}

/// Whether an objective is one of those by which the run itself is judged.
pub(crate) fn is_of_scenario(kept: &ObjectiveKept) -> bool {
    kept.of.starts_with("scenario ")
}

/// Returns how much a run lost, beside what it may lose, if its scenario says that.
pub(crate) fn loss_of_scenario(objectives: &[ObjectiveKept]) -> Option<&ObjectiveKept> {
    objectives.iter().find(|kept| is_of_scenario(kept) && kept.limited == Limited::Rpo)
}

struct Measures<'a> {
    plan: &'a Plan,
    procedure: &'a Procedure,
    run: &'a Run,
    back: Vec<Back<'a>>,
}

impl Measures<'_> {
    fn since_declared(&self, time: Timestamp) -> u64 {
        milliseconds(between(self.run.declared(), time))
    }

    /// How much was lost of what came back: up to the declaration, as whatever came later was never taken.
    fn lost(&self, back: &Back<'_>) -> Option<u64> {
        back.time.map(|time| milliseconds(between(time, self.run.declared())))
    }

    /// How long it took, if everything was done.
    fn total(&self) -> Option<u64> {
        let is_over =
            matches!(self.run.mood(), Mood::Finished(lifeboat_runbook::Outcome::Succeeded));
        is_over.then(|| self.since_declared(self.run.last_time()))
    }

    fn of_scenario(&self) -> Vec<ObjectiveKept> {
        let (name, scenario) = (self.procedure.name(), self.procedure.scenario());
        let of = format!("scenario {name}");
        let rto = scenario.rto.map(|rto| {
            let message = match self.total() {
                Some(_) => "from its declaration until everything was done",
                None => "not everything was done",
            };
            judged(&of, Limited::Rto, rto.duration(), self.total(), message)
        });
        let rpo = scenario.rpo.filter(|_| self.brings_something_back());
        let rpo = rpo.map(|rpo| self.loss_of_scenario(&of, rpo.duration()));
        rto.into_iter().chain(rpo).collect()
    }

    /// Whether anything was to come back: where what was found called for no restore, nothing is lost.
    fn brings_something_back(&self) -> bool {
        let mut restores =
            self.procedure.steps().iter().filter(|step| matches!(step.action, Action::Restore(_)));
        restores.any(|step| {
            let course = self.run.step(&step.id).map(|(_, course)| course);
            !course.is_some_and(|course| matches!(course.stand, Stand::LeftOut { .. }))
        })
    }

    /// Judges the loss of a scenario: each asset by its own RPO, or by the scenario's if it has none. What is told is the one that
    /// is the furthest over its limit, or the nearest to it.
    fn loss_of_scenario(&self, of: &str, rpo: Duration) -> ObjectiveKept {
        let untold = |message: &str| judged(of, Limited::Rpo, rpo, None, message);
        let limited = self.back.iter().map(|back| {
            let own = self.plan.assets().get(&back.what.asset).and_then(|asset| asset.rpo);
            (back, own.map(Span::duration))
        });
        let judged = limited.map(|(back, own)| {
            let message = match own {
                Some(_) => format!("by the RPO of its asset {}", back.what.asset),
                None => format!("by its asset {}, which has no RPO of its own", back.what.asset),
            };
            judged(of, Limited::Rpo, own.unwrap_or(rpo), self.lost(back), &message)
        });
        let judged: Vec<_> = judged.collect();
        let over = |kept: &&ObjectiveKept| {
            let over = |lost| i128::from(lost) - i128::from(kept.limit_ms);
            (kept.outcome, kept.measured_ms.map(over))
        };
        judged
            .iter()
            .max_by_key(over)
            .cloned()
            .unwrap_or_else(|| untold("nothing that tells its moment was brought back"))
    }

    /// Classes by their services, each once the last of them was healthy; that of the scenario by all of it.
    fn of_classes(&self) -> Vec<ObjectiveKept> {
        let healthy = self.healthy();
        let own = self.procedure.scenario().class.as_ref();
        let class = |(name, class): (&ClassName, &lifeboat_plan::plan::service::Class)| {
            let rto = class.rto?.duration();
            let services = healthy.iter().filter(|(service, _)| {
                self.plan.services().get(*service).is_some_and(|service| service.class == *name)
            });
            let last = services.map(|(_, time)| self.since_declared(*time)).max();
            let of = format!("class {name}");
            match last {
                Some(last) => {
                    let message = "from its declaration until the last of its services was healthy";
                    Some(judged(&of, Limited::Rto, rto, Some(last), message))
                }
                None if own == Some(name) => {
                    let message = "from its declaration until everything was done";
                    Some(judged(&of, Limited::Rto, rto, self.total(), message))
                }
                None => None,
            }
        };
        self.plan.classes().iter().filter_map(class).collect()
    }

    /// When each service was found healthy.
    fn healthy(&self) -> BTreeMap<ServiceName, Timestamp> {
        let mut healthy = BTreeMap::new();
        for (_, course) in self.run.steps() {
            for (name, output) in &course.outputs {
                let service = name.strip_prefix(HEALTHY).and_then(|name| name.parse().ok());
                if let (Some(service), Output::Time(time)) = (service, output) {
                    healthy.insert(service, *time);
                }
            }
        }
        healthy
    }

    fn of_assets(&self) -> Vec<ObjectiveKept> {
        let mut kept = Vec::new();
        for back in &self.back {
            let Some(asset) = self.plan.assets().get(&back.what.asset) else { continue };
            let of = format!("asset {}", back.what.asset);
            kept.extend(asset.rto.map(|rto| {
                let took = Some(self.since_declared(back.at));
                let message = "from the declaration until it was back";
                judged(&of, Limited::Rto, rto.duration(), took, message)
            }));
            kept.extend(asset.rpo.map(|rpo| {
                let message = match back.time {
                    Some(_) => "from the moment that it came back to, until it was declared",
                    None => "its moment is not known",
                };
                judged(&of, Limited::Rpo, rpo.duration(), self.lost(back), message)
            }));
        }
        kept
    }
}

/// Holds what was measured against its limit; what was not measured could not be verified.
pub(crate) fn judged(
    of: &str,
    limited: Limited,
    limit: Duration,
    measured_ms: Option<u64>,
    message: &str,
) -> ObjectiveKept {
    let limit_ms = milliseconds(limit);
    let outcome = match measured_ms {
        None => Outcome::CouldNotVerify,
        Some(measured) if measured <= limit_ms => Outcome::Passed,
        Some(_) => Outcome::Failed,
    };
    let (of, message) = (of.to_owned(), message.to_owned());
    ObjectiveKept { of, limited, limit_ms, measured_ms, outcome, message }
}

/// Returns everything that a plan thought of a run's times, with what was measured.
pub fn estimates(procedure: &Procedure, run: &Run) -> Vec<EstimateKept> {
    let is_over = matches!(run.mood(), Mood::Finished(lifeboat_runbook::Outcome::Succeeded));
    let total = is_over.then(|| between(run.declared(), run.last_time()));
    let scenario = procedure.scenario().estimate.as_ref();
    let scenario =
        scenario.map(|thought| estimated(format!("scenario {}", procedure.name()), thought, total));
    let steps = procedure.steps().iter().filter_map(|step| {
        let thought = step.estimate.as_ref()?;
        let took = run.step(&step.id).and_then(|(_, course)| {
            let (_, begun) = course.begun.filter(|_| course.stand == Stand::Done)?;
            Some(between(begun, course.ended?))
        });
        Some(estimated(format!("step {}", step.id), thought, took))
    });
    scenario.into_iter().chain(steps).collect()
}

fn estimated(of: String, thought: &Estimate, measured: Option<Duration>) -> EstimateKept {
    EstimateKept {
        of,
        estimate: thought.to_string(),
        least_ms: milliseconds(thought.least.duration()),
        most_ms: milliseconds(thought.most.duration()),
        measured_ms: measured.map(milliseconds),
    }
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}
