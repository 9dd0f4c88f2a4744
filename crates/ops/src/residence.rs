//! Where the platform lives: which of the plan's places, since when, and how that came about.
//!
//! A record tells each move and holds what its writer knew of moves before it. So moves follow each other whatever the
//! clocks of the hosts say, and two that follow the same one contradict each other: nobody but a person knows which of
//! them is true. [`Residence::of`] decides that, a pure function of the moves; [`Known`] reads them from the catalog's view;
//! [`fence`] keeps a host from capturing anything where the platform does not live.
//!
//! # Invariants
//!
//! - At most one place captures: whoever cannot know that it is the one does not.
//! - No move is taken back by a clock; a move that knew of another one ends it.
//! - While a recovery brings the platform somewhere, no other place captures, until that is over or a person says otherwise.
//! - A plan without places moves nothing, and is refused where the catalog knows of a move away from its host.

pub mod begun;
pub mod destination;
mod error;
pub mod fence;
pub mod hand_over;
mod own;
pub mod sought;

use std::collections::BTreeSet;
use std::fmt;

use lifeboat_model::{PlaceName, RecordId, Timestamp, WriterId};
use lifeboat_plan::Plan;
use serde::Serialize;

use crate::catalog::body::{Body, PlaceLeft, PlaceTaken, Taking, Whereabouts};
use crate::catalog::record::Record;
use crate::catalog::view::{View, ViewError, Wanted};

pub use error::PlaceError;
pub use own::{is_place, own};
use sought::Sought;

impl Whereabouts {
    /// Tells whether both are the same: by the plan's names for them, or else by their hosts.
    pub fn is(&self, other: &Self) -> bool {
        match (&self.place, &other.place) {
            (Some(one), Some(another)) => one == another,
            _ => self.host == other.host,
        }
    }
}

impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "`{place}` ({})", self.host),
            None => write!(f, "{}, which is no place of the plan", self.host),
        }
    }
}

impl fmt::Display for Taking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstBackup => f.write_str("by its first backup"),
            Self::Recovery { run, scenario } => write!(f, "by {run} of `{scenario}`"),
            Self::Word { login, reason } => write!(f, "as {login} says: {reason}"),
        }
    }
}

/// A move that was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Move {
    /// Its record.
    pub record: RecordId,
    /// When it was written, by the clock of its host.
    pub time: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What a move is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum What {
    /// The platform lives there.
    Taken(PlaceTaken),
    /// It stands still there.
    Left(PlaceLeft),
}

impl Move {
    fn of(record: &Record) -> Option<Self> {
        let what = match record.body() {
            Body::PlaceTaken(taken) => What::Taken(taken.clone()),
            Body::PlaceLeft(left) => What::Left(left.clone()),
            _ => return None,
        };
        Some(Self { record: record.id(), time: record.header().time, what })
    }

    const fn after(&self) -> &BTreeSet<RecordId> {
        match &self.what {
            What::Taken(taken) => &taken.after,
            What::Left(left) => &left.after,
        }
    }

    /// Returns the place that it is about.
    pub const fn whereabouts(&self) -> &Whereabouts {
        match &self.what {
            What::Taken(taken) => &taken.whereabouts,
            What::Left(left) => &left.whereabouts,
        }
    }
}

/// Where the platform lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Residence {
    /// Nobody said yet.
    Unsaid,
    /// There.
    Lives {
        /// Where.
        whereabouts: Whereabouts,
        /// Since when.
        since: Timestamp,
        /// How that came about.
        by: Taking,
    },
    /// Nowhere: it was left there, and is to go on somewhere else.
    Left {
        /// Where it lived last.
        whereabouts: Whereabouts,
        /// Since when it writes nothing there.
        still: Timestamp,
        /// When that was recorded, after its last backup.
        recorded: Timestamp,
        /// Where it is to go on, if that was said.
        to: Option<PlaceName>,
    },
    /// Nobody knows: moves contradict each other.
    Disputed {
        /// Those that do, the newest first.
        claims: Vec<Move>,
    },
}

impl Residence {
    /// Decides where the platform lives, by the moves that no other one follows.
    pub fn of(moves: &[Move]) -> Self {
        let mut ends: Vec<_> = ends(moves).collect();
        ends.sort_by_key(|end| std::cmp::Reverse((end.time, end.record)));
        match ends.as_slice() {
            [] => Self::Unsaid,
            // Twice the same is no contradiction.
            [newest, rest @ ..] if rest.iter().all(|end| is_same(newest, end)) => {
                Self::after(newest)
            }
            _ => Self::Disputed { claims: ends.into_iter().cloned().collect() },
        }
    }

    fn after(last: &Move) -> Self {
        match last.what.clone() {
            What::Taken(PlaceTaken { whereabouts, by, .. }) => {
                Self::Lives { whereabouts, since: last.time, by }
            }
            What::Left(PlaceLeft { whereabouts, still, to, .. }) => {
                Self::Left { whereabouts, still, recorded: last.time, to }
            }
        }
    }

