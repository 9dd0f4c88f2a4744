//! The reference platform on a machine of its own, for whoever stages a disaster: the demo, and lifeboat's tests.
//!
//! - [`machine::Machine`] is a folder that stands for a machine: the platform lives on it, and it can be lost.
//! - [`sink::Sink`] stands for a service of others: it takes what is sent, and tells what that was.
//!
//! The plan and the runbooks are those that are shipped; [`here`] lists what is said of this machine instead.

pub mod clouds;
pub mod failure;
mod guard;
pub mod here;
pub mod machine;
pub mod service;
pub mod sink;
