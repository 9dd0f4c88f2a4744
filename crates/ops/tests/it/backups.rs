//! Backing up, looking at what there is, and the catalog that remembers it.

use std::fs;

use lifeboat_model::{Cancel, Event, EventSink, Exit, Outcome, Secret, Silent, Stage, Timestamp};
use lifeboat_ops::Site;
use lifeboat_ops::catalog::body::Body;
use lifeboat_ops::catalog::record::Record;
use lifeboat_ops::catalog::view::Wanted;
use lifeboat_ops::catalog::{Catalog, CatalogKeys};
use lifeboat_ops::ending::Ending;
use lifeboat_ops::holdings::recovery_points;
use lifeboat_ops::key::confirm;
use lifeboat_ops::named_tier::NamedTier;
use lifeboat_ops::readiness::readiness;
use lifeboat_ops::recovery_key::RecoveryKey;
use lifeboat_ops::restore::{Destination, RestoreOptions, restore};
use lifeboat_ops::state::State;
use lifeboat_ops::status::{Objective, Verdict, status};
use lifeboat_ops::verification::{Share, VerifyOptions, verify};
use lifeboat_ops::wire::Reached;
use lifeboat_testing::restic::Restic;

use crate::ground::{Ground, MEDIA_ON_TWO, back_up, stages};

#[test]
fn a_backup_reaches_every_tier_and_is_verified() {
    let ground = Ground::new();
    ground.write("media/a.jpg", "a");
    let site = ground.site(MEDIA_ON_TWO);
    let report = back_up(&site).unwrap();
    assert_eq!(report.ending, Ending::Succeeded, "{report:#?}");
    assert_eq!(stages(&report, "media"), ["store primary done", "copy secondary done"]);
    assert_eq!(report.verifications.len(), 2);
    assert!(report.verifications.iter().all(|tier| tier.outcome == Outcome::Passed));
    assert!(report.catalog.iter().all(|tier| tier.error.is_none()));
    // Stock restic opens both with the key as it is written on paper.
    for tier in ["first/repo", "second/repo"] {
        let restic = Restic::new(ground.path(tier), ground.key.spelled().expose());
        restic.check_read_data().unwrap();
        let snapshots = restic.snapshots().unwrap();
        assert_eq!(snapshots.len(), 1);
        assert_eq!(snapshots[0]["hostname"], "shop");
        let tags = snapshots[0]["tags"].to_string();
        assert!(tags.contains("asset=media") && tags.contains("job=job_"), "{tags}");
        assert!(!tags.contains("point="), "a name that `points` may not print: {tags}");
    }
}

#[test]
fn the_second_backup_reads_only_what_changed() {
    let ground = Ground::new();
    ground.write("media/a.jpg", "a");
    let site = ground.site(MEDIA_ON_TWO);
    back_up(&site).unwrap();
    ground.pass(3600);
    ground.write("media/b.jpg", "b");
    let report = back_up(&site).unwrap();
    let counts = report.assets[0].counts.unwrap();
    assert_eq!((counts.files_new, counts.files_unmodified), (1, 1), "{counts:?}");
    let points = recovery_points(&site, None, &Silent, &Cancel::new()).unwrap();
    let names: Vec<_> = points.points.iter().map(|point| point.name.as_str()).collect();
    assert_eq!(names, ["20261123_030000", "20261123_020000"]);
    assert_eq!(points.points[0].whole_on.len(), 2);
    assert!(points.missing.is_empty() && points.troubles.is_empty());
}

#[test]
fn a_path_that_is_not_there_makes_it_incomplete() {
    let ground = Ground::new();
    ground.write("media/a.jpg", "a");
    let plan = MEDIA_ON_TWO.replace("[\"HOME/media\"]", "[\"HOME/media\", \"HOME/gone\"]");
    let site = ground.site(&plan);
    let report = back_up(&site).unwrap();
    assert_eq!((report.ending, report.exit()), (Ending::Incomplete, Exit::Incomplete));
    assert_eq!(stages(&report, "media"), ["store primary incomplete", "copy secondary done"]);
    assert_eq!(report.assets[0].captured, None);
    assert!(report.assets[0].skipped[0].path.ends_with("gone"));
    // It is no capture: the asset still counts as never captured.
    let status = status(&site).unwrap();
    assert_eq!(status.assets[0].objective, Objective::Missed);
}

