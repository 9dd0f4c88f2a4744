//! What the hardware allows: each stage of the work timed with nothing beside it, then added up.
//!
//! The stages run one after the other over the pieces of sample files, on one thread, each with its
//! own watch. A piece is as warm in the cache as it is in a backup, and no stage waits for another.
//! Perfect work on `n` cores takes the sum of the stages, divided by `n`: no engine that has to do
//! these stages with these primitives can be faster, however it overlaps them.
//!
//! # Limits
//!
//! Cores share memory and caches, so that `n` of them are rarely `n` times as fast as one; and new
//! pages for output cost more when two cores ask for them. The ceiling knows nothing of that.

mod stages;

pub use stages::{Stage, Stages, measure};
