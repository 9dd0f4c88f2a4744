//! The graph of a runbook's steps: built once, valid from then on, pure.
//!
//! # Invariants
//!
//! Every need is an index of a step of the graph, and following needs always ends. Ties are broken
//! by the order in which the runbook names its steps, so that the same runbook always gives the same
//! order.

use std::collections::HashMap;
use std::fmt;

use lifeboat_model::{Classify, ErrorKind, StepName};

use crate::{Input, Progress, Step};

/// Steps are no graph that can be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// Two steps have one name.
    #[error("the name `{name}` is given to two steps")]
    Duplicate {
        /// The name.
        name: StepName,
    },
    /// A step needs one that is not there.
    #[error("`{step}` needs `{need}`, which is no step of this runbook")]
    UnknownNeed {
        /// Who needs.
        step: StepName,
        /// What is needed.
        need: StepName,
    },
    /// A step takes something that nobody gives.
    #[error("`{step}` takes `{output}` of `{from}`, which gives no such thing")]
    UnknownOutput {
        /// Who takes.
        step: StepName,
        /// From whom.
        from: StepName,
        /// What.
        output: String,
    },
    /// A step takes something of one that need not be done by then.
    #[error("`{step}` takes `{output}` of `{from}`, and does not need it done before")]
    InputNotBefore {
        /// Who takes.
        step: StepName,
        /// From whom.
        from: StepName,
        /// What.
        output: String,
    },
    /// Steps wait for each other.
    #[error("steps need each other in a circle: {}", Circle(.steps))]
    Cycle {
        /// The steps of the circle, each needing the next, the last the first.
        steps: Vec<StepName>,
    },
}

impl Classify for GraphError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Config
    }
}

struct Circle<'a>(&'a [StepName]);

impl fmt::Display for Circle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in self.0 {
            write!(f, "`{step}` needs ")?;
        }
        self.0.first().map_or(Ok(()), |first| write!(f, "`{first}`"))
    }
}

/// Steps in an order in which they can be carried out.
#[derive(Debug, Clone)]
pub struct Graph {
    steps: Vec<Step>,
    /// For each step the indexes of those that it needs, each once.
    needs: Vec<Vec<usize>>,
    /// For each step how many layers come before its own.
    depths: Vec<usize>,
}

