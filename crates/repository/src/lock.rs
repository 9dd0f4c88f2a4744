//! Locks that restic honours and whose locks honour restic.

pub mod record;
