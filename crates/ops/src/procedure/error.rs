//! Why a procedure cannot be carried out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use lifeboat_model::{
    Classify, ErrorCode, ErrorKind, Exit, Hint, RunId, ScenarioName, SiteName, TierName, Timestamp,
};
use lifeboat_runbook::journal::Damage;
use lifeboat_runbook::{ExecutorError, GraphError, JournalError, Refusal, RunError};

use crate::error::{OpsError, Trouble};
use crate::state::StateError;

/// A procedure cannot be carried out, or a run does not take what it is told.
#[derive(Debug, thiserror::Error)]
pub enum ProcedureError {
    /// The plan knows no such scenario.
    #[error("the plan has no scenario `{scenario}`")]
    NoScenario {
        /// Which one was asked for.
        scenario: ScenarioName,
        /// Those that there are.
        known: Vec<ScenarioName>,
    },
    /// The steps of a runbook cannot be put into an order; the lint finds this before.
    #[error("the steps of `{runbook}` have no order")]
    NoOrder {
        /// The runbook's file.
        runbook: String,
        /// The first thing that is wrong.
        #[source]
        source: GraphError,
    },
    /// No run is open.
    #[error("no run is open")]
    NoRun,
    /// Another run is open.
    #[error("{run} of `{scenario}` is still open, and one platform is recovered by one run")]
    Open {
        /// Which run.
        run: RunId,
        /// Of what.
        scenario: String,
    },
    /// Somebody else drives the run.
    #[error("the run is driven by {by}")]
    Driven {
        /// Who.
        by: String,
    },
    /// A command that a killed process left running does not end.
    #[error("`{program}` of step `{step}`, process {process}, still runs and could not be ended")]
    StillRuns {
        /// Of which step.
        step: String,
        /// What it is called.
        program: String,
        /// Its number.
        process: u32,
    },
    /// A run was given up although its runbook is no longer what it was.
    #[error("{run} is given up; nothing of it was undone, since its runbook was changed meanwhile")]
    GivenUp {
        /// Which run.
        run: RunId,
    },
    /// A run belongs to another site.
    #[error("{run} was declared for site `{found}`, and this plan is of `{expected}`")]
    AnotherSite {
        /// Which run.
        run: RunId,
        /// This plan's site.
        expected: SiteName,
        /// The run's.
        found: String,
    },
    /// The journal of the newest run is not what was written, so that it is not known whether it is over.
    #[error("the journal of the last run is not what was written, so that it may be open: {}", directory.display())]
    DamagedRun {
        /// Which run.
        run: RunId,
        /// Where what is left of it lies.
        directory: PathBuf,
        /// What is wrong.
        #[source]
        source: Damage,
    },
    /// What a run was declared with cannot be read.
    #[error("what {run} was declared with lacks `{what}`")]
    Incomplete {
        /// Which run.
        run: RunId,
        /// What is missing.
        what: &'static str,
    },
    /// No point holds what the runbook restores.
    #[error(
        "no recovery point {when} holds all that the runbook of `{scenario}` restores{}",
        besides(unasked)
    )]
    NoPoint {
        /// Of what.
        scenario: ScenarioName,
        /// From when.
        when: String,
        /// Tiers that may hold one and could not be asked.
        unasked: BTreeMap<TierName, Trouble>,
    },
    /// A time was asked for that lies in the future.
    #[error("{at} did not come yet: it is {now}")]
    Future {
        /// The time.
        at: Timestamp,
        /// What this machine's clock says.
        now: Timestamp,
    },
    /// No tier could be asked, so that nothing is known of points.
    #[error(
        "which points there are is not known, as no tier could be asked: {}",
        reasons(troubles)
    )]
    NoTierAsked {
        /// Each tier, and why it could not.
        troubles: BTreeMap<TierName, Trouble>,
    },
    /// A recovery is done on this host alone.
    #[error(
        "{host} is not known to be this host, which is {hostname}, and a recovery is done on this host"
    )]
    AnotherHost {
        /// Which host was named.
        host: String,
        /// What this one calls itself.
        hostname: String,
    },
    /// The run does not take a command.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// What the journal holds is not what it should be.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The run could not be carried on.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// Something with the platform went wrong.
    #[error(transparent)]
    Ops(#[from] OpsError),
}

