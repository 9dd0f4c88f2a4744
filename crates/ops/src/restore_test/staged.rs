//! A restore test on a staging host: lifeboat there is called over ssh, does the work, and tells what came of it; the record is
//! this host's.
//!
//! # What is said
//!
//! The host's lifeboat gets one line on its standard input, [`StagedOrders`], and answers one line on its standard output. Its
//! input then stays open: its end is the end of whoever waits, and the test there is cancelled and torn down.
//!
//! # Invariants
//!
//! - The recovery key is in that line alone: in no list of processes, no environment and no file of the host.
//! - Only the very same version of lifeboat does a test, and only of a plan that it understands to be the same one.
//! - What does not come about, or is not told, *could not verify*. Nothing is taken for passed that the host did not say.

use std::io::{self, BufRead as _, Read};
use std::path::PathBuf;

use lifeboat_model::{
    Cancel, Classify, ErrorKind, EventSink, Hint, JobId, Outcome, PlanId, RestoreTestName, Secret,
    SiteName, TierName, Timestamp,
};
use lifeboat_plan::plan::timetable::RestoreTest;
use lifeboat_plan::value::instant::PointInTime;
use serde::{Deserialize, Serialize};

use super::{Control, Done, RestoreTestOptions, Run, Seed, here};
use crate::catalog::body::RestoreTested;
use crate::command::{CommandError, CommandLine, NO_LIMIT, Status};
use crate::ending::Ending;
use crate::error::{OpsError, Trouble, explain};
use crate::evidence::document::Teardown;
use crate::host::{self, HostError};
use crate::plan_archive::ArchivedPlan;
use crate::recovery::sandbox::Demand;
use crate::recovery_key::RecoveryKey;
use crate::surroundings::Surroundings;
use crate::wire::Site;
use crate::wire::open::{NewTiers, OpenSite};

/// Which lifeboat this is; another one may mean something else by the same words.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The words by which lifeboat is called there.
const WORDS: [&str; 3] = ["lifeboat", "test", "--staged"];

/// The most that is read of orders: a plan with all of its runbooks has a hundredth of it.
const ORDERS_BYTES_MAX: u64 = 64 << 20;

/// How a shell ends that finds no such program.
const NOT_FOUND: Status = Status::Code(127);

/// How a command line ends that is not understood.
const NOT_UNDERSTOOD: Status = Status::Code(2);

/// What a staging host is told.
#[derive(Serialize, Deserialize)]
pub struct StagedOrders {
    version: String,
    plan: PlanId,
    archived: ArchivedPlan,
    /// As a person types it.
    key: String,
    test: RestoreTestName,
    at: Option<String>,
    seed: u32,
    control: bool,
    tier: Option<TierName>,
    weak: bool,
}

/// What a staging host answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "kebab-case")]
enum Answer {
    /// The test is over there.
    Done {
        /// What that host calls itself.
        host: String,
        /// What came of it.
        tested: Box<RestoreTested>,
        /// What is left there.
        teardown: Teardown,
        /// How it ended.
        ending: Ending,
    },
    /// It was not begun.
    Refused {
        /// Why.
        why: String,
    },
}

/// A test on a staging host did not come about.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    /// The host cannot be reached, went away, or its lifeboat ended early.
    #[error(transparent)]
    Host(HostError),
    /// There is no lifeboat.
    #[error("`lifeboat` is not installed on {host}, or not found in the PATH of a login there")]
    NoProgram {
        /// Which host.
        host: String,
    },
    /// Its lifeboat does not do this test.
    #[error("{host} does not do this test: {why}")]
    Refused {
        /// Which host.
        host: String,
        /// Why.
        why: String,
    },
    /// Its answer is none.
    #[error("what lifeboat on {host} answers cannot be read: {why}")]
    NoAnswer {
        /// Which host.
        host: String,
        /// Why.
        why: String,
    },
}

