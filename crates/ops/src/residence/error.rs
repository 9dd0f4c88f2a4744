//! Why a host does not work on a platform that lives, or may live, somewhere else.

use lifeboat_model::{
    AssetName, Classify, ErrorKind, Hint, PlaceName, ServiceName, TierName, Timestamp,
};

use super::sought::Sought;
use crate::catalog::body::{Taking, Whereabouts};

/// A host must not do what is done where the platform lives alone.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The platform lives at another place.
    #[error("the platform lives at {there} since {since}, {by}; this is {here}")]
    LivesElsewhere {
        /// Where this is.
        here: Whereabouts,
        /// Where it lives.
        there: Box<Whereabouts>,
        /// Since when.
        since: Timestamp,
        /// How that came about.
        by: Box<Taking>,
    },
    /// A recovery brings it to another place.
    #[error("{sought}; this is {here}")]
    Sought {
        /// Where this is.
        here: Whereabouts,
        /// Which one.
        sought: Box<Sought>,
    },
    /// A recovery is to begin while another one brings the platform to another place.
    #[error("{sought}, and a second one here would contradict it; this is {here}")]
    AlreadySought {
        /// Where this is.
        here: Whereabouts,
        /// The first.
        sought: Box<Sought>,
    },
    /// Somebody at another place went beyond a recovery that is not over.
    #[error(
        "somebody at another place went beyond this recovery to {here} meanwhile: by a word, or by another recovery"
    )]
    Overruled {
        /// Where this is.
        here: Whereabouts,
    },
    /// It was handed over and goes on nowhere yet.
    #[error("the platform stands still since {still}, when {there} handed it over{}; this is {here}", whither(to.as_ref()))]
    StandsStill {
        /// Where this is.
        here: Whereabouts,
        /// Where it lived last.
        there: Box<Whereabouts>,
        /// Since when it writes nothing.
        still: Timestamp,
        /// Where it is to go on.
        to: Option<PlaceName>,
    },
    /// Several places say that it lives there.
    #[error(
        "several places say that the platform lives there, and none knew of the others: {}",
        listed(claims)
    )]
    Disputed {
        /// Those.
        claims: Vec<Whereabouts>,
    },
    /// Nobody said where it lives, and another place backed it up last.
    #[error("{host} backed the platform up last, at {last}; this is {here}")]
    BackedUpElsewhere {
        /// Where this is.
        here: Whereabouts,
        /// Who did.
        host: String,
        /// When.
        last: Timestamp,
    },
    /// This host is no place of the plan.
    #[error("the plan has places, and {host} is none of them")]
    NoPlace {
        /// What this host calls itself.
        host: String,
    },
    /// A place is not in the plan.
    #[error("the plan has no place `{place}`")]
    Unknown {
        /// Which one was asked for.
        place: PlaceName,
        /// Those that there are.
        known: Vec<PlaceName>,
    },
    /// It is to be handed over to where it lives.
    #[error("the platform lives at `{place}` already")]
    Here {
        /// Where.
        place: PlaceName,
    },
    /// The plan has no places.
    #[error("the plan has no places")]
    NoPlaces,
    /// The tiers that other places write to could not be asked.
    #[error(
        "whether the platform lives here is not known: of the tiers that other places see none answered ({})",
        names(tiers)
    )]
    Unasked {
        /// Those.
        tiers: Vec<TierName>,
    },
    /// A service could not be stopped.
    #[error("cannot stop `{service}`: {why}")]
    NotStopped {
        /// Which service.
        service: ServiceName,
        /// Why not.
        why: String,
    },
    /// A command that a killed hand-over left running does not end.
    #[error(
        "`{program}` of service `{service}`, process {process}, still runs and could not be ended"
    )]
    StillRuns {
        /// Of which service.
        service: String,
        /// What it is called.
        program: String,
        /// Its number.
        process: u32,
    },
    /// A service that was stopped could not be started again.
    #[error("cannot start `{service}` again: {why}")]
    NotStarted {
        /// Which service.
        service: ServiceName,
        /// Why not.
        why: String,
    },
    /// Somebody hands the platform over just now.
    #[error("{login} hands the platform over since {since}, by process {process}")]
    HandingOver {
        /// Who.
        login: String,
        /// Since when.
        since: Timestamp,
        /// By which process.
        process: u32,
    },
    /// There is nothing to take back.
    #[error("no hand-over was begun here that did not end")]
    NothingBegun,
    /// Not all of the platform was captured, so it was not handed over.
    #[error("`{asset}` was not captured as a whole, so the platform was not handed over: {why}")]
    NotCaptured {
        /// Which asset.
        asset: AssetName,
        /// What is wrong.
        why: String,
    },
    /// No tier can take the record of a hand-over.
    #[error(
        "no tier can take the record that the platform was handed over, so no other place would know"
    )]
    Unheard,
    /// The plan calls this host another place.
    #[error("by the plan {host} is the place `{named}`, and not `{place}`")]
    NamedOtherwise {
        /// What this host calls itself.
        host: String,
        /// What it is by the plan.
        named: PlaceName,
        /// What it was said to be.
        place: PlaceName,
    },
    /// What lies in the state directory as this host's place is none.
    #[error("the state directory holds no name of a place where it should")]
    Damaged,
}

