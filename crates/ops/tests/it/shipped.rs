//! The runbooks of the reference plan, carried out in a simulated world.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lifeboat_model::Timestamp;
use lifeboat_ops::procedure::Procedure;
use lifeboat_plan::plan::runbook::RunKind;
use lifeboat_plan::{Facts, Plan, SourceFile, load};
use lifeboat_runbook::simulation;

/// The plan that is shipped with the reference platform.
fn shipped() -> Plan {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/techit/plan");
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    let entries = fs::read_dir(folder.join("runbooks")).unwrap();
    let files: BTreeMap<_, _> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            (format!("runbooks/{name}"), read(&path))
        })
        .collect();
    let source = SourceFile { path: "plan.toml".to_owned(), text: read(&folder.join("plan.toml")) };
    match load(source, &files, &Facts::default(), Timestamp::UNIX_EPOCH) {
        Ok(checked) => checked.plan,
        Err(rejected) => panic!("{rejected:?}"),
    }
}

#[test]
fn every_shipped_runbook_stands_everything() {
    let plan = shipped();
    assert!(plan.scenarios().len() >= 7);
    for scenario in plan.scenarios().keys() {
        for kind in [RunKind::Recovery, RunKind::Drill] {
            let procedure = Procedure::of(&plan, scenario, kind).unwrap();
            simulation::all(procedure.runbook());
        }
    }
}
