//! Hooks: what the plan runs before and after an asset is backed up.

use std::time::Duration;

use lifeboat_plan::plan::asset::Asset;
use lifeboat_plan::value::command::Command;
use serde::Serialize;

use super::{AssetReport, Job};
use crate::command::{CommandLine, CommandOutput};
use crate::ending::{Ending, JobStage};
use crate::error::Trouble;

/// How long a hook may take: one that stops a service takes minutes, one that hangs takes for ever.
const TIMEOUT: Duration = Duration::from_hours(1);

/// What a hook wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HookReport {
    /// Which hook: `before`, `after` or `on_failure`.
    pub hook: &'static str,
    /// The end of its standard output.
    pub stdout: String,
    /// The end of its standard error.
    pub stderr: String,
}

impl Job<'_> {
    /// Runs the hook before; tells whether the backup may begin.
    pub(super) fn run_before(&self, asset: &Asset, report: &mut AssetReport) -> bool {
        asset
            .before
            .as_ref()
            .is_none_or(|hook| self.run_hook("before", JobStage::Before, hook, "started", report))
    }

    /// Runs the hook for how it ended: `after` for a success, `on_failure` for anything else.
    pub(super) fn run_after(&self, asset: &Asset, report: &mut AssetReport) {
        let ending = report.worst();
        let (name, hook) = match ending {
            Ending::Succeeded => ("after", &asset.after),
            _ => ("on_failure", &asset.on_failure),
        };
        if let Some(hook) = hook {
            let outcome = serde_json::to_value(ending).ok();
            let outcome = outcome.as_ref().and_then(serde_json::Value::as_str).unwrap_or("failed");
            self.run_hook(name, JobStage::After, hook, outcome, report);
        }
    }

    fn run_hook(
        &self,
        name: &'static str,
        stage: JobStage,
        hook: &Command,
        outcome: &str,
        report: &mut AssetReport,
    ) -> bool {
        let started = self.now();
        let mut line = CommandLine::new(hook.words(), TIMEOUT);
        line.environment = [
            ("LIFEBOAT_HOOK", name.to_owned()),
            ("LIFEBOAT_SITE", self.site().name().to_string()),
            ("LIFEBOAT_ASSET", report.asset.to_string()),
            ("LIFEBOAT_JOB", self.id.to_string()),
            ("LIFEBOAT_OUTCOME", outcome.to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .to_vec();
        let ran = line.run(self.cancel);
        let (ran, output) = match ran {
            Ok(output) => (Ok(()), output),
            Err(error) => {
                let stderr = match &error {
                    crate::command::CommandError::Failed { stderr, .. } => stderr.clone(),
                    _ => String::new(),
                };
                let output = CommandOutput { stdout: Vec::new(), stderr: stderr.into_bytes() };
                (Err(Trouble::of(&error)), output)
            }
        };
        report.hooks.push(HookReport {
            hook: name,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        });
        let succeeded = ran.is_ok();
        let ran = ran.map_err(|trouble| Trouble {
            message: format!("the hook `{name}` failed: {}", trouble.message),
            ..trouble
        });
        report.note((stage, None), self.since(started), ran);
        succeeded
    }
}
