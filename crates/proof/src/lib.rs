//! Tries to break the repository, and proves that it cannot be broken.
//!
//! It stands beside the house: it imports rooms, and none imports it. The binary runs the long form
//! of each proof (`make flips`, …), the tests here the short one.

pub mod durability;
pub mod flips;
mod place;
pub mod simulation;
