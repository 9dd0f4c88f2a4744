//! Restoring: beside, in place, from a bare machine.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_model::{Cancel, Classify as _, Exit, Outcome, Silent, TierName};
use lifeboat_ops::OpsError;
use lifeboat_ops::backup::{BackupOptions, backup};
use lifeboat_ops::bare_machine::{FoundSite, WantedPlan, find_site, open_address, read_mark};
use lifeboat_ops::catalog::view::View;
use lifeboat_ops::ending::Ending;
use lifeboat_ops::holdings::recovery_points;
use lifeboat_ops::point::At;
use lifeboat_ops::recovery_key::RecoveryKey;
use lifeboat_ops::restore::{Destination, RestoreOptions, only_database, preview, restore};
use lifeboat_ops::state::State;
use lifeboat_ops::status::status;
use lifeboat_ops::verification::{Share, VerifyOptions, verify};
use lifeboat_ops::wire::addresses::Outside;
use lifeboat_ops::wire::audit::verify_catalog;
use lifeboat_ops::wire::marking::{self, Deed};
use lifeboat_testing::tree::{Aspect, Sample, capture};
use lifeboat_tiers::fault::{Fault, FaultTier, Moment, Rule, Target};
use lifeboat_tiers::local::LocalTier;
use lifeboat_tiers::{Listings, Tier};

use crate::ground::{Ground, MEDIA_ON_TWO, back_up, restore_in_place, restore_to};

fn below(ground: &Ground, target: &str, name: &str) -> std::path::PathBuf {
    let path = ground.path(name);
    ground.path(target).join(path.strip_prefix("/").unwrap())
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let ground = Ground::new();
    let sample = Sample::everything(7);
    sample.build(ground.path("media")).unwrap();
    let site = ground.site(MEDIA_ON_TWO);
    let before = capture(ground.path("media")).unwrap();
    back_up(&site).unwrap();
    let report = restore_to(&site, "media", At::Latest, &ground.path("back")).unwrap();
    assert_eq!(report.ending, Ending::Succeeded, "{report:#?}");
    let after = capture(below(&ground, "back", "media")).unwrap();
    // Zeros that fill a whole piece come back as a hole; every byte is the same.
    let differences = before.differences(&after, &[Aspect::Holes]);
    assert!(differences.is_empty(), "{differences:#?}");
}

#[test]
fn an_older_state_comes_back_by_its_time() {
    let ground = Ground::new();
    ground.write("media/a.txt", "old");
    let site = ground.site(MEDIA_ON_TWO);
    back_up(&site).unwrap();
    ground.pass(3600);
    ground.write("media/a.txt", "newer");
    back_up(&site).unwrap();
    for (at, target, expected) in [
        ("20261123_020000", "one", "old"),
        ("2026-11-23T02:59:59Z", "two", "old"),
        ("latest", "three", "newer"),
    ] {
        restore_to(&site, "media", At::parse(at).unwrap(), &ground.path(target)).unwrap();
        let text = fs::read_to_string(below(&ground, target, "media/a.txt")).unwrap();
        assert_eq!(text, expected, "{at}");
    }
    let early = At::parse("20261123_015959").unwrap();
    let error = restore_to(&site, "media", early, &ground.path("four")).unwrap_err();
    assert!(matches!(error, OpsError::NoPoint { .. }), "{error}");
}

/// Settings and media, each on its own schedule.
const APART: &str = r#"
[assets.settings]
kind = "files"
paths = ["HOME/settings"]
watch = true
[assets.media]
kind = "files"
paths = ["HOME/media"]
[tiers.primary]
url = "file://HOME/first"
[schedules.media]
cron = "0 2 * * *"
assets = ["media"]
to = ["primary"]
[schedules.settings]
cron = "5 2 * * *"
assets = ["settings"]
to = ["primary"]
"#;

