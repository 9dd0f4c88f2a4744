//! What the graph knows of a step: its name, what it needs, how far it is.

use lifeboat_model::StepName;

/// A step as the graph sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub name: StepName,
    /// The steps that come before it.
    pub needs: Vec<StepName>,
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
