//! Whether the plan could run now: every key, tier, database, path and command is asked.
//!
//! Every question has three answers; what could not be asked never counts as passed. Nothing is
//! changed but for one small object that is put on each tier and removed again, where that is allowed.

mod locks;
mod log;
mod server;
mod sources;
mod tiers;

use lifeboat_model::{AssetName, Cancel, Classify, EventSink, Exit, Outcome, SiteName, TierName};
use lifeboat_plan::plan::asset::{AssetKind, WalMode};
use serde::Serialize;

use crate::catalog::view::View;
use crate::error::{OpsError, Trouble, explain};
use crate::inquiry::ask_all;
use crate::recovery_key::RecoveryKey;
use crate::state::State;
use crate::status::history::History;
use crate::wire::Site;

pub(crate) use locks::{wanted, weakness};
pub(crate) use tiers::{Deletion, clear_away, may_delete, probe};

/// The version of [`ReadinessReport`] as JSON.
pub const SCHEMA: u32 = 1;

/// What a question is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "subject", content = "name", rename_all = "kebab-case")]
pub enum Subject {
    /// The recovery key.
    Key,
    /// This host's state directory.
    State,
    /// A tier.
    Tier(TierName),
    /// An asset.
    Asset(AssetName),
}

/// One question and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// What it is about.
    #[serde(flatten)]
    pub subject: Subject,
    /// What was asked, as a statement that holds if it passed.
    pub what: String,
    /// The answer.
    pub outcome: Outcome,
    /// Why not; of what passed, what is worth knowing.
    pub message: Option<String>,
    /// What a person can do.
    pub hint: Option<String>,
}

/// Whether a plan could run now.
#[derive(Debug, Serialize)]
pub struct ReadinessReport {
    /// The version of this document.
    pub schema: u32,
    /// Which site.
    pub site: SiteName,
    /// The verdict over all answers.
    pub outcome: Outcome,
    /// The answers.
    pub answers: Vec<Answer>,
}

impl ReadinessReport {
    /// Returns how the command ends.
    pub fn exit(&self) -> Exit {
        match self.outcome {
            Outcome::Passed => Exit::Done,
            Outcome::CouldNotVerify => Exit::CouldNotVerify,
            Outcome::Failed => Exit::Failed,
        }
    }
}

/// Asks everything.
pub fn readiness(
    site: &Site,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<ReadinessReport, OpsError> {
    let mut asking = Asking { site, events, cancel, answers: Vec::new() };
    let history = asking.state();
    let key = asking.key(history.as_ref());
    let tiers: Vec<_> = site.plan().tiers().keys().collect();
    for (name, reached) in tiers.iter().zip(ask_all(&tiers, |name| site.reach(name))) {
        cancel.check()?;
        asking.tier((name, reached), key.as_ref(), history.as_ref());
    }
    for (name, asset) in site.plan().assets() {
        cancel.check()?;
        let subject = Subject::Asset(name.clone());
        match &asset.kind {
            AssetKind::Files(files) => asking.files(&subject, files),
            AssetKind::Command(command) => asking.command(&subject, command),
            AssetKind::Postgres(postgres) => {
                asking.database(&subject, (name, asset), postgres);
                match postgres.wal.mode {
                    WalMode::None => {}
                    WalMode::Archive => asking.log(&subject, name, postgres.base, history.as_ref()),
                    WalMode::Stream | WalMode::Synchronous => {
                        asking.not_built(&subject, "its write-ahead log is received");
                    }
                }
            }
        }
    }
    let answers = asking.answers;
    let outcome = answers.iter().map(|answer| answer.outcome).max().unwrap_or(Outcome::Passed);
    Ok(ReadinessReport { schema: SCHEMA, site: site.name().clone(), outcome, answers })
}

struct Asking<'a> {
    site: &'a Site,
    events: &'a dyn EventSink,
    cancel: &'a Cancel,
    answers: Vec<Answer>,
}

/// Tells whether an error means that something is wrong, or that nobody could look.
fn outcome_of(error: &impl Classify) -> Outcome {
    match error.exit() {
        Exit::NotBuilt | Exit::CouldNotVerify | Exit::Locked | Exit::Cancelled => {
            Outcome::CouldNotVerify
        }
        _ => Outcome::Failed,
    }
}

impl Asking<'_> {
    fn say(
        &mut self,
        subject: &Subject,
        what: &str,
        outcome: Outcome,
        (message, hint): (Option<String>, Option<String>),
    ) {
        let (subject, what) = (subject.clone(), what.to_owned());
        self.answers.push(Answer { subject, what, outcome, message, hint });
    }

    fn passed(&mut self, subject: &Subject, what: &str) {
        self.say(subject, what, Outcome::Passed, (None, None));
    }

    fn not_built(&mut self, subject: &Subject, what: &str) {
        let message = Some("this version cannot do it yet".to_owned());
        self.say(subject, what, Outcome::CouldNotVerify, (message, None));
    }

    /// Takes note of an answer; gives back what it brought.
    fn take<T, E: Classify>(
        &mut self,
        subject: &Subject,
        what: &str,
        answer: Result<T, E>,
    ) -> Option<T> {
        match answer {
            Ok(value) => {
                self.passed(subject, what);
                Some(value)
            }
            Err(error) => {
                let hint = error.hint().map(|hint| hint.to_string());
                let told = (Some(explain(&error)), hint);
                self.say(subject, what, outcome_of(&error), told);
                None
            }
        }
    }

    fn trouble(&mut self, subject: &Subject, what: &str, trouble: Trouble) {
        // What is written wrongly is known to be wrong.
        let failures = [Exit::Failed, Exit::Usage, Exit::WrongKey, Exit::NoRepository];
        let failed = failures.iter().any(|exit| exit.code() == trouble.exit);
        let outcome = if failed { Outcome::Failed } else { Outcome::CouldNotVerify };
        self.say(subject, what, outcome, (Some(trouble.message), trouble.hint));
    }

    fn state(&mut self) -> Option<History> {
        let load = || -> Result<History, OpsError> {
            let state = State::open(&self.site.surroundings().state_directory)?;
            Ok(History::load(&View::open(&state.view_path())?, self.site.plan())?)
        };
        let loaded = load();
        self.take(&Subject::State, "the state directory can be used", loaded)
    }

    fn key(&mut self, history: Option<&History>) -> Option<RecoveryKey> {
        let read = self.site.recovery_key(self.cancel);
        let key = self.take(&Subject::Key, "it can be read and is this plan's", read);
        let what = "somebody confirmed that it is kept away from this host";
        match history.map(|history| history.key_confirmed) {
            Some(Some(_)) => self.passed(&Subject::Key, what),
            Some(None) => {
                let message = Some("nobody did; without it a lost host is lost data".to_owned());
                let hint = Some("lifeboat key confirm".to_owned());
                self.say(&Subject::Key, what, Outcome::Failed, (message, hint));
            }
            None => {
                let message = Some("the catalog cannot be read".to_owned());
                self.say(&Subject::Key, what, Outcome::CouldNotVerify, (message, None));
            }
        }
        key
    }
}
