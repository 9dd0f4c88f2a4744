//! Whole operations over real tiers in temporary directories and in memory.

#![expect(clippy::unwrap_used, reason = "what tests share may unwrap as tests do")]

mod backups;
mod bootstrap;
mod cold;
mod cold_runbook;
mod database;
mod failures;
mod fan_out;
mod fence;
mod ground;
mod holds;
mod kills;
mod lagging;
mod locks;
mod log_lag;
mod naming;
mod restore_tests;
mod restores;
mod retention;
mod secrets;
mod shipped;
mod side_by_side;
