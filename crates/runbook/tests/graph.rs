//! What holds for every graph.

use std::collections::HashMap;

use lifeboat_model::StepName;
use lifeboat_runbook::{Graph, GraphError, Progress, Step, Task};
use proptest::prelude::*;

fn id(index: usize) -> StepName {
    format!("step-{index}").parse().expect("it is a slug")
}

fn steps(needs: Vec<Vec<usize>>, critical: &[bool]) -> Vec<Step> {
    let step = |(index, needs): (usize, Vec<usize>)| Step {
        needs: needs.into_iter().map(id).collect(),
        is_critical: critical.get(index).copied().unwrap_or(true),
        ..Step::new(id(index), Task::Act)
    };
    needs.into_iter().enumerate().map(step).collect()
}

/// Any needs among up to twelve steps, circles included.
fn any_needs() -> impl Strategy<Value = Vec<Vec<usize>>> {
    (1..12_usize)
        .prop_flat_map(|count| prop::collection::vec(prop::collection::vec(0..count, 0..3), count))
}

/// Needs that only point to earlier steps, in a shuffled order of names.
fn sound_needs() -> impl Strategy<Value = Vec<Vec<usize>>> {
    any_needs()
        .prop_flat_map(|needs| {
            let count = needs.len();
            (Just(needs), Just((0..count).collect::<Vec<_>>()).prop_shuffle())
        })
        .prop_map(|(needs, names)| {
            let mut renamed = vec![Vec::new(); needs.len()];
            for (index, needs) in needs.into_iter().enumerate() {
                let earlier = needs.into_iter().filter(|need| *need < index);
                renamed[names[index]] = earlier.map(|need| names[need]).collect();
            }
            renamed
        })
}

/// Takes away what needs nothing until nothing is left; what resists is in a circle.
fn has_circle(needs: &[Vec<usize>]) -> bool {
    let mut left: Vec<usize> = (0..needs.len()).collect();
    loop {
        let (stay, go): (Vec<_>, Vec<_>) =
            left.iter().partition(|index| needs[**index].iter().any(|need| left.contains(need)));
        if go.is_empty() {
            return !stay.is_empty();
        }
        left = stay;
    }
}

proptest! {
    #[test]
    fn a_graph_is_refused_exactly_for_a_circle_that_is_one(needs in any_needs()) {
        match Graph::build(steps(needs.clone(), &[])) {
            Ok(_) => prop_assert!(!has_circle(&needs)),
            Err(errors) => {
                prop_assert!(has_circle(&needs));
                let [GraphError::Cycle { steps: circle }] = errors.as_slice() else {
                    panic!("{errors:?}");
                };
                for (step, need) in circle.iter().zip(circle.iter().cycle().skip(1)) {
                    let index = (0..needs.len()).find(|index| id(*index) == *step).unwrap();
                    prop_assert!(needs[index].iter().any(|index| id(*index) == *need));
                }
            }
        }
    }

    #[test]
    fn layers_hold_each_step_once_and_after_its_needs(needs in sound_needs()) {
        let count = needs.len();
        let graph = Graph::build(steps(needs, &[])).unwrap();
        let mut layer_of = HashMap::new();
        for (depth, layer) in graph.layers().into_iter().enumerate() {
            for step in layer {
                prop_assert_eq!(layer_of.insert(step.name.clone(), depth), None);
            }
        }
        prop_assert_eq!(layer_of.len(), count);
        for step in graph.steps() {
            let latest = step.needs.iter().map(|need| layer_of[need]).max();
            prop_assert_eq!(layer_of[&step.name], latest.map_or(0, |depth| depth + 1));
        }
    }

    /// Whatever fails and in whatever order steps end: nothing begins before what it needs, and in
    /// the end every step has ended or is blocked.
    #[test]
    fn carrying_out_what_is_ready_reaches_an_end(
        needs in sound_needs(),
        critical in prop::collection::vec(any::<bool>(), 12),
        fails in prop::collection::vec(any::<bool>(), 12),
        choices in prop::collection::vec(any::<prop::sample::Index>(), 12),
    ) {
        let graph = Graph::build(steps(needs, &critical)).unwrap();
        let mut progress: HashMap<StepName, Progress> = HashMap::new();
        let of = |progress: &HashMap<StepName, Progress>, id: &StepName| {
            progress.get(id).copied().unwrap_or_default()
        };
        for choice in choices {
            let ready = graph.ready(|id| of(&progress, id));
            let Some(step) = (!ready.is_empty()).then(|| ready[choice.index(ready.len())]) else {
                break;
            };
            for need in &step.needs {
                let ended = of(&progress, need);
                prop_assert!(matches!(ended, Progress::Done | Progress::Failed));
            }
            let index = graph.steps().iter().position(|other| other.name == step.name).unwrap();
            let ended = if fails[index] { Progress::Failed } else { Progress::Done };
            progress.insert(step.name.clone(), ended);
        }
        prop_assert!(graph.ready(|id| of(&progress, id)).is_empty());
        let blocked = graph.blocked(|id| of(&progress, id)).len();
        prop_assert_eq!(progress.len() + blocked, graph.steps().len());
    }
}
