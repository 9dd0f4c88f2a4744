//! Where copies live: one trait over disk, memory and object stores, its decorators, and the
//! conformance suite that every implementation passes.

pub mod error;
pub mod path;
pub mod tier;

pub use error::TierError;
pub use path::{ObjectPath, ObjectPrefix};
pub use tier::{ObjectMeta, PutMode, ReadRange, Tier};
