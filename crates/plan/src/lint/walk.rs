//! Ways through a plan that several rules take: all probes, all steps, all actions, all templates.

use crate::lint::{Inputs, runbook_path};
use crate::place::{Path, place};
use crate::plan::asset::{Asset, AssetKind};
use crate::plan::check::Probe;
use crate::plan::runbook::{Action, Runbook, Step};
use crate::value::command::Command;
use crate::value::path::PlanPath;
use crate::value::template::Template;

/// All probes: the checks and the health of services.
pub(super) fn probes<'a>(inputs: &Inputs<'a>) -> Vec<(Path, &'a Probe)> {
    let document = inputs.document;
    let checks = document.checks.iter().map(|(name, probe)| (place!["checks", name], probe));
    let health = document.services.iter().filter_map(|(name, service)| {
        Some((place!["services", name, "health"], service.health.as_ref()?))
    });
    checks.chain(health).collect()
}

/// A step with where it stands.
pub(super) struct StepAt<'a> {
    pub(super) file: &'a PlanPath,
    pub(super) runbook: &'a Runbook,
    pub(super) path: Path,
    pub(super) step: &'a Step,
}

/// All steps of all runbooks.
pub(super) fn steps<'a>(inputs: &Inputs<'a>) -> Vec<StepAt<'a>> {
    let mut steps = Vec::new();
    for (file, runbook) in inputs.runbooks {
        for (number, step) in runbook.steps.iter().enumerate() {
            let path = runbook_path(file).then("steps").then(number);
            steps.push(StepAt { file, runbook, path, step });
        }
    }
    steps
}

/// What a step does, and what undoes it.
pub(super) fn actions<'a>(at: &StepAt<'a>) -> Vec<(Path, &'a Action)> {
    actions_of(at.step, &at.path)
}

fn actions_of<'a>(step: &'a Step, path: &Path) -> Vec<(Path, &'a Action)> {
    let undo = step.undo.as_ref().map(|undo| (path.then("undo"), undo));
    std::iter::once((path.clone(), &step.action)).chain(undo).collect()
}

fn of_command<'a>(path: &Path, command: Option<&'a Command>) -> Vec<(Path, &'a Template)> {
    command
        .into_iter()
        .flat_map(Command::templates)
        .map(|template| (path.clone(), template))
        .collect()
}

/// The templates of the plan file.
pub(super) fn plan_templates<'a>(inputs: &Inputs<'a>) -> Vec<(Path, &'a Template)> {
    let document = inputs.document;
    let mut found: Vec<_> =
        probes(inputs).iter().flat_map(|(path, probe)| probe_templates(path, probe)).collect();
    for (name, service) in &document.services {
        let path = place!["services", name];
        found.extend(of_command(&path.then("start"), service.start.as_ref()));
        found.extend(of_command(&path.then("stop"), service.stop.as_ref()));
    }
    for (name, asset) in &document.assets {
        found.extend(asset_templates(&place!["assets", name], asset));
    }
    for (name, scenario) in &document.scenarios {
        found.extend(of_command(&place!["scenarios", name, "damage"], scenario.damage.as_ref()));
    }
    found
}

fn asset_templates<'a>(path: &Path, asset: &'a Asset) -> Vec<(Path, &'a Template)> {
    let mut commands = vec![
        ("before", asset.before.as_ref()),
        ("after", asset.after.as_ref()),
        ("on_failure", asset.on_failure.as_ref()),
    ];
    match &asset.kind {
        AssetKind::Postgres(_) => {}
        AssetKind::Files(files) => commands.push(("revision", files.revision.as_ref())),
        AssetKind::Command(output) => {
            commands.push(("backup", Some(&output.backup)));
            commands.push(("restore", output.restore.as_ref()));
        }
    }
    commands.into_iter().flat_map(|(key, command)| of_command(&path.then(key), command)).collect()
}

/// The templates of a probe.
pub(super) fn probe_templates<'a>(path: &Path, probe: &'a Probe) -> Vec<(Path, &'a Template)> {
    match probe {
        Probe::FilesIn(_) | Probe::Sql(_) | Probe::Files(_) => Vec::new(),
        Probe::Http(http) => {
            let contains = http.contains.iter().map(|text| (path.then("contains"), text));
            std::iter::once((path.then("http"), &http.http)).chain(contains).collect()
        }
        Probe::Tcp(tcp) => vec![(path.then("tcp"), &tcp.tcp)],
        Probe::Dns(dns) => {
            let addresses = dns.resolves_to.iter();
            let addresses = addresses.map(|address| (path.then("resolves_to"), address));
            std::iter::once((path.then("dns"), &dns.dns)).chain(addresses).collect()
        }
        Probe::Smtp(mail) => of_command(&path.then("smtp").then("send"), Some(&mail.smtp.send)),
        Probe::Command(probe) => of_command(&path.then("command"), Some(&probe.command)),
    }
}

/// The templates of a step.
pub(crate) fn step_templates<'a>(step: &'a Step, path: &Path) -> Vec<(Path, &'a Template)> {
    let on = step.on.as_ref().map(|on| (path.then("on"), on));
    let done = actions_of(step, path).into_iter();
    let done = done.flat_map(|(path, action)| action_templates(&path, action));
    on.into_iter().chain(done).collect()
}

fn action_templates<'a>(path: &Path, action: &'a Action) -> Vec<(Path, &'a Template)> {
    match action {
        Action::Manual(manual) => vec![(path.then("manual"), &manual.manual)],
        Action::Approve(approve) => {
            vec![(path.then("approve").then("ask"), &approve.approve.ask)]
        }
        Action::Run(run) => of_command(&path.then("run"), Some(&run.run)),
        Action::Restore(restore) => {
            let path = path.then("restore");
            let at = restore.restore.at.iter().map(|at| (path.then("at"), at));
            let to = restore.restore.to.iter().map(|to| (path.then("to"), to));
            at.chain(to).collect()
        }
        Action::Isolate(isolate) => {
            of_command(&path.then("isolate").then("run"), isolate.isolate.run.as_ref())
        }
        Action::Evidence(evidence) => {
            let path = path.then("evidence");
            let take = evidence.evidence.take.iter().map(|take| (path.then("take"), take));
            take.chain(std::iter::once((path.then("to"), &evidence.evidence.to))).collect()
        }
        Action::Rotate(rotate) => {
            let path = path.then("rotate");
            let mut found = of_command(&path.then("run"), rotate.rotate.run.as_ref());
            found.push((path.then("what"), &rotate.rotate.what));
            found
        }
        Action::Notify(notify) => {
            vec![(path.then("notify").then("message"), &notify.notify.message)]
        }
        Action::Start(_) | Action::Stop(_) | Action::Wait(_) | Action::Check(_) => Vec::new(),
    }
}
