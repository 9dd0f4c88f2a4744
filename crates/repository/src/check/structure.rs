//! Whether indexes, packs, snapshots and directories fit together.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use lifeboat_model::{
    BlobId, ByteSize, Cancel, Cancelled, Classify, ErrorKind, Event, EventSink, IndexId, PackId,
    SnapshotId, Stage, Work,
};
use lifeboat_tiers::TierError;

use super::ReadData;
use super::data::{PackToRead, ReadPack};
use super::finding::{CheckReport, Finding, Severity, explain};
use super::pack::check_layout;
use super::remedy::Remedy;
use super::trees::{self, Ground, SeenTrees};
use crate::blob::BlobKind;
use crate::error::RepositoryError;
use crate::index::{Index, IndexFile, IndexedPack, Inspector, PackDigest};
use crate::node::{Node, NodeKind};
use crate::repository::{Repository, State};
use crate::snapshot::Snapshot;
use crate::store::{FileId, ListedFile};
use crate::walk::{Judge, Visit, walk_trees};

/// Packs with about so many blobs are read back before the index is asked for more: 24 MB.
const BLOBS_AT_ONCE: usize = 500_000;

/// A pack's problems are named up to this many; the rest is counted.
const PROBLEMS_MAX: usize = 3;

/// What is known of a repository while it is checked.
pub(super) struct Structure<'r, S: State> {
    repository: &'r Repository<S>,
    index: Index,
    listed: BTreeMap<PackId, u64>,
    /// The newest first, so that files are named in the snapshot that people look for first.
    snapshots: Vec<(SnapshotId, Snapshot)>,
    findings: Vec<Finding>,
    /// Blobs that cannot be had, and the finding that says so.
    bad: HashMap<(BlobKind, BlobId), usize>,
    /// Whether a directory or a piece of a file cannot be had.
    lacks: bool,
    /// How bad it is that no index lists a blob: as long as an index could not be read, that one may.
    unlisted: Severity,
    report: CheckReport,
}

impl<'r, S: State> Structure<'r, S> {
    pub(super) fn load(
        repository: &'r Repository<S>,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<Self, RepositoryError> {
        let mut structure = Self {
            repository,
            index: Index::default(),
            listed: BTreeMap::new(),
            snapshots: Vec::new(),
            findings: Vec::new(),
            bad: HashMap::new(),
            lacks: false,
            unlisted: Severity::Error,
            report: CheckReport::default(),
        };
        // This order is the one in which nothing can seem lost that is only new.
        structure.load_snapshots(cancel)?;
        structure.load_indexes(events, cancel)?;
        structure.check_packs(cancel)?;
        Ok(structure)
    }

    fn load_snapshots(&mut self, cancel: &Cancel) -> Result<(), RepositoryError> {
        let files = self.repository.store().list::<SnapshotId>()?;
        self.report.snapshots = files.len() as u64;
        for file in files {
            cancel.check()?;
            match self.repository.read_apart(&file.id, Snapshot::parse) {
                Ok(snapshot) => self.snapshots.push((file.id, snapshot)),
                Err(error) => self.add_error(&file.id, &error),
            }
        }
        self.snapshots.sort_by_key(|(id, snapshot)| Reverse((snapshot.time, *id)));
        Ok(())
    }

