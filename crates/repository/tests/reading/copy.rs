//! Copies: packs as they are under one key, sealed anew under two, and never half a snapshot.

use std::sync::Arc;

use lifeboat_model::{Cancel, Classify, Outcome, PackId, Secret, Silent, SnapshotId};
use lifeboat_repository::check::{CheckOptions, ReadData, check};
use lifeboat_repository::copy::{Copier, CopyReport, copy_snapshot};
use lifeboat_repository::key::{KdfParameters, KeyOrigin};
use lifeboat_repository::{BlobKind, Indexed, InitOptions, Repository, RepositoryError};
use lifeboat_testing::restic::Restic;
use lifeboat_testing::tree::{Aspect, Sample, capture};
use lifeboat_tiers::fault::{Moment, Rule};
use lifeboat_tiers::{FaultTier, LocalTier, MemoryTier};

use crate::support::{
    PASSWORD, ResticRepository, directory, file, index, init, memory, open, restore_all, save_pack,
    save_snapshot, save_tree, store,
};

fn copy(
    from: &Repository<Indexed>,
    to: &Repository<Indexed>,
    id: &SnapshotId,
) -> Result<CopyReport, RepositoryError> {
    copy_snapshot(from, to, id, &Silent, &Cancel::new())
}

fn assert_sound(repository: &Repository<Indexed>) {
    let options = CheckOptions { data: ReadData::All };
    let report = check(repository, &options, &Silent, &Cancel::new()).unwrap();
    assert_eq!(report.outcome(), Outcome::Passed, "{:?}", report.findings);
}

fn packs(repository: &Repository<Indexed>) -> Vec<PackId> {
    repository.store().list().unwrap().into_iter().map(|file| file.id).collect()
}

/// A repository with one snapshot of two files, and one pack that the snapshot does not need.
fn source() -> (Repository<Indexed>, SnapshotId, PackId) {
    let repository = memory();
    save_pack(&repository, BlobKind::Data, &[b"content of a", b"content of b"]);
    let unneeded = save_pack(&repository, BlobKind::Data, &[b"of nobody"]).id;
    let inner = save_tree(&repository, &[file("b", &[b"content of b"])]);
    let nodes = [file("a", &[b"content of a"]), directory("d", inner)];
    let root = save_tree(&repository, &nodes);
    let id = save_snapshot(&repository, root);
    (repository, id, unneeded)
}

#[test]
fn packs_are_copied_as_they_are_and_only_those_needed() {
    let (from, id, unneeded) = source();
    let to = init(Arc::new(MemoryTier::new()), Some(from.key().clone()));
    let report = copy(&from, &to, &id).unwrap();
    assert_eq!((report.snapshot, report.was_there, report.packs), (id, false, 3));
    let expected: Vec<_> = packs(&from).into_iter().filter(|pack| *pack != unneeded).collect();
    assert_eq!(packs(&to), expected);
    assert_sound(&to);

    let again = copy(&from, &to, &id).unwrap();
    assert_eq!((again.was_there, again.packs), (true, 0));

    // A second snapshot costs only its own tree.
    let root = save_tree(&from, &[file("only", &[b"content of a"])]);
    let second = save_snapshot(&from, root);
    assert_eq!(copy(&from, &to, &second).unwrap().packs, 1);
    assert_sound(&to);
}

#[test]
fn under_another_key_blobs_are_sealed_anew_and_the_origin_is_kept() {
    let (from, id, _) = source();
    let to = memory();
    let report = copy(&from, &to, &id).unwrap();
    assert_ne!(report.snapshot, id);
    assert_eq!(to.snapshot(&report.snapshot).unwrap().original, Some(id));
    assert_eq!(report.packs, 2, "one of data, one of trees");
    assert_sound(&to);
    let again = copy(&from, &to, &id).unwrap();
    assert_eq!((again.was_there, again.snapshot), (true, report.snapshot));
}

#[test]
fn a_copy_that_fails_at_any_write_shows_no_snapshot_and_the_next_goes_on() {
    let (from, id, _) = source();
    for moment in [Moment::Before, Moment::After] {
        for nth in 1..=5 {
            let inner = Arc::new(MemoryTier::new());
            drop(init(inner.clone(), Some(from.key().clone())));
            let faulty = Arc::new(FaultTier::new(inner.clone()));
            let to = index(open(faulty.clone()));
            faulty.add(Rule::kill_at_write(nth, moment));
            copy(&from, &to, &id).unwrap_err();

            let to = index(open(inner));
            assert_sound(&to);
            let seen = to.snapshot_ids().unwrap();
            // Only the last write makes it visible, and may have happened though it seemed to fail.
            assert_eq!(!seen.is_empty(), nth == 5 && moment == Moment::After, "write {nth}");
            copy(&from, &to, &id).unwrap();
            assert_sound(&to);
            let target = tempfile::tempdir().unwrap();
            let snapshot = to.snapshot(&id).unwrap();
            assert!(restore_all(&to, &snapshot, target.path()).is_complete());
        }
    }
}

