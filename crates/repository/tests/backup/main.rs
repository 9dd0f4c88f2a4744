//! Backups, judged by stock restic: what is stored, what is left when something fails.

#![cfg(test)]

mod faults;
mod restic;
mod runs;
mod site;
mod unreadable;
