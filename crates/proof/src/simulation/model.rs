//! What ought to be: which snapshots there must be, what is in them, who may hold which lock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use lifeboat_model::{SnapshotId, Timestamp};
use lifeboat_repository::lock::record::STALE_AFTER;
use lifeboat_repository::lock::{LockGuard, LockKind};
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::disk::{DISKS_MAX, DiskId, Process};
use super::reader::{Files, Reading};

/// How far clocks are apart at most, in seconds: one runs ahead and another behind.
pub(crate) const SKEW_SECONDS: i64 = 60;

/// How many different contents files have; few, so that backups share blobs.
const CONTENTS: u32 = 24;

/// How many files a backup is given at most; enough to fill several packs.
const FILES_MAX: usize = 6;

/// What ought to be on all disks.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// What each backup that was ever begun was given, by the tag of its snapshot.
    pub(crate) given: BTreeMap<String, Files>,
    pub(crate) disks: [Expected; DISKS_MAX],
}

/// What ought to be on one disk.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    /// Snapshots whose makers were told that they are stored, and their tags.
    pub(crate) acknowledged: BTreeMap<SnapshotId, String>,
    /// Those that somebody tried to forget, successfully or not.
    pub(crate) doomed: BTreeSet<SnapshotId>,
    /// Those that somebody was told are forgotten.
    pub(crate) forgotten: BTreeSet<SnapshotId>,
    holders: Vec<Holder>,
}

#[derive(Debug)]
struct Holder {
    process: Arc<Process>,
    guard: Arc<LockGuard>,
    kind: LockKind,
}

/// Draws what a backup is given.
pub(crate) fn draw_files(rng: &mut StdRng) -> Files {
    let count = rng.random_range(1..=FILES_MAX);
    (0..count)
        .map(|_| {
            let path = format!("/srv/{}/{}", rng.random_range(0..2), rng.random_range(0..8));
            (path, content(rng.random_range(0..CONTENTS)))
        })
        .collect()
}

/// Some compress, some do not, one is empty.
fn content(number: u32) -> Vec<u8> {
    let length = number as usize * 97;
    if number.is_multiple_of(2) {
        let mut state = number + 1;
        let step = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        std::iter::repeat_with(step).take(length).collect()
    } else {
        format!("content {number}; ").into_bytes().repeat(length / 12)
    }
}

/// Says where what was found first differs from what was given.
fn difference(given: &Files, found: &Files) -> String {
    let paths = given.keys().chain(found.keys());
    let wrong = paths.into_iter().find(|path| given.get(*path) != found.get(*path));
    let length = |files: &Files| wrong.and_then(|path| files.get(path)).map(Vec::len);
    format!("{wrong:?} was given {:?} bytes and holds {:?} others", length(given), length(found))
}

impl Model {
    /// Takes note of a lock that was got; it must not be one that stands in the way of another.
    pub(crate) fn lock(
        &mut self,
        disk: DiskId,
        process: &Arc<Process>,
        guard: &Arc<LockGuard>,
        now: Timestamp,
    ) -> Result<(), String> {
        let kind = guard.kind();
        let holders = &mut self.disks[disk.0].holders;
        holders.retain(|holder| !holder.process.is_dead());
        for other in &*holders {
            let locked = *other.process.locked.lock().unwrap_or_else(PoisonError::into_inner);
            let age = now.duration_since(locked[disk.0]).as_secs() + 2 * SKEW_SECONDS;
            let may_be_stale = age >= STALE_AFTER.as_secs().cast_signed();
            if !kind.is_compatible(other.kind) && other.guard.check().is_ok() && !may_be_stale {
                return Err(format!(
                    "actor {} got a lock ({kind:?}) on disk {} while actor {} holds one ({:?})",
                    process.actor.0, disk.0, other.process.actor.0, other.kind
                ));
            }
        }
        let (process, guard) = (Arc::clone(process), Arc::clone(guard));
        holders.push(Holder { process, guard, kind });
        Ok(())
    }

    /// Takes note that a process is about to release what it holds.
    pub(crate) fn unlock(&mut self, process: &Arc<Process>) {
        for disk in &mut self.disks {
            disk.holders.retain(|holder| !Arc::ptr_eq(&holder.process, process));
        }
    }

    /// Holds what lies on a disk against what ought to.
    pub(crate) fn judge(&self, disk: DiskId, reading: &Reading) -> Result<(), String> {
        let expected = &self.disks[disk.0];
        for (id, found) in &reading.snapshots {
            let given = self.given.get(&found.tag);
            let given = given.ok_or_else(|| format!("nobody made snapshot {id}"))?;
            if *given != found.files {
                let difference = difference(given, &found.files);
                return Err(format!("snapshot {id} ({}): {difference}", found.tag));
            }
        }
        for (id, tag) in &expected.acknowledged {
            let is_there = reading.snapshots.contains_key(&id.to_hex());
            if !is_there && !expected.doomed.contains(id) {
                return Err(format!(
                    "snapshot {} ({tag}) was acknowledged and is gone",
                    id.to_hex()
                ));
            }
        }
        match expected.forgotten.iter().find(|id| reading.snapshots.contains_key(&id.to_hex())) {
            Some(id) => Err(format!("snapshot {} was forgotten and is there", id.to_hex())),
            None => Ok(()),
        }
    }
}
