//! What a line alters is noticed, and read once more.

use std::fs;
use std::sync::Arc;

use lifeboat_model::Classify as _;
use lifeboat_model::{Cancel, ErrorKind, Exit, Outcome, Silent};
use lifeboat_repository::check::{CheckOptions, ReadData, check};
use lifeboat_repository::restore::{RestoreOptions, restore};
use lifeboat_repository::{BlobKind, Indexed, Repository};
use lifeboat_tiers::fault::{Fault, Operation, Rule, Target};
use lifeboat_tiers::{FaultTier, MemoryTier};

use crate::support::{file, index, init, open, save_pack, save_snapshot, save_tree};

/// In the first blob of a pack, and in every other file.
const ALTERED_BYTE: u64 = 5;

fn tier() -> Arc<FaultTier> {
    let tier = Arc::new(FaultTier::new(Arc::new(MemoryTier::new())));
    let repository = init(tier.clone(), None);
    save_pack(&repository, BlobKind::Data, &[b"content of a"]);
    let root = save_tree(&repository, &[file("a", &[b"content of a"])]);
    save_snapshot(&repository, root);
    tier
}

/// Alters what the `nth` read from now on gives; all, if there is no number.
fn alter(tier: &FaultTier, nth: Option<u64>) {
    tier.heal();
    let altered = Rule::new(Target::Only(Operation::Get), Fault::Flip { offset: ALTERED_BYTE });
    // Key files are read before anything is open.
    let altered = altered.except("keys".parse().unwrap());
    tier.add(match nth {
        Some(nth) => altered.nth(nth),
        None => altered,
    });
}

fn reads(tier: &FaultTier) -> usize {
    tier.asked().iter().filter(|asked| asked.operation == Operation::Get).count()
}

/// Does `work` with each of its reads altered in turn; returns how many there were.
fn with_each_read_altered(tier: &Arc<FaultTier>, work: impl Fn(&Repository<Indexed>)) -> usize {
    let all = index(open(tier.clone()));
    let before = reads(tier);
    work(&all);
    let count = reads(tier) - before;
    for nth in 1..=count {
        let repository = index(open(tier.clone()));
        alter(tier, Some(nth as u64));
        let before = reads(tier);
        work(&repository);
        assert_eq!(
            reads(tier) - before,
            count + 1,
            "read {nth} of {count} was repeated, and only it"
        );
        tier.heal();
    }
    count
}

#[test]
fn what_a_line_alters_is_read_once_more() {
    let tier = tier();
    let reads = with_each_read_altered(&tier, |repository| {
        let options = CheckOptions { data: ReadData::All };
        let report = check(repository, &options, &Silent, &Cancel::new()).unwrap();
        assert_eq!(report.outcome(), Outcome::Passed, "{:?}", report.findings);
    });
    assert!(reads >= 4, "index files, a snapshot, packs: {reads}");
    let reads = with_each_read_altered(&tier, |repository| {
        let folder = tempfile::tempdir().unwrap();
        let (_, snapshot) = repository.snapshots().unwrap().remove(0);
        let options = RestoreOptions::new(folder.path());
        let report = restore(repository, &snapshot, &options, &Silent, &Cancel::new()).unwrap();
        assert_eq!(report.exit(), Exit::Done, "{report:?}");
        assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"content of a");
    });
    assert!(reads >= 3, "a snapshot, a directory, a blob: {reads}");
}

#[test]
fn a_config_that_a_line_alters_is_read_once_more() {
    let tier = tier();
    alter(&tier, Some(1));
    let repository = open(tier.clone());
    tier.heal();
    assert_eq!(repository.config().id, open(tier).config().id);
}

#[test]
fn what_comes_altered_twice_is_damaged_and_named() {
    let tier = tier();
    let repository = index(open(tier.clone()));
    alter(&tier, None);
    let error = repository.snapshots().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let id = repository.snapshot_ids().unwrap()[0];
    assert!(error.to_string().contains(&id.to_hex()), "{error}");
    tier.heal();
    assert_eq!(repository.snapshots().unwrap().len(), 1);
}
