//! Measures lifeboat beside restic, `cp` and what this machine's hardware allows.
//!
//! - [`ceiling`] times each stage of the work alone and adds the stages up to what could be.
//! - [`chart`] draws what was measured.
//!
//! Nothing here passes or fails on a time: a number is published with its machine and its spread, and
//! a person judges it.

pub mod ceiling;
pub mod chart;
pub mod failure;
