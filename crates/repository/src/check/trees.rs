//! Whether every directory of every snapshot is whole, and what it refers to is there.
//!
//! # Invariants
//!
//! - A directory is judged by what is known before the walk begins, and by nothing that another one
//!   showed: so several are judged at once, also while data is read back, and what is told never
//!   depends on which thread came first.
//!
//! # Limits
//!
//! What [`walk_trees`] takes, and of each damage the names of a few files.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use lifeboat_model::{BlobId, Cancel, Event, EventSink, PackId, SnapshotId, Stage, Work};

use super::finding::{AFFECTED_MAX, Finding, Severity};
use super::remedy::Remedy;
use super::structure::{explain_cause, severity_of};
use crate::blob::BlobKind;
use crate::error::{Defect, RepositoryError, StoredObject};
use crate::index::Index;
use crate::node::{Node, NodeKind};
use crate::repository::{Repository, State};
use crate::tree::TreeError;
use crate::walk::{Directory, Judge, Visit, walk_trees};

/// What directories are judged by.
pub(super) struct Ground<'a> {
    pub index: &'a Index,
    /// Blobs that cannot be had, and the finding that says so.
    pub bad: &'a HashMap<(BlobKind, BlobId), usize>,
    /// How bad it is that no index lists a blob.
    pub unlisted: Severity,
}

/// What all directories showed.
#[derive(Debug, Default)]
pub(super) struct SeenTrees {
    /// How many were read, or were to be.
    pub trees: u64,
    pub findings: Vec<Finding>,
    /// The files that known damage costs, by the number of its finding.
    pub costs: BTreeMap<usize, Costs>,
    /// Data that no index lists.
    pub unindexed: HashSet<BlobId>,
    /// The files that it costs.
    pub unindexed_costs: Costs,
    /// Whether a directory cannot be read.
    pub lacks_directory: bool,
    /// The packs in which directories are damaged.
    pub damaged_packs: BTreeSet<PackId>,
}

/// Files that something costs: some by name, the rest counted.
#[derive(Debug, Default)]
pub(super) struct Costs {
    named: Vec<String>,
    more: u64,
}

impl Costs {
    fn add(&mut self, file: impl FnOnce() -> String) {
        if self.named.len() < AFFECTED_MAX {
            self.named.push(file());
        } else {
            self.more += 1;
        }
    }

    fn append(&mut self, other: Self) {
        other.named.into_iter().for_each(|file| self.add(|| file));
        self.more += other.more;
    }

    /// Adds them to what a finding costs.
    pub(super) fn add_to(self, finding: &mut Finding) {
        self.named.into_iter().for_each(|file| finding.affects(file));
        finding.affected_more += self.more;
    }
}

