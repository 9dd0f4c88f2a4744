//! Runbook steps and their graph; knows no backups.
