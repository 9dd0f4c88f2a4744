//! Decisions over repositories of any shape.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::super::MaxUnused;
use super::*;
use crate::index::IndexedPack;

type Key = (BlobKind, u8);

fn blob_id(number: u8) -> BlobId {
    BlobId::from_bytes([number; 32])
}

fn pack_id(number: usize) -> PackId {
    PackId::from_bytes([u8::try_from(number).unwrap(); 32])
}

fn key(blob: &PackedBlob) -> Key {
    (blob.kind, blob.id.as_bytes()[0])
}

/// Makes packs of blobs, each given by its kind and number; a number says how long it is, too.
fn layout(packs: &[Vec<Key>]) -> Vec<IndexedPack> {
    let pack = |(number, keys): (usize, &Vec<Key>)| {
        let mut offset = 0;
        let blobs = keys.iter().map(|(kind, number)| {
            let length = 100 + u32::from(*number) * 50_000;
            let begin = offset;
            offset += length;
            let uncompressed_length = NonZeroU32::new(length * 2);
            let id = blob_id(*number);
            PackedBlob { kind: *kind, id, offset: begin, length, uncompressed_length }
        });
        IndexedPack { id: pack_id(number), blobs: blobs.collect() }
    };
    packs.iter().enumerate().map(pack).collect()
}

/// Gives blobs their numbers as ordinals.
fn counted(packs: &[IndexedPack]) -> Counted {
    let with_ordinal = |blob: &PackedBlob| (*blob, blob.id.as_bytes()[0].into());
    let counted = |pack: &IndexedPack| CountedPack {
        id: pack.id,
        blobs: pack.blobs.iter().map(with_ordinal).collect(),
    };
    Counted(packs.iter().map(counted).collect())
}

struct Counted(Vec<CountedPack>);

impl Layout for Counted {
    fn for_each_pack(&self, visit: &mut dyn FnMut(CountedPack)) -> Result<(), RepositoryError> {
        self.0.iter().cloned().for_each(visit);
        Ok(())
    }
}

fn references(packs: &[IndexedPack], used: &BTreeSet<Key>) -> References {
    let listed: BTreeSet<Key> = packs.iter().flat_map(|pack| &pack.blobs).map(key).collect();
    let mut references = References::of(256);
    for (kind, number) in used {
        let ordinal = listed.contains(&(*kind, *number)).then_some((*number).into());
        references.table(*kind).insert(blob_id(*number), ordinal);
    }
    references
}

fn run(
    packs: &[IndexedPack],
    listed: &HashMap<PackId, u64>,
    used: &BTreeSet<Key>,
    options: &PruneOptions,
) -> Result<Decision, Refusal> {
    let marked = HashSet::new();
    let ground = Ground { listed, marked: &marked };
    decide(&counted(packs), &mut references(packs, used), &ground, options)
}

fn sizes(packs: &[IndexedPack]) -> HashMap<PackId, u64> {
    packs.iter().map(|pack| (pack.id, pack_size(&pack.blobs))).collect()
}

fn options(percent: f64) -> PruneOptions {
    PruneOptions { max_unused: MaxUnused::Percent(percent), ..PruneOptions::default() }
}

fn any_key() -> impl Strategy<Value = Key> {
    (prop_oneof![4 => Just(BlobKind::Data), 1 => Just(BlobKind::Tree)], 0..40_u8)
}

/// Packs, which of them are not there, and which of their blobs are used.
fn any_repository() -> impl Strategy<Value = (Vec<Vec<Key>>, BTreeSet<usize>, BTreeSet<Key>)> {
    let packs = vec(vec(any_key(), 1..8), 0..30);
    (packs, btree_set(0..30_usize, 0..2), btree_set(any_key(), 0..40))
}