impl Graph {
    /// Takes the steps of a runbook; all that is wrong with them is told at once.
    pub fn build(steps: Vec<Step>) -> Result<Self, Vec<GraphError>> {
        let mut errors = Vec::new();
        let mut indexes = HashMap::with_capacity(steps.len());
        for (index, step) in steps.iter().enumerate() {
            if indexes.contains_key(&step.name) {
                errors.push(GraphError::Duplicate { name: step.name.clone() });
            } else {
                indexes.insert(&step.name, index);
            }
        }
        let mut needs = Vec::with_capacity(steps.len());
        for step in &steps {
            let mut known = Vec::with_capacity(step.needs.len());
            for need in &step.needs {
                match indexes.get(need) {
                    Some(index) => known.push(*index),
                    None => errors.push(GraphError::UnknownNeed {
                        step: step.name.clone(),
                        need: need.clone(),
                    }),
                }
            }
            known.sort_unstable();
            known.dedup();
            needs.push(known);
        }
        let depths = depths(&needs);
        for (index, step) in steps.iter().enumerate() {
            for input in taken(step) {
                errors.extend(input_error(&steps, &needs, index, input));
            }
        }
        if let Some(circle) = circle(&needs, &depths) {
            let steps = circle.into_iter().map(|index| steps[index].name.clone()).collect();
            errors.push(GraphError::Cycle { steps });
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let depths = depths.into_iter().flatten().collect();
        Ok(Self { steps, needs, depths })
    }

    /// Returns the place of a step in the runbook's own order.
    pub fn index(&self, name: &StepName) -> Option<usize> {
        self.steps.iter().position(|step| step.name == *name)
    }

    /// Returns the steps in the runbook's own order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Returns the steps in layers: what is in one layer needs only what is in those before it, and
    /// can be carried out at once.
    pub fn layers(&self) -> Vec<Vec<&Step>> {
        let count = self.depths.iter().max().map_or(0, |deepest| deepest + 1);
        let mut layers = vec![Vec::new(); count];
        for (step, depth) in self.steps.iter().zip(&self.depths) {
            layers[*depth].push(step);
        }
        layers
    }

    /// Returns the steps that can be begun: they wait, and all that they need is done, or failed
    /// without being critical.
    pub fn ready(&self, progress: impl Fn(&StepName) -> Progress) -> Vec<&Step> {
        let is_behind = |index: &usize| {
            let step = &self.steps[*index];
            match progress(&step.name) {
                Progress::Done => true,
                Progress::Failed => !step.is_critical,
                Progress::Waiting | Progress::Running => false,
            }
        };
        let waits = |step: &Step| progress(&step.name) == Progress::Waiting;
        let steps = self.steps.iter().zip(&self.needs);
        steps
            .filter(|(step, needs)| waits(step) && needs.iter().all(is_behind))
            .map(|(step, _)| step)
            .collect()
    }

    /// Returns the waiting steps that can never be begun, since a critical one before them failed.
    pub fn blocked(&self, progress: impl Fn(&StepName) -> Progress) -> Vec<&Step> {
        let mut is_stuck = vec![false; self.steps.len()];
        let mut order: Vec<usize> = (0..self.steps.len()).collect();
        order.sort_by_key(|index| self.depths[*index]);
        for index in order {
            is_stuck[index] = progress(&self.steps[index].name) == Progress::Waiting
                && self.needs[index].iter().any(|need| {
                    let step = &self.steps[*need];
                    let has_failed = progress(&step.name) == Progress::Failed;
                    is_stuck[*need] || (has_failed && step.is_critical)
                });
        }
        let steps = self.steps.iter().zip(is_stuck);
        steps.filter(|(_, is_stuck)| *is_stuck).map(|(step, _)| step).collect()
    }
}

/// Returns what a step takes, for itself and to find out whether it is done at all.
fn taken(step: &Step) -> impl Iterator<Item = &Input> {
    step.inputs.iter().chain(step.condition.as_ref().map(|condition| &condition.input))
}

fn input_error(
    steps: &[Step],
    needs: &[Vec<usize>],
    index: usize,
    input: &Input,
) -> Option<GraphError> {
    let step = steps[index].name.clone();
    let (from, output) = (input.step.clone(), input.output.clone());
    let giver = steps.iter().position(|other| other.name == input.step);
    match giver.filter(|giver| steps[*giver].outputs.contains_key(&input.output)) {
        None => Some(GraphError::UnknownOutput { step, from, output }),
        Some(giver) if !comes_before(needs, giver, index) => {
            Some(GraphError::InputNotBefore { step, from, output })
        }
        Some(_) => None,
    }
}

/// Tells whether `index` needs `giver`, itself or through others.
fn comes_before(needs: &[Vec<usize>], giver: usize, index: usize) -> bool {
    let mut seen = vec![false; needs.len()];
    let mut open = needs[index].clone();
    while let Some(need) = open.pop() {
        if need == giver {
            return true;
        }
        if !std::mem::replace(&mut seen[need], true) {
            open.extend(&needs[need]);
        }
    }
    false
}

/// Returns for each step how many layers come before it; none for those in a circle or behind one.
fn depths(needs: &[Vec<usize>]) -> Vec<Option<usize>> {
    let mut needed_by = vec![Vec::new(); needs.len()];
    for (index, needs) in needs.iter().enumerate() {
        for need in needs {
            needed_by[*need].push(index);
        }
    }
    let mut open: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut layer: Vec<usize> = (0..needs.len()).filter(|index| open[*index] == 0).collect();
    let mut depths = vec![None; needs.len()];
    let mut depth = 0;
    while !layer.is_empty() {
        let mut next = Vec::new();
        for index in layer {
            depths[index] = Some(depth);
            for dependent in &needed_by[index] {
                open[*dependent] -= 1;
                if open[*dependent] == 0 {
                    next.push(*dependent);
                }
            }
        }
        layer = next;
        depth += 1;
    }
    depths
}

/// Returns a circle, if a step has no depth: from it, needs without depth lead into one.
fn circle(needs: &[Vec<usize>], depths: &[Option<usize>]) -> Option<Vec<usize>> {
    let mut trail = Vec::new();
    let mut position = vec![None; needs.len()];
    let mut step = depths.iter().position(Option::is_none)?;
    while position[step].is_none() {
        position[step] = Some(trail.len());
        trail.push(step);
        step = *needs[step].iter().find(|need| depths[**need].is_none())?;
    }
    Some(trail.split_off(position[step]?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OutputKind, Task};

    fn id(text: &str) -> StepName {
        text.parse().unwrap()
    }

    fn step(name: &str, needs: &[&str]) -> Step {
        let needs = needs.iter().map(|need| id(need)).collect();
        Step { needs, ..Step::new(id(name), Task::Act) }
    }

    fn names(steps: &[&Step]) -> Vec<String> {
        steps.iter().map(|step| step.name.to_string()).collect()
    }

    fn reference() -> Graph {
        Graph::build(vec![
            step("approve-switch", &["migrate", "restore-media"]),
            step("provision", &[]),
            step("migrate", &["restore-database"]),
            step("restore-database", &["provision"]),
            step("restore-media", &["provision", "provision"]),
        ])
        .unwrap()
    }

    #[test]
    fn layers_follow_the_needs_and_then_the_runbook() {
        let graph = reference();
        let layers: Vec<_> = graph.layers().iter().map(|layer| names(layer)).collect();
        assert_eq!(layers[0], ["provision"]);
        assert_eq!(layers[1], ["restore-database", "restore-media"]);
        assert_eq!(layers[2], ["migrate"]);
        assert_eq!(layers[3], ["approve-switch"]);
        assert_eq!(layers.len(), 4);
        assert!(Graph::build(Vec::new()).unwrap().layers().is_empty());
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let errors = Graph::build(vec![
            step("a", &["c", "x"]),
            step("b", &["a"]),
            step("c", &["b"]),
            step("d", &["c"]),
            step("d", &[]),
        ])
        .unwrap_err();
        let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "the name `d` is given to two steps",
                "`a` needs `x`, which is no step of this runbook",
                "steps need each other in a circle: `a` needs `c` needs `b` needs `a`",
            ]
        );
    }

