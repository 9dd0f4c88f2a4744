//! Repositories that get the packs of a backup while it runs: what they lack in the end is copied, and
//! nothing that they were sent is sent again.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::{
    ByteSize, Cancel, Outcome, Secret, Silent, SnapshotId, SystemClock, Timestamp,
};
use lifeboat_repository::backup::{BackupOptions, Destinations, backup_on_condition};
use lifeboat_repository::check::{CheckOptions, ReadData, check};
use lifeboat_repository::copy::{CopyReport, copy_snapshot};
use lifeboat_repository::follower::{Follower, Sent};
use lifeboat_repository::key::{KdfParameters, KeyOrigin};
use lifeboat_repository::{Indexed, InitOptions, OpenOptions, Repository};
use lifeboat_tiers::fault::{Fault, FaultTier, Moment, Operation, Rule, Target};
use lifeboat_tiers::{CountingTier, MemoryTier, ObjectPrefix, Tier};

use crate::site::{PASSWORD, Site, assert_stored_once, files, noise};

/// A repository with the master key of a site's, on a tier that is far away.
struct Far<'s> {
    site: &'s Site,
    tier: Arc<MemoryTier>,
}

impl<'s> Far<'s> {
    fn new(site: &'s Site) -> Self {
        let far = Self { site, tier: Arc::new(MemoryTier::new()) };
        let leader = site.repository();
        let options = InitOptions {
            password: &Secret::new(PASSWORD),
            kdf: KdfParameters::new(1 << 10, 8, 1).unwrap(),
            master_key: Some(leader.key().clone()),
            polynomial: Some(leader.config().chunker_polynomial),
            origin: KeyOrigin {
                created: Timestamp::UNIX_EPOCH,
                username: String::new(),
                hostname: String::new(),
            },
        };
        let tier: Arc<dyn Tier> = far.tier.clone();
        Repository::init(site.store_at(tier, ObjectPrefix::ALL), &options).unwrap();
        far
    }

    fn open_on(&self, tier: Arc<dyn Tier>) -> Repository<Indexed> {
        let store = self.site.store_at(tier, ObjectPrefix::ALL);
        let (password, options) = (Secret::new(PASSWORD), OpenOptions::default());
        let repository = Repository::open(store, &password, &options).unwrap();
        repository.load_index(&Cancel::new(), &Silent).unwrap()
    }

    /// Opens it so that what is asked for from now on is counted.
    fn counted(&self) -> (Repository<Indexed>, Arc<CountingTier>) {
        let counted = Arc::new(CountingTier::new(self.tier.clone()));
        (self.open_on(counted.clone()), counted)
    }

    fn assert_holds(&self, snapshot: SnapshotId) {
        let repository = self.open_on(self.tier.clone());
        assert_eq!(repository.snapshot_ids().unwrap(), [snapshot]);
        let options = CheckOptions { data: ReadData::All };
        let report = check(&repository, &options, &Silent, &Cancel::new()).unwrap();
        assert_eq!(report.outcome(), Outcome::Passed, "{:?}", report.findings);
        assert_stored_once(&repository);
    }
}

/// Backs the source directory up onto the site's repository, followed by another; then lets a copy bring
/// what that one lacks.
fn back_up(
    site: &Site,
    follower: &Follower<'_>,
) -> (SnapshotId, Result<(), String>, Result<CopyReport, String>) {
    let (leader, cancel) = (site.repository(), Cancel::new());
    std::thread::scope(|scope| {
        for _ in 0..follower.senders() {
            scope.spawn(|| follower.store_all());
        }
        let to = Destinations { leader: &leader, followers: &[follower] };
        let sources = vec![files(&[&site.source()])];
        let options = BackupOptions { pack_size: ByteSize(4 << 20), ..BackupOptions::new("site") };
        let mut at_once = |_: &_| Ok(());
        let made = backup_on_condition(
            to,
            sources,
            &options,
            &mut at_once,
            &Silent,
            &cancel,
            &SystemClock,
        );
        let snapshot = made.unwrap().snapshot;
        let settled = follower.settle().map_err(|error| error.to_string());
        let copied = copy_snapshot(&leader, follower.repository(), &snapshot, &Silent, &cancel);
        follower.end();
        (snapshot, settled, copied.map_err(|error| error.to_string()))
    })
}

fn fill(site: &Site, mebibytes: usize) {
    std::fs::create_dir_all(site.source()).unwrap();
    for number in 0..mebibytes {
        let bytes = noise(1 << 20, u32::try_from(number * 2 + 1).unwrap());
        let mut file = std::fs::File::create(site.source().join(number.to_string())).unwrap();
        file.write_all(&bytes).unwrap();
    }
}

