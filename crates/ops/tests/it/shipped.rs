//! The runbooks of the reference plan, carried out in a simulated world.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lifeboat_model::{CheckName, Timestamp};
use lifeboat_ops::procedure::Procedure;
use lifeboat_plan::plan::check::Probe;
use lifeboat_plan::plan::runbook::{Action, RunKind};
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

/// Who recovers in earnest has nobody who stands in for the mail host: what waits for a mail is for check-lists of drills.
#[test]
fn no_shipped_runbook_asks_in_a_recovery_what_only_a_drill_can_answer() {
    let plan = shipped();
    let of_drills = |name: &CheckName| matches!(plan.checks().get(name), Some(Probe::Smtp(_)));
    assert!(plan.checks().keys().any(of_drills), "drills ask for one");
    for scenario in plan.scenarios().keys() {
        let procedure = Procedure::of(&plan, scenario, RunKind::Recovery).unwrap();
        for step in procedure.steps() {
            let asked = match &step.action {
                Action::Check(check) => check.check.as_slice(),
                _ => &[],
            };
            let wrong = asked.iter().chain(&step.check).find(|name| of_drills(name));
            assert_eq!(wrong, None, "`{}` of `{scenario}`", step.id);
        }
    }
}