#[test]
fn a_damaged_source_is_an_error_that_names_it_and_leaves_nothing_visible() {
    let (from, id, _) = source();
    let to = init(Arc::new(MemoryTier::new()), Some(from.key().clone()));
    let lost = lifeboat_repository::blob::blob_id(b"content of b");
    let pack = from.locate(BlobKind::Data, &lost).unwrap().pack;
    let mut bytes = from.store().get(&pack).unwrap().to_vec();
    let at = from.locate(BlobKind::Data, &lost).unwrap().offset as usize + 20;
    bytes[at] ^= 1;
    from.store().put(&pack, bytes.into()).unwrap();
    let error = copy(&from, &to, &id).unwrap_err();
    assert!(error.to_string().contains(&pack.to_hex()), "{error}");
    assert_eq!(error.kind(), lifeboat_model::ErrorKind::Corrupt);
    assert_eq!(to.snapshot_ids().unwrap(), []);
    assert_sound(&to);
}

#[test]
fn snapshots_behind_a_damaged_one_are_copied() {
    for key in [true, false] {
        let (from, broken, _) = source();
        let whole = save_tree(&from, &[file("a", &[b"content of a"])]);
        let whole = save_snapshot(&from, whole);
        let lost = lifeboat_repository::blob::blob_id(b"content of b");
        let place = from.locate(BlobKind::Data, &lost).unwrap();
        let mut bytes = from.store().get(&place.pack).unwrap().to_vec();
        bytes[place.offset as usize + 20] ^= 1;
        from.store().put(&place.pack, bytes.into()).unwrap();
        let to = init(Arc::new(MemoryTier::new()), key.then(|| from.key().clone()));
        let (mut whole_ones, mut failed) = (Vec::new(), Vec::new());
        let cancel = Cancel::new();
        let mut copier = Copier::new(&from, &to, &Silent, &cancel);
        let tell = |id, report: Result<CopyReport, _>| match report {
            Ok(report) => whole_ones.push((id, report.snapshot)),
            Err(_) => failed.push(id),
        };
        copier.copy_all([broken, whole, broken], tell).unwrap();
        assert_eq!(failed, [broken, broken]);
        assert_eq!(whole_ones.len(), 1);
        assert_eq!(
            to.snapshot_ids().unwrap(),
            [whole_ones[0].1],
            "nothing of a broken one is seen"
        );
        assert_sound(&to);
    }
}

#[test]
fn of_a_pack_that_is_there_in_part_only_the_rest_is_copied() {
    let (from, id, _) = source();
    let to = init(Arc::new(MemoryTier::new()), Some(from.key().clone()));
    save_pack(&to, BlobKind::Data, &[b"content of a"]);
    copy(&from, &to, &id).unwrap();
    let index = to.index();
    for content in [&b"content of a"[..], b"content of b"] {
        let blob = lifeboat_repository::blob::blob_id(content);
        assert_eq!(index.locations(BlobKind::Data, &blob).count(), 1);
    }
    drop(index);
    assert_sound(&to);
}

#[test]
fn a_snapshot_that_is_damaged_there_is_copied_again() {
    let (from, id, _) = source();
    let to = init(Arc::new(MemoryTier::new()), Some(from.key().clone()));
    copy(&from, &to, &id).unwrap();
    let bytes = to.store().get(&id).unwrap();
    to.store().put(&id, bytes.slice(..bytes.len() / 2)).unwrap();
    assert!(!copy(&from, &to, &id).unwrap().was_there);
    assert_sound(&to);
}

#[test]
fn damage_that_the_snapshot_does_not_need_is_not_copied() {
    let from = memory();
    let pack = save_pack(&from, BlobKind::Data, &[b"needed", b"of nobody"]);
    let root = save_tree(&from, &[file("a", &[b"needed"])]);
    let id = save_snapshot(&from, root);
    let mut bytes = pack.bytes.to_vec();
    bytes[pack.blobs[1].offset as usize + 20] ^= 1;
    from.store().put(&pack.id, bytes.into()).unwrap();
    let to = init(Arc::new(MemoryTier::new()), Some(from.key().clone()));
    copy(&from, &to, &id).unwrap();
    assert!(!packs(&to).contains(&pack.id));
    assert_sound(&to);
}

#[test]
fn stock_restic_accepts_and_restores_a_copy() {
    let restic = ResticRepository::of(&Sample::everything(31));
    let from = restic.indexed();
    let (id, _) = from.find_snapshot("latest").unwrap();
    let path = restic.path("copy");
    let tier = Arc::new(LocalTier::create(&path).unwrap());
    let options = InitOptions {
        password: &Secret::new(PASSWORD),
        kdf: KdfParameters::RECOVERY_KEY,
        master_key: Some(from.key().clone()),
        polynomial: None,
        origin: KeyOrigin {
            created: lifeboat_model::Timestamp::UNIX_EPOCH,
            username: "tester".to_owned(),
            hostname: "test".to_owned(),
        },
    };
    let to = index(Repository::init(store(tier), &options).unwrap());
    copy(&from, &to, &id).unwrap();

    let judge = Restic::new(&path, PASSWORD);
    judge.check_read_data().unwrap();
    let target = restic.path("target");
    judge.restore(&id.to_hex(), &target).unwrap();
    let before = capture(&restic.source).unwrap();
    let after = capture(target.join(restic.source.strip_prefix("/").unwrap())).unwrap();
    assert_eq!(before.differences(&after, &[Aspect::Holes]), []);
}
