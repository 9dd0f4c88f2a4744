//! Backups and what becomes of them, judged by stock restic: what is stored, what is left when
//! something fails.

#![cfg(test)]

mod bandwidth;
mod beside;
mod changes;
mod cold;
mod copies;
mod faults;
mod fingerprints;
mod followers;
mod forget;
mod large;
mod paged;
mod prune;
mod repair;
mod restic;
mod resume;
mod retention;
mod runs;
mod salvage;
mod selection;
mod site;
mod unreadable;