    fn load_indexes(
        &mut self,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<(), RepositoryError> {
        let files = self.repository.store().list::<IndexId>()?;
        let total =
            Work { items: files.len() as u64, bytes: files.iter().map(|file| file.size).sum() };
        events.emit(Event::Started { stage: Stage::Index, total: Some(total) });
        let reading = ReadingIndexes { files: &files, events, cancel, seen: Mutex::default() };
        self.index = self.repository.load_index_apart(&files, &reading)?;
        events.emit(Event::Finished { stage: Stage::Index });
        let seen = reading.seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (id, error) in seen.failures {
            self.unlisted = self.unlisted.min(severity_of(&error));
            self.add_error(&id, &error);
        }
        for (file, pack) in seen.contradictions {
            let problem = format!("it lists pack {} otherwise than another index", pack.to_hex());
            let finding = Finding::new(Severity::Error, file.object(), problem)
                .mended_by(Remedy::DamagedIndex);
            self.findings.push(finding);
        }
        Ok(())
    }

    fn check_packs(&mut self, cancel: &Cancel) -> Result<(), RepositoryError> {
        let files = self.repository.store().list::<PackId>()?;
        self.listed = files.into_iter().map(|file| (file.id, file.size)).collect();
        self.report.packs = self.listed.len() as u64;
        let index = std::mem::take(&mut self.index);
        index.for_each_pack(|pack| {
            self.check_pack(&pack);
            Ok::<_, RepositoryError>(())
        })?;
        let orphans: Vec<PackId> =
            self.listed.keys().filter(|id| !index.has_pack(id)).copied().collect();
        self.index = index;
        let doomed = if orphans.is_empty() { HashSet::new() } else { self.doomed(cancel)? };
        for id in orphans.iter().filter(|id| !doomed.contains(id)) {
            let finding = Finding::new(Severity::Hint, id.object(), "no index lists it")
                .mended_by(Remedy::Orphan);
            self.findings.push(finding);
        }
        Ok(())
    }

    fn check_pack(&mut self, pack: &IndexedPack) {
        let IndexedPack { id, blobs } = pack;
        let Some(size) = self.listed.get(id) else {
            self.report.damaged_packs.insert(*id);
            let number = self.findings.len();
            let finding = Finding::new(Severity::Error, id.object(), "it is missing");
            self.findings.push(finding.mended_by(Remedy::LostPack));
            self.bad.extend(blobs.iter().map(|blob| ((blob.kind, blob.id), number)));
            return;
        };
        let problems = check_layout(blobs, *size);
        if !problems.is_empty() {
            self.report.damaged_packs.insert(*id);
            // Which of its blobs are lost is known only after it was read.
            let finding = Finding::new(Severity::Error, id.object(), summary(&problems));
            self.findings.push(finding.mended_by(Remedy::DamagedPack(*id)));
        }
        let kinds: HashSet<BlobKind> = blobs.iter().map(|blob| blob.kind).collect();
        if kinds.len() > 1 {
            let problem = "it holds both data and trees, which slows reading down";
            self.findings.push(Finding::new(Severity::Hint, id.object(), problem));
        }
    }

    /// Returns the packs that rustic marked to be deleted: neither used nor orphans.
    fn doomed(&self, cancel: &Cancel) -> Result<HashSet<PackId>, RepositoryError> {
        let mut doomed = HashSet::new();
        for file in self.repository.store().list::<IndexId>()? {
            cancel.check()?;
            // What is wrong with one that cannot be read was told before.
            if let Ok(index) = self.repository.read_apart(&file.id, IndexFile::parse) {
                doomed.extend(index.packs_to_delete.iter().map(|pack| pack.id));
            }
        }
        Ok(doomed)
    }

    /// Reads packs back, a bounded number of blobs at a time; `read` gets them.
    pub(super) fn read_data(
        &self,
        chosen: &HashSet<PackId>,
        events: &dyn EventSink,
        read: impl Fn(&[PackToRead]) -> Result<Vec<ReadPack>, Cancelled>,
    ) -> Result<Vec<ReadPack>, RepositoryError> {
        let bytes = chosen.iter().filter_map(|id| self.listed.get(id)).sum();
        let total = Work { items: chosen.len() as u64, bytes };
        events.emit(Event::Started { stage: Stage::Data, total: Some(total) });
        let (mut waiting, mut blobs, mut packs) = (Vec::new(), 0, Vec::new());
        self.index.for_each_pack(|pack| {
            if let Some(size) = self.listed.get(&pack.id).filter(|_| chosen.contains(&pack.id)) {
                blobs += pack.blobs.len();
                waiting.push(PackToRead { id: pack.id, size: *size, blobs: pack.blobs });
            }
            if blobs >= BLOBS_AT_ONCE {
                packs.extend(read(&waiting)?);
                (waiting, blobs) = (Vec::new(), 0);
            }
            Ok::<_, RepositoryError>(())
        })?;
        packs.extend(read(&waiting)?);
        events.emit(Event::Finished { stage: Stage::Data });
        Ok(packs)
    }

    /// Returns the packs that are to be read back.
    pub(super) fn packs_to_read(
        &self,
        data: &ReadData,
        cancel: &Cancel,
    ) -> Result<HashSet<PackId>, RepositoryError> {
        let packs = || -> Result<Vec<PackId>, RepositoryError> {
            let mut packs = self.index.packs()?;
            packs.retain(|id| self.listed.contains_key(id));
            Ok(packs)
        };
        Ok(match data {
            ReadData::None => HashSet::new(),
            ReadData::All => packs()?.into_iter().collect(),
            ReadData::Part(part) => packs()?.into_iter().filter(|id| part.contains(id)).collect(),
            ReadData::Share(share) => share.choose(packs()?.iter()),
            ReadData::Snapshots(ids) => {
                let mut needed = self.packs_of(ids, cancel)?;
                needed.retain(|id| self.listed.contains_key(id));
                needed
            }
        })
    }

    fn packs_of(
        &self,
        ids: &[SnapshotId],
        cancel: &Cancel,
    ) -> Result<HashSet<PackId>, RepositoryError> {
        let mut packs = HashSet::new();
        let roots = self.snapshots.iter().filter(|(id, _)| ids.contains(id));
        let roots = roots.map(|(id, snapshot)| (*id, snapshot.tree));
        let needs = Needs { index: &self.index };
        walk_trees(self.repository, &self.index, roots, &needs, cancel, |visit, needed| {
            packs.extend(self.index.get(BlobKind::Tree, &visit.tree).map(|at| at.pack));
            // What cannot be read is found when the structure is checked.
            packs.extend(needed.unwrap_or_default());
        })?;
        Ok(packs)
    }

    /// Adds what reading the data showed.
    pub(super) fn add_packs(&mut self, packs: Vec<ReadPack>) -> Result<(), RepositoryError> {
        let mut gone = HashMap::new();
        let replaced = self.replaced(&packs);
        for pack in packs {
            let finding = |severity, problem| Finding::new(severity, pack.id.object(), problem);
            let number = self.findings.len();
            match pack.result {
                Ok(verdict) => {
                    self.report.packs_read += 1;
                    self.report.bytes_read += pack.size;
                    if verdict.problems.is_empty() {
                        continue;
                    }
                    self.report.damaged_packs.insert(pack.id);
                    let mut problem = summary(&verdict.problems);
                    let mut severity = Severity::Error;
                    if replaced.contains(&pack.id) {
                        severity = Severity::Hint;
                        problem += "; what cannot be had from it was read whole from other packs";
                    }
                    self.findings
                        .push(finding(severity, problem).mended_by(Remedy::DamagedPack(pack.id)));
                    self.bad.extend(verdict.bad_blobs.into_iter().map(|blob| (blob, number)));
                }
                Err(TierError::NotFound { .. }) => {
                    self.report.damaged_packs.insert(pack.id);
                    let problem = "it was listed and is missing now".to_owned();
                    self.findings
                        .push(finding(Severity::Error, problem).mended_by(Remedy::LostPack));
                    gone.insert(pack.id, number);
                }
                Err(TierError::Cold { .. }) => {
                    self.report.packs_unread += 1;
                    self.report.packs_cold += 1;
                    self.report.bytes_cold += pack.size;
                }
                Err(error) => {
                    self.report.packs_unread += 1;
                    let problem = format!("could not be read: {}", explain(&error));
                    self.findings.push(finding(Severity::Unverified, problem));
                }
            }
        }
        self.add_cold();
        self.lose(&gone)
    }

    /// Returns the packs that are damaged and cost nothing: each blob that cannot be had from them was read whole from another
    /// one just now.
    fn replaced(&self, packs: &[ReadPack]) -> HashSet<PackId> {
        let read = packs.iter().filter_map(|pack| Some((pack.id, pack.result.as_ref().ok()?)));
        let bad: HashMap<PackId, HashSet<(BlobKind, BlobId)>> =
            read.map(|(id, verdict)| (id, verdict.bad_blobs.iter().copied().collect())).collect();
        let is_whole = |blob: &(BlobKind, BlobId)| {
            let mut places = self.index.locations(blob.0, &blob.1);
            places.any(|place| bad.get(&place.pack).is_some_and(|bad| !bad.contains(blob)))
        };
        let damaged = bad.iter().filter(|(_, blobs)| !blobs.is_empty());
        let replaced = damaged.filter(|(_, blobs)| blobs.iter().all(is_whole));
        replaced.map(|(id, _)| *id).collect()
    }

    /// Says once for all of them how much cannot be read without waiting for it.
    fn add_cold(&mut self) {
        let CheckReport { packs_cold, bytes_cold, .. } = self.report;
        if packs_cold > 0 {
            let bytes = ByteSize(bytes_cold);
            let problem = format!(
                "{packs_cold} packs with {bytes} are in cold storage and were not read, so nothing is known of what they hold"
            );
            self.findings.push(Finding::new(Severity::Unverified, "data", problem));
        }
    }

    /// Notes that nothing can be had of packs that are gone, each with its finding.
    fn lose(&mut self, gone: &HashMap<PackId, usize>) -> Result<(), RepositoryError> {
        if gone.is_empty() {
            return Ok(());
        }
        let bad = &mut self.bad;
        self.index.for_each_pack(|pack| {
            if let Some(number) = gone.get(&pack.id) {
                bad.extend(pack.blobs.iter().map(|blob| ((blob.kind, blob.id), *number)));
            }
            Ok(())
        })
    }

    /// Looks at every directory of every snapshot.
    pub(super) fn check_trees(
        &self,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<SeenTrees, RepositoryError> {
        let (index, unlisted, bad) = (&self.index, self.unlisted, self.lost_blobs());
        let ground = Ground { index, bad: &bad, unlisted };
        let roots = self.snapshots.iter().map(|(id, snapshot)| (*id, snapshot.tree));
        trees::check_trees(self.repository, &ground, roots, events, cancel)
    }

    /// Adds what the directories showed.
    pub(super) fn add_trees(&mut self, seen: SeenTrees) {
        self.report.trees += seen.trees;
        self.lacks |= seen.lacks_directory || !seen.unindexed.is_empty();
        for (number, costs) in seen.costs {
            costs.add_to(&mut self.findings[number]);
        }
        self.findings.extend(seen.findings);
        self.report.damaged_packs.extend(seen.damaged_packs);
        // One for all of it, since a lost index file takes thousands of blobs with it.
        if let Some(first) = seen.unindexed.iter().min() {
            let (count, first) = (seen.unindexed.len(), first.to_hex());
            let problem =
                format!("files need {count} data blobs that no index lists, among them {first}");
            let mut finding =
                Finding::new(self.unlisted, "index", problem).mended_by(Remedy::Unlisted);
            seen.unindexed_costs.add_to(&mut finding);
            self.findings.push(finding);
        }
    }

    /// Returns the blobs that cannot be had: one that lies in several packs is lost only if it cannot be
    /// had from any.
    fn lost_blobs(&self) -> HashMap<(BlobKind, BlobId), usize> {
        let mut lost = self.bad.clone();
        lost.retain(|(kind, id), finding| {
            let bad_pack = &self.findings[*finding].object;
            !self.index.locations(*kind, id).any(|location| {
                self.listed.contains_key(&location.pack)
                    && location.pack.object().to_string() != *bad_pack
            })
        });
        lost
    }

    fn add_error<I: FileId>(&mut self, id: &I, error: &RepositoryError) {
        let mut finding = Finding::new(severity_of(error), id.object(), explain_cause(error));
        match error {
            RepositoryError::Corrupt(_) => finding.remedy = Remedy::of(id.object()),
            error => finding.hint = error.hint().map(|hint| hint.to_string()),
        }
        self.findings.push(finding);
    }

    /// Whoever follows the hints one by one shall not give up, or remove, what only has to be listed again.
    fn list_first(&mut self) {
        let is_there = |remedy| self.findings.iter().any(|f| f.remedy == Some(remedy));
        if !(self.lacks && is_there(Remedy::Orphan)) {
            return;
        }
        for remedy in self.findings.iter_mut().filter_map(|finding| finding.remedy.as_mut()) {
            if !matches!(remedy, Remedy::DamagedIndex | Remedy::DamagedSnapshot(_)) {
                *remedy = Remedy::ListFirst;
            }
        }
    }

    /// Ends the check.
    pub(super) fn into_report(mut self) -> CheckReport {
        self.list_first();
        let address = self.repository.address();
        for finding in &mut self.findings {
            let hint = finding.remedy.map(|remedy| remedy.hint(address));
            finding.hint = hint.or_else(|| finding.hint.take());
        }
        self.report.findings = self.findings;
        self.report
            .findings
            .sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.object.cmp(&b.object)));
        self.report
    }
}

