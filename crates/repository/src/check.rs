//! Checks a repository: its structure, and its data by reading it back.

pub mod share;