impl Classify for StagingError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Host(error) => error.kind(),
            Self::NoProgram { .. } => ErrorKind::NotFound,
            Self::Refused { .. } | Self::NoAnswer { .. } => ErrorKind::Conflict,
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Host(error) => error.hint(),
            Self::NoProgram { host } | Self::Refused { host, .. } | Self::NoAnswer { host, .. } => {
                Some(Hint::new(format!("`ssh {host} lifeboat --version` has to say {VERSION}")))
            }
        }
    }
}

impl StagedOrders {
    fn new(
        site: &Site,
        options: &RestoreTestOptions,
        seed: Seed,
        cancel: &Cancel,
    ) -> Result<Self, OpsError> {
        let archived = ArchivedPlan::new(site.sources());
        let none = || OpsError::NotInPlan { what: "text that could be handed over".to_owned() };
        Ok(Self {
            version: VERSION.to_owned(),
            plan: site.plan().id(),
            archived: archived.ok_or_else(none)?,
            key: site.recovery_key(cancel)?.spelled().expose().to_owned(),
            test: options.test.clone(),
            at: options.at.as_ref().map(PointInTime::to_string),
            seed: seed.0,
            control: options.control == Control::Yes,
            tier: options.tier.clone(),
            weak: options.demand == Demand::WhatCanBeHad,
        })
    }

    /// Reads them from the first line of an input, which goes on.
    ///
    /// # Errors
    ///
    /// With the answer to give where another lifeboat calls, whose words may be others.
    pub fn read(input: impl Read) -> Result<Self, String> {
        /// All that is asked of orders before their shape is known.
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        let mut line = String::new();
        let read =
            io::BufReader::with_capacity(1, input).take(ORDERS_BYTES_MAX).read_line(&mut line);
        read.map_err(|error| refusal(error.to_string()))?;
        match serde_json::from_str(&line) {
            Ok(Version { version }) if version == VERSION => {}
            Ok(Version { version }) => {
                let why = format!("it is lifeboat {VERSION}, and was called by {version}");
                return Err(refusal(why));
            }
            Err(error) => return Err(refusal(format!("it cannot read what it is told: {error}"))),
        }
        serde_json::from_str(&line).map_err(|error| refusal(error.to_string()))
    }

    /// Returns the plan's site and what the test is, if this lifeboat is the one that was meant.
    fn taken(
        self,
        around: &dyn Fn(&SiteName) -> Surroundings,
        (own_program, now): (PathBuf, Timestamp),
    ) -> Result<(Site, RestoreTestOptions), String> {
        let checked = self.archived.check(self.plan, now).map_err(|error| explain(&error))?;
        let key = RecoveryKey::parse(&Secret::new(self.key)).map_err(|error| explain(&error))?;
        let at = self.at.as_deref().map(str::parse::<PointInTime>).transpose();
        let surroundings = around(checked.plan.site());
        let site = Site::new(checked, surroundings).with_key(key).only_read_by();
        let options = RestoreTestOptions {
            at: at.map_err(|error| explain(&error))?,
            seed: Some(Seed(self.seed)),
            control: if self.control { Control::Yes } else { Control::BySeed },
            tier: self.tier,
            demand: if self.weak { Demand::WhatCanBeHad } else { Demand::Namespaces },
            ..RestoreTestOptions::of_plan(self.test, own_program)
        };
        Ok((site, options))
    }
}

/// Does a test as a staging host, of a plan that was handed over; returns the line that is the answer.
///
/// `around` says what is around a site here.
pub fn stage(
    orders: StagedOrders,
    around: &dyn Fn(&SiteName) -> Surroundings,
    (own_program, now): (PathBuf, Timestamp),
    (events, cancel): (&dyn EventSink, &Cancel),
) -> String {
    let (site, options) = match orders.taken(around, (own_program, now)) {
        Ok(taken) => taken,
        Err(why) => return refusal(why),
    };
    // What is known of the copies stands in the catalog; what keeps it from being read keeps the test, which tells.
    let tiers = site.plan().tiers().keys().cloned().collect();
    if let Err(error) = OpenSite::open(&site, &tiers, NewTiers::Leave, events, cancel) {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(error, "The catalog could not be brought up to date with the tiers.");
    }
    let Some(plans) = site.plan().restore_tests().get(&options.test) else {
        return refusal("the plan has no such test".to_owned());
    };
    let done = here(&site, &options, plans, site.new_job(), (events, cancel));
    let Done { tested, teardown, ending, host } = done;
    line(&Answer::Done { host, tested: Box::new(tested), teardown, ending })
}

