//! Restores snapshots: plan, then perform.

pub mod metadata;
pub mod name;
pub mod target;