#[test]
fn status_follows_the_clock_the_key_and_the_snapshots() {
    let ground = Ground::new();
    ground.write("media/a.jpg", "a");
    let site = ground.site(MEDIA_ON_TWO);
    let before = status(&site).unwrap();
    assert_eq!(before.verdict, Verdict::No);
    assert_eq!(before.next.as_deref(), Some("lifeboat backup media"));
    back_up(&site).unwrap();
    let unconfirmed = status(&site).unwrap();
    assert_eq!(unconfirmed.verdict, Verdict::Unknown);
    assert_eq!(unconfirmed.next.as_deref(), Some("lifeboat key confirm"));
    let typed = Secret::new(ground.key.spelled().expose().to_lowercase());
    confirm(&site, &typed, &Cancel::new()).unwrap();
    let fine = status(&site).unwrap();
    assert_eq!((fine.verdict, fine.next.as_deref()), (Verdict::Yes, None), "{:#?}", fine.risks);
    assert_eq!(fine.assets[0].objective, Objective::Met);
    ground.pass(24 * 3600 + 60);
    assert_eq!(status(&site).unwrap().assets[0].objective, Objective::AtRisk);
    ground.pass(2 * 3600);
    let missed = status(&site).unwrap();
    assert_eq!((missed.verdict, missed.assets[0].objective), (Verdict::No, Objective::Missed));
    // Somebody runs `restic forget` on both tiers: it shows at the next look.
    for tier in ["first", "second"] {
        fs::remove_dir_all(ground.path(&format!("{tier}/repo/snapshots"))).unwrap();
    }
    let gone = status(&site).unwrap();
    assert_eq!(gone.assets[0].captured_anywhere(), None);
    let points = recovery_points(&site, None, &Silent, &Cancel::new()).unwrap();
    assert!(points.points.is_empty());
    assert_eq!(points.missing.len(), 2);
}

#[test]
fn a_wrong_key_does_not_confirm() {
    let ground = Ground::new();
    let site = ground.site(MEDIA_ON_TWO);
    let other = RecoveryKey::generate().spelled();
    let error = confirm(&site, &other, &Cancel::new()).unwrap_err();
    assert!(error.to_string().contains("is not this plan's"), "{error}");
    assert_eq!(status(&site).unwrap().key_confirmed, None);
}

#[test]
fn a_rebuilt_catalog_gives_the_same_answers() {
    let ground = Ground::new();
    ground.write("media/a.jpg", "a");
    let site = ground.site(MEDIA_ON_TWO);
    back_up(&site).unwrap();
    ground.pass(60);
    back_up(&site).unwrap();
    let (before, now) = (status(&site).unwrap(), ground.surroundings.now());
    let state = ground.surroundings.state_directory.clone();
    for file in ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"] {
        _ = fs::remove_file(state.join(file));
    }
    assert_ne!(status(&site).unwrap().assets, before.assets);
    let keys = CatalogKeys::from(&ground.key);
    let lock = State::open(&state).unwrap().lock().unwrap();
    let catalog = Catalog::open(lock, site.name().clone(), keys, &ground.surroundings).unwrap();
    let tiers: Vec<NamedTier> = ["primary", "secondary"]
        .into_iter()
        .map(|name| match site.reach(&name.parse().unwrap()) {
            Reached::Ready(tier) => tier,
            other => panic!("{other:?}"),
        })
        .collect();
    let report = catalog.rebuild(&tiers[..1]).unwrap();
    assert!(report.flaws.is_empty(), "{:?}", report.flaws);
    drop(catalog);
    assert_eq!(ground.surroundings.now(), now);
    assert_eq!(status(&site).unwrap(), before);
}

#[test]
fn the_whole_of_a_tier_can_be_verified_and_damage_is_named() {
    let ground = Ground::new();
    ground.write("media/a.jpg", "a".repeat(100_000));
    let site = ground.site(MEDIA_ON_TWO);
    back_up(&site).unwrap();
    let options = VerifyOptions { tiers: Vec::new(), share: Share::All };
    let report = verify(&site, &options, &Silent, &Cancel::new()).unwrap();
    assert_eq!((report.outcome, report.exit()), (Outcome::Passed, Exit::Done));
    assert!(report.tiers.iter().all(|tier| tier.all_data && tier.report.packs_read > 0));
    damage_a_pack(&ground.path("second/repo/data"));
    let report = verify(&site, &options, &Silent, &Cancel::new()).unwrap();
    assert_eq!((report.outcome, report.exit()), (Outcome::Failed, Exit::Failed));
    assert_eq!(status(&site).unwrap().verdict, Verdict::No);
    // Nothing that reads less than all of it takes that back.
    ground.pass(60);
    let structure = VerifyOptions { tiers: Vec::new(), share: Share::None };
    verify(&site, &structure, &Silent, &Cancel::new()).unwrap();
    assert_eq!(status(&site).unwrap().verdict, Verdict::No);
    let points = recovery_points(&site, None, &Silent, &Cancel::new()).unwrap();
    let whole_on: Vec<_> = points.points[0].whole_on.iter().map(ToString::to_string).collect();
    assert_eq!(whole_on, ["primary"]);
}

