//! `[classes]` and `[services]`: what matters, in the order in which it comes back.

use lifeboat_model::{AssetName, ClassName, ServiceName};

use crate::plan::check::Probe;
use crate::table::table;
use crate::value::command::Command;
use crate::value::duration::Span;

table! {
    /// How soon the services of a class must be back.
    pub struct Class {
        /// The time within which they must be back; none for those that can wait.
        rto: Option<Span>,
    }
}

table! {
    /// Something that runs and must run again.
    pub struct Service {
        /// How much it matters.
        class: ClassName,
        /// What must run before it.
        needs: Vec<ServiceName> = Vec::new(),
        /// Starts it.
        start: Option<Command>,
        /// Stops it.
        stop: Option<Command>,
        /// The assets that it has to run for to be backed up: a hand-over stops it only afterwards.
        holds: Vec<AssetName> = Vec::new(),
        /// How to tell that it works.
        health: Option<Probe>,
    }
}
