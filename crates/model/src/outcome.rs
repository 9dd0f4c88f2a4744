//! The three ways in which a check can end.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a check showed; what could not run never counts as passed.
///
/// Ordered from best to worst, so that `max` of several is the verdict over all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It ran and holds.
    Passed,
    /// It could not run, so nothing is known.
    CouldNotVerify,
    /// It ran and does not hold.
    Failed,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Passed => "passed",
            Self::CouldNotVerify => "could not verify",
            Self::Failed => "failed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_outcome_wins() {
        assert_eq!(Outcome::Passed.max(Outcome::CouldNotVerify), Outcome::CouldNotVerify);
        assert_eq!(Outcome::CouldNotVerify.max(Outcome::Failed), Outcome::Failed);
    }
}
