//! A tier that fails or dies at every single write of a backup.

use std::fs;
use std::io;
use std::sync::Arc;

use lifeboat_model::{Cancel, Classify, ErrorKind, IndexId, PackId, Silent, SystemClock};
use lifeboat_repository::BackupOptions;
use lifeboat_repository::backup::preview;
use lifeboat_testing::tree::{self, Aspect, Sample};
use lifeboat_tiers::fault::{Fault, FaultTier, Moment, Rule, Target};

use crate::site::{Site, assert_stored_once, files, noise, restored, run};

/// Backs a tree up, changes it, and backs it up again with one fault at each of the writes; after
/// each the old snapshot restores, restic's check and ours pass and the next backup completes.
fn survives(rule: impl Fn(u64) -> Rule) {
    let site = Site::new();
    let source = site.source();
    Sample::new(41).files(30).build(&source).unwrap();
    let before = tree::capture(&source).unwrap();
    let old = site.backup();
    for nth in 1.. {
        // Something new each time, so that there is something to write.
        Sample::new(1000 + nth).files(5).build(source.join(format!("new-{nth}"))).unwrap();
        let tier = Arc::new(FaultTier::new(site.tier()));
        let repository = site.repository_on(Arc::clone(&tier) as _);
        tier.add(rule(nth));
        let known = site.repository().snapshot_ids().unwrap();
        let result = run(&repository, vec![files(&[&source])]);
        let restic = site.restic();
        restic.check_read_data().unwrap();
        site.check();
        restic.restore(&old.snapshot.to_hex(), site.path("target")).unwrap();
        let restored = restored(&site.path("target"), &source);
        let after = tree::capture(&restored).unwrap();
        assert_eq!(before.differences(&after, &[Aspect::Holes]), []);
        fs::remove_dir_all(site.path("target")).unwrap();
        match result {
            Ok(_) => {
                assert!(nth > 3, "a pack of data, one of trees, an index and a snapshot");
                return;
            }
            Err(error) => assert_ne!(error.kind(), ErrorKind::Bug, "{error}"),
        }
        let new = site.repository().snapshot_ids().unwrap();
        assert!(new.len() <= known.len() + 1);
        let report = site.backup();
        assert!(report.is_complete());
        restic.check_read_data().unwrap();
        site.check();
    }
}

#[test]
fn a_kill_before_any_write() {
    survives(|nth| Rule::kill_at_write(nth, Moment::Before));
}

#[test]
fn a_kill_after_any_write() {
    survives(|nth| Rule::kill_at_write(nth, Moment::After));
}

#[test]
fn a_failure_of_any_write() {
    survives(|nth| Rule::new(Target::Writes, Fault::Fail(Moment::Before)).nth(nth));
}

#[test]
fn a_tier_that_is_full_from_any_write_on() {
    survives(|nth| Rule::new(Target::Writes, Fault::Full).from_nth(nth));
}

#[test]
fn a_preview_after_a_kill_lists_nothing() {
    let site = Site::new();
    fs::create_dir(site.source()).unwrap();
    fs::File::create(site.source().join("a"))
        .and_then(|mut file| io::Write::write_all(&mut file, &noise(40 << 20, 1)))
        .unwrap();
    let tier = Arc::new(FaultTier::new(site.tier()));
    tier.add(Rule::kill_at_write(2, Moment::Before));
    let killed = site.repository_on(Arc::clone(&tier) as _);
    run(&killed, vec![files(&[&site.source()])]).unwrap_err();

    let repository = site.repository();
    let there = || {
        let store = repository.store();
        (store.list::<IndexId>().unwrap(), store.list::<PackId>().unwrap())
    };
    let before = there();
    let (sources, options) = (vec![files(&[&site.source()])], BackupOptions::new("site"));
    let cancel = Cancel::new();
    let told = preview(&repository, sources, &options, &Silent, &cancel, &SystemClock).unwrap();
    assert!(told.counts.packs_adopted > 0, "{:?}", told.counts);
    assert_eq!(there(), before);
}

#[test]
fn a_kill_costs_only_what_is_not_stored_yet() {
    let site = Site::new();
    fs::create_dir(site.source()).unwrap();
    // Ten packs; after the first four an index lists them, so the seventh write is a pack.
    for number in 0..10 {
        fs::File::create(site.source().join(format!("{number}")))
            .and_then(|mut file| io::Write::write_all(&mut file, &noise(16 << 20, number + 1)))
            .unwrap();
    }
    let tier = Arc::new(FaultTier::new(site.tier()));
    let repository = site.repository_on(Arc::clone(&tier) as _);
    tier.add(Rule::kill_at_write(7, Moment::Before));
    run(&repository, vec![files(&[&site.source()])]).unwrap_err();
    let report = site.backup();
    // What was on its way to the tier, or was not read yet: less than five of the ten packs.
    assert!(report.counts.bytes_stored < 80 << 20, "{:?}", report.counts);
    assert_stored_once(&site.repository());
    site.restic().check_read_data().unwrap();
}