    /// Tells whether the platform lives there.
    pub fn is_at(&self, here: &Whereabouts) -> bool {
        matches!(self, Self::Lives { whereabouts, .. } if whereabouts.is(here))
    }
}

/// Returns the moves that no other one follows.
fn ends(moves: &[Move]) -> impl Iterator<Item = &Move> {
    let followed: BTreeSet<RecordId> = moves.iter().flat_map(Move::after).copied().collect();
    moves.iter().filter(move |this| !followed.contains(&this.record))
}

fn is_same(one: &Move, other: &Move) -> bool {
    let is_of_one_sort = matches!(
        (&one.what, &other.what),
        (What::Taken(_), What::Taken(_)) | (What::Left(_), What::Left(_))
    );
    is_of_one_sort && one.whereabouts().is(other.whereabouts())
}

/// What is known of where the platform lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Known {
    /// Where it lives.
    pub residence: Residence,
    /// All moves, the newest first.
    pub moves: Vec<Move>,
    /// Recoveries that bring it somewhere and are not over, the newest first.
    pub underway: Vec<Sought>,
    /// The host that backed something up last, and when.
    pub backed_up: Option<(String, Timestamp)>,
}

impl Known {
    /// Reads what the catalog's view knows.
    pub fn load(view: &View) -> Result<Self, ViewError> {
        let all = |kind, limit| {
            view.latest(Wanted { kind, asset: None, tier: None, good_only: false }, limit)
        };
        let mut records = all("place-taken", u32::MAX)?;
        records.extend(all("place-left", u32::MAX)?);
        let mut moves: Vec<_> = records.iter().filter_map(Move::of).collect();
        moves.sort_by_key(|this| std::cmp::Reverse((this.time, this.record)));
        let last = all("asset-backed-up", 1)?.pop();
        let backed_up = match last {
            Some(last) => {
                host_of(view, last.header().writer)?.map(|host| (host, last.header().time))
            }
            None => None,
        };
        let underway = sought::underway(view, &moves)?;
        Ok(Self { residence: Residence::of(&moves), moves, underway, backed_up })
    }

    /// Returns the moves that no other one follows, and the recoveries that are to become one: the next one comes after them.
    pub fn ends(&self) -> BTreeSet<RecordId> {
        let underway = self.underway.iter().map(|sought| sought.record);
        ends(&self.moves).map(|end| end.record).chain(underway).collect()
    }

    /// Returns the recoveries that bring it to another place than this.
    pub fn sought_elsewhere(&self, here: &Whereabouts) -> impl Iterator<Item = &Sought> {
        self.underway.iter().filter(|sought| !sought.what.whereabouts.is(here))
    }

    /// Refuses whoever stands where the platform does not live. Where nobody said yet where that is, whoever backed it up
    /// last counts.
    pub fn expect_at(&self, here: &Whereabouts, plan: &Plan) -> Result<(), PlaceError> {
        let here_is = here.clone();
        if let Some(sought) = self.sought_elsewhere(here).next() {
            let sought = Box::new(sought.clone());
            return Err(PlaceError::Sought { here: here_is, sought });
        }
        match &self.residence {
            Residence::Lives { whereabouts, .. } if whereabouts.is(here) => Ok(()),
            Residence::Lives { whereabouts, since, by } => Err(PlaceError::LivesElsewhere {
                here: here_is,
                there: Box::new(whereabouts.clone()),
                since: *since,
                by: Box::new(by.clone()),
            }),
            Residence::Left { whereabouts, still, to, .. } => Err(PlaceError::StandsStill {
                here: here_is,
                there: Box::new(whereabouts.clone()),
                still: *still,
                to: to.clone(),
            }),
            Residence::Disputed { claims } => Err(PlaceError::Disputed {
                claims: claims.iter().map(|claim| claim.whereabouts().clone()).collect(),
            }),
            Residence::Unsaid if here.place.is_none() => {
                Err(PlaceError::NoPlace { host: here.host.clone() })
            }
            Residence::Unsaid => match &self.backed_up {
                Some((host, last)) if is_another(plan, here, host) => {
                    Err(PlaceError::BackedUpElsewhere {
                        here: here_is,
                        host: host.clone(),
                        last: *last,
                    })
                }
                _ => Ok(()),
            },
        }
    }
}

/// Tells whether a host is another place of the plan than this.
fn is_another(plan: &Plan, here: &Whereabouts, host: &str) -> bool {
    plan.place_of(host).is_some_and(|place| Some(place) != here.place.as_ref())
}

/// Returns what a writer's host calls itself.
fn host_of(view: &View, writer: WriterId) -> Result<Option<String>, ViewError> {
    let records = view.of_writer(writer, "enrolment")?;
    Ok(records.iter().find_map(|record| match record.body() {
        Body::Enrolment(enrolment) => Some(enrolment.host.clone()),
        _ => None,
    }))
}

#[cfg(test)]
mod tests;