#[test]
fn a_restore_at_a_time_gives_nothing_later_and_by_a_points_name_says_how_much_later() {
    let ground = Ground::new();
    ground.write("media/a", "a");
    ground.write("settings/b", "b");
    let site = ground.site(APART);
    let back_up = |asset: &str| {
        let assets = vec![asset.parse().unwrap()];
        let options = BackupOptions { assets, ..BackupOptions::default() };
        backup(&site, &options, &Silent, &Cancel::new()).unwrap()
    };
    // As clocks are: a point is called by its second, and lies within it.
    ground.clock.advance(Duration::from_millis(734));
    back_up("media");
    ground.pass(100);
    back_up("settings");
    let points = recovery_points(&site, None, &Silent, &Cancel::new()).unwrap().points;
    let point = points.last().unwrap();
    assert_eq!(point.name, "20261123_020000");
    let at =
        |asset, at: &str, to| restore_to(&site, asset, At::parse(at).unwrap(), &ground.path(to));
    for time in ["2026-11-23T02:00:00Z", &point.time.to_string(), "2026-11-23T02:01:40Z"] {
        let error = at("settings", time, "nowhere").unwrap_err();
        assert!(matches!(error, OpsError::NoPoint { .. }), "{time}: {error}");
    }
    let named = at("settings", &point.name, "one").unwrap().preview;
    let tied = named.point.unwrap();
    assert_eq!(
        (tied.name.as_str(), tied.time, tied.skew_s),
        (point.name.as_str(), point.time, 100)
    );
    let exact = at("media", &point.time.to_string(), "two").unwrap().preview;
    assert_eq!((exact.capture.time, exact.point), (point.time, None));
    let media = at("media", &point.name, "three").unwrap().preview;
    assert_eq!((media.capture.time, media.point.unwrap().skew_s), (point.time, 0));
    let early = at("media", "2026-11-23T02:00:00Z", "four").unwrap_err();
    assert!(matches!(early, OpsError::NoPoint { .. }), "{early}");
}

#[test]
fn a_restore_is_refused_by_nobody_who_works_here_but_one_who_replaces_as_well() {
    let ground = Ground::new();
    ground.write("media/a.txt", "good");
    let site = ground.site(MEDIA_ON_TWO);
    back_up(&site).unwrap();
    let working = State::open(&ground.surroundings.state_directory).unwrap().lock().unwrap();
    let error = back_up(&site).unwrap_err();
    assert_eq!(error.exit(), Exit::Locked, "{error}");
    ground.pass(60);
    let beside = restore_to(&site, "media", At::Latest, &ground.path("back")).unwrap();
    assert_eq!(beside.ending, Ending::Succeeded);
    ground.pass(60);
    let replaced = restore_in_place(&site, "media", At::Latest).unwrap();
    assert_eq!(replaced.ending, Ending::Succeeded);
    drop(working);
    // One chain, in which each job has its end.
    back_up(&site).unwrap();
    let report = verify_catalog(&site, &Cancel::new()).unwrap();
    assert!(report.flaws.is_empty(), "{report:#?}");
    let state = State::open(&ground.surroundings.state_directory).unwrap();
    let writer = state.lock().unwrap().writer(ground.surroundings.now()).unwrap().id();
    let open = View::open(&state.view_path()).unwrap().open_jobs(writer).unwrap();
    assert!(open.is_empty(), "{open:#?}");
}

#[test]
fn in_place_keeps_the_old_state_aside_and_wants_the_sites_name() {
    let ground = Ground::new();
    ground.write("media/a.txt", "good");
    let site = ground.site(MEDIA_ON_TWO);
    back_up(&site).unwrap();
    ground.write("media/a.txt", "spoilt");
    ground.pass(60);
    let mut options = RestoreOptions {
        confirm: Some("another".parse().unwrap()),
        ..RestoreOptions::new("media".parse().unwrap(), Destination::InPlace)
    };
    let shown = preview(&site, &options, &Silent, &Cancel::new()).unwrap();
    assert_eq!(shown.replaces, [ground.path("media").display().to_string()]);
    for confirm in [None, options.confirm.clone()] {
        options.confirm = confirm;
        let refused = restore(&site, &options, &Silent, &Cancel::new()).unwrap_err();
        assert!(matches!(refused, OpsError::Unconfirmed { .. }), "{refused}");
    }
    assert_eq!(fs::read_to_string(ground.path("media/a.txt")).unwrap(), "spoilt");
    let report = restore_in_place(&site, "media", At::Latest).unwrap();
    assert_eq!(fs::read_to_string(ground.path("media/a.txt")).unwrap(), "good");
    assert_eq!(report.kept_aside, [ground.path("media.before-20261123_020100")]);
    assert_eq!(fs::read_to_string(report.kept_aside[0].join("a.txt")).unwrap(), "spoilt");
    let files = report.files.unwrap();
    assert_eq!((files.files, files.bytes, files.bytes_written), (1, 4, 4));
}