/// The packs that files need.
struct Needs<'i> {
    index: &'i Index,
}

impl Judge for Needs<'_> {
    type Verdict = HashSet<PackId>;

    fn look_at(&self, _visit: &Visit, node: &Node, needed: &mut HashSet<PackId>) {
        if let NodeKind::File { content, .. } = &node.kind {
            let places = content.iter().filter_map(|id| self.index.get(BlobKind::Data, id));
            needed.extend(places.map(|place| place.pack));
        }
    }
}

/// What is learnt while index files are read.
struct ReadingIndexes<'a> {
    files: &'a [ListedFile<IndexId>],
    events: &'a dyn EventSink,
    cancel: &'a Cancel,
    seen: Mutex<SeenIndexes>,
}

#[derive(Default)]
struct SeenIndexes {
    packs: HashMap<PackId, [u8; 32]>,
    failures: Vec<(IndexId, RepositoryError)>,
    contradictions: Vec<(IndexId, PackId)>,
}

impl Inspector for ReadingIndexes<'_> {
    fn was_read(
        &self,
        file: &IndexId,
        packs: &[PackDigest],
        read: Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        self.cancel.check()?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = read {
            seen.failures.push((*file, error));
        }
        for PackDigest { pack, blobs } in packs {
            if seen.packs.entry(*pack).or_insert(*blobs) != blobs {
                seen.contradictions.push((*file, *pack));
            }
        }
        drop(seen);
        let known = self.files.iter().find(|known| known.id == *file);
        let work = Work { items: 1, bytes: known.map_or(0, |known| known.size) };
        self.events.emit(Event::Advanced { stage: Stage::Index, work });
        Ok(())
    }
}

/// Tells damage from what could not be looked at.
pub(super) fn severity_of(error: &RepositoryError) -> Severity {
    if error.kind() == ErrorKind::Corrupt { Severity::Error } else { Severity::Unverified }
}

/// Says what is the matter; the object stands in the finding already.
pub(super) fn explain_cause(error: &RepositoryError) -> String {
    match error {
        RepositoryError::Corrupt(corruption) => explain(&corruption.defect),
        other => format!("could not be read: {}", explain(other)),
    }
}

fn summary(problems: &[String]) -> String {
    let mut text = problems.iter().take(PROBLEMS_MAX).cloned().collect::<Vec<_>>().join("; ");
    if problems.len() > PROBLEMS_MAX {
        let _ = write!(text, "; and {} more", problems.len() - PROBLEMS_MAX);
    }
    text
}
