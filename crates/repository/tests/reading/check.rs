//! Every sort of damage is found, named, and told from what could not be looked at.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_model::{Cancel, IndexId, Outcome, PackId, Secret, Silent, SnapshotId};
use lifeboat_repository::check::{CheckOptions, CheckReport, ReadData, RollingShare, check};
use lifeboat_repository::store::FileId;
use lifeboat_repository::{BlobKind, Indexed, OpenOptions, Repository};
use lifeboat_testing::tree::Sample;
use lifeboat_tiers::fault::{Fault, Operation, Rule, Target};
use lifeboat_tiers::{FaultTier, MemoryTier};

use crate::support::{
    PASSWORD, ResticRepository, directory, file, init, redact, save_pack, save_snapshot, save_tree,
    store,
};

/// A repository of three files in two directories: `/a` and `/d/b` share a pack, `/d/c` has another.
struct Sound {
    repository: Repository<Indexed>,
    tier: Arc<FaultTier>,
    data: PackId,
}

fn sound() -> Sound {
    let tier = Arc::new(FaultTier::new(Arc::new(MemoryTier::new())));
    let repository = init(tier.clone(), None);
    let data = save_pack(&repository, BlobKind::Data, &[b"content of a", b"content of b"]).id;
    save_pack(&repository, BlobKind::Data, &[b"content of c"]);
    let inner = [file("b", &[b"content of b"]), file("c", &[b"content of c"])];
    let inner = save_tree(&repository, &inner);
    let root = save_tree(&repository, &[file("a", &[b"content of a"]), directory("d", inner)]);
    save_snapshot(&repository, root);
    Sound { repository, tier, data }
}

impl Sound {
    fn check(&self, data: ReadData) -> CheckReport {
        check(&self.repository, &CheckOptions { data }, &Silent, &Cancel::new()).unwrap()
    }

    fn bytes<I: FileId>(&self, id: &I) -> Vec<u8> {
        self.repository.store().get(id).unwrap().to_vec()
    }

    fn damage<I: FileId>(&self, id: &I, bytes: Vec<u8>) {
        self.repository.store().put(id, Bytes::from(bytes)).unwrap();
    }

    fn first<I: FileId>(&self) -> I {
        self.repository.store().list::<I>().unwrap()[0].id
    }
}

/// Writes findings as a person would read them.
fn shown(report: &CheckReport) -> String {
    let mut text = format!("{}\n", report.outcome());
    for finding in &report.findings {
        let severity = finding.severity;
        writeln!(text, "{severity:?}: {}: {}", finding.object, finding.problem).unwrap();
        for affected in &finding.affected {
            writeln!(text, "    costs {affected}").unwrap();
        }
        if let Some(hint) = &finding.hint {
            writeln!(text, "    hint: {hint}").unwrap();
        }
    }
    redact(&text)
}

#[test]
fn the_smallest_share_of_the_smallest_repository_is_a_pack() {
    let (now, month) = (Timestamp::UNIX_EPOCH, Duration::from_hours(30 * 24));
    let share = |percent| ReadData::Share(RollingShare::of_percent(percent, now, month));
    let sound = sound();
    assert_eq!(sound.check(share(0)).packs_read, 0);
    let report = sound.check(ReadData::Share(RollingShare::since(
        now,
        now + Duration::from_nanos(1),
        month,
    )));
    assert_eq!(report.packs_read, 1);
    assert!(sound.check(share(1)).packs_read >= 1);
    assert_eq!(sound.check(share(100)).packs_read, 4);
}

#[test]
fn a_sound_repository_passes() {
    let report = sound().check(ReadData::All);
    assert_eq!(report.findings, []);
    assert_eq!(report.outcome(), Outcome::Passed);
    assert_eq!((report.snapshots, report.trees, report.packs, report.packs_read), (1, 2, 4, 4));
}

#[test]
fn what_restic_wrote_passes() {
    let restic = ResticRepository::of(&Sample::everything(21));
    let options = CheckOptions { data: ReadData::All };
    let report = check(&restic.open(), &options, &Silent, &Cancel::new()).unwrap();
    assert_eq!(report.findings, []);
    assert!(report.packs_read > 0);
    assert_eq!(report.packs_read, report.packs);
}