proptest! {
    /// Whatever is locked, it stays where it is, and nothing that is needed is lost for it.
    #[test]
    fn what_is_locked_neither_goes_nor_moves(
        (packs, _, used) in any_repository(),
        locked in btree_set(0..30_usize, 0..20),
    ) {
        let packs = layout(&packs);
        let listed = sizes(&packs);
        let locked: BTreeSet<PackId> = locked.into_iter().map(pack_id).collect();
        let mut options = options(0.0);
        options.locked.packs.clone_from(&locked);
        let Ok(decision) = run(&packs, &listed, &used, &options) else { return Ok(()) };
        prop_assert!(decision.removed.is_disjoint(&locked));
        prop_assert!(decision.moving.iter().all(|moving| !locked.contains(&moving.pack)));
        let stays = packs.iter().filter(|pack| !decision.removed.contains(&pack.id));
        let mut there: BTreeSet<Key> = stays.flat_map(|pack| &pack.blobs).map(key).collect();
        there.extend(decision.moving.iter().flat_map(|moving| &moving.blobs).map(key));
        prop_assert!(used.is_subset(&there));
    }

    #[test]
    fn everything_that_is_used_stays_or_moves_once(
        (packs, gone, used) in any_repository(),
        percent in prop_oneof![Just(0.0), Just(5.0), Just(60.0)],
    ) {
        let packs = layout(&packs);
        let mut listed = sizes(&packs);
        listed.retain(|id, _| !gone.iter().any(|number| pack_id(*number) == *id));
        let there = packs.iter().filter(|pack| listed.contains_key(&pack.id));
        let there: BTreeSet<Key> = there.flat_map(|pack| &pack.blobs).map(key).collect();
        let Ok(decision) = run(&packs, &listed, &used, &options(percent)) else {
            prop_assert!(!used.is_subset(&there), "refused for no reason");
            return Ok(());
        };
        prop_assert!(used.is_subset(&there), "something that is needed is not there");
        let mut places: BTreeMap<Key, u32> = BTreeMap::new();
        let mut unused = 0;
        let goes = |pack: &&IndexedPack| {
            !listed.contains_key(&pack.id) || decision.removed.contains(&pack.id)
        };
        for blob in packs.iter().filter(|pack| !goes(pack)).flat_map(|pack| &pack.blobs) {
            if used.contains(&key(blob)) {
                *places.entry(key(blob)).or_default() += 1;
            } else {
                unused += u64::from(blob.length);
            }
        }
        for moving in &decision.moving {
            prop_assert!(decision.removed.contains(&moving.pack));
            for blob in &moving.blobs {
                prop_assert!(used.contains(&key(blob)), "what is unused does not move");
                prop_assert!(!places.contains_key(&key(blob)), "what stays does not move");
            }
            for blob in &moving.blobs {
                *places.entry(key(blob)).or_default() += 1;
            }
        }
        prop_assert!(used.iter().all(|key| places.contains_key(key)), "something was lost");
        prop_assert_eq!(decision.report.used.count, used.len() as u64);
        prop_assert!(unused <= decision.report.unused_after_bytes);
        let limit = options(percent).max_unused.bytes(decision.report.used.bytes);
        prop_assert!(decision.report.unused_after_bytes <= limit);
    }

    #[test]
    fn what_was_pruned_needs_no_pruning(used in btree_set(any_key(), 0..40), packs in vec(vec(any_key(), 1..8), 0..30)) {
        let packs = layout(&packs);
        let there: BTreeSet<Key> = packs.iter().flat_map(|pack| &pack.blobs).map(key).collect();
        let used: BTreeSet<Key> = used.intersection(&there).copied().collect();
        let decision = run(&packs, &sizes(&packs), &used, &options(0.0)).unwrap();
        let mut after: Vec<IndexedPack> = packs.clone();
        after.retain(|pack| !decision.removed.contains(&pack.id));
        // What moves is put into one pack of each kind.
        for kind in [BlobKind::Data, BlobKind::Tree] {
            let blobs = decision.moving.iter().flat_map(|moving| &moving.blobs);
            let blobs: Vec<Key> = blobs.filter(|blob| blob.kind == kind).map(key).collect();
            if !blobs.is_empty() {
                let mut made = layout(&[blobs]).remove(0);
                made.id = pack_id(100 + kind as usize);
                after.push(made);
            }
        }
        let again = run(&after, &sizes(&after), &used, &options(0.0)).unwrap();
        prop_assert_eq!(again.report.unused.count + again.report.duplicate.count, 0);
        prop_assert_eq!(again.report.used, decision.report.used);
    }
}

fn data(numbers: &[u8]) -> Vec<Key> {
    numbers.iter().map(|number| (BlobKind::Data, *number)).collect()
}

#[test]
fn an_interrupted_run_is_gone_on_with() {
    // The second pack is what the run before made of the first.
    let packs = layout(&[data(&[1, 2, 3, 4]), data(&[1, 2])]);
    let used = data(&[1, 2]).into_iter().collect();
    let decision = run(&packs, &sizes(&packs), &used, &options(0.0)).unwrap();
    assert_eq!(decision.removed, BTreeSet::from([pack_id(0)]));
    assert_eq!(decision.moving, []);
}

#[test]
fn a_pack_of_the_wrong_size_matters_only_if_it_is_needed() {
    let packs = layout(&[data(&[1]), data(&[2])]);
    let mut listed = sizes(&packs);
    *listed.get_mut(&pack_id(0)).unwrap() += 1;
    let used = |number| data(&[number]).into_iter().collect();
    let decision = run(&packs, &listed, &used(2), &options(0.0)).unwrap();
    assert_eq!(decision.removed, BTreeSet::from([pack_id(0)]));
    let Err(Refusal::Damage(defects)) = run(&packs, &listed, &used(1), &options(0.0)) else {
        panic!("a damaged pack is no ground to build on");
    };
    assert!(matches!(defects.defect, Defect::Length { .. }));
}

#[test]
fn a_blob_that_is_stored_very_often_is_kept_once() {
    let packs = layout(&vec![data(&[1, 2]); 250]);
    let used = data(&[1]).into_iter().collect();
    let decision = run(&packs, &sizes(&packs), &used, &options(0.0)).unwrap();
    assert_eq!(decision.moving.iter().map(|moving| moving.blobs.len()).sum::<usize>(), 1);
    assert_eq!(decision.removed.len(), 250);
    assert_eq!((decision.report.used.count, decision.report.duplicate.count), (1, 249));
}
