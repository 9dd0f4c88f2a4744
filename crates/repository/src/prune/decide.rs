//! The decision: which packs stay, go, or are packed anew. Pure.
//!
//! The rules are restic's: a pack of which nothing is used goes; one that is partly used, mixed or
//! small is a candidate; candidates are packed anew, the worst first, until no more than the
//! tolerated share is unused.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};

use lifeboat_model::{BlobId, PackId};

use super::report::{Amount, PruneReport};
use super::{PruneOptions, Repack, SmallPacks, Uncompressed};
use crate::blob::BlobKind;
use crate::error::{Defect, RepositoryError, StoredObject};
use crate::index::CountedPack;
use crate::pack::{PackedBlob, pack_size};
use crate::packing::TREE_PACK_SIZE;
use crate::references::{BlobTable, References};
use crate::store::FileId;

/// Packs below this size count as small whatever the others are; restic's smallest size of a pack.
const PACK_SIZE_MIN: u64 = 4 << 20;

/// Fewer small packs are not worth putting together.
const SMALL_PACKS_MIN: usize = 10;

/// How often a blob is stored; more often counts as this often.
const COPIES_MAX: u8 = 200;

/// A blob that is stored more than once and of which only the last place is left to count as used.
const LAST_COPY: u8 = BlobTable::NOTE_MAX;

/// A blob whose place stays.
const SETTLED: u8 = 0;

/// A blob that has one place which counts as used.
const ONE: u8 = 1;

/// What the index lists.
pub(super) trait Layout {
    /// Shows every pack.
    fn for_each_pack(&self, visit: &mut dyn FnMut(CountedPack)) -> Result<(), RepositoryError>;
}

/// What is known of the files on the tier.
#[derive(Debug)]
pub(super) struct Ground<'a> {
    /// The packs that are there, and their sizes.
    pub listed: &'a HashMap<PackId, u64>,
    /// The packs that rustic marked to be deleted.
    pub marked: &'a HashSet<PackId>,
}

/// What is wrong with something that is needed.
#[derive(Debug)]
pub(super) struct Defects {
    pub object: StoredObject,
    pub defect: Defect,
}

/// Why nothing can be decided.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Something that is needed is damaged.
    Damage(Box<Defects>),
    /// The index could not be looked through.
    Unreadable(RepositoryError),
}

impl From<RepositoryError> for Refusal {
    fn from(error: RepositoryError) -> Self {
        Self::Unreadable(error)
    }
}

fn damage(object: StoredObject, defect: Defect) -> Refusal {
    Refusal::Damage(Box::new(Defects { object, defect }))
}

/// A pack of which some blobs move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moving {
    pub pack: PackId,
    /// The size of the pack.
    pub size: u64,
    /// How many bytes of its blobs do not move.
    pub left: u64,
    /// The blobs, in the order of their offsets.
    pub blobs: Vec<PackedBlob>,
}

/// What is done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Decision {
    /// What moves out of packs that are removed then.
    pub moving: Vec<Moving>,
    /// The packs that are removed, also those of which blobs move.
    pub removed: BTreeSet<PackId>,
    /// The packs that no index lists.
    pub orphans: Vec<PackId>,
    /// The packs that are listed, not there and not needed.
    pub missing: BTreeSet<PackId>,
    pub report: PruneReport,
}

/// What the blobs of a pack amount to.
#[derive(Debug, Clone)]
struct Pack {
    id: PackId,
    /// The size that it should have.
    size: u64,
    used: Amount,
    unused: Amount,
    duplicates: u64,
    content: Content,
    sealed: Sealed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Data,
    Trees,
    Mixed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sealed {
    Compressed,
    /// At least one blob is as it was.
    Plain,
}

impl Pack {
    /// What is stored besides blobs counts as used with them, as restic counts.
    fn used_bytes(&self) -> u64 {
        self.size - self.unused.bytes
    }