#[test]
fn a_flipped_bit_is_found_by_reading_and_only_then() {
    let sound = sound();
    let mut bytes = sound.bytes(&sound.data);
    bytes[20] ^= 1;
    sound.damage(&sound.data, bytes);
    assert_eq!(sound.check(ReadData::None).findings, []);
    let report = sound.check(ReadData::All);
    assert_eq!(report.damaged_packs, BTreeSet::from([sound.data]));
    insta::assert_snapshot!(shown(&report));
}

#[test]
fn a_damaged_pack_whose_blobs_were_read_whole_elsewhere_is_a_hint() {
    let sound = sound();
    let mut bytes = sound.bytes(&sound.data);
    bytes[20] ^= 1;
    sound.damage(&sound.data, bytes);
    let again = save_pack(&sound.repository, BlobKind::Data, &[b"content of a", b"content of b"]);
    let report = sound.check(ReadData::All);
    assert_eq!(report.outcome(), Outcome::Passed, "{}", shown(&report));
    assert_eq!(report.damaged_packs, BTreeSet::from([sound.data]), "nothing builds on it");
    assert!(shown(&report).contains("read whole from other packs"), "{}", shown(&report));
    let mut bytes = sound.bytes(&again.id);
    bytes.iter_mut().take(40).for_each(|byte| *byte ^= 1);
    sound.damage(&again.id, bytes);
    assert_eq!(sound.check(ReadData::All).outcome(), Outcome::Failed);
}

#[test]
fn what_is_found_is_the_same_whether_directories_are_read_beside_the_data_or_after_it() {
    let sound = sound();
    let mut bytes = sound.bytes(&sound.data);
    bytes[3] ^= 1;
    sound.damage(&sound.data, bytes);
    let lost = lifeboat_repository::blob::blob_id(b"never stored");
    let mut unlisted = file("unlisted", &[b"content of b"]);
    if let lifeboat_repository::NodeKind::File { content, .. } = &mut unlisted.kind {
        content.push(lost);
    }
    let root = save_tree(&sound.repository, &[directory("gone", lost), unlisted]);
    save_snapshot(&sound.repository, root);
    let beside = sound.check(ReadData::All);
    let store = store(sound.tier.clone()).with_requests_max(NonZeroUsize::MIN);
    let after = Repository::open(store, &Secret::new(PASSWORD), &OpenOptions::default()).unwrap();
    let options = CheckOptions { data: ReadData::All };
    let after = check(&after, &options, &Silent, &Cancel::new()).unwrap();
    assert_eq!(beside, after);
    insta::assert_snapshot!(shown(&beside));
}

#[test]
fn a_flipped_bit_in_a_header_costs_no_file() {
    let sound = sound();
    let mut bytes = sound.bytes(&sound.data);
    let at = bytes.len() - 10;
    bytes[at] ^= 1;
    sound.damage(&sound.data, bytes);
    insta::assert_snapshot!(shown(&sound.check(ReadData::All)));
}

#[test]
fn a_truncated_pack_is_found() {
    let sound = sound();
    let mut bytes = sound.bytes(&sound.data);
    bytes.truncate(bytes.len() / 3);
    sound.damage(&sound.data, bytes);
    insta::assert_snapshot!(shown(&sound.check(ReadData::None)));
    let report = sound.check(ReadData::All);
    let affected: Vec<_> = report.findings.iter().flat_map(|f| &f.affected).collect();
    assert_eq!(affected.len(), 1, "what lies before the cut can still be had");
    assert!(affected[0].ends_with(": /d/b"), "{affected:?}");
}

#[test]
fn a_missing_pack_names_the_files_it_costs() {
    let sound = sound();
    sound.repository.store().delete(&sound.data).unwrap();
    let report = sound.check(ReadData::None);
    assert_eq!(report.damaged_packs, BTreeSet::from([sound.data]));
    insta::assert_snapshot!(shown(&report));
}

#[test]
fn a_missing_pack_whose_blobs_lie_elsewhere_costs_nothing() {
    let sound = sound();
    save_pack(&sound.repository, BlobKind::Data, &[b"content of a", b"content of b"]);
    sound.repository.store().delete(&sound.data).unwrap();
    let report = sound.check(ReadData::None);
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].affected, [] as [&str; 0]);
}