#[test]
fn a_backup_after_damage_builds_on_nothing_that_is_damaged() {
    let tiers = [("primary", "first"), ("secondary", "second")];
    for damaged in [&["first"][..], &["second"], &["first", "second"]] {
        let ground = Ground::new();
        ground.write("media/a.jpg", "a".repeat(100_000));
        let site = ground.site(MEDIA_ON_TWO);
        back_up(&site).unwrap();
        for folder in damaged {
            for pack in packs(&ground.path(&format!("{folder}/repo/data"))) {
                damage(&pack);
            }
        }
        let all = VerifyOptions { tiers: Vec::new(), share: Share::All };
        let report = verify(&site, &all, &Silent, &Cancel::new()).unwrap();
        assert_eq!(report.outcome, Outcome::Failed);
        ground.pass(60);
        let report = back_up(&site).unwrap();
        assert_eq!(stages(&report, "media"), ["store primary done", "copy secondary done"]);
        assert_eq!(status(&site).unwrap().verdict, Verdict::No, "{damaged:?}");
        for (tier, folder) in tiers {
            let to = ground.path(&format!("from-{folder}"));
            let options = RestoreOptions {
                tier: Some(tier.parse().unwrap()),
                ..RestoreOptions::new("media".parse().unwrap(), Destination::Directory(to.clone()))
            };
            let restored = restore(&site, &options, &Silent, &Cancel::new()).unwrap();
            assert_eq!(restored.ending, Ending::Succeeded, "{damaged:?} {tier}: {restored:#?}");
            let file = to.join(ground.path("media/a.jpg").strip_prefix("/").unwrap());
            assert_eq!(fs::read_to_string(file).unwrap(), "a".repeat(100_000));
        }
        if *damaged == ["second"] {
            // The first tier's packs went over the damaged ones, and that is proven now.
            let report = verify(&site, &all, &Silent, &Cancel::new()).unwrap();
            assert_eq!(report.outcome, Outcome::Passed, "{report:#?}");
            assert_ne!(status(&site).unwrap().verdict, Verdict::No);
            let restic = Restic::new(ground.path("second/repo"), ground.key.spelled().expose());
            restic.check_read_data().unwrap();
        }
    }
}

pub fn damage_a_pack(data: &std::path::Path) {
    damage(&packs(data)[0]);
}

pub fn packs(data: &std::path::Path) -> Vec<std::path::PathBuf> {
    let folders = fs::read_dir(data).unwrap();
    folders
        .flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap())
        .map(|pack| pack.unwrap().path())
        .collect()
}

pub fn damage(pack: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mut bytes = fs::read(pack).unwrap();
    bytes[20] ^= 1;
    fs::set_permissions(pack, fs::Permissions::from_mode(0o600)).unwrap();
    std::io::Write::write_all(&mut fs::File::create(pack).unwrap(), &bytes).unwrap();
}

