//! Copies into another repository, judged by stock restic.

use std::sync::Arc;

use lifeboat_model::{Cancel, PackId, Secret, Silent, Timestamp};
use lifeboat_repository::copy::{Copier, Cuts, compare_cuts};
use lifeboat_repository::key::{KdfParameters, KeyOrigin};
use lifeboat_repository::{Indexed, InitOptions, MasterKey, OpenOptions, Repository};
use lifeboat_testing::restic::Restic;
use lifeboat_testing::tree::{self, Aspect};
use lifeboat_tiers::fault::{Fault, FaultTier, Moment, Operation, Rule, Target};
use lifeboat_tiers::local::LocalTier;
use lifeboat_tiers::{ObjectPrefix, Tier, durable};

use crate::resume;
use crate::retention::{Kept, history};
use crate::site::{Site, assert_stored_once, files, noise, restored};

const PASSWORD: &str = "another password";

/// Another repository beside that of a site.
struct Other<'s> {
    site: &'s Site,
}

impl<'s> Other<'s> {
    fn new(site: &'s Site, master_key: Option<MasterKey>) -> Self {
        let other = Self { site };
        let tier = Arc::new(LocalTier::create(&site.path("other")).unwrap());
        let options = InitOptions {
            password: &Secret::new(PASSWORD),
            kdf: KdfParameters::new(1 << 10, 8, 1).unwrap(),
            master_key,
            polynomial: None,
            origin: KeyOrigin {
                created: Timestamp::UNIX_EPOCH,
                username: String::new(),
                hostname: String::new(),
            },
        };
        Repository::init(site.store_at(tier, ObjectPrefix::ALL), &options).unwrap();
        other
    }

    fn tier(&self) -> Arc<dyn Tier> {
        Arc::new(LocalTier::open(&self.site.path("other")).unwrap())
    }

    fn open_on(&self, tier: Arc<dyn Tier>) -> Repository<Indexed> {
        let store = self.site.store_at(tier, ObjectPrefix::ALL);
        let (password, options) = (Secret::new(PASSWORD), OpenOptions::default());
        let repository = Repository::open(store, &password, &options).unwrap();
        repository.load_index(&Cancel::new(), &Silent).unwrap()
    }

    fn open(&self) -> Repository<Indexed> {
        self.open_on(self.tier())
    }

    fn restic(&self) -> Restic {
        Restic::new(self.site.path("other"), PASSWORD)
    }

    /// Asserts that every snapshot is there, whole, and restores.
    fn assert_holds(&self, history: &[Kept]) {
        let restic = self.restic();
        restic.check_read_data().unwrap();
        let snapshots = self.open().snapshots().unwrap();
        assert_eq!(snapshots.len(), history.len());
        for Kept { id, state } in history {
            let copy = snapshots
                .iter()
                .find(|(there, snapshot)| there == id || snapshot.original == Some(*id))
                .unwrap();
            let target = self.site.path("copied");
            restic.restore(&copy.0.to_hex(), &target).unwrap();
            let after = tree::capture(restored(&target, &self.site.source())).unwrap();
            assert_eq!(state.differences(&after, &[Aspect::Holes]), []);
            std::fs::remove_dir_all(&target).unwrap();
        }
    }
}

fn copy_all(from: &Repository<Indexed>, to: &Repository<Indexed>, history: &[Kept]) -> (u64, u64) {
    let cancel = Cancel::new();
    let mut copier = Copier::new(from, to, &Silent, &cancel);
    let reports: Vec<_> = history.iter().map(|kept| copier.copy(&kept.id).unwrap()).collect();
    let was_there = reports.iter().filter(|report| report.was_there).count() as u64;
    (reports.iter().map(|report| report.packs).sum(), was_there)
}