#[test]
fn a_truncated_index_is_found() {
    let sound = sound();
    let index: IndexId = sound.first();
    let mut bytes = sound.bytes(&index);
    bytes.truncate(40);
    sound.damage(&index, bytes);
    let report = sound.check(ReadData::None);
    assert_eq!(report.outcome(), Outcome::Failed);
    let finding = report.findings.iter().find(|finding| finding.object.starts_with("index "));
    insta::assert_snapshot!(redact(&format!("{:#?}", finding.unwrap())));
}

#[test]
fn missing_indexes_are_one_finding_not_one_a_blob() {
    let sound = sound();
    for file in sound.repository.store().list::<IndexId>().unwrap() {
        let index = sound.repository.index_file(&file.id).unwrap();
        if index.packs.iter().any(|pack| pack.blobs[0].kind == BlobKind::Data) {
            sound.repository.store().delete(&file.id).unwrap();
        }
    }
    insta::assert_snapshot!(shown(&sound.check(ReadData::None)));
}

#[test]
fn a_corrupt_snapshot_is_found_and_the_others_are_checked() {
    let sound = sound();
    let lost = sound.first::<SnapshotId>();
    let mut bytes = sound.bytes(&lost);
    bytes[30] ^= 1;
    sound.damage(&lost, bytes);
    let root = save_tree(&sound.repository, &[file("a", &[b"content of a"])]);
    save_snapshot(&sound.repository, root);
    let report = sound.check(ReadData::None);
    assert_eq!(report.trees, 1);
    insta::assert_snapshot!(shown(&report));
}

#[test]
fn a_missing_tree_names_its_directory() {
    let sound = sound();
    let trees = lifeboat_repository::blob::blob_id(b"never stored");
    let root = save_tree(&sound.repository, &[directory("gone", trees)]);
    save_snapshot(&sound.repository, root);
    insta::assert_snapshot!(shown(&sound.check(ReadData::None)));
}

#[test]
fn two_entries_of_one_name_and_a_wrong_size_are_found() {
    let sound = sound();
    let mut short = file("short", &[b"content of a"]);
    short.kind = match short.kind {
        lifeboat_repository::NodeKind::File { content, .. } => {
            lifeboat_repository::NodeKind::File { size: 5, content }
        }
        other => other,
    };
    let twice = file("twice", &[]);
    let root = save_tree(&sound.repository, &[short, twice.clone(), twice]);
    save_snapshot(&sound.repository, root);
    insta::assert_snapshot!(shown(&sound.check(ReadData::None)));
}

#[test]
fn an_orphan_is_a_hint() {
    let sound = sound();
    let orphan = PackId::from_bytes([9; 32]);
    sound.damage(&orphan, b"left by an interrupted backup".to_vec());
    let report = sound.check(ReadData::All);
    assert_eq!(report.outcome(), Outcome::Passed);
    insta::assert_snapshot!(shown(&report));
}

#[test]
fn what_cannot_be_read_could_not_be_verified() {
    let sound = sound();
    let below = "data".parse().unwrap();
    let rule = Rule::new(Target::Only(Operation::Get), Fault::Denied).below(below);
    sound.tier.add(rule);
    let report = sound.check(ReadData::All);
    assert_eq!(report.outcome(), Outcome::CouldNotVerify);
    assert_eq!(report.packs_read, 0);
    assert_eq!(report.findings.len(), 5, "{}", shown(&report));
}

#[test]
fn what_an_unread_index_may_list_is_not_lost() {
    let sound = sound();
    let below = "index".parse().unwrap();
    sound.tier.add(Rule::new(Target::Only(Operation::Get), Fault::Denied).below(below));
    let report = sound.check(ReadData::All);
    assert_eq!(report.outcome(), Outcome::CouldNotVerify, "{}", shown(&report));
}

#[test]
fn the_packs_of_one_snapshot_can_be_read_alone() {
    let sound = sound();
    let first = sound.first();
    save_pack(&sound.repository, BlobKind::Data, &[b"of another snapshot"]);
    let root = save_tree(&sound.repository, &[file("x", &[b"of another snapshot"])]);
    let second = save_snapshot(&sound.repository, root);
    assert_eq!(sound.check(ReadData::Snapshots(vec![first])).packs_read, 4);
    assert_eq!(sound.check(ReadData::Snapshots(vec![second])).packs_read, 2);
    assert_eq!(sound.check(ReadData::Snapshots(vec![first, second])).packs_read, 6);
}