#[test]
fn in_place_touches_nothing_before_all_is_restored() {
    let ground = Ground::new();
    ground.write("media/a.txt", "a");
    back_up(&ground.site(MEDIA_ON_TWO)).unwrap();
    ground.write("media/a.txt", "live");
    let dying = Arc::new(FaultTier::new(Arc::new(LocalTier::open(&ground.path("first")).unwrap())));
    let site = ground
        .site(MEDIA_ON_TWO)
        .with_tier("primary".parse().unwrap(), Arc::<FaultTier>::clone(&dying) as Arc<dyn Tier>);
    // A pack that cannot be read costs the file in it, but never what is live.
    dying.add(
        Rule::new(Target::Reads, Fault::Fail(Moment::Before)).below("repo/data".parse().unwrap()),
    );
    let ended = restore_in_place(&site, "media", At::Latest);
    assert!(ended.is_err() || ended.is_ok_and(|report| report.ending != Ending::Succeeded));
    assert_eq!(fs::read_to_string(ground.path("media/a.txt")).unwrap(), "live");
    let hidden = fs::read_dir(ground.path("")).unwrap();
    assert!(
        !hidden.flatten().any(|entry| {
            entry.file_name().to_string_lossy().starts_with(".lifeboat-restoring")
        })
    );
}

#[test]
fn in_place_leaves_the_directories_above_as_they_are() {
    let ground = Ground::new();
    ground.write("var/www/media/a.txt", "good");
    let plan = MEDIA_ON_TWO.replace("HOME/media", "HOME/var/www/media");
    let site = ground.site(&plan);
    let (var, www) = (ground.path("var"), ground.path("var/www"));
    fs::set_permissions(&www, Permissions::from_mode(0o750)).unwrap();
    back_up(&site).unwrap();
    fs::set_permissions(&www, Permissions::from_mode(0o2775)).unwrap();
    restore_in_place(&site, "media", At::Latest).unwrap();
    assert_eq!(fs::metadata(&www).unwrap().mode() & 0o7777, 0o2775);
    fs::remove_dir_all(&var).unwrap();
    restore_in_place(&site, "media", At::Latest).unwrap();
    assert_eq!(fs::metadata(&www).unwrap().mode() & 0o7777, 0o750);
    assert_eq!(fs::read_to_string(www.join("media/a.txt")).unwrap(), "good");
}

#[test]
fn the_second_tier_serves_when_the_first_is_gone() {
    let ground = Ground::new();
    ground.write("media/a.txt", "kept");
    let site = ground.site(MEDIA_ON_TWO);
    back_up(&site).unwrap();
    fs::remove_dir_all(ground.path("first")).unwrap();
    let report = restore_to(&site, "media", At::Latest, &ground.path("back")).unwrap();
    assert_eq!(report.preview.tier.as_str(), "secondary");
    assert!(below(&ground, "back", "media/a.txt").exists());
    assert!(!ground.path("first").exists(), "a tier that is lost is not made anew");
}

fn outside(ground: &Ground) -> Outside<'_> {
    let surroundings = &ground.surroundings;
    Outside {
        environment: &surroundings.environment,
        clock: &surroundings.clock,
        listings: Listings::AsKnown,
    }
}