    fn must_be_compressed(&self, options: &PruneOptions) -> bool {
        self.sealed == Sealed::Plain
            && (self.content == Content::Trees || options.uncompressed == Uncompressed::Compress)
    }
}

/// Decides what is done; `used` is spent.
pub(super) fn decide(
    layout: &impl Layout,
    used: &mut References,
    ground: &Ground<'_>,
    options: &PruneOptions,
) -> Result<Decision, Refusal> {
    let layout = &Present { layout, listed: ground.listed };
    let copies = count_copies(layout, used)?;
    let mut report = PruneReport::default();
    let mut packs = sum_up(layout, used, &mut report)?;
    if copies == Copies::Several {
        choose_copies(layout, used, &mut packs, &mut report)?;
    }
    let mut decision = Decision { report, ..Decision::default() };
    let mut candidates = Vec::new();
    let small = small_size(&packs, options);
    sort_packs(packs, ground, options, small, &mut decision, &mut candidates)?;
    layout.for_each_missing(&mut |pack| {
        decision.missing.insert(pack.id);
    })?;
    decision.report.packs.missing = decision.missing.len() as u64;
    let mut repacked = choose_repacked(candidates, options, small, &mut decision.report);
    repacked.sort_unstable();
    collect_moving(layout, used, &repacked, &mut decision)?;
    decision.removed.extend(repacked);
    Ok(decision)
}

/// The packs of a layout that are there.
struct Present<'a, L> {
    layout: &'a L,
    listed: &'a HashMap<PackId, u64>,
}

