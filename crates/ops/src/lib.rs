//! The operations: wire, keys, catalog, jobs, backup, verification, status, restore.

pub mod backlog;
pub mod backup;
pub mod bare_machine;
pub mod catalog;
pub mod catch_up;
pub mod command;
pub mod ending;
pub mod error;
pub mod holdings;
pub mod key;
pub mod lock_keeping;
pub mod named_tier;
pub mod plan_archive;
pub mod point;
mod random;
pub mod readiness;
pub mod recovery;
pub mod recovery_key;
pub mod restore;
pub mod retention;
pub mod secret;
pub mod server_setup;
pub mod standing;
pub mod state;
pub mod status;
pub mod step_order;
pub mod surroundings;
pub mod tier_mark;
pub mod verification;
pub mod wal;
pub mod wire;
pub mod writer;

pub use error::{OpsError, Trouble};
pub use surroundings::Surroundings;
pub use wire::Site;