#[test]
fn a_bare_machine_needs_a_tier_and_the_key_alone() {
    let ground = Ground::new();
    ground.write("media/a.txt", "kept");
    back_up(&ground.site(MEDIA_ON_TWO)).unwrap();
    // The tier was carried elsewhere, and nothing else is left.
    let bare = Ground::with_key(ground.key.clone());
    let moved = bare.path("mounted");
    let mut copy = std::process::Command::new("cp");
    assert!(copy.arg("-a").arg(ground.path("second")).arg(&moved).status().unwrap().success());
    drop(ground);
    let tier = open_address(&format!("file://{}", moved.display()), outside(&bare)).unwrap();
    let find = |by: &Ground| {
        let surroundings = by.surroundings.clone();
        find_site(&tier, &by.key, &WantedPlan::Newest, surroundings, &Cancel::new())
    };
    let FoundSite { site, tier: name, .. } = find(&bare).unwrap();
    assert_eq!(name.as_str(), "secondary");
    assert_eq!(site.name().as_str(), "shop");
    let report = restore_to(&site, "media", At::Latest, &bare.path("back")).unwrap();
    assert_eq!(report.files.as_ref().unwrap().files, 1);
    let stranger = Ground::new();
    let refused = find(&stranger).unwrap_err();
    assert!(matches!(refused, OpsError::KeyOfAnother { .. }), "{refused}");
    assert!(refused.to_string().contains("site `shop`"), "{refused}");
    assert_eq!(refused.exit(), Exit::WrongKey);
}

#[test]
fn the_repository_inside_of_a_tier_is_told_from_a_tier() {
    let ground = Ground::new();
    ground.write("media/a.txt", "kept");
    back_up(&ground.site(MEDIA_ON_TWO)).unwrap();
    let mark = |name: &str| {
        let address = format!("file://{}", ground.path(name).display());
        let tier = open_address(&address, outside(&ground)).unwrap();
        ground.surroundings.runtime.block_on(read_mark(tier.as_ref()))
    };
    assert_eq!(mark("first").unwrap().unwrap().site.as_str(), "shop");
    let slip = mark("first/repo").unwrap_err();
    let (error, hint) = (slip.to_string(), slip.hint().unwrap().to_string());
    assert!(matches!(slip, OpsError::RepositoryAlone { .. }), "{error}");
    assert!(hint.contains(&format!("{};", ground.path("first").display())), "{hint}");
    assert!(!error.contains("empty") && !hint.contains("empty"), "{error}; {hint}");
    let folder = mark("media").unwrap_err();
    assert!(matches!(folder, OpsError::NoPlan { .. }), "{folder}");
}

#[test]
fn a_tier_that_lost_its_mark_is_restored_from_and_gets_it_back_once_it_is_proven_to_be_ours() {
    let ground = Ground::new();
    ground.write("media/a.txt", "kept");
    let site = ground.site(MEDIA_ON_TWO);
    back_up(&site).unwrap();
    let tier =
        open_address(&format!("file://{}", ground.path("first").display()), outside(&ground));
    let tier = tier.unwrap();
    let before = fs::read(ground.path("first/site.json")).unwrap();
    fs::remove_file(ground.path("first/site.json")).unwrap();
    // A machine that has nothing.
    let bare = Ground::with_key(ground.key.clone());
    let find = |key| {
        let surroundings = bare.surroundings.clone();
        find_site(&tier, key, &WantedPlan::Newest, surroundings, &Cancel::new())
    };
    let found = find(&ground.key).unwrap();
    assert_eq!((found.tier.as_str(), found.is_marked), ("primary", false));
    let report = restore_to(&found.site, "media", At::Latest, &bare.path("back")).unwrap();
    assert_eq!(report.files.unwrap().files, 1);
    let stranger = find(&RecoveryKey::generate()).unwrap_err();
    assert!(matches!(stranger, OpsError::MarkLost { .. }), "{stranger}");
    assert!(!ground.path("first/site.json").exists(), "whoever reads puts nothing there");

    let primary = "primary".parse().unwrap();
    let mark = |site| marking::mark(site, &primary, &Cancel::new());
    assert_eq!(mark(&site).unwrap().deed, Deed::PutBack);
    assert_eq!(fs::read(ground.path("first/site.json")).unwrap(), before);
    assert_eq!(mark(&site).unwrap().deed, Deed::WasThere);
    assert_eq!(back_up(&site).unwrap().ending, Ending::Succeeded);
}