impl<L: Layout> Present<'_, L> {
    fn for_each_pack(&self, visit: &mut dyn FnMut(CountedPack)) -> Result<(), RepositoryError> {
        self.layout.for_each_pack(&mut |pack| {
            if self.listed.contains_key(&pack.id) {
                visit(pack);
            }
        })
    }

    fn for_each_missing(&self, visit: &mut dyn FnMut(CountedPack)) -> Result<(), RepositoryError> {
        self.layout.for_each_pack(&mut |pack| {
            if !self.listed.contains_key(&pack.id) {
                visit(pack);
            }
        })
    }

    /// Refuses if a blob that is used is not listed, or has a note that it must not have.
    fn make_sure(&self, used: &mut References, wrong: impl Fn(u8) -> bool) -> Result<(), Refusal> {
        for kind in [BlobKind::Tree, BlobKind::Data] {
            let table = used.table(kind);
            let mut lacking = table.first_unlisted();
            if table.any(&wrong) {
                self.layout.for_each_pack(&mut |pack| {
                    let is_wrong = |ordinal| table.note(ordinal).is_some_and(&wrong);
                    let blobs = pack.blobs.iter().filter(|(blob, _)| blob.kind == kind);
                    let ids = blobs.filter(|(_, ordinal)| is_wrong(*ordinal)).map(|(b, _)| b.id);
                    lacking = lacking.into_iter().chain(ids).min();
                })?;
                // It must not go on, whatever was found.
                lacking = lacking.or(Some(BlobId::from_bytes([0; 32])));
            }
            if let Some(id) = lacking {
                return Err(self.lack_of(kind, id));
            }
        }
        Ok(())
    }

    /// Says why a blob that is used cannot be had.
    fn lack_of(&self, kind: BlobKind, id: BlobId) -> Refusal {
        let mut refusal = damage(StoredObject::Blob { kind, id, at: None }, Defect::NotIndexed);
        let looked = self.for_each_missing(&mut |pack| {
            if pack.blobs.iter().any(|(blob, _)| (blob.kind, blob.id) == (kind, id)) {
                refusal = damage(pack.id.object(), Defect::Missing);
            }
        });
        looked.map_or_else(Refusal::Unreadable, |()| refusal)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copies {
    One,
    Several,
}

/// Counts how often each used blob is stored; refuses if one is not.
fn count_copies(
    layout: &Present<'_, impl Layout>,
    used: &mut References,
) -> Result<Copies, Refusal> {
    let mut copies = Copies::One;
    layout.for_each_pack(&mut |pack| {
        for (blob, ordinal) in &pack.blobs {
            let table = used.table(blob.kind);
            if let Some(count) = table.note(*ordinal) {
                table.set_note(*ordinal, (count + 1).min(COPIES_MAX));
                if count > 0 {
                    copies = Copies::Several;
                }
            }
        }
    })?;
    layout.make_sure(used, |count| count == 0)?;
    Ok(copies)
}

/// Adds up what each pack holds. Blobs that are stored several times count as unused at first.
fn sum_up(
    layout: &Present<'_, impl Layout>,
    used: &mut References,
    report: &mut PruneReport,
) -> Result<HashMap<PackId, Pack>, Refusal> {
    let mut packs = HashMap::new();
    layout.for_each_pack(&mut |indexed| {
        // A pack of which nothing counts is not needed.
        let kind = indexed.blobs.first().map_or(BlobKind::Data, |(blob, _)| blob.kind);
        let mut pack = Pack {
            id: indexed.id,
            size: pack_size(indexed.blobs.iter().map(|(blob, _)| blob)),
            used: Amount::default(),
            unused: Amount::default(),
            duplicates: 0,
            content: content(kind),
            sealed: Sealed::Compressed,
        };
        for (blob, ordinal) in &indexed.blobs {
            let length = blob.length.into();
            if content(blob.kind) != pack.content {
                pack.content = Content::Mixed;
            }
            if blob.uncompressed_length.is_none() {
                pack.sealed = Sealed::Plain;
            }
            match used.table(blob.kind).note(*ordinal) {
                None => {
                    pack.unused.add(length);
                    report.unused.add(length);
                }
                Some(ONE) => {
                    pack.used.add(length);
                    report.used.add(length);
                }
                Some(_) => {
                    pack.unused.add(length);
                    pack.duplicates += 1;
                    report.duplicate.add(length);
                }
            }
        }
        packs.insert(indexed.id, pack);
    })?;
    Ok(packs)
}

const fn content(kind: BlobKind) -> Content {
    match kind {
        BlobKind::Data => Content::Data,
        BlobKind::Tree => Content::Trees,
    }
}

/// Lets one place of each blob that is stored several times count as used: one in a pack that is
/// used anyway, or that holds nothing but such blobs, since an interrupted run made it.
fn choose_copies(
    layout: &Present<'_, impl Layout>,
    used: &mut References,
    packs: &mut HashMap<PackId, Pack>,
    report: &mut PruneReport,
) -> Result<(), Refusal> {
    layout.for_each_pack(&mut |indexed| {
        let Some(pack) = packs.get_mut(&indexed.id) else { return };
        for (blob, ordinal) in &indexed.blobs {
            let table = used.table(blob.kind);
            let Some(count) = table.note(*ordinal).filter(|count| *count != ONE) else { continue };
            let suits = pack.used.count > 0 || pack.duplicates == pack.unused.count;
            if suits || count == LAST_COPY {
                let length = u64::from(blob.length);
                pack.used.add(length);
                pack.unused.count -= 1;
                pack.unused.bytes -= length;
                report.used.add(length);
                report.duplicate.count -= 1;
                report.duplicate.bytes -= length;
                table.set_note(*ordinal, ONE);
            } else {
                // Of a blob whose count was cut off, a later place than the last one is left over.
                table.set_note(*ordinal, if count == 2 { LAST_COPY } else { count - 1 });
            }
        }
    })?;
    Ok(())
}

/// Returns below which size a pack counts as small.
fn small_size(packs: &HashMap<PackId, Pack>, options: &PruneOptions) -> u64 {
    if options.small == SmallPacks::All {
        return options.pack_size.0 / 5 * 4;
    }
    let mut sizes: Vec<u64> = packs.values().map(|pack| pack.size).collect();
    sizes.sort_unstable();
    let third_percentile = sizes.get(sizes.len() * 3 / 100).copied().unwrap_or_default();
    third_percentile.max(PACK_SIZE_MIN) / 5 * 4
}

/// Returns below which size a pack counts as small, given what it holds: one of directories is
/// full at a size at which one of data is small.
fn small_for(content: Content, small: u64) -> u64 {
    match content {
        Content::Trees => small.min(TREE_PACK_SIZE as u64 / 5 * 4),
        Content::Data | Content::Mixed => small,
    }
}

/// Sorts packs into those that go, stay, or may be packed anew.
fn sort_packs(
    mut packs: HashMap<PackId, Pack>,
    ground: &Ground<'_>,
    options: &PruneOptions,
    small: u64,
    decision: &mut Decision,
    candidates: &mut Vec<Pack>,
) -> Result<(), Refusal> {
    let mut small_ones = Vec::new();
    let mut listed: Vec<_> = ground.listed.iter().collect();
    listed.sort_unstable();
    for (id, &size) in listed {
        let is_locked = options.locked.packs.contains(id);
        let Some(pack) = packs.remove(id) else {
            if is_locked {
                decision.report.packs.locked.add(size);
            } else if !ground.marked.contains(id) {
                decision.orphans.push(*id);
                decision.report.packs.orphans.add(size);
            }
            continue;
        };
        if is_locked && (pack.used.count == 0 || pack.size == size) {
            decision.report.unused_after_bytes += pack.unused.bytes;
            decision.report.packs.kept.add(size);
            if pack.used.count == 0 {
                decision.report.packs.locked.add(size);
            }
            continue;
        }
        if pack.used.count == 0 {
            decision.removed.insert(*id);
            decision.report.packs.removed.add(size);
            continue;
        }
        if pack.size != size {
            let defect = Defect::Length { expected: pack.size, actual: size };
            return Err(damage(id.object(), defect));
        }
        let is_whole = pack.unused.count == 0
            && pack.content != Content::Mixed
            && !pack.must_be_compressed(options);
        if options.repack == Repack::CacheableOnly && pack.content == Content::Data {
            decision.report.unused_after_bytes += pack.unused.bytes;
            decision.report.packs.kept.add(size);
        } else if !is_whole {
            candidates.push(pack);
        } else if size < small_for(pack.content, small) {
            small_ones.push(pack);
        } else {
            decision.report.packs.kept.add(size);
        }
    }
    // A few small packs are not worth it, and a single one would be packed anew forever.
    if small_ones.len() < SMALL_PACKS_MIN {
        for pack in &small_ones {
            decision.report.packs.kept.add(pack.size);
        }
    } else {
        candidates.append(&mut small_ones);
    }
    Ok(())
}

/// Chooses which candidates are packed anew.
fn choose_repacked(
    mut candidates: Vec<Pack>,
    options: &PruneOptions,
    small: u64,
    report: &mut PruneReport,
) -> Vec<PackId> {
    // The worst first: directories and mixed packs, small ones, then by the share that is unused.
    candidates.sort_by(|a, b| {
        let is_data = |pack: &Pack| pack.content == Content::Data;
        let is_small = |pack: &Pack| pack.size < small;
        let waste = |a: &Pack, b: &Pack| u128::from(a.unused.bytes) * u128::from(b.used_bytes());
        (is_data(a), Reverse(is_small(a)))
            .cmp(&(is_data(b), Reverse(is_small(b))))
            .then_with(|| waste(b, a).cmp(&waste(a, b)))
            .then_with(|| a.id.cmp(&b.id))
    });
    let limit = options.max_unused.bytes(report.used.bytes);
    // What is unused in packs that go is not in the candidates.
    let mut unused: u64 = candidates.iter().map(|pack| pack.unused.bytes).sum();
    let mut repacked = Vec::new();
    for pack in candidates {
        let reaches_limit = options
            .max_repack
            .is_some_and(|limit| report.packs.repacked.bytes + pack.size >= limit);
        let is_tolerable = pack.content == Content::Data
            && !pack.must_be_compressed(options)
            && unused < limit
            && pack.size >= small;
        if reaches_limit || is_tolerable {
            report.packs.kept.add(pack.size);
        } else {
            unused -= pack.unused.bytes;
            report.packs.repacked.add(pack.size);
            repacked.push(pack.id);
        }
    }
    report.unused_after_bytes += unused;
    repacked
}

/// Finds which blobs move: those that lie in no pack that stays, each from one place.
fn collect_moving(
    layout: &Present<'_, impl Layout>,
    used: &mut References,
    repacked: &[PackId],
    decision: &mut Decision,
) -> Result<(), Refusal> {
    layout.for_each_pack(&mut |pack| {
        if decision.removed.contains(&pack.id) || repacked.binary_search(&pack.id).is_ok() {
            return;
        }
        for (blob, ordinal) in &pack.blobs {
            let table = used.table(blob.kind);
            if table.note(*ordinal).is_some() {
                table.set_note(*ordinal, SETTLED);
            }
        }
    })?;
    layout.for_each_pack(&mut |pack| {
        if repacked.binary_search(&pack.id).is_err() {
            return;
        }
        let (mut blobs, mut left) = (Vec::new(), 0);
        for (blob, ordinal) in &pack.blobs {
            let table = used.table(blob.kind);
            if table.note(*ordinal).is_some_and(|count| count != SETTLED) {
                table.set_note(*ordinal, SETTLED);
                blobs.push(*blob);
            } else {
                left += u64::from(blob.length);
            }
        }
        let size = pack_size(pack.blobs.iter().map(|(blob, _)| blob));
        decision.moving.push(Moving { pack: pack.id, size, left, blobs });
    })?;
    decision.moving.sort_unstable_by_key(|moving| moving.pack);
    // Nothing that is used may be left out; the rules above see to it, and this makes sure.
    layout.make_sure(used, |count| count != SETTLED)
}

#[cfg(test)]
mod tests;
