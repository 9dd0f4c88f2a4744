//! Things that need each other, so that none can ever be first.

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_model::{ServiceName, StepName};

use super::{Inputs, Problem, Rule, Severity, runbook_path};
use crate::place::{Path, place};

pub(super) const RULE: Rule =
    Rule { code: "needs-circle", severity: Severity::Error, needs_whole: false, check };

/// What each name needs.
type Needs<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let services: Needs<'_> = inputs
        .document
        .services
        .iter()
        .map(|(name, service)| {
            (name.as_str(), service.needs.iter().map(ServiceName::as_str).collect())
        })
        .collect();
    let mut problems = report(&services, |name| place!["services", name, "needs"]);
    for (file, runbook) in inputs.runbooks {
        let mut needs = Needs::new();
        let mut places = BTreeMap::new();
        for (number, step) in runbook.steps.iter().enumerate() {
            needs.insert(step.id.as_str(), step.needs.iter().map(StepName::as_str).collect());
            let path = runbook_path(file).then("steps").then(number).then("needs");
            places.insert(step.id.as_str(), path);
        }
        problems.extend(report(&needs, |name| places[name].clone()));
    }
    problems
}

fn report(needs: &Needs<'_>, place: impl Fn(&str) -> Path) -> Vec<Problem> {
    circles(needs)
        .into_iter()
        .map(|circle| {
            let chain: Vec<_> = circle.iter().map(|name| format!("`{name}`")).collect();
            let first = circle[0];
            let message = format!("{} needs itself: {} → `{first}`", chain[0], chain.join(" → "));
            Problem::at_value(place(first), message)
                .label("the circle begins here")
                .help("leave out one of these needs")
        })
        .collect()
}

/// Returns every circle that has no name in common with another, each from its first name on.
fn circles<'a>(needs: &Needs<'a>) -> Vec<Vec<&'a str>> {
    let mut left: BTreeSet<&str> = needs.keys().copied().collect();
    let mut circles = Vec::new();
    loop {
        drop_startable(needs, &mut left);
        let Some(start) = left.first() else { return circles };
        let circle = walk(needs, &left, start);
        for name in &circle {
            left.remove(name);
        }
        if circle.is_empty() {
            return circles;
        }
        circles.push(circle);
    }
}

/// Takes away, again and again, what needs nothing that is left.
fn drop_startable(needs: &Needs<'_>, left: &mut BTreeSet<&str>) {
    loop {
        let before = left.len();
        let snapshot = left.clone();
        left.retain(|name| needs[name].iter().any(|need| snapshot.contains(need)));
        if left.len() == before {
            return;
        }
    }
}

/// Follows needs from `start` until a name comes again. All names in `left` need one in it.
fn walk<'a>(needs: &Needs<'a>, left: &BTreeSet<&'a str>, start: &'a str) -> Vec<&'a str> {
    let mut way = vec![start];
    loop {
        let next = way.last().and_then(|name| needs[name].iter().find(|n| left.contains(*n)));
        let Some(next) = next.copied() else { return Vec::new() };
        if let Some(at) = way.iter().position(|name| *name == next) {
            let mut circle = way.split_off(at);
            let smallest = (0..circle.len()).min_by_key(|i| circle[*i]).unwrap_or(0);
            circle.rotate_left(smallest);
            return circle;
        }
        way.push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(edges: &[(&'static str, &[&'static str])]) -> Vec<Vec<&'static str>> {
        circles(&edges.iter().map(|(n, needs)| (*n, needs.iter().copied().collect())).collect())
    }

    #[test]
    fn each_circle_is_found_once() {
        let none: [Vec<&str>; 0] = [];
        assert_eq!(found(&[("a", &["b"]), ("b", &[])]), none);
        assert_eq!(found(&[("a", &["a"])]), [["a"]]);
        assert_eq!(
            found(&[("x", &["c"]), ("c", &["a"]), ("a", &["b"]), ("b", &["c"])]),
            [["a", "b", "c"]]
        );
        assert_eq!(
            found(&[("a", &["b"]), ("b", &["a"]), ("c", &["d", "a"]), ("d", &["c"])]).len(),
            2
        );
    }

    #[test]
    fn needs_that_do_not_exist_make_no_circle() {
        assert!(found(&[("a", &["gone"])]).is_empty());
    }
}
