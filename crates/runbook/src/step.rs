//! What the graph knows of a step: its name, what it needs, how far it is.

use std::fmt;
use std::str::FromStr;

/// The longest name of a step, so that it fits into file names and lines.
pub const STEP_ID_LENGTH_MAX: usize = 63;

/// The name of a step within its runbook.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(String);

/// A text cannot be the name of a step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` cannot be the name of a step: it starts with a letter or digit and goes on with letters, digits, `-`, `_`, at most {STEP_ID_LENGTH_MAX}"
)]
pub struct ParseStepIdError {
    text: String,
}

impl StepId {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StepId {
    type Err = ParseStepIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = text.bytes();
        let is_id = text.len() <= STEP_ID_LENGTH_MAX
            && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
            && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if is_id {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseStepIdError { text: text.to_owned() })
        }
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A step as the graph sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub id: StepId,
    /// The steps that come before it.
    pub needs: Vec<StepId>,
    /// Whether its failure stops those that need it.
    pub is_critical: bool,
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Progress {
    /// Not begun.
    #[default]
    Waiting,
    /// Begun and not ended.
    Running,
    /// Ended well, or left out on purpose.
    Done,
    /// Ended badly.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_slugs() {
        assert!("restore-database".parse::<StepId>().is_ok());
        let long = "a".repeat(STEP_ID_LENGTH_MAX + 1);
        for bad in ["", "-a", "a b", "a/b", "ä", &long] {
            assert!(bad.parse::<StepId>().is_err(), "{bad}");
        }
    }
}
