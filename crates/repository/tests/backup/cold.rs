//! Packs in cold storage: nothing but content lies there, a restore asks for what it reads and no more, a prune
//! leaves it, and a check does not call it verified.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::{Cancel, Outcome, PackId, Silent, SimClock, Timestamp};
use lifeboat_repository::check::{CheckOptions, ReadData, check};
use lifeboat_repository::cold::{PackWarmth, thaw, warmth_of};
use lifeboat_repository::restore::{
    Existing, RestoreOptions, Selection, Verify, packs_needed, preview, restore,
};
use lifeboat_repository::{Indexed, Repository, Snapshot};
use lifeboat_tiers::{ColdTier, durable};

use crate::retention::{assert_sound, exclusive, forget, prune_under, thorough};
use crate::site::{Site, files, noise, restored, run};

const WITHIN: Duration = Duration::from_hours(5);

/// A site whose packs of data lie cold, each of two files in one of its own.
struct Cold {
    site: Site,
    clock: Arc<SimClock>,
    tier: Arc<ColdTier>,
}

impl Cold {
    fn new() -> Self {
        let site = Site::new();
        let clock = Arc::new(SimClock::new(Timestamp::UNIX_EPOCH));
        let tier = ColdTier::new(site.tier(), Arc::<SimClock>::clone(&clock), WITHIN);
        let cold = Self { site, clock, tier: Arc::new(tier) };
        cold.write("a", 1);
        cold.back_up();
        cold.write("b", 2);
        cold
    }

    fn write(&self, name: &str, seed: u32) {
        let folder = self.site.source().join("folder");
        fs::create_dir_all(&folder).unwrap();
        put(&folder.join(name), &noise(300 << 10, seed));
    }

    fn repository(&self) -> Repository<Indexed> {
        self.site.repository_on(Arc::<ColdTier>::clone(&self.tier))
    }

    fn back_up(&self) -> Snapshot {
        let report = run(&self.repository(), vec![files(&[&self.site.source()])]).unwrap();
        self.repository().snapshot(&report.snapshot).unwrap()
    }

    fn warmth(&self, packs: &BTreeSet<PackId>) -> PackWarmth {
        warmth_of(self.repository().store(), packs, &Cancel::new()).unwrap()
    }
}

fn put(path: &Path, bytes: &[u8]) {
    durable::replace(path, bytes, 0o644).unwrap();
}

fn needed(cold: &Cold, snapshot: &Snapshot, options: &RestoreOptions) -> BTreeSet<PackId> {
    packs_needed(&cold.repository(), snapshot, options, &Cancel::new()).unwrap()
}

