//! What a check found out, in words and as data.

use std::collections::BTreeSet;

use lifeboat_model::{Outcome, PackId};
use serde::Serialize;

use super::remedy::Remedy;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Nothing is lost; somebody may want to tidy up.
    Hint,
    /// It could not be looked at, so nothing is known of it.
    Unverified,
    /// It is damaged or missing.
    Error,
}

/// One thing that a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Which object, with all digits of its id.
    pub object: String,
    /// What is the matter with it.
    pub problem: String,
    /// Snapshots and files that it costs, as far as it is cheap to know.
    pub affected: Vec<String>,
    /// How many more there are than `affected` names.
    pub affected_more: u64,
    /// What to do.
    pub hint: Option<String>,
    /// What the hint is going to be, once everything is known.
    #[serde(skip)]
    pub(super) remedy: Option<Remedy>,
}

/// A finding names at most this many files; the rest is counted.
pub const AFFECTED_MAX: usize = 20;

impl Finding {
    /// Returns a finding about an object.
    pub fn new(
        severity: Severity,
        object: impl std::fmt::Display,
        problem: impl std::fmt::Display,
    ) -> Self {
        Self {
            severity,
            object: object.to_string(),
            problem: problem.to_string(),
            affected: Vec::new(),
            affected_more: 0,
            hint: None,
            remedy: None,
        }
    }

    /// Says what is to be done.
    pub(super) const fn mended_by(mut self, remedy: Remedy) -> Self {
        self.remedy = Some(remedy);
        self
    }

    /// Names something that it costs.
    pub fn affects(&mut self, what: impl Into<String>) {
        if self.affected.len() < AFFECTED_MAX {
            self.affected.push(what.into());
        } else {
            self.affected_more += 1;
        }
    }
}

/// Writes an error and its causes as one line.
pub fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// What a check looked at and found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// What it found, worst first.
    pub findings: Vec<Finding>,
    /// How many snapshots there are.
    pub snapshots: u64,
    /// How many directories were read.
    pub trees: u64,
    /// How many packs there are.
    pub packs: u64,
    /// How many packs were read whole.
    pub packs_read: u64,
    /// How many packs were to be read and could not be: what is in them is not known.
    pub packs_unread: u64,
    /// How many of those are in cold storage.
    pub packs_cold: u64,
    /// How many bytes those have that are in cold storage.
    pub bytes_cold: u64,
    /// How many bytes those have that were read.
    pub bytes_read: u64,
    /// The packs that are missing, or from which something cannot be had.
    pub damaged_packs: BTreeSet<PackId>,
}

impl CheckReport {
    /// Has the commands of its hints name the repository so, for whoever opens it by another word than its address.
    pub fn call_repository(&mut self, name: &str) {
        for finding in &mut self.findings {
            if let Some(remedy) = finding.remedy {
                finding.hint = Some(remedy.hint(name));
            }
        }
    }

    /// Returns the verdict: what could not be looked at never counts as passed.
    pub fn outcome(&self) -> Outcome {
        let verdict = |finding: &Finding| match finding.severity {
            Severity::Hint => Outcome::Passed,
            Severity::Unverified => Outcome::CouldNotVerify,
            Severity::Error => Outcome::Failed,
        };
        self.findings.iter().map(verdict).max().unwrap_or(Outcome::Passed)
    }
}

#[cfg(test)]
mod tests {
    use super::Severity::{Error, Hint, Unverified};
    use super::*;

    #[test]
    fn the_verdict_has_three_values() {
        let report = |severities: &[Severity]| CheckReport {
            findings: severities.iter().map(|s| Finding::new(*s, "pack", "odd")).collect(),
            ..CheckReport::default()
        };
        assert_eq!(report(&[]).outcome(), Outcome::Passed);
        assert_eq!(report(&[Hint]).outcome(), Outcome::Passed);
        assert_eq!(report(&[Hint, Unverified]).outcome(), Outcome::CouldNotVerify);
        assert_eq!(report(&[Unverified, Error, Hint]).outcome(), Outcome::Failed);
    }

    #[test]
    fn many_files_are_counted_not_named() {
        let mut finding = Finding::new(Severity::Error, "pack", "gone");
        (0..25).for_each(|n| finding.affects(format!("/file-{n}")));
        assert_eq!((finding.affected.len(), finding.affected_more), (AFFECTED_MAX, 5));
    }
}
