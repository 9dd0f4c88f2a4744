//! Decides which snapshots are kept, in restic's policy words, and removes the others.
//!
//! [`plan`] is pure: snapshots, options and the time go in, what is kept and why comes out. What it
//! decides is what restic 0.16 and later decide; older ones lack only the oldest snapshot that is
//! kept while a count has not been used up.
//!
//! # Invariants
//!
//! - Every snapshot that is considered stands in exactly one group, kept or removed, and whatever is
//!   kept says why.
//! - A policy that keeps nothing of a group removes nothing at all.
//! - An hour, a day, a week, a month and a year are those of the clock of the snapshot's own host.
//!
//! # Crash consistency
//!
//! Snapshots are removed one by one; what an interrupted run left is removed by the next. Their data
//! stays until it is pruned. The caller holds an exclusive lock from before the snapshots are read.
//!
//! Sources: restic `doc/060_forget.rst`; restic `internal/data/snapshot_policy.go`.

mod policy;
mod span;

use lifeboat_model::{Cancel, Classify, ErrorKind, Hint, SnapshotId, Timestamp};

use crate::error::RepositoryError;
use crate::lock::LockGuard;
use crate::repository::{Repository, State};
use crate::selection::{Group, GroupBy, SnapshotFilter, Trait};
use crate::snapshot::Snapshot;

pub use policy::{Count, Kept, ParseCountError, Policy};
pub use span::{ParseSpanError, Span};

/// What a policy without a single word means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EmptyPolicy {
    /// A mistake.
    #[default]
    Refused,
    /// That all snapshots go that the filter names; refused without a filter.
    RemovesAll,
}

/// What is forgotten.
#[derive(Debug, Clone)]
pub struct ForgetOptions {
    /// Which snapshots are considered; the others stay.
    pub filter: SnapshotFilter,
    /// The policy is applied to each group by itself.
    pub group_by: GroupBy,
    /// Which are kept.
    pub policy: Policy,
    /// What it means if the policy is empty.
    pub empty_policy: EmptyPolicy,
}

impl Default for ForgetOptions {
    fn default() -> Self {
        Self {
            filter: SnapshotFilter::default(),
            group_by: GroupBy::new([Trait::Host, Trait::Paths]),
            policy: Policy::default(),
            empty_policy: EmptyPolicy::default(),
        }
    }
}

/// Why nothing is forgotten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForgetError {
    /// The policy has no word at all.
    #[error("no policy says which snapshots are kept, so none is removed")]
    NoPolicy,
    /// Everything would go.
    #[error("removing all snapshots needs a filter that says of which host, tag or path")]
    NoFilter,
    /// The policy keeps nothing of a group.
    #[error("the policy keeps no snapshot of the group `{group}`, so none is removed")]
    KeepsNothing {
        /// The group.
        group: Group,
    },
}

impl Classify for ForgetError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Usage
    }

    fn hint(&self) -> Option<Hint> {
        Some(Hint::new(match self {
            Self::NoPolicy => "say what is kept, like `--keep-daily 7 --keep-weekly 5`",
            Self::NoFilter => "name them by `--host`, `--tag` or `--path`",
            Self::KeepsNothing { .. } => {
                "keep more, or name the snapshots of this group by their ids"
            }
        }))
    }
}

/// What becomes of the snapshots of one group, the newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct ForgetGroup {
    /// What its snapshots have in common.
    pub key: Group,
    /// What is kept, and why.
    pub keep: Vec<Kept>,
    /// What is removed.
    pub remove: Vec<(SnapshotId, Snapshot)>,
}

/// What becomes of all snapshots that are considered.
#[derive(Debug, Clone, PartialEq)]
pub struct ForgetPlan {
    /// The groups, in the order of their keys.
    pub groups: Vec<ForgetGroup>,
}

impl ForgetPlan {
    /// Returns the snapshots to remove.
    pub fn removed(&self) -> Vec<SnapshotId> {
        self.groups.iter().flat_map(|group| &group.remove).map(|(id, _)| *id).collect()
    }
}

/// Decides which snapshots are kept.
pub fn plan(
    snapshots: Vec<(SnapshotId, Snapshot)>,
    options: &ForgetOptions,
    now: Timestamp,
) -> Result<ForgetPlan, ForgetError> {
    let removes_all = options.policy.is_empty();
    match options.empty_policy {
        EmptyPolicy::Refused if removes_all => return Err(ForgetError::NoPolicy),
        EmptyPolicy::RemovesAll if removes_all && options.filter == SnapshotFilter::default() => {
            return Err(ForgetError::NoFilter);
        }
        EmptyPolicy::Refused | EmptyPolicy::RemovesAll => {}
    }
    let mut considered = snapshots;
    considered.retain(|(_, snapshot)| options.filter.matches(snapshot));
    let mut groups = Vec::new();
    for (key, members) in options.group_by.groups(considered) {
        let (keep, remove) = options.policy.apply(members, now);
        if keep.is_empty() && !removes_all {
            return Err(ForgetError::KeepsNothing { group: key });
        }
        groups.push(ForgetGroup { key, keep, remove });
    }
    Ok(ForgetPlan { groups })
}

/// Removes snapshots; their data stays until it is pruned.
pub fn remove_snapshots<S: State>(
    repository: &Repository<S>,
    lock: &LockGuard,
    ids: &[SnapshotId],
    cancel: &Cancel,
) -> Result<(), RepositoryError> {
    for id in ids {
        cancel.check()?;
        lock.check()?;
        repository.store().delete(id)?;
    }
    Ok(())
}
