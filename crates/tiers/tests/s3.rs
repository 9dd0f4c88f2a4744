//! The S3 tier against moto's server.
//!
//! Each test starts a server of its own, so what can share one does.

#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use lifeboat_model::{Capability, Classify, Clock as _, ErrorKind, SystemClock};
use lifeboat_testing::emulators::{Bucket, Credentials, Moto};
use lifeboat_tiers::s3::S3Options;
use lifeboat_tiers::{
    AccessClass, Creation, LockMode, LockRule, ObjectPath, ObjectPrefix, Placement, Protection,
    PutMode, ReadRange, S3Tier, Tier, TierError, Warmth, conformance,
};

const DAY: Duration = Duration::from_hours(24);

fn start() -> Moto {
    Moto::start().unwrap()
}

fn options(moto: &Moto, bucket: &str, prefix: &str) -> S3Options {
    options_of(moto, &Moto::credentials(), bucket, prefix)
}

fn options_of(moto: &Moto, who: &Credentials, bucket: &str, prefix: &str) -> S3Options {
    let mut options = S3Options::new(bucket, prefix);
    options.endpoint = Some(moto.endpoint());
    options.region = Some(Moto::REGION.to_owned());
    let environment = [("AWS_ACCESS_KEY_ID", &who.key_id), ("AWS_SECRET_ACCESS_KEY", &who.secret)];
    options.environment = environment.map(|(name, value)| (name.to_owned(), value.clone())).into();
    options
}

fn tier(options: &S3Options) -> S3Tier {
    S3Tier::new(options, Arc::new(SystemClock)).unwrap()
}

/// Asks the server as a client would that is none of ours.
fn ask(moto: &Moto, method: &'static str, target: &str) -> String {
    moto.ask(method, target, &[]).unwrap()
}

fn path(text: &str) -> ObjectPath {
    text.parse().unwrap()
}

async fn put(tier: &S3Tier, name: &str, body: &'static str) {
    tier.put(&path(name), Bytes::from_static(body.as_bytes()), PutMode::Overwrite).await.unwrap();
}

async fn get(tier: &S3Tier, name: &str) -> Result<Bytes, TierError> {
    tier.get(&path(name), ReadRange::Full).await
}

async fn names(tier: &S3Tier) -> Vec<String> {
    let listed: Vec<_> = tier.list(&ObjectPrefix::ALL).try_collect().await.unwrap();
    listed.into_iter().map(|meta| meta.path.to_string()).collect()
}