fn refusal(why: String) -> String {
    line(&Answer::Refused { why })
}

fn line(answer: &Answer) -> String {
    serde_json::to_string(answer).expect("an answer has only texts for keys")
}

/// Has a test done by a staging host.
pub(super) fn send(
    site: &Site,
    options: &RestoreTestOptions,
    (plans, host): (&RestoreTest, &str),
    job: JobId,
    (events, cancel): (&dyn EventSink, &Cancel),
) -> Done {
    let seed = options.seed.unwrap_or_else(Seed::any);
    let mut run = Run::new(site, options, plans, (events, cancel));
    run.seed = seed;
    run.assets = run.wanted().iter().map(super::restored::unknown).collect();
    let answered = StagedOrders::new(site, options, seed, cancel)
        .and_then(|orders| Ok(ask(site, host, &orders, cancel)?));
    match answered {
        Ok((there, mut tested, teardown, ending)) => {
            (tested.job, tested.on) = (job, Some(host.to_owned()));
            Done { tested, teardown, ending, host: there }
        }
        Err(error) => {
            let teardown = Teardown {
                outcome: Outcome::CouldNotVerify,
                time: site.surroundings().now(),
                looked_for: Vec::new(),
                trouble: Some(format!("nobody could look on {host}")),
            };
            let ending = Trouble::of(&error).ending;
            let mut tested = run.into_record(job, Some(error));
            tested.on = Some(host.to_owned());
            let ending = match ending {
                Ending::Cancelled => Ending::Cancelled,
                _ => Ending::of(tested.outcome),
            };
            Done { tested, teardown, ending, host: host.to_owned() }
        }
    }
}

/// Calls lifeboat on a host and returns what it answers.
fn ask(
    site: &Site,
    host: &str,
    orders: &StagedOrders,
    cancel: &Cancel,
) -> Result<(String, RestoreTested, Teardown, Ending), StagingError> {
    let mut line = serde_json::to_vec(orders).expect("orders have only texts for keys");
    line.push(b'\n');
    let ssh = CommandLine::new(site.words(host::ssh_words(host, WORDS)), NO_LIMIT);
    let name = || host.to_owned();
    let output = ssh.converse(line, cancel).map_err(|error| match error {
        CommandError::Failed { status: NOT_FOUND, .. } => StagingError::NoProgram { host: name() },
        CommandError::Failed { status: NOT_UNDERSTOOD, stderr, .. } => {
            let said = stderr.lines().next().unwrap_or_default();
            StagingError::Refused { host: name(), why: format!("it is another lifeboat: {said}") }
        }
        error => StagingError::Host(host::told(host, WORDS[0].to_owned(), error)),
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let answer = text.lines().find(|line| line.starts_with('{')).unwrap_or_default();
    match serde_json::from_str(answer) {
        Ok(Answer::Done { host: there, tested, teardown, ending }) => {
            if tested.test == orders.test && tested.seed == orders.seed {
                return Ok((there, *tested, teardown, ending));
            }
            let why = format!("it is about `{}` with seed {}", tested.test, tested.seed);
            Err(StagingError::NoAnswer { host: name(), why })
        }
        Ok(Answer::Refused { why }) => Err(StagingError::Refused { host: name(), why }),
        Err(error) => Err(StagingError::NoAnswer { host: name(), why: error.to_string() }),
    }
}
