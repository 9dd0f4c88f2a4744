//! Recoveries from cold storage by the real binary: out of a bucket whose packs lie in an archive's class, and of a
//! server whose base backup lies there.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use lifeboat_model::{Cancel, PackId, Secret, Silent, SimClock, SystemClock, TierName};
use lifeboat_ops::catalog::body::Body;
use lifeboat_ops::catalog::view::View;
use lifeboat_ops::recovery::sandbox::{Demand, Sandbox, SandboxOptions};
use lifeboat_ops::recovery::verified::{Moment, VerifiedOptions, verify_restore};
use lifeboat_ops::recovery::{RecoveryOptions, preview, recover};
use lifeboat_ops::state::State;
use lifeboat_ops::thaw::{Consent, ThawError, ThawOptions, Waiting};
use lifeboat_ops::wire::open::{NewTiers, OpenSite};
use lifeboat_ops::{OpsError, Site, Surroundings};
use lifeboat_plan::{Facts, SourceFile, load};
use lifeboat_postgres::recovery::RecoveryTarget;
use lifeboat_postgres::recovery::placement::Before;
use lifeboat_postgres::recovery::throwaway::Use;
use lifeboat_repository::BlobKind;
use lifeboat_testing::emulators::{Bucket, Moto};
use lifeboat_testing::postgres::Release;
use lifeboat_tiers::s3::{Keys, S3Options};
use lifeboat_tiers::{
    AccessClass, ColdTier, LocalTier, ObjectPrefix, PutMode, ReadRange, S3Tier, Tier as _, durable,
};

use crate::bucket::{BUCKET, home, init};
use crate::environment::Environment;
use crate::recovery::Shop;

/// Backs two files up into a bucket that keeps them cold, as these keys of its tier say.
fn with_archive(moto: &Moto, keys: &str) -> Environment {
    moto.make_bucket(BUCKET, Bucket::Plain).unwrap();
    let environment = home(moto);
    environment.write("media/a", "kept in the cold");
    environment.write("media/b", "kept there too");
    init(&environment);
    let plan = fs::read_to_string(environment.path("plan.toml")).unwrap();
    let far = format!("\"s3://{BUCKET}/site\"");
    assert!(plan.contains(&far), "{plan}");
    let plan = plan.replace(&far, &format!("{far}\n{keys}"))
        + "\n[costs]\n\"tiers.far\" = { per_gib_read = 0.09, per_1000_thaws = 50.0 }\n";
    environment.write("plan.toml", plan);
    environment.run(["backup"]).success();
    environment
}