    #[test]
    fn a_step_takes_only_what_is_there_by_then() {
        let takes = |output: &str, mut step: Step| {
            step.inputs = vec![Input { step: id("count"), output: output.to_owned() }];
            step
        };
        let mut count = step("count", &[]);
        count.outputs.insert("rows".to_owned(), OutputKind::Number);
        let errors = Graph::build(vec![
            count,
            step("between", &["count"]),
            takes("rows", step("behind", &["between"])),
            takes("rows", step("beside", &[])),
            takes("lines", step("wrong", &["count"])),
        ])
        .unwrap_err();
        let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "`beside` takes `rows` of `count`, and does not need it done before",
                "`wrong` takes `lines` of `count`, which gives no such thing",
            ]
        );
    }

    #[test]
    fn a_step_cannot_need_itself() {
        let errors = Graph::build(vec![step("a", &["a"])]).unwrap_err();
        assert_eq!(errors, [GraphError::Cycle { steps: vec![id("a")] }]);
    }

    #[test]
    fn a_circle_is_named_without_what_only_hangs_on_it() {
        let steps = vec![step("z", &["a"]), step("a", &["b"]), step("b", &["a"])];
        let errors = Graph::build(steps).unwrap_err();
        assert_eq!(errors, [GraphError::Cycle { steps: vec![id("a"), id("b")] }]);
    }

    #[test]
    fn a_critical_failure_blocks_what_needs_it_and_nothing_else() {
        let graph = reference();
        let progress = |id: &StepName| match id.as_str() {
            "provision" => Progress::Done,
            "restore-database" => Progress::Failed,
            _ => Progress::Waiting,
        };
        assert_eq!(names(&graph.ready(progress)), ["restore-media"]);
        assert_eq!(names(&graph.blocked(progress)), ["approve-switch", "migrate"]);
    }

    #[test]
    fn what_is_not_critical_may_fail() {
        let notify = Step { is_critical: false, ..step("notify", &[]) };
        let graph = Graph::build(vec![notify, step("go", &["notify"])]).unwrap();
        let progress = |id: &StepName| match id.as_str() {
            "notify" => Progress::Failed,
            _ => Progress::Waiting,
        };
        assert_eq!(names(&graph.ready(progress)), ["go"]);
        assert!(graph.blocked(progress).is_empty());
    }
}
