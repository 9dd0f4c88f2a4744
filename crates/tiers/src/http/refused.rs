//! Why a request to a store in the network did not succeed, whichever store it is. What a refusal means is for its vendor's
//! file to say.

use lifeboat_model::Timestamp;

use super::HttpFailure;
use super::answers::AnswerError;
use super::ranges::PartError;
use crate::request::{Meaning, Request};
use crate::{ReadRange, TierError};

/// An answer that says no, as its vendor writes it.
pub(crate) trait Saying:
    std::fmt::Debug + std::fmt::Display + Send + Sync + 'static
{
    /// Returns what that is to a tier.
    fn meaning(&self) -> Meaning;
}

/// Why a request did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreFailure<R: Saying> {
    /// There was no answer.
    #[error(transparent)]
    Http(#[from] HttpFailure),
    /// The answer was no.
    #[error("{0}")]
    Refused(Box<R>),
    /// The answer says something else than what was asked.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The body is not what the store was given.
    #[error("the body came {came}")]
    Altered {
        /// How.
        came: &'static str,
    },
    /// The request could not be signed.
    #[error("{why}")]
    Unsigned {
        /// Why not.
        why: String,
        /// What that is to a tier: a service that hands out credentials may be back soon; where there are none, there
        /// are none.
        meaning: Meaning,
    },
}

/// Why an object was not read.
#[derive(Debug)]
pub(crate) enum ReadFailure<R: Saying> {
    /// The request did not succeed.
    Failed(StoreFailure<R>),
    /// The object is shorter.
    OutOfRange {
        /// Its size in bytes.
        size: u64,
    },
}

impl<R: Saying> From<StoreFailure<R>> for ReadFailure<R> {
    fn from(failure: StoreFailure<R>) -> Self {
        Self::Failed(failure)
    }
}

impl<R: Saying> From<PartError> for ReadFailure<R> {
    fn from(error: PartError) -> Self {
        match error {
            PartError::OutOfRange { size } => Self::OutOfRange { size },
            PartError::Length => {
                Self::Failed(StoreFailure::Altered { came: "with another length" })
            }
            PartError::Answer(error) => Self::Failed(StoreFailure::Answer(error)),
        }
    }
}

/// Why an object was not deleted.
#[derive(Debug)]
pub(crate) enum DeleteFailure<R: Saying> {
    /// The request did not succeed.
    Failed(StoreFailure<R>),
    /// It is locked.
    Locked {
        /// Until when, where the store says so.
        until: Option<Timestamp>,
    },
}

impl<R: Saying> From<StoreFailure<R>> for DeleteFailure<R> {
    fn from(failure: StoreFailure<R>) -> Self {
        Self::Failed(failure)
    }
}

impl Request<'_> {
    /// Says of a tier why this did not succeed.
    pub(crate) fn failed<R: Saying>(self, failure: StoreFailure<R>) -> TierError {
        match failure {
            StoreFailure::Http(failure) => failure.told(self.tier, self.action()),
            StoreFailure::Answer(_) | StoreFailure::Altered { .. } => self.unusable(failure),
            StoreFailure::Unsigned { why, meaning } => self.refused(meaning, why),
            StoreFailure::Refused(refused) => self.refused(refused.meaning(), refused.to_string()),
        }
    }

    /// Says of a read, whose range is known, why it did not succeed.
    pub(crate) fn not_read<R: Saying>(
        self,
        range: ReadRange,
        failure: ReadFailure<R>,
    ) -> TierError {
        match (failure, self.path) {
            (ReadFailure::Failed(failure), _) => self.failed(failure),
            (ReadFailure::OutOfRange { size }, Some(path)) => {
                TierError::out_of_range(self.tier, path, range, size)
            }
            (ReadFailure::OutOfRange { .. }, None) => self.unusable("only objects have ranges"),
        }
    }

    /// Says of a delete why it did not succeed.
    pub(crate) fn not_deleted<R: Saying>(self, failure: DeleteFailure<R>) -> TierError {
        match failure {
            DeleteFailure::Failed(failure) => self.failed(failure),
            DeleteFailure::Locked { until } => {
                let word = "it is locked".to_owned();
                self.refused(Meaning::Locked { until }, word)
            }
        }
    }
}
