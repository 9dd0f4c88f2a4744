//! In which order a runbook's steps can be done: the plan's words, the graph's answer.

use lifeboat_model::StepName;
use lifeboat_plan::plan::runbook::Runbook;
use lifeboat_runbook::{Graph, GraphError, Step};

/// Returns the graph of a runbook's steps.
///
/// A plan that was accepted has no runbook that fails here; one that was only read may.
pub fn graph(runbook: &Runbook) -> Result<Graph, Vec<GraphError>> {
    let steps = runbook.steps.iter().map(|step| Step {
        name: step.id.clone(),
        needs: step.needs.clone(),
        is_critical: step.critical,
    });
    Graph::build(steps.collect())
}

/// Returns the steps in layers: what stands in one layer can be done at once, after those before it.
pub fn layers(runbook: &Runbook) -> Result<Vec<Vec<StepName>>, Vec<GraphError>> {
    let names = |layer: Vec<&Step>| layer.into_iter().map(|step| step.name.clone()).collect();
    Ok(graph(runbook)?.layers().into_iter().map(names).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lifeboat_model::Timestamp;
    use lifeboat_plan::{Facts, Plan, SourceFile, load};

    use super::*;

    const PLAN: &str = r#"
format = 1
[plan]
name = "Shop"
site = "shop"
version = "1"
owner = "Operations"
updated = 2026-11-23
[key]
file = "/etc/lifeboat/recovery.key"
[assets.media]
kind = "files"
paths = ["/srv/media"]
[tiers.primary]
url = "file:///var/backups/shop"
[tiers.secondary]
url = "file:///mnt/backups/shop"
[schedules.daily]
cron = "0 2 * * *"
assets = ["media"]
to = ["primary", "secondary"]
[scenarios.loss]
runbook = "runbooks/loss.toml"
"#;

    const RUNBOOK: &str = r#"
title = "Loss"
[[steps]]
id = "tell"
needs = ["restore", "migrate"]
manual = "Tell everybody."
[[steps]]
id = "provision"
manual = "Get a server."
[[steps]]
id = "restore"
needs = ["provision"]
restore = { asset = "media" }
[[steps]]
id = "migrate"
needs = ["provision"]
run = ["true"]
"#;

    fn plan() -> Plan {
        let source = SourceFile { path: "plan.toml".to_owned(), text: PLAN.to_owned() };
        let files = BTreeMap::from([("runbooks/loss.toml".to_owned(), RUNBOOK.to_owned())]);
        match load(source, &files, &Facts::default(), Timestamp::UNIX_EPOCH) {
            Ok(checked) => checked.plan,
            Err(rejected) => panic!("{rejected:?}"),
        }
    }

    #[test]
    fn steps_that_can_be_done_at_once_share_a_layer() {
        let plan = plan();
        let runbook = plan.runbooks().values().next().unwrap();
        let layers = layers(runbook).unwrap();
        let layers: Vec<Vec<&str>> =
            layers.iter().map(|layer| layer.iter().map(StepName::as_str).collect()).collect();
        assert_eq!(layers, [vec!["provision"], vec!["restore", "migrate"], vec!["tell"]]);
    }
}
