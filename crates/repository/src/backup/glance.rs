//! Glancing at a directory: is it what its tree says, but for the directories in it?
//!
//! All its names are listed and looked at, as always. If what is said of them has the fingerprint that
//! was taken when the tree was made, no entry needs to be compared, and the tree need not be read.
//!
//! # Invariants
//!
//! - A directory keeps its tree only if its fingerprint is the same *and* each directory in it turned out
//!   to have the tree that it had, and the very metadata that were glanced at.
//! - If one of them did not, the entries are looked at closely, as if nobody had glanced.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use lifeboat_model::BlobId;
use rustix::fs::{AtFlags, FileType, Stat, statat};

use super::BackupError;
use super::assemble::{Directory, Known, Part};
use super::engine::Worker;
use super::fingerprint::{self, Printer, Trace};
use super::walk::{Below, Rest, Territory};
use crate::source::metadata;

/// How much is said of entries before it is hashed; it stays in the cache of its core.
const SAID_AT_ONCE: usize = 64 << 10;

/// A directory in one that was glanced at.
#[derive(Debug)]
pub(super) struct Glimpse {
    /// Which of the names is its.
    pub(super) position: usize,
    stat: Stat,
    /// The tree that it is expected to have.
    tree: BlobId,
}

/// What was found in a directory that is as its tree says, but for the directories in it.
#[derive(Debug)]
pub(super) struct Glance {
    /// The row that says so.
    row: usize,
    below: Vec<Glimpse>,
    /// Files and their size.
    kept: (u64, u64),
}

/// A directory that was glanced at, until it is known whether the directories in it are what they were.
#[derive(Debug)]
pub(super) struct Glanced {
    names: Vec<OsString>,
    territory: Territory,
    glance: Glance,
}

/// What is known of a directory in one that is looked at closely after all.
#[derive(Debug)]
pub(super) enum Settled {
    /// It has the same tree and metadata as before.
    Same(Box<Stat>, BlobId),
    /// This is what its directory has of it.
    Part(Part, Option<Trace>),
}

impl Glanced {
    pub(super) const fn new(names: Vec<OsString>, territory: Territory, glance: Glance) -> Self {
        Self { names, territory, glance }
    }

    /// Returns the directories in it, with their names.
    pub(super) fn below(&self) -> impl Iterator<Item = (OsString, Below)> {
        self.glance.below.iter().map(|Glimpse { position, stat, tree }| {
            let name = &self.names[*position];
            (name.clone(), Below::glimpsed(self.territory.enter(name), *stat, *tree))
        })
    }

    /// Returns all of it, to be looked at closely.
    fn into_rest(self, parts: Vec<Part>, traces: Vec<Option<Trace>>) -> Rest {
        let Self { names, territory, glance } = self;
        let known = glance.below.into_iter().zip(parts.into_iter().zip(traces));
        let settled = known.map(|(Glimpse { position, stat, tree }, (part, trace))| {
            let settled = match part {
                Part::Same => Settled::Same(Box::new(stat), tree),
                part => Settled::Part(part, trace),
            };
            (names[position].clone(), settled)
        });
        let settled: BTreeMap<_, _> = settled.collect();
        Rest::all(names, territory, settled)
    }
}

impl Worker<'_> {
    /// Looks at the entries of a directory that has had this tree; returns what was found if it can
    /// still have it.
    pub(super) fn glance(
        &mut self,
        tree: BlobId,
        handle: BorrowedFd<'_>,
        names: &[OsString],
        territory: &Territory,
    ) -> Option<Glance> {
        let row = self.engine.expected(&tree)?;
        let (mut below, mut kept) = (Vec::with_capacity(row.subtree_count()), (0, 0));
        let mut printer = Printer::default();
        self.scratch.clear();
        for (position, name) in names.iter().enumerate() {
            // Whoever looks closely comes by the same trouble, and names it.
            let stat = statat(handle, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            if territory.leaves_out(name, &stat) {
                continue;
            }
            match metadata::file_type(&stat) {
                FileType::Socket => continue,
                FileType::RegularFile => kept = (kept.0 + 1, kept.1 + metadata::size(&stat)),
                FileType::Directory => below.push(Glimpse { position, stat, tree }),
                _ => {}
            }
            let numbers = metadata::read_numbers(&stat, self.engine.access_time());
            let owner = self.owner.names(&self.engine.owners, (stat.st_uid, stat.st_gid));
            let extent = fingerprint::extent(&stat);
            fingerprint::write(&mut self.scratch, name, &numbers, extent, owner);
            if self.scratch.len() >= SAID_AT_ONCE {
                printer.add_said(&self.scratch);
                self.scratch.clear();
            }
        }
        printer.add_said(&self.scratch);
        if below.len() != row.subtree_count() || printer.finish() != row.fingerprint {
            return None;
        }
        for (glimpse, tree) in below.iter_mut().zip(row.subtrees()) {
            glimpse.tree = tree;
        }
        Some(Glance { row: row.number, below, kept })
    }

    /// Ends a directory that was glanced at and is what it was.
    pub(super) fn keep(&self, glanced: &Glanced) {
        let Glance { row, kept: (files, size), .. } = glanced.glance;
        self.engine.tally.files_were_kept(files, size);
        self.engine.advance(files, size);
        self.engine.meet(row);
    }

    /// Looks closely at a directory in which one of the directories is not what it was.
    pub(super) fn look_closely(
        &mut self,
        directory: &Arc<Directory>,
        glanced: Glanced,
        (parts, traces): (Vec<Part>, Vec<Option<Trace>>),
    ) -> Result<Option<Known>, BackupError> {
        self.read_parent(directory);
        self.list_on(directory, glanced.into_rest(parts, traces))
    }

    /// Takes note of the fingerprint of a directory that was looked at closely.
    pub(super) fn take_fingerprint(
        &self,
        directory: &Directory,
        tree: BlobId,
        traces: &[Option<Trace>],
    ) {
        directory.print(traces);
        if let Some((fingerprint, subtrees)) = directory.take_fingerprint() {
            self.engine.remember(tree, fingerprint, subtrees);
        }
    }
}