#[test]
fn what_is_not_proven_to_be_this_sites_gets_no_mark() {
    let ground = Ground::new();
    ground.write("media/a.txt", "kept");
    let site = ground.site(MEDIA_ON_TWO);
    back_up(&site).unwrap();
    // Of a site with another key, of one with this key and another name, and a folder of holidays.
    let (other, same) = (Ground::new(), Ground::with_key(ground.key.clone()));
    for (there, name) in [(&other, "shop"), (&same, "bank")] {
        there.write("media/b.txt", "theirs");
        let plan = there.plan_text(MEDIA_ON_TWO);
        let plan = plan.replace("site = \"shop\"", &format!("site = \"{name}\""));
        back_up(&there.site_from(plan)).unwrap();
        fs::remove_file(there.path("first/site.json")).unwrap();
    }
    other.write("holidays/a.jpg", "sea");
    let primary: TierName = "primary".parse().unwrap();
    for (folder, why) in [
        (other.path("first"), "key"),
        (same.path("first"), "no record of this site"),
        (other.path("holidays"), "repository"),
    ] {
        let tier = Arc::new(LocalTier::open(&folder).unwrap());
        let site = site.clone().with_tier(primary.clone(), tier);
        let error = marking::mark(&site, &primary, &Cancel::new()).unwrap_err();
        assert!(matches!(error, OpsError::NotProven { .. }), "{error}");
        let said = lifeboat_ops::error::explain(&error);
        assert!(said.contains(why), "{}: {said}", folder.display());
        assert!(!folder.join("site.json").exists(), "{}", folder.display());
    }
}

/// The packs of a tier, the largest first.
fn packs(ground: &Ground, tier: &str) -> Vec<PathBuf> {
    let folders = fs::read_dir(ground.path(&format!("{tier}/repo/data"))).unwrap();
    let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    let mut packs: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    packs.sort_by_key(|pack| std::cmp::Reverse(fs::metadata(pack).unwrap().len()));
    packs
}

#[test]
fn damage_that_a_restore_meets_is_remembered_until_a_verification_shows_otherwise() {
    let ground = Ground::new();
    let noise: Vec<u8> = (0..200_000_u64).map(|n| ((n * n * 31) >> 9).to_le_bytes()[0]).collect();
    ground.write("media/a", noise);
    let site = ground.site(MEDIA_ON_TWO);
    back_up(&site).unwrap();
    let restore = |to: &str| restore_to(&site, "media", At::Latest, &ground.path(to)).unwrap();
    let points = || recovery_points(&site, None, &Silent, &Cancel::new()).unwrap();
    let is_damaged = || {
        let risks = status(&site).unwrap().risks;
        risks.iter().any(|risk| risk.subject == "primary" && risk.message.contains("found damaged"))
    };
    assert_eq!(restore("before").preview.tier.as_str(), "primary");
    assert!(!is_damaged() && points().damaged.is_empty());
    let pack = packs(&ground, "first").remove(0);
    let (whole, mut spoilt) = (fs::read(&pack).unwrap(), fs::read(&pack).unwrap());
    spoilt[50_000] ^= 1;
    let put = |bytes: &[u8]| {
        fs::set_permissions(&pack, Permissions::from_mode(0o600)).unwrap();
        fs::File::create(&pack).unwrap().write_all(bytes).unwrap();
    };
    put(&spoilt);
    ground.pass(60);
    let met = restore("met");
    assert_eq!((met.preview.tier.as_str(), met.ending), ("primary", Ending::Incomplete));
    assert!(is_damaged());
    let primary: TierName = "primary".parse().unwrap();
    let known = points();
    assert!(known.damaged.iter().eq([&primary]));
    assert_eq!(known.points[0].whole_on, ["secondary".parse().unwrap()]);
    ground.pass(60);
    let other = restore("other");
    assert_eq!((other.preview.tier.as_str(), other.ending), ("secondary", Ending::Succeeded));
    // What the pack held is stored again by the next backup, as after a verification that found it.
    ground.pass(3600);
    let report = back_up(&site).unwrap();
    assert!(report.assets[0].counts.unwrap().bytes_stored > 100_000, "{report:#?}");

    // Read whole where it lies now, it costs nothing any more that the old pack stays damaged.
    let options = VerifyOptions { tiers: vec![primary], share: Share::All };
    let verify = || verify(&site, &options, &Silent, &Cancel::new()).unwrap();
    ground.pass(60);
    let verified = verify();
    assert_eq!(verified.outcome, Outcome::Passed, "{verified:#?}");
    assert_eq!(verified.tiers[0].report.damaged_packs.len(), 1);
    assert!(!is_damaged() && points().damaged.is_empty());
    let back = restore("again");
    assert_eq!((back.preview.tier.as_str(), back.ending), ("primary", Ending::Succeeded));

    put(&whole);
    ground.pass(60);
    let verified = verify();
    assert_eq!(verified.outcome, Outcome::Passed, "{verified:#?}");
    assert!(!is_damaged() && points().damaged.is_empty());
    assert_eq!(restore("after").preview.tier.as_str(), "primary");
}