#[test]
fn readiness_asks_everything() {
    let ground = Ground::new();
    ground.write("media/a.jpg", "a");
    let site = ground.site(MEDIA_ON_TWO);
    let fresh = readiness(&site, &Silent, &Cancel::new()).unwrap();
    // Nobody confirmed the key.
    assert_eq!(fresh.outcome, Outcome::Failed);
    confirm(&site, &ground.key.spelled(), &Cancel::new()).unwrap();
    fs::create_dir(ground.path("first")).unwrap();
    let confirmed = readiness(&site, &Silent, &Cancel::new()).unwrap();
    assert_eq!(confirmed.outcome, Outcome::Passed, "{confirmed:#?}");
    let tiers = confirmed.answers.iter().filter(|answer| answer.what.contains("first backup"));
    assert_eq!(tiers.count(), 2, "an empty tier and one that is not there can be set up");
    assert_eq!(fs::read_dir(ground.path("first")).unwrap().count(), 0);
    assert!(!ground.path("second").exists(), "asking sets nothing up");
    back_up(&site).unwrap();
    let ready = readiness(&site, &Silent, &Cancel::new()).unwrap();
    assert_eq!((ready.outcome, ready.exit()), (Outcome::Passed, Exit::Done), "{ready:#?}");
    assert!(ready.answers.len() >= 9, "{ready:#?}");
    fs::remove_dir_all(ground.path("media")).unwrap();
    fs::remove_dir_all(ground.path("second")).unwrap();
    let broken = readiness(&site, &Silent, &Cancel::new()).unwrap();
    let failed = broken.answers.iter().filter(|answer| answer.outcome == Outcome::Failed);
    assert_eq!(failed.count(), 2, "{broken:#?}");
}

/// Cancels as soon as data is read.
#[derive(Debug)]
struct CancelsReading(Cancel);

impl EventSink for CancelsReading {
    fn emit(&self, event: Event) {
        if matches!(event, Event::Started { stage: Stage::Data, .. }) {
            self.0.cancel();
        }
    }
}

#[test]
fn a_verification_that_did_not_read_all_it_should_leaves_it_due() {
    let ground = Ground::new();
    ground.write("media/a.jpg", "a".repeat(100_000));
    let site = ground.site(MEDIA_ON_TWO);
    back_up(&site).unwrap();
    let begun = ground.surroundings.now();
    assert_eq!(read_until(&ground, &site), [Some(begun)]);
    let share =
        VerifyOptions { tiers: vec!["primary".parse().unwrap()], share: Share::AfterBackup };

    ground.pass(3600);
    let cancel = Cancel::new();
    _ = verify(&site, &share, &CancelsReading(cancel.clone()), &cancel);
    ground.pass(3600);
    let structure = VerifyOptions { share: Share::None, ..share.clone() };
    verify(&site, &structure, &Silent, &Cancel::new()).unwrap();
    assert_eq!(read_until(&ground, &site), [None, None, Some(begun)]);

    ground.pass(3600);
    verify(&site, &share, &Silent, &Cancel::new()).unwrap();
    let now = ground.surroundings.now();
    assert_eq!(read_until(&ground, &site), [Some(now), None, None, Some(begun)]);
}

#[test]
fn after_a_backup_no_data_is_read_where_the_plan_leaves_that_to_verifications() {
    let ground = Ground::new();
    ground.write("media/a.jpg", "a".repeat(100_000));
    let nothing = "[verification]\nafter_backup = { read_data = \"0%\" }\n";
    let site = ground.site(&format!("{MEDIA_ON_TWO}\n{nothing}"));
    back_up(&site).unwrap();
    ground.pass(3600);
    ground.write("media/b.jpg", "b".repeat(100_000));
    let report = back_up(&site).unwrap();
    let read = report.verifications.iter().map(|tier| (tier.outcome, tier.report.packs_read));
    assert_eq!(read.collect::<Vec<_>>(), [(Outcome::Passed, 0), (Outcome::Passed, 0)]);
    // A verification of its own reads what fell due meanwhile.
    let share = VerifyOptions { tiers: Vec::new(), share: Share::AfterBackup };
    let report = verify(&site, &share, &Silent, &Cancel::new()).unwrap();
    assert!(report.tiers.iter().all(|tier| tier.report.packs_read > 0));
}

/// Returns up to when the first tier was read, as each verification recorded it, the newest first.
fn read_until(ground: &Ground, site: &Site) -> Vec<Option<Timestamp>> {
    let lock = State::open(&ground.surroundings.state_directory).unwrap().lock().unwrap();
    let keys = CatalogKeys::from(&ground.key);
    let catalog = Catalog::open(lock, site.name().clone(), keys, &ground.surroundings).unwrap();
    let tier = "primary".parse().unwrap();
    let wanted = Wanted { kind: "tier-verified", asset: None, tier: Some(&tier), good_only: false };
    let records = catalog.view().latest(wanted, u32::MAX).unwrap();
    let read_until = |record: &Record| match record.body() {
        Body::TierVerified(body) => body.read_until,
        other => panic!("{other:?}"),
    };
    records.iter().map(read_until).collect()
}
