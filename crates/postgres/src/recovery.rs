//! Bringing a cluster back: which base backup, along which timeline, up to where; and the data directory
//! that PostgreSQL then recovers by itself.
//!
//! - [`target`]: up to where.
//! - [`choice`]: which base backup and timeline lead there, and what will be lost. Pure.
//! - [`settings`]: what the server is told.
//! - [`placement`]: the data directory, which cannot be started before it is whole.
//! - [`start`]: starting it, and waiting until it is consistent or promoted.
//! - [`throwaway`]: starting it in an enclosure, from which it reaches nothing.

pub mod choice;
pub mod placement;
pub mod settings;
pub mod start;
pub mod target;
pub mod throwaway;

pub use choice::{Candidate, Choice, ChoiceError, LogReach, choose};
pub use placement::{Placement, PlacementError};
pub use target::RecoveryTarget;