#[test]
fn a_tier_that_cannot_be_read_is_not_called_damaged() {
    let ground = Ground::new();
    ground.write("media/a", "a");
    back_up(&ground.site(MEDIA_ON_TWO)).unwrap();
    let dying = Arc::new(FaultTier::new(Arc::new(LocalTier::open(&ground.path("first")).unwrap())));
    dying.add(
        Rule::new(Target::Reads, Fault::Fail(Moment::Before)).below("repo/data".parse().unwrap()),
    );
    let tier = Arc::<FaultTier>::clone(&dying) as Arc<dyn Tier>;
    let site = ground.site(MEDIA_ON_TWO).with_tier("primary".parse().unwrap(), tier);
    let ended = restore_to(&site, "media", At::Latest, &ground.path("back"));
    assert!(ended.is_err() || ended.is_ok_and(|report| report.ending != Ending::Succeeded));
    let points = recovery_points(&site, None, &Silent, &Cancel::new()).unwrap();
    assert!(points.damaged.is_empty(), "{:?}", points.damaged);
}

#[test]
fn a_command_asset_goes_through_its_commands() {
    let ground = Ground::new();
    ground.write("queue", "three jobs");
    let plan = r#"
[assets.queue]
kind = "command"
backup = ["cat", "HOME/queue"]
restore = ["sh", "-c", "cat > HOME/queue.back"]
[tiers.primary]
url = "file://HOME/first"
[schedules.daily]
cron = "0 2 * * *"
assets = ["queue"]
to = ["primary"]
"#;
    let site = ground.site(plan);
    let report = back_up(&site).unwrap();
    assert_eq!(report.ending, Ending::Succeeded, "{report:#?}");
    restore_in_place(&site, "queue", At::Latest).unwrap();
    assert_eq!(fs::read_to_string(ground.path("queue.back")).unwrap(), "three jobs");
    let failing = plan.replace(r#"["cat", "HOME/queue"]"#, r#"["sh", "-c", "echo half; exit 3"]"#);
    let report = back_up(&ground.site(&failing)).unwrap();
    assert_eq!((report.ending, report.exit()), (Ending::Failed, Exit::Failed));
    assert!(report.assets[0].snapshots.is_empty());
}

#[test]
fn database_only_wants_one_database() {
    let ground = Ground::new();
    let error = only_database(&ground.site(MEDIA_ON_TWO)).unwrap_err();
    assert!(matches!(error, OpsError::NotOneDatabase { count: 0 }), "{error}");
}
