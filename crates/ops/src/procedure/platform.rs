//! The services of a platform: started, waited for and stopped by the plan's own commands.

use std::collections::BTreeSet;
use std::time::Duration;

use lifeboat_model::{Classify as _, Outcome, ServiceName, Timestamp};
use lifeboat_plan::plan::check::Probe;
use lifeboat_plan::plan::service::Service;
use lifeboat_plan::value::command::Command;
use lifeboat_plan::value::duration::Span;
use lifeboat_plan::value::selection::Selection;
use lifeboat_plan::value::template::UnknownName;
use lifeboat_runbook::{Again, Failure};

use super::probe::{Asker, Finding};
use super::services::start_order;
use crate::command::{CommandError, NO_LIMIT, Status};
use crate::error::explain;
use crate::host::HostError;

/// How long a service may take to become healthy if its plan does not say.
const HEALTHY_WITHIN: Duration = Duration::from_mins(1);

/// How long a service that was stopped may still answer.
const SILENT_WITHIN: Duration = Duration::from_secs(10);

/// How often it is asked whether a service is healthy, or whether what is waited for has come.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// The services of a platform, as one who asks there reaches them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Platform<'a> {
    /// Who asks, and where commands are run.
    pub(crate) asker: Asker<'a>,
}

impl Platform<'_> {
    /// Runs a command of the platform's to its end; returns what it says.
    pub(super) fn run(&self, command: &Command) -> Result<String, Failure> {
        let Asker { host, site, values, act, notes, cancel, .. } = self.asker;
        let words = values.words(command, act).map_err(|error| unknown(&error))?;
        // How long it may take is for whoever waits to say, who cancels it.
        let ran = host.run(site, words, (NO_LIMIT, notes), cancel);
        let output = ran.map_err(|error| host_failed(&error))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts services one after the other, each once those before it are healthy. One that is healthy
    /// already is left as it is. Returns when each was found healthy that can be asked.
    pub(crate) fn start(
        &self,
        selection: &Selection<ServiceName>,
    ) -> Result<Vec<(ServiceName, Timestamp)>, Failure> {
        let mut healthy = Vec::new();
        for name in self.in_order(selection) {
            let service = self.service(&name)?;
            let asked = service.health.as_ref();
            let is_healthy = asked.is_some_and(|health| self.is_so(health));
            if let (Some(start), false) = (&service.start, is_healthy) {
                self.expect_needs(&name, service)?;
                self.run(start).map_err(|failure| of_service(&name, "start", failure))?;
            }
            if let (Some(health), false) = (asked, is_healthy) {
                self.wait_for_health(&name, health)?;
            }
            if asked.is_some() {
                healthy.push((name, self.asker.site.surroundings().now()));
            }
        }
        Ok(healthy)
    }

    /// Waits for the health of what a service needs, also of what was started by somebody else.
    fn expect_needs(&self, name: &ServiceName, service: &Service) -> Result<(), Failure> {
        for needed in &service.needs {
            if let Some(health) = &self.service(needed)?.health {
                self.wait_for_health(needed, health).map_err(|failure| {
                    let why = format!("`{name}` needs `{needed}`: {}", failure.why);
                    Failure { why, ..failure }
                })?;
            }
        }
        Ok(())
    }

    /// Waits until services that were stopped are not healthy any more.
    pub(crate) fn wait_for_silence(&self, name: &ServiceName) -> Result<(), Failure> {
        let Some(health) = self.service(name)?.health.as_ref() else { return Ok(()) };
        let silence = || match self.asker.ask(health).outcome {
            Outcome::Passed => Finding {
                outcome: Outcome::Failed,
                message: "it goes on, though its `stop` ended well".to_owned(),
            },
            _ => Finding { outcome: Outcome::Passed, message: String::new() },
        };
        self.ask_until(SILENT_WITHIN, silence).map_err(|finding| Failure::new(finding.message))
    }

    /// Stops services, those first that need others.
    pub(super) fn stop(&self, selection: &Selection<ServiceName>) -> Result<(), Failure> {
        for name in self.in_order(selection).into_iter().rev() {
            if let Some(stop) = &self.service(&name)?.stop {
                self.run(stop).map_err(|failure| of_service(&name, "stop", failure))?;
            }
        }
        Ok(())
    }

    fn in_order(&self, selection: &Selection<ServiceName>) -> Vec<ServiceName> {
        let plan = self.asker.site.plan();
        let picked: BTreeSet<_> =
            selection.pick(plan.services().keys()).into_iter().cloned().collect();
        start_order(plan, &picked)
    }

    fn service(&self, name: &ServiceName) -> Result<&Service, Failure> {
        let service = self.asker.site.plan().services().get(name);
        service.ok_or_else(|| Failure::lasting(format!("the plan has no service `{name}`")))
    }

    fn is_so(&self, probe: &Probe) -> bool {
        self.asker.ask(probe).outcome == Outcome::Passed
    }

    fn wait_for_health(&self, name: &ServiceName, health: &Probe) -> Result<(), Failure> {
        let within = match health {
            Probe::Http(http) => http.within,
            Probe::Tcp(tcp) => tcp.within,
            Probe::Command(command) => command.within,
            _ => None,
        };
        let within = within.map_or(HEALTHY_WITHIN, Span::duration);
        self.ask_until(within, || self.asker.ask(health)).map_err(|finding| {
            let (within, message) = (Span::from(within), finding.message);
            Failure::new(format!("`{name}` is not healthy within {within}: {message}"))
        })
    }

    /// Asks again and again until the answer is yes.
    pub(super) fn ask_until(
        &self,
        within: Duration,
        ask: impl Fn() -> Finding,
    ) -> Result<(), Finding> {
        let (surroundings, cancel) = (self.asker.site.surroundings(), self.asker.cancel);
        let end = surroundings.now().saturating_add(within).unwrap_or(Timestamp::MAX);
        loop {
            let finding = ask();
            if finding.outcome == Outcome::Passed {
                return Ok(());
            }
            if surroundings.now() >= end {
                return Err(finding);
            }
            let pause = async { cancel.cut_short(surroundings.clock.sleep(ASK_EVERY)).await };
            if surroundings.runtime.block_on(pause).is_err() {
                return Err(finding);
            }
        }
    }
}

pub(super) fn unknown(error: &UnknownName) -> Failure {
    Failure::lasting(error.to_string())
}

fn of_service(name: &ServiceName, verb: &str, failure: Failure) -> Failure {
    Failure { why: format!("cannot {verb} `{name}`: {}", failure.why), ..failure }
}

pub(super) fn command_failed(error: &CommandError) -> Failure {
    let again = match error {
        CommandError::Empty | CommandError::Start { .. } => Again::IsUseless,
        _ => Again::MayHelp,
    };
    let hint = error.hint().map(|hint| hint.to_string());
    let exit = match error {
        CommandError::Failed { status: Status::Code(code), .. } => Some(*code),
        _ => None,
    };
    Failure { hint, again, exit, ..Failure::new(explain(error)) }
}

fn host_failed(error: &HostError) -> Failure {
    match error {
        HostError::Here(error) => command_failed(error),
        error => {
            let hint = error.hint().map(|hint| hint.to_string());
            Failure { hint, ..Failure::new(explain(error)) }
        }
    }
}