fn whither(to: Option<&PlaceName>) -> String {
    to.map(|place| format!(" to `{place}`")).unwrap_or_default()
}

fn listed(claims: &[Whereabouts]) -> String {
    let claims: Vec<_> = claims.iter().map(ToString::to_string).collect();
    claims.join("; ")
}

fn names<N: ToString>(names: &[N]) -> String {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    names.join(", ")
}

impl Classify for PlaceError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::LivesElsewhere { .. }
            | Self::Sought { .. }
            | Self::AlreadySought { .. }
            | Self::Overruled { .. }
            | Self::HandingOver { .. }
            | Self::StandsStill { .. }
            | Self::Disputed { .. }
            | Self::BackedUpElsewhere { .. } => ErrorKind::Conflict,
            Self::NoPlace { .. } | Self::NoPlaces => ErrorKind::Config,
            Self::Unknown { .. } | Self::Here { .. } | Self::NamedOtherwise { .. } => {
                ErrorKind::Usage
            }
            Self::Unasked { .. }
            | Self::NotStopped { .. }
            | Self::NotStarted { .. }
            | Self::StillRuns { .. }
            | Self::Unheard => ErrorKind::Unavailable,
            Self::NothingBegun => ErrorKind::NotFound,
            Self::NotCaptured { .. } => ErrorKind::Incomplete,
            Self::Damaged => ErrorKind::Corrupt,
        }
    }

    fn hint(&self) -> Option<Hint> {
        let text = match self {
            Self::LivesElsewhere { .. } | Self::StandsStill { .. } => {
                "bring it back here with `lifeboat recover SCENARIO`; if it does live here, say so with `lifeboat place claim --reason WHY`"
                    .to_owned()
            }
            Self::Sought { .. } => {
                "it ends there, or with `lifeboat recover abort --reason WHY` there; if that host is lost and the platform lives here, say so with `lifeboat place claim --reason WHY`".to_owned()
            }
            Self::Overruled { .. } => {
                "`lifeboat place show` says by whom; `lifeboat recover abort --reason WHY` gives this one up".to_owned()
            }
            Self::AlreadySought { sought, .. } => format!(
                "leave it to that one, or give it up there with `lifeboat recover abort --reason WHY`; if that host is lost, add `--despite {}`",
                sought.what.run
            ),
            Self::Disputed { .. } => {
                "find out which of them has the data that counts, stop the other, and say it there with `lifeboat place claim --reason WHY`"
                    .to_owned()
            }
            Self::BackedUpElsewhere { .. } => {
                "if the platform lives here now, say so with `lifeboat place claim --reason WHY`".to_owned()
            }
            Self::NoPlace { host } => format!(
                "write [places.NAME] with host = \"{host}\" into the plan, or say which place this is with `lifeboat place is NAME`"
            ),
            Self::Unknown { known, .. } => format!("it has {}", names(known)),
            Self::Here { .. } => {
                "nothing was stopped; name another place, or none if it is not known yet".to_owned()
            }
            Self::NoPlaces => "write [places.NAME] with host = \"…\" for each place into the plan".to_owned(),
            Self::Unasked { .. } => {
                "bring one of them back; if you know that it lives here, `lifeboat place claim --reason WHY` holds for a day".to_owned()
            }
            Self::NotStopped { .. } => {
                "what was stopped was started again; mend it, then hand over again".to_owned()
            }
            Self::StillRuns { process, .. } => {
                format!("`ps -o pid,user,stat,wchan,args -g {process}` shows what it waits for")
            }
            Self::NotStarted { .. } => {
                "mend it, then `lifeboat place hand-over --take-back` again".to_owned()
            }
            Self::HandingOver { .. } => {
                "wait until it ended; Ctrl-C there has it start again what it stopped".to_owned()
            }
            Self::NothingBegun => "`lifeboat place show` says where the platform lives".to_owned(),
            Self::NotCaptured { asset, .. } => format!(
                "what was stopped was started again; a service that has to run for it to be backed up gets holds = [\"{asset}\"] in the plan"
            ),
            Self::Unheard => "what was stopped was started again; `lifeboat check` tells what is wrong with the tiers".to_owned(),
            Self::NamedOtherwise { place, .. } => format!(
                "if the host was moved, write its name into [places.{place}] of the plan"
            ),
            Self::Damaged => "say it anew with `lifeboat place is NAME`".to_owned(),
        };
        Some(Hint::new(text))
    }
}
