//! Whole operations over real tiers in temporary directories and in memory.

mod backups;
mod database;
mod failures;
mod ground;
mod kills;
mod restores;
mod secrets;
