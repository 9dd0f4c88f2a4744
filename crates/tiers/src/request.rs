//! What was asked of a store in the network, and what its answer is to the tier.

use std::io;
use std::time::Duration;

use lifeboat_model::{Capability, Timestamp};

use crate::refusal::Refusal;
use crate::{ObjectPath, TierError};

/// What was asked of which object, for whoever reads the error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// The tier's address.
    pub(crate) tier: &'a str,
    /// Like `write`.
    pub(crate) verb: &'static str,
    /// The object, unless it is about the bucket or container.
    pub(crate) path: Option<&'a ObjectPath>,
}

/// What a refusal is to a tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The object is not there.
    Absent,
    /// It is there already.
    Exists,
    /// It must be asked for first.
    Cold,
    /// There is no space for it.
    Full,
    /// It is locked.
    Locked {
        /// Until when, where the store says so.
        until: Option<Timestamp>,
    },
    /// Nothing can be locked there.
    Lockless,
    /// It may succeed the next time.
    Passing,
    /// It may succeed after a while.
    Busy {
        /// For how long the store asks to be left alone.
        rest: Duration,
    },
    /// It will be refused until somebody does something.
    Refusal(Refusal),
}

impl Meaning {
    /// Waits as long as the store asks for rest, if it may succeed after that.
    pub(crate) fn after(self, rest: Option<Duration>) -> Self {
        match (self, rest) {
            (Self::Passing, Some(rest)) => Self::Busy { rest },
            (meaning, _) => meaning,
        }
    }
}

impl Request<'_> {
    /// Says what was attempted, like `write repo/config`.
    pub(crate) fn action(self) -> String {
        match self.path {
            Some(path) => format!("{} {path}", self.verb),
            None => self.verb.to_owned(),
        }
    }

    /// Says that what arrived cannot be used, which may pass.
    pub(crate) fn unusable(
        self,
        why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> TierError {
        let (tier, action) = (self.tier.to_owned(), self.action());
        TierError::Unavailable { tier, action, source: io::Error::other(why) }
    }

    /// Says of a tier why this was refused; `word` is the store's.
    pub(crate) fn refused(self, meaning: Meaning, word: String) -> TierError {
        let tier = self.tier.to_owned();
        let action = self.action();
        let source = io::Error::other(word);
        match (meaning, self.path) {
            (Meaning::Absent, Some(path)) => TierError::not_found(&tier, path),
            (Meaning::Exists, Some(path)) => TierError::already_exists(&tier, path),
            (Meaning::Cold, Some(path)) => TierError::Cold { tier, path: path.clone() },
            (Meaning::Locked { until }, Some(path)) => {
                TierError::Locked { tier, path: path.clone(), until }
            }
            (Meaning::Full, _) => TierError::Full { tier, action, source },
            (Meaning::Lockless, _) => TierError::unsupported(&tier, Capability::ObjectLock),
            (Meaning::Passing, _) => TierError::Unavailable { tier, action, source },
            (Meaning::Busy { rest }, _) => TierError::Busy { tier, action, rest, source },
            (Meaning::Refusal(refusal), _) => TierError::refused(&tier, action, refusal, source),
            (Meaning::Absent | Meaning::Exists | Meaning::Cold | Meaning::Locked { .. }, None) => {
                TierError::refused(&tier, action, Refusal::Unfit, source)
            }
        }
    }
}