fn locked(keep: Duration) -> Placement {
    let lock = Some(LockRule { mode: LockMode::Compliance, keep });
    Placement { lock, ..Placement::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_is_kept_with_and_without_a_prefix_and_versions_and_conditions() {
    let moto = start();
    for (bucket, kind) in [("plain", Bucket::Plain), ("versioned", Bucket::Versioned)] {
        moto.make_bucket(bucket, kind).unwrap();
        for prefix in ["", "some/where"] {
            let tier: Arc<dyn Tier> = Arc::new(tier(&options(&moto, bucket, prefix)));
            assert!(tier.capabilities().has(Capability::ConditionalPut));
            conformance::all(&tier).await;
        }
        let left = ask(&moto, "GET", &format!("/{bucket}?versions"));
        assert!(!left.contains("<Version>") && !left.contains("<DeleteMarker>"), "{left}");
    }
    let mut options = options(&moto, "plain", "");
    options.creation = Creation::LookFirst;
    let tier: Arc<dyn Tier> = Arc::new(tier(&options));
    assert!(!tier.capabilities().has(Capability::ConditionalPut));
    conformance::all(&tier).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locked_objects_outlast_whoever_wants_them_gone() {
    let moto = start();
    moto.make_bucket("locking", Bucket::Locking).unwrap();
    moto.make_bucket("plain", Bucket::Plain).unwrap();
    what_is_locked_stays_and_what_must_go_soon_goes(&moto).await;
    locks_are_made_longer_and_never_shorter(&moto).await;
    a_marker_of_somebody_else_hides_nothing(&moto).await;
    for prefix in ["", "suite"] {
        let mut options = options(&moto, "locking", prefix);
        options.placement = locked(10 * DAY);
        conformance::locked_objects_stay(&tier(&options), SystemClock.now(), 10 * DAY).await;
    }
    a_bucket_without_locks_says_so(&moto).await;
}

async fn what_is_locked_stays_and_what_must_go_soon_goes(moto: &Moto) {
    let mut options = options(moto, "locking", "site");
    options.placement = locked(30 * DAY);
    let locking = tier(&options);
    let tail = "wal/7/1/000000010000000000000001.tail/0-1.zst.age";
    for name in ["repo/data/ab/abcd", "repo/locks/abcd", tail] {
        put(&locking, name, "body").await;
    }

    let protection = locking.protection(&path("repo/data/ab/abcd")).await.unwrap();
    let now = SystemClock.now();
    assert!(protection.lasts_until(now + 29 * DAY), "{protection:?}");
    assert!(!protection.lasts_until(now + 31 * DAY), "{protection:?}");
    assert!(matches!(protection, Protection::Locked { mode: LockMode::Compliance, .. }));
    for name in ["repo/locks/abcd", tail] {
        assert_eq!(locking.protection(&path(name)).await.unwrap(), Protection::None, "{name}");
        locking.delete(&path(name)).await.unwrap();
        assert!(matches!(get(&locking, name).await, Err(TierError::NotFound { .. })), "{name}");
    }
    let absent = locking.protection(&path("repo/absent")).await;
    assert!(matches!(absent, Err(TierError::NotFound { .. })), "{absent:?}");

    let refused = locking.delete(&path("repo/data/ab/abcd")).await.unwrap_err();
    let TierError::Locked { until: Some(until), .. } = &refused else { panic!("{refused}") };
    assert!(*until > now + 29 * DAY);
    options.placement = Placement::default();
    let hostile = tier(&options).delete(&path("repo/data/ab/abcd")).await;
    assert!(matches!(hostile, Err(TierError::Locked { .. })), "{hostile:?}");
    assert_eq!(get(&locking, "repo/data/ab/abcd").await.unwrap(), "body");
}

async fn locks_are_made_longer_and_never_shorter(moto: &Moto) {
    let mut options = options(moto, "locking", "longer");
    options.placement = locked(10 * DAY);
    let tier = tier(&options);
    put(&tier, "repo/config", "body").await;
    let name = path("repo/config");
    let now = SystemClock.now();
    tier.protect(&name, now + 20 * DAY).await.unwrap();
    let longer = tier.protection(&name).await.unwrap();
    assert!(longer.lasts_until(now + 20 * DAY), "{longer:?}");
    tier.protect(&name, now + 5 * DAY).await.unwrap();
    assert_eq!(tier.protection(&name).await.unwrap(), longer);
    assert!(matches!(longer, Protection::Locked { mode: LockMode::Compliance, .. }));
}

async fn a_marker_of_somebody_else_hides_nothing(moto: &Moto) {
    let mut options = options(moto, "locking", "hidden");
    options.placement = locked(DAY);
    let tier = tier(&options);
    put(&tier, "repo/config", "body").await;
    ask(moto, "DELETE", "/locking/hidden/repo/config");
    assert_eq!(get(&tier, "repo/config").await.unwrap(), "body");
    let part = ReadRange::Bounded { offset: 1, length: 2 };
    assert_eq!(tier.get(&path("repo/config"), part).await.unwrap(), "od");
    assert_eq!(tier.head(&path("repo/config")).await.unwrap().size, 4);
    assert_eq!(names(&tier).await, ["repo/config"]);
    assert_ne!(tier.protection(&path("repo/config")).await.unwrap(), Protection::None);
    let refused = tier.delete(&path("repo/config")).await;
    assert!(matches!(refused, Err(TierError::Locked { .. })), "{refused:?}");
}

async fn a_bucket_without_locks_says_so(moto: &Moto) {
    let mut options = options(moto, "plain", "");
    options.placement = locked(DAY);
    let body = Bytes::from_static(b"x");
    let refused = tier(&options).put(&path("repo/config"), body, PutMode::Create).await;
    assert!(matches!(refused, Err(TierError::Unsupported { .. })), "{refused:?}");
    options.placement = Placement::default();
    let plain = tier(&options);
    put(&plain, "repo/config", "x").await;
    assert_eq!(plain.protection(&path("repo/config")).await.unwrap(), Protection::None);
    let refused = plain.protect(&path("repo/config"), SystemClock.now() + DAY).await;
    assert!(matches!(refused, Err(TierError::Unsupported { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn classes_pages_and_missing_buckets_are_what_s3_makes_of_them() {
    let moto = start();
    moto.make_bucket("plain", Bucket::Plain).unwrap();
    what_only_a_recovery_reads_is_cold_until_it_is_asked_for(&moto).await;
    more_than_a_page_is_listed(&moto).await;
    a_bucket_that_is_missing_is_named_with_the_command_that_makes_it(&moto).await;
}

async fn what_only_a_recovery_reads_is_cold_until_it_is_asked_for(moto: &Moto) {
    let mut options = options(moto, "plain", "cold");
    options.placement = Placement { access: Some(AccessClass::Archive), ..Placement::default() };
    let tier = tier(&options);
    let body = Bytes::from_static(b"pack");
    tier.put_cold(&path("repo/data/aa/aa"), body, PutMode::Overwrite).await.unwrap();
    put(&tier, "repo/index/aa", "index").await;
    assert_eq!(tier.warmth(&path("repo/index/aa")).await.unwrap(), Warmth::Ready);
    tier.thaw(&path("repo/index/aa")).await.unwrap();
    let pack = path("repo/data/aa/aa");
    assert_eq!(tier.warmth(&pack).await.unwrap(), Warmth::Cold);
    let refused = get(&tier, pack.as_str()).await.unwrap_err();
    assert!(matches!(refused, TierError::Cold { .. }), "{refused}");
    tier.thaw(&pack).await.unwrap();
    // The emulator thaws at once.
    assert_ne!(tier.warmth(&pack).await.unwrap(), Warmth::Cold);
    tier.thaw(&pack).await.unwrap();
}

async fn more_than_a_page_is_listed(moto: &Moto) {
    let tier = tier(&options(moto, "plain", "many"));
    for index in 0..1001 {
        put(&tier, &format!("a/{index}"), "").await;
    }
    assert_eq!(names(&tier).await.len(), 1001);
}

async fn a_bucket_that_is_missing_is_named_with_the_command_that_makes_it(moto: &Moto) {
    let error = get(&tier(&options(moto, "missing-bucket", "")), "site.json").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(matches!(error, TierError::Refused { .. }), "{error}");
    let hint = error.hint().unwrap().to_string();
    // It is no store of AWS, whose tool has to be told where it is.
    assert!(
        hint.contains("--endpoint-url http") && hint.contains("s3 mb s3://missing-bucket"),
        "{hint}"
    );
}

/// Rights under which a backup works and nothing that it stored can be taken away; as `docs/object-stores.md`
/// has them.
const APPEND_ONLY: &str = include_str!("../../../docs/policies/s3-append-only.json");

/// Rights of who only restores.
const READ_ONLY: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":"*"}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn with_rights_to_append_backups_work_and_deleting_does_not() {
    let moto = start();
    moto.make_bucket("shop-backups", Bucket::Versioned).unwrap();
    let policy = APPEND_ONLY.replace("BUCKET", "shop-backups").replace("PREFIX/", "site/");
    let user = moto.make_user("backup", &policy).unwrap();
    let reader = moto.make_user("reader", READ_ONLY).unwrap();
    moto.enforce().unwrap();
    let tier = tier(&options_of(&moto, &user, "shop-backups", "site"));
    for name in ["repo/data/aa/aa", "repo/locks/aa"] {
        put(&tier, name, "body").await;
        assert_eq!(get(&tier, name).await.unwrap(), "body");
    }
    assert_eq!(names(&tier).await.len(), 2);
    tier.delete(&path("repo/locks/aa")).await.unwrap();
    let refused = tier.delete(&path("repo/data/aa/aa")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied, "{refused}");
    assert!(refused.to_string().contains("delete repo/data/aa/aa"), "{refused}");
    assert_eq!(names(&tier).await, ["repo/data/aa/aa"]);

    let reading = self::tier(&options_of(&moto, &reader, "shop-backups", "site"));
    assert_eq!(get(&reading, "repo/data/aa/aa").await.unwrap(), "body");
    let body = Bytes::from_static(b"more");
    let refused = reading.put(&path("repo/data/bb/bb"), body, PutMode::Create).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied, "{refused}");
    assert!(refused.to_string().contains("write repo/data/bb/bb"), "{refused}");

    let mut wrong = user;
    wrong.secret = "not-the-secret".to_owned();
    let refused =
        get(&self::tier(&options_of(&moto, &wrong, "shop-backups", "site")), "repo/data/aa/aa")
            .await;
    let error = refused.unwrap_err();
    assert!(error.to_string().contains("credentials are wrong"), "{error}");
    assert!(error.hint().unwrap().to_string().contains("aws sts get-caller-identity"));
}

/// A home with the files of the AWS tools, of which one profile has a key, one a command that prints it, one a command that
/// fails.
fn home_of(who: &Credentials) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    let write = |name: &str, text: String, mode| {
        lifeboat_tiers::durable::replace(&at(name), text.as_bytes(), mode).unwrap();
    };
    lifeboat_tiers::durable::create_directories(&at(".aws"), 0o700).unwrap();
    let Credentials { key_id, secret } = who;
    let keys = format!("aws_access_key_id = {key_id}\naws_secret_access_key = {secret}\n");
    write(".aws/credentials", format!("[stated]\n{keys}"), 0o600);
    let command =
        |name: &str| format!("[profile {name}]\ncredential_process = {}\n", at(name).display());
    write(".aws/config", format!("{}{}", command("printed"), command("broken")), 0o600);
    let document = format!(
        "{{\"Version\": 1, \"AccessKeyId\": \"{key_id}\", \"SecretAccessKey\": \"{secret}\"}}"
    );
    write("printed", format!("#!/bin/sh\necho '{document}'\n"), 0o700);
    write("broken", "#!/bin/sh\necho 'the ticket is over' >&2\nexit 1\n".to_owned(), 0o700);
    home
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_and_commands_of_the_aws_tools_let_in_whom_they_name() {
    let moto = start();
    moto.make_bucket("shop", Bucket::Plain).unwrap();
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*",
        "Resource":["arn:aws:s3:::shop","arn:aws:s3:::shop/*"]}]}"#;
    let who = moto.make_user("backup", policy).unwrap();
    moto.enforce().unwrap();
    let home = home_of(&who);
    let of_profile = |profile: &str| {
        let mut options = options(&moto, "shop", "");
        let variables =
            [("HOME", home.path().display().to_string()), ("AWS_PROFILE", profile.to_owned())];
        options.environment =
            variables.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
        tier(&options)
    };
    for profile in ["stated", "printed"] {
        let tier = of_profile(profile);
        put(&tier, profile, "body").await;
        assert_eq!(get(&tier, profile).await.unwrap(), "body", "{profile}");
    }
    let error = get(&of_profile("broken"), "stated").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("`credential_process` of the profile `broken`"), "{cause}");
    assert!(cause.contains("the ticket is over"), "{cause}");
    let hint = error.hint().unwrap().to_string();
    assert!(hint.contains("nothing else is asked in its place"), "{hint}");
}