#[test]
fn several_snapshots_are_copied_once_whether_keys_agree_or_not() {
    for key in [None, Some(())] {
        let site = Site::new();
        let history = history(&site, 51, 5);
        let from = site.repository();
        let other = Other::new(&site, key.map(|()| from.key().clone()));
        assert_eq!(compare_cuts(&from, &other.open()), Cuts::Different);
        let (packs, was_there) = copy_all(&from, &other.open(), &history);
        assert!(packs > 0 && was_there == 0);
        other.assert_holds(&history);
        assert_eq!(copy_all(&from, &other.open(), &history), (0, 5));
        other.assert_holds(&history);
    }
}

#[test]
fn what_restic_copied_is_not_copied_again_and_the_other_way_round() {
    let site = Site::new();
    let history = history(&site, 52, 2);
    let from = site.repository();
    let other = Other::new(&site, None);
    let password = site.path("password");
    durable::replace(&password, crate::site::PASSWORD.as_bytes(), 0o600).unwrap();
    let mut command = other.restic().command();
    command.args(["copy", "--from-repo"]).arg(site.path("tier/repo"));
    command.arg("--from-password-file").arg(&password).arg(history[0].id.to_hex());
    assert!(command.output().unwrap().status.success());
    assert_eq!(copy_all(&from, &other.open(), &history).1, 1);
    other.assert_holds(&history);
    let mut command = other.restic().command();
    command.args(["copy", "--from-repo"]).arg(site.path("tier/repo"));
    command.arg("--from-password-file").arg(&password);
    assert!(command.output().unwrap().status.success());
    other.assert_holds(&history);
}

#[test]
fn a_copy_that_a_full_tier_or_a_kill_ended_is_gone_on_with() {
    for key in [None, Some(())] {
        let site = Site::new();
        std::fs::create_dir(site.source()).unwrap();
        durable::replace(&site.source().join("large"), &noise(70 << 20, 9), 0o600).unwrap();
        let state = tree::capture(site.source()).unwrap();
        let history = [Kept { id: site.backup().snapshot, state }];
        let from = site.repository();
        let other = Other::new(&site, key.map(|()| from.key().clone()));
        for fault in [
            Rule::new(Target::Only(Operation::Put), Fault::Full).nth(3),
            Rule::kill_at_write(2, Moment::After),
        ] {
            let faults = Arc::new(FaultTier::new(other.tier()));
            let to = other.open_on(Arc::clone(&faults) as _);
            faults.add(fault);
            let cancel = Cancel::new();
            Copier::new(&from, &to, &Silent, &cancel).copy(&history[0].id).unwrap_err();
            other.restic().check_read_data().unwrap();
        }
        let stored = other.open().store().list::<PackId>().unwrap().len() as u64;
        let (packs, _) = copy_all(&from, &other.open(), &history);
        other.assert_holds(&history);
        assert_stored_once(&other.open());
        let now = other.open().store().list::<PackId>().unwrap().len() as u64;
        assert_eq!(now, stored + packs);
        if key.is_some() {
            let all = site.repository().store().list::<PackId>().unwrap().len() as u64;
            assert_eq!(now, all, "nothing was stored twice");
        }
    }
}

#[test]
fn what_a_killed_backup_left_is_not_copied_again() {
    let site = Site::new();
    resume::write_files(&site.source());
    let state = tree::capture(site.source()).unwrap();
    let history = [Kept { id: site.backup().snapshot, state }];
    let other = Other::new(&site, None);
    let tier = Arc::new(FaultTier::new(other.tier()));
    let there = other.open_on(Arc::clone(&tier) as _);
    tier.add(Rule::kill_at_write(4, Moment::Before));
    resume::run(&there, vec![files(&[&site.source()])]).unwrap_err();
    let left = other.open().store().list::<PackId>().unwrap().len() as u64;
    copy_all(&site.repository(), &other.open(), &history);
    other.assert_holds(&history);
    // Files of one piece are the same everywhere; of a large one the pieces differ with the polynomial.
    let packs = other.open().index().packs().unwrap().len() as u64;
    let all = other.open().store().list::<PackId>().unwrap().len() as u64;
    assert!(all - packs < left, "{packs} of {all} packs are listed, {left} were left");
    other.restic().run(["prune"]).unwrap();
    assert_stored_once(&other.open());
}
