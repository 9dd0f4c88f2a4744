//! Removes what no snapshot refers to, and packs anew what is worth it.
//!
//! [`plan`] looks at everything and decides; [`PrunePlan::price`] is the price, [`PrunePlan::perform`]
//! the work. What is decided is what restic decides, by the same options.
//!
//! Blobs are packed anew as they are sealed. Each is opened all the same and held against its id: a
//! blob that rotted on the tier is found while its old pack is still there, and is taken from another
//! place if there is one. That takes about half of the time of a repack, and a third of what
//! compressing and sealing it again, as restic does, would take.
//!
//! # Invariants
//!
//! - Nothing is removed before everything that a snapshot refers to is known to be indexed, in packs
//!   that are there and have the size that they should have; nor before each blob that moves is
//!   durable in its new place.
//! - Nothing is removed once the lock may have been lost.
//! - Packs that rustic marked as `packs_to_delete` stay, and stay marked.
//! - A pack in cold storage is removed if nothing of it is used, and else stays as it is.
//! - Data and directories lie in packs of their own.
//!
//! # Crash consistency
//!
//! In this order: new packs, with index files that list them; packs that no index lists are removed;
//! new index files; old index files are removed; old packs are removed. An interruption leaves blobs
//! stored twice, packs listed twice, or packs that no index lists. All of that is whole for every
//! reader, and the next run removes it.
//!
//! # Limits
//!
//! It holds a byte for each blob, 48 for each that moves, and about 200 for each pack.
//! [`WORKERS_MAX`] threads hold one range of a pack each.
//!
//! Sources: restic `doc/060_forget.rst`, `doc/design.rst`; restic `internal/repository/prune.go`.

mod decide;
mod perform;
mod price;
mod report;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::str::FromStr;

use lifeboat_model::{ByteSize, Cancel, Event, EventSink, IndexId, PackId, SnapshotId, Stage};

use crate::backup::PACK_SIZE;
use crate::error::RepositoryError;
use crate::index::{CountedPack, Index};
use crate::references::References;
use crate::reindex::Reindex;
pub use crate::reindex::SmallIndexFiles;
use crate::repository::{Indexed, Repository};

pub use report::{Amount, PacksReport, PruneReport, TrafficReport};

use decide::{Decision, Layout, Refusal};

/// How many threads pack anew and remove, at most: beyond that a local disk only seeks.
const WORKERS_MAX: usize = 8;

/// How much that nobody needs may stay, because removing it is not worth the work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxUnused {
    /// So many bytes.
    Bytes(u64),
    /// This share of the repository, in per cent.
    Percent(f64),
    /// Whatever lies in packs that are partly used.
    Unlimited,
}

impl Default for MaxUnused {
    fn default() -> Self {
        Self::Percent(5.0)
    }
}

impl MaxUnused {
    /// Returns how many bytes may stay beside this many that are used.
    fn bytes(self, used: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                clippy::cast_sign_loss,
                reason = "a limit need not be exact, and it is positive"
            )]
            Self::Percent(percent) => (percent / (100.0 - percent) * used as f64) as u64,
            Self::Unlimited => u64::MAX,
        }
    }
}

/// A text is no limit of what may stay unused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is neither a size like `500MiB`, nor a share below 100% like `5%`, nor `unlimited`"
)]
pub struct ParseMaxUnusedError {
    text: String,
}

impl FromStr for MaxUnused {
    type Err = ParseMaxUnusedError;

    fn from_str(text: &str) -> Result<Self, ParseMaxUnusedError> {
        let wrong = || ParseMaxUnusedError { text: text.to_owned() };
        let word = text.trim();
        if word == "unlimited" {
            return Ok(Self::Unlimited);
        }
        match word.strip_suffix('%') {
            Some(number) => {
                let percent: f64 = number.parse().map_err(|_| wrong())?;
                if (0.0..100.0).contains(&percent) {
                    Ok(Self::Percent(percent))
                } else {
                    Err(wrong())
                }
            }
            None => parse_size(word).map(Self::Bytes).ok_or_else(wrong),
        }
    }
}

/// Reads a size as lifeboat writes it, `500MiB`, or as restic does, `500M`.
pub fn parse_size(text: &str) -> Option<u64> {
    if let Ok(ByteSize(bytes)) = text.parse() {
        return Some(bytes);
    }
    let (number, shift) = match text.as_bytes().last()?.to_ascii_lowercase() {
        b'k' => (&text[..text.len() - 1], 10),
        b'm' => (&text[..text.len() - 1], 20),
        b'g' => (&text[..text.len() - 1], 30),
        b't' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

impl fmt::Display for MaxUnused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => ByteSize(*bytes).fmt(f),
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Unlimited => f.write_str("unlimited"),
        }
    }
}

/// Which packs may be packed anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Repack {
    /// All.
    #[default]
    All,
    /// Only those that hold directories, which local caches keep.
    CacheableOnly,
}

/// Which packs count as small, so that they are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SmallPacks {
    /// Those that are small beside nearly all others.
    #[default]
    Outliers,
    /// All below four fifths of the size that packs are filled to.
    All,
}

/// Whether data that is stored uncompressed is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Uncompressed {
    /// It stays as it is.
    #[default]
    Keep,
    /// It is compressed.
    Compress,
}

