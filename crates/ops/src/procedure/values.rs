//! What the names in a runbook's templates stand for.

use std::collections::BTreeMap;

use lifeboat_model::{RunId, StepName, Timestamp};
use lifeboat_plan::Plan;
use lifeboat_plan::value::command::Command;
use lifeboat_plan::value::template::{Part, Template, UnknownName};
use lifeboat_runbook::{Act, Outputs, Run};

use super::conduct::{POINT, POINT_TIME};
use super::target::Target;
use super::{Procedure, shell};

/// The values of names, but for what steps give.
#[derive(Debug, Clone, Default)]
pub struct Values(BTreeMap<String, String>);

impl Values {
    /// Gathers what a plan and a scenario say.
    pub fn of(plan: &Plan, procedure: &Procedure) -> Self {
        let mut values = Self::of_plan(plan);
        values.set("scenario.name", Some(procedure.name()));
        values.set("scenario.title", Some(&procedure.title()));
        values
    }

    /// Gathers what a plan, a scenario and the declaration of a run say.
    pub fn of_run(plan: &Plan, procedure: &Procedure, run: &Run) -> Self {
        let kind = procedure.kind().to_string();
        let mut values = Self::of(plan, procedure).with_run(run.began().run, &kind, run.declared());
        if let Some(target) = Target::of_run(run) {
            values = values.with_target(&target);
        }
        let about = &run.began().about;
        let time = about.get(POINT_TIME).and_then(|time| time.parse().ok());
        match about.get(POINT).zip(time) {
            Some((point, time)) => values.with_point(point, time),
            None => values,
        }
    }

    /// Gathers what a plan says.
    pub fn of_plan(plan: &Plan) -> Self {
        let mut values = Self::default();
        let about = plan.about();
        values.set("plan.name", Some(&about.name));
        values.set("plan.site", Some(&about.site));
        values.set("plan.version", about.version.as_ref());
        values.set("plan.owner", about.owner.as_ref());
        for (name, contact) in plan.contacts() {
            let of = |key: &str| format!("contacts.{name}.{key}");
            values.set(&of("name"), Some(&contact.name));
            values.set(&of("phone"), contact.phone.as_ref());
            values.set(&of("email"), contact.email.as_ref());
            values.set(&of("role"), contact.role.as_ref());
        }
        for (name, vendor) in plan.vendors() {
            let of = |key: &str| format!("vendors.{name}.{key}");
            values.set(&of("name"), vendor.name.as_ref());
            values.set(&of("phone"), vendor.phone.as_ref());
            values.set(&of("email"), vendor.email.as_ref());
            values.set(&of("url"), vendor.url.as_ref());
            values.set(&of("account"), vendor.account.as_ref());
            values.set(&of("sla"), vendor.sla.as_ref());
        }
        values
    }

    /// Adds where a recovery goes.
    #[must_use]
    pub fn with_target(mut self, target: &Target) -> Self {
        self.set("target.host", Some(&target.host));
        self.set("target.place", target.place.as_ref());
        self.set("target.directory", target.directory.as_ref());
        self
    }

    /// Adds a directory, for what goes to no host.
    #[must_use]
    pub fn with_directory(mut self, directory: &std::path::Path) -> Self {
        self.set("target.directory", Some(&directory.display()));
        self
    }

    /// Adds from which point it comes.
    #[must_use]
    pub fn with_point(mut self, name: &str, time: Timestamp) -> Self {
        self.set("point.id", Some(&name));
        self.set("point.time", Some(&time));
        self
    }

    /// Adds which run it is.
    #[must_use]
    pub fn with_run(mut self, run: RunId, kind: &str, started: Timestamp) -> Self {
        self.set("run.id", Some(&run));
        self.set("run.kind", Some(&kind));
        self.set("run.started", Some(&started));
        self
    }

    /// Returns what a name stands for; nothing for what only steps give.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Sets a name to what there is; a person who has no phone has an empty number.
    fn set(&mut self, name: &str, value: Option<&impl ToString>) {
        self.0.insert(name.to_owned(), value.map(ToString::to_string).unwrap_or_default());
    }

    /// Fills a template in, with what the steps before gave.
    pub fn fill(&self, template: &Template, act: Option<&Act>) -> Result<String, UnknownName> {
        template.fill(|name| self.value(name, given_to(act)))
    }

    /// Fills in for people what is known, with what steps gave; any other name stays as it stands.
    pub fn text(&self, template: &Template, given: &[(StepName, Outputs)]) -> String {
        let fill = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Name(name) => {
                self.value(name, given).unwrap_or_else(|| format!("{{{{ {name} }}}}"))
            }
        };
        template.parts().iter().map(fill).collect()
    }

    fn value(&self, name: &str, given: &[(StepName, Outputs)]) -> Option<String> {
        let gave = || {
            let (step, output) = name.strip_prefix("steps.")?.split_once('.')?;
            let (_, outputs) = given.iter().find(|(name, _)| name.as_str() == step)?;
            outputs.get(output).map(ToString::to_string)
        };
        self.0.get(name).cloned().or_else(gave)
    }

    /// Returns the program and the arguments of a command, filled in; in a line for a shell values stay data.
    pub fn words(&self, command: &Command, act: Option<&Act>) -> Result<Vec<String>, UnknownName> {
        let in_shell = |line| shell::fill(line, |name| self.value(name, given_to(act)));
        match command {
            Command::Shell(line) => Ok(vec!["sh".to_owned(), "-c".to_owned(), in_shell(line)?]),
            Command::Program(words) => {
                let line = shell::line_among(words);
                let fill = |(place, word)| {
                    if Some(place) == line { in_shell(word) } else { self.fill(word, act) }
                };
                words.iter().enumerate().map(fill).collect()
            }
        }
    }
}

fn given_to(act: Option<&Act>) -> &[(StepName, Outputs)] {
    act.map(|act| act.given.as_slice()).unwrap_or_default()
}
