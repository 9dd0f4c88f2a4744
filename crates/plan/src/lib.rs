//! The plan language: from `plan.toml` and its runbooks to a [`Plan`], or to everything that is
//! wrong with them.
//!
//! # How a plan is read
//!
//! [`load`] takes texts and gives a [`Checked`] plan or a [`Rejected`] one. On the way the TOML is
//! parsed with the place of every value; each table is decoded strictly, by the one definition
//! that also gives its [`schema`]; the lint looks at the whole; and what is left is a [`Plan`] in
//! which every name leads somewhere. No step stops at the first mistake.
//!
//! # What holds
//!
//! - Nothing here does I/O or looks at a clock: files, facts about the machine and the time are
//!   handed in.
//! - A plan holds references to secrets ([`SecretRef`]), never secrets; one that was written in by
//!   mistake is an error, and no [`Diagnostic`] repeats it.
//! - No input makes it panic.

mod decode;
mod diagnostic;
mod document;
mod identity;
mod lint;
mod load;
mod place;
pub mod plan;
mod redact;
pub mod schedule;
mod schema;
mod source;
mod table;
pub mod value;

pub use diagnostic::{Colour, Diagnostic, Severity};
pub use load::{Checked, Facts, Rejected, load};
pub use plan::Plan;
pub use schema::{runbook_schema, schema};
pub use source::{FileError, Files, SourceFile};
pub use value::secret::SecretRef;