#[test]
fn a_machine_that_has_nothing_foresees_the_hours_that_the_plan_of_the_bucket_leads_to() {
    let moto = Moto::start().unwrap();
    let environment = with_archive(&moto, "access = \"archive\"");
    let key = fs::read_to_string(environment.path("recovery.key")).unwrap();
    let bare = home(&moto);
    let key = bare.write("key", key).display().to_string();
    let from = format!("s3://{BUCKET}/site");
    let restore = ["restore", "media", "--from", &from, "--key-file", &key, "--to", "out"];
    let with = |more: &[&'static str]| bare.run(restore.iter().chain(more));
    let shown = with(&["--dry-run", "--json"]).json();
    // Whoever knows the bucket alone has to reckon with the twelve hours of the coldest class.
    assert_eq!(shown["thaw"]["within_s"].as_u64(), Some(5 * 3600), "{shown}");
    assert!((shown["thaw"]["price"]["thaw"].as_f64().unwrap() - 0.05).abs() < 1e-9, "{shown}");
    let asked = with(&["--thaw", "--json"]);
    assert_eq!((asked.code(), asked.json()["within_s"].as_u64()), (3, Some(5 * 3600)), "{asked}");
    with(&[]).success();
    let below = environment.path("media/a");
    let restored = bare.path("out").join(below.strip_prefix("/").unwrap());
    assert_eq!(fs::read_to_string(restored).unwrap(), "kept in the cold");
}

#[test]
fn an_archive_in_a_bucket_is_asked_once_and_come_back_to() {
    let moto = Moto::start().unwrap();
    let environment = with_archive(&moto, "access = \"archive\"\nthaw = \"bulk\"");

    let restore = ["restore", "media", "--tier", "far", "--to", "out"];
    let with = |more: &[&'static str]| environment.run(restore.iter().chain(more));
    let text = with(&["--dry-run"]).success();
    assert!(text.contains("in cold storage on far") && text.contains("within 12 h"), "{text}");
    let shown = with(&["--dry-run", "--json"]).json();
    assert_eq!(shown["schema"], "lifeboat.restore.preview/1", "{shown}");
    let thaw = &shown["thaw"];
    assert_eq!((thaw["cold"]["count"].as_u64(), thaw["within_s"].as_u64()), (Some(1), Some(43200)));
    assert!((thaw["price"]["thaw"].as_f64().unwrap() - 0.05).abs() < 1e-9, "{thaw}");

    let told = with(&[]).failure(2);
    assert!(told.contains("--thaw") && told.contains("asking costs 0.05"), "{told}");
    let asked = with(&["--thaw", "--json"]);
    assert_eq!(asked.code(), 3, "{asked}");
    let answer = asked.json();
    assert_eq!(answer["schema"], "lifeboat.restore.thaw/1", "{answer}");
    assert!(!environment.path("out").exists());

    // The command that it gives is run as it stands; the emulator thaws at once.
    let command = answer["command"].as_str().unwrap();
    let line = command.replacen("lifeboat", env!("CARGO_BIN_EXE_lifeboat"), 1);
    let mut shell = Command::new("sh");
    environment.dress(&mut shell);
    let ended = shell.args(["-c", &line]).output().unwrap();
    assert!(ended.status.success(), "{line}: {ended:?}");
    let below = environment.path("media/a");
    let restored = environment.path("out").join(below.strip_prefix("/").unwrap());
    assert_eq!(fs::read_to_string(restored).unwrap(), "kept in the cold");
    let list = environment.run(["catalog", "list", "--kind", "thaw-requested"]).success();
    assert!(list.contains("media from far: 1 pack"), "{list}");
}

/// Returns the site of a shop, as seen by a machine whose clock is simulated.
fn site(shop: &Shop, clock: &Arc<SimClock>, runtime: &tokio::runtime::Runtime) -> Site {
    let text = fs::read_to_string(shop.at("plan.toml")).unwrap();
    let text = text.replace("keep = {", "access = \"archive\"\nkeep = {");
    let source = SourceFile { path: "plan.toml".to_owned(), text };
    let files = std::collections::BTreeMap::<String, String>::new();
    let checked = load(source, &files, &Facts::default(), lifeboat_model::Clock::now(&**clock));
    let path = format!("{}:/usr/bin:/bin", shop.cluster.bin_dir().display());
    let surroundings = Surroundings {
        environment: [("PATH".to_owned(), path)].into(),
        credentials_directory: None,
        state_directory: shop.at("elsewhere/state"),
        cache_directory: shop.at("elsewhere/cache"),
        hostname: "elsewhere".to_owned(),
        clock: Arc::<SimClock>::clone(clock),
        cancel: Cancel::new(),
        runtime: runtime.handle().clone(),
    };
    Site::new(checked.unwrap(), surroundings)
}

/// Puts every pack that holds nothing of a tree into cold storage.
fn freeze(site: &Site, name: &TierName, vault: &ColdTier) -> usize {
    let tiers = [name.clone()].into();
    let open = OpenSite::open(site, &tiers, NewTiers::Leave, &Silent, &Cancel::new()).unwrap();
    let repository = &open.tier(name).unwrap().repository;
    let mut frozen = 0;
    for file in repository.store().list::<PackId>().unwrap() {
        let blobs = repository.pack_header(&file.id, file.size).unwrap().blobs;
        if blobs.iter().all(|blob| blob.kind == BlobKind::Data) {
            vault.freeze(&repository.store().path(&file.id));
            frozen += 1;
        }
    }
    frozen
}

/// A shop whose base backup lies cold, seen from another machine.
struct ColdShop {
    shop: Shop,
    _runtime: tokio::runtime::Runtime,
    clock: Arc<SimClock>,
    vault: Arc<ColdTier>,
    site: Site,
    /// How many packs are cold.
    frozen: usize,
}

impl ColdShop {
    fn new() -> Self {
        let shop = Shop::new(Release::ALL[0]);
        shop.commit_rows(1..=3);
        shop.back_up();
        shop.commit_rows(4..=6);
        shop.archive_all();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let now = lifeboat_model::Clock::now(&lifeboat_model::SystemClock);
        let clock = Arc::new(SimClock::new(now));
        let local = Arc::new(LocalTier::open(&shop.at("primary")).unwrap());
        let within = Duration::from_hours(15);
        let vault = Arc::new(ColdTier::new(local, Arc::<SimClock>::clone(&clock), within));
        let name: TierName = "primary".parse().unwrap();
        let site =
            site(&shop, &clock, &runtime).with_tier(name.clone(), Arc::<ColdTier>::clone(&vault));
        let frozen = freeze(&site, &name, &vault);
        assert!(frozen > 0 && vault.refused().is_empty());
        Self { shop, _runtime: runtime, clock, vault, site, frozen }
    }
}

#[test]
fn a_sandbox_and_its_verification_ask_as_a_restore_does_and_who_waits_verified_nothing() {
    let ColdShop { site, vault, clock, frozen, .. } = &ColdShop::new();
    let own_program: PathBuf = env!("CARGO_BIN_EXE_lifeboat").into();
    let cancel = Cancel::new();
    let open = |thaw: ThawOptions| {
        let options = SandboxOptions {
            asset: "database".parse().unwrap(),
            target: RecoveryTarget::Latest,
            tier: None,
            scratch: None,
            purpose: Use::Read,
            demand: Demand::WhatCanBeHad,
            own_program: own_program.clone(),
            thaw,
        };
        Sandbox::open(site, &options, &|_| {}, &Silent, &cancel).map(drop)
    };
    let verify = |thaw: ThawOptions| {
        let options = VerifiedOptions {
            asset: "database".parse().unwrap(),
            moment: Moment::Counted,
            tier: None,
            scratch: None,
            demand: Demand::WhatCanBeHad,
            own_program: own_program.clone(),
            thaw,
        };
        verify_restore(site, &options, &|_| {}, &Silent, &cancel).map(drop)
    };
    let ask = ThawOptions { consent: Consent::Given, ..ThawOptions::default() };
    for refused in [open(ThawOptions::default()), verify(ThawOptions::default())] {
        let Err(OpsError::Thaw(ThawError::Unasked(forecast))) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!((forecast.cold.count, forecast.within_s), (*frozen as u64, 15 * 3600));
    }
    assert!(vault.thaws().is_empty());
    for waiting in [verify(ask), open(ask), verify(ThawOptions::default())] {
        assert!(matches!(waiting, Err(OpsError::Thaw(ThawError::Thawing(_)))), "{waiting:?}");
    }
    assert_eq!((vault.thaws().len(), vault.refused().len()), (*frozen, 0));
    let state = State::open(&site.surroundings().state_directory).unwrap();
    let records = View::open(&state.view_path()).unwrap().all().unwrap();
    let verified = records.iter().any(|r| matches!(r.body(), Body::RestoreVerified(_)));
    assert!(!verified, "what only waits was not verified");
    clock.advance(Duration::from_hours(15));
    let warm = preview(
        site,
        &RecoveryOptions::new("database".parse().unwrap(), RecoveryTarget::Latest, "/".into()),
        &Silent,
        &cancel,
    );
    assert!(warm.unwrap().thaw.is_none());
}

#[test]
fn a_server_is_recovered_from_an_archive_and_planned_without_touching_it() {
    let ColdShop { shop, clock, vault, site, frozen, .. } = &ColdShop::new();
    let now = lifeboat_model::Clock::now(&**clock);
    let (asset, to) = ("database".parse().unwrap(), shop.at("back"));
    let mut options = RecoveryOptions {
        fetch: vec!["lifeboat".to_owned()],
        ..RecoveryOptions::new(asset, RecoveryTarget::Latest, to)
    };
    let foreseen = preview(site, &options, &Silent, &Cancel::new()).unwrap();
    assert!(foreseen.last_commit.is_some() && foreseen.end_lsn > foreseen.consistent_lsn);
    let thaw = foreseen.thaw.unwrap();
    assert_eq!((thaw.within_s, thaw.rto_s), (15 * 3600, Some(2 * 3600)));
    assert_eq!((thaw.cold.count, vault.refused().len()), (*frozen as u64, 0));
    let refused = recover(site, &options, &Silent, &Cancel::new()).unwrap_err();
    assert!(refused.to_string().contains("cold storage"), "{refused}");
    assert!(!options.to.exists() && vault.thaws().is_empty());

    options.thaw = ThawOptions { consent: Consent::Given, waiting: Waiting::Here };
    let report = recover(site, &options, &Silent, &Cancel::new()).unwrap();
    assert!(report.files.is_complete() && report.preview.thaw.is_none());
    assert!(options.to.join("global/pg_control").exists());
    assert_eq!((vault.thaws().len(), vault.refused().len()), (*frozen, 0));
    assert!(report.started.duration_since(now).as_secs() >= 15 * 3600);

    // With a cluster in place whose files are right, next to nothing has to be woken again.
    clock.advance(Duration::from_hours(24 * 30));
    options.before = Before::Cluster;
    options.thaw = ThawOptions::default();
    let delta = preview(site, &options, &Silent, &Cancel::new()).unwrap().thaw.unwrap();
    assert!(delta.needed.count <= thaw.needed.count, "{delta:?}");
    assert_eq!(vault.refused().len(), 0);
}

/// Puts what lies on the disk of a shop into a bucket, data into the class of an archive, and makes that its tier.
fn move_into_the_cold(shop: &Shop, moto: &Moto) -> u64 {
    moto.make_bucket(BUCKET, Bucket::Plain).unwrap();
    let who = Moto::credentials();
    let mut options = S3Options::new(BUCKET, "site");
    options.endpoint = Some(moto.endpoint());
    options.region = Some(Moto::REGION.to_owned());
    options.keys = Some(Keys { id: Secret::new(who.key_id), secret: Secret::new(who.secret) });
    options.placement.access = Some(AccessClass::Archive);
    let (disk, far) = (
        LocalTier::open(&shop.at("primary")).unwrap(),
        S3Tier::new(&options, Arc::new(SystemClock)).unwrap(),
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let moved = runtime.block_on(async {
        let mut moved = 0;
        let found: Vec<_> = disk.list(&ObjectPrefix::ALL).try_collect().await.unwrap();
        for object in found {
            let body = disk.get(&object.path, ReadRange::Full).await.unwrap();
            let mode = PutMode::Overwrite;
            // A pack of directories is small beside the base's.
            if object.path.as_str().starts_with("repo/data/") && object.size > 100_000 {
                moved += 1;
                far.put_cold(&object.path, body, mode).await.unwrap();
            } else {
                far.put(&object.path, body, mode).await.unwrap();
            }
        }
        moved
    });
    let plan = fs::read_to_string(shop.at("plan.toml")).unwrap();
    let near = format!("url = \"file://{}\"", shop.at("primary").display());
    assert!(plan.contains(&near), "{plan}");
    let far = format!("url = \"s3://{BUCKET}/site\"\naccess = \"archive\"\nthaw = \"bulk\"");
    durable::replace(&shop.at("plan.toml"), plan.replace(&near, &far).as_bytes(), 0o644).unwrap();
    moved
}

#[test]
fn the_past_is_asked_of_an_archive_once_it_was_asked_for() {
    let shop = Shop::new(Release::ALL[0]);
    shop.commit_rows(1..=3);
    shop.back_up();
    shop.commit_rows(4..=6);
    shop.archive_all();
    let moto = Moto::start().unwrap();
    let moved = move_into_the_cold(&shop, &moto);
    assert!(moved > 0);
    let who = Moto::credentials();
    let dressed = |command: &mut Command| {
        command
            .env("AWS_ACCESS_KEY_ID", &who.key_id)
            .env("AWS_SECRET_ACCESS_KEY", &who.secret)
            .env("AWS_REGION", Moto::REGION)
            .env("AWS_ENDPOINT_URL", moto.endpoint());
    };
    let sql = "SELECT count(*) FROM ledger";
    let with = |more: &[&str]| {
        let mut command = shop.command();
        dressed(&mut command);
        command.args(["query", "database", "--at", "latest", "--sql", sql]).args(more);
        command.output().unwrap()
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let told = with(&[]);
    assert_eq!(told.status.code(), Some(2), "{told:?}");
    assert!(text(&told.stderr).contains("--thaw"), "{told:?}");
    let asked = with(&["--thaw", "--json"]);
    assert_eq!(asked.status.code(), Some(3), "{asked:?}");
    let answer: serde_json::Value = serde_json::from_slice(&asked.stdout).unwrap();
    assert_eq!(answer["schema"], "lifeboat.restore.thaw/1", "{answer}");
    assert_eq!(
        (answer["thawing"]["count"].as_u64(), answer["within_s"].as_u64()),
        (Some(moved), Some(43_200)),
        "{answer}"
    );

    // The command that it gives is run as it stands; the emulator thaws at once.
    let command = answer["command"].as_str().unwrap();
    assert!(command.contains("query database --at latest --tier primary"), "{command}");
    let line = command.replacen("lifeboat", env!("CARGO_BIN_EXE_lifeboat"), 1);
    let mut shell = Command::new("sh");
    for (name, value) in shop.command().get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    dressed(&mut shell);
    let ended = shell.args(["-c", &line]).output().unwrap();
    assert!(ended.status.success(), "{line}: {ended:?}");
    assert!(text(&ended.stdout).lines().any(|line| line.trim() == "6"), "{ended:?}");
}