#[test]
fn content_alone_lies_cold_and_a_restore_asks_for_what_it_reads() {
    let cold = Cold::new();
    let snapshot = cold.back_up();
    let repository = cold.repository();
    let packs = repository.store().list::<PackId>().unwrap();
    let stored_cold = cold.tier.stored_cold();
    assert!(stored_cold.iter().all(|path| path.as_str().starts_with("repo/data/")));
    assert!(stored_cold.len() == 2 && packs.len() >= 4, "{packs:?}");

    let all = RestoreOptions::new(cold.site.path("all"));
    let one = RestoreOptions {
        selection: Selection::new(&["/**/a"], &[]).unwrap(),
        verify: Verify::Content,
        ..RestoreOptions::new(cold.site.path("one"))
    };
    let of_all = needed(&cold, &snapshot, &all);
    let of_one = needed(&cold, &snapshot, &one);
    assert_eq!((of_all.len(), of_one.len()), (2, 1));
    assert!(of_one.is_subset(&of_all));
    let foreseen = preview(&repository, &snapshot, &one, &Cancel::new()).unwrap();
    assert_eq!((foreseen.files, foreseen.failed.len()), (1, 0));
    assert_eq!(cold.tier.refused(), [], "to plan nothing is read that lies cold");

    let before = cold.warmth(&of_one);
    assert_eq!((before.ready.count, before.thawing.len(), before.cold.len()), (0, 0, 1));
    let size = packs.iter().find(|pack| of_one.contains(&pack.id)).unwrap().size;
    assert_eq!(before.cold.values().sum::<u64>(), size);
    let (asked, outcome) = thaw(repository.store(), before.cold.into_keys(), &Cancel::new());
    outcome.unwrap();
    let pack = of_one.first().unwrap();
    assert_eq!((asked, cold.tier.thaws()), (1, vec![repository.store().path(pack)]));
    assert_eq!(cold.warmth(&of_one).thawing.len(), 1);
    cold.clock.advance(WITHIN);
    assert!(cold.warmth(&of_one).is_ready() && !cold.warmth(&of_all).is_ready());
    let report = restore(&repository, &snapshot, &one, &Silent, &Cancel::new()).unwrap();
    assert!(report.is_complete() && report.verified == Some(1), "{report:?}");
    assert_eq!(cold.tier.refused(), []);

    // What is there already need not be asked for.
    let again = RestoreOptions { existing: Existing::Always, ..RestoreOptions::new("/") };
    assert_eq!(needed(&cold, &snapshot, &again), BTreeSet::new());
    let source = restored(Path::new("/"), &cold.site.source());
    put(&source.join("folder/b"), b"spoilt");
    let mended = needed(&cold, &snapshot, &again);
    assert_eq!(mended, &of_all - &of_one);
}

#[test]
fn a_prune_leaves_what_lies_cold_unless_nothing_of_it_is_used() {
    let cold = Cold::new();
    let first = cold.repository().snapshot_ids().unwrap()[0];
    let large = cold.site.source().join("folder/b");
    put(&large, &noise(10 << 20, 3));
    let second = cold.back_up();
    // Its first piece is no longer than 8 MiB and stays, its last one ends where nothing is any more.
    fs::File::options().write(true).open(&large).unwrap().set_len(9 << 20).unwrap();
    fs::remove_file(cold.site.source().join("folder/a")).unwrap();
    cold.back_up();
    let ids = cold.repository().snapshots().unwrap();
    let second = ids.iter().find(|(_, snapshot)| *snapshot == second).unwrap().0;
    forget(&cold.repository(), &[first, second]);
    let repository = cold.repository();
    let report = prune_under(&exclusive(&repository), &repository, thorough()).unwrap();
    assert_eq!((report.packs.cold.count, report.packs.cold.bytes > 9 << 20), (1, true));
    assert!(report.packs.removed.bytes > 300 << 10, "{report:?}");
    assert!(report.unused_after_bytes > 0, "{report:?}");
    assert_eq!(cold.tier.stored_cold().len(), 2, "that of `a` went");
    assert_eq!(cold.tier.thaws(), []);
    assert_sound(&cold.site);
}

#[test]
fn what_lies_cold_could_not_be_verified() {
    let cold = Cold::new();
    cold.back_up();
    let options = CheckOptions { data: ReadData::All };
    let checked = || check(&cold.repository(), &options, &Silent, &Cancel::new()).unwrap();
    let report = checked();
    assert_eq!(report.outcome(), Outcome::CouldNotVerify);
    assert_eq!((report.packs_cold, report.packs_unread), (2, 2));
    assert!(report.bytes_cold > 600 << 10 && report.packs_read > 0, "{report:?}");
    assert_eq!(report.findings.len(), 1, "one for all of it: {:?}", report.findings);
    assert!(report.findings[0].problem.contains("2 packs with 60"), "{:?}", report.findings);
    let repository = cold.repository();
    let packs = repository.index().packs().unwrap();
    thaw(repository.store(), packs, &Cancel::new()).1.unwrap();
    cold.clock.advance(WITHIN);
    assert_eq!(checked().outcome(), Outcome::Passed);
}
