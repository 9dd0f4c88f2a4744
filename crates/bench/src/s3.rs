//! Measures lifeboat beside restic on a store of S3: what bandwidth is used, what latency costs, and how
//! much is asked for.
//!
//! - [`store`] is the server and the line to it, which delays.
//! - [`large`] is a generated repository of a hundred thousand packs, and what one file of it needs.
//! - [`course`] lets the racers take turns at the [`work`]s.
//! - [`report`] writes it all down.

pub mod course;
pub mod large;
pub mod report;
pub mod store;
pub mod work;
