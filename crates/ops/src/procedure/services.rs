//! In which order services come back: by class, the most urgent first, and after what they need. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lifeboat_model::ServiceName;
use lifeboat_plan::Plan;
use lifeboat_plan::value::duration::Span;

/// Returns services in the order in which they are started; the reverse is that in which they are stopped.
///
/// What a service needs comes before it, and is as urgent as it is, whatever its own class. Among those that could come next
/// the class with the shortest RTO is first; of two with the same, or none, the one of [`RANKS`] that stands first; then
/// the order of names.
pub(crate) fn start_order(plan: &Plan, picked: &BTreeSet<ServiceName>) -> Vec<ServiceName> {
    let mut left: BTreeMap<&ServiceName, BTreeSet<&ServiceName>> = BTreeMap::new();
    for name in picked {
        let needs = plan.services().get(name).map(|service| &service.needs);
        let needs = needs.into_iter().flatten().filter(|need| picked.contains(need));
        left.insert(name, needs.collect());
    }
    let urgencies = urgencies(plan, &left);
    let mut order = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let ready = left.iter().filter(|(_, needs)| needs.iter().all(|need| order.contains(*need)));
        // The lint refuses circles; were there one, its services would still come in some order.
        let next = ready.map(|(name, _)| *name).min_by_key(|name| (urgencies[*name], *name));
        let next = next.or_else(|| left.keys().next().copied());
        let Some(next) = next.cloned() else { break };
        left.remove(&next);
        order.push(next);
    }
    order
}

/// The names that classes have in the reference plan, the most urgent first.
const RANKS: [&str; 4] = ["critical", "high", "medium", "low"];

/// How urgent a service is: the time within which it must be back, and the rank of its class.
type Urgency = (Duration, usize);

/// Returns how urgent each service is: as much as the most urgent of those that need it.
fn urgencies(
    plan: &Plan,
    needs: &BTreeMap<&ServiceName, BTreeSet<&ServiceName>>,
) -> BTreeMap<ServiceName, Urgency> {
    let own = |name: &&ServiceName| ((*name).clone(), own_urgency(plan, name));
    let mut urgencies: BTreeMap<_, _> = needs.keys().map(own).collect();
    // A chain of needs is no longer than there are services.
    for _ in 0..needs.len() {
        for (name, needed) in needs {
            let urgency = urgencies[*name];
            for need in needed {
                urgencies.entry((*need).clone()).and_modify(|own| *own = (*own).min(urgency));
            }
        }
    }
    urgencies
}

/// The time within which the class of a service has to be back; one without comes last.
fn own_urgency(plan: &Plan, name: &ServiceName) -> Urgency {
    let Some(service) = plan.services().get(name) else { return (Duration::MAX, RANKS.len()) };
    let rto = plan.classes().get(&service.class).and_then(|class| class.rto);
    let rank = RANKS.iter().position(|rank| *rank == service.class.as_str());
    (rto.map_or(Duration::MAX, Span::duration), rank.unwrap_or(RANKS.len()))
}

#[cfg(test)]
mod tests {
    use lifeboat_model::Timestamp;
    use lifeboat_plan::{Facts, SourceFile, load};

    use super::*;

    const PLAN: &str = r#"
format = 1
[plan]
name = "Shop"
site = "shop"
[key]
file = "/etc/lifeboat/recovery.key"
[classes]
critical = { rto = "4h" }
high = { rto = "24h" }
low = {}
medium = {}
[services.api]
class = "critical"
needs = ["database"]
[services.archive]
class = "low"
[services.cache]
class = "critical"
[services.dashboard]
class = "high"
needs = ["api"]
[services.database]
class = "critical"
[services.web]
class = "critical"
needs = ["api", "search"]
[services.search]
class = "low"
[services.wiki]
class = "medium"
"#;

    #[test]
    fn services_start_by_class_and_after_what_they_need() {
        let source = SourceFile { path: "plan.toml".to_owned(), text: PLAN.to_owned() };
        let checked = load(source, &BTreeMap::new(), &Facts::default(), Timestamp::UNIX_EPOCH);
        let plan = checked.unwrap_or_else(|rejected| panic!("{rejected:?}")).plan;
        let order = |picked: &[&str]| -> Vec<String> {
            let picked = picked.iter().map(|name| name.parse().unwrap()).collect();
            start_order(&plan, &picked).iter().map(ToString::to_string).collect()
        };
        let all = ["api", "archive", "cache", "dashboard", "database", "web", "search", "wiki"];
        assert_eq!(
            order(&all),
            ["cache", "database", "api", "search", "web", "dashboard", "wiki", "archive"],
            "what a critical service needs is not kept waiting by what is less urgent"
        );
        assert_eq!(order(&["web", "dashboard"]), ["web", "dashboard"]);
    }
}
