//! Steps and the order in which they can be done; knows no backups.
//!
//! A runbook names its steps and what each one needs. [`Graph::build`] accepts them if every need is
//! a step and none needs itself in a circle; from then on [`Graph::layers`] gives the order to print
//! and [`Graph::ready`] what can be started, given what is done.

pub mod graph;
pub mod step;

pub use graph::{Graph, GraphError};
pub use step::{Progress, Step};
