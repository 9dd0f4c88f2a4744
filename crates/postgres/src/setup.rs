//! What a server needs so that it can be backed up: a role with the least rights that suffice, and
//! settings by which it hands its log over. It is made, found to be missing, and taken back here.
//!
//! Planning is pure: from what was [`Found`] and what is [`Wanted`] to a [`Script`], which is shown as it
//! is or carried out step by step.
//!
//! # Invariants
//!
//! - What was there before is kept in the server itself, as the comment on the role ([`Note`]), and it is
//!   durable before anything of it is replaced. It goes where the server goes: to a standby, into a base
//!   backup, onto another host.
//! - A way of archiving that is somebody else's is replaced only when that was asked for.
//! - While the server archives, there is a command that lets its log go: `archive_mode` is the last to be
//!   turned on, and a stopgap stands in until a restart turns it off.
//!
//! # Crash consistency
//!
//! Each step is atomic. After a kill between any two, setting up again goes on, and taking back finds
//! everything: a setting counts as ours only while it is what the note says, so what somebody changed since
//! is left alone.
//!
//! # Limits
//!
//! What `postgresql.auto.conf` says beside the settings of [`SettingName`] is not touched. Objects that the
//! role came to own are never dropped; the role then stays and is named.

pub mod archiver;
pub mod condition;
pub mod error;
pub mod found;
mod install;
mod note;
mod removal;
pub mod restart;
pub mod right;
mod script;
pub mod setting;

pub use archiver::{Archiver, PushCommand, STOPGAP};
pub use condition::{Condition, Finding, Problem, Remedy, Severity};
pub use error::{Refusal, SetupError};
pub use found::{Administrator, ArchiverState, Found, FoundRole};
pub use install::{Foreign, Wanted, WantedArchive, install};
pub use note::{Kept, Note};
pub use removal::{Leaving, Removal, remove};
pub use restart::Restart;
pub use right::{Right, Taken, rights};
pub use script::{Change, Script, Step};
pub use setting::{Setting, SettingName, Takes};

#[cfg(test)]
mod tests;