/// Looks at every directory below the roots of snapshots.
pub(super) fn check_trees<S: State>(
    repository: &Repository<S>,
    ground: &Ground<'_>,
    roots: impl Iterator<Item = (SnapshotId, BlobId)>,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<SeenTrees, RepositoryError> {
    let mut seen = SeenTrees::default();
    walk_trees(repository, ground.index, roots, ground, cancel, |visit, judged| {
        seen.trees += 1;
        match judged {
            Ok(tree) => seen.add(tree),
            Err(error) => seen.add_lost(ground, visit, &error),
        }
        let work = Work { items: 1, bytes: 0 };
        events.emit(Event::Advanced { stage: Stage::Structure, work });
    })?;
    // What was not found may be there if the local copy of the index broke.
    ground.index.make_sure()?;
    Ok(seen)
}

impl SeenTrees {
    fn add(&mut self, tree: SeenTree) {
        self.findings.extend(tree.findings);
        for (number, costs) in tree.costs {
            self.costs.entry(number).or_default().append(costs);
        }
        self.unindexed.extend(tree.unindexed);
        self.unindexed_costs.append(tree.unindexed_costs);
    }

    fn add_lost(&mut self, ground: &Ground<'_>, visit: &Visit, error: &RepositoryError) {
        let severity = match error {
            RepositoryError::Corrupt(corruption)
                if matches!(corruption.defect, Defect::NotIndexed) =>
            {
                ground.unlisted
            }
            error => severity_of(error),
        };
        if let RepositoryError::Corrupt(corruption) = error
            && let StoredObject::Blob { at: Some((pack, _)), .. } = &corruption.object
        {
            self.damaged_packs.insert(*pack);
        }
        let path = in_snapshot(&visit.snapshot, &visit.path);
        let mut finding = Finding::new(severity, directory(visit), explain_cause(error));
        finding.affects(format!("{path} and all below it"));
        finding.remedy = match error {
            RepositoryError::Corrupt(damage) => match (&damage.object, &damage.defect) {
                (StoredObject::Pack(_), Defect::Missing) => Some(Remedy::LostPack),
                (object, _) => Remedy::of(*object),
            },
            _ => None,
        };
        self.lacks_directory |= finding.remedy.is_some();
        self.findings.push(finding);
    }
}

/// What one directory shows.
#[derive(Debug, Default)]
pub(super) struct SeenTree {
    last: OsString,
    is_out_of_order: bool,
    findings: Vec<Finding>,
    costs: BTreeMap<usize, Costs>,
    unindexed: HashSet<BlobId>,
    unindexed_costs: Costs,
}

impl Judge for Ground<'_> {
    type Verdict = SeenTree;

    fn look_at(&self, visit: &Visit, node: &Node, seen: &mut SeenTree) {
        // Names are never empty, so the first one comes after nothing.
        seen.is_out_of_order |= seen.last.as_bytes() >= node.name.as_bytes();
        seen.last.clone_from(&node.name);
        if let NodeKind::File { size, content } = &node.kind {
            self.look_at_file(seen, || file_in(visit, &node.name), *size, content);
        }
    }

    fn end(&self, visit: &Visit, tree: &Directory, seen: &mut SeenTree) -> Result<(), TreeError> {
        if !seen.is_out_of_order {
            return Ok(());
        }
        let (mut names, mut twice) = (HashSet::new(), None);
        tree.for_each(|node| {
            if !names.insert(node.name.clone()) {
                twice.get_or_insert_with(|| node.name.clone());
            }
        })?;
        let (severity, problem) = match twice {
            Some(name) => {
                (Severity::Error, format!("it has two entries named `{}`", name.display()))
            }
            None => (Severity::Hint, "its entries are not in order".to_owned()),
        };
        let mut finding = Finding::new(severity, directory(visit), problem);
        finding.affects(in_snapshot(&visit.snapshot, &visit.path));
        seen.findings.push(finding);
        Ok(())
    }
}

impl Ground<'_> {
    fn look_at_file(
        &self,
        seen: &mut SeenTree,
        file: impl Fn() -> String,
        size: u64,
        content: &[BlobId],
    ) {
        let mut sum = Some(0_u64);
        // Each damage costs the file once; `None` is what no index lists.
        let mut lacks = BTreeSet::new();
        for id in content {
            let Some(location) = self.index.get(BlobKind::Data, id) else {
                sum = None;
                seen.unindexed.insert(*id);
                if lacks.insert(None) {
                    seen.unindexed_costs.add(&file);
                }
                continue;
            };
            sum = sum.map(|sum| sum + u64::from(location.plaintext_length()));
            if let Some(finding) = self.bad.get(&(BlobKind::Data, *id))
                && lacks.insert(Some(*finding))
            {
                seen.costs.entry(*finding).or_default().add(&file);
            }
        }
        if let Some(sum) = sum.filter(|sum| *sum != size) {
            let problem = format!("recorded as {size} bytes, its content has {sum}");
            seen.findings.push(Finding::new(Severity::Error, file(), problem));
        }
    }
}

fn directory(visit: &Visit) -> String {
    format!("tree blob {}", visit.tree.to_hex())
}

fn file_in(visit: &Visit, name: &OsStr) -> String {
    in_snapshot(&visit.snapshot, &visit.path.join(name))
}

fn in_snapshot(snapshot: &SnapshotId, path: &Path) -> String {
    format!("snapshot {snapshot}: {}", path.display())
}
