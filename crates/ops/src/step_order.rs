//! In which order the steps of a plan's runbooks can be done: the plan's words, the graph's answer.

use std::collections::BTreeMap;

use lifeboat_model::{Classify, ErrorKind, StepName};
use lifeboat_plan::Plan;
use lifeboat_plan::plan::runbook::{RunKind, Runbook};
use lifeboat_runbook::{Graph, GraphError, Step};

use crate::procedure::graph;

/// The steps of a runbook cannot be put into an order; the lint finds this before.
#[derive(Debug, thiserror::Error)]
#[error("the steps of `{runbook}` have no order")]
pub struct StepOrderError {
    /// The runbook's file.
    runbook: String,
    /// The first thing that is wrong.
    source: GraphError,
}

impl Classify for StepOrderError {
    fn kind(&self) -> ErrorKind {
        self.source.kind()
    }
}

/// The steps of one runbook in layers: what stands in one layer can be done at once, after those
/// before it.
pub type Layers = Vec<Vec<StepName>>;

/// Returns the layers of each runbook of a plan, by its file.
pub fn orders(plan: &Plan) -> Result<BTreeMap<String, Layers>, StepOrderError> {
    let layers = |(path, runbook): (&_, &Runbook)| {
        let runbook_path = ToString::to_string(path);
        match graph(runbook, RunKind::Recovery) {
            Ok(graph) => Ok((runbook_path, layers(&graph))),
            Err(source) => Err(StepOrderError { runbook: runbook_path, source }),
        }
    };
    plan.runbooks().iter().map(layers).collect()
}

fn layers(graph: &Graph) -> Layers {
    let names = |layer: Vec<&Step>| layer.into_iter().map(|step| step.name.clone()).collect();
    graph.layers().into_iter().map(names).collect()
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
        let orders = orders(&plan()).unwrap();
        let layers: Vec<Vec<&str>> = orders["runbooks/loss.toml"]
            .iter()
            .map(|layer| layer.iter().map(StepName::as_str).collect())
            .collect();
        assert_eq!(layers, [vec!["provision"], vec!["restore", "migrate"], vec!["tell"]]);
    }
}
