//! The operations: wire, keys, catalog, jobs, backup, verification, status, restore.

pub mod catalog;
pub mod command;
pub mod ending;
pub mod envelope;
pub mod named_tier;
mod random;
pub mod recovery_key;
pub mod state;
pub mod surroundings;
pub mod writer;
