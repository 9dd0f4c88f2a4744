//! A check that a restore test names and that can never be asked in it, so that the test never passes.

use lifeboat_model::AssetName;

use super::walk::probe_templates;
use super::{Inputs, Problem, Rule, Severity};
use crate::place::{Path, place};
use crate::plan::check::Probe;
use crate::plan::timetable::RestoreTest;

pub(super) const RULE: Rule =
    Rule { code: "check-never-asked", severity: Severity::Warning, needs_whole: true, check };

pub(super) const STAGED: Rule = Rule {
    code: "services-on-staging-host",
    severity: Severity::Error,
    needs_whole: false,
    check: staged,
};

/// What a restore test has no value for: nothing runs on any host.
const HOST: &str = "target.host";

fn check(inputs: &Inputs<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (test_name, test) in &inputs.document.restore_tests {
        for (at, name) in test.checks.iter().enumerate() {
            let probe = inputs.document.checks.get(name);
            let Some(why) = probe.and_then(|probe| unable(inputs, test, probe)) else { continue };
            let path: Path = place!["restore_tests", test_name, "checks", at];
            let message = format!("the check `{name}` can never be asked in this restore test");
            problems.push(
                Problem::at_value(path, message)
                    .label(why)
                    .help("the test could never pass: take it out, or ask it in a runbook"),
            );
        }
    }
    problems
}

/// Complains about services on a staging host: their yard is built by a plan that lies on its disk, with a key beside it.
fn staged(inputs: &Inputs<'_>) -> Vec<Problem> {
    let tests = inputs.document.restore_tests.iter();
    let both = tests.filter(|(_, test)| test.on.is_some() && test.start.is_some());
    both.map(|(name, _)| {
        let path: Path = place!["restore_tests", name, "start"];
        Problem::at_value(path, "a restore test on a staging host starts no services")
            .label("they would be started here alone")
            .help("take `start` or `on` out; a second test may do the other")
    })
    .collect()
}

/// Says why a check cannot be asked of what a test brings back.
fn unable(inputs: &Inputs<'_>, test: &RestoreTest, probe: &Probe) -> Option<String> {
    match probe {
        Probe::Http(_) | Probe::Tcp(_) | Probe::Smtp(_) => {
            let starts_none = test.start.is_none();
            starts_none.then(|| "it asks a service, and `start` of this test names none".to_owned())
        }
        Probe::Sql(probe) => not_asked(inputs, test, probe.asset.as_ref()),
        Probe::Files(probe) => not_restored(test, &probe.files),
        Probe::FilesIn(probe) => not_asked(inputs, test, probe.asset.as_ref())
            .or_else(|| not_restored(test, &probe.files_in)),
        Probe::Dns(_) | Probe::Command(_) => {
            let templates = probe_templates(&Path::default(), probe);
            let mut names = templates.iter().flat_map(|(_, template)| template.names());
            let is_asked = names.any(|name| name == HOST);
            is_asked.then(|| format!("it names {HOST}, and nothing runs on a host there"))
        }
    }
}

fn not_restored(test: &RestoreTest, asset: &AssetName) -> Option<String> {
    let is_restored = test.assets.includes(asset);
    (!is_restored).then(|| format!("it asks `{asset}`, which this test does not restore"))
}

fn not_asked(inputs: &Inputs<'_>, test: &RestoreTest, named: Option<&AssetName>) -> Option<String> {
    let assets = &inputs.document.assets;
    let mut databases = assets.iter().filter(|(_, asset)| asset.postgres().is_some());
    let only = || databases.next().map(|(name, _)| name);
    let asset = named.or_else(only)?;
    not_restored(test, asset)
}