fn reasons(troubles: &BTreeMap<TierName, Trouble>) -> String {
    let each: Vec<_> =
        troubles.iter().map(|(tier, trouble)| format!("{tier}: {}", trouble.message)).collect();
    each.join("; ")
}

fn besides(unasked: &BTreeMap<TierName, Trouble>) -> String {
    if unasked.is_empty() {
        return String::new();
    }
    format!(", as far as could be asked ({})", reasons(unasked))
}

/// Returns what is to be done about the tiers, each thing once.
fn remedies(troubles: &BTreeMap<TierName, Trouble>) -> String {
    let own: BTreeSet<_> = troubles.values().filter_map(|trouble| trouble.hint.clone()).collect();
    own.into_iter().collect::<Vec<_>>().join("; ")
}

impl From<JournalError> for ProcedureError {
    fn from(error: JournalError) -> Self {
        Self::Run(error.into())
    }
}

impl From<StateError> for ProcedureError {
    fn from(error: StateError) -> Self {
        Self::Ops(error.into())
    }
}

impl ProcedureError {
    fn inner(&self) -> Option<&dyn Classify> {
        match self {
            Self::Refused(error) => Some(error),
            Self::Run(error) => Some(error),
            Self::Executor(error) => Some(error),
            Self::Ops(error) => Some(error),
            _ => None,
        }
    }
}

impl Classify for ProcedureError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoScenario { .. } | Self::AnotherHost { .. } | Self::Future { .. } => {
                ErrorKind::Usage
            }
            Self::NoOrder { .. } => ErrorKind::Config,
            Self::NoRun | Self::NoPoint { .. } => ErrorKind::NotFound,
            Self::Open { .. } | Self::Driven { .. } | Self::AnotherSite { .. } => {
                ErrorKind::Conflict
            }
            Self::NoTierAsked { .. } | Self::StillRuns { .. } => ErrorKind::Unavailable,
            Self::Incomplete { .. } | Self::DamagedRun { .. } => ErrorKind::Corrupt,
            Self::GivenUp { .. } => ErrorKind::Incomplete,
            _ => self.inner().map_or(ErrorKind::Bug, Classify::kind),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Driven { .. } => Exit::Locked,
            other => other.inner().map_or_else(|| other.kind().exit(), Classify::exit),
        }
    }

    fn code(&self) -> Option<ErrorCode> {
        self.inner().and_then(Classify::code)
    }

    fn hint(&self) -> Option<Hint> {
        let text = match self {
            Self::NoScenario { known, .. } => {
                let names: Vec<_> = known.iter().map(ToString::to_string).collect();
                format!("it has {}", names.join(", "))
            }
            Self::AnotherHost { host, hostname } => format!(
                "run it on {host}; if that is an address of this host that leads here from outside, write `host = \"{host}\"` into a \
                 place of the plan and say `lifeboat place is PLACE`; without `--host` it is {hostname}"
            ),
            Self::Future { .. } => {
                "leave `--at` out for the newest point; `lifeboat points` lists what there is"
                    .to_owned()
            }
            Self::NoRun => "`lifeboat recover SCENARIO` declares one".to_owned(),
            Self::Open { .. } => {
                "`lifeboat recover --resume` goes on with it; `lifeboat recover abort --reason WHY` gives it up"
                    .to_owned()
            }
            Self::Driven { .. } => {
                "`lifeboat recover status` shows it; approve, confirm, skip and the like need not drive"
                    .to_owned()
            }
            Self::NoPoint { unasked, .. } if !unasked.is_empty() => format!(
                "`lifeboat points` lists what there is on the others; for more {}",
                remedies(unasked)
            ),
            Self::NoPoint { .. } => "`lifeboat points` lists what there is".to_owned(),
            Self::DamagedRun { directory, .. } => format!(
                "read `journal` in it for what was done, see to it that nothing of it runs any more, and set it aside: `mv {from} {from}.damaged`; then declare anew",
                from = directory.display()
            ),
            Self::StillRuns { process, .. } => format!(
                "`ps -o pid,user,stat,wchan,args -g {process}` shows what it waits for; once it ended `lifeboat recover --resume` goes on"
            ),
            Self::NoTierAsked { troubles } => format!(
                "one of them is enough: {}; a copy that lies somewhere else is found by `lifeboat restore --from ADDRESS`",
                remedies(troubles)
            ),
            _ => return self.inner().and_then(Classify::hint),
        };
        Some(Hint::new(text))
    }
}