#[test]
fn what_a_follower_was_sent_is_neither_copied_nor_looked_for() {
    let site = Site::new();
    let far = Far::new(&site);
    fill(&site, 40);
    let (repository, counted) = far.counted();
    let before = counted.traffic();
    let cancel = Cancel::new();
    let follower = Follower::new(&repository, &cancel);
    let (snapshot, settled, copied) = back_up(&site, &follower);
    settled.unwrap();
    let Sent { packs, passed_over, .. } = follower.sent();
    assert!(packs > 10 && passed_over == 0, "{:?}", follower.sent());
    assert_eq!(copied.unwrap().packs, 0);
    let asked = counted.traffic().since(before);
    // Every pack, an index file and the snapshot.
    assert_eq!(asked.puts, packs + 2);
    // A pack, an index file and the snapshot are read back; sizes are told by one listing.
    assert_eq!((asked.gets, asked.heads), (3, 0), "{asked:?}");
    assert_eq!(asked.lists, 2, "of the packs, and of the snapshots: {asked:?}");
    far.assert_holds(snapshot);
}

#[test]
fn what_a_follower_has_no_room_for_is_copied() {
    let site = Site::new();
    let far = Far::new(&site);
    fill(&site, 24);
    let slow = FaultTier::new(far.tier.clone())
        .with(Rule::new(Target::Only(Operation::Put), Fault::Slow(Duration::from_millis(30))));
    let repository = far.open_on(Arc::new(slow));
    let cancel = Cancel::new();
    let follower = Follower::with_room(&repository, &cancel, ByteSize(1));
    let (snapshot, settled, copied) = back_up(&site, &follower);
    settled.unwrap();
    let Sent { packs, passed_over, .. } = follower.sent();
    assert!(packs > 0 && passed_over > 0, "{:?}", follower.sent());
    assert_eq!(copied.unwrap().packs, passed_over);
    far.assert_holds(snapshot);
}

#[test]
fn a_follower_that_stumbles_keeps_nobody_and_is_completed_by_the_copy() {
    let site = Site::new();
    let far = Far::new(&site);
    fill(&site, 24);
    let stumbles = FaultTier::new(far.tier.clone())
        .with(Rule::new(Target::Only(Operation::Put), Fault::Fail(Moment::Before)).nth(2));
    let repository = far.open_on(Arc::new(stumbles));
    let cancel = Cancel::new();
    let follower = Follower::new(&repository, &cancel);
    let (snapshot, settled, copied) = back_up(&site, &follower);
    assert!(settled.unwrap_err().contains("put"));
    assert!(copied.unwrap().packs >= follower.sent().passed_over);
    far.assert_holds(snapshot);
}

#[test]
fn a_follower_that_is_dead_costs_the_leader_nothing() {
    let site = Site::new();
    let far = Far::new(&site);
    fill(&site, 12);
    let dead = Arc::new(FaultTier::new(far.tier.clone()));
    let repository = far.open_on(dead.clone());
    dead.add(Rule::new(Target::Any, Fault::Fail(Moment::Before)));
    let cancel = Cancel::new();
    let follower = Follower::new(&repository, &cancel);
    let (snapshot, settled, copied) = back_up(&site, &follower);
    assert!(settled.is_err() && copied.is_err());
    assert_eq!(follower.sent().packs, 0);
    assert_eq!(site.repository().snapshot_ids().unwrap(), [snapshot]);
    site.check();
    // Once it is back, a copy brings all of it.
    dead.heal();
    copy_snapshot(&site.repository(), &far.open_on(dead), &snapshot, &Silent, &cancel).unwrap();
    far.assert_holds(snapshot);
}

#[test]
fn a_pack_that_was_altered_on_the_way_is_not_listed() {
    let site = Site::new();
    let far = Far::new(&site);
    fill(&site, 2);
    // What comes altered once is read once more.
    let flip = |nth| {
        let rule = Rule::new(Target::Only(Operation::Get), Fault::Flip { offset: 100 });
        rule.below(data()).nth(nth)
    };
    let alters = FaultTier::new(far.tier.clone()).with(flip(1)).with(flip(2));
    let repository = far.open_on(Arc::new(alters));
    let cancel = Cancel::new();
    let follower = Follower::new(&repository, &cancel);
    let (snapshot, settled, copied) = back_up(&site, &follower);
    assert!(settled.unwrap_err().contains("is damaged"));
    // What was stored is adopted after it was read as a whole.
    assert_eq!(copied.unwrap().packs, 0);
    far.assert_holds(snapshot);
}

fn data() -> ObjectPrefix {
    "data".parse().unwrap()
}