/// What is pruned.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// How much that nobody needs may stay.
    pub max_unused: MaxUnused,
    /// How many bytes of packs are packed anew at most; without a limit if absent.
    pub max_repack: Option<u64>,
    /// Which packs may be packed anew.
    pub repack: Repack,
    /// Which packs count as small.
    pub small: SmallPacks,
    /// Whether data that is stored uncompressed is compressed.
    pub uncompressed: Uncompressed,
    /// The size that packs of data are filled to.
    pub pack_size: ByteSize,
    /// Snapshots that do not count, as if they had been removed already.
    pub without: BTreeSet<SnapshotId>,
    /// What the store lets nobody remove yet.
    pub locked: Locked,
    /// What becomes of small index files.
    pub small_index_files: SmallIndexFiles,
    /// Damaged packs that the caller had the index leave out: if nothing of them is needed, since all lies elsewhere too, they
    /// go, and else nothing is decided. Of two places of a blob nothing tells which is damaged.
    pub superseded: BTreeSet<PackId>,
}

/// Files that cannot be removed yet, since the store locks them: they stay as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Locked {
    /// Packs.
    pub packs: BTreeSet<PackId>,
    /// Index files; what they list stays too, since nothing may list what is not there.
    pub index_files: BTreeSet<IndexId>,
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self {
            max_unused: MaxUnused::default(),
            max_repack: None,
            repack: Repack::default(),
            small: SmallPacks::default(),
            uncompressed: Uncompressed::default(),
            pack_size: PACK_SIZE,
            without: BTreeSet::new(),
            locked: Locked::default(),
            small_index_files: SmallIndexFiles::default(),
            superseded: BTreeSet::new(),
        }
    }
}

impl PruneOptions {
    /// Returns what becomes of the index when packs are gone.
    fn reindex(&self, gone: BTreeSet<PackId>) -> Reindex {
        let (pinned, small) = (self.locked.index_files.clone(), self.small_index_files);
        Reindex { gone, pinned, small, ..Reindex::default() }
    }
}

/// What a prune is going to do.
#[derive(Debug)]
pub struct PrunePlan<'r> {
    repository: &'r Repository<Indexed>,
    options: PruneOptions,
    decision: Decision,
}

impl PrunePlan<'_> {
    /// Returns what it is going to do; [`PrunePlan::price`] says what that costs.
    pub const fn report(&self) -> &PruneReport {
        &self.decision.report
    }

    /// Returns the packs that are going to be removed.
    pub fn doomed(&self) -> impl Iterator<Item = PackId> + '_ {
        self.decision.removed.iter().chain(&self.decision.orphans).copied()
    }
}

/// Finds out what can go.
///
/// The caller holds an exclusive lock since before the index was loaded, and until the plan was
/// performed; a plan that is only looked at needs none.
pub fn plan<'r>(
    repository: &'r Repository<Indexed>,
    mut options: PruneOptions,
    events: &dyn EventSink,
    cancel: &Cancel,
) -> Result<PrunePlan<'r>, RepositoryError> {
    for id in &options.locked.index_files {
        cancel.check()?;
        let packs = repository.index_file(id)?.packs;
        options.locked.packs.extend(packs.iter().map(|pack| pack.id));
    }
    events.emit(Event::Started { stage: Stage::Structure, total: None });
    let mut roots = Vec::new();
    for id in repository.snapshot_ids()? {
        if !options.without.contains(&id) {
            roots.push(repository.snapshot(&id)?.tree);
        }
    }
    let index = repository.index();
    let mut used = References::new(&index);
    used.add(repository, &index, roots.into_iter(), &|_, _| (), events, cancel)?;
    events.emit(Event::Finished { stage: Stage::Structure });
    let files = repository.store().list::<PackId>()?;
    let listed: HashMap<PackId, u64> = files.into_iter().map(|file| (file.id, file.size)).collect();
    let indexed: HashSet<PackId> = index.packs()?.into_iter().collect();
    let marked = marked(repository, &indexed, &listed)?;
    let ground = decide::Ground { listed: &listed, marked: &marked };
    let mut decision =
        decide::decide(&*index, &mut used, &ground, &options).map_err(|error| match error {
            Refusal::Damage(damage) => repository.corrupt(damage.object, damage.defect),
            Refusal::Unreadable(error) => error,
        })?;
    drop(index);
    decision.missing.extend(&options.superseded);
    Ok(PrunePlan { repository, options, decision })
}

/// Returns the packs that rustic marked. Index files are read only if there is a pack that none lists.
fn marked(
    repository: &Repository<Indexed>,
    indexed: &HashSet<PackId>,
    listed: &HashMap<PackId, u64>,
) -> Result<HashSet<PackId>, RepositoryError> {
    let mut marked = HashSet::new();
    if listed.keys().all(|id| indexed.contains(id)) {
        return Ok(marked);
    }
    for file in repository.store().list::<IndexId>()? {
        let file = repository.index_file(&file.id)?;
        marked.extend(file.packs_to_delete.iter().map(|pack| pack.id));
    }
    Ok(marked)
}

impl Layout for Index {
    fn for_each_pack(&self, visit: &mut dyn FnMut(CountedPack)) -> Result<(), RepositoryError> {
        self.for_each_counted_pack(visit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_restic_reads_them() {
        for (text, limit) in [
            ("5%", MaxUnused::Percent(5.0)),
            ("0", MaxUnused::Bytes(0)),
            ("200M", MaxUnused::Bytes(200 << 20)),
            ("1MiB", MaxUnused::Bytes(1 << 20)),
            (" unlimited", MaxUnused::Unlimited),
        ] {
            assert_eq!(text.parse::<MaxUnused>().unwrap(), limit, "{text}");
        }
        for wrong in ["", "100%", "-1%", "NaN%", "x", "5 %%", "99999999999T", "é"] {
            assert!(wrong.parse::<MaxUnused>().is_err(), "{wrong}");
        }
        assert_eq!(MaxUnused::Percent(5.0).bytes(95), 5);
        assert_eq!(MaxUnused::Unlimited.bytes(1), u64::MAX);
    }
}
