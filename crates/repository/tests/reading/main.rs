//! Reading repositories: restore, list, check, copy and lock, on what restic wrote and on what
//! nobody should have written.

#![cfg(test)]

mod again;
mod altered;
mod cache;
mod check;
mod copy;
mod frugal;
mod inspect;
mod keys;
mod lock;
mod restore;
mod support;
mod unprivileged;
